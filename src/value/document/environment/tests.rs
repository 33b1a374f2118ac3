use std::fs;

use serde_json::json;

use crate::value::tests::{loaded, problems};

const APP: &str = "jobs: { app: { source: { type: sqlite, path: /x } } }";

#[test]
fn a_variable_sets_any_key_and_wins_over_the_file() {
    let document = loaded(
        "grace: 5s\n\
         jobs: { app: { source: { type: sqlite, path: /x }, enabled: true, schedule: } }",
        [
            ("LIFEBOAT_JOBS__APP__ENABLED", "no"),
            ("LIFEBOAT_JOBS__APP__SCHEDULE__EVERY", "30m"),
            ("LIFEBOAT_JOBS__APP__DESTINATIONS", "a, b"),
            ("LIFEBOAT_GRACE", "7s"),
            ("LIFEBOAT_SCRATCH_DIR", ""),
        ],
    );
    assert_eq!(
        document,
        json!({
            "grace": "7s",
            "scratch_dir": "",
            "jobs": { "app": {
                "source": { "type": "sqlite", "path": "/x" },
                "enabled": false,
                "schedule": { "every": "30m" },
                "destinations": ["a", "b"],
            } },
        })
    );
}

#[test]
fn names_without_a_level_that_are_no_key_are_left_alone() {
    let document = loaded(
        "",
        [
            ("LIFEBOAT_PORT", "tcp://10.0.0.1:80"),
            ("LIFEBOAT_SERVICE_HOST", "10.0.0.1"),
            ("LIFEBOAT_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("LIFEBOAT_CONFIG_FILE", "/nowhere"),
            ("OTHER__JOBS", "x"),
        ],
    );
    assert_eq!(document, json!({}));
}

#[test]
fn a_first_level_that_is_no_key_is_a_problem() {
    assert_eq!(
        problems(
            "",
            [
                ("LIFEBOAT_JOSB__APP__ENABLED", "hunter2"),
                ("LIFEBOAT_PORT_1__X", "y")
            ]
        ),
        [
            "josb: unknown key; did you mean `jobs`? (from `LIFEBOAT_JOSB__APP__ENABLED`)",
            "port_1: unknown key; known are `destinations`, `grace`, `jobs`, `log`, `scratch_dir` \
             (from `LIFEBOAT_PORT_1__X`)",
        ]
    );
}

#[test]
fn an_unknown_key_within_is_a_problem_with_the_variable() {
    assert_eq!(
        problems(APP, [("LIFEBOAT_JOBS__APP__RETENTON__KEEP_LAST", "7")]),
        [
            "jobs.app.retenton: unknown key; did you mean `retention`? (from \
          `LIFEBOAT_JOBS__APP__RETENTON__KEEP_LAST`)"
        ]
    );
    assert_eq!(
        problems(APP, [("LIFEBOAT_GRACE__X", "7")]),
        ["grace: has no keys of its own (from `LIFEBOAT_GRACE__X`)"]
    );
}

#[test]
fn names_in_the_file_are_found_whatever_their_case_and_dashes() {
    let yaml = "
jobs:
  My-App.1: { source: { type: sqlite, path: /x } }
  a__b: { source: { type: sqlite, path: /x } }
";
    let document = loaded(
        yaml,
        [
            ("LIFEBOAT_JOBS__MY_APP_1__ENABLED", "0"),
            ("LIFEBOAT_JOBS__A__B__ENABLED", "0"),
        ],
    );
    assert_eq!(document["jobs"]["My-App.1"]["enabled"], false);
    assert_eq!(document["jobs"]["a__b"]["enabled"], false);
    assert_eq!(document["jobs"].as_object().unwrap().len(), 2);
}

#[test]
fn a_name_that_fits_two_in_the_file_is_a_problem() {
    let source = "{ source: { type: sqlite, path: /x } }";
    let found = problems(
        &format!("jobs: {{ a-b: {source}, a_b: {source} }}"),
        [("LIFEBOAT_JOBS__A_B__ENABLED", "0")],
    );
    let variable = "LIFEBOAT_JOBS__A_B__ENABLED";
    assert_eq!(
        found,
        [format!(
            "{variable}: could mean any of `a-b`, `a_b` (from `{variable}`)"
        )]
    );
}

#[test]
fn a_name_that_fits_none_is_a_new_entry_in_lower_case() {
    let document = loaded(
        APP,
        [
            ("LIFEBOAT_JOBS__MY_CACHE__SOURCE__URL", "redis://h"),
            ("LIFEBOAT_JOBS__MY_CACHE__SOURCE__TYPE", "redis"),
            (
                "LIFEBOAT_JOBS___X__SOURCE",
                r#"{"type": "sqlite", "path": "/y"}"#,
            ),
        ],
    );
    assert_eq!(
        document["jobs"]["my_cache"]["source"],
        json!({ "type": "redis", "url": "redis://h" })
    );
    assert_eq!(document["jobs"]["_x"]["source"]["path"], "/y");
    assert_eq!(document["jobs"].as_object().unwrap().len(), 3);
}

#[test]
fn a_job_that_only_a_variable_made_is_traced_to_it() {
    assert_eq!(
        problems(APP, [("LIFEBOAT_JOBS__APPP__ENABLED", "false")]),
        ["jobs.appp: missing key `source` (from `LIFEBOAT_JOBS__APPP__ENABLED`)"]
    );
}

#[test]
fn a_whole_object_is_set_before_its_parts_and_the_type_before_other_keys() {
    let document = loaded(
        "",
        [
            ("LIFEBOAT_DESTINATIONS__S__BUCKET", "123"),
            ("LIFEBOAT_DESTINATIONS__S__FORCE_PATH_STYLE", "1"),
            ("LIFEBOAT_DESTINATIONS__S__TYPE", "s3"),
            (
                "LIFEBOAT_JOBS",
                "{ app: { source: { type: sqlite, path: /x } } }",
            ),
            ("LIFEBOAT_JOBS__APP__SOURCE__PATH", "/y"),
        ],
    );
    let expected = json!({ "type": "s3", "bucket": "123", "force_path_style": true });
    assert_eq!(document["destinations"]["s"], expected);
    assert_eq!(document["jobs"]["app"]["source"]["path"], "/y");
}

#[test]
fn the_short_form_of_a_destination_can_be_replaced_but_has_no_keys() {
    let yaml = "destinations: { nas: 'file:///x' }";
    let document = loaded(yaml, [("LIFEBOAT_DESTINATIONS__NAS", "s3://b")]);
    assert_eq!(document["destinations"]["nas"], "s3://b");
    assert_eq!(
        problems(yaml, [("LIFEBOAT_DESTINATIONS__NAS__PATH", "/y")]),
        [
            "destinations.nas: is not a map of keys, so no key in it can be set; set it as a whole \
          (from `LIFEBOAT_DESTINATIONS__NAS__PATH`)"
        ]
    );
}

#[test]
fn a_value_can_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    fs::write(&file, "45s\r\n").unwrap();
    let file = file.to_str().unwrap();
    let document = loaded(
        APP,
        [
            ("LIFEBOAT_JOBS__APP__SCHEDULE__EVERY_FILE", file),
            ("LIFEBOAT_GRACE_FILE", file),
        ],
    );
    assert_eq!(document["jobs"]["app"]["schedule"]["every"], "45s");
    assert_eq!(document["grace"], "45s");
}

