//! `config.yaml` at the root of the repository is the sample of every key there is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::sandbox::Sandbox;

fn sample() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config.yaml")
}

/// The keys a schema knows, such as `jobs.*.source[sqlite].path`: `*` is a name that users make
/// up, and the word in brackets is the `type` that has the key.
fn known_keys(root: &Value, at: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#'));
        return known_keys(root, target.expect("references stay inside"), path, found);
    }
    if at.get("format") == Some(&"secret".into()) {
        return;
    }
    for branch in ["oneOf", "anyOf", "allOf"] {
        for choice in at[branch].as_array().into_iter().flatten() {
            known_keys(root, choice, path, found);
        }
    }
    let path = match at.pointer("/properties/type/const") {
        Some(tag) => format!("{path}[{}]", tag.as_str().expect("types are words")),
        None => path.to_owned(),
    };
    for (key, property) in at["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        known_keys(root, property, &path, found);
        found.insert(path);
    }
    if let Some(values @ Value::Object(_)) = at.get("additionalProperties") {
        known_keys(root, values, &format!("{path}.*"), found);
    }
}

/// The keys a document has, written in the same way.
fn present_keys(at: &Value, path: &str, found: &mut BTreeSet<String>) {
    let tag = at.get("type").and_then(Value::as_str);
    let path = tag.map_or_else(|| path.to_owned(), |tag| format!("{path}[{tag}]"));
    for (key, value) in at.as_object().into_iter().flatten() {
        let path = match path.as_str() {
            ".jobs" | ".destinations" => format!("{path}.*"),
            _ => format!("{path}.{key}"),
        };
        present_keys(value, &path, found);
        found.insert(path);
    }
}

#[test]
fn the_sample_shows_every_key_there_is() {
    let schema = Sandbox::new().run(["config", "schema"]).ok().document();
    let mut known = BTreeSet::new();
    known_keys(&schema, &schema, "", &mut known);
    assert!(
        known.contains(".jobs.*.source[sqlite].path") && known.contains(".log.format"),
        "the schema was not understood: {known:?}"
    );

    let text = std::fs::read_to_string(sample()).expect("config.yaml is at the root");
    let document: Value = serde_yaml::from_str(&text).expect("config.yaml is YAML");
    let mut present = BTreeSet::new();
    present_keys(&document, "", &mut present);

    // A block that takes one of several forms shows one, and its comments name the others' keys.
    let named = |key: &String| {
        let name = key.rsplit('.').next().expect("a key has a name");
        let mut comments = text.lines().filter(|line| line.trim().starts_with('#'));
        key.contains(".auth.") && comments.any(|line| line.contains(&format!(" {name}:")))
    };
    let missing: Vec<_> = known
        .difference(&present)
        .filter(|key| !named(key))
        .collect();
    assert!(missing.is_empty(), "config.yaml lacks {missing:#?}");
}

#[test]
fn every_key_of_the_sample_has_a_comment_near_it() {
    let text = std::fs::read_to_string(sample()).expect("config.yaml is at the root");
    let mut since_comment = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if line.trim_start().starts_with('#') {
            since_comment = 0;
        } else {
            since_comment += 1;
            // One comment may stand over `daily` to `yearly`, or over a block's own `type`.
            assert!(since_comment <= 4, "`{line}` is explained by nothing");
        }
    }
}

#[test]
fn the_sample_loads_as_it_stands_and_touches_nothing() {
    let sandbox = Sandbox::new();
    let sample = sample();
    let checked = sandbox.run(["config", "check", "--config", &sample.to_string_lossy()]);
    assert!(
        checked.ok().stdout.contains("3 jobs, 3 destinations"),
        "{checked:?}"
    );
    assert!(sandbox.is_empty(), "`config check` left something behind");
}

#[test]
fn what_is_shown_of_the_sample_loads_again_as_the_same() {
    let sandbox = Sandbox::new();
    let show = |file: &str| sandbox.run(["config", "show", "--config", file]);
    let shown = show(&sample().to_string_lossy());
    sandbox.write("shown.yaml", &shown.ok().stdout);
    assert_eq!(show("shown.yaml").ok().stdout, shown.stdout);
}
