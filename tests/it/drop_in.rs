//! Containers of GoVaLite and Redis Vault that get Lifeboat's image and nothing else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon_support::Daemon;
use crate::sandbox::{Ended, Sandbox, names};
use crate::shelf::Shelf;
use crate::support::vault_double::SNAPSHOT;
use crate::support::{Answer, RedisServer, S3Server, VaultCluster, VaultDouble};

const CANARY: &str = "canary-51c0de";

/// A sandbox with these variables.
fn container(variables: &[(&str, &str)]) -> Sandbox {
    let mut sandbox = Sandbox::new();
    for (name, value) in variables {
        sandbox.set(name, value);
    }
    sandbox
}

fn shown(sandbox: &Sandbox) -> Value {
    sandbox.run(["config", "show", "--json"]).ok().document()
}

/// Each line below `error: … has N mistakes`, with its spaces squeezed.
fn mistakes(ended: &Ended) -> Vec<String> {
    let lines = ended.code(2).stderr.lines();
    lines
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    fs::read(path).expect("a fixture")
}

#[test]
fn the_first_line_says_whose_settings_were_understood() {
    let sandbox = container(&[
        ("VAULT_ADDR", "https://vault:8200"),
        ("VAULT_TOKEN", CANARY),
        ("ENABLE_LOCAL", "true"),
    ]);
    let ended = sandbox.run(["config", "show"]);
    assert_eq!(
        ended.ok().stdout.lines().next(),
        Some("# understood from the settings of GoVaLite: ENABLE_LOCAL, VAULT_ADDR, VAULT_TOKEN")
    );
    let checked = sandbox.run(["config", "check"]);
    assert_eq!(
        checked.ok().stdout,
        "ok  the environment alone, as settings of GoVaLite, 1 job, 1 destination\n"
    );
    let document = sandbox.run(["config", "check", "--json"]).ok().document();
    assert_eq!(document["settings_of"], "GoVaLite");
    assert!(sandbox.is_empty(), "looking made something");

    // What is shown is a configuration of our own that means the same.
    sandbox.write("config.yaml", &ended.stdout);
    let own = sandbox.run(["config", "show"]);
    let (_, body) = ended.stdout.split_once('\n').expect("a line and more");
    assert_eq!(own.ok().stdout, body);
}

