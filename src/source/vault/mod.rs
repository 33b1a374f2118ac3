//! HashiCorp Vault and OpenBao, and Consul and Nomad: the raft snapshot API.
#![allow(dead_code)]

mod client;
mod config;
mod login;

pub use config::{
    AppRoleAuth, Auth, CertAuth, JwtAuth, KubernetesAuth, PasswordAuth, Product, TokenAuth,
    VaultConfig, settings_from_url,
};
