//! SQLite: `VACUUM INTO` from a read-only connection, proved on the copy.
//!
//! The traps are in the SQLite manual (`lang_vacuum`, `wal`) and in the tests of this folder: a
//! `mode=ro` connection takes the write-ahead log along and never checkpoints it, `immutable=1`
//! ignores the log and is right only where there is none, a failed `VACUUM INTO` leaves its file
//! behind, and damage in an index is copied as it is.

mod capture;
mod config;
mod connection;
mod format;
mod integrity;

use std::path::Path;

use async_trait::async_trait;
use url::Url;

pub use config::{CheckDepth, SqliteConfig};
pub use format::SqliteFormat;

use super::{
    BackupFacts, Capture, Engine, Finding, Format, Home, Probe, Role, Severity, SourceError,
    SourceErrorKind, Stop, blocking,
};
use crate::value::format_bytes;

/// A configured SQLite database.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    config: SqliteConfig,
}

impl SqliteSource {
    /// A source over the database file; nothing is opened yet.
    pub fn new(config: &SqliteConfig) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

/// `sqlite:///data/app.db`, percent-decoded; the series is named after the file.
///
/// # Errors
/// When there is no path.
pub fn settings_from_url(url: &Url) -> Result<(serde_json::Value, String), String> {
    let path = percent_encoding::percent_decode_str(url.path())
        .decode_utf8_lossy()
        .into_owned();
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("names a host; write `sqlite:///path/to.db` with three slashes".into());
    }
    if path.is_empty() || path.ends_with('/') {
        return Err("names no file; write `sqlite:///path/to.db`".into());
    }
    let stem = Path::new(&path).file_stem().map_or_else(
        || "sqlite".into(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let mut settings = serde_json::Map::new();
    settings.insert("type".into(), "sqlite".into());
    settings.insert("path".into(), path.into());
    for (key, value) in url.query_pairs() {
        settings.insert(key.into_owned(), value.into_owned().into());
    }
    Ok((settings.into(), stem))
}

#[async_trait]
impl Engine for SqliteSource {
    fn format(&self) -> &'static dyn Format {
        &SqliteFormat
    }

    async fn probe(&self) -> Result<Probe, SourceError> {
        let path = self.config.path.clone();
        blocking(move || {
            connection::examine(&path)?;
            let mut probe = Probe::of(Role::Standalone, path.display().to_string());
            probe.version = Some(rusqlite::version().to_owned());
            Ok(probe)
        })
        .await
    }

    async fn capture(
        &self,
        _before: &Probe,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<Capture, SourceError> {
        let (config, scratch, stop) = (self.config.clone(), scratch.to_owned(), stop.clone());
        blocking(move || capture::capture(&config, &scratch, &stop)).await
    }

    async fn confirm(&self, _capture: &Capture, before: &Probe) -> Result<Role, SourceError> {
        Ok(before.role)
    }

    async fn home(&self, _backup: &BackupFacts<'_>, force: bool) -> Result<Home, SourceError> {
        let path = self.config.path.clone();
        if let (false, Some(why)) = (force, self.uses(&path).await) {
            let hint = "stop the application first, or add --force";
            return Err(SourceError::new(SourceErrorKind::InUse, why).hint(hint));
        }
        Ok(Home::File(path))
    }

    async fn uses(&self, path: &Path) -> Option<String> {
        let path = path.to_owned();
        blocking(move || SqliteFormat.in_use(&path))
            .await
            .ok()
            .flatten()
    }

    async fn inspect(&self) -> Vec<Finding> {
        let config = self.config.clone();
        let examined = blocking(move || {
            let header = connection::examine(&config.path)?;
            let opened = connection::open(
                &config.path,
                header,
                config.busy_timeout.0,
                &Stop::default(),
            )?;
            Ok((
                header,
                opened.wal_included,
                connection::network_file_system(&config.path),
            ))
        })
        .await;
        match examined {
            Err(error) => vec![Finding::failed("database", &error)],
            Ok((header, wal_included, network)) => {
                let log = if wal_included {
                    ", write-ahead log present"
                } else {
                    ""
                };
                let detail = format!(
                    "{}, journal mode {}{log}",
                    format_bytes(header.bytes),
                    header.journal_mode
                );
                let mut findings = vec![Finding::fine("database", detail)];
                if let Some(kind) = network {
                    findings.push(
                        Finding::problem(
                            "database",
                            Severity::Warning,
                            format!("lies on {kind}, where SQLite's locks are not reliable"),
                        )
                        .hinted("put the database on a local volume"),
                    );
                }
                findings
            }
        }
    }
}

#[cfg(test)]
mod tests;