#[test]
fn every_mistake_is_named_by_its_variable_and_reported_at_once() {
    let govalite = container(&[
        ("VAULT_ADDR", "vault:8200"),
        ("VAULT_SECRET_ID", CANARY),
        ("SNAPSHOT_FREQUENCY", "1d"),
        ("SNAPSHOT_RETAIN", "-1"),
        ("SNAPSHOT_TIMEZONE", "Asia/Jakart"),
        ("SNAPSHOT_PREFIX", "a b-"),
        ("ENABLE_S3", "true"),
        ("ENABLE_LOCAL", "maybe"),
        ("AWS_ACCESS_KEY_ID", CANARY),
    ]);
    for command in [&["config", "check"][..], &["run"], &["list"], &[]] {
        let found = govalite.run(command);
        let named: Vec<String> = mistakes(&found)
            .iter()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(
            named,
            [
                "ENABLE_LOCAL",
                "SNAPSHOT_FREQUENCY",
                "SNAPSHOT_PREFIX",
                "SNAPSHOT_RETAIN",
                "SNAPSHOT_TIMEZONE",
                "STORAGE_S3_BUCKET",
                "VAULT_ADDR",
                "VAULT_ROLE_ID",
            ],
            "{command:?}"
        );
        assert!(!found.stderr.contains(CANARY));
    }
    let redis_vault = container(&[
        ("REDIS_CONNECTION", &format!("redis://u:{CANARY}@h:99999")),
        ("REDIS_NODE_NAME", "node/1"),
        ("BACKUP_MASTER", "false"),
        ("BACKUP_REPLICA", "no"),
        ("BACKUP_INTERVAL", "500ms"),
        ("INITIAL_DELAY", "300"),
        ("DUMP_FILENAME", "a/b"),
        ("STORAGE_TYPE", "s3"),
        ("S3_ENDPOINT", "minio:9000"),
        ("RETENTION_KEEP_LAST", "seven"),
        ("LOG_LEVEL", "loud"),
    ]);
    let found = redis_vault.run(["config", "check"]);
    assert!(!found.stderr.contains(CANARY));
    let found = mistakes(&found);
    for said in [
        "BACKUP_INTERVAL must be at least `1s`",
        "BACKUP_MASTER neither it nor `BACKUP_REPLICA` is on, so that nothing would ever be saved; set one of them to `true`",
        "INITIAL_DELAY `300` is not a duration; write `90s`, `30m` or `1h30m`",
        "LOG_LEVEL must be one of `error`, `warn`, `info`, `debug`, `trace`, not `loud`",
        "RETENTION_KEEP_LAST `seven` is not a whole number; write `7`",
        "S3_ENDPOINT must begin with `https://` or `http://` and name a host",
    ] {
        assert!(found.iter().any(|line| line == said), "{said}\n{found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn nowhere_to_go_is_an_error() {
    let sandbox = container(&[
        ("VAULT_ADDR", "http://v:8200"),
        ("SNAPSHOT_FREQUENCY", "1h"),
    ]);
    let ended = sandbox.run(["run"]);
    assert!(
        ended
            .code(2)
            .stderr
            .starts_with("error: the environment: ENABLE_S3: neither it nor `ENABLE_LOCAL` is on"),
        "{ended:#?}"
    );
}

#[test]
fn two_sets_at_once_are_an_error_for_people_to_decide() {
    let sandbox = container(&[("SNAPSHOT_RETAIN", "5"), ("REDIS_CONNECTION", "redis://r")]);
    for command in [&["run"][..], &["config", "show"], &[]] {
        let ended = sandbox.run(command);
        let stderr = &ended.code(2).stderr;
        assert!(stderr.contains("GoVaLite (`SNAPSHOT_RETAIN`)"), "{stderr}");
        assert!(stderr.contains("Redis Vault (`REDIS_CONNECTION`)"));
        assert!(stderr.contains("hint: "));
    }
}

#[test]
fn settings_of_our_own_go_before_and_beside() {
    let mut sandbox = container(&[("ENABLE_LOCAL", "true"), ("VAULT_ADDR", "https://v:8200")]);
    // Beside: whatever a variable of ours can set.
    sandbox
        .set("LIFEBOAT_DESTINATIONS__LOCAL__PATH", "/elsewhere")
        .set("LIFEBOAT_GRACE", "5s");
    sandbox.write("config.yaml", "destinations: { nas: 'file:///nas' }\n");
    let document = shown(&sandbox);
    assert_eq!(document["grace"], "5s");
    assert_eq!(document["destinations"]["nas"], "file:///nas");
    assert_eq!(document["destinations"]["local"]["path"], "/elsewhere");
    assert_eq!(document["jobs"]["vault"]["series"], "raft-snapshot");
    // A mistake there is ours, and named as ours.
    sandbox.set("LIFEBOAT_DESTINATIONS__LOCAL__CREATE", "perhaps");
    let ended = sandbox.run(["config", "check"]);
    assert!(
        ended.code(2).stderr.contains("destinations.local.create: "),
        "{ended:#?}"
    );
    // Before: a job.
    let sandbox = container(&[("ENABLE_LOCAL", "true"), ("VAULT_ADDR", "https://v:8200")]);
    let job = "jobs: { app: { source: { type: sqlite, path: /a }, destinations: [nas] } }\n";
    sandbox.write(
        "config.yaml",
        format!("destinations: {{ nas: 'file:///nas' }}\n{job}"),
    );
    let document = shown(&sandbox);
    assert!(document["jobs"].get("vault").is_none(), "{document:#}");
}

#[test]
fn a_secret_in_a_connection_is_never_shown() {
    let url = format!("redis://user:{CANARY}@127.0.0.1:9/0");
    let mut sandbox = container(&[
        ("REDIS_CONNECTION", &url),
        ("S3_ENDPOINT", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", CANARY),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("METRICS_ENABLED", "true"),
        ("RUST_LOG", "trace"),
    ]);
    let ended = sandbox.run(["config", "show"]);
    assert!(
        ended
            .ok()
            .stdout
            .contains("redis://user:<redacted>@127.0.0.1:9/0")
    );
    let warned = ended.stderr.matches("metrics are not served yet").count();
    assert_eq!(warned, 1, "{ended:#?}");
    sandbox.set("REDIS_DATA_PATH", "not-there");
    for command in ["config show --json", "config check", "backup -vv", "--once"] {
        let ended = sandbox.run(command.split(' '));
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!all.contains(CANARY), "`{command}`: {all}");
    }
}

#[test]
fn a_bare_call_prints_the_help_where_nothing_is_to_replace() {
    for variables in [
        &[][..],
        &[
            ("VAULT_ADDR", "http://v:8200"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ],
        &[
            ("LIFEBOAT_JOBS__APP__SOURCE__TYPE", "sqlite"),
            ("REDIS_NODE_NAME", "n"),
        ],
    ] {
        let ended = container(variables).run::<&str>([]);
        assert!(
            ended.code(2).stderr.contains("Usage: lifeboat"),
            "{ended:#?}"
        );
        assert!(!ended.stderr.contains("error:"), "{ended:#?}");
    }
    let ended = Sandbox::new().run(["-v"]);
    assert!(ended.code(2).stderr.contains("requires a subcommand"));
    let ended = Sandbox::new().run(["--once", "list"]);
    assert!(
        ended.code(2).stderr.contains("`--once` stands for"),
        "{ended:#?}"
    );
}

#[test]
fn a_configuration_without_a_command_is_run_by_the_daemon() {
    let sandbox = Sandbox::new();
    sandbox.folder("store");
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    sandbox.write(
        "own.yaml",
        format!(
            "destinations: {{ store: 'file://{0}/store' }}\n\
             jobs: {{ app: {{ source: {{ type: sqlite, path: {0}/app.db }} }} }}\n",
            sandbox.root().display()
        ),
    );
    for flag in ["--config", "-c"] {
        let mut daemon = Daemon::start_with(&sandbox, &[flag, "own.yaml"], &[]);
        daemon.expect("started: 1 job");
        daemon.stop();
    }
    sandbox.run(["--config", "own.yaml", "--once"]).ok();
    // Theirs exits 0 here.
    fs::remove_file(sandbox.path("app.db")).expect("it was there");
    sandbox.run(["--once", "--config", "own.yaml"]).code(1);
}

#[test]
fn govalite_runs_bare_makes_its_folder_and_files_under_its_prefix() {
    let double = VaultDouble::start();
    double.be_leader();
    double.on_snapshot([Answer::snapshot(&fixture("vault/vault-1.21.0.snap"))]);
    double.on(
        "POST",
        "auth/approle/login",
        [Answer::login("hvs.drop", 3600)],
    );
    let sandbox = container(&[
        ("VAULT_ADDR", &double.address()),
        ("VAULT_ROLE_ID", "role"),
        ("VAULT_SECRET_ID", CANARY),
        ("VAULT_TOKEN", "hvs.other"),
        ("ENABLE_LOCAL", "TRUE"),
        ("SNAPSHOT_PREFIX", "main/raft-snapshot-"),
        ("LOG_FORMAT", "json"),
    ]);
    // What it stored itself lies there already.
    let folder = sandbox.folder("snapshots/main");
    for day in 1..=3 {
        let old = format!("raft-snapshot-0{day}-11-2026-02-00-00.snap");
        fs::write(folder.join(old), fixture("vault/vault-1.21.0.snap")).expect("a file");
    }
    let mut daemon = Daemon::start_with(&sandbox, &[], &[]);
    daemon.expect("the settings of GoVaLite were understood");
    let event = daemon.run_event();
    assert_eq!(event["outcome"], "completed", "{event:#}");
    assert_eq!(daemon.stop().0, Some(0));
    let asked = double.requests_for("GET", SNAPSHOT);
    assert_eq!(asked[0].token(), Some("hvs.drop"), "AppRole goes first");
    let shelf = Shelf::new(&folder, "raft-snapshot");
    assert_eq!(shelf.ids().len(), 1);

    let listed = sandbox.run(["list", "--json"]).ok().document();
    assert_eq!(listed["backups"][0]["series"], "raft-snapshot");
    sandbox.run(["verify", "vault"]).ok();
    sandbox.run(["restore", "vault", "--to", "back.snap"]).ok();
    assert!(sandbox.path("back.snap").is_file());
    sandbox.run(["prune", "vault", "--apply"]).ok();

    // The old ones are counted, are left alone, and can be checked by their URL.
    let checks = sandbox.run(["check", "--json"]).document();
    let checks = checks["checks"].as_array().expect("a list");
    let foreign = checks
        .iter()
        .find(|check| check["name"] == "foreign objects");
    let foreign = foreign.unwrap_or_else(|| panic!("not found: {checks:#?}"));
    assert_eq!(foreign["outcome"], "ok");
    assert_eq!(
        foreign["detail"],
        "3 objects that Lifeboat did not write, such as \
         raft-snapshot-01-11-2026-02-00-00.snap: left alone"
    );
    let mut kept = names(&folder);
    kept.retain(|name| name.ends_with(".snap"));
    assert_eq!(kept.len(), 3, "{kept:?}");
    let url = format!("file://{}/{}", folder.display(), kept[0]);
    let verified = sandbox.run(["verify", &url]);
    assert!(
        verified.ok().stdout.starts_with("ok  vault  "),
        "{verified:?}"
    );
}

#[test]
fn a_folder_that_govalite_would_make_is_made_by_the_first_backup_only() {
    let double = VaultDouble::start();
    double.be_leader();
    double.on_snapshot([Answer::snapshot(&fixture("vault/vault-1.21.0.snap"))]);
    let sandbox = container(&[
        ("VAULT_ADDR", &double.address()),
        ("VAULT_TOKEN", "hvs.x"),
        ("ENABLE_LOCAL", "true"),
        ("STORAGE_LOCAL_PATH", "deep/er"),
    ]);
    let listed = sandbox.run(["list", "--json"]).ok().document();
    assert_eq!(listed, json!({ "backups": [] }));
    sandbox.run(["status"]).code(4);
    assert!(sandbox.is_empty());
    sandbox.run(["backup"]).ok();
    assert_eq!(names(&sandbox.path("deep/er")), ["raft-snapshot"]);
}

#[test]
#[ignore = "needs vault and minio"]
fn govalite_beside_a_real_vault_goes_to_a_bucket() {
    // Its mount is the one name that every test would take.
    let vault = VaultCluster::start(1);
    let (role_id, secret_id) = vault.enable_approle("approle", &json!({}));
    let store = S3Server::minio();
    store.create_bucket("snaps");
    let old = "prod/vault-01-11-2026-02-00-00.snap";
    store.put_object("snaps", old, &vault.snapshot());
    store.put_object("snaps", "prod/vault-torn.snap", &vault.snapshot()[..900]);
    let sandbox = container(&[
        ("VAULT_ADDR", &vault.nodes[0].address),
        ("VAULT_ROLE_ID", &role_id),
        ("VAULT_SECRET_ID", &secret_id),
        ("SNAPSHOT_PREFIX", "prod/vault-"),
        ("SNAPSHOT_RETAIN", "2"),
        ("ENABLE_S3", "true"),
        ("AWS_ENDPOINT_URL", &store.endpoint),
        ("STORAGE_S3_BUCKET", "snaps"),
        ("AWS_ACCESS_KEY_ID", &store.access_key),
        ("AWS_SECRET_ACCESS_KEY", &store.secret_key),
    ]);
    for _ in 0..3 {
        sandbox.run(["--once"]).ok();
    }
    let listed = sandbox.run(["list", "--json"]).ok().document();
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(2));
    let checked = sandbox.run(["check"]);
    assert!(
        checked
            .ok()
            .stdout
            .contains("2 objects that Lifeboat did not write"),
        "{checked:#?}"
    );
    let url = |key: &str| format!("s3://snaps/{key}");
    let verified = sandbox.run(["verify", &url(old)]);
    assert!(
        verified
            .ok()
            .stdout
            .starts_with("ok  vault  s3://snaps/prod/")
    );
    let torn = sandbox.run(["verify", &url("prod/vault-torn.snap"), "--json"]);
    assert_eq!(torn.code(5).document()["checked"][0]["outcome"], "damaged");
    sandbox.run(["verify", &url("prod/not-there.snap")]).code(1);
    sandbox.run(["verify", "s3://snaps/prod/"]).code(2);
}

#[test]
#[ignore = "needs redis-server and minio"]
fn redis_vault_runs_from_its_own_file_and_flags() {
    let server = RedisServer::start(&[]);
    server.populate(50, "k", 20);
    server.save();
    let store = S3Server::minio();
    store.create_bucket("redis-vault");
    let old = "redis-vault/node-1_20261101_020000.rdb";
    let dump = fs::read(server.dump_path()).expect("a dump");
    store.put_object("redis-vault", old, &dump);
    let mut sandbox = container(&[
        ("AWS_ACCESS_KEY_ID", &store.access_key),
        ("AWS_SECRET_ACCESS_KEY", &store.secret_key),
        ("REDIS_DATA_PATH", &server.dir.to_string_lossy()),
    ]);
    sandbox.write(
        "vault.yaml",
        format!(
            "redis: {{ connection_string: '{}', data_path: /nowhere, node_name: node-1 }}\n\
             backup: {{ interval: 1h, initial_delay: 0s }}\n\
             storage: {{ type: S3, endpoint: '{}' }}\n\
             retention: {{ keep_last: 7, keep_duration: 30d }}\n\
             logging: {{ format: json }}\n",
            server.url(),
            store.endpoint
        ),
    );
    let mut daemon = Daemon::start_with(&sandbox, &["--config", "vault.yaml"], &[]);
    let event = daemon.run_event();
    assert_eq!(event["outcome"], "completed", "{event:#}");
    assert_eq!(event["series"], "node-1");
    assert_eq!(daemon.stop().0, Some(0));
    server.populate(60, "k", 20);
    server.save();
    sandbox.run(["--once", "--config", "vault.yaml"]).ok();
    let listed = sandbox.run(["list", "redis", "--json", "--config", "vault.yaml"]);
    assert_eq!(
        listed.ok().document()["backups"].as_array().map(Vec::len),
        Some(2)
    );
    let checked = sandbox.run(["check", "--config", "vault.yaml"]);
    assert!(
        checked
            .stdout
            .contains("1 object that Lifeboat did not write"),
        "{checked:#?}"
    );
    let url = format!("s3://redis-vault/{old}?endpoint={}", store.endpoint);
    sandbox.run(["verify", &url]).ok();
    assert_eq!(store.get_object("redis-vault", old), dump);

    // As on a primary whose backups are not wanted.
    sandbox.set("BACKUP_MASTER", "false");
    let skipped = sandbox.run(["--once", "--json", "--config", "vault.yaml"]);
    assert_eq!(skipped.ok().document()["runs"][0]["outcome"], "skipped");
    // A missing dump is a failure, where theirs completes.
    sandbox.set("BACKUP_MASTER", "true");
    sandbox.set("DUMP_FILENAME", "other.rdb");
    sandbox.run(["--once", "--config", "vault.yaml"]).code(1);
}

/// The variables of both programs, as their documentation lists them.
const VARIABLES: &str = "\
VAULT_ADDR VAULT_ROLE_ID VAULT_SECRET_ID VAULT_TOKEN SNAPSHOT_FREQUENCY SNAPSHOT_PREFIX
SNAPSHOT_RETAIN SNAPSHOT_TIMEZONE ENABLE_S3 ENABLE_LOCAL AWS_ENDPOINT_URL STORAGE_S3_BUCKET
STORAGE_S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY STORAGE_LOCAL_PATH VAULT_SKIP_VERIFY
VAULT_CACERT
REDIS_CONNECTION REDIS_DATA_PATH REDIS_NODE_NAME BACKUP_MASTER BACKUP_REPLICA BACKUP_INTERVAL
INITIAL_DELAY DUMP_FILENAME STORAGE_TYPE S3_BUCKET S3_PREFIX AWS_REGION S3_ENDPOINT GCS_BUCKET
GCS_PREFIX GCS_PROJECT_ID STORAGE_URL RETENTION_KEEP_LAST RETENTION_KEEP_DURATION LOG_FORMAT
LOG_LEVEL RUST_LOG METRICS_ENABLED METRICS_PORT METRICS_LISTEN_ADDRESS";

/// And the keys of Redis Vault's file.
const KEYS: &str = "\
redis.connection_string redis.data_path redis.node_name redis.backup_master redis.backup_replica
backup.interval backup.dump_filename backup.initial_delay backup.storage_url storage.type
storage.bucket storage.prefix storage.region storage.endpoint retention.keep_last
retention.keep_duration logging.format logging.level metrics.enabled metrics.port
metrics.listen_address";

#[test]
fn the_page_for_people_who_move_names_every_variable_and_key() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/moving.md");
    let page = fs::read_to_string(page).expect("the page");
    for name in VARIABLES.split_whitespace().chain(KEYS.split_whitespace()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not there");
    }
}
