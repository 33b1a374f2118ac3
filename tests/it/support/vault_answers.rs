//! What Vault 1.21.0 answers, taken from a live server, and the ways an answer can go wrong.

use std::time::Duration;

use serde_json::{Value, json};

const CLUSTER_ID: &str = "28a0994a-1bd4-ca69-bd63-82ff2da06d86";
const CLUSTER_NAME: &str = "vault-cluster-bde924a2";

/// An answer of the double: what it says, and how it is delivered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) framing: AnswerFraming,
    pub(super) delay: Duration,
    pub(super) end: AnswerEnd,
}

/// How a client is told where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerFraming {
    Length,
    Chunked,
}

/// What happens to the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerEnd {
    /// It is delivered whole.
    Whole,
    /// The connection is closed after so many bytes of it, with no end of the framing.
    CloseAfter(usize),
    /// The same with a TCP reset.
    ResetAfter(usize),
    /// Nothing follows so many bytes of it, and the connection stays open.
    StallAfter(usize),
    /// It comes in pieces of so many bytes, with a pause after each.
    Drip(usize, Duration),
    /// There is no answer: the connection is reset after the request was read.
    Reset,
    /// There is no answer, and the connection stays open.
    Hang,
}

/// Making answers.
impl Answer {
    fn new(status: u16, kind: &str, body: Vec<u8>) -> Answer {
        let headers = [("Cache-Control", "no-store"), ("Content-Type", kind)];
        Answer {
            status,
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .to_vec(),
            body,
            framing: AnswerFraming::Length,
            delay: Duration::ZERO,
            end: AnswerEnd::Whole,
        }
    }

    /// JSON with a status.
    pub fn json(status: u16, body: &Value) -> Answer {
        Answer::new(status, "application/json", body.to_string().into_bytes())
    }

    /// An error as Vault reports them.
    pub fn errors(status: u16, errors: &[&str]) -> Answer {
        Answer::json(status, &json!({ "errors": errors }))
    }

    /// A status without a body, such as the 204 that a restore is answered with.
    pub fn empty(status: u16) -> Answer {
        let mut answer = Answer::new(status, "application/json", Vec::new());
        answer.headers.truncate(1);
        answer
    }

    /// What a bad token gets.
    pub fn invalid_token() -> Answer {
        let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        Answer::errors(403, &[text])
    }

    /// What a token gets that may not do this.
    pub fn denied() -> Answer {
        let text = "1 error occurred:\n\t* permission denied\n\n";
        Answer::errors(403, &[text])
    }

    /// What most paths answer on a sealed or uninitialised node.
    pub fn sealed() -> Answer {
        Answer::errors(503, &["Vault is sealed"])
    }

    /// A redirect, such as 307 from a standby.
    pub fn redirect(status: u16, location: &str) -> Answer {
        Answer::empty(status).header("Location", location)
    }

    /// A page that a proxy or a wrong address gives.
    pub fn html(status: u16) -> Answer {
        let page = "<!DOCTYPE html>\n<html><body><h1>Welcome</h1></body></html>\n";
        Answer::new(status, "text/html; charset=utf-8", page.into())
    }

    /// A snapshot: 200, chunked, without a length.
    pub fn snapshot(body: &[u8]) -> Answer {
        let mut answer = Answer::new(200, "application/gzip", body.to_vec());
        answer.framing = AnswerFraming::Chunked;
        answer.header("Content-Disposition", "attachment")
    }

    /// A login that succeeded.
    pub fn login(token: &str, lease_seconds: u64) -> Answer {
        Answer::json(
            200,
            &json!({
                "request_id": "65b77c21-669f-8757-8425-fe5a722f4779", "lease_id": "",
                "renewable": false, "lease_duration": 0, "data": null, "wrap_info": null,
                "warnings": null, "mount_type": "",
                "auth": {
                    "client_token": token, "accessor": "39qHSO5I7flxm45VQN5wcVIk",
                    "policies": ["default"], "token_policies": ["default"],
                    "metadata": { "role_name": "lifeboat" }, "lease_duration": lease_seconds,
                    "renewable": true, "entity_id": "dc48e921-5a83-80ce-cb5d-52d62a8cf433",
                    "token_type": "service", "orphan": true, "mfa_requirement": null,
                    "num_uses": 0,
                },
            }),
        )
    }

    /// The connection is reset instead of an answer.
    pub fn reset() -> Answer {
        let mut answer = Answer::empty(500);
        answer.end = AnswerEnd::Reset;
        answer
    }

