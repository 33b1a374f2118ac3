use crate::error::{Error, Kind, io_reason};

/// What a caller can do about an engine's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The data is not there.
    Missing,
    /// The data is there and is not a whole and good one.
    Damaged,
    /// We may not read or write it.
    Denied,
    /// The store does not answer.
    Unreachable,
    /// The store does not accept our login, or we do not trust its certificate.
    Login,
    /// The data is another history's, or too old.
    Stale,
    /// The data changed under our hands.
    Changed,
    /// No room for the scratch copy or the restored file.
    Full,
    /// The target of a restore is in use.
    InUse,
    /// A time limit or a shutdown.
    Stopped,
    /// Anything else.
    Other,
}

/// An engine's failure: why, and the next step. The caller knows the job.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct SourceError {
    /// What a caller can do about it.
    pub kind: SourceErrorKind,
    /// The object and the reason, lower case, without secrets.
    pub why: String,
    /// The next step, if the engine knows one.
    pub hint: Option<String>,
}

impl SourceError {
    /// A failure in words.
    pub fn new(kind: SourceErrorKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            hint: None,
        }
    }

    /// Damage, in words.
    pub fn damaged(why: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Damaged, why)
    }

    /// Ended by a time limit or a shutdown.
    pub fn stopped() -> Self {
        Self::new(SourceErrorKind::Stopped, "stopped before it was finished")
    }

    /// A failed file operation on `path`.
    pub fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::NotFound => SourceErrorKind::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => SourceErrorKind::Denied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => SourceErrorKind::Full,
            _ => SourceErrorKind::Other,
        };
        Self::new(kind, format!("{}: {}", path.display(), io_reason(error)))
    }

    /// The same failure with its next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as people see it, under `what` it concerns.
    pub fn at(&self, what: &str) -> Error {
        let kind = match self.kind {
            SourceErrorKind::Stopped => Kind::Interrupted,
            _ => Kind::Failed,
        };
        Error {
            kind,
            what: what.to_owned(),
            why: self.why.clone(),
            hint: self.hint.clone(),
        }
    }
}
