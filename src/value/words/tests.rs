use super::*;

#[test]
fn a_typing_mistake_finds_the_name_that_was_meant() {
    let keys = [
        "retention",
        "schedule",
        "source",
        "keep_last",
        "compression",
    ];
    assert_eq!(closest("retenton", keys), Some("retention"));
    assert_eq!(closest("shcedule", keys), Some("schedule"));
    assert_eq!(closest("keepLast", keys), Some("keep_last"));
    assert_eq!(closest("keep-last", keys), Some("keep_last"));
    assert_eq!(closest("compress", keys), Some("compression"));
    assert_eq!(closest("s4", ["gcs", "s3"]), Some("s3"));
}

#[test]
fn a_word_that_is_like_no_name_finds_none() {
    assert_eq!(closest("colour", ["retention", "schedule"]), None);
    assert_eq!(closest("x", ["a", "b"]), None);
    assert_eq!(closest("", ["a"]), None);
}

#[test]
fn quoted_text_stays_short_and_on_one_line() {
    assert_eq!(quote("two\nlines"), "`two\\nlines`");
    assert_eq!(quote(&"x".repeat(100)), format!("`{}…`", "x".repeat(60)));
    assert_eq!(one_of(["a", "b"]), "`a`, `b`");
}
