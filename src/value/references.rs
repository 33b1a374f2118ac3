use serde::Deserialize;
use serde_json::Value;

use super::document::{Problem, at_index, at_key};
use super::env::Env;
use super::schema::Slot;
use super::secret::SecretSetting;

/// A problem for each secret in a loaded document whose variable or file cannot be read now.
pub fn unreadable_secrets(document: &Value, schema: &Value, env: &Env) -> Vec<Problem> {
    let mut problems = Vec::new();
    try_secrets(document, &Slot::root(schema), "", env, &mut problems);
    problems
}

fn try_secrets(value: &Value, slot: &Slot<'_>, path: &str, env: &Env, found: &mut Vec<Problem>) {
    match value {
        _ if slot.is_secret() => {
            // A value of another form was refused when the document was checked.
            if let Ok(setting) = SecretSetting::deserialize(value)
                && let Err(what) = setting.read(env)
            {
                found.push(Problem {
                    path: path.to_owned(),
                    what,
                });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                try_secrets(item, &slot.item(), &at_index(path, index), env, found);
            }
        }
        Value::Object(map) => {
            let slot = slot.narrowed(map);
            for (key, value) in map {
                if let Some(child) = slot.child(key) {
                    try_secrets(value, &child, &at_key(path, key), env, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
