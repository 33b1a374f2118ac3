//! Redis Vault: dumps of Redis, configured by its own config.yaml and by the environment, which
//! goes before it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::reader::Written;
use super::{Program, Reader, duration};
use crate::config::sound_name;
use crate::value::{Env, Problem, load, quote};

pub(super) const NAME: &str = "Redis Vault";

pub(super) static PROGRAM: Program = Program {
    name: NAME,
    sure: &[
        "REDIS_CONNECTION",
        "REDIS_DATA_PATH",
        "REDIS_NODE_NAME",
        "BACKUP_MASTER",
        "BACKUP_REPLICA",
        "BACKUP_INTERVAL",
        "RETENTION_KEEP_LAST",
        "RETENTION_KEEP_DURATION",
    ],
    likely: &["STORAGE_URL", "STORAGE_TYPE", "S3_BUCKET", "GCS_BUCKET"],
    beside: &[],
    translate,
};

/// Each key of the file, and the variables that go before it.
const KEYS: [(&str, &str, &[&str]); 22] = [
    ("redis", "connection_string", &["REDIS_CONNECTION"]),
    ("redis", "data_path", &["REDIS_DATA_PATH"]),
    ("redis", "node_name", &["REDIS_NODE_NAME"]),
    ("redis", "backup_master", &["BACKUP_MASTER"]),
    ("redis", "backup_replica", &["BACKUP_REPLICA"]),
    ("backup", "interval", &["BACKUP_INTERVAL"]),
    ("backup", "dump_filename", &["DUMP_FILENAME"]),
    ("backup", "initial_delay", &["INITIAL_DELAY"]),
    ("backup", "storage_url", &["STORAGE_URL"]),
    ("storage", "type", &["STORAGE_TYPE"]),
    ("storage", "bucket", &["S3_BUCKET", "GCS_BUCKET"]),
    ("storage", "prefix", &["S3_PREFIX", "GCS_PREFIX"]),
    ("storage", "region", &["AWS_REGION"]),
    ("storage", "endpoint", &["S3_ENDPOINT"]),
    ("storage", "project_id", &["GCS_PROJECT_ID"]),
    ("retention", "keep_last", &["RETENTION_KEEP_LAST"]),
    ("retention", "keep_duration", &["RETENTION_KEEP_DURATION"]),
    ("logging", "format", &["LOG_FORMAT"]),
    ("logging", "level", &["LOG_LEVEL"]),
    ("metrics", "enabled", &["METRICS_ENABLED"]),
    ("metrics", "port", &["METRICS_PORT"]),
    ("metrics", "listen_address", &["METRICS_LISTEN_ADDRESS"]),
];

/// The top-level keys of its file.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().map(|(section, ..)| section)
}

