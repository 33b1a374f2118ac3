use serde_json::json;

use super::*;
use crate::value::tests::{loaded, problems, schema};

#[test]
fn no_file_and_an_empty_file_are_an_empty_map() {
    assert_eq!(load(None, &Env::default(), &schema()), (json!({}), vec![]));
    for yaml in ["", "# nothing yet\n", "---\n", "~"] {
        assert_eq!(loaded(yaml, []), json!({}), "{yaml:?}");
    }
}

#[test]
fn a_file_that_is_no_map_is_a_problem() {
    for yaml in ["- a", "text", "7"] {
        assert_eq!(
            problems(yaml, []),
            ["config.yaml: must be a map of keys, such as `jobs:`"]
        );
    }
}

#[test]
fn a_syntax_error_is_the_only_problem() {
    assert_eq!(
        problems("jobs: [", [("LIFEBOAT_GRACE", "x")]),
        [
            "config.yaml: line 2, column 1: did not find expected node content, while parsing a \
          flow node"
        ]
    );
}

#[test]
fn all_problems_come_at_once_sorted_by_path() {
    let found = problems(
        "
jobs:
  cache:
    source: { type: redis }
    schedule: { every: 1hour30 }
    retenton: {}
  app:
    source: { type: sqlite, path: /x, path: /y }
    enabled: maybe
grcae: 25s
",
        [("LIFEBOAT_JOBS__CACHE__RUN_ON", "")],
    );
    assert_eq!(
        found,
        [
            "grcae: unknown key; did you mean `grace`?",
            "jobs.app.enabled: must be true or false, not `maybe`",
            "jobs.app.source.path: is there twice; keep one",
            "jobs.cache.retenton: unknown key; did you mean `retention`?",
            "jobs.cache.run_on: is empty; must be one of `any`, `prefer_replica`, `primary`, \
             `replica` (from `LIFEBOAT_JOBS__CACHE__RUN_ON`)",
            "jobs.cache.schedule.every: `1hour30` is not a duration; write `1h30m`",
        ]
    );
}

#[test]
fn keys_that_could_be_misread_are_quoted_in_a_path() {
    assert_eq!(at_key("", "a"), "a");
    assert_eq!(at_key("a", "b-1.c"), "a.b-1.c");
    assert_eq!(at_key("a", "b\nc"), "a.\"b\\nc\"");
    assert_eq!(at_key("a", ""), "a.\"\"");
    assert_eq!(at_index("a", 1), "a[1]");
}

#[test]
fn settings_that_are_all_text_get_the_types_of_the_schema() {
    let schema = json!({ "oneOf": [
        { "properties": { "type": { "const": "a" }, "on": { "type": "boolean" } } },
        { "properties": { "type": { "const": "b" }, "n": { "type": "integer" } } },
    ] });
    assert_eq!(
        from_strings(json!({ "type": "b", "n": "4" }), &schema),
        Ok(json!({ "type": "b", "n": 4 }))
    );
    let problems =
        from_strings(json!({ "type": "a", "on": "maybe", "n": "4" }), &schema).unwrap_err();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "n: unknown key; did you mean `on`?",
            "on: must be true or false, not `maybe`",
        ]
    );
}

#[test]
fn what_is_left_beside_the_problems_can_be_looked_at_further() {
    let yaml = "grace: 5s\njobs: { app: { enabled: maybe } }";
    let (document, problems) = load(Some(("config.yaml", yaml)), &Env::default(), &schema());
    assert_eq!(problems.len(), 2);
    assert_eq!(
        document,
        json!({ "grace": "5s", "jobs": { "app": { "enabled": "maybe" } } })
    );
}
