//! What is done with backups: the run that makes one, and verify, restore, prune and check.

pub mod check;
pub mod fetch;
pub mod prune;
pub mod restore;
pub mod run;
pub mod strangers;
pub mod verify;

mod gate;
mod meter;
mod position;
mod record;
mod report;
mod sealing;
mod unchanged;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use gate::RunOn;
pub use meter::{Meter, Progress};
pub use report::{DestinationOutcome, DestinationReport, Outcome, RunReport};

use crate::destination::Destination;
use crate::retention::Policy;
use crate::schedule::Schedule;
use crate::seal::SealConfig;
use crate::source::Engine;

/// One source with its schedule, destinations and retention, ready to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, its identity.
    pub name: String,
    /// Where its backups are filed.
    pub series: String,
    /// The live source.
    pub engine: Arc<dyn Engine>,
    /// The roles it is saved in.
    pub run_on: RunOn,
    /// Where to.
    pub destinations: Vec<Destination>,
    /// How it is sealed.
    pub seal: SealConfig,
    /// What is kept; everything unless set.
    pub retention: Option<Policy>,
    /// The zone of retention's days and of cron times.
    pub zone: TimeZone,
    /// When it runs.
    pub schedule: Schedule,
    /// The wait before the daemon's first run.
    pub initial_delay: Duration,
    /// The age at which the newest backup is no longer fresh.
    pub max_age: Option<Duration>,
    /// The time limit of one run.
    pub timeout: Duration,
    /// Where scratch folders are made.
    pub scratch_dir: PathBuf,
    /// This machine's name, for the manifest.
    pub host: String,
}

impl Job {
    /// The age at which the newest backup counts as too old: as configured, or two periods.
    pub fn freshness_limit(&self, now: jiff::Timestamp) -> Duration {
        self.max_age
            .unwrap_or_else(|| self.schedule.period(now) * 2)
    }
}
