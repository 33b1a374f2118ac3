use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::coerce::coerce;
use super::{Problem, at_key};
use crate::value::env::Env;
use crate::value::schema::{Kind, Slot, tag_names};
use crate::value::secret::read_text;
use crate::value::words::one_of;

const PREFIX: &str = "LIFEBOAT_";
const LEVEL: &str = "__";
const FROM_FILE: &str = "_FILE";

/// What the environment brought into a document.
pub(super) struct Overlay {
    /// The variable that set the value at a path.
    origins: BTreeMap<String, String>,
    /// The variable that first needed a map at a path where the file has none.
    created: BTreeMap<String, String>,
    pub(super) problems: Vec<Problem>,
}

impl Overlay {
    /// The variable that the value at a path, or around it, came from.
    pub(super) fn origin(&self, path: &str) -> Option<&str> {
        let around = self.origins.iter().rev().find_map(|(set, variable)| {
            let rest = path.strip_prefix(set.as_str())?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some(variable)
        });
        around
            .or_else(|| self.created.get(path))
            .map(String::as_str)
    }

    fn problem(&mut self, path: &str, what: impl AsRef<str>, variable: &str) {
        self.problems.push(Problem::new(
            path,
            format!("{} (from `{variable}`)", what.as_ref()),
        ));
    }
}

/// Lays the variables that are configuration over the document, which must be a map. A key that the
/// schema does not know is added without a value, for the check to report.
pub(super) fn overlay(document: &mut Value, env: &Env, schema: &Value) -> Overlay {
    let root = Slot::root(schema);
    let mut tags = Vec::new();
    tag_names(schema, &mut tags);
    let mut variables: Vec<_> = env
        .iter()
        .filter_map(|(variable, text)| Some((variable.strip_prefix(PREFIX)?, variable, text)))
        .filter(|(name, ..)| is_configuration(name, &root))
        .collect();
    // A whole job before its parts, and `type` before the keys whose meaning depends on it.
    variables.sort_by_key(|(name, ..)| {
        let is_tag = tags
            .iter()
            .any(|tag| name.rsplit(LEVEL).next() == Some(&*shape(tag)));
        (name.matches(LEVEL).count(), !is_tag)
    });
    let mut overlay = Overlay {
        origins: BTreeMap::new(),
        created: BTreeMap::new(),
        problems: Vec::new(),
    };
    for (name, variable, text) in variables {
        overlay.apply(document, &root, name, variable, text);
    }
    overlay
}

/// Other names that begin with the prefix are left alone: Kubernetes sets such for each service.
fn is_configuration(name: &str, root: &Slot<'_>) -> bool {
    let is_key = |name: &str| root.keys().iter().any(|key| shape(key) == shape(name));
    name.contains(LEVEL) || is_key(name) || stem(name).is_some_and(is_key)
}

/// A key as variables write it.
fn shape(key: &str) -> String {
    key.to_ascii_uppercase().replace(['-', '.'], "_")
}

fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(FROM_FILE).filter(|stem| !stem.is_empty())
}

/// One level of a variable's name.
struct Step<'n> {
    key: String,
    /// What follows below this key.
    rest: Option<&'n str>,
    /// Whether the variable names a file that holds the value.
    from_file: bool,
}

impl Overlay {
    fn apply(
        &mut self,
        document: &mut Value,
        root: &Slot<'_>,
        name: &str,
        variable: &str,
        text: &str,
    ) {
        let mut at = document;
        let mut slot = root.clone();
        let mut path = String::new();
        let mut name = name;
        loop {
            let Value::Object(map) = at else {
                let what = "is not a map of keys, so no key in it can be set; set it as a whole";
                return self.problem(&path, what, variable);
            };
            slot = slot.narrowed(map);
            let step = match step(name, &slot, map) {
                Ok(step) => step,
                Err(what) => return self.problem(variable, what, variable),
            };
            let parent = std::mem::take(&mut path);
            path = at_key(&parent, &step.key);
            let Some(child) = slot.child(&step.key) else {
                map.entry(step.key).or_insert(Value::Null);
                self.origins
                    .entry(path)
                    .or_insert_with(|| variable.to_owned());
                return;
            };
            let Some(rest) = step.rest else {
                if let Some(value) = self.value(text, &child, &path, variable, step.from_file) {
                    map.insert(step.key, value);
                }
                return;
            };
            if !child.allows(Kind::Object) {
                return self.problem(&path, "has no keys of its own", variable);
            }
            if !map.contains_key(&step.key) {
                self.created.insert(path.clone(), variable.to_owned());
            }
            at = map
                .entry(step.key)
                .or_insert_with(|| Value::Object(Map::new()));
            slot = child;
            name = rest;
        }
    }

    /// The value that a variable sets at a path, unless there is a problem.
    fn value(
        &mut self,
        text: &str,
        slot: &Slot<'_>,
        path: &str,
        variable: &str,
        from_file: bool,
    ) -> Option<Value> {
        if let Some(other) = self.origins.insert(path.to_owned(), variable.to_owned()) {
            let both = one_of([other.as_str(), variable]);
            self.problems
                .push(Problem::new(path, format!("is set more than once: {both}")));
            return None;
        }
        let value = if from_file {
            read_text(Path::new(text)).and_then(|content| {
                if slot.is_secret() {
                    // As a reference it is read again when the file changes.
                    return Ok(json!({ "file": text }));
                }
                coerce(&content, slot)
            })
        } else {
            coerce(text, slot)
        };
        value
            .map_err(|what| self.problem(path, what, variable))
            .ok()
    }
}

/// Takes the first level off a name: a key that the schema or, for names that users make up, the
/// document has, or else a new one in lower case.
fn step<'n>(name: &'n str, slot: &Slot<'_>, map: &Map<String, Value>) -> Result<Step<'n>, String> {
    let mut known: Vec<&str> = slot.keys();
    if slot.takes_names() {
        known.extend(
            map.keys()
                .map(String::as_str)
                .filter(|key| !slot.has_property(key)),
        );
    }
    // Names may hold `__` themselves, so the longest that fits is meant.
    let fits = |key: &&str| {
        let rest = shape(name).strip_prefix(&shape(key)).map(str::to_owned);
        !key.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(LEVEL))
    };
    let longest = known
        .iter()
        .copied()
        .filter(fits)
        .max_by_key(|key| key.len());
    if let Some(key) = longest {
        let alike: Vec<_> = known
            .iter()
            .copied()
            .filter(|k| shape(k) == shape(key))
            .collect();
        if alike.len() > 1 {
            return Err(format!("could mean any of {}", one_of(alike)));
        }
        let rest = name[key.len()..].strip_prefix(LEVEL);
        return Ok(Step {
            key: key.to_owned(),
            rest,
            from_file: false,
        });
    }
    let (first, rest) = match name.split_once(LEVEL) {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if first.is_empty() {
        return Err("has an empty name before or after `__`".to_owned());
    }
    let whole = |key: &str| Step {
        key: key.to_ascii_lowercase(),
        rest,
        from_file: false,
    };
    let Some(stem) = stem(first).filter(|_| rest.is_none()) else {
        return Ok(whole(first));
    };
    if let Some(key) = known.iter().find(|key| shape(key) == shape(stem)) {
        return Ok(Step {
            key: (*key).to_owned(),
            rest,
            from_file: true,
        });
    }
    Ok(if slot.takes_names() {
        Step {
            from_file: true,
            ..whole(stem)
        }
    } else {
        whole(first)
    })
}

#[cfg(test)]
mod tests;
