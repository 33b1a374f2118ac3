//! What tests do with a Vault cluster: its command line, secrets, tokens and snapshots.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::http::HttpAnswer;
use super::servers::require;
use super::vault_cluster::{VaultCluster, wait_until};

const SNAPSHOT: &str = "sys/storage/raft/snapshot";
/// Just what the documentation asks for.
const SNAPSHOT_POLICY: &str = r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#;
const SNAPSHOT_POLICY_NAME: &str = "lifeboat-snapshot";
/// Below raft's limit of 1 MiB for one entry.
const LARGEST_SECRET: usize = 900 * 1024;
const PARALLEL_WRITES: &str = "16";

impl VaultCluster {
    /// Runs the `vault` command against a node with the root token, in a home folder of its own.
    pub fn cli(&self, index: usize, args: &[&str]) -> Output {
        self.command(index)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("vault can be run")
    }

    /// The same; panics unless it succeeds, and returns what it printed.
    pub fn cli_ok(&self, index: usize, args: &[&str]) -> String {
        let output = self.cli(index, args);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "vault {args:?}: {}\n{printed}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// The `vault` command, set up for a node and nothing else of this machine.
    pub fn command(&self, index: usize) -> Command {
        let node = &self.nodes[index];
        let mut vault = Command::new(require("vault"));
        vault
            .env_clear()
            .env("HOME", self.scratch.path())
            .env("VAULT_ADDR", &node.address)
            .env("VAULT_TOKEN", self.root_token());
        if let Some(ca) = &node.client.ca {
            vault.env("VAULT_CACERT", ca);
        }
        if let Some((cert, key)) = &node.client.identity {
            vault.env("VAULT_CLIENT_CERT", cert);
            vault.env("VAULT_CLIENT_KEY", key);
        }
        vault
    }

    /// Writes `count` secrets, each a random value of `bytes_each` bytes, so that snapshots grow
    /// by at least `count * bytes_each`. They are `fill/N/1` and so on in a store that keeps no
    /// versions, where N is the number of earlier calls.
    pub fn put_secrets(&self, count: usize, bytes_each: usize) {
        assert!(
            bytes_each <= LARGEST_SECRET,
            "raft takes no secret so large"
        );
        let leader = self.wait_for_leader();
        let node = &self.nodes[leader];
        let batch = self.filled.fetch_add(1, Ordering::Relaxed);
        self.ensure_kv("fill");
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let value: String = (0..bytes_each).map(|_| random_letter()).collect();
        write!(file, "{}", json!({ "value": value })).expect("a file can be written");
        let output = node
            .client
            .curl()
            .args(["--fail", "--fail-early", "--request", "PUT", "--parallel"])
            .args(["--parallel-max", PARALLEL_WRITES, "--output", "/dev/null"])
            .arg("--header")
            .arg(format!("X-Vault-Token: {}", self.root_token()))
            .arg("--data-binary")
            .arg(format!("@{}", file.path().display()))
            .arg(node.url(&format!("fill/{batch}/[1-{count}]")))
            .stdin(Stdio::null())
            .output()
            .expect("curl can be run");
        assert!(
            output.status.success(),
            "{count} secrets of {bytes_each} bytes: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            node.process.log_tail()
        );
    }

    /// Writes one secret to the store that [`VaultCluster::put_secrets`] uses a neighbour of.
    pub fn put_secret(&self, name: &str, value: &str) {
        let leader = self.wait_for_leader();
        self.ensure_kv("kept");
        let secret = json!({ "value": value });
        self.done(leader, "PUT", &format!("kept/{name}"), &secret);
    }

    /// Makes a store that keeps no versions, unless there is one.
    fn ensure_kv(&self, mount: &str) {
        let path = format!("sys/mounts/{mount}");
        let kind = json!({ "type": "kv" });
        let leader = self.wait_for_leader();
        match self.http(leader, "POST", &path, Some(self.root_token()), Some(&kind)) {
            Ok((200..300, _)) => {}
            Ok((400, answer)) if answer.to_string().contains("already in use") => {}
            other => panic!("{path}: {other:?}"),
        }
    }

    /// Reads a secret of [`VaultCluster::put_secret`] from the active node, if it gives one.
    pub fn secret(&self, name: &str) -> Option<String> {
        let leader = self.wait_for_leader();
        let path = format!("kept/{name}");
        let answer = self.http(leader, "GET", &path, Some(self.root_token()), None);
        let (_, secret) = answer.ok()?;
        secret["data"]["value"].as_str().map(str::to_string)
    }

    /// Waits until the active node answers with this value, such as after a restore.
    pub fn wait_for_secret(&self, name: &str, value: &str) {
        wait_until("a secret", || match self.secret(name) {
            Some(found) if found == value => Ok(()),
            other => Err(format!("{name} is {other:?}")),
        });
    }

    /// Makes the policy that allows snapshots to be read, and nothing else. Returns its name.
    pub fn snapshot_policy(&self) -> &'static str {
        let policy = json!({ "policy": SNAPSHOT_POLICY });
        let path = format!("sys/policies/acl/{SNAPSHOT_POLICY_NAME}");
        self.api("PUT", &path, &policy);
        SNAPSHOT_POLICY_NAME
    }

    /// Makes a token that may read snapshots, and nothing else but what every token may.
    pub fn snapshot_token(&self) -> String {
        let policy = self.snapshot_policy();
        self.create_token(&json!({ "policies": [policy] }))
    }

    /// Makes a token with these settings, such as `{"policies": [...], "ttl": "5s"}`.
    pub fn create_token(&self, settings: &Value) -> String {
        let answer = self.api("POST", "auth/token/create", settings);
        text(&answer["auth"]["client_token"])
    }

    /// Downloads a snapshot from the active node with curl.
    pub fn snapshot(&self) -> Vec<u8> {
        let leader = self.wait_for_leader();
        let answer = self.send(leader, "GET", SNAPSHOT, None);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.body
    }

    /// Posts a snapshot to a node and returns the answer; `force` also takes another cluster's.
    /// The server answers before it applies the snapshot.
    pub fn post_snapshot(&self, index: usize, snapshot: &[u8], force: bool) -> HttpAnswer {
        let suffix = if force { "-force" } else { "" };
        self.send(
            index,
            "POST",
            &format!("{SNAPSHOT}{suffix}"),
            Some(snapshot),
        )
    }

    /// What `vault operator raft snapshot inspect` prints about a snapshot, as JSON.
    pub fn inspect(&self, snapshot: &[u8]) -> Value {
        let copy = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        fs::write(&copy, snapshot).expect("a file can be written");
        let file = copy.path().display().to_string();
        let args = ["operator", "raft", "snapshot", "inspect", "-format=json"];
        let printed = self.cli_ok(0, &[&args[..], &[&file]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    fn send(&self, index: usize, method: &str, path: &str, body: Option<&[u8]>) -> HttpAnswer {
        let node = &self.nodes[index];
        let headers = [("X-Vault-Token", self.root_token())];
        let answer = node.client.send(method, &node.url(path), &headers, body);
        answer.unwrap_or_else(|error| {
            panic!(
                "{method} {path} on node {index}: {error}\n{}",
                node.process.log_tail()
            )
        })
    }
}

fn random_letter() -> char {
    char::from(rand::random_range(b'a'..=b'z'))
}

pub(super) fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("no text: {value}"))
        .to_string()
}
