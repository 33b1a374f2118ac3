use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Understood, duration, understand};
use crate::value::{Env, Problem};

fn from(variables: &[(&str, &str)]) -> Understood {
    let env: Env = variables.iter().copied().collect();
    let found = understand(None, &env).expect("one program's settings");
    found.unwrap_or_else(|| panic!("not understood: {variables:?}"))
}

fn is_understood(variables: &[(&str, &str)]) -> bool {
    let env: Env = variables.iter().copied().collect();
    understand(None, &env).expect("no conflict").is_some()
}

/// What stands at a path such as `jobs.vault.series`.
fn at(understood: &Understood, path: &str) -> Value {
    let document = Value::Object(understood.document.clone());
    let pointer = format!("/{}", path.replace('.', "/"));
    document.pointer(&pointer).cloned().unwrap_or(Value::Null)
}

fn problems(understood: Understood) -> Vec<Problem> {
    let mut found = Vec::new();
    understood.explain(&mut found);
    found
}

fn file(text: &str, variables: &[(&str, &str)]) -> Option<Understood> {
    let env: Env = variables.iter().copied().collect();
    understand(Some(("config.yaml", text)), &env).expect("one program's settings")
}

#[test]
fn durations_are_read_as_both_programs_read_them() {
    for (text, millis) in [
        ("1h", 3_600_000),
        ("1h30m", 5_400_000),
        ("90m", 5_400_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("1.s", 1_000),
        ("300s", 300_000),
        ("500ms", 500),
        ("1500us", 1),
        ("30m1h", 5_400_000),
        ("1h0m0s", 3_600_000),
        ("+2m", 120_000),
        ("0", 0),
        ("0s", 0),
    ] {
        for units in [duration::GO, duration::HUMANTIME] {
            let read = duration::parse(text, units).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read.0, Duration::from_millis(millis), "{text}");
        }
    }
    for (text, seconds) in [
        ("30d", 30 * 86_400),
        ("1w", 7 * 86_400),
        ("1day 2hours 3min", 86_400 + 7_380),
        ("2 weeks", 14 * 86_400),
        ("1M", 2_630_016),
        ("1year", 31_557_600),
    ] {
        assert!(duration::parse(text, duration::GO).is_none(), "{text}");
        let read = duration::parse(text, duration::HUMANTIME).expect(text);
        assert_eq!(read.0, Duration::from_secs(seconds), "{text}");
    }
    for text in [
        "",
        "h",
        "1",
        "90",
        "-1h",
        "1h-",
        "1..5h",
        ".h",
        "1hh",
        "one hour",
        "1h 30",
        "٣h",
        "99999999999999999999999999999999999999999h",
    ] {
        assert!(duration::parse(text, duration::GO).is_none(), "{text}");
        assert!(
            duration::parse(text, duration::HUMANTIME).is_none(),
            "{text}"
        );
    }
}

#[test]
fn the_smallest_environment_of_govalite_gets_its_defaults() {
    let understood = from(&[("VAULT_ADDR", "http://v:8200"), ("ENABLE_LOCAL", "true")]);
    assert_eq!(
        Value::Object(understood.document.clone()),
        json!({
            "destinations": { "local": { "type": "local", "path": "./snapshots", "create": true } },
            "jobs": { "vault": {
                "source": { "type": "vault", "address": "http://v:8200" },
                "schedule": { "every": "1h", "timezone": "UTC" },
                "retention": { "keep_last": 5 },
                "series": "raft-snapshot",
            } },
        })
    );
    let default = from(&[("SNAPSHOT_RETAIN", "3"), ("ENABLE_LOCAL", "1")]);
    let address = at(&default, "jobs.vault.source.address");
    assert_eq!(address, "http://127.0.0.1:8200");
}