/// Reads its file: every key optional, every value as it is written.
pub(super) fn read(
    name: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'static str, Written> {
    let mut properties = Map::new();
    for (section, key, _) in KEYS {
        let block = properties.entry(section).or_insert_with(
            || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
        );
        block["properties"][key] = json!({ "type": "string" });
    }
    let schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let (document, found) = load(Some((name, text)), &Env::default(), &schema);
    problems.extend(found);
    let mut written = BTreeMap::new();
    for (section, key, variables) in KEYS {
        let text = document.get(section).and_then(|block| block.get(key));
        let Some(text) = text.and_then(Value::as_str) else {
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        for variable in variables {
            let key = format!("{section}.{key}");
            let text = text.to_owned();
            written.insert(*variable, Written { key, text });
        }
    }
    written
}

fn translate(settings: &mut Reader<'_>) {
    settings.put("jobs.redis.source.type", "redis", "REDIS_CONNECTION");
    let source = |key: &str| format!("jobs.redis.source.{key}");
    let local = Some("redis://localhost:6379");
    settings.carry(&source("url"), "REDIS_CONNECTION", local);
    settings.carry(&source("data_dir"), "REDIS_DATA_PATH", Some("/data"));
    settings.carry(&source("dump_filename"), "DUMP_FILENAME", Some("dump.rdb"));
    series(settings);
    roles(settings);

    for (path, variable, default) in [
        ("jobs.redis.schedule.every", "BACKUP_INTERVAL", "1h"),
        ("jobs.redis.schedule.initial_delay", "INITIAL_DELAY", "5m"),
    ] {
        let duration = settings.duration(variable, duration::HUMANTIME);
        let text = duration.map_or_else(|| default.to_owned(), |duration| duration.to_string());
        settings.put(path, text, variable);
    }
    retention(settings);
    store(settings);

    if let Some(format) = settings.word("LOG_FORMAT", &["text", "json"]) {
        settings.put("log.format", format, "LOG_FORMAT");
    }
    let levels = ["error", "warn", "info", "debug", "trace"];
    if let Some(level) = settings.word("LOG_LEVEL", &levels) {
        settings.put("log.level", level, "LOG_LEVEL");
    }
    metrics(settings);
}

fn series(settings: &mut Reader<'_>) {
    let name = settings.text("REDIS_NODE_NAME");
    let name = name.as_deref().unwrap_or("redis-node");
    if sound_name(name) {
        settings.put("jobs.redis.series", name, "REDIS_NODE_NAME");
    } else {
        let what = format!(
            "{} is not the name of a series; use letters, digits, `-`, `_` and `.`, and begin \
             with a letter, a digit or `_`",
            quote(name)
        );
        settings.problem("REDIS_NODE_NAME", what);
    }
}

fn roles(settings: &mut Reader<'_>) {
    let on_primary = settings.flag("BACKUP_MASTER", true);
    let on_replica = settings.flag("BACKUP_REPLICA", true);
    let run_on = match (on_primary, on_replica) {
        (true, true) => "any",
        (true, false) => "primary",
        (false, true) => "replica",
        (false, false) => {
            let replica = settings.name("BACKUP_REPLICA");
            let what = format!(
                "neither it nor `{replica}` is on, so that nothing would ever be saved; set one \
                 of them to `true`"
            );
            settings.problem("BACKUP_MASTER", what);
            return;
        }
    };
    settings.put("jobs.redis.run_on", run_on, "BACKUP_MASTER");
}

fn retention(settings: &mut Reader<'_>) {
    let at = "jobs.redis.retention";
    settings.origin(at, "RETENTION_KEEP_LAST");
    let count = settings.count("RETENTION_KEEP_LAST", 7);
    let within = settings.duration("RETENTION_KEEP_DURATION", duration::HUMANTIME);
    if count == Some(0) && !settings.has("RETENTION_KEEP_DURATION") {
        let what = "`0` would keep nothing; write `1` or more, or set `RETENTION_KEEP_DURATION`";
        settings.problem("RETENTION_KEEP_LAST", what);
    } else if let Some(count) = count {
        settings.put(&format!("{at}.keep_last"), count, "RETENTION_KEEP_LAST");
    }
    if let Some(within) = within {
        let within = within.to_string();
        let variable = "RETENTION_KEEP_DURATION";
        settings.put(&format!("{at}.keep_within"), within, variable);
    }
}

fn store(settings: &mut Reader<'_>) {
    if let Some(url) = settings.text("STORAGE_URL") {
        return by_url(settings, &url);
    }
    let kind = if settings.has("STORAGE_TYPE") {
        let Some(kind) = settings.word("STORAGE_TYPE", &["s3", "gcs"]) else {
            return;
        };
        kind
    } else {
        "s3"
    };
    let at = |key: &str| format!("destinations.{kind}.{key}");
    if kind == "gcs" && !settings.has("GCS_BUCKET") {
        let what = "is not set; Google Cloud Storage needs the name of a bucket";
        return settings.problem("GCS_BUCKET", what);
    }
    settings.put(&at("type"), kind, "STORAGE_TYPE");
    if kind == "s3" {
        settings.carry(&at("bucket"), "S3_BUCKET", Some("redis-vault"));
        settings.carry(&at("prefix"), "S3_PREFIX", Some("redis-vault"));
        settings.carry(&at("region"), "AWS_REGION", None);
        settings.carry(&at("endpoint"), "S3_ENDPOINT", None);
    } else {
        settings.carry(&at("bucket"), "GCS_BUCKET", None);
        settings.carry(&at("prefix"), "GCS_PREFIX", Some("redis-vault"));
        settings.carry(&at("project"), "GCS_PROJECT_ID", None);
    }
}

/// The whole place in one URL, which stands instead of the single settings.
fn by_url(settings: &mut Reader<'_>, url: &str) {
    let kind = match url.split_once("://") {
        Some(("s3", _)) => "s3",
        Some(("gs", _)) => "gcs",
        _ => {
            // Not quoted: whoever writes a URL may have written a key into it.
            let what = "must be `s3://bucket/prefix` or `gs://bucket/prefix`";
            return settings.problem("STORAGE_URL", what);
        }
    };
    settings.put(&format!("destinations.{kind}"), url, "STORAGE_URL");
    let replaced = [
        "STORAGE_TYPE",
        "S3_BUCKET",
        "S3_PREFIX",
        "S3_ENDPOINT",
        "GCS_BUCKET",
        "GCS_PREFIX",
        "GCS_PROJECT_ID",
    ];
    let by = settings.name("STORAGE_URL");
    let unused: BTreeSet<String> = replaced
        .into_iter()
        .filter(|name| settings.has(name))
        .map(|name| settings.name(name))
        .collect();
    for name in unused {
        settings.warn(format!("`{name}` is not used: `{by}` stands instead of it"));
    }
}

/// Accepted, and said to be without effect.
fn metrics(settings: &mut Reader<'_>) {
    let port = settings.text("METRICS_PORT");
    // Kubernetes sets this variable for a service that is called `metrics`.
    if let Some(port) = port.filter(|port| !port.contains("://"))
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        let what = format!("{} is not a port; write `9090`", quote(&port));
        settings.problem("METRICS_PORT", what);
    }
    if let Some(address) = settings.text("METRICS_LISTEN_ADDRESS") {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_err() && !sound_name(bare) {
            let what = format!("{} is not an address; write `0.0.0.0`", quote(&address));
            settings.problem("METRICS_LISTEN_ADDRESS", what);
        }
    }
    if settings.flag("METRICS_ENABLED", false) {
        let name = settings.name("METRICS_ENABLED");
        settings.warn(format!(
            "`{name}` has no effect: metrics are not served yet"
        ));
    }
}
