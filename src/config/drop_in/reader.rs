//! Reads settings one by one, and notes where each went and what was wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::{Map, Value};

use super::{DropIn, Understood, duration, is_set};
use crate::value::{Env, HumanDuration, Problem, closest, one_of, quote};

/// The settings of another program: variables, and below them what its file says, each under the
/// variable's name.
pub(super) struct Reader<'a> {
    env: &'a Env,
    file: BTreeMap<&'static str, Written>,
    used: BTreeSet<String>,
    document: Map<String, Value>,
    origins: BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// A setting in a file.
pub(super) struct Written {
    /// Its key, such as `backup.interval`.
    pub key: String,
    pub text: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        env: &'a Env,
        file: BTreeMap<&'static str, Written>,
        problems: Vec<Problem>,
    ) -> Self {
        Self {
            env,
            file,
            used: BTreeSet::new(),
            document: Map::new(),
            origins: BTreeMap::new(),
            problems,
            warnings: Vec::new(),
        }
    }

    pub(super) fn understood(self, program: &'static str) -> Understood {
        Understood {
            drop_in: DropIn {
                program,
                from: self.used.into_iter().collect(),
                warnings: self.warnings,
            },
            document: self.document,
            owns_file: false,
            problems: self.problems,
            origins: self.origins,
        }
    }

    /// Whether a setting has a value; an empty one counts as not set.
    pub(super) fn has(&self, variable: &str) -> bool {
        is_set(self.env, variable) || self.file.contains_key(variable)
    }

    /// The name that people know a setting by: the variable, or the file's key where that counts.
    pub(super) fn name(&self, variable: &str) -> String {
        match self.file.get(variable) {
            Some(written) if !is_set(self.env, variable) => written.key.clone(),
            _ => variable.to_owned(),
        }
    }

    /// The value of a setting, without space around it.
    pub(super) fn text(&mut self, variable: &str) -> Option<String> {
        if is_set(self.env, variable) {
            self.used.insert(variable.to_owned());
            return self.env.get(variable).map(|text| text.trim().to_owned());
        }
        let written = self.file.get(variable)?;
        Some(written.text.trim().to_owned())
    }

    pub(super) fn flag(&mut self, variable: &str, default: bool) -> bool {
        let Some(text) = self.text(variable) else {
            return default;
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "on" => true,
            "false" | "f" | "0" | "no" | "off" => false,
            _ => {
                self.wrong(variable, &text, "neither true nor false", "true` or `false");
                default
            }
        }
    }

    /// A whole number from 0.
    pub(super) fn count(&mut self, variable: &str, default: u32) -> Option<u32> {
        let Some(text) = self.text(variable) else {
            return Some(default);
        };
        let count = text.parse().ok();
        if count.is_none() {
            self.wrong(variable, &text, "not a whole number", &default.to_string());
        }
        count
    }

    pub(super) fn duration(
        &mut self,
        variable: &str,
        units: &[(&'static str, u128)],
    ) -> Option<HumanDuration> {
        let text = self.text(variable)?;
        let parsed = duration::parse(&text, units);
        if parsed.is_none() {
            self.wrong(variable, &text, "not a duration", "90s`, `30m` or `1h30m");
        }
        parsed
    }

    /// One of some words, in any case.
    pub(super) fn word(&mut self, variable: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(variable)?;
        let lower = text.to_ascii_lowercase();
        let known = words.iter().copied().find(|word| *word == lower);
        if known.is_none() {
            let meant = closest(&text, words.iter().copied())
                .map_or_else(String::new, |close| format!("; did you mean `{close}`?"));
            let words = one_of(words.iter().copied());
            let what = format!("must be one of {words}, not {}{meant}", quote(&text));
            self.problem(variable, what);
        }
        known
    }

    /// A problem of a value: what it is not, and what to write.
    fn wrong(&mut self, variable: &str, text: &str, not: &str, write: &str) {
        let what = format!("{} is {not}; write `{write}`", quote(text));
        self.problem(variable, what);
    }

    pub(super) fn problem(&mut self, variable: &str, what: impl Display) {
        self.problems.push(Problem {
            path: self.name(variable),
            what: what.to_string(),
        });
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Puts a value into the document, at keys separated by dots; mistakes that are found there
    /// are mistakes of `variable`.
    pub(super) fn put(&mut self, path: &str, value: impl Into<Value>, variable: &str) {
        self.origin(path, variable);
        let mut at = &mut self.document;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                at.insert(key.to_owned(), value.into());
                return;
            }
            let below = at
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()))
                .as_object_mut();
            at = below.expect("paths lead through maps only");
        }
    }

    /// Says whose the mistakes at a path are.
    pub(super) fn origin(&mut self, path: &str, variable: &str) {
        self.origins.insert(path.to_owned(), self.name(variable));
    }

    /// Puts a setting's text there, or the default.
    pub(super) fn carry(&mut self, path: &str, variable: &str, default: Option<&str>) {
        if let Some(text) = self.text(variable).or(default.map(str::to_owned)) {
            self.put(path, text, variable);
        }
    }

    /// Notes that a variable is read elsewhere, by a reference to it.
    pub(super) fn refer(&mut self, path: &str, variable: &str) {
        self.used.insert(variable.to_owned());
        self.put(path, serde_json::json!({ "env": variable }), variable);
    }
}
