use serde_json::{Number, Value};

use super::yaml;
use crate::value::schema::{Kind, Slot};
use crate::value::words::quote;

/// The value that the text of an environment variable stands for at its place in the schema.
///
/// Text that does not fit stays a string, so that the check of the whole document names it. The
/// error is for text that looks like a list or a map and cannot be read as one.
pub(super) fn coerce(text: &str, slot: &Slot<'_>) -> Result<Value, String> {
    let trimmed = text.trim();
    if slot.is_secret() {
        let reference = trimmed
            .starts_with('{')
            .then(|| structured(trimmed, slot).ok())
            .flatten();
        // A password may well begin with a brace: only a reference is read as one.
        return Ok(reference
            .filter(is_meant_as_reference)
            .unwrap_or_else(|| text.into()));
    }
    if (trimmed.starts_with('{') && slot.allows(Kind::Object))
        || (trimmed.starts_with('[') && slot.allows(Kind::Array))
    {
        return structured(trimmed, slot);
    }
    if slot.is_open() {
        return Ok(text.into());
    }
    if slot.allows(Kind::Integer)
        && let Some(number) = integer(trimmed)
    {
        return Ok(number.into());
    }
    if slot.allows(Kind::Number)
        && let Some(number) = trimmed.parse().ok().and_then(Number::from_f64)
    {
        return Ok(number.into());
    }
    if slot.allows(Kind::Boolean)
        && let Some(value) = boolean(trimmed)
    {
        return Ok(value.into());
    }
    if slot.allows(Kind::Array) && !slot.allows(Kind::String) {
        let items = trimmed
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        return items.map(|item| coerce(item, &slot.item())).collect();
    }
    Ok(text.into())
}

/// The truth of the words that stand for one, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<Number> {
    let unsigned = text.parse::<u64>().map(Number::from);
    unsigned
        .or_else(|_| text.parse::<i64>().map(Number::from))
        .ok()
}

/// Reads a list or map in JSON, or in YAML's short form, which is JSON without the quotes.
fn structured(text: &str, slot: &Slot<'_>) -> Result<Value, String> {
    let mut problems = Vec::new();
    if let Ok(node) = yaml::parse(text, &mut problems) {
        return match problems.first() {
            None => Ok(yaml::settle(&node, slot)),
            Some(problem) => Err(format!("{} {}", quote(&problem.path), problem.what)),
        };
    }
    // JSON knows escapes that YAML does not.
    let value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    Ok(yaml::settle(&yaml::Node::from_json(value), slot))
}

/// Whether a value is meant as a reference, if perhaps a wrong one.
fn is_meant_as_reference(value: &Value) -> bool {
    let keys = value.as_object().map(|map| map.keys());
    keys.is_some_and(|mut keys| {
        keys.len() > 0 && keys.all(|key| matches!(key.as_str(), "env" | "file"))
    })
}

#[cfg(test)]
mod tests;
