use std::collections::HashMap;

use redis::{Value, from_redis_value};
use serde::{Deserialize, Serialize};

use super::RedisSource;
use super::connect::Session;
use super::refusal;
use super::server::Server;
use crate::source::{Facts, Probe, Role, SourceError, SourceErrorKind};

/// What the capture wants to know of the server, carried in [`Probe::state`]. Everything may be
/// absent: old servers do not say it, and a user with `+role` alone cannot ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// `redis` or `valkey`.
    pub server: Option<String>,
    /// The replication history now, and the one before the last failover.
    pub replid: Option<String>,
    pub replid2: Option<String>,
    /// Changes since the data was last saved or loaded.
    pub changes: Option<u64>,
    /// Saves since the server was started, and when the last of them ended (Unix seconds). With no
    /// save, that is when the server was started.
    pub saves: Option<u64>,
    pub last_save: Option<i64>,
    /// Whether the last BGSAVE went well; true on a server that has just started.
    pub last_save_ok: Option<bool>,
    /// Whether the server keeps an append-only file, and so ignores the dump when it starts.
    pub append_only: Option<bool>,
    /// Whether the server is part of a cluster: its dump is one shard.
    pub cluster: Option<bool>,
}

impl State {
    /// What `probe` remembers; empty where it remembers nothing.
    pub(super) fn of(probe: &Probe) -> Self {
        serde_json::from_value(probe.state.clone().into()).unwrap_or_default()
    }

    fn into_facts(self) -> Facts {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(facts)) => facts,
            _ => Facts::new(),
        }
    }
}

/// Asks the server for its role and state. INFO alone is enough; ROLE answers where the user may
/// not run INFO.
pub(super) async fn probe(source: &RedisSource) -> Result<Probe, SourceError> {
    let server = &source.server;
    let mut session = Session::open(source).await?;
    match session.ask(&["INFO"]).await {
        Ok(answer) => from_info(&text(answer), server),
        Err(error) if refusal::is_loading(&error) => Ok(loading()),
        Err(error) if refusal::is_withheld(&error) => match session.ask(&["ROLE"]).await {
            Ok(answer) => from_role(answer, server),
            Err(role_error) if refusal::is_loading(&role_error) => Ok(loading()),
            Err(_) => Err(refusal::asking(&error, "INFO", server)),
        },
        Err(error) => Err(refusal::asking(&error, "INFO", server)),
    }
}

/// The save points, where the user may ask for them; empty where there are none.
pub(super) async fn save_points(source: &RedisSource) -> Option<String> {
    let mut session = Session::open(source).await.ok()?;
    let answer = session.ask(&["CONFIG", "GET", "save"]).await.ok()?;
    let [_, points] =
        <[String; 2]>::try_from(from_redis_value::<Vec<String>>(answer).ok()?).ok()?;
    Some(points)
}

fn text(answer: Value) -> String {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        _ => String::new(),
    }
}

fn loading() -> Probe {
    let mut probe = Probe::of(Role::Unknown, LOADING);
    probe.not_now = Some(LOADING.into());
    probe
}

const LOADING: &str = "Redis is loading its dataset";

/// The fields of an INFO answer, by name.
struct Info<'a>(HashMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn parse(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.trim_end().split_once(':'))
                .collect(),
        )
    }

    fn get(&self, field: &str) -> Option<&'a str> {
        self.0.get(field).copied().filter(|value| !value.is_empty())
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.get(field)?.parse().ok()
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.number(field).map(|number| number != 0)
    }

    /// Attached replicas (`slave0:ip=…,state=online,…`) that hold the whole data set.
    fn online_replicas(&self) -> u32 {
        let online = self.0.iter().filter(|(field, value)| {
            let index = field
                .strip_prefix("slave")
                .or_else(|| field.strip_prefix("replica"));
            index.is_some_and(|index| index.parse::<u32>().is_ok())
                && value.split(',').any(|part| part == "state=online")
        });
        u32::try_from(online.count()).unwrap_or(u32::MAX)
    }

    fn state(&self) -> State {
        let server = if self.get("valkey_version").is_some() {
            "valkey"
        } else {
            "redis"
        };
        State {
            server: Some(self.get("server_name").unwrap_or(server).to_owned()),
            replid: self.get("master_replid").map(str::to_owned),
            // Forty zeros stand for none.
            replid2: self
                .get("master_replid2")
                .filter(|id| id.bytes().any(|byte| byte != b'0'))
                .map(str::to_owned),
            changes: self.number("rdb_changes_since_last_save"),
            saves: self.number("rdb_saves"),
            last_save: self
                .get("rdb_last_save_time")
                .and_then(|time| time.parse().ok()),
            last_save_ok: self
                .get("rdb_last_bgsave_status")
                .map(|status| status == "ok"),
            append_only: self.flag("aof_enabled"),
            cluster: self.flag("cluster_enabled"),
        }
    }

    /// Why a replica does not hold its primary's data, if so.
    fn out_of_sync(&self, primary: &str) -> Option<String> {
        let why = if self.flag("master_sync_in_progress") == Some(true) {
            "a full sync is under way".to_owned()
        } else if self.get("master_link_status") == Some("up") {
            return None;
        } else {
            match self.number("master_link_down_since_seconds") {
                Some(seconds) => format!("link down for {seconds} s"),
                None => "link down".to_owned(),
            }
        };
        Some(format!("replica is not in sync with {primary}: {why}"))
    }
}

