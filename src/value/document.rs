mod check;
mod coerce;
mod environment;
mod formats;
mod yaml;

use std::fmt;

use serde_json::{Map, Value};

use super::env::Env;
use super::schema::Slot;

/// A mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is: `jobs.app.destinations[1]`, or the file or variable if it is no such place.
    pub path: String,
    /// What is wrong and, where known, what to write: lower case, no full stop, never a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl Problem {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
        }
    }
}

/// Reads settings from YAML, given as the file's name and text, lays the environment over them and
/// checks the result against the schema.
///
/// A variable is `LIFEBOAT_` and the keys down to the value, in upper case, with `__` between levels
/// and `_` for `-` and `.`; without `__` it counts only if it names a top-level key. With `_FILE` at
/// its end it gives the path of a file that holds the value, unless the schema or the document has
/// a key of that whole name. Names that users make up are matched against those in the YAML, and
/// are new ones in lower case otherwise. Lists are JSON or separated by commas, maps are JSON.
///
/// The document returned deserializes into the type that the schema was made of: keys without a
/// value are gone, and a plain number or boolean where a string belongs is its text, as written.
/// Defaults are not filled in, and secrets not read; see [`unreadable_secrets`] for these.
///
/// All mistakes are returned beside it, sorted by path, so that a caller can look for more in what
/// is left. A text that cannot be read as a YAML map is the only one.
///
/// [`unreadable_secrets`]: crate::value::unreadable_secrets
pub fn load(yaml: Option<(&str, &str)>, env: &Env, schema: &Value) -> (Value, Vec<Problem>) {
    load_over(Map::new(), yaml, env, schema)
}

/// The same over settings that are known already: the YAML goes before them key by key, and the
/// environment before both.
pub fn load_over(
    base: Map<String, Value>,
    yaml: Option<(&str, &str)>,
    env: &Env,
    schema: &Value,
) -> (Value, Vec<Problem>) {
    let root = Slot::root(schema);
    let mut problems = Vec::new();
    let mut document = Value::Object(base);
    if let Some((file, text)) = yaml {
        let settled = yaml::parse(text, &mut problems).map(|node| yaml::settle(&node, &root));
        match settled {
            Ok(Value::Null) => {}
            Ok(map @ Value::Object(_)) => merge(&mut document, map),
            Ok(_) => {
                let what = "must be a map of keys, such as `jobs:`";
                return (document, vec![Problem::new(file, what)]);
            }
            Err(what) => return (document, vec![Problem::new(file, what)]),
        }
    }
    let overlay = environment::overlay(&mut document, env, schema);
    problems.extend(check::check(&document, &root));
    for problem in &mut problems {
        if let Some(variable) = overlay.origin(&problem.path) {
            problem.what = format!("{} (from `{variable}`)", problem.what);
        }
        if problem.path.is_empty() {
            yaml.map_or("configuration", |(file, _)| file)
                .clone_into(&mut problem.path);
        }
    }
    problems.extend(overlay.problems);
    problems.sort();
    problems.dedup();
    (document, problems)
}

/// Lays a value over another: maps key by key, anything else as a whole.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Checks settings that were all written as text, such as the query of a URL, and gives each the
/// type that the schema wants.
///
/// # Errors
/// All mistakes, sorted by path.
pub fn from_strings(settings: Value, schema: &Value) -> Result<Value, Vec<Problem>> {
    let Value::Object(mut map) = settings else {
        return Ok(settings);
    };
    let root = Slot::root(schema).narrowed(&map);
    let mut problems = Vec::new();
    for (key, value) in &mut map {
        if let (Some(slot), Some(text)) = (root.child(key), value.as_str()) {
            match coerce::coerce(text, &slot) {
                Ok(typed) => *value = typed,
                Err(what) => problems.push(Problem::new(key, what)),
            }
        }
    }
    let document = Value::Object(map);
    problems.extend(check::check(&document, &root));
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        Ok(document)
    } else {
        Err(problems)
    }
}

/// The path of a key below a path. A key that could be misread is in quotes.
pub(super) fn at_key(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '{' | '}');
    let dot = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.chars().all(plain) {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}{key:?}")
    }
}

/// The path of an item of the list at a path.
pub(super) fn at_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

#[cfg(test)]
mod tests;
