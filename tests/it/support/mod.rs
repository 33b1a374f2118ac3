//! Real servers for the integration tests, and a proxy that makes them fail on demand.
//!
//! `tests/run.sh` installs and builds what these need. Tests that use them are marked
//! `#[ignore = "needs ..."]` and run by `cargo test -- --include-ignored`.
#![allow(dead_code, unused_imports)]

pub mod gcs;
mod gcs_rpc;
pub mod http;
pub mod ldap;
pub mod proxy;
pub mod proxy_http;
mod proxy_relay;
pub mod redis;
pub mod s3;
pub mod servers;
pub mod tls;
pub mod token_review;
pub mod vault;
pub mod vault_answers;
pub mod vault_cluster;
pub mod vault_double;
mod vault_double_wire;
pub mod vault_logins;
pub mod vault_use;
pub mod watchdog;

pub use gcs::{GcsCall, GcsDouble, GcsFault, GcsObject};
pub use http::{HttpAnswer, HttpClient};
pub use ldap::LdapServer;
pub use proxy::{Fault, FaultHandle, FaultProxy, Times};
pub use redis::{RedisOptions, RedisServer};
pub use s3::{S3Kind, S3Response, S3Server, s3_request};
pub use servers::{Process, free_port, require, run};
pub use tls::TestCa;
pub use token_review::{TokenReviewServer, service_account_token};
pub use vault::{VaultNode, VaultOptions};
pub use vault_answers::Answer;
pub use vault_cluster::{VaultCluster, shared_vault};
pub use vault_double::{SeenRequest, VaultDouble};