#[test]
fn a_secret_from_a_file_stays_a_reference_so_that_it_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "hunter2\n").unwrap();
    let file = file.to_str().unwrap();
    let document = loaded(APP, [("LIFEBOAT_JOBS__APP__SEAL__PASSPHRASE_FILE", file)]);
    assert_eq!(
        document["jobs"]["app"]["seal"]["passphrase"],
        json!({ "file": file })
    );
}

#[test]
fn a_key_that_ends_in_file_is_a_key_and_not_a_file_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    fs::write(&file, "/keys/b\n").unwrap();
    let document = loaded(
        "destinations: { a: { type: sftp, url: 'sftp://h' }, b: { type: sftp, url: 'sftp://h' } }",
        [
            ("LIFEBOAT_DESTINATIONS__A__IDENTITY_FILE", "/keys/a"),
            (
                "LIFEBOAT_DESTINATIONS__B__IDENTITY_FILE_FILE",
                file.to_str().unwrap(),
            ),
        ],
    );
    assert_eq!(document["destinations"]["a"]["identity_file"], "/keys/a");
    assert_eq!(document["destinations"]["b"]["identity_file"], "/keys/b");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    assert_eq!(
        problems("", [("LIFEBOAT_GRACE_FILE", "/no/such")]),
        ["grace: cannot read `/no/such`: no such file (from `LIFEBOAT_GRACE_FILE`)"]
    );
}

