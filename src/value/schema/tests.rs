use serde_json::json;

use super::*;

#[test]
fn references_alternatives_and_null_come_down_to_forms() {
    let schema = json!({
        "properties": { "a": { "anyOf": [{ "$ref": "#/$defs/A" }, { "type": "null" }] } },
        "$defs": { "A": { "oneOf": [{ "type": "boolean" }, { "type": "string" }] } },
    });
    let slot = Slot::root(&schema).child("a").unwrap();
    assert_eq!(slot.forms.len(), 2);
    assert!(slot.allows(Kind::Boolean) && slot.allows(Kind::String));
    assert!(!slot.allows(Kind::Integer));
}

#[test]
fn keys_beside_alternatives_belong_to_each_of_them() {
    let schema = json!({
        "properties": { "mount": { "type": "string" } },
        "required": ["mount"],
        "additionalProperties": false,
        "oneOf": [
            { "properties": { "method": { "const": "a" }, "x": {} }, "required": ["method"] },
            { "properties": { "method": { "const": "b" }, "y": {} }, "required": ["method"] },
        ],
    });
    let slot = Slot::root(&schema);
    assert_eq!(slot.keys(), ["method", "mount", "x", "y"]);
    assert_eq!(slot.tag(), Some("method"));
    let only = slot.narrow(|_| Some("b"));
    assert_eq!(only.keys(), ["method", "mount", "y"]);
    assert_eq!(
        only.forms[0].required().collect::<Vec<_>>(),
        ["mount", "method"]
    );
    assert!(only.child("x").is_none());
}

#[test]
fn parts_that_all_apply_are_taken_together() {
    let schema = json!({ "allOf": [
        { "properties": { "a": {} } },
        { "oneOf": [{ "properties": { "b": {} } }, { "properties": { "c": {} } }] },
    ] });
    let forms = Slot::root(&schema).forms;
    let keys: Vec<Vec<_>> = forms.iter().map(|form| form.keys().collect()).collect();
    assert_eq!(keys, [["a", "b"], ["a", "c"]]);
}

#[test]
fn an_object_that_names_keys_is_closed_unless_it_says_otherwise() {
    let takes_names = |schema| Slot::root(&schema).takes_names();
    assert!(!takes_names(json!({ "properties": { "a": {} } })));
    assert!(!takes_names(
        json!({ "type": "object", "additionalProperties": false })
    ));
    assert!(takes_names(
        json!({ "properties": {}, "additionalProperties": { "type": "string" } })
    ));
    assert!(takes_names(json!({ "type": "object" })));
}

#[test]
fn a_schema_that_refers_to_itself_has_an_end() {
    let schema = json!({
        "$ref": "#/$defs/A",
        "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/A" }, { "type": "string" }] } },
    });
    assert!(Slot::root(&schema).allows(Kind::String));
}

#[test]
fn a_tree_may_contain_itself_one_level_down() {
    let schema = json!({
        "$ref": "#/$defs/Tree",
        "$defs": { "Tree": { "properties": { "below": { "$ref": "#/$defs/Tree" } } } },
    });
    let mut slot = Slot::root(&schema);
    for _ in 0..50 {
        slot = slot.child("below").unwrap();
    }
    assert!(slot.has_property("below"));
}
