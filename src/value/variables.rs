use serde_json::Value;

/// The environment variable of every key of a schema, with the first sentence of the key's
/// description. `<NAME>` stands for a name that users make up, such as a job's.
pub fn variables(schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(schema, schema, "LIFEBOAT", 0, &mut found);
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

fn collect(root: &Value, at: &Value, name: &str, depth: usize, found: &mut Vec<(String, String)>) {
    let at = resolve(root, at);
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
        collect(root, values, &format!("{name}__<NAME>"), depth + 1, found);
    }
}

fn resolve<'s>(root: &'s Value, at: &'s Value) -> &'s Value {
    let Some(reference) = at.get("$ref").and_then(Value::as_str) else {
        return at;
    };
    root.pointer(reference.trim_start_matches('#'))
        .unwrap_or(at)
}

fn first_sentence(root: &Value, property: &Value) -> String {
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