#[test]
fn a_key_set_twice_is_a_problem() {
    assert_eq!(
        problems(
            "",
            [
                ("LIFEBOAT_GRACE_FILE", "/no/such"),
                ("LIFEBOAT_GRACE", "5s")
            ]
        ),
        ["grace: is set more than once: `LIFEBOAT_GRACE`, `LIFEBOAT_GRACE_FILE`"]
    );
    let found = problems(
        APP,
        [
            ("LIFEBOAT_JOBS__APP__ENABLED", "1"),
            ("LIFEBOAT_JOBS__app__ENABLED", "1"),
        ],
    );
    assert_eq!(
        found,
        [
            "jobs.app.enabled: is set more than once: `LIFEBOAT_JOBS__APP__ENABLED`, \
          `LIFEBOAT_JOBS__app__ENABLED`"
        ]
    );
}

#[test]
fn an_empty_variable_is_an_empty_string_and_a_problem_elsewhere() {
    let variable = "LIFEBOAT_JOBS__APP__ENABLED";
    assert_eq!(
        problems(APP, [(variable, "")]),
        [format!(
            "jobs.app.enabled: is empty; must be true or false (from `{variable}`)"
        )]
    );
    assert_eq!(
        problems("", [("LIFEBOAT_GRACE", "")]),
        ["grace: is empty (from `LIFEBOAT_GRACE`)"]
    );
}

#[test]
fn a_name_with_nothing_between_levels_is_a_problem() {
    for variable in ["LIFEBOAT_JOBS__", "LIFEBOAT_JOBS____ENABLED", "LIFEBOAT___"] {
        let what = "has an empty name before or after `__`";
        assert_eq!(
            problems("", [(variable, "x")]),
            [format!("{variable}: {what} (from `{variable}`)")]
        );
    }
}

#[test]
fn parts_of_a_secret_can_be_set_too() {
    let document = loaded(APP, [("LIFEBOAT_JOBS__APP__SEAL__PASSPHRASE__ENV", "PASS")]);
    assert_eq!(
        document["jobs"]["app"]["seal"]["passphrase"],
        json!({ "env": "PASS" })
    );
}

#[test]
fn no_problem_shows_the_value_of_a_secret() {
    for text in [
        "{ hunter2",
        "[hunter2]",
        "{ \"env\": \"A\", \"hunter2\": 1 }",
    ] {
        let document = loaded(APP, [("LIFEBOAT_JOBS__APP__SEAL__PASSPHRASE", text)]);
        assert_eq!(document["jobs"]["app"]["seal"]["passphrase"], text);
    }
    let found = problems(
        APP,
        [(
            "LIFEBOAT_JOBS__APP__SEAL",
            "{ \"passphrase\": [\"hunter2\"] }",
        )],
    );
    assert!(!found.concat().contains("hunter2"), "{found:?}");
}