fn from_info(text: &str, server: &Server) -> Result<Probe, SourceError> {
    let info = Info::parse(text);
    if [info.get("redis_mode"), info.get("server_mode")].contains(&Some("sentinel")) {
        return Err(sentinel(server));
    }
    let version = info
        .get("valkey_version")
        .or_else(|| info.get("redis_version"));
    let replicas = info.number("connected_slaves").unwrap_or(0);
    let mut probe = match info.get("role") {
        Some("master" | "primary") => as_primary(replicas),
        Some("slave" | "replica") => {
            let host = info.get("master_host").unwrap_or("its primary");
            let primary = place(host, info.get("master_port"));
            as_replica(info.out_of_sync(&primary), primary)
        }
        _ => return Err(speechless(server)),
    };
    if info.flag("loading") == Some(true) {
        probe.not_now = Some(LOADING.into());
    }
    let state = info.state();
    probe.online_replicas = info.online_replicas();
    probe.summary = summary(version, &state, &probe);
    probe.version = version.map(str::to_owned);
    probe.state = state.into_facts();
    Ok(probe)
}

/// `["master", offset, [replicas]]`, `["slave", host, port, state, offset]` or
/// `["sentinel", [names]]`.
fn from_role(answer: Value, server: &Server) -> Result<Probe, SourceError> {
    let Value::Array(parts) = answer else {
        return Err(speechless(server));
    };
    let word = |index: usize| parts.get(index).cloned().map(text).unwrap_or_default();
    let mut probe = match word(0).as_str() {
        "master" | "primary" => {
            let replicas = match parts.get(2) {
                Some(Value::Array(replicas)) => replicas.len() as u64,
                _ => 0,
            };
            as_primary(replicas)
        }
        "slave" | "replica" => {
            let port = match parts.get(2) {
                Some(Value::Int(port)) => Some(port.to_string()),
                _ => None,
            };
            let primary = place(&word(1), port.as_deref());
            let link = word(3);
            let trouble = (link != "connected")
                .then(|| format!("replica is not in sync with {primary}: link is `{link}`"));
            as_replica(trouble, primary)
        }
        "sentinel" => return Err(sentinel(server)),
        _ => return Err(speechless(server)),
    };
    probe.summary = summary(None, &State::default(), &probe);
    Ok(probe)
}

fn as_primary(replicas: u64) -> Probe {
    let role = if replicas == 0 {
        Role::Standalone
    } else {
        Role::Primary
    };
    let mut probe = Probe::of(role, "");
    // Those that ROLE lists are online.
    probe.online_replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
    probe
}

fn as_replica(trouble: Option<String>, primary: String) -> Probe {
    let mut probe = Probe::of(Role::Replica, "");
    probe.not_now = trouble;
    probe.leader = Some(primary);
    probe
}

fn place(host: &str, port: Option<&str>) -> String {
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// `7.0.15, replica in sync with 10.0.3.7:6379`.
fn summary(version: Option<&str>, state: &State, probe: &Probe) -> String {
    let name = state.server.as_deref().filter(|name| *name != "redis");
    let said = [name, version]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let role = match (probe.role, &probe.not_now, &probe.leader) {
        (_, Some(trouble), _) => trouble.clone(),
        (Role::Replica, None, Some(primary)) => format!("replica in sync with {primary}"),
        (Role::Primary, ..) if probe.online_replicas == 1 => "primary of 1 replica".into(),
        (Role::Primary, ..) => format!("primary of {} replicas", probe.online_replicas),
        (role, ..) => role.as_str().into(),
    };
    if said.is_empty() {
        role
    } else {
        format!("{said}, {role}")
    }
}

fn sentinel(server: &Server) -> SourceError {
    let why = format!("{server} is a sentinel, not a data node");
    SourceError::new(SourceErrorKind::Other, why)
        .hint("point `url` at the data node beside this sidecar")
}

fn speechless(server: &Server) -> SourceError {
    let why = format!("{server} does not say its role");
    SourceError::new(SourceErrorKind::Other, why)
}

#[cfg(test)]
mod tests;
