//! Settings and secrets from environment variables, from the real program.

use serde_json::{Value, json};

use crate::sandbox::{Ended, Sandbox};

const CANARY: &str = "canary-7f3a91";

const SOUND: &str = "\
destinations:
  nas: file:///backups
  my-store: { type: local, path: /store }
jobs:
  app:
    source: { type: sqlite, path: /data/app.db }
  my-cache.eu:
    source: { type: redis }
    destinations: [nas]
";

/// `config show` over a configuration and some variables.
fn shown(yaml: &str, variables: &[(&str, &str)]) -> Ended {
    let mut sandbox = Sandbox::new();
    sandbox.write("config.yaml", yaml);
    for (name, value) in variables {
        sandbox.set(name, value);
    }
    sandbox.run(["config", "show", "--json"])
}

#[track_caller]
fn set(name: &str, value: &str, pointer: &str) -> Value {
    let ended = shown(SOUND, &[(name, value)]);
    let document = ended.ok().document();
    let found = document.pointer(pointer);
    found
        .unwrap_or_else(|| panic!("nothing at {pointer}: {document:#}"))
        .clone()
}

#[test]
fn a_variable_reaches_every_level() {
    for (name, value, pointer, expected) in [
        ("LIFEBOAT_GRACE", "10s", "/grace", json!("10s")),
        ("LIFEBOAT_SCRATCH_DIR", "/x", "/scratch_dir", json!("/x")),
        ("LIFEBOAT_LOG__LEVEL", "debug", "/log/level", json!("debug")),
        (
            "LIFEBOAT_DESTINATIONS__NAS",
            "s3://b/p",
            "/destinations/nas",
            json!("s3://b/p"),
        ),
        (
            "LIFEBOAT_DESTINATIONS__MY_STORE__PATH",
            "/elsewhere",
            "/destinations/my-store/path",
            json!("/elsewhere"),
        ),
        (
            "LIFEBOAT_JOBS__APP__ENABLED",
            "no",
            "/jobs/app/enabled",
            json!(false),
        ),
        (
            "LIFEBOAT_JOBS__APP__SCHEDULE__EVERY",
            "30m",
            "/jobs/app/schedule/every",
            json!("30m"),
        ),
        (
            "LIFEBOAT_JOBS__MY_CACHE_EU__SOURCE__DATA_DIR",
            "/elsewhere",
            "/jobs/my-cache.eu/source/data_dir",
            json!("/elsewhere"),
        ),
        (
            "LIFEBOAT_JOBS__APP__RETENTION__KEEP_LAST",
            "7",
            "/jobs/app/retention/keep_last",
            json!(7),
        ),
        (
            "LIFEBOAT_JOBS__APP__SEAL__LEVEL",
            "9",
            "/jobs/app/seal/level",
            json!(9),
        ),
    ] {
        assert_eq!(set(name, value, pointer), expected, "{name}");
    }
}

#[test]
fn lists_are_json_or_separated_by_commas_and_maps_are_json() {
    let both = json!(["nas", "my-store"]);
    for text in ["nas,my-store", " nas , my-store ", "[\"nas\",\"my-store\"]"] {
        let name = "LIFEBOAT_JOBS__APP__DESTINATIONS";
        assert_eq!(set(name, text, "/jobs/app/destinations"), both, "{text}");
    }
    assert_eq!(
        set(
            "LIFEBOAT_JOBS__APP__SCHEDULE",
            "{\"every\": \"2h\"}",
            "/jobs/app/schedule/every"
        ),
        "2h"
    );
}

#[test]
fn a_variable_with_file_at_its_end_names_the_file_that_holds_the_value() {
    let mut sandbox = Sandbox::new();
    sandbox.write("config.yaml", SOUND);
    sandbox.write("every", "45m\n");
    sandbox.write("password", CANARY);
    sandbox
        .set("LIFEBOAT_JOBS__APP__SCHEDULE__EVERY_FILE", "every")
        .set(
            "LIFEBOAT_JOBS__MY_CACHE_EU__SOURCE__PASSWORD_FILE",
            "password",
        );
    let document = sandbox.run(["config", "show", "--json"]).ok().document();
    assert_eq!(document["jobs"]["app"]["schedule"]["every"], "45m");
    assert_eq!(
        document["jobs"]["my-cache.eu"]["source"]["password"],
        json!({ "file": "password" })
    );
    sandbox.set("LIFEBOAT_GRACE_FILE", "missing");
    assert_eq!(
        sandbox.run(["config", "check"]).code(2).stderr,
        "error: config.yaml: grace: cannot read `missing`: no such file (from `LIFEBOAT_GRACE_FILE`)\n"
    );
}

