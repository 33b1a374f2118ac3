use serde_json::{Map, Value};

use super::coerce::boolean;
use super::formats::{number_problem, text_problem};
use super::{Problem, at_index, at_key};
use crate::value::redact::redact_text;
use crate::value::schema::{Form, Kind, Slot};
use crate::value::secret::{NOT_A_SECRET, is_reference};
use crate::value::words::{closest, one_of, quote};

/// Up to this many known keys are listed where none is close to an unknown one.
const MAX_LISTED: usize = 8;

/// Everything in a document that its schema does not allow.
pub(super) fn check(document: &Value, root: &Slot<'_>) -> Vec<Problem> {
    let mut checker = Checker {
        problems: Vec::new(),
    };
    checker.value(document, root, "");
    checker.problems
}

struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn problem(&mut self, path: &str, what: impl Into<String>) {
        self.problems.push(Problem::new(path, what));
    }

    fn value(&mut self, value: &Value, slot: &Slot<'_>, path: &str) {
        if slot.is_open() {
            return;
        }
        if slot.is_secret() {
            if !value.is_string() && !is_reference(value) {
                self.problem(path, NOT_A_SECRET);
            }
            return;
        }
        let Some(kind) = Kind::of(value).filter(|kind| slot.allows(*kind)) else {
            return self.problem(path, mismatch(value, slot));
        };
        let forms: Vec<_> = slot.forms.iter().filter(|form| form.allows(kind)).collect();
        if let Some(what) = choice_problem(value, &forms, slot) {
            return self.problem(path, what);
        }
        match value {
            Value::Object(map) => self.object(map, slot, path),
            Value::Array(items) => self.list(items, slot, &forms, path),
            Value::String(text) => {
                let problems: Option<Vec<_>> =
                    forms.iter().map(|form| text_problem(text, form)).collect();
                // Where a boolean would do as well, the format's advice tells half the story.
                let what = match problems {
                    Some(_) if slot.allows(Kind::Boolean) => Some(mismatch(value, slot)),
                    Some(problems) => problems.into_iter().next(),
                    None => None,
                };
                if let Some(what) = what {
                    self.problem(path, what);
                }
            }
            Value::Number(_) => {
                let problems: Option<Vec<_>> = forms
                    .iter()
                    .map(|form| number_problem(value, form))
                    .collect();
                if let Some(what) = problems.and_then(|problems| problems.into_iter().next()) {
                    self.problem(path, what);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn list(&mut self, items: &[Value], slot: &Slot<'_>, forms: &[&Form], path: &str) {
        let limit = |keyword| forms.iter().find_map(|form| form.get(keyword)?.as_u64());
        let length = items.len() as u64;
        match (limit("minItems"), limit("maxItems")) {
            (Some(1..), _) if length == 0 => self.problem(path, "is empty"),
            (Some(min), _) if length < min => {
                self.problem(path, format!("has too few items; at least {min}"));
            }
            (_, Some(max)) if length > max => {
                self.problem(path, format!("has too many items; at most {max}"));
            }
            _ => {}
        }
        let item = slot.item();
        for (index, value) in items.iter().enumerate() {
            self.value(value, &item, &at_index(path, index));
        }
    }

    fn object(&mut self, map: &Map<String, Value>, slot: &Slot<'_>, path: &str) {
        let Some(tag) = slot.tag() else {
            return self.untagged(map, slot, path);
        };
        let tags = slot.tags(tag);
        match map.get(tag) {
            None => {
                let what = format!("missing key {}: one of {}", quote(tag), one_of(tags));
                self.problem(path, what);
            }
            Some(Value::String(name)) if tags.contains(&name.as_str()) => {
                return self.untagged(map, &slot.narrowed(map), path);
            }
            Some(value) => {
                self.problem(
                    &at_key(path, tag),
                    not_a_choice(value, tags.iter().copied()),
                );
            }
        }
        // Which keys belong here depends on the tag, but some belong nowhere.
        for key in map.keys().filter(|key| slot.child(key).is_none()) {
            self.problem(&at_key(path, key), unknown_key(key, slot));
        }
    }

    /// Takes the form that fits best.
    fn untagged(&mut self, map: &Map<String, Value>, slot: &Slot<'_>, path: &str) {
        let forms = slot.forms.iter().filter(|form| form.allows(Kind::Object));
        let best = forms
            .map(|form| {
                let mut checker = Self {
                    problems: Vec::new(),
                };
                checker.keys(map, &slot.only(form), form, path);
                checker.problems
            })
            .min_by_key(Vec::len);
        self.problems.extend(best.unwrap_or_default());
    }

    fn keys(&mut self, map: &Map<String, Value>, slot: &Slot<'_>, form: &Form, path: &str) {
        let names = slot.name();
        for (key, value) in map {
            let here = at_key(path, key);
            let Some(child) = slot.child(key) else {
                self.problem(&here, unknown_key(key, slot));
                continue;
            };
            if let Some(names) = &names
                && !slot.has_property(key)
            {
                let before = self.problems.len();
                self.value(&Value::String(key.clone()), names, &here);
                if self.problems.len() > before {
                    continue;
                }
            }
            self.value(value, &child, &here);
        }
        for key in form.required().filter(|key| !map.contains_key(*key)) {
            self.problem(path, format!("missing key {}", quote(key)));
        }
    }
}

fn unknown_key(key: &str, slot: &Slot<'_>) -> String {
    let known = slot.keys();
    if let Some(meant) = closest(key, known.iter().copied()) {
        format!("unknown key; did you mean {}?", quote(meant))
    } else if known.is_empty() || known.len() > MAX_LISTED {
        "unknown key".to_owned()
    } else {
        format!("unknown key; known are {}", one_of(known))
    }
}

/// What is wrong with a value where every form that takes its kind has a list of choices.
fn choice_problem(value: &Value, forms: &[&Form], slot: &Slot<'_>) -> Option<String> {
    let choices: Option<Vec<_>> = forms.iter().map(|form| form.choices()).collect();
    let choices: Vec<_> = choices?
        .into_iter()
        .flatten()
        .filter(|c| !c.is_null())
        .collect();
    if choices.contains(&value) {
        return None;
    }
    let others = slot.forms.iter().any(|form| form.choices().is_none());
    if others {
        return Some(mismatch(value, slot));
    }
    let names: Vec<_> = choices.into_iter().map(text_of).collect();
    Some(not_a_choice(value, names.iter().map(String::as_str)))
}

fn not_a_choice<'a>(value: &Value, choices: impl Iterator<Item = &'a str> + Clone) -> String {
    let must = format!("must be one of {}", one_of(choices.clone()));
    match value {
        Value::String(text) if text.is_empty() => format!("is empty; {must}"),
        Value::String(text) => match closest(text, choices) {
            Some(meant) => format!(
                "{must}, not {}; did you mean {}?",
                shown(value),
                quote(meant)
            ),
            None => format!("{must}, not {}", shown(value)),
        },
        _ => format!("{must}, not {}", shown(value)),
    }
}

/// The problem with a value of a kind that does not belong here.
fn mismatch(value: &Value, slot: &Slot<'_>) -> String {
    let must = format!("must be {}", expected(slot));
    let text = match value {
        Value::Null => return format!("is empty; {must}"),
        Value::String(text) if text.trim().is_empty() => return format!("is empty; {must}"),
        Value::String(text) => text.trim(),
        _ => return format!("{must}, not {}", shown(value)),
    };
    let advice = if slot.allows(Kind::Boolean)
        && let Some(truth) = boolean(text)
    {
        format!("; write `{truth}`")
    } else if slot.allows(Kind::Number) || slot.allows(Kind::Integer) {
        let quoted = text.parse::<f64>().is_ok_and(f64::is_finite);
        if quoted {
            "; leave out the quotes".to_owned()
        } else {
            String::new()
        }
    } else if slot.allows(Kind::Array) && !slot.allows(Kind::Object) {
        format!("; write {}", quote(&format!("[{}]", redact_text(text))))
    } else {
        String::new()
    };
    format!("{must}, not {}{advice}", shown(value))
}

fn expected(slot: &Slot<'_>) -> String {
    let mut choices = Vec::new();
    let mut kinds = Vec::new();
    for form in &slot.forms {
        if let Some(values) = form.choices() {
            choices.extend(
                values
                    .into_iter()
                    .filter(|value| !value.is_null())
                    .map(text_of),
            );
            continue;
        }
        let string = match form.format() {
            Some("duration") => "a duration like `1h30m`",
            Some("size") => "a size like `64MiB`",
            Some("url" | "uri") => "a URL",
            Some("name" | "series") => "a name",
            _ => "a string",
        };
        let number = if form.allows(Kind::Number) {
            "a number"
        } else {
            "a whole number"
        };
        for (kind, name) in [
            (Kind::Boolean, "true or false"),
            (Kind::Integer, number),
            (Kind::String, string),
            (Kind::Array, "a list"),
            (Kind::Object, "a map of keys"),
        ] {
            if form.allows(kind) && !kinds.contains(&name) {
                kinds.push(name);
            }
        }
    }
    let choices = match &*choices {
        [] => String::new(),
        [only] => quote(only),
        _ => format!("one of {}", one_of(choices.iter().map(String::as_str))),
    };
    kinds.extend((!choices.is_empty()).then_some(&*choices));
    kinds.join(" or ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map of keys".to_owned(),
        Value::String(text) => quote(&redact_text(text)),
        Value::Bool(_) | Value::Number(_) => quote(&text_of(value)),
    }
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