#[test]
fn every_variable_of_govalite_finds_its_place() {
    let understood = from(&[
        ("VAULT_ADDR", "https://v:8200"),
        ("VAULT_ROLE_ID", "role"),
        ("VAULT_SECRET_ID", "secret"),
        ("VAULT_TOKEN", "token"),
        ("VAULT_CACERT", "/ca.pem"),
        ("SNAPSHOT_FREQUENCY", "30m"),
        ("SNAPSHOT_PREFIX", "prod/eu/vault-"),
        ("SNAPSHOT_RETAIN", "12"),
        ("SNAPSHOT_TIMEZONE", "Asia/Jakarta"),
        ("ENABLE_S3", "ON"),
        ("ENABLE_LOCAL", "yes"),
        ("AWS_ENDPOINT_URL", "http://minio:9000"),
        ("STORAGE_S3_BUCKET", "b"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("STORAGE_LOCAL_PATH", "/backups/"),
    ]);
    assert_eq!(
        Value::Object(understood.document.clone()),
        json!({
            "destinations": {
                "local": { "type": "local", "path": "/backups/prod/eu", "create": true },
                "s3": {
                    "type": "s3", "bucket": "b", "prefix": "prod/eu", "region": "us-east-1",
                    "endpoint": "http://minio:9000",
                    "access_key_id": { "env": "AWS_ACCESS_KEY_ID" },
                    "secret_access_key": { "env": "AWS_SECRET_ACCESS_KEY" },
                },
            },
            "jobs": { "vault": {
                "source": {
                    "type": "vault", "address": "https://v:8200", "ca_cert": "/ca.pem",
                    "auth": {
                        "method": "approle",
                        "role_id": { "env": "VAULT_ROLE_ID" },
                        "secret_id": { "env": "VAULT_SECRET_ID" },
                    },
                },
                "schedule": { "every": "30m", "timezone": "Asia/Jakarta" },
                "retention": { "keep_last": 12 },
                "series": "vault",
            } },
        })
    );
    assert!(problems(understood).is_empty());
}

#[test]
fn a_prefix_is_taken_apart_into_folders_and_series() {
    let with = |prefix| from(&[("SNAPSHOT_PREFIX", prefix), ("ENABLE_LOCAL", "true")]);
    for (prefix, series, path) in [
        ("raft-snapshot-", "raft-snapshot", "./snapshots"),
        ("prod/vault-", "vault", "./snapshots/prod"),
        ("/a//b/vault_1", "vault_1", "./snapshots/a/b"),
        // A folder alone, and a mere dash: the series has its usual name.
        ("prod/", "raft-snapshot", "./snapshots/prod"),
        ("-", "raft-snapshot", "./snapshots"),
    ] {
        let understood = with(prefix);
        assert_eq!(at(&understood, "jobs.vault.series"), series, "{prefix}");
        let there = at(&understood, "destinations.local.path");
        assert_eq!(there, path, "{prefix}");
        assert!(problems(understood).is_empty(), "{prefix}");
    }
    for prefix in ["vault snapshot-", "a/.hidden", "ä-", "../vault-", "a/./b-"] {
        let found = problems(with(prefix));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, "SNAPSHOT_PREFIX", "{prefix}");
    }
}

#[test]
fn a_whole_approle_goes_before_a_token() {
    let method = |names: &[&str]| {
        let mut variables = vec![("ENABLE_LOCAL", "true"), ("SNAPSHOT_RETAIN", "1")];
        variables.extend(names.iter().map(|name| (*name, "x")));
        let understood = from(&variables);
        let method = at(&understood, "jobs.vault.source.auth.method");
        (method, problems(understood).len())
    };
    let (role, secret, token) = ("VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_TOKEN");
    assert_eq!(method(&[role, secret, token]), (json!("approle"), 0));
    assert_eq!(method(&[role, secret]), (json!("approle"), 0));
    assert_eq!(method(&[role]), (json!("approle"), 0));
    assert_eq!(method(&[role, token]), (json!("token"), 0));
    assert_eq!(method(&[token]), (json!("token"), 0));
    assert_eq!(method(&[]), (Value::Null, 0));
    assert_eq!(method(&[secret]), (Value::Null, 1));
}