#[test]
fn the_environment_alone_makes_a_whole_job() {
    let mut sandbox = Sandbox::new();
    sandbox.folder("backups");
    let database = sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    let backups = format!("file://{}", sandbox.path("backups").display());
    sandbox
        .set("LIFEBOAT_DESTINATIONS__NAS", &backups)
        .set("LIFEBOAT_JOBS__WEB_APP__SOURCE__TYPE", "sqlite")
        .set(
            "LIFEBOAT_JOBS__WEB_APP__SOURCE__PATH",
            &database.to_string_lossy(),
        );
    let checked = sandbox.run(["config", "check"]);
    assert_eq!(
        checked.ok().stdout,
        "ok  the environment alone, 1 job, 1 destination\n"
    );
    let runs = sandbox.run(["backup", "--json"]).ok().document();
    assert_eq!(runs["runs"][0]["job"], "web_app");
    assert_eq!(runs["runs"][0]["outcome"], "completed");
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    for (name, value, said) in [
        (
            "LIFEBOAT_JOBS__APP__SCHEDULE__EVRY",
            "1h",
            "jobs.app.schedule.evry: unknown key; did you mean `every`? (from `LIFEBOAT_JOBS__APP__SCHEDULE__EVRY`)",
        ),
        (
            "LIFEBOAT_JOBS__APP__SCHEDULE__EVERY",
            "1hour30",
            "jobs.app.schedule.every: `1hour30` is not a duration; write `1h30m` (from `LIFEBOAT_JOBS__APP__SCHEDULE__EVERY`)",
        ),
        (
            "LIFEBOAT_JOBS__NEW__SCHEDULE__EVERY",
            "1h",
            "jobs.new: missing key `source` (from `LIFEBOAT_JOBS__NEW__SCHEDULE__EVERY`)",
        ),
        (
            "LIFEBOAT_JOBZ__APP__ENABLED",
            "true",
            "jobz: unknown key; did you mean `jobs`? (from `LIFEBOAT_JOBZ__APP__ENABLED`)",
        ),
    ] {
        assert_eq!(
            shown(SOUND, &[(name, value)]).code(2).document()["error"]["why"],
            said
        );
    }
}

#[test]
fn the_variables_that_kubernetes_sets_for_services_do_no_harm() {
    let plain = shown(SOUND, &[]);
    let beside_services = shown(
        SOUND,
        &[
            ("LIFEBOAT_PORT", "tcp://10.0.0.1:80"),
            ("LIFEBOAT_SERVICE_HOST", "10.0.0.1"),
            ("LIFEBOAT_SERVICE_PORT", "80"),
            ("LIFEBOAT_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("LIFEBOAT_SERVICE_PORT_HTTP", "80"),
        ],
    );
    assert_eq!(beside_services.ok().stdout, plain.ok().stdout);
}

/// The keys from the document's root down to each variable's value.
fn values(document: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.to_uppercase().replace(['-', '.'], "_");
                let separator = if path == "LIFEBOAT" { "_" } else { "__" };
                values(value, &format!("{path}{separator}{key}"), found);
            }
        }
        Value::Null => {}
        value => found.push((path.to_owned(), value.clone())),
    }
}

#[test]
fn every_listed_variable_is_known_and_every_value_shown_can_be_set_by_its_variable() {
    let sandbox = Sandbox::new();
    let listed = sandbox.run(["config", "env"]);
    let listed: Vec<&str> = listed
        .ok()
        .stdout
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let sample = format!("{}/config.yaml", env!("CARGO_MANIFEST_DIR"));
    let shown = sandbox.run(["config", "show", "--json", "--config", &sample]);
    let mut all = Vec::new();
    values(&shown.ok().document(), "LIFEBOAT", &mut all);
    assert!(all.len() > 40, "{all:?}");

    // Without any file, the variables alone give the same configuration.
    let mut environment = Sandbox::new();
    for (name, value) in &all {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        environment.set(name, &value);
        let generic = ["APP", "ARCHIVE", "CACHE", "NAS", "OFFSITE", "VAULT"]
            .iter()
            .fold(name.clone(), |name, own| {
                name.replacen(&format!("S__{own}__"), "S__<NAME>__", 1)
            });
        assert!(
            listed.contains(&generic.as_str()),
            "{generic} is not listed"
        );
    }
    let same = environment.run(["config", "show", "--json"]);
    assert_eq!(same.ok().document(), shown.document());

    // And each listed one is known: whatever is wrong with `#`, it is not the key.
    for name in &listed {
        let mut sandbox = Sandbox::new();
        sandbox.set(&name.replace("<NAME>", "X"), "#");
        let ended = sandbox.run(["config", "check"]);
        assert!(!ended.stderr.contains("unknown key"), "{name}: {ended:#?}");
    }
}

