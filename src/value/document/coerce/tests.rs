use serde_json::json;

use super::*;

#[track_caller]
fn assert_read(schema: &Value, text: &str, value: &Value) {
    assert_eq!(
        coerce(text, &Slot::root(schema)).as_ref(),
        Ok(value),
        "{text}"
    );
}

#[test]
fn booleans_have_many_words_in_any_case() {
    let schema = json!({ "type": "boolean" });
    for text in ["true", "YES", "On", "1", " true "] {
        assert_read(&schema, text, &json!(true));
    }
    for text in ["false", "No", "OFF", "0"] {
        assert_read(&schema, text, &json!(false));
    }
    assert_read(&schema, "maybe", &json!("maybe"));
    assert_read(&schema, "", &json!(""));
}

#[test]
fn numbers_are_read_where_numbers_belong() {
    let integer = json!({ "type": ["integer", "null"] });
    assert_read(&integer, " 7 ", &json!(7));
    assert_read(&integer, "-7", &json!(-7));
    assert_read(&integer, "18446744073709551615", &json!(u64::MAX));
    assert_read(&integer, "1.5", &json!("1.5"));
    let number = json!({ "type": "number" });
    assert_read(&number, "1.5", &json!(1.5));
    assert_read(&number, "2", &json!(2));
    assert_read(&number, "inf", &json!("inf"));
    assert_read(&json!({ "type": "string" }), " 7 ", &json!(" 7 "));
}

#[test]
fn lists_are_json_or_separated_by_commas() {
    let schema = json!({ "type": "array", "items": { "type": "string" } });
    assert_read(&schema, r#"["a,b", "c"]"#, &json!(["a,b", "c"]));
    assert_read(&schema, "[a, b]", &json!(["a", "b"]));
    assert_read(&schema, " a , b,7 ", &json!(["a", "b", "7"]));
    assert_read(&schema, "", &json!([]));
    let numbers = json!({ "type": "array", "items": { "type": "integer" } });
    assert_read(&numbers, "1, 2", &json!([1, 2]));
}

#[test]
fn maps_are_json_or_its_short_form() {
    let schema = json!({ "additionalProperties": { "type": "string" } });
    assert_read(
        &schema,
        r#"{"a": 1, "b": "\ud83d\ude00\/"}"#,
        &json!({ "a": "1", "b": "😀/" }),
    );
    assert_read(&schema, "{ a: 007 }", &json!({ "a": "007" }));
    assert_read(&schema, "a", &json!("a"));
    let error = coerce("{ \"a\" ", &Slot::root(&schema)).unwrap_err();
    assert!(error.starts_with("is not JSON: "), "{error}");
    let error = coerce("{ a: 1, a: 2 }", &Slot::root(&schema)).unwrap_err();
    assert_eq!(error, "`a` is there twice; keep one");
}

#[test]
fn a_string_or_a_map_is_a_map_if_it_begins_with_a_brace() {
    let schema = json!({ "anyOf": [{ "type": "string" }, { "type": "object" }] });
    assert_read(&schema, "file:///x", &json!("file:///x"));
    assert_read(&schema, r#"{"type": "local"}"#, &json!({ "type": "local" }));
}

#[test]
fn a_boolean_or_a_duration_is_a_boolean_first() {
    let schema =
        json!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "format": "duration" }] });
    assert_read(&schema, "yes", &json!(true));
    assert_read(&schema, "5s", &json!("5s"));
}

#[test]
fn a_secret_is_its_text_unless_it_is_a_reference() {
    let schema =
        json!({ "format": "secret", "anyOf": [{ "type": "string" }, { "type": "object" }] });
    for text in [
        "hunter2", "12345", "{abc}", "{ \"a", "{ a: b }", "[x]", " x ", "true", "",
    ] {
        assert_read(&schema, text, &json!(text));
    }
    assert_read(&schema, r#"{ "env": "X" }"#, &json!({ "env": "X" }));
    assert_read(&schema, "{ file: /x }", &json!({ "file": "/x" }));
    assert_read(
        &schema,
        "{ env: X, file: Y }",
        &json!({ "env": "X", "file": "Y" }),
    );
}

#[test]
fn text_stays_text_where_the_schema_leaves_the_value_open() {
    assert_read(&json!(true), "1", &json!("1"));
    assert_read(&json!({}), r#"{ "a": 1 }"#, &json!({ "a": 1 }));
}
