//! The documents that `--json` prints, field by field, and the exit codes.

use std::fs;

use serde_json::Value;

use super::program::{Home, add_rows, open_existing};

/// Every field is there and has its type: `s` text, `n` number, `b` boolean, `a` list, `o` object;
/// with `?` it may be null.
#[track_caller]
fn has(document: &Value, fields: &[(&str, &str)]) {
    for (name, kind) in fields {
        let value = document
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in {document:#}"));
        let fits = match kind.trim_end_matches('?') {
            "s" => value.is_string(),
            "n" => value.is_number(),
            "b" => value.is_boolean(),
            "a" => value.is_array(),
            "o" => value.is_object(),
            other => panic!("no kind is called {other}"),
        };
        let null = kind.ends_with('?') && value.is_null();
        assert!(fits || null, "`{name}` is {value} in {document:#}");
    }
    let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    for name in document.as_object().unwrap().keys() {
        assert!(
            known.contains(&name.as_str()),
            "`{name}` is no part of the contract"
        );
    }
}

#[track_caller]
fn only<'a>(document: &'a Value, list: &str) -> &'a Value {
    let items = document[list]
        .as_array()
        .unwrap_or_else(|| panic!("no `{list}` in {document:#}"));
    assert_eq!(items.len(), 1, "{document:#}");
    &items[0]
}

#[track_caller]
fn is_a_moment(value: &Value) {
    let text = value.as_str().unwrap();
    text.parse::<jiff::Timestamp>().unwrap();
    assert!(text.ends_with('Z'), "{text} is not in UTC");
}

const RUN: &[(&str, &str)] = &[
    ("job", "s"),
    ("engine", "s"),
    ("outcome", "s"),
    ("reason", "s?"),
    ("role", "s"),
    ("id", "s?"),
    ("plain_bytes", "n?"),
    ("stored_bytes", "n?"),
    ("seconds", "n"),
    ("destinations", "a"),
];

const PART: &[(&str, &str)] = &[
    ("name", "s"),
    ("outcome", "s"),
    ("key", "s?"),
    ("error", "s?"),
    ("pruned", "n"),
];

#[test]
fn backup_prints_its_runs() {
    let home = Home::with_app();
    for outcome in ["stored", "unchanged"] {
        let run = home.run(&["backup", "--json"]).exits(0);
        assert_eq!(run.stderr, "");
        let document = run.json();
        has(&document, &[("runs", "a")]);
        let run = only(&document, "runs");
        has(run, RUN);
        assert_eq!(
            (&run["job"], &run["engine"]),
            (&"app".into(), &"sqlite".into())
        );
        assert_eq!(run["outcome"], "completed");
        assert_eq!(run["role"], "standalone");
        let part = only(run, "destinations");
        has(part, PART);
        assert_eq!(part["name"], "store");
        assert_eq!(part["outcome"], outcome);
        let shown = home.run(&["show", "app", "--json"]).exits(0).json();
        assert_eq!(part["key"], shown["key"]);
        assert_eq!(run["id"], shown["id"]);
        assert_eq!(run["plain_bytes"], shown["plain"]["bytes"]);
        assert_eq!(run["stored_bytes"], shown["stored"]["bytes"]);
    }
    fs::remove_file(home.path("app.db")).unwrap();
    let document = home.run(&["backup", "--json"]).exits(1).json();
    let run = only(&document, "runs");
    has(run, RUN);
    assert_eq!(run["outcome"], "failed");
    assert!(run["reason"].is_string() && run["id"].is_null() && run["plain_bytes"].is_null());
    has(only(run, "destinations"), PART);
}

#[test]
fn one_destination_of_two_that_failed_is_completed_and_exit_3() {
    let home = Home::with_app();
    let dir = home.path("");
    let dir = dir.display();
    let text = format!(
        "destinations:\n  good: {{ type: local, path: \"{dir}/backups\" }}\n  \
         gone: {{ type: local, path: \"{dir}/gone\" }}\nscratch_dir: \"{dir}/scratch\"\n\
         jobs:\n  app:\n    source: {{ type: sqlite, path: \"{dir}/app.db\" }}\n"
    );
    fs::write(home.path("config.yaml"), text).unwrap();
    let document = home.run(&["backup", "--json"]).exits(3).json();
    let run = only(&document, "runs");
    assert_eq!(run["outcome"], "completed");
    let parts = run["destinations"].as_array().unwrap();
    let of = |name: &str| parts.iter().find(|part| part["name"] == name).unwrap();
    assert_eq!(of("good")["outcome"], "stored");
    assert_eq!(of("gone")["outcome"], "failed");
    assert!(
        of("gone")["error"]
            .as_str()
            .unwrap()
            .contains("no such folder")
    );
    assert!(of("gone")["key"].is_null());
    // A list that came back short is never taken for a whole one.
    assert_eq!(
        home.run(&["list", "app", "--json"]).exits(3).json()["backups"][0]["id"],
        run["id"]
    );
    home.run(&["backup", "--destination", "gone"])
        .exits(1)
        .complains("no such folder");
}

