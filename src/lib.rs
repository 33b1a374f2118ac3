//! Lifeboat rides beside a data store and gets its data to safety.
//!
//! | module | purpose | may import |
//! |---|---|---|
//! | `cli` | one file for each command; what people see | everything |
//! | `daemon` | one task for each job, role gate, drain | pipeline, source, schedule, telemetry |
//! | `telemetry` | logging | config, pipeline, value |
//! | `config` | what can be configured; jobs out of it | pipeline, source, destination, retention, schedule, seal, value |
//! | `pipeline` | the run, verify, restore, prune, check | source, destination, catalog, manifest, retention, schedule, seal, value |
//! | `catalog` | the backups of a series, newest first | destination, manifest |
//! | `source` | engines: probe, capture, verify, restore | manifest, seal, value |
//! | `retention` | pure: list and rules in, plan with reasons out | value |
//! | `schedule` | pure: when a run is due | |
//! | `seal` | compress and digest, streaming, and their inverse | manifest |
//! | `destination` | stores behind a five-method trait | value |
//! | `manifest` | the record of a backup; the storage format | |
//! | `value` | how settings are written, read and checked | |
//! | `block` | large buffers that leave the process when freed | |
//! | `draft` | files being written beside their final name, and the room for them | |
//! | `error`, `exit`, `clock` | failures in words, exit codes, the time | |
//!
//! Every module may import `block`, `draft`, `error`, `exit` and `clock`; none imports one that
//! stands above it.

pub mod block;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod destination;
pub mod draft;
pub mod error;
pub mod exit;
pub mod manifest;
pub mod pipeline;
pub mod retention;
pub mod schedule;
pub mod seal;
pub mod source;
pub mod telemetry;
pub mod value;
