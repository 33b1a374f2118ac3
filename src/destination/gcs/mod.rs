//! Buckets of Google Cloud Storage.
//!
//! Objects are listed, looked up, read, deleted and, where they are small, written by the official
//! client. Large objects are written by resumable sessions of our own: the client's neither limit
//! the time of a request, nor survive a connection that breaks on the way (what was sent last is
//! then missing from the object), nor are they ended when an upload is given up.

mod attempts;
mod bucket;
mod chunks;
mod client;
mod config;
mod credentials;
mod error;
mod explain;
mod limits;
mod list;
mod session;
mod store;
mod upload;
mod wire;

pub use config::{GcsConfig, settings_from_url};
pub use limits::GcsLimits;
pub use store::GcsStore;
pub use upload::settle;
