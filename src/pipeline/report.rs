use serde::{Serialize, Serializer};

use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::manifest::{Id, Role};

/// How a run ended. Log line, metric, `--json` and exit code derive from it.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A backup was recorded in at least one destination.
    Completed,
    /// The source answered, and is not to be saved now; why.
    Skipped(String),
    /// Nothing was recorded.
    Failed(Error),
}

impl Outcome {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Skipped(_) => "skipped",
            Outcome::Failed(_) => "failed",
        }
    }

    /// Why it was skipped or failed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Completed => None,
            Outcome::Skipped(why) => Some(why),
            Outcome::Failed(error) => Some(&error.why),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How one destination fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationOutcome {
    /// It holds the new backup.
    Stored,
    /// It holds a new manifest that names data it had already.
    Unchanged,
    /// It was not due, or the run did not get that far.
    Skipped,
    /// It did not take the backup.
    Failed,
}

impl DestinationOutcome {
    /// Whether the destination gained a backup.
    pub fn gained(self) -> bool {
        matches!(self, Self::Stored | Self::Unchanged)
    }
}

/// One destination's part in a run.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationReport {
    /// Its name.
    pub name: String,
    /// How it fared.
    pub outcome: DestinationOutcome,
    /// The data object the new manifest names.
    pub key: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Backups removed by retention.
    pub pruned: usize,
    /// Backups after the run, when retention looked.
    #[serde(skip)]
    pub kept: Option<usize>,
    /// Size of the data object it stored or names, bytes.
    #[serde(skip)]
    pub stored_bytes: u64,
    /// Names of the seal's steps.
    #[serde(skip)]
    pub seal: Vec<String>,
    /// Time the upload took, seconds.
    #[serde(skip)]
    pub seconds: f64,
    /// The next step after a failure.
    #[serde(skip)]
    pub hint: Option<String>,
    /// Why this run's backup gave way to one that another node made meanwhile.
    #[serde(skip)]
    pub overtaken: Option<String>,
    /// What went wrong without failing the run: retention refused, a delete refused.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl DestinationReport {
    /// A destination that has done nothing yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcome: DestinationOutcome::Skipped,
            key: None,
            error: None,
            pruned: 0,
            kept: None,
            stored_bytes: 0,
            seal: Vec::new(),
            seconds: 0.0,
            hint: None,
            overtaken: None,
            warnings: Vec::new(),
        }
    }

    pub(super) fn fail(&mut self, error: &Error) {
        self.outcome = DestinationOutcome::Failed;
        self.error = Some(error.why.clone());
        self.hint.clone_from(&error.hint);
    }
}

/// Everything there is to say of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The job.
    pub job: String,
    /// Its engine.
    pub engine: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// The source's role when the run began.
    pub role: Role,
    /// The backup's id, if one was recorded.
    pub id: Option<Id>,
    /// Size of the plain data, bytes.
    pub plain_bytes: Option<u64>,
    /// Size of the data object, bytes.
    pub stored_bytes: Option<u64>,
    /// Duration of the run.
    pub seconds: f64,
    /// Each destination's part.
    pub destinations: Vec<DestinationReport>,
    /// The series, for logs.
    #[serde(skip)]
    pub series: String,
    /// Half a line on the capture, for people.
    #[serde(skip)]
    pub summary: String,
    /// Time the capture took, seconds.
    #[serde(skip)]
    pub capture_seconds: f64,
    /// What people should know although the run completed.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl RunReport {
    /// The exit code of a run on its own.
    pub fn exit(&self) -> Exit {
        match &self.outcome {
            Outcome::Skipped(_) => Exit::Ok,
            Outcome::Failed(error) => match error.kind {
                Kind::Interrupted => Exit::Interrupted,
                _ => Exit::Failed,
            },
            Outcome::Completed => {
                let failed = self
                    .destinations
                    .iter()
                    .any(|d| d.outcome == DestinationOutcome::Failed);
                if failed { Exit::Partial } else { Exit::Ok }
            }
        }
    }
}
