# One node, without TLS: for development only.
storage "raft" {
  path    = "/vault/file"
  node_id = "dev"
}
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}
api_addr      = "http://vault:8200"
cluster_addr  = "http://vault:8201"
disable_mlock = true
