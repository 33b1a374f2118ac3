use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::redis::{self, RedisConfig, RedisSource};
use super::sqlite::{self, SqliteConfig, SqliteSource};
use super::vault::{self, VaultConfig, VaultSource};
use super::{Engine, Format};
use crate::error::Error;
use crate::value::Env;

/// A data store, by type.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceConfig {
    /// A SQLite database file.
    Sqlite(SqliteConfig),
    /// A Redis or Valkey server beside us, by the dump.rdb it writes.
    Redis(Box<RedisConfig>),
    /// A Vault or OpenBao node beside us, or a Consul or Nomad server, by its raft snapshot API.
    Vault(Box<VaultConfig>),
}

impl SourceConfig {
    /// Mistakes that the single values do not show: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        match self {
            SourceConfig::Sqlite(config) => config.contradictions(),
            SourceConfig::Redis(config) => config.contradictions(),
            SourceConfig::Vault(config) => config.contradictions(),
        }
    }
}

/// Every format there is.
pub static FORMATS: [&dyn Format; 3] = [
    &sqlite::SqliteFormat,
    &redis::RedisFormat,
    &vault::VaultFormat,
];

/// Opens a configured source. Nothing is connected yet.
///
/// # Errors
/// When a secret or a certificate it names cannot be read.
pub fn open(config: &SourceConfig, env: &Env) -> Result<Arc<dyn Engine>, Error> {
    Ok(match config {
        SourceConfig::Sqlite(config) => Arc::new(SqliteSource::new(config)),
        SourceConfig::Redis(config) => Arc::new(RedisSource::new(config, env)?),
        SourceConfig::Vault(config) => Arc::new(VaultSource::new(config, env)?),
    })
}

/// The format of the engine called `name`, if there is one.
pub fn format(name: &str) -> Option<&'static dyn Format> {
    FORMATS.into_iter().find(|format| format.name() == name)
}

/// A source's settings and default series name from its URL short form
/// (`sqlite:///data/app.db`); the settings are checked like any others.
///
/// # Errors
/// When no engine takes the URL's scheme, or the URL lacks what the engine needs.
pub fn settings_from_url(url: &Url) -> Result<(serde_json::Value, String), String> {
    match url.scheme() {
        "sqlite" => sqlite::settings_from_url(url),
        "redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" | "unix" => {
            redis::settings_from_url(url)
        }
        "vault+https" | "vault+http" | "vault+unix" => vault::settings_from_url(url),
        other => Err(format!(
            "`{other}:` is no source; write `sqlite:///path/to.db`, `redis://host:port?data_dir=/data` or `vault+https://host:8200`"
        )),
    }
}