    /// No answer comes, and the connection stays open until the client or the double goes.
    pub fn hang() -> Answer {
        let mut answer = Answer::empty(500);
        answer.end = AnswerEnd::Hang;
        answer
    }
}

/// Changing how an answer is delivered. Bytes are counted in the body, without framing.
impl Answer {
    /// Adds a header, or replaces the one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// Waits before the answer begins.
    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    /// Leaves the rest of the body out and ends it as if it were whole, which is what a server does
    /// that fails in the middle of a snapshot.
    pub fn ends_after(mut self, bytes: usize) -> Answer {
        self.body.truncate(bytes);
        self
    }

    /// Closes the connection in the middle of the body: no last chunk, or less than the length.
    pub fn closes_after(self, bytes: usize) -> Answer {
        self.with_end(AnswerEnd::CloseAfter(bytes))
    }

    /// Resets the connection in the middle of the body. What was sent may get lost with it.
    pub fn resets_after(self, bytes: usize) -> Answer {
        self.with_end(AnswerEnd::ResetAfter(bytes))
    }

    /// Stops in the middle of the body and keeps the connection open until the client or the
    /// double goes.
    pub fn stalls_after(self, bytes: usize) -> Answer {
        self.with_end(AnswerEnd::StallAfter(bytes))
    }

    /// Sends the body in small pieces, with a pause after each.
    pub fn drips(self, bytes: usize, pause: Duration) -> Answer {
        self.with_end(AnswerEnd::Drip(bytes, pause))
    }

    fn with_end(mut self, end: AnswerEnd) -> Answer {
        self.end = end;
        self
    }
}

/// `sys/seal-status` of an unsealed node.
pub fn seal_status() -> Value {
    let mut status = seal_status_before_unsealing();
    status["sealed"] = json!(false);
    status["cluster_name"] = json!(CLUSTER_NAME);
    status["cluster_id"] = json!(CLUSTER_ID);
    status
}

/// `sys/seal-status` of a sealed node.
pub fn seal_status_before_unsealing() -> Value {
    json!({
        "type": "shamir", "initialized": true, "sealed": true, "t": 1, "n": 1, "progress": 0,
        "nonce": "", "version": "1.21.0", "build_date": "2025-11-21T07:40:54Z",
        "migration": false, "recovery_seal": false, "storage_type": "raft",
        "removed_from_cluster": false,
    })
}

/// `sys/seal-status` of a node that was never initialised.
pub fn seal_status_uninitialised() -> Value {
    let mut status = seal_status_before_unsealing();
    status["initialized"] = json!(false);
    status["t"] = json!(0);
    status["n"] = json!(0);
    status
}

/// `sys/leader` of the active node at `address`.
pub fn leader(address: &str) -> Value {
    json!({
        "ha_enabled": true, "is_self": true, "active_time": "2026-11-21T07:41:02.980098546Z",
        "leader_address": address, "leader_cluster_address": "https://127.0.0.1:8201",
        "performance_standby": false, "performance_standby_last_remote_wal": 0,
        "raft_committed_index": 37, "raft_applied_index": 37,
    })
}

/// `sys/leader` of a standby of the active node at `address`.
pub fn standby(address: &str) -> Value {
    let mut standby = leader(address);
    standby["is_self"] = json!(false);
    standby["active_time"] = json!("0001-01-01T00:00:00Z");
    standby
}

/// `sys/health` of the active node.
pub fn health() -> Value {
    json!({
        "initialized": true, "sealed": false, "standby": false, "performance_standby": false,
        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
        "server_time_utc": 1_795_246_864, "version": "1.21.0", "enterprise": false,
        "cluster_name": CLUSTER_NAME, "cluster_id": CLUSTER_ID, "echo_duration_ms": 0,
        "clock_skew_ms": 0, "replication_primary_canary_age_ms": 0,
        "removed_from_cluster": false,
    })
}

/// `sys/health` of a standby, which comes with the status 429.
pub fn health_of_standby() -> Value {
    let mut health = health();
    health["standby"] = json!(true);
    health["ha_connection_healthy"] = json!(true);
    health["last_request_forwarding_heartbeat_ms"] = json!(79);
    health
}

/// `sys/health` of a sealed (503) or uninitialised (501) node.
pub fn health_of_sealed(initialised: bool) -> Value {
    let mut health = health();
    health["initialized"] = json!(initialised);
    health["sealed"] = json!(true);
    health["standby"] = json!(true);
    for mode in ["replication_performance_mode", "replication_dr_mode"] {
        health[mode] = json!("unknown");
    }
    let fields = health.as_object_mut().expect("an object");
    fields.remove("cluster_name");
    fields.remove("cluster_id");
    health
}
