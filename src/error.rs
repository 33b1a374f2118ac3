//! The error people see: what, why, and what to do next.

use serde::Serialize;

use crate::exit::Exit;

/// What kind of failure this is; callers branch on it, and the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line or the configuration.
    Usage,
    /// Anything that went wrong while working.
    Failed,
    /// Part of the work was done.
    Partial,
    /// There is no backup to work with.
    NoBackup,
    /// A stored backup is not what its manifest says.
    Damaged,
    /// A signal ended it.
    Interrupted,
}

impl Kind {
    /// The exit code a command ends with for this kind.
    pub fn exit(self) -> Exit {
        match self {
            Kind::Usage => Exit::Usage,
            Kind::Failed => Exit::Failed,
            Kind::Partial => Exit::Partial,
            Kind::NoBackup => Exit::NoBackup,
            Kind::Damaged => Exit::Damaged,
            Kind::Interrupted => Exit::Interrupted,
        }
    }
}

/// A failure in words: one line `what: why`, and a hint where the next step is known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What kind it is.
    pub kind: Kind,
    /// The thing that failed, such as `jobs.app` or `s3://backups/prod`.
    pub what: String,
    /// The reason, lower case, without a full stop and without secrets.
    pub why: String,
    /// The next step, if we know one.
    pub hint: Option<String>,
}

impl Error {
    /// A failure of the given kind.
    pub fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            why: why.into(),
            hint: None,
        }
    }

    /// A failure while working.
    pub fn failed(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what, why)
    }

    /// A mistake on the command line or in the configuration.
    pub fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what, why)
    }

    /// The same failure with its next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The document that `--json` prints: `{ "error": { what, why, hint, code } }`.
    pub fn document(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Body<'a> {
            what: &'a str,
            why: &'a str,
            hint: Option<&'a str>,
            code: u8,
        }
        serde_json::json!({ "error": Body {
            what: &self.what,
            why: &self.why,
            hint: self.hint.as_deref(),
            code: self.kind.exit().code(),
        }})
    }
}

/// The reason of an I/O error in plain words, without the operating system's error number.
pub fn io_reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::StorageFull => "no space left on device".into(),
        ErrorKind::QuotaExceeded => "disk quota exceeded".into(),
        ErrorKind::ReadOnlyFilesystem => "read-only file system".into(),
        _ => {
            let text = error.to_string();
            let plain = text.split(" (os error").next().unwrap_or(&text);
            let mut chars = plain.chars();
            chars
                .next()
                .map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
        }
    }
}
