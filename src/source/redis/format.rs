use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::rdb::RdbVerifier;
use crate::source::{Check, Facts, Format, SourceError, Stop, Verifier};

const BLOCK: usize = 1024 * 1024;

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
        let failed = |error| SourceError::io(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let mut verifier = Box::new(RdbVerifier::new());
        let mut block = vec![0; BLOCK];
        loop {
            if stop.requested() {
                return Err(SourceError::stopped());
            }
            let read = match file.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            verifier.update(&block[..read])?;
        }
        Ok(verifier.finish()?.checks)
    }

    // A server holds no lock on its dump; who runs on a folder cannot be told from the file.
    fn in_use(&self, _: &Path) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    fn companions(&self) -> &'static [&'static str] {
        &[]
    }

    fn leftovers(&self) -> &'static [&'static str] {
        &[]
    }

    fn settle(&self, _: &Path, _: &Facts) -> Result<Option<String>, SourceError> {
        Ok(None)
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
