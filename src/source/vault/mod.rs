//! HashiCorp Vault and OpenBao, and Consul and Nomad: the raft snapshot API.

mod archive;
mod body;
mod capture;
mod client;
mod config;
mod endpoint;
mod environment;
mod facts;
mod format;
mod inspect;
mod leader;
mod login;
mod probe;
mod product;
mod redirect;
mod refusal;
mod restore;
mod seal;
mod tls;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{BackupFacts, Capture, Engine, Finding, Format, Home, Probe, Role, SourceError, Stop};
use crate::error::Error;
use crate::value::{Env, Secret};
use client::{Api, Limits};
use login::Keyring;
use restore::Cluster;

pub use archive::{ArchiveVerifier, Expect};
pub use config::{
    AppRoleAuth, Auth, CertAuth, JwtAuth, KubernetesAuth, PasswordAuth, Product, TokenAuth,
    VaultConfig, settings_from_url,
};
pub use format::VaultFormat;

/// A node of a cluster with raft storage.
#[derive(Clone)]
pub struct VaultSource {
    config: VaultConfig,
    env: Env,
    keyring: Arc<Keyring>,
    limits: Limits,
}

impl VaultSource {
    /// A source over a server that is not connected to yet. The environment is kept, because
    /// secrets and certificates are read again for each run.
    ///
    /// # Errors
    /// When settings contradict each other, or a secret or certificate cannot be read.
    pub fn new(config: &VaultConfig, env: &Env) -> Result<Self, Error> {
        let usage = |(key, why)| Error::usage(format!("source.{key}"), why);
        if let Some(contradiction) = config.contradictions().into_iter().next() {
            return Err(usage(contradiction));
        }
        let api = Api::new(config, env).map_err(usage)?;
        Ok(Self {
            keyring: Arc::new(Keyring::new(config, env).map_err(usage)?),
            config: config.clone(),
            env: env.clone(),
            limits: api.limits,
        })
    }

    /// A client with the certificates as they are now.
    fn api(&self) -> Result<Api, SourceError> {
        let mut api = Api::new(&self.config, &self.env)
            .map_err(|(key, why)| refusal::login(format!("`{key}`: {why}")))?;
        api.limits = self.limits;
        Ok(api)
    }

    /// The token; none where Consul or Nomad are asked without one, which may ask for none.
    async fn token_if_any(&self, api: &Api) -> Result<Option<Secret>, SourceError> {
        match (self.keyring.token(api).await, api.product()) {
            (Ok(token), _) => Ok(Some(token)),
            (Err(_), Some(Product::Consul | Product::Nomad)) if self.config.auth.is_none() => {
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl fmt::Debug for VaultSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultSource")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for VaultSource {
    fn format(&self) -> &'static dyn Format {
        &VaultFormat
    }

    fn ready(&self) -> Result<(), (&'static str, String)> {
        match self.config.product {
            Product::Consul | Product::Nomad => Ok(()),
            _ => self.keyring.ready(),
        }
    }

    async fn probe(&self) -> Result<Probe, SourceError> {
        probe::probe(self, &self.api()?).await
    }

    async fn capture(
        &self,
        before: &Probe,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<Capture, SourceError> {
        capture::capture(self, before, scratch, stop).await
    }

    // A snapshot is committed state, and stays valid whoever leads by now.
    async fn confirm(&self, _: &Capture, before: &Probe) -> Result<Role, SourceError> {
        Ok(before.role)
    }

    async fn role_now(&self, before: &Probe) -> Option<Role> {
        Some(
            probe::role_since(self, before)
                .await
                .unwrap_or(Role::Unknown),
        )
    }

    async fn home(&self, _: &BackupFacts<'_>, _: bool) -> Result<Home, SourceError> {
        Ok(Home::Live(Arc::new(Cluster(self.clone()))))
    }

    async fn uses(&self, _: &Path) -> Option<String> {
        None
    }

    async fn inspect(&self) -> Vec<Finding> {
        inspect::inspect(self).await
    }
}

#[cfg(test)]
mod tests;
