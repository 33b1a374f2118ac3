use crate::error::{Error, Kind};

/// What a caller can do about a store's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// No such bucket, directory or host path: the destination itself is not there.
    NoDestination,
    /// The key is taken; nothing was written.
    AlreadyExists,
    /// The store knows us and says no, or does not know us.
    Denied,
    /// No answer, or the connection broke.
    Unreachable,
    /// The store's disk or quota is full.
    Full,
    /// What came back is not what was stored or asked for.
    Damaged,
    /// The writer gave the body up; the reason is the writer's.
    BrokenOff,
    /// Anything else.
    Other,
}

/// A store's failure, with the object and the action it concerns.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {key}: {why}")]
pub struct StoreError {
    /// What a caller can do about it.
    pub kind: StoreErrorKind,
    /// The verb: `write`, `read`, `list`, `delete`, `look up`.
    pub action: &'static str,
    /// The key or prefix.
    pub key: String,
    /// The reason, lower case, without secrets.
    pub why: String,
    /// The next step, if the store knows one.
    pub hint: Option<String>,
}

impl StoreError {
    /// A failure of `action` on `key`.
    pub fn new(
        kind: StoreErrorKind,
        action: &'static str,
        key: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            action,
            key: key.into(),
            why: why.into(),
            hint: None,
        }
    }

    /// The same failure with its next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as people see it, under the destination's name.
    pub fn at(&self, destination: &str) -> Error {
        let why = match self.kind {
            StoreErrorKind::BrokenOff | StoreErrorKind::NoDestination => self.why.clone(),
            _ if self.key.is_empty() => format!("cannot {}: {}", self.action, self.why),
            _ => self.to_string(),
        };
        let mut error = Error::new(Kind::Failed, destination, why);
        error.hint.clone_from(&self.hint);
        error
    }
}
