use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Destination;
use super::gcs::{self, GcsConfig, GcsStore};
use super::local::{self, LocalConfig, LocalStore};
use super::s3::{self, S3Config, S3Store};
use crate::error::Error;
use crate::value::Env;

/// A place for backups, by type.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum DestinationConfig {
    /// A folder on a mounted file system.
    Local(LocalConfig),
    /// A bucket that speaks S3.
    S3(Box<S3Config>),
    /// A bucket of Google Cloud Storage.
    Gcs(Box<GcsConfig>),
}

impl DestinationConfig {
    /// Mistakes that the single values do not show: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        match self {
            DestinationConfig::Local(_) => Vec::new(),
            DestinationConfig::S3(config) => config.problems(),
            DestinationConfig::Gcs(config) => config.problems(),
        }
    }
}

/// Opens a configured destination under `name`. Nothing is connected yet.
///
/// # Errors
/// When a secret or a certificate it names cannot be read.
pub async fn open(name: &str, config: &DestinationConfig, env: &Env) -> Result<Destination, Error> {
    Ok(match config {
        DestinationConfig::Local(config) => {
            let store = LocalStore::new(&config.path).creating(config.create);
            Destination::new(name, store.address(), store.manual_fetch(), Arc::new(store))
        }
        DestinationConfig::S3(config) => {
            let store = S3Store::open(config, env)
                .await
                .map_err(|error| error.at(name))?;
            Destination::new(name, store.address(), store.manual_fetch(), Arc::new(store))
        }
        DestinationConfig::Gcs(config) => {
            let store = GcsStore::open(config, env).map_err(|error| error.at(name))?;
            Destination::new(name, store.address(), store.manual_fetch(), Arc::new(store))
        }
    })
}

/// A destination's settings from its URL short form (`file:///backups`, `s3://bucket/prefix`,
/// `gs://bucket/prefix`); the settings are checked like any others.
///
/// # Errors
/// When no store takes the URL's scheme, or the URL lacks what the store needs.
pub fn settings_from_url(url: &Url) -> Result<serde_json::Value, String> {
    match url.scheme() {
        "file" => local::settings_from_url(url),
        "s3" => s3::settings_from_url(url),
        "gs" => gcs::settings_from_url(url),
        other => Err(format!(
            "`{other}:` is no destination; write `file:///folder`, `s3://bucket/prefix` or \
             `gs://bucket/prefix`"
        )),
    }
}
