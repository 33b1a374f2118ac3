//! A real Vault cluster with raft storage in a temporary folder, on free loopback ports.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::vault::{VaultNode, VaultOptions};
use super::watchdog;

/// How long a cluster may take to do what a helper waits for.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a node may take to tell its state; one that is frozen never does.
const STATE_LIMIT: Duration = Duration::from_secs(1);
/// Each look at a cluster costs a few processes, and there are few processors.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running cluster; dropping it kills all its nodes and removes their data.
pub struct VaultCluster {
    pub nodes: Vec<VaultNode>,
    root_token: String,
    unseal_key: String,
    pub(super) filled: AtomicUsize,
    pub(super) scratch: TempDir,
}

/// A server of one node that all tests of this process share. It is started by the first call and
/// killed when the process ends, however it ends. Tests that kill, seal or restore start their own;
/// what tests enable on this one needs names of their own.
pub fn shared_vault() -> &'static VaultCluster {
    static SHARED: OnceLock<VaultCluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cluster = VaultCluster::start(1);
        watchdog::remove_at_end(cluster.scratch.path());
        cluster
    })
}

impl VaultCluster {
    /// Starts a cluster that speaks plain HTTP and waits until all nodes vote.
    pub fn start(nodes: usize) -> VaultCluster {
        VaultCluster::options().nodes(nodes).start()
    }

    /// Settings for TLS, the log, the storage or the listeners.
    pub fn options() -> VaultOptions {
        VaultOptions::default()
    }

    pub(super) fn start_with(options: &VaultOptions) -> VaultCluster {
        let scratch = tempfile::tempdir().expect("a temporary folder can be made");
        let nodes = (0..options.nodes)
            .map(|index| VaultNode::spawn(options, index, scratch.path()))
            .collect();
        let mut cluster = VaultCluster {
            nodes,
            root_token: String::new(),
            unseal_key: String::new(),
            filled: AtomicUsize::new(0),
            scratch,
        };
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        cluster.initialise();
        for index in 1..cluster.nodes.len() {
            cluster.join(index);
        }
        cluster.wait_until_settled();
        cluster
    }

    fn initialise(&mut self) {
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let keys = self.done(0, "PUT", "sys/init", &shares);
        let text = |value: &Value| value.as_str().expect("a text").to_string();
        self.root_token = text(&keys["root_token"]);
        self.unseal_key = text(&keys["keys_base64"][0]);
        self.unseal(0);
        wait_until("the first node leads", || {
            let leader = self.leader();
            leader.map(|_| ()).ok_or_else(|| "it does not".to_string())
        });
        // A new node votes once it was healthy for this long.
        let settings = json!({ "server_stabilization_time": "1s" });
        self.done(
            0,
            "POST",
            "sys/storage/raft/autopilot/configuration",
            &settings,
        );
    }

    fn join(&self, index: usize) {
        let first = &self.nodes[0];
        let mut invitation = json!({ "leader_api_addr": first.address });
        let pem = |path: &Path| std::fs::read_to_string(path).expect("a PEM file can be read");
        if let Some(ca) = &first.client.ca {
            invitation["leader_ca_cert"] = json!(pem(ca));
        }
        if let Some((cert, key)) = &first.client.identity {
            invitation["leader_client_cert"] = json!(pem(cert));
            invitation["leader_client_key"] = json!(pem(key));
        }
        self.done(index, "POST", "sys/storage/raft/join", &invitation);
        self.unseal(index);
    }

    /// The token that may do everything.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The only unseal key, as base64.
    pub fn unseal_key(&self) -> &str {
        &self.unseal_key
    }

    /// Replaces the root token and the unseal key after a restore of another cluster's snapshot.
    pub fn adopt_keys(&mut self, other: &VaultCluster) {
        self.root_token.clone_from(&other.root_token);
        self.unseal_key.clone_from(&other.unseal_key);
    }

    /// The addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// The client certificate and key that nodes started with mutual TLS demand.
    pub fn identity(&self) -> Option<(PathBuf, PathBuf)> {
        self.nodes[0].client.identity.clone()
    }

