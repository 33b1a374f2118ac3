//! The engines: data stores that are backed up.
//!
//! An engine is one folder with two faces. [`Engine`] is the live store beside us: its role and
//! state, a capture, and whether the capture still stands when its bytes were read. [`Format`] is
//! its data at rest: is this file a whole and good one, and how is it put back; it needs neither
//! configuration nor credentials. A new engine adds its folder, a variant of [`SourceConfig`] and
//! the arms of [`open`] and [`format`].

mod error;
mod finding;
mod open;
mod scratch;

pub mod redis;
pub mod sqlite;
pub mod vault;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use crate::manifest::{Check, Facts, Role, Sum};
pub use error::{SourceError, SourceErrorKind};
pub use finding::{Finding, Severity};
pub use open::{FORMATS, SourceConfig, format, open, settings_from_url};
pub use scratch::Scratch;

/// What the live store said of itself.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its role now.
    pub role: Role,
    /// The store's version, if it said one.
    pub version: Option<String>,
    /// Why there is nothing to save right now (loading, leaderless), if so: the run is skipped.
    pub not_now: Option<String>,
    /// What people of this store call a node that follows another: `replica`, `standby`.
    pub follower: &'static str,
    /// Who leads, when this node does not; for the message of a skipped run.
    pub leader: Option<String>,
    /// Replicas of this node that are online.
    pub online_replicas: u32,
    /// Half a line for people: `7.0.15, replica in sync`.
    pub summary: String,
    /// What people should know although the run goes on.
    pub warnings: Vec<String>,
    /// What the engine wants to remember until the capture; opaque to everyone else.
    pub state: Facts,
}

impl Probe {
    /// A probe that says nothing but the role.
    pub fn of(role: Role, summary: impl Into<String>) -> Self {
        Self {
            role,
            version: None,
            not_now: None,
            follower: "replica",
            leader: None,
            online_replicas: 0,
            summary: summary.into(),
            warnings: Vec::new(),
            state: Facts::new(),
        }
    }
}

/// Data caught at one moment: an open file that no longer changes, and what is known of it.
#[derive(Debug)]
pub struct Capture {
    /// The data, from its first byte; read it through this handle only.
    pub file: File,
    /// Exact length in bytes.
    pub bytes: u64,
    /// When the data was caught: the backup's time.
    pub captured_at: Timestamp,
    /// The store's version.
    pub version: Option<String>,
    /// What the engine knows of the data.
    pub facts: Facts,
    /// Proofs already made while capturing.
    pub checks: Vec<Check>,
    /// Half a line for people: `write-ahead log included, integrity ok`.
    pub summary: String,
    /// What people should know although the run goes on.
    pub warnings: Vec<String>,
    /// Cheap marks of the content; equal marks on the newest backup make it likely that nothing
    /// has changed, which the digest then proves.
    pub marks: Option<Facts>,
    /// The sum of the bytes that the engine proved while it caught them, where it did: the file is
    /// then good if and only if it still has this sum, and needs no second proof.
    pub proved: Option<Sum>,
    /// The scratch folder the file lives in, if it has one; removed with the capture.
    pub scratch: Option<Scratch>,
}

/// Signals that end work early: cancelled by a shutdown or a time limit.
#[derive(Debug, Clone, Default)]
pub struct Stop(pub CancellationToken);

impl Stop {
    /// Whether to stop now.
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it is time to stop.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// A configured, live data store.
#[async_trait]
pub trait Engine: std::fmt::Debug + Send + Sync {
    /// The offline half of this engine.
    fn format(&self) -> &'static dyn Format;

