use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::env::Env;
use super::words::quote;

/// What stands in the place of a secret wherever one would be shown.
pub(super) const REDACTED: &str = "<redacted>";

/// Text that must not be seen: shown, logged and serialized as `<redacted>`, and overwritten in
/// memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over, without a copy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// A secret as settings write it: the plain value, `{ env: NAME }` or `{ file: PATH }`.
///
/// Shown as written where it is a reference, which is no secret, and as `<redacted>` otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSetting {
    /// The value itself.
    Plain(Secret),
    /// The value of an environment variable.
    Env {
        /// Name of the variable.
        env: String,
    },
    /// The content of a file, without one line break at its end.
    File {
        /// Path of the file.
        file: PathBuf,
    },
}

impl SecretSetting {
    /// The secret as it is now: a file is read each time, so that a rotated one counts at once.
    ///
    /// The error names the variable or the file and the reason: not set, not readable, not UTF-8
    /// or empty. A secret that is meant to be empty is a key left out.
    pub fn read(&self, env: &Env) -> Result<Secret, String> {
        match self {
            Self::Plain(secret) => Ok(secret.clone()),
            Self::Env { env: name } => match env.get(name) {
                Some("") => Err(format!("environment variable {} is empty", quote(name))),
                Some(value) => Ok(Secret::new(value)),
                None => Err(format!("environment variable {} is not set", quote(name))),
            },
            Self::File { file } => {
                let text = read_text(file)?;
                if text.is_empty() {
                    return Err(format!("{} is empty", quote(&file.to_string_lossy())));
                }
                Ok(Secret(text))
            }
        }
    }
}

/// The content of a file without one line break at its end, or why it cannot be read.
pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |reason: &str| format!("cannot read {}: {reason}", quote(&path.to_string_lossy()));
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        failed(&match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            kind => kind.to_string(),
        })
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8 text"))?;
    let text = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(text.to_owned()))
}

impl Serialize for SecretSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            Self::Plain(secret) => return secret.serialize(serializer),
            Self::Env { .. } | Self::File { .. } => serializer.serialize_map(Some(1))?,
        };
        match self {
            Self::Plain(_) => {}
            Self::Env { env } => map.serialize_entry("env", env)?,
            Self::File { file } => map.serialize_entry("file", file)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SecretSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SettingVisitor)
    }
}

struct SettingVisitor;

// No message here may quote the value, as serde's own for a wrong type would.
impl<'de> Visitor<'de> for SettingVisitor {
    type Value = SecretSetting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, `{ env: NAME }` or `{ file: PATH }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSetting, E> {
        Ok(SecretSetting::Plain(Secret::new(text)))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<SecretSetting, E> {
        Ok(SecretSetting::Plain(Secret::new(text)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<SecretSetting, E> {
        self.visit_string(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<SecretSetting, E> {
        self.visit_string(value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<SecretSetting, E> {
        self.visit_string(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretSetting, E> {
        // `1.10` and `1.1` are the same number and not the same password.
        Err(E::custom(
            "a secret that reads as a fraction must be in quotes",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSetting, A::Error> {
        let setting = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretSetting::Env {
                env: map.next_value()?,
            },
            Some("file") => SecretSetting::File {
                file: map.next_value()?,
            },
            _ => return Err(de::Error::custom(NOT_A_SECRET)),
        };
        match map.next_key::<String>()? {
            None => Ok(setting),
            Some(_) => Err(de::Error::custom(NOT_A_SECRET)),
        }
    }
}

/// Whether a value is `{ env: NAME }` or `{ file: PATH }`.
pub(super) fn is_reference(value: &serde_json::Value) -> bool {
    value.as_object().is_some_and(|map| {
        let name = map.get("env").or_else(|| map.get("file"));
        map.len() == 1
            && name
                .and_then(|name| name.as_str())
                .is_some_and(|name| !name.is_empty())
    })
}

/// The problem with a secret of the wrong form; its value is never quoted.
pub(super) const NOT_A_SECRET: &str = "must be a string, `{ env: NAME }` or `{ file: PATH }`";

impl JsonSchema for SecretSetting {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reference = |key: &str, description: &str| {
            json_schema!({
                "type": "object",
                "properties": { key: { "type": "string", "description": description } },
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A secret: a plain value, `{ env: NAME }` or `{ file: PATH }`.",
            "format": "secret",
            "anyOf": [
                { "type": "string" },
                reference("env", "Environment variable that holds the secret"),
                reference("file", "File that holds the secret; read again when it changes"),
            ],
        })
    }
}

#[cfg(test)]
mod tests;
