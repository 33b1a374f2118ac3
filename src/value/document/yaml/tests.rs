use serde_json::json;

use super::*;

fn read(text: &str) -> Value {
    let mut problems = Vec::new();
    let node = parse(text, &mut problems).unwrap();
    assert_eq!(problems, []);
    convert(&node, None)
}

fn syntax(text: &str) -> String {
    parse(text, &mut Vec::new()).unwrap_err()
}

fn repeated(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    parse(text, &mut problems).unwrap();
    problems.iter().map(ToString::to_string).collect()
}

fn at_string(text: &str) -> Value {
    let schema = json!({ "type": "string" });
    settle(&parse(text, &mut Vec::new()).unwrap(), &Slot::root(&schema))
}

#[test]
fn scalars_lists_and_maps_are_read_by_their_yaml_types() {
    assert_eq!(
        read("a: 1\nb: [x, 'y', 2.5]\nc: { d: true, e: ~ }\nf: |\n  two\n  lines\n7: x"),
        json!({
            "a": 1,
            "b": ["x", "y", 2.5],
            "c": { "d": true, "e": null },
            "f": "two\nlines\n",
            "7": "x",
        })
    );
    assert_eq!(read("\u{feff}---\na: 1\n"), json!({ "a": 1 }));
    assert_eq!(read(""), Value::Null);
    assert_eq!(read("# nothing\n"), Value::Null);
}

#[test]
fn anchors_and_merge_keys_are_applied_and_own_keys_win() {
    assert_eq!(
        read("a: &a { x: 1, y: 2 }\nb: { <<: *a, y: 3 }\nc: { <<: [{ x: 9 }, *a] }\nd: *a"),
        json!({
            "a": { "x": 1, "y": 2 },
            "b": { "x": 1, "y": 3 },
            "c": { "x": 9, "y": 2 },
            "d": { "x": 1, "y": 2 },
        })
    );
    assert_eq!(
        repeated("a: { <<: 1 }\nb: { <<: [1] }"),
        ["a.\"<<\": merges only maps", "b.\"<<\": merges only maps"]
    );
}

#[test]
fn keys_that_come_twice_are_all_reported_with_their_paths() {
    assert_eq!(
        repeated("a: 1\na: 2\nb: { c: 1, c: 1, d: [{ e: 1, e: 2 }] }"),
        [
            "a: is there twice; keep one",
            "b.c: is there twice; keep one",
            "b.d[0].e: is there twice; keep one",
        ]
    );
}

#[test]
fn a_syntax_error_has_its_line_and_column() {
    assert_eq!(
        syntax("a:\n  b: 1\n c: 2"),
        "line 3, column 2: did not find expected key, while parsing a block mapping"
    );
    assert_eq!(syntax("a: *b"), "line 1, column 4: unknown anchor");
    assert!(syntax("a: 1\n? [b]\n: 2").ends_with("a key must be plain text"));
    assert!(
        syntax("a: !tag x").contains("line 1, column 4: "),
        "{}",
        syntax("a: !tag x")
    );
    assert!(syntax("a: !tag x").ends_with("the tag `!tag` is not known here"));
    assert!(
        syntax("- [[[").starts_with("line 2, column 1: "),
        "{}",
        syntax("- [[[")
    );
}

#[test]
fn more_than_one_document_is_an_error() {
    let error = "has more than one document; `---` may only stand at its beginning";
    assert_eq!(syntax("a: 1\n---\nb: 2"), error);
}

#[test]
fn an_error_does_not_quote_a_value() {
    assert_eq!(
        syntax("password: !!int hunter2"),
        "line 1, column 11: a value does not fit its tag"
    );
}

#[test]
fn a_number_where_a_string_belongs_is_its_text_as_written() {
    for text in [
        "123",
        "007",
        "1e5",
        "0x1F",
        "1.10",
        "+5",
        "1_000",
        "99999999999999999999999",
        ".nan",
        "True",
    ] {
        assert_eq!(at_string(text), json!(text), "{text}");
    }
    assert_eq!(at_string("!!str 12"), "12");
}

#[test]
fn the_text_of_a_number_survives_anchors_and_merges() {
    let schema =
        json!({ "additionalProperties": { "additionalProperties": { "type": "string" } } });
    let node = parse(
        "a: &a { x: 1e5 }\nb: *a\nc: { <<: *a, y: 0o7 }",
        &mut Vec::new(),
    )
    .unwrap();
    assert_eq!(
        settle(&node, &Slot::root(&schema)),
        json!({ "a": { "x": "1e5" }, "b": { "x": "1e5" }, "c": { "x": "1e5", "y": "0o7" } })
    );
}

#[test]
fn numbers_and_booleans_stay_what_they_are_where_the_schema_takes_them() {
    let schema = json!({ "type": ["string", "number", "boolean"] });
    for (text, value) in [("5", json!(5)), ("0.5", json!(0.5)), ("true", json!(true))] {
        let node = parse(text, &mut Vec::new()).unwrap();
        assert_eq!(settle(&node, &Slot::root(&schema)), value);
    }
}

#[test]
fn a_key_with_nothing_after_it_is_absent_and_a_name_with_nothing_is_an_empty_map() {
    let schema = json!({ "properties": {
        "grace": { "type": "string" },
        "jobs": { "additionalProperties": { "properties": { "source": { "type": "string" } } } },
    } });
    let node = parse(
        "grace:\njobs: { a: , b: { source: } }\ntypo:",
        &mut Vec::new(),
    )
    .unwrap();
    assert_eq!(
        settle(&node, &Slot::root(&schema)),
        json!({ "jobs": { "a": {}, "b": {} }, "typo": null })
    );
}

#[test]
fn deep_nesting_and_many_aliases_are_errors_and_no_crash() {
    assert!(parse(&"[".repeat(100_000), &mut Vec::new()).is_err());
    let mut bomb = vec!["a0: &a0 [x, x]".to_owned()];
    bomb.extend((0..40).map(|n| format!("a{0}: &a{0} [*a{n}, *a{n}]", n + 1)));
    let bomb = bomb.join("\n");
    assert!(parse(&bomb, &mut Vec::new()).is_err());
}