    /// Whether all is set that a capture needs, although a mere probe might do without: a standby
    /// that cannot log in must not be found out when it has become the leader. The error is the
    /// key concerned and why.
    fn ready(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    /// Role and state, asked now. A store that cannot be reached, trusted or logged in to is an
    /// error.
    async fn probe(&self) -> Result<Probe, SourceError>;

    /// Catches the data. `before` is the probe the run began with; its role is
    /// [`Role::Unknown`] where the store did not answer and the job needs no role. Scratch space,
    /// where needed, is made below `scratch`; whatever ends the capture early removes it.
    async fn capture(
        &self,
        before: &Probe,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<Capture, SourceError>;

    /// Called when all bytes of `capture` were read and verified, before it counts: is it still
    /// what it claimed to be? Answers with the role now, or [`Role::Unknown`] where it was unknown
    /// before and still is.
    async fn confirm(&self, capture: &Capture, before: &Probe) -> Result<Role, SourceError>;

    /// The role right before the manifest is written, for engines whose leader changes: since
    /// [`Engine::confirm`] much time may have passed, when the upload was slow. `None` where that
    /// answer will do.
    async fn role_now(&self, _before: &Probe) -> Option<Role> {
        None
    }

    /// Where a `restore --into-source` goes. For a file: after making sure that the store is not
    /// running on it (`force` overrides). `backup` is what is about to be put there, for version
    /// checks.
    async fn home(&self, backup: &BackupFacts<'_>, force: bool) -> Result<Home, SourceError>;

    /// Whether `path` is in use by the live store, with the reason, when this engine can tell.
    async fn uses(&self, path: &Path) -> Option<String>;

    /// Findings of `lifeboat check` beyond the probe: rights, ages, settings that will hurt.
    async fn inspect(&self) -> Vec<Finding>;
}

/// Where a `restore --into-source` goes.
#[derive(Debug, Clone)]
pub enum Home {
    /// The file of a store that is stopped.
    File(PathBuf),
    /// The running store, which takes a backup itself.
    Live(Arc<dyn LiveRestore>),
}

/// A running store that can be given a backup.
#[async_trait]
pub trait LiveRestore: std::fmt::Debug + Send + Sync {
    /// Looks at the store, and says what giving it this backup means. Changes nothing.
    async fn plan(&self, backup: &BackupFacts<'_>) -> Result<LivePlan, SourceError>;

    /// Gives it the backup in `file`, and waits until it has taken it. Answers with lines for
    /// people on the state it is in now.
    async fn apply(
        &self,
        plan: &LivePlan,
        file: &Path,
        stop: &Stop,
    ) -> Result<Vec<String>, SourceError>;
}

/// What giving a running store a backup means.
#[derive(Debug, Clone)]
pub struct LivePlan {
    /// Where it goes, as it is shown.
    pub target: String,
    /// What will happen, a line each, in plain words.
    pub lines: Vec<String>,
    /// What the engine wants to remember until it is done; opaque to everyone else.
    pub state: Facts,
}

/// What a restore knows of the backup it brings.
#[derive(Debug, Clone, Copy)]
pub struct BackupFacts<'a> {
    /// The engine's version that wrote it.
    pub version: Option<&'a str>,
    /// The manifest's engine facts.
    pub facts: &'a Facts,
}

/// An engine's data at rest.
pub trait Format: std::fmt::Debug + Send + Sync {
    /// The engine's name, as in manifests: `sqlite`.
    fn name(&self) -> &'static str;

    /// The data object's extension: `db`.
    fn extension(&self) -> &'static str;

    /// A verifier that reads the data forwards once, where the format allows it.
    fn forward(&self) -> Option<Box<dyn Verifier>>;

    /// Proves a file, as deep as its backup was proved; `facts` are the manifest's. Blocking.
    ///
    /// # Errors
    /// [`SourceErrorKind::Damaged`] when it is not a whole and good one.
    fn verify_file(
        &self,
        path: &Path,
        facts: &Facts,
        stop: &Stop,
    ) -> Result<Vec<Check>, SourceError>;

    /// Whether `path` is held by a running process, with the reason. Blocking.
    /// Never, unless the engine can tell.
    fn in_use(&self, _path: &Path) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// Files beside `path` that belong to it and must move aside with it (`-wal`): suffixes of the
    /// file name.
    fn companions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Companions that carry no data and are just removed (`-shm`).
    fn leftovers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Last touch to a verified file beside its target, before it is swapped in: settings that
    /// the capture does not carry. Returns a remark for people. Blocking.
    fn settle(&self, _path: &Path, _facts: &Facts) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// Shell lines after the plain data lies in `./plain`, for people without Lifeboat.
    fn manual_restore(&self, facts: &Facts) -> Vec<String>;

    /// Whether a file that begins with these bytes looks like one of this engine's.
    fn recognises(&self, head: &[u8]) -> bool;

    /// The facts for people: tables of rows of cells, the first of which names the fact.
    fn describe(&self, facts: &Facts) -> Vec<Vec<Vec<String>>> {
        vec![one_a_row(facts)]
    }

    /// How far the data of these facts has come, where the engine counts that.
    fn position(&self, _facts: &Facts) -> Option<Position> {
        None
    }
}

/// Each fact as a row of its name and its value.
pub fn one_a_row(facts: &Facts) -> Vec<Vec<String>> {
    facts
        .iter()
        .map(|(name, value)| {
            let text = value.as_str().map(str::to_owned);
            vec![name.clone(), text.unwrap_or_else(|| value.to_string())]
        })
        .collect()
}

/// How far data has come in one history: a later state of the same history has a higher count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which history: the cluster's id.
    pub history: String,
    /// How far: the raft index.
    pub at: u64,
}

impl Position {
    /// Whether it is of the same history and not ahead of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.history == other.history && self.at >= other.at
    }
}

/// Proves data in one forward pass. Blocking, cheap, and never reads ahead.
pub trait Verifier: Send {
    /// The next bytes.
    ///
    /// # Errors
    /// [`SourceErrorKind::Damaged`] as soon as the damage is certain.
    fn update(&mut self, bytes: &[u8]) -> Result<(), SourceError>;

    /// The end of the data.
    ///
    /// # Errors
    /// [`SourceErrorKind::Damaged`] when the data is not whole.
    fn finish(self: Box<Self>) -> Result<Proof, SourceError>;
}

/// Bytes read at once while a file is proved.
const BLOCK: usize = 1 << 20;

/// Feeds everything that `reader` gives to `verifier`; `path` is what a failed read is about.
/// Blocking.
///
/// # Errors
/// What the verifier says, a failed read, or [`SourceErrorKind::Stopped`].
pub(crate) fn prove(
    mut reader: impl Read,
    path: &Path,
    mut verifier: Box<dyn Verifier>,
    stop: &Stop,
) -> Result<Proof, SourceError> {
    let mut block = vec![0; BLOCK];
    loop {
        if stop.requested() {
            return Err(SourceError::stopped());
        }
        match reader.read(&mut block) {
            Ok(0) => return verifier.finish(),
            Ok(read) => verifier.update(&block[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SourceError::io(path, &error)),
        }
    }
}

/// What a verifier proved.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// Each proof made, and each that could not be made (`ok: false`).
    pub checks: Vec<Check>,
    /// Facts that came out on the way.
    pub facts: Facts,
}

/// Does blocking work beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Other, error.to_string())))
}
