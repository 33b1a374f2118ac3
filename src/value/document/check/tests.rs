use serde_json::json;

use super::*;
use crate::value::tests::problems;

const JOB: &str = "source: { type: sqlite, path: /x }";

fn job(keys: &str) -> Vec<String> {
    problems(&format!("jobs:\n  app:\n    {JOB}\n    {keys}\n"), [])
        .into_iter()
        .map(|problem| {
            problem
                .strip_prefix("jobs.app.")
                .map_or(problem.clone(), str::to_owned)
        })
        .collect()
}

fn against(schema: &Value, value: &Value) -> Vec<String> {
    check(value, &Slot::root(schema))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    assert_eq!(
        job("retenton: {}"),
        ["retenton: unknown key; did you mean `retention`?"]
    );
}

#[test]
fn an_unknown_key_that_is_like_no_other_is_named_with_a_few_known_ones_or_none() {
    assert_eq!(
        job("retention: { colour: 1 }"),
        ["retention.colour: unknown key; known are `keep_last`, `keep_within`"]
    );
    assert_eq!(job("colour: 1"), ["colour: unknown key"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_what_belongs_there() {
    for (keys, problem) in [
        (
            "enabled: maybe",
            "enabled: must be true or false, not `maybe`",
        ),
        (
            "enabled: yes",
            "enabled: must be true or false, not `yes`; write `true`",
        ),
        ("enabled: 1", "enabled: must be true or false, not `1`"),
        ("enabled: []", "enabled: must be true or false, not a list"),
        (
            "seal: { level: high }",
            "seal.level: must be a whole number, not `high`",
        ),
        (
            "seal: { level: '3' }",
            "seal.level: must be a whole number, not `3`; leave out the quotes",
        ),
        (
            "seal: { level: 1.5 }",
            "seal.level: must be a whole number, not `1.5`",
        ),
        ("ratio: x", "ratio: must be a number, not `x`"),
        ("series: [a]", "series: must be a name, not a list"),
        (
            "destinations: nas",
            "destinations: must be a list, not `nas`; write `[nas]`",
        ),
        (
            "destinations: [a, [b]]",
            "destinations[1]: must be a string, not a list",
        ),
        (
            "destinations: [a, ~]",
            "destinations[1]: is empty; must be a string",
        ),
        ("retention: 7", "retention: must be a map of keys, not `7`"),
        (
            "labels: { a: { b: c } }",
            "labels.a: must be a string, not a map of keys",
        ),
        (
            "schedule: { on_change: often }",
            "schedule.on_change: must be true or false or a duration like `1h30m`, not `often`",
        ),
        (
            "schedule: { on_change: 5 }",
            "schedule.on_change: must be true or false or a duration like `1h30m`, not `5`",
        ),
        (
            "schedule: { every: [] }",
            "schedule.every: must be a duration like `1h30m`, not a list",
        ),
        (
            "seal: { level: '' }",
            "seal.level: is empty; must be a whole number",
        ),
    ] {
        assert_eq!(job(keys), [problem], "{keys}");
    }
}

#[test]
fn a_number_without_its_unit_is_told_the_unit() {
    assert_eq!(
        job("schedule: { every: 90 }"),
        ["schedule.every: `90` has no unit; write `90s`"]
    );
    assert_eq!(
        job("schedule: { every: 1hour30 }"),
        ["schedule.every: `1hour30` is not a duration; write `1h30m`"]
    );
}

#[test]
fn a_word_that_is_no_choice_is_named_with_the_choices() {
    assert_eq!(
        job("run_on: replca"),
        [
            "run_on: must be one of `any`, `prefer_replica`, `primary`, `replica`, not `replca`; \
             did you mean `replica`?"
        ]
    );
    assert_eq!(
        problems("log: { format: xml }", []),
        ["log.format: must be one of `text`, `json`, not `xml`"]
    );
    assert_eq!(
        problems("log: { format: '' }", []),
        ["log.format: is empty; must be one of `text`, `json`"]
    );
    assert_eq!(
        problems("log: { format: [] }", []),
        ["log.format: must be one of `text`, `json`, not a list"]
    );
}

#[test]
fn a_missing_key_is_named_at_its_parent() {
    assert_eq!(
        problems("jobs: { app: }", []),
        ["jobs.app: missing key `source`"]
    );
    assert_eq!(
        problems(
            "jobs: { app: { source: { type: redis, sentinel: { urls: [] } } } }",
            []
        ),
        ["jobs.app.source.sentinel: missing key `master`"]
    );
}

#[test]
fn a_missing_tag_is_named_with_its_values() {
    assert_eq!(
        problems("destinations: { nas: { tpye: local, path: /x } }", []),
        [
            "destinations.nas: missing key `type`: one of `s3`, `local`, `sftp`",
            "destinations.nas.tpye: unknown key; did you mean `type`?",
        ]
    );
}

#[test]
fn an_unknown_tag_is_named_with_the_one_that_was_meant() {
    assert_eq!(
        problems("destinations: { nas: { type: lokal, path: /x } }", []),
        [
            "destinations.nas.type: must be one of `s3`, `local`, `sftp`, not `lokal`; did you \
             mean `local`?"
        ]
    );
}

#[test]
fn the_keys_of_another_tag_are_unknown() {
    assert_eq!(
        problems(
            "destinations: { nas: { type: local, path: /x, bucket: b } }",
            []
        ),
        ["destinations.nas.bucket: unknown key; known are `path`, `type`"]
    );
}

#[test]
fn a_tag_beside_other_keys_selects_as_well() {
    let auth = |keys: &str| {
        problems(
            &format!("jobs: {{ v: {{ source: {{ type: vault, address: a, auth: {keys} }} }} }}"),
            [],
        )
    };
    assert_eq!(
        auth("{ method: kubernetes, mount: m }"),
        ["jobs.v.source.auth: missing key `role`"]
    );
    assert_eq!(
        auth("{ mount: m, method: token, role: x }"),
        [
            "jobs.v.source.auth.role: unknown key; known are `method`, `mount`, `token`, \
             `token_file`"
        ]
    );
}

#[test]
fn a_string_or_a_map_is_checked_as_what_it_is() {
    assert_eq!(
        problems("destinations: { nas: nowhere }", []),
        ["destinations.nas: `nowhere` is not a URL: relative URL without a base"]
    );
    assert_eq!(
        problems("destinations: { nas: [x] }", []),
        ["destinations.nas: must be a URL or a map of keys, not a list"]
    );
}

#[test]
fn names_that_users_make_up_have_a_form_too() {
    let found = problems(
        &format!("jobs: {{ 'my job': {{ {JOB} }}, -x: {{ {JOB} }} }}"),
        [],
    );
    assert!(
        found[0].starts_with("jobs.\"my job\": `my job` is not a name; use "),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("jobs.-x: `-x` is not a name; use "),
        "{found:?}"
    );
}

#[test]
fn limits_are_checked_in_place() {
    assert_eq!(
        problems(
            "destinations: { a: { type: s3, bucket: b, concurrency: 65, part_size: 64M } }",
            []
        ),
        [
            "destinations.a.concurrency: must be at most 64, not `65`",
            "destinations.a.part_size: `64M` is not a size; write `64MiB`",
        ]
    );
    let list = json!({ "type": "array", "minItems": 1, "maxItems": 2 });
    assert_eq!(against(&list, &json!([])), [": is empty"]);
    assert_eq!(
        against(&list, &json!([1, 2, 3])),
        [": has too many items; at most 2"]
    );
}

#[test]
fn a_secret_of_the_wrong_form_is_never_quoted() {
    for value in [
        "[hunter2]",
        "{ value: hunter2 }",
        "{ env: A, file: hunter2 }",
        "{ env: '' }",
    ] {
        assert_eq!(
            job(&format!("seal: {{ passphrase: {value} }}")),
            ["seal.passphrase: must be a string, `{ env: NAME }` or `{ file: PATH }`"]
        );
    }
}

#[test]
fn maps_without_a_tag_are_checked_against_the_form_that_fits_best() {
    let schema = json!({ "anyOf": [
        { "properties": { "a": { "type": "string" } }, "required": ["a"] },
        { "properties": { "b": { "type": "string" }, "c": {} }, "required": ["b"] },
    ] });
    assert_eq!(against(&schema, &json!({ "a": "x" })), [""; 0]);
    assert_eq!(
        against(&schema, &json!({ "b": [], "c": 1 })),
        ["b: must be a string, not a list"]
    );
}

#[test]
fn choices_and_other_forms_go_together() {
    let schema = json!({ "anyOf": [{ "type": "boolean" }, { "const": "auto" }] });
    assert_eq!(against(&schema, &json!("auto")), [""; 0]);
    assert_eq!(
        against(&schema, &json!("x")),
        [": must be true or false or `auto`, not `x`"]
    );
    let sizes = json!({ "enum": [512, 4096] });
    assert_eq!(against(&sizes, &json!(4096)), [""; 0]);
    assert_eq!(
        against(&sizes, &json!(1)),
        [": must be one of `512`, `4096`, not `1`"]
    );
}

#[test]
fn a_place_that_the_schema_leaves_open_takes_anything() {
    let schema = json!({ "properties": { "a": true, "b": { "type": "object" } } });
    assert_eq!(
        against(
            &schema,
            &json!({ "a": [1, null], "b": { "x": { "y": 1 } } })
        ),
        [""; 0]
    );
}
