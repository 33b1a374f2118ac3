use super::SourceError;

/// One finding of `lifeboat check`.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was looked at: `dump`, `write access`.
    pub name: String,
    /// `None`: fine. Otherwise how bad it is.
    pub problem: Option<Severity>,
    /// The finding in words.
    pub detail: String,
    /// The next step.
    pub hint: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Backups work, but look here.
    Warning,
    /// Backups do not work.
    Failed,
}

impl Finding {
    /// All is well.
    pub fn fine(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            problem: None,
            detail: detail.into(),
            hint: None,
        }
    }

    /// Something is not.
    pub fn problem(name: impl Into<String>, severity: Severity, detail: impl Into<String>) -> Self {
        Self {
            problem: Some(severity),
            ..Self::fine(name, detail)
        }
    }

    /// It could not even be looked at, or will not work.
    pub fn failed(name: impl Into<String>, error: &SourceError) -> Self {
        Self {
            hint: error.hint.clone(),
            ..Self::problem(name, Severity::Failed, &error.why)
        }
    }

    /// The same finding with its next step.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
