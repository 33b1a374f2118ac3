# All that backups need.
path "sys/storage/raft/snapshot" {
  capabilities = ["read"]
}
