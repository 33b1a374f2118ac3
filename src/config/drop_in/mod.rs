//! Drop-in environments: the settings of two programs that people replace by Lifeboat, turned into
//! the document that a configuration file would hold. From there on all goes one way: the same
//! checks, the same `config show`, the same secrets.
//!
//! Only words of the document are written here; what they mean, the engines and stores know.

mod duration;
mod govalite;
mod reader;
mod redis_vault;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::load;
use super::problems::lies_in;
use crate::error::Error;
use crate::value::{Env, Problem, one_of};
use reader::Reader;

/// What was understood, for people.
#[derive(Debug, Clone)]
pub struct DropIn {
    /// Whose settings they are.
    pub program: &'static str,
    /// The variables that counted, and the file's name if it was that program's.
    pub from: Vec<String>,
    /// What people should know although all is sound.
    pub warnings: Vec<String>,
}

/// The settings of another program, in words of ours.
#[derive(Debug)]
pub(super) struct Understood {
    pub drop_in: DropIn,
    pub document: Map<String, Value>,
    /// Whether the file is that program's, and none of ours.
    pub owns_file: bool,
    problems: Vec<Problem>,
    /// Where in the document a setting went, and its name.
    origins: BTreeMap<String, String>,
}

/// A program whose settings are understood.
struct Program {
    name: &'static str,
    /// Variables that nobody else would set.
    sure: &'static [&'static str],
    /// Variables that others might set too: they tell where nothing surer does.
    likely: &'static [&'static str],
    /// Variables that make a likely one sure.
    beside: &'static [&'static str],
    translate: fn(&mut Reader<'_>),
}

static PROGRAMS: [&Program; 2] = [&govalite::PROGRAM, &redis_vault::PROGRAM];

impl Program {
    /// The first variable that tells for certain, or that probably does.
    fn told(&self, env: &Env, certain: bool) -> Option<&'static str> {
        let set = |names: &'static [&'static str]| names.iter().copied().find(|n| is_set(env, n));
        if !certain {
            return set(self.likely);
        }
        set(self.sure).or_else(|| set(self.beside).and_then(|_| set(self.likely)))
    }
}

/// The settings of another program in `env`, or in the file's text; nothing where a job of our own
/// is configured.
///
/// # Errors
/// When the environment holds those of two programs.
pub(super) fn understand(
    yaml: Option<(&str, &str)>,
    env: &Env,
) -> Result<Option<Understood>, Error> {
    let file = yaml.map(|(_, text)| Keys::of(text));
    if file.as_ref().is_some_and(|file| file.has_jobs) || has_jobs(env) {
        return Ok(None);
    }
    let file_tells = file
        .as_ref()
        .is_some_and(|file| file.foreign && file.telling);
    let program = if file_tells {
        Some(&redis_vault::PROGRAM)
    } else {
        told(env)?
    };
    let Some(program) = program else {
        return Ok(None);
    };
    let owns_file = file.is_some_and(|file| file.foreign) && program.name == redis_vault::NAME;
    let mut problems = Vec::new();
    let settings = match yaml {
        Some((name, text)) if owns_file => redis_vault::read(name, text, &mut problems),
        _ => BTreeMap::new(),
    };
    let mut reader = Reader::new(env, settings, problems);
    (program.translate)(&mut reader);
    let mut understood = reader.understood(program.name);
    understood.owns_file = owns_file;
    if let Some((name, _)) = yaml.filter(|_| owns_file) {
        understood.drop_in.from.insert(0, name.to_owned());
    }
    Ok(Some(understood))
}

/// The program whose variables are set.
fn told(env: &Env) -> Result<Option<&'static Program>, Error> {
    for certain in [true, false] {
        let found: Vec<_> = PROGRAMS
            .into_iter()
            .filter_map(|program| Some((program, program.told(env, certain)?)))
            .collect();
        match found[..] {
            [] => {}
            [(program, _)] => return Ok(Some(program)),
            _ => {
                let each = found
                    .iter()
                    .map(|(program, variable)| format!("{} (`{variable}`)", program.name));
                let both = each.collect::<Vec<_>>().join(" and of ");
                let why = format!("holds variables of {both}, and can be only one job");
                return Err(Error::usage("the environment", why).hint(
                    "take one set away, or write both jobs into config.yaml: docs/moving.md",
                ));
            }
        }
    }
    Ok(None)
}

fn is_set(env: &Env, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.trim().is_empty())
}

/// Whether the environment configures a job of our own.
fn has_jobs(env: &Env) -> bool {
    env.iter().any(|(name, _)| {
        name.strip_prefix("LIFEBOAT_JOBS")
            .is_some_and(|rest| rest.is_empty() || rest == "_FILE" || rest.starts_with("__"))
    })
}

/// What a file's top level says of whose it is.
struct Keys {
    /// Of ours, with a job in it.
    has_jobs: bool,
    /// Of the other program: all keys are its, none is ours.
    foreign: bool,
    /// Whether these keys would mean nothing elsewhere.
    telling: bool,
}

impl Keys {
    /// A text that cannot be read is taken for ours: reading it says what is wrong.
    fn of(text: &str) -> Self {
        let map: Map<String, Value> = serde_yaml::from_str(text).unwrap_or_default();
        let jobs = map.get("jobs");
        let is_ours = |key: &String| load::schema()["properties"].get(key).is_some();
        let has = |key: &str| map.contains_key(key);
        Self {
            has_jobs: jobs.is_some_and(|jobs| jobs.as_object().is_none_or(|jobs| !jobs.is_empty()))
                && jobs != Some(&Value::Null),
            foreign: !map.keys().any(is_ours) && redis_vault::sections().any(has),
            telling: ["redis", "backup", "storage"].into_iter().any(has),
        }
    }
}

impl Understood {
    /// Gives each mistake in what came from a setting that setting's name, and adds those that
    /// were found on the way.
    pub(super) fn explain(self, found: &mut Vec<Problem>) -> DropIn {
        for problem in found.iter_mut() {
            // The last of the places around it is the closest one.
            let mut places = self.origins.iter().rev();
            let around = places.find(|(place, _)| lies_in(&problem.path, place));
            // What a variable of ours has put there is named already.
            if let Some((_, name)) = around
                && !problem.what.contains("(from `LIFEBOAT_")
            {
                problem.path.clone_from(name);
            }
        }
        if !self.problems.is_empty() {
            // What was left out because it is wrong is not missing besides.
            found.retain(|problem| !problem.path.starts_with("jobs."));
            found.extend(self.problems);
        }
        self.drop_in
    }
}

impl DropIn {
    /// What was understood, in half a line.
    pub fn title(&self) -> String {
        format!("the settings of {}", self.program)
    }

    /// The line over what `config show` prints.
    pub fn comment(&self) -> String {
        let from = one_of(self.from.iter().map(String::as_str)).replace('`', "");
        format!("# understood from {}: {from}", self.title())
    }
}

#[cfg(test)]
mod tests;
