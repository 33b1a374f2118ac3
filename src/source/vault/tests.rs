//! The engine against a server that says what a test wants.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use self::responder::{Reply, Request, Responder, chunks, errors, redirect, text};
use super::probe::State;
use super::*;
use crate::source::SourceErrorKind;

mod responder;
mod snapshots;
mod states;
mod transport;

const TOKEN: &str = "hvs.canary-in-a-coal-mine";
const SEAL: &str = "/v1/sys/seal-status";
const LEADER: &str = "/v1/sys/leader";
const HEALTH: &str = "/v1/sys/health";
const SNAPSHOT: &str = "/v1/sys/storage/raft/snapshot";

fn unsealed() -> Value {
    json!({
        "type": "shamir", "initialized": true, "sealed": false, "t": 3, "n": 5, "progress": 0,
        "version": "1.21.0", "migration": false, "recovery_seal": false, "storage_type": "raft",
        "removed_from_cluster": false, "cluster_name": "blue", "cluster_id": "c-1",
    })
}

fn leads() -> Value {
    json!({
        "ha_enabled": true, "is_self": true, "leader_address": "http://127.0.0.1:1",
        "performance_standby": false, "raft_committed_index": 40, "raft_applied_index": 40,
    })
}

fn healthy() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({ "initialized": true, "sealed": false, "server_time_utc": now,
        "replication_dr_mode": "disabled", "enterprise": false })
}

/// A leader that is well, and answers everything else with `rest`.
fn leader(rest: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Responder {
    Responder::new(move |request| match request.path.as_str() {
        SEAL => responder::json(200, &unsealed()),
        LEADER => responder::json(200, &leads()),
        HEALTH => responder::json(200, &healthy()),
        _ => rest(request),
    })
}

fn source_with(mut settings: Value, env: &Env) -> VaultSource {
    if settings.get("auth").is_none() && env.get("VAULT_TOKEN").is_none() {
        settings["auth"] = json!({ "method": "token", "token": TOKEN });
    }
    let config: VaultConfig = serde_json::from_value(settings).unwrap();
    let mut source = VaultSource::new(&config, env).unwrap();
    source.limits = Limits {
        connect: Duration::from_secs(2),
        answer: Duration::from_secs(1),
        snapshot: Duration::from_secs(1),
        stall: Duration::from_secs(1),
        digest: Duration::from_secs(1),
    };
    source
}

fn source(address: &str) -> VaultSource {
    source_with(
        json!({ "address": address }),
        &Env::from([("VAULT_TOKEN", TOKEN)]),
    )
}

/// What a failed capture said, after it was made sure that it left nothing and told no token.
async fn capture_error(source: &VaultSource, before: &Probe) -> SourceError {
    let scratch = tempfile::tempdir().unwrap();
    let error = source
        .capture(before, scratch.path(), &Stop::default())
        .await
        .unwrap_err();
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!format!("{error:?}{source:?}").contains(TOKEN), "{error:?}");
    error
}