#[test]
fn trust_is_said_only_where_there_is_tls() {
    let with = |address, skip: &str| {
        let understood = from(&[
            ("VAULT_ADDR", address),
            ("VAULT_SKIP_VERIFY", skip),
            ("VAULT_CACERT", "/ca.pem"),
            ("ENABLE_LOCAL", "true"),
        ]);
        let source = |key: &str| at(&understood, &format!("jobs.vault.source.{key}"));
        (source("skip_verify"), source("ca_cert"))
    };
    assert_eq!(with("https://v", "true"), (json!(true), Value::Null));
    assert_eq!(with("https://v", "0"), (json!(false), json!("/ca.pem")));
    assert_eq!(with("https://v", ""), (Value::Null, json!("/ca.pem")));
    assert_eq!(with("http://v", "true"), (json!(false), Value::Null));
}

#[test]
fn none_to_retain_means_all_of_them() {
    let understood = from(&[("SNAPSHOT_RETAIN", "0"), ("ENABLE_LOCAL", "true")]);
    assert_eq!(at(&understood, "jobs.vault.retention"), Value::Null);
    assert!(problems(understood).is_empty());
}

#[test]
fn the_smallest_environment_of_redis_vault_gets_its_defaults() {
    let understood = from(&[("REDIS_CONNECTION", "redis://r:6379")]);
    assert_eq!(
        Value::Object(understood.document.clone()),
        json!({
            "destinations": { "s3": {
                "type": "s3", "bucket": "redis-vault", "prefix": "redis-vault",
            } },
            "jobs": { "redis": {
                "source": {
                    "type": "redis", "url": "redis://r:6379", "data_dir": "/data",
                    "dump_filename": "dump.rdb",
                },
                "schedule": { "every": "1h", "initial_delay": "5m" },
                "run_on": "any",
                "retention": { "keep_last": 7 },
                "series": "redis-node",
            } },
        })
    );
}

#[test]
fn every_variable_of_redis_vault_finds_its_place() {
    let understood = from(&[
        ("REDIS_CONNECTION", "rediss://u:p@r:6380/1"),
        ("REDIS_DATA_PATH", "/var/lib/redis"),
        ("REDIS_NODE_NAME", "redis-0"),
        ("BACKUP_MASTER", "false"),
        ("BACKUP_INTERVAL", "1d"),
        ("INITIAL_DELAY", "90s"),
        ("DUMP_FILENAME", "d.rdb"),
        ("STORAGE_TYPE", "S3"),
        ("S3_BUCKET", "b"),
        ("S3_PREFIX", "p/q"),
        ("AWS_REGION", "eu-west-1"),
        ("S3_ENDPOINT", "http://minio:9000"),
        ("RETENTION_KEEP_LAST", "3"),
        ("RETENTION_KEEP_DURATION", "30d"),
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "DEBUG"),
        ("METRICS_ENABLED", "false"),
        ("METRICS_PORT", "9191"),
        ("METRICS_LISTEN_ADDRESS", "[::]"),
    ]);
    assert_eq!(
        Value::Object(understood.document.clone()),
        json!({
            "destinations": { "s3": {
                "type": "s3", "bucket": "b", "prefix": "p/q", "region": "eu-west-1",
                "endpoint": "http://minio:9000",
            } },
            "jobs": { "redis": {
                "source": {
                    "type": "redis", "url": "rediss://u:p@r:6380/1",
                    "data_dir": "/var/lib/redis", "dump_filename": "d.rdb",
                },
                "schedule": { "every": "1d", "initial_delay": "1m30s" },
                "run_on": "replica",
                "retention": { "keep_last": 3, "keep_within": "30d" },
                "series": "redis-0",
            } },
            "log": { "format": "json", "level": "debug" },
        })
    );
    assert!(understood.drop_in.warnings.is_empty());
    assert!(problems(understood).is_empty());
}