#[test]
fn a_secret_that_is_not_there_is_found_at_load() {
    let yaml = |secret: &str| {
        format!(
            "destinations: {{ nas: 'file:///b' }}\njobs:\n  c: {{ source: {{ type: redis, password: {secret} }} }}\n"
        )
    };
    for (secret, said) in [
        (
            "{ env: NOT_SET }",
            "environment variable `NOT_SET` is not set",
        ),
        ("{ env: EMPTY }", "environment variable `EMPTY` is empty"),
        ("{ file: missing }", "cannot read `missing`: no such file"),
        ("{ file: . }", "cannot read `.`: it is a directory"),
    ] {
        for command in [
            ["config", "check"],
            ["run", "-v"],
            ["backup", "c"],
            ["list", "c"],
        ] {
            let mut sandbox = Sandbox::new();
            sandbox.set("EMPTY", "").write("config.yaml", yaml(secret));
            assert_eq!(
                sandbox.run(command).code(2).stderr,
                format!("error: config.yaml: jobs.c.source.password: {said}\n")
            );
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let mut sandbox = Sandbox::new();
    sandbox.write("secret", CANARY);
    sandbox.write(
        "config.yaml",
        format!(
            "\
destinations:
  nas: file:///not-there
  s3:
    type: s3
    bucket: b
    endpoint: http://127.0.0.1:9
    access_key_id: AKIA{CANARY}
    secret_access_key: s-{CANARY}
    session_token: t-{CANARY}
jobs:
  plain: {{ source: {{ type: redis, url: 'redis://127.0.0.1:9', password: p-{CANARY} }}, destinations: [s3] }}
  url: {{ source: {{ type: redis, url: 'redis://user:u-{CANARY}@127.0.0.1:9' }}, destinations: [nas] }}
  env: {{ source: {{ type: redis, url: 'redis://127.0.0.1:9', password: {{ env: HIDDEN }} }}, destinations: [nas] }}
  file: {{ source: {{ type: redis, url: 'redis://127.0.0.1:9', password: {{ file: secret }} }}, destinations: [nas] }}
log: {{ level: trace }}
"
        ),
    );
    sandbox
        .set("HIDDEN", CANARY)
        .set("RUST_LOG", "trace")
        .set("LIFEBOAT_JOBS__SET__DESTINATIONS", "nas")
        .set("LIFEBOAT_JOBS__SET__SOURCE__TYPE", "redis")
        .set("LIFEBOAT_JOBS__SET__SOURCE__URL", "redis://127.0.0.1:9")
        .set("LIFEBOAT_JOBS__SET__SOURCE__PASSWORD", CANARY);
    let shown = sandbox.run(["config", "show"]);
    assert!(shown.ok().stdout.contains("password: <redacted>"));
    assert!(shown.stdout.contains("redis://user:<redacted>@127.0.0.1:9"));
    for arguments in [
        "config show",
        "config show --json",
        "config check -vv",
        "config env",
        "backup -vv --destination nas",
        "status --json --destination nas",
        "check -vv --destination nas",
        // Each call of a store that does not answer takes seconds.
        "list plain -vv",
    ] {
        let ended = sandbox.run(arguments.split(' '));
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!all.contains(CANARY), "`{arguments}` shows a secret: {all}");
    }
    for wrong in [
        "redis://u:canary-7f3a91@h:99999",
        "redis://u:canary-7f3a91@h?data_dri=/x",
    ] {
        let ended = sandbox.run(["backup", "--source", wrong, "--destination", "file:///x"]);
        assert!(!ended.code(2).stderr.contains(CANARY), "{ended:#?}");
        sandbox.set("LIFEBOAT_JOBS__SET__SOURCE__URL", wrong);
        let ended = sandbox.run(["config", "check"]);
        assert!(!ended.stderr.contains(CANARY), "{ended:#?}");
    }
}

#[test]
fn what_is_shown_loads_again_as_the_same_configuration() {
    let sandbox = Sandbox::new();
    sandbox.write("config.yaml", SOUND);
    let first = sandbox.run(["config", "show"]);
    sandbox.write("config.yaml", &first.ok().stdout);
    assert_eq!(sandbox.run(["config", "show"]).ok().stdout, first.stdout);
    let json = sandbox.run(["config", "show", "--json"]);
    sandbox.write("config.yaml", &json.ok().stdout);
    assert_eq!(sandbox.run(["config", "show"]).ok().stdout, first.stdout);
}