    /// The node that says it is the active one; nothing when none or more than one does.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders = (0..self.nodes.len()).filter(|&index| self.is_active(index));
        leaders.next().filter(|_| leaders.next().is_none())
    }

    fn is_active(&self, index: usize) -> bool {
        self.state(index, "sys/leader")
            .is_ok_and(|leader| leader["is_self"] == true)
            && self
                .state(index, "sys/health")
                .is_ok_and(|health| health["standby"] == false && health["sealed"] == false)
    }

    /// Waits until exactly one node is active, and returns it.
    pub fn wait_for_leader(&self) -> usize {
        let mut found = None;
        wait_until("one active node", || {
            found = self.leader();
            found.map(|_| ()).ok_or_else(|| self.describe())
        });
        found.expect("a leader was just found")
    }

    /// Waits until another node than `old` is active, and returns it.
    pub fn wait_for_new_leader(&self, old: usize) -> usize {
        let mut found = None;
        wait_until("another active node", || {
            found = self.leader().filter(|&leader| leader != old);
            found.map(|_| ()).ok_or_else(|| {
                let logs = self.nodes.iter().map(|node| node.process.log_tail());
                self.describe() + &logs.collect::<String>()
            })
        });
        found.expect("a leader was just found")
    }

    /// Waits until every node is unsealed, knows the same active node and votes.
    pub fn wait_until_settled(&self) {
        wait_until("a settled cluster", || {
            let leader = self.leader().ok_or_else(|| self.describe())?;
            for index in 0..self.nodes.len() {
                let known = &self.state(index, "sys/leader")?["leader_address"];
                let unsealed = self.state(index, "sys/seal-status")?["sealed"] == false;
                if *known != self.nodes[leader].address.as_str() || !unsealed {
                    return Err(self.describe());
                }
            }
            let (_, raft) = self.http(
                leader,
                "GET",
                "sys/storage/raft/configuration",
                Some(&self.root_token),
                None,
            )?;
            let servers = raft["data"]["config"]["servers"].as_array();
            let voters = servers.map_or(0, |servers| {
                servers.iter().filter(|one| one["voter"] == true).count()
            });
            if voters == self.nodes.len() {
                Ok(())
            } else {
                Err(format!("{voters} voters: {raft}"))
            }
        });
    }

    /// Sends SIGKILL to a node and waits for its end.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill9();
    }

    /// Starts a node again on the same ports and data, after SIGKILL if it runs. It is sealed.
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].restart();
    }

    /// Unseals a node and waits until it says so.
    pub fn unseal(&self, index: usize) {
        self.unseal_with(index, &self.unseal_key);
    }

    /// Unseals a node with another cluster's key.
    pub fn unseal_with(&self, index: usize, key: &str) {
        // A node that has joined is unsealed by itself a little after it was given the key. To
        // give it the key again in that time would start it as a standby twice: it then works,
        // but ignores to be told to step down.
        wait_until("a node that takes the key", || {
            let body = json!({ "key": key });
            match self.http(index, "PUT", "sys/unseal", None, Some(&body))? {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        wait_until("an unsealed node", || self.expect_sealed(index, false));
    }

    /// Seals a node. A standby refuses that, so it is restarted, which comes to the same.
    pub fn seal(&mut self, index: usize) {
        if self.is_active(index) {
            self.done(index, "PUT", "sys/seal", &json!({}));
        } else {
            self.restart(index);
        }
        wait_until("a sealed node", || self.expect_sealed(index, true));
    }

    fn expect_sealed(&self, index: usize, sealed: bool) -> Result<(), String> {
        let status = self.state(index, "sys/seal-status")?;
        if status["sealed"] == sealed {
            Ok(())
        } else {
            Err(status.to_string())
        }
    }

    /// Makes the active node give up its place. The same node may win the next election.
    pub fn step_down(&self, index: usize) {
        self.done(index, "PUT", "sys/step-down", &json!({}));
    }

    /// Stops a node with SIGSTOP: it accepts connections and answers nothing.
    pub fn freeze(&self, index: usize) {
        self.nodes[index].process.signal("STOP");
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, index: usize) {
        self.nodes[index].process.signal("CONT");
    }

    /// Sends a request to a node and returns the status with the JSON body, null when it is none.
    /// An error means that no complete answer came. Redirects are not followed.
    pub fn http(
        &self,
        index: usize,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> Result<(u16, Value), String> {
        let node = &self.nodes[index];
        let headers: Vec<_> = token
            .map(|token| ("X-Vault-Token", token))
            .into_iter()
            .collect();
        let body = json.map(|json| json.to_string().into_bytes());
        let answer = node
            .client
            .send(method, &node.url(path), &headers, body.as_deref())?;
        Ok((answer.status, answer.json()))
    }

    /// Sends a request to the active node with the root token; panics unless it succeeds.
    pub fn api(&self, method: &str, path: &str, json: &Value) -> Value {
        self.done(self.wait_for_leader(), method, path, json)
    }

    /// Sends a request with the root token; panics unless it succeeds.
    pub(super) fn done(&self, index: usize, method: &str, path: &str, json: &Value) -> Value {
        let token = Some(self.root_token.as_str()).filter(|token| !token.is_empty());
        let body = Some(json).filter(|_| method != "GET");
        let answer = self.http(index, method, path, token, body);
        match answer {
            Ok((200..300, body)) => body,
            other => panic!(
                "{method} {path} on node {index}: {other:?}\n{}",
                self.nodes[index].process.log_tail()
            ),
        }
    }

    /// What a node says about itself without a token.
    fn state(&self, index: usize, path: &str) -> Result<Value, String> {
        let node = &self.nodes[index];
        let client = node.client.within(STATE_LIMIT);
        Ok(client.send("GET", &node.url(path), &[], None)?.json())
    }

    /// What every node says about the leader and itself, for messages.
    fn describe(&self) -> String {
        let node = |index| {
            let (leader, health) = (
                self.state(index, "sys/leader"),
                self.state(index, "sys/health"),
            );
            format!("node {index}: {leader:?} {health:?}\n")
        };
        (0..self.nodes.len()).map(node).collect()
    }
}

/// Polls until `probe` succeeds; panics with its last error when that takes too long.
pub(super) fn wait_until(what: &str, mut probe: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(error) = probe() {
        assert!(
            begin.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}: {error}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}
