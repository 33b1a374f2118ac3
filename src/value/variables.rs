use serde_json::Value;

/// The environment variable of every key of a schema, with the first sentence of the key's
/// description. `<NAME>` stands for a name that users make up, such as a job's.
pub fn variables(schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(schema, schema, "LIFEBOAT", 0, &mut found);
    found.sort();
    // A key that several types have, each with a meaning of its own.
    found.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same && next.1 != kept.1 {
            kept.1 = format!("{} | {}", kept.1, next.1);
        }
        same
    });
    found
}

fn collect(root: &Value, at: &Value, name: &str, depth: usize, found: &mut Vec<(String, String)>) {
    let at = resolve(root, at);
    // A secret's value goes into its own variable, its file's path into the one with `_FILE`.
    if at.get("format").and_then(Value::as_str) == Some("secret") {
        return;
    }
    for branch in ["oneOf", "anyOf", "allOf"] {
        for choice in at
            .get(branch)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            collect(root, choice, name, depth, found);
        }
    }
    let separator = if depth == 0 { "_" } else { "__" };
    for (key, property) in at
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let variable = format!("{name}{separator}{}", key.to_uppercase());
        let before = found.len();
        collect(root, property, &variable, depth + 1, found);
        if found.len() == before {
            found.push((variable, first_sentence(root, property)));
        }
    }
    if let Some(values @ Value::Object(_)) = at.get("additionalProperties") {
        let variable = format!("{name}__<NAME>");
        collect(root, values, &variable, depth + 1, found);
        found.extend(short_form(root, values).map(|what| (variable, what)));
    }
}

/// What a value means that may be written as a text instead of a map.
fn short_form(root: &Value, at: &Value) -> Option<String> {
    let choices = resolve(root, at).get("anyOf")?.as_array()?;
    let text = choices.iter().find(|choice| choice["type"] == "string")?;
    Some(first_sentence(root, text))
}

fn resolve<'s>(root: &'s Value, at: &'s Value) -> &'s Value {
    let Some(reference) = at.get("$ref").and_then(Value::as_str) else {
        return at;
    };
    root.pointer(reference.trim_start_matches('#'))
        .unwrap_or(at)
}

fn first_sentence(root: &Value, property: &Value) -> String {
    if let Some(tag) = property.get("const").and_then(Value::as_str) {
        return format!("`{tag}`");
    }
    let own = property.get("description");
    let described = own.or_else(|| resolve(root, property).get("description"));
    let text = described
        .and_then(Value::as_str)
        .unwrap_or_default()
        .replace('\n', " ");
    text.split_inclusive(". ")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}