#[test]
fn one_job_of_two_that_failed_is_exit_3_and_both_are_exit_1() {
    let home = Home::with_app();
    home.configure(
        "",
        "  other:\n    source: { type: sqlite, path: /nowhere/at/all.db }\n",
    );
    let document = home.run(&["backup", "--json"]).exits(3).json();
    let outcomes: Vec<&str> = document["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["completed", "failed"]);
    home.run(&["backup", "other"])
        .exits(1)
        .complains("no such file");
    fs::remove_file(home.path("app.db")).unwrap();
    home.run(&["backup"]).exits(1);
}

#[test]
fn list_prints_backups_newest_first_and_an_empty_series_is_an_empty_list() {
    let home = Home::with_app();
    let empty = home.run(&["list", "app", "--json"]).exits(0).json();
    assert_eq!(empty["backups"].as_array().unwrap().len(), 0);
    let first = home.backup();
    add_rows(&open_existing(&home.path("app.db")), 1);
    let second = home.backup();
    let document = home.run(&["list", "--json"]).exits(0).json();
    let backups = document["backups"].as_array().unwrap();
    assert_eq!(
        (&backups[0]["id"], &backups[1]["id"]),
        (&second.into(), &first.into())
    );
    for backup in backups {
        has(
            backup,
            &[
                ("destination", "s"),
                ("series", "s"),
                ("job", "s"),
                ("id", "s"),
                ("captured_at", "s"),
                ("engine", "s"),
                ("role", "s"),
                ("plain_bytes", "n"),
                ("stored_bytes", "n"),
                ("key", "s"),
                ("seal", "a"),
                ("verified", "b"),
            ],
        );
        is_a_moment(&backup["captured_at"]);
        assert_eq!(backup["seal"][0], "zstd");
    }
}

#[test]
fn show_prints_the_manifest_as_it_is_stored() {
    let home = Home::with_app();
    let id = home.backup();
    let path = home.manifest(&id);
    let mut stored: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(home.run(&["show", "app", "--json"]).exits(0).json(), stored);
    has(
        &stored,
        &[
            ("format", "n"),
            ("id", "s"),
            ("job", "s"),
            ("series", "s"),
            ("host", "s"),
            ("role", "o"),
            ("engine", "o"),
            ("captured_at", "s"),
            ("finished_at", "s"),
            ("plain", "o"),
            ("stored", "o"),
            ("key", "s"),
            ("seal", "a"),
            ("verified", "o"),
            ("lease_epoch", "n?"),
            ("lifeboat", "s"),
            ("restore", "a"),
        ],
    );
    assert_eq!(stored["key"], format!("app/data/{id}.db.zst"));
    is_a_moment(&stored["captured_at"]);
    // What a later version adds is shown, though it is not understood.
    stored["a_later_field"] = "kept".into();
    fs::write(&path, stored.to_string()).unwrap();
    assert_eq!(home.run(&["show", "app", "--json"]).exits(0).json(), stored);
}

#[test]
fn verify_prints_each_backup_with_its_checks() {
    let home = Home::with_app();
    let id = home.backup();
    let document = home.run(&["verify", "app", "--json"]).exits(0).json();
    let one = only(&document, "checked");
    let fields = [
        ("destination", "s"),
        ("series", "s"),
        ("id", "s"),
        ("outcome", "s"),
        ("checks", "a"),
    ];
    has(one, &fields);
    assert_eq!(
        (&one["outcome"], &one["id"]),
        (&"ok".into(), &id.clone().into())
    );
    for check in one["checks"].as_array().unwrap() {
        has(check, &[("name", "s"), ("ok", "b"), ("detail", "s")]);
    }
    fs::remove_file(home.data_object(&id)).unwrap();
    let document = home.run(&["verify", "app", "--json"]).exits(5).json();
    has(only(&document, "checked"), &fields);
    assert_eq!(document["checked"][0]["outcome"], "missing");
    home.run(&["verify", "app", "20200101T000000Z-abcdef"])
        .exits(4)
        .complains("no backup");
}

#[test]
fn restore_prints_what_it_did() {
    let home = Home::with_app();
    let id = home.backup();
    let to = home.path("x.db");
    for replaced in [false, true] {
        let all = ["restore", "app", "--to", to.to_str().unwrap(), "--json"];
        let document = home.run(&all).exits(0).json();
        has(
            &document,
            &[
                ("destination", "s"),
                ("series", "s"),
                ("id", "s"),
                ("captured_at", "s"),
                ("to", "s"),
                ("bytes", "n"),
                ("verified", "b"),
                ("replaced", "s?"),
                ("dry_run", "b"),
            ],
        );
        assert_eq!(document["id"], id.as_str());
        assert_eq!(document["replaced"].is_string(), replaced);
        assert_eq!(document["verified"], true);
    }
}

#[test]
fn prune_prints_its_plans_and_refuses_with_exit_1_only_when_applied() {
    let home = Home::with_app();
    let first = home.backup();
    add_rows(&open_existing(&home.path("app.db")), 1);
    home.backup();
    let rules = [
        "prune",
        "app",
        "--keep-last",
        "1",
        "--keep-min",
        "1",
        "--json",
    ];
    let document = home.run(&rules).exits(0).json();
    let plan = only(&document, "plans");
    for (name, kind) in [
        ("destination", "s"),
        ("series", "s"),
        ("keep", "a"),
        ("remove", "a"),
        ("refused", "s?"),
        ("applied", "b"),
    ] {
        has(&serde_json::json!({ name: plan[name] }), &[(name, kind)]);
    }
    has(only(plan, "keep"), &[("id", "s"), ("reasons", "a")]);
    has(only(plan, "remove"), &[("id", "s"), ("reason", "s")]);
    assert_eq!(plan["remove"][0]["id"], first.as_str());
    assert_eq!(home.ids().len(), 2);
    fs::write(
        home.store()
            .join("app/manifests/20200101T000000Z-abcdef.json"),
        "{",
    )
    .unwrap();
    let document = home.run(&rules).exits(0).json();
    assert!(only(&document, "plans")["refused"].is_string());
    let applied = [&rules[..], &["--apply"]].concat();
    let document = home.run(&applied).exits(1).json();
    assert_eq!(only(&document, "plans")["applied"], false);
    assert_eq!(home.stored().len(), 5);
    fs::remove_file(
        home.store()
            .join("app/manifests/20200101T000000Z-abcdef.json"),
    )
    .unwrap();
    let document = home.run(&applied).exits(0).json();
    assert_eq!(only(&document, "plans")["applied"], true);
    assert_eq!(home.stored().len(), 2);
}

#[test]
fn check_and_status_print_their_documents() {
    let home = Home::with_app();
    let id = home.backup();
    let document = home.run(&["check", "--json"]).exits(0).json();
    for check in document["checks"].as_array().unwrap() {
        has(
            check,
            &[
                ("subject", "s"),
                ("name", "s"),
                ("outcome", "s"),
                ("detail", "s"),
                ("hint", "s?"),
            ],
        );
        let outcome = check["outcome"].as_str().unwrap();
        assert!(["ok", "warning", "failed"].contains(&outcome), "{check}");
    }
    let document = home.run(&["status", "--json"]).exits(0).json();
    let job = only(&document, "jobs");
    has(
        job,
        &[
            ("name", "s"),
            ("engine", "s"),
            ("role", "s"),
            ("last_backup", "o?"),
            ("next_run", "s?"),
            ("fresh", "b"),
            ("destinations", "a"),
        ],
    );
    has(
        &job["last_backup"],
        &[("id", "s"), ("captured_at", "s"), ("age_seconds", "n")],
    );
    assert_eq!(job["last_backup"]["id"], id.as_str());
    has(
        only(job, "destinations"),
        &[
            ("name", "s"),
            ("backups", "n"),
            ("stored_bytes", "n"),
            ("newest", "s?"),
            ("error", "s?"),
        ],
    );
    fs::remove_dir_all(home.store().join("app")).unwrap();
    let document = home.run(&["status", "--json"]).exits(4).json();
    assert_eq!(only(&document, "jobs")["fresh"], false);
}

#[test]
fn an_error_is_a_document_with_the_exit_code_in_it() {
    let home = Home::with_app();
    for (arguments, code) in [
        (&["backup", "nosuch"][..], 2),
        (&["backup", "--config", "/nowhere/config.yaml"], 2),
        (&["backup", "--nonsense"], 2),
        (&["restore", "app"], 2),
        (&["restore", "app", "--to", "x"], 4),
        (&["show", "app"], 4),
        (&["verify", "app"], 4),
        (&["list", "--destination", "file:///nowhere/at/all"], 1),
        (&["prune", "app"], 2),
    ] {
        let all = [arguments, &["--json"]].concat();
        let run = home.run(&all).exits(code);
        let document = run.json();
        let error = &document["error"];
        has(
            error,
            &[("what", "s"), ("why", "s"), ("hint", "s?"), ("code", "n")],
        );
        assert_eq!(error["code"], code, "{arguments:?}");
        assert!(!error["why"].as_str().unwrap().ends_with(':'), "{error}");
    }
}

#[test]
fn a_usage_error_names_what_is_wrong_in_json_as_well() {
    let home = Home::with_app();
    let missing = home.run(&["restore", "app", "--json"]).exits(2).json();
    assert!(
        missing["error"]["why"].as_str().unwrap().contains("--to"),
        "{missing}"
    );
    let typo = home.run(&["backup", "--jsn", "--json"]).exits(2).json();
    assert!(
        typo["error"]["hint"].as_str().unwrap().contains("--json"),
        "{typo}"
    );
}