#[test]
fn google_cloud_storage_needs_its_bucket_and_nothing_else() {
    let understood = from(&[
        ("REDIS_NODE_NAME", "n"),
        ("STORAGE_TYPE", "gcs"),
        ("GCS_BUCKET", "b"),
        ("GCS_PROJECT_ID", "acme"),
    ]);
    assert_eq!(
        at(&understood, "destinations"),
        json!({ "gcs": {
            "type": "gcs", "bucket": "b", "prefix": "redis-vault", "project": "acme",
        } })
    );
    let found = problems(from(&[("REDIS_NODE_NAME", "n"), ("STORAGE_TYPE", "gcs")]));
    assert_eq!(found[0].path, "GCS_BUCKET");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_storage_url_stands_instead_of_the_single_settings() {
    let with = |url| {
        from(&[
            ("REDIS_NODE_NAME", "n"),
            ("STORAGE_URL", url),
            ("S3_BUCKET", "other"),
        ])
    };
    for (url, destinations) in [
        ("s3://b/p/q/", json!({ "s3": "s3://b/p/q/" })),
        ("gs://b/p", json!({ "gcs": "gs://b/p" })),
    ] {
        let understood = with(url);
        assert_eq!(at(&understood, "destinations"), destinations);
        let warnings = &understood.drop_in.warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("`S3_BUCKET` is not used"));
    }
    for url in ["http://user:hush@host/", "bucket", "s3:/b", "S3"] {
        let found = problems(with(url));
        assert_eq!(found[0].path, "STORAGE_URL");
        assert!(!found[0].what.contains("hush"));
    }
}

#[test]
fn roles_become_the_roles_to_run_on() {
    for (master, replica, run_on) in [
        ("true", "true", json!("any")),
        ("true", "false", json!("primary")),
        ("false", "true", json!("replica")),
        ("", "0", json!("primary")),
        ("no", "off", Value::Null),
    ] {
        let understood = from(&[
            ("REDIS_NODE_NAME", "n"),
            ("BACKUP_MASTER", master),
            ("BACKUP_REPLICA", replica),
        ]);
        assert_eq!(at(&understood, "jobs.redis.run_on"), run_on);
        assert_eq!(problems(understood).is_empty(), run_on != Value::Null);
    }
}

#[test]
fn nothing_is_kept_by_no_rule() {
    let with = |within| {
        from(&[
            ("RETENTION_KEEP_LAST", "0"),
            ("RETENTION_KEEP_DURATION", within),
        ])
    };
    assert_eq!(problems(with(""))[0].path, "RETENTION_KEEP_LAST");
    let within = with("7d");
    let rules = json!({ "keep_last": 0, "keep_within": "7d" });
    assert_eq!(at(&within, "jobs.redis.retention"), rules);
    assert!(problems(within).is_empty());
}

#[test]
fn metrics_are_accepted_with_one_warning() {
    let with = |variable, value| from(&[("REDIS_NODE_NAME", "n"), (variable, value)]);
    let on = with("METRICS_ENABLED", "true");
    assert_eq!(on.drop_in.warnings.len(), 1, "{:?}", on.drop_in.warnings);
    // As Kubernetes sets it for a service called `metrics`.
    let link = with("METRICS_PORT", "tcp://10.0.0.1:9090");
    assert!(link.drop_in.warnings.is_empty());
    assert!(problems(link).is_empty());
    for (variable, value) in [
        ("METRICS_PORT", "0"),
        ("METRICS_PORT", "70000"),
        ("METRICS_PORT", "http"),
        ("METRICS_LISTEN_ADDRESS", "not an address"),
        ("METRICS_ENABLED", "perhaps"),
    ] {
        assert_eq!(problems(with(variable, value))[0].path, variable);
    }
}

