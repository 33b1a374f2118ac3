//! Redis and Valkey: the dump file that the server writes itself, taken from the folder it lies
//! in. The server is asked for its role and state and is never told to save.

mod capture;
mod config;
mod connect;
mod dump;
mod format;
mod inspect;
mod probe;
mod rdb;
mod refusal;
mod server;
mod words;

use std::fmt;
use std::path::Path;

use async_trait::async_trait;

use super::{
    BackupFacts, Capture, Engine, Finding, Format, Home, Probe, Role, SourceError, SourceErrorKind,
    Stop,
};
use crate::error::Error;
use crate::value::Env;
use dump::Dump;
use server::Server;

pub use config::{Mode, RedisConfig, RedisUrl, settings_from_url};
pub use format::RedisFormat;
pub use rdb::RdbVerifier;

/// A server with its dump.
pub struct RedisSource {
    config: RedisConfig,
    server: Server,
    env: Env,
}

impl RedisSource {
    /// A source over a server that is not connected to yet. The environment is kept, because
    /// secrets are read again at every connection.
    ///
    /// # Errors
    /// When settings contradict each other, or a secret or certificate cannot be read.
    pub fn new(config: &RedisConfig, env: &Env) -> Result<Self, Error> {
        let usage = |(key, why)| Error::usage(format!("source.{key}"), why);
        if let Some(contradiction) = config.contradictions().into_iter().next() {
            return Err(usage(contradiction));
        }
        let server = config.server().map_err(|why| usage(("url", why)))?;
        let source = Self {
            config: config.clone(),
            server,
            env: env.clone(),
        };
        connect::rehearse(&source).map_err(usage)?;
        Ok(source)
    }

    async fn open_dump(&self) -> Result<Dump, SourceError> {
        let path = self.config.dump();
        blocking(move || Dump::open(&path))
            .await
            .unwrap_or_else(|| Err(SourceError::stopped()))
    }
}

impl fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSource")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for RedisSource {
    fn format(&self) -> &'static dyn Format {
        &RedisFormat
    }

    async fn probe(&self) -> Result<Probe, SourceError> {
        probe::probe(self).await
    }

    async fn capture(
        &self,
        before: &Probe,
        _scratch: &Path,
        stop: &Stop,
    ) -> Result<Capture, SourceError> {
        let dump = tokio::select! {
            biased;
            () = stop.wait() => return Err(SourceError::stopped()),
            dump = self.open_dump() => dump?,
        };
        capture::capture(dump, &self.config, before)
    }

    async fn confirm(&self, capture: &Capture, before: &Probe) -> Result<Role, SourceError> {
        capture::unchanged(capture)?;
        match self.probe().await {
            Ok(after) => Ok(after.role),
            Err(error)
                if before.role == Role::Unknown && error.kind == SourceErrorKind::Unreachable =>
            {
                Ok(Role::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    async fn home(&self, _backup: &BackupFacts<'_>, force: bool) -> Result<Home, SourceError> {
        let home = self.config.dump();
        if force {
            return Ok(Home::File(home));
        }
        if connect::listens(&self.server).await {
            let why = format!("a server answers at {}", self.server);
            return Err(SourceError::new(SourceErrorKind::InUse, why).hint(
                "stop it first, and whatever restarts it: \
                 it overwrites its dump when it shuts down, and loads it only when it starts",
            ));
        }
        for name in ["appendonlydir", "appendonly.aof"] {
            let append_only = self.config.data_dir.join(name);
            if append_only.exists() {
                let why = format!(
                    "{} exists: with `appendonly yes` Redis loads it and ignores the dump",
                    append_only.display()
                );
                return Err(SourceError::new(SourceErrorKind::InUse, why)
                    .hint("move it aside, and start Redis with `appendonly no`"));
            }
        }
        Ok(Home::File(home))
    }

    async fn uses(&self, path: &Path) -> Option<String> {
        let (ours, theirs) = (self.config.dump(), path.to_path_buf());
        let same = blocking(move || {
            ours.canonicalize()
                .is_ok_and(|ours| theirs.canonicalize().is_ok_and(|it| it == ours))
        });
        if same.await != Some(true) || !connect::listens(&self.server).await {
            return None;
        }
        Some(format!(
            "Redis answers at {} and writes this file",
            self.server
        ))
    }

    async fn inspect(&self) -> Vec<Finding> {
        let probed = self.probe().await;
        let opened = self.open_dump().await;
        let mut findings = vec![
            inspect::server(&probed),
            inspect::dump(opened, probed.as_ref().ok(), self).await,
        ];
        let data_dir = self.config.data_dir.clone();
        findings.extend(
            blocking(move || inspect::remains(&data_dir))
                .await
                .flatten(),
        );
        findings
    }
}

/// Runs file work, which a dead network volume can hold up, beside the async threads. `None` when
/// the program ends first.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
