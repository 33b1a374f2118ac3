use serde_json::json;

use super::*;
use crate::value::schema::Slot;

fn text(schema: &Value, text: &str) -> Option<String> {
    text_problem(text, &Slot::root(schema).forms[0])
}

fn number(schema: &Value, value: &Value) -> Option<String> {
    number_problem(value, &Slot::root(schema).forms[0])
}

#[test]
fn durations_and_sizes_are_checked_with_their_own_advice() {
    let duration = json!({ "type": "string", "format": "duration" });
    assert_eq!(text(&duration, "1h30m"), None);
    assert_eq!(
        text(&duration, "1hour30").unwrap(),
        "`1hour30` is not a duration; write `1h30m`"
    );
    assert_eq!(text(&duration, "").unwrap(), "is empty");
    let size = json!({ "type": "string", "format": "size" });
    assert_eq!(text(&size, "1024"), None);
    assert_eq!(
        text(&size, "64M").unwrap(),
        "`64M` is not a size; write `64MiB`"
    );
}

#[test]
fn names_begin_with_a_letter_a_digit_or_an_underscore() {
    let name = json!({ "type": "string", "format": "name" });
    for good in ["a", "_a", "9", "redis-1", "a.b_c-D"] {
        assert_eq!(text(&name, good), None, "{good}");
    }
    for bad in ["-a", ".a", "a b", "a/b", "é", "{hostname}"] {
        assert_eq!(
            text(&name, bad).unwrap(),
            format!(
                "`{bad}` is not a name; use letters, digits, `_`, `.` and `-`, and do not begin \
                 with `.` or `-`"
            )
        );
    }
    assert_eq!(text(&name, "").unwrap(), "is empty");
}

#[test]
fn a_series_may_have_the_host_in_its_name() {
    let series = json!({ "type": "string", "format": "series" });
    for good in ["a", "{hostname}", "redis-{hostname}.x"] {
        assert_eq!(text(&series, good), None, "{good}");
    }
    for bad in ["-{hostname}", "{host}", "{{hostname}}"] {
        assert!(
            text(&series, bad).unwrap().contains("`{hostname}`"),
            "{bad}"
        );
    }
}

#[test]
fn a_url_must_parse_and_is_quoted_without_its_password() {
    let url = json!({ "type": "string", "format": "url" });
    assert_eq!(text(&url, "file:///x"), None);
    let problem = text(&url, "redis://:hunter2@host:x").unwrap();
    assert_eq!(
        problem,
        "`redis://:<redacted>@host:x` is not a URL: invalid port number"
    );
}

#[test]
fn lengths_and_patterns_are_kept() {
    let schema = json!({ "type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$" });
    assert_eq!(text(&schema, "abc"), None);
    assert_eq!(text(&schema, "").unwrap(), "is empty");
    assert_eq!(
        text(&schema, "é").unwrap(),
        "`é` is too short; at least 2 characters"
    );
    assert_eq!(
        text(&schema, "abcd").unwrap(),
        "`abcd` is too long; at most 3 characters"
    );
    assert_eq!(
        text(&schema, "A1").unwrap(),
        "`A1` does not match `^[a-z]+$`"
    );
}

#[test]
fn numbers_stay_within_their_limits() {
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": 64 });
    assert_eq!(number(&schema, &json!(64)), None);
    assert_eq!(
        number(&schema, &json!(0)).unwrap(),
        "must be at least 1, not `0`"
    );
    assert_eq!(
        number(&schema, &json!(65)).unwrap(),
        "must be at most 64, not `65`"
    );
    let schema = json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5 });
    assert_eq!(number(&schema, &json!(1)), None);
    assert_eq!(
        number(&schema, &json!(0)).unwrap(),
        "must be more than 0, not `0`"
    );
    assert_eq!(
        number(&schema, &json!(1.5)).unwrap(),
        "must be less than 1.5, not `1.5`"
    );
}

#[test]
fn an_integer_must_fit_the_type_that_holds_it() {
    let schema = json!({ "type": "integer", "format": "int32" });
    assert_eq!(number(&schema, &json!(i32::MIN)), None);
    assert_eq!(
        number(&schema, &json!(1_i64 << 31)).unwrap(),
        "must be at most 2147483647, not `2147483648`"
    );
}
