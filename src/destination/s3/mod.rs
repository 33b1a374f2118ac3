//! Buckets that speak S3, of AWS and others.

mod bucket;
mod client;
mod config;
mod error;
mod explain;
mod extras;
mod limits;
mod list;
mod parts;
mod removal;
mod requests;
mod store;
mod upload;
mod wire;

pub use config::{ChecksumMode, S3Config, ServerSideEncryption, settings_from_url};
pub use limits::S3Limits;
pub use store::S3Store;
pub use upload::settle;
