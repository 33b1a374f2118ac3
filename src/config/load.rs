use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use url::Url;

use super::drop_in::{self, DropIn};
use super::{Config, problems};
use crate::destination::{self, DestinationConfig};
use crate::error::{Error, Kind, io_reason};
use crate::source::{self, SourceConfig};
use crate::value::{self, Env, Problem};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["config.yaml", "/etc/lifeboat/config.yaml"];

/// What is longer was named by mistake, and is not read into memory.
const LIMIT: u64 = 4 << 20;

/// A configuration, and the document it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed settings.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// The other program whose settings were understood instead of a configuration of our own.
    pub drop_in: Option<DropIn>,
}

/// The JSON Schema of the configuration.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Config).into());
    &SCHEMA
}

/// Reads the file that `named` gives, or the first of the usual places that is there, and lays the
/// environment over it. Where neither has a job, and the settings of a program that Lifeboat
/// replaces are there, it is those that are read.
///
/// # Errors
/// All mistakes at once, when there are any; or the file's, when it cannot be read.
pub fn load(named: Option<&Path>, env: &Env) -> Result<Loaded, Error> {
    let file = find(named);
    let text = file.as_deref().map(read).transpose()?;
    let name = shown_name(file.as_deref());
    let yaml = text.as_deref().map(|text| (name.as_str(), text));
    let understood = drop_in::understand(yaml, env)?;
    let (document, mut found) = match &understood {
        None => value::load(yaml, env, schema()),
        Some(understood) => {
            let own = yaml.filter(|_| !understood.owns_file);
            value::load_over(understood.document.clone(), own, env, schema())
        }
    };
    found.extend(problems::contradictions(&document, env, &found));
    let drop_in = understood.map(|understood| understood.explain(&mut found));
    found.sort();
    found.dedup();
    if !found.is_empty() {
        return Err(mistakes(&name, &found));
    }
    let config = serde_json::from_value(document).map_err(|error| {
        // The schema and the types are one, so this is a mistake of ours; the user still learns it.
        Error::usage(name.as_str(), error.to_string())
    })?;
    Ok(Loaded {
        config,
        file,
        drop_in,
    })
}

/// Whether [`load`] would find the settings of another program, sound or not.
pub fn is_drop_in(named: Option<&Path>, env: &Env) -> bool {
    let file = find(named);
    let Ok(text) = file.as_deref().map(read).transpose() else {
        return false;
    };
    let name = shown_name(file.as_deref());
    let yaml = text.as_deref().map(|text| (name.as_str(), text));
    drop_in::understand(yaml, env).map_or(true, |understood| understood.is_some())
}

fn find(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => PLACES.iter().map(PathBuf::from).find(|path| is_there(path)),
    }
}

fn shown_name(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the environment".to_owned(),
        |path| {
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        },
    )
}

/// What is there and cannot be read is an error later, and not passed over.
fn is_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |why: String| Error::usage(path.display().to_string(), why);
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => failed("is not UTF-8 text".to_owned()),
            _ => failed(io_reason(&error)),
        })?;
    if text.len() as u64 > LIMIT {
        let limit = value::format_bytes(LIMIT);
        return Err(failed(format!(
            "is longer than {limit}, so it is no configuration"
        )));
    }
    Ok(text)
}

/// One error over all mistakes: one fits on the line, several get a line each.
fn mistakes(name: &str, problems: &[Problem]) -> Error {
    if let [one] = problems {
        return if one.path == name || one.path.is_empty() {
            Error::usage(name, one.what.as_str())
        } else {
            Error::usage(name, one.to_string())
        };
    }
    let count = format!("has {} mistakes", problems.len());
    let width = problems
        .iter()
        .map(|p| p.path.chars().count())
        .max()
        .unwrap_or(0)
        .min(40);
    let lines: Vec<String> = problems
        .iter()
        .map(|p| format!("  {:width$}  {}", p.path, p.what))
        .collect();
    Error::new(Kind::Usage, name, format!("{count}\n{}", lines.join("\n")))
}

/// A destination from its URL short form.
///
/// # Errors
/// What is wrong with it, in words.
pub fn destination_from_url(url: &str) -> Result<DestinationConfig, Error> {
    read_destination_url(url).map_err(|problems| {
        let name = Url::parse(url).map_or_else(|_| "URL".to_owned(), |url| shown(&url));
        mistakes(&name, &problems)
    })
}

/// The same with each mistake on its own; its path is the key in the URL's query, if it is one's.
pub(super) fn read_destination_url(url: &str) -> Result<DestinationConfig, Vec<Problem>> {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| schemars::schema_for!(DestinationConfig).into());
    let whole = |what: String| {
        vec![Problem {
            path: String::new(),
            what,
        }]
    };
    let Ok(parsed) = Url::parse(url) else {
        let folder = url.starts_with('/').then(|| value::redact_text(url));
        let example = folder.map_or_else(
            || "`file:///backups`, `s3://bucket/prefix` or `gs://bucket/prefix`".to_owned(),
            |folder| format!("`file://{folder}`"),
        );
        return Err(whole(format!("is not a URL; write {example}")));
    };
    let settings = destination::settings_from_url(&parsed).map_err(whole)?;
    let document = value::from_strings(settings, &SCHEMA)?;
    let destination: DestinationConfig =
        serde_json::from_value(document).map_err(|error| whole(error.to_string()))?;
    let contradictions = destination.contradictions();
    if contradictions.is_empty() {
        return Ok(destination);
    }
    let problem = |(key, what): (&str, String)| Problem {
        path: key.to_owned(),
        what,
    };
    Err(contradictions.into_iter().map(problem).collect())
}

/// A source and its default series name from its URL short form.
///
/// # Errors
/// What is wrong with it, in words.
pub fn source_from_url(url: &str) -> Result<(SourceConfig, String), Error> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(SourceConfig).into());
    let parsed = Url::parse(url).map_err(|_| {
        Error::usage("URL", "it does not parse")
            .hint("sources look like sqlite:///data/app.db or redis://host:port?data_dir=/data")
    })?;
    let (settings, series) =
        source::settings_from_url(&parsed).map_err(|why| Error::usage(shown(&parsed), why))?;
    let document = value::from_strings(settings, &SCHEMA)
        .map_err(|problems| mistakes(&shown(&parsed), &problems))?;
    let source: SourceConfig = serde_json::from_value(document)
        .map_err(|error| Error::usage(shown(&parsed), error.to_string()))?;
    if let Some((key, why)) = source.contradictions().into_iter().next() {
        return Err(Error::usage(shown(&parsed), format!("{key}: {why}")));
    }
    Ok((source, series))
}

/// The URL without what may be secret.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown.set_query(None);
    shown.to_string()
}

impl Config {
    /// As `config show` prints it: every key in effect, secrets and passwords in URLs redacted.
    pub fn redacted(&self) -> Value {
        let document = serde_json::to_value(self).unwrap_or_else(|_| json!({}));
        value::redact(&document, schema())
    }
}
