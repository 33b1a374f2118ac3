//! Buckets of Google Cloud Storage.
//!
//! The official client reads, and writes small objects. Large ones are written by resumable
//! sessions of our own: the client's do not limit the time of a request, lose what was sent last
//! when a connection breaks on the way, and are not ended when an upload is given up. Lists,
//! look-ups and removals are three calls over gRPC: the client for them is half as large as the
//! rest of the program.

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
mod rpc;
mod session;
mod store;
mod upload;
mod wire;

pub use config::{GcsConfig, settings_from_url};
pub use limits::GcsLimits;
pub use store::GcsStore;
pub use upload::settle;
