//! Exit codes: a contract with the scripts that call Lifeboat.

use std::process::{ExitCode, Termination};

/// How a command ended, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Completed, or skipped for a stated reason.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was begun.
    Usage = 2,
    /// Some jobs or destinations failed, others did not.
    Partial = 3,
    /// No usable backup: none, or none younger than `max_age`.
    NoBackup = 4,
    /// Verification failed: damage found.
    Damaged = 5,
    /// Ended by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
