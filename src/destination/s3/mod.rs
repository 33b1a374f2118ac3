//! Buckets that speak S3: AWS, MinIO, Ceph, R2 and others.

mod bucket;
mod client;
mod config;
mod error;
mod limits;
mod list;
mod parts;
mod removal;
mod store;
mod upload;
mod wire;

pub use config::{ChecksumMode, S3Config, ServerSideEncryption, settings_from_url};
pub use limits::S3Limits;
pub use store::S3Store;
pub use upload::settle;
