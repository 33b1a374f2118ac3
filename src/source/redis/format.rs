use std::fs::File;
use std::path::Path;

use super::rdb::RdbVerifier;
use crate::source::{Check, Facts, Format, SourceError, Stop, Verifier, prove};

/// RDB files.
#[derive(Debug)]
pub struct RedisFormat;

impl Format for RedisFormat {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn extension(&self) -> &'static str {
        "rdb"
    }

    fn forward(&self) -> Option<Box<dyn Verifier>> {
        Some(Box::new(RdbVerifier::new()))
    }

    fn verify_file(&self, path: &Path, _: &Facts, stop: &Stop) -> Result<Vec<Check>, SourceError> {
        let file = File::open(path).map_err(|error| SourceError::io(path, &error))?;
        Ok(prove(file, path, Box::new(RdbVerifier::new()), stop)?.checks)
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")
    }

    fn manual_restore(&self, _: &Facts) -> Vec<String> {
        [
            "mv plain dump.rdb",
            "# Stop Redis, and whatever restarts it. Move the old dump.rdb and appendonlydir aside.",
            "# Move this dump.rdb into its data folder, owned by its user.",
            "# Start it with `appendonly no`: with an append-only file it ignores dump.rdb.",
        ]
        .map(str::to_owned)
        .into()
    }
}
