//! One real Vault server, and how a cluster of them is set up. See [`super::vault_cluster`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::http::HttpClient;
use super::servers::{Process, free_port, require};
use super::tls::TestCa;
use super::vault_cluster::VaultCluster;
use super::watchdog;

/// How to start a [`VaultCluster`]; every setting has a default: one node, plain HTTP.
pub struct VaultOptions {
    pub(super) nodes: usize,
    tls: Option<Tls>,
    log_level: String,
    storage: Value,
    listener: Value,
}

struct Tls {
    ca: PathBuf,
    server: (PathBuf, PathBuf),
    client: Option<(PathBuf, PathBuf)>,
    /// The nodes that speak TLS; all of them when empty.
    only: Vec<usize>,
}

impl Default for VaultOptions {
    fn default() -> Self {
        VaultOptions {
            nodes: 1,
            tls: None,
            log_level: "info".to_string(),
            storage: json!({}),
            listener: json!({}),
        }
    }
}

impl VaultOptions {
    /// How many nodes the cluster has.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// All nodes speak TLS, with a certificate for 127.0.0.1 and localhost. Clients need none.
    pub fn tls(mut self, ca: &TestCa) -> Self {
        self.tls = Some(Tls {
            ca: ca.ca_pem.clone(),
            server: ca.issue("vault-server", &["127.0.0.1", "localhost"]),
            client: None,
            only: Vec::new(),
        });
        self
    }

    /// Only these nodes speak TLS; the others speak plain HTTP.
    pub fn tls_on(mut self, ca: &TestCa, nodes: &[usize]) -> Self {
        self = self.tls(ca);
        let tls = self.tls.as_mut().expect("TLS was just set");
        tls.only = nodes.to_vec();
        self
    }

    /// All nodes speak TLS and demand a client certificate of the same authority. The cluster's
    /// own requests carry one; see [`VaultCluster::identity`].
    pub fn mutual_tls(mut self, ca: &TestCa) -> Self {
        self = self.tls(ca);
        let tls = self.tls.as_mut().expect("TLS was just set");
        tls.client = Some(ca.issue("vault-client", &[]));
        self
    }

    /// `trace`, `debug`, `info` (the default), `warn` or `error`.
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.to_string();
        self
    }

    /// Adds settings of the raft storage, such as `{"max_entry_size": "8388608"}`.
    pub fn storage(mut self, settings: Value) -> Self {
        self.storage = settings;
        self
    }

    /// Adds settings of every listener, such as `{"http_read_timeout": "2s"}`.
    pub fn listener(mut self, settings: Value) -> Self {
        self.listener = settings;
        self
    }

    /// Starts the nodes, makes them one cluster and waits until all of them vote.
    pub fn start(self) -> VaultCluster {
        VaultCluster::start_with(&self)
    }

    fn tls_of(&self, node: usize) -> Option<&Tls> {
        self.tls
            .as_ref()
            .filter(|tls| tls.only.is_empty() || tls.only.contains(&node))
    }
}

/// A node of a cluster.
pub struct VaultNode {
    /// `http://127.0.0.1:PORT`, or `https://` when it speaks TLS. Also its `api_addr`.
    pub address: String,
    /// `https://127.0.0.1:PORT`, where the other nodes reach it.
    pub cluster_address: String,
    /// The folder of its raft storage.
    pub raft_dir: PathBuf,
    /// The name of the node in the raft configuration: `node-INDEX`.
    pub id: String,
    /// The server's process, for signals and its log.
    pub process: Process,
    /// Sends requests to this node.
    pub client: HttpClient,
    port: u16,
}

impl VaultNode {
    /// Starts one server below `scratch`, which need not be ready when this returns.
    pub(super) fn spawn(options: &VaultOptions, index: usize, scratch: &Path) -> VaultNode {
        let id = format!("node-{index}");
        let folder = scratch.join(&id);
        let raft_dir = folder.join("raft");
        fs::create_dir_all(&raft_dir).expect("a folder can be made");
        let (port, cluster_port) = (free_port(), free_port());
        let cluster_address = format!("https://127.0.0.1:{cluster_port}");
        let mut client = HttpClient::default();
        let mut scheme = "http";
        let mut listener = json!({
            "address": format!("127.0.0.1:{port}"),
            "cluster_address": format!("127.0.0.1:{cluster_port}"),
            "tls_disable": true,
        });
        if let Some(tls) = options.tls_of(index) {
            scheme = "https";
            let (cert, key) = &tls.server;
            listener["tls_disable"] = json!(false);
            listener["tls_cert_file"] = json!(cert);
            listener["tls_key_file"] = json!(key);
            if tls.client.is_some() {
                listener["tls_require_and_verify_client_cert"] = json!(true);
                listener["tls_client_ca_file"] = json!(tls.ca);
            }
            client.ca = Some(tls.ca.clone());
            client.identity.clone_from(&tls.client);
        }
        let address = format!("{scheme}://127.0.0.1:{port}");
        let mut storage = json!({
            "path": raft_dir,
            "node_id": id,
            "performance_multiplier": 3,
            "autopilot_reconcile_interval": "500ms",
            "autopilot_update_interval": "500ms",
        });
        merge(&mut storage, &options.storage);
        merge(&mut listener, &options.listener);
        let config = json!({
            "disable_mlock": true,
            "log_level": options.log_level,
            "api_addr": address,
            "cluster_addr": cluster_address,
            "storage": { "raft": storage },
            "listener": [{ "tcp": listener }],
        });
        let config_file = folder.join("vault.json");
        fs::write(&config_file, config.to_string()).expect("a file can be written");
        let argument = OsString::from(format!("-config={}", config_file.display()));
        let args = [OsStr::new("server"), &argument];
        let home = [("HOME", folder.as_os_str())];
        let log = folder.join("vault.log");
        let process = Process::spawn(&require("vault"), &args, &home, &log);
        watchdog::watch(process.pid());
        VaultNode {
            address,
            cluster_address,
            raft_dir,
            id,
            process,
            client,
            port,
        }
    }

    /// Waits until the server answers, sealed or not.
    pub(super) fn wait_ready(&mut self) {
        let (port, client, url) = (self.port, &self.client, self.url("sys/seal-status"));
        self.process.wait_ready(|| {
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
            match client.send("GET", &url, &[], None)?.status {
                200 => Ok(()),
                other => Err(format!("sys/seal-status: {other}")),
            }
        });
    }

    /// The URL of an API path such as `sys/leader`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/v1/{}", self.address, path.trim_start_matches('/'))
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub(super) fn kill9(&mut self) {
        if self.process.is_running() {
            watchdog::forget(self.process.pid());
        }
        self.process.kill9();
    }

    /// Starts the server again, after SIGKILL if it runs.
    pub(super) fn restart(&mut self) {
        self.kill9();
        self.process.respawn();
        watchdog::watch(self.process.pid());
        self.wait_ready();
    }
}

impl Drop for VaultNode {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().expect("settings are a JSON object") {
        into[key] = value.clone();
    }
}