#[test]
fn only_variables_that_tell_turn_an_environment_into_a_job() {
    for variables in [
        // What any client of Vault, Redis or AWS has.
        &[("VAULT_ADDR", "https://v:8200"), ("VAULT_TOKEN", "t")][..],
        &[("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "a")],
        &[
            ("LOG_LEVEL", "info"),
            ("LOG_FORMAT", "json"),
            ("RUST_LOG", "info"),
        ],
        &[
            ("METRICS_PORT", "tcp://10.0.0.1:9090"),
            ("INITIAL_DELAY", "3s"),
        ],
        // What Kubernetes sets for the services `redis`, `vault` and `redis-connection`.
        &[
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("REDIS_SERVICE_HOST", "10.0.0.1"),
            ("VAULT_SERVICE_HOST", "10.0.0.2"),
            ("VAULT_PORT_8200_TCP_ADDR", "10.0.0.2"),
            ("REDIS_CONNECTION_PORT", "tcp://10.0.0.1:6379"),
        ],
        &[("SNAPSHOT_RETAIN", ""), ("REDIS_CONNECTION", " ")],
    ] {
        assert!(!is_understood(variables), "{variables:?}");
    }
}

#[test]
fn a_second_set_is_told_from_what_merely_lies_around() {
    let program = |variables: &[(&str, &str)]| from(variables).drop_in.program;
    // An address of Vault, for an agent say, beside Redis.
    let redis = [
        ("REDIS_CONNECTION", "redis://r"),
        ("VAULT_ADDR", "http://v"),
    ];
    assert_eq!(program(&redis), "Redis Vault");
    let vault = [
        ("VAULT_ADDR", "http://v"),
        ("ENABLE_S3", "true"),
        ("S3_BUCKET", "b"),
    ];
    assert_eq!(program(&vault), "GoVaLite");
    assert_eq!(program(&[("S3_BUCKET", "b")]), "Redis Vault");
    assert_eq!(program(&[("ENABLE_LOCAL", "true")]), "GoVaLite");

    let both: Env = [("SNAPSHOT_RETAIN", "5"), ("REDIS_NODE_NAME", "n")].into();
    let error = understand(None, &both).expect_err("two jobs");
    assert!(
        error.why.contains("GoVaLite (`SNAPSHOT_RETAIN`)"),
        "{error}"
    );
    assert!(error.why.contains("Redis Vault (`REDIS_NODE_NAME`)"));
}

#[test]
fn a_job_of_our_own_goes_before_everything() {
    let foreign = ("REDIS_CONNECTION", "redis://r");
    for own in ["LIFEBOAT_JOBS__APP__SOURCE__TYPE", "LIFEBOAT_JOBS"] {
        assert!(!is_understood(&[foreign, (own, "x")]), "{own}");
    }
    assert!(is_understood(&[
        foreign,
        ("LIFEBOAT_JOBS_PORT", "tcp://10.0.0.1:80")
    ]));
    assert!(is_understood(&[foreign, ("LIFEBOAT_LOG__LEVEL", "debug")]));
    let jobs = "jobs: { app: { source: { type: sqlite, path: /a } } }";
    assert!(file(jobs, &[foreign]).is_none());
    for without in ["", "jobs:", "jobs: {}", "log: { level: debug }"] {
        let understood = file(without, &[foreign]).expect("no job of ours");
        assert!(!understood.owns_file, "{without}");
    }
}

#[test]
fn a_file_is_known_by_its_top_level_keys() {
    for theirs in ["redis: {}", "backup:", "storage: { type: GCS, bucket: b }"] {
        assert!(file(theirs, &[]).expect(theirs).owns_file, "{theirs}");
    }
    // These might be mistakes in one of ours, unless the environment tells.
    for unsure in ["retention: { keep_last: 3 }", "logging: {}", "metrics: {}"] {
        assert!(file(unsure, &[]).is_none(), "{unsure}");
        let beside = file(unsure, &[("REDIS_NODE_NAME", "n")]).expect(unsure);
        assert!(beside.owns_file, "{unsure}");
    }
    for ours in [
        "redis: {}\nlog: {}",
        "destinations: {}\nbackup: {}",
        "- a",
        "a: [",
        "",
    ] {
        assert!(file(ours, &[]).is_none(), "{ours}");
    }
}

#[test]
fn the_environment_goes_before_the_file_key_by_key() {
    let text = "\
redis: { node_name: 007, data_path: /d, backup_replica: false }
backup: { interval: 2h }
storage: { type: S3, bucket: b, prefix: p, region: null }
retention: { keep_last: 4 }
";
    let variables = [("BACKUP_INTERVAL", "3h"), ("S3_BUCKET", "other")];
    let understood = file(text, &variables).expect("their file");
    for (path, value) in [
        ("jobs.redis.series", json!("007")),
        ("jobs.redis.source.data_dir", json!("/d")),
        ("jobs.redis.run_on", json!("primary")),
        ("jobs.redis.schedule.every", json!("3h")),
        ("jobs.redis.retention.keep_last", json!(4)),
        ("destinations.s3.bucket", json!("other")),
        ("destinations.s3.prefix", json!("p")),
    ] {
        assert_eq!(at(&understood, path), value, "{path}");
    }
    let from = &understood.drop_in.from;
    assert_eq!(from[..], ["config.yaml", "BACKUP_INTERVAL", "S3_BUCKET"]);
}

#[test]
fn a_mistake_in_the_file_is_named_by_the_files_key() {
    let text = "redis: { node_name: 'a b', datapath: /d }\nbackup: { interval: often }\n";
    let found = problems(file(text, &[("INITIAL_DELAY", "later")]).expect("their file"));
    let mut paths: Vec<&str> = found.iter().map(|p| p.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "INITIAL_DELAY",
        "backup.interval",
        "redis.datapath",
        "redis.node_name",
    ];
    assert_eq!(paths, expected);
}

/// Every variable of both programs.
const VARIABLES: [&str; 42] = [
    "VAULT_ADDR",
    "VAULT_ROLE_ID",
    "VAULT_SECRET_ID",
    "VAULT_TOKEN",
    "VAULT_SKIP_VERIFY",
    "VAULT_CACERT",
    "SNAPSHOT_FREQUENCY",
    "SNAPSHOT_PREFIX",
    "SNAPSHOT_RETAIN",
    "SNAPSHOT_TIMEZONE",
    "ENABLE_S3",
    "ENABLE_LOCAL",
    "AWS_ENDPOINT_URL",
    "STORAGE_S3_BUCKET",
    "STORAGE_S3_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "STORAGE_LOCAL_PATH",
    "REDIS_CONNECTION",
    "REDIS_DATA_PATH",
    "REDIS_NODE_NAME",
    "BACKUP_MASTER",
    "BACKUP_REPLICA",
    "BACKUP_INTERVAL",
    "INITIAL_DELAY",
    "DUMP_FILENAME",
    "STORAGE_TYPE",
    "S3_BUCKET",
    "S3_PREFIX",
    "AWS_REGION",
    "S3_ENDPOINT",
    "GCS_BUCKET",
    "GCS_PREFIX",
    "GCS_PROJECT_ID",
    "STORAGE_URL",
    "RETENTION_KEEP_LAST",
    "RETENTION_KEEP_DURATION",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "METRICS_ENABLED",
    "METRICS_PORT",
    "METRICS_LISTEN_ADDRESS",
];

proptest! {
    #[test]
    fn whatever_a_duration_says_it_is_read_or_refused(text in "[0-9.a-zµ +\\-]{0,24}|.{0,12}") {
        for units in [duration::GO, duration::HUMANTIME] {
            let _ = duration::parse(&text, units);
        }
    }

    #[test]
    fn whatever_the_variables_hold_all_is_a_document_or_a_problem(
        values in proptest::collection::vec((0..VARIABLES.len(), value()), 0..20)
    ) {
        let variables = values.into_iter().map(|(at, value)| (VARIABLES[at], value));
        let env: Env = variables.collect();
        // All the way, as the program does.
        let loaded = crate::config::load(Some(std::path::Path::new("/dev/null")), &env);
        if let Err(error) = loaded {
            prop_assert_eq!(error.kind, crate::error::Kind::Usage);
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "true|false|1h|5|s3|gcs|https://v:8200|redis://r:6379|s3://b/p|UTC|json|a/b-",
        "[ -~]{0,20}",
        ".{0,10}",
    ]
}
