use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use url::Url;

use super::{Config, problems};
use crate::destination::{self, DestinationConfig};
use crate::error::{Error, Kind, io_reason};
use crate::source::{self, SourceConfig};
use crate::value::{self, Env, Problem};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["config.yaml", "/etc/lifeboat/config.yaml"];

/// A configuration, and the document it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed settings.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

/// The JSON Schema of the configuration.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Config).into());
    &SCHEMA
}

/// Reads the file that `named` gives, or the first of the usual places that is there, and lays the
/// environment over it.
///
/// # Errors
/// All mistakes at once, when there are any; or the file's, when it cannot be read.
pub fn load(named: Option<&Path>, env: &Env) -> Result<Loaded, Error> {
    let file = match named {
        Some(path) => Some(path.to_owned()),
        None => PLACES.iter().map(PathBuf::from).find(|path| path.exists()),
    };
    let text = match &file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
                _ => io_reason(&error),
            };
            Error::usage(path.display().to_string(), why)
        })?),
    };
    let name = file.as_ref().map_or_else(
        || "the environment".to_owned(),
        |path| {
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        },
    );
    let yaml = text.as_deref().map(|text| (name.as_str(), text));
    let (document, mut found) = value::load(yaml, env, schema());
    found.extend(problems::contradictions(&document, env));
    found.sort();
    found.dedup();
    if !found.is_empty() {
        return Err(mistakes(&name, &found));
    }
    let config = serde_json::from_value(document).map_err(|error| {
        // The schema and the types are one, so this is a mistake of ours; the user still learns it.
        Error::usage(name.as_str(), error.to_string())
    })?;
    Ok(Loaded { config, file })
}

/// One error over all mistakes, a line each.
fn mistakes(name: &str, problems: &[Problem]) -> Error {
    let count = match problems.len() {
        1 => "has a mistake".to_owned(),
        n => format!("has {n} mistakes"),
    };
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
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| schemars::schema_for!(DestinationConfig).into());
    let parsed = parse(url)?;
    let settings =
        destination::settings_from_url(&parsed).map_err(|why| Error::usage(shown(&parsed), why))?;
    from_strings(&parsed, settings, &SCHEMA)
}

/// A source and its default series name from its URL short form.
///
/// # Errors
/// What is wrong with it, in words.
pub fn source_from_url(url: &str) -> Result<(SourceConfig, String), Error> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(SourceConfig).into());
    let parsed = parse(url)?;
    let (settings, series) =
        source::settings_from_url(&parsed).map_err(|why| Error::usage(shown(&parsed), why))?;
    let source: SourceConfig = from_strings(&parsed, settings, &SCHEMA)?;
    if let Some((key, why)) = source.contradictions().into_iter().next() {
        return Err(Error::usage(shown(&parsed), format!("{key}: {why}")));
    }
    Ok((source, series))
}

fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|_| {
        Error::usage("URL", "it does not parse")
            .hint("destinations look like file:///backups or s3://bucket/prefix, sources like sqlite:///data/app.db")
    })
}

fn from_strings<T: serde::de::DeserializeOwned>(
    url: &Url,
    settings: Value,
    schema: &Value,
) -> Result<T, Error> {
    let document = value::from_strings(settings, schema)
        .map_err(|problems| mistakes(&shown(url), &problems))?;
    serde_json::from_value(document).map_err(|error| Error::usage(shown(url), error.to_string()))
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
