use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::config::ChecksumMode;
use super::error::{Failure, Refused};

/// What an upload has beyond the plain S3 of old, and some stores refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extras {
    /// `If-None-Match: *`.
    pub condition: bool,
    /// `x-amz-checksum-crc32c`.
    pub checksum: bool,
    /// `UNSIGNED-PAYLOAD` instead of the body's SHA-256, which costs more than all the rest of an
    /// upload. Only with a checksum, which is signed.
    pub unsigned: bool,
}

impl Extras {
    /// For requests that have no condition to do without.
    pub fn unconditional(self) -> Self {
        Self {
            condition: false,
            ..self
        }
    }
}

/// The extras of one store: those that are wanted, less those it was seen to refuse.
#[derive(Debug)]
pub(super) struct Manners {
    checksum: ChecksumMode,
    refuses_condition: AtomicBool,
    refuses_checksum: AtomicBool,
    refuses_unsigned: AtomicBool,
}

impl Manners {
    pub fn new(checksum: ChecksumMode) -> Self {
        Self {
            checksum,
            refuses_condition: AtomicBool::new(false),
            refuses_checksum: AtomicBool::new(false),
            refuses_unsigned: AtomicBool::new(false),
        }
    }

    /// What to try first.
    pub fn extras(&self) -> Extras {
        let checksum = match self.checksum {
            ChecksumMode::Auto => !self.refuses_checksum.load(Relaxed),
            ChecksumMode::Required => true,
            ChecksumMode::Off => false,
        };
        Extras {
            condition: !self.refuses_condition.load(Relaxed),
            checksum,
            unsigned: checksum && !self.refuses_unsigned.load(Relaxed),
        }
    }

    /// What is left to try after `failure`, if one of the extras may have caused it.
    pub fn fewer(&self, tried: Extras, failure: &Failure) -> Option<Extras> {
        let without_checksum = (tried.checksum && self.checksum == ChecksumMode::Auto).then_some({
            Extras {
                checksum: false,
                unsigned: false,
                ..tried
            }
        });
        let without_condition = tried.condition.then_some(Extras {
            condition: false,
            ..tried
        });
        match failure.refused()? {
            Refused::Condition => without_condition,
            Refused::Unsigned if tried.unsigned => Some(Extras {
                unsigned: false,
                ..tried
            }),
            Refused::Unsigned | Refused::Checksum => without_checksum,
            Refused::Unsaid => without_checksum.or(without_condition),
        }
    }

    /// Remembers what a request that began with `wanted` and went well with `used` had to do
    /// without.
    pub fn learn(&self, wanted: Extras, used: Extras, bucket: &str) {
        if wanted.condition && !used.condition && !self.refuses_condition.swap(true, Relaxed) {
            tracing::warn!(
                bucket,
                "the store refuses If-None-Match: whether a key is free is asked before each upload"
            );
        }
        if wanted.checksum && !used.checksum && !self.refuses_checksum.swap(true, Relaxed) {
            tracing::info!(bucket, "the store refuses checksums: none are sent");
        } else if wanted.unsigned && !used.unsigned {
            self.refuses_unsigned.store(true, Relaxed);
        }
    }

    /// Whether a failure may be due to the checksum that the settings insist on.
    pub fn insists_in_vain(&self, failure: &Failure) -> bool {
        let other = matches!(failure.refused(), None | Some(Refused::Condition));
        self.checksum == ChecksumMode::Required && !other
    }
}
