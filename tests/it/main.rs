//! Integration tests. Those that need a real server are ignored by plain `cargo test`;
//! `tests/run.sh` sets the servers up and runs them all.

mod architecture;
mod config;
mod config_sample;
mod daemon;
mod daemon_broken;
mod daemon_support;
mod environment;
mod faulty;
mod interrupted;
mod program;
mod promises;
mod redis_engine;
mod redis_journey;
mod retention;
mod retention_safety;
mod s3_journey;
mod sandbox;
mod shelf;
mod shutdown;
mod sqlite_source;
mod sqlite_trouble;
mod store_faults;
mod support;
