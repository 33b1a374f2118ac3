//! Engines that count how far their data has come: a run gives way to a backup that another node
//! made meanwhile, and never stores what lies behind. The engine here is a double, because the race
//! must happen at a given step.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat::config::{self, Config, JobConfig};
use lifeboat::destination::{self, Destination};
use lifeboat::pipeline::run::{run, survey};
use lifeboat::pipeline::{DestinationOutcome, Job, Outcome, Progress, RunReport};
use lifeboat::source::{
    BackupFacts, Capture, Check, Engine, Facts, Finding, Format, Home, Position, Probe, Role,
    SourceError, Stop, Verifier,
};
use lifeboat::value::Env;
use serde_json::json;

use crate::sandbox::{Sandbox, names};

/// Text files, whose facts say where they stand in their history.
#[derive(Debug)]
struct Text;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }
    fn extension(&self) -> &'static str {
        "txt"
    }
    fn forward(&self) -> Option<Box<dyn Verifier>> {
        None
    }
    fn verify_file(&self, _: &Path, _: &Facts, _: &Stop) -> Result<Vec<Check>, SourceError> {
        Ok(Vec::new())
    }
    fn manual_restore(&self, _: &Facts) -> Vec<String> {
        Vec::new()
    }
    fn recognises(&self, _: &[u8]) -> bool {
        false
    }
    fn position(&self, facts: &Facts) -> Option<Position> {
        Some(Position {
            history: facts.get("cluster")?.as_str()?.to_owned(),
            at: facts.get("index")?.as_u64()?,
        })
    }
}

/// A node at an index of a cluster's history.
#[derive(Debug)]
struct Node {
    text: std::path::PathBuf,
    cluster: &'static str,
    index: u64,
    role_after: Role,
    /// Another node's job, which runs when this one's bytes were read.
    meanwhile: Option<Job>,
    /// It takes connections and says nothing.
    silent: Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silent {
    Never,
    FromTheBeginning,
    /// When it is asked for its role the second time.
    AtTheEnd,
}

#[async_trait]
impl Engine for Node {
    fn format(&self) -> &'static dyn Format {
        &Text
    }

    async fn probe(&self) -> Result<Probe, SourceError> {
        if self.silent == Silent::FromTheBeginning {
            std::future::pending::<()>().await;
        }
        Ok(Probe::of(Role::Primary, ""))
    }

    async fn role_now(&self, _: &Probe) -> Option<Role> {
        if self.silent == Silent::AtTheEnd {
            std::future::pending::<()>().await;
        }
        None
    }

    async fn capture(&self, _: &Probe, _: &Path, _: &Stop) -> Result<Capture, SourceError> {
        let text = format!("{} {}", self.cluster, self.index);
        std::fs::write(&self.text, &text).expect("a new file");
        let facts = json!({ "cluster": self.cluster, "index": self.index });
        Ok(Capture {
            file: File::open(&self.text).expect("it was just written"),
            bytes: text.len() as u64,
            captured_at: Timestamp::now(),
            version: None,
            facts: facts.as_object().expect("an object").clone(),
            checks: vec![Check::ok("text", "readable")],
            summary: String::new(),
            warnings: Vec::new(),
            marks: Some(json!({ "index": self.index }).as_object().unwrap().clone()),
            proved: None,
            scratch: None,
        })
    }

    async fn confirm(&self, _: &Capture, _: &Probe) -> Result<Role, SourceError> {
        if let Some(other) = &self.meanwhile {
            let report = run_once(other).await;
            assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
        }
        Ok(self.role_after)
    }

    async fn home(&self, _: &BackupFacts<'_>, _: bool) -> Result<Home, SourceError> {
        unreachable!("nothing is restored")
    }

    async fn uses(&self, _: &Path) -> Option<String> {
        None
    }

    async fn inspect(&self) -> Vec<Finding> {
        Vec::new()
    }
}

fn run_once(job: &Job) -> std::pin::Pin<Box<dyn Future<Output = RunReport> + Send + '_>> {
    Box::pin(async move {
        let every: Vec<usize> = (0..job.destinations.len()).collect();
        let stop = Stop::default();
        run(job, survey(job).await, &every, &stop, &Progress::default()).await
    })
}

/// A job of the series `vault` to the folders that are named.
async fn job(sandbox: &Sandbox, places: &[&str], node: Node) -> Job {
    let mut opened: BTreeMap<String, Destination> = BTreeMap::new();
    for name in places {
        let url = format!("file://{}", sandbox.folder(name).display());
        let place = config::destination_from_url(&url).expect("a folder");
        let place = destination::open(name, &place, &Env::default()).await;
        opened.insert((*name).into(), place.expect("a folder"));
    }
    let settings: JobConfig = serde_json::from_value(json!({
        "source": { "type": "sqlite", "path": sandbox.path("app.db") },
    }))
    .expect("a job");
    let config = Config::default();
    let job = config::job(&config, "fleet", &settings, &opened, &Env::default()).expect("a job");
    Job {
        engine: Arc::new(node),
        ..job
    }
}

fn node(sandbox: &Sandbox, cluster: &'static str, index: u64) -> Node {
    Node {
        text: sandbox.path(&format!("{cluster}-{index}-{:x}", rand::random::<u64>())),
        cluster,
        index,
        role_after: Role::Primary,
        meanwhile: None,
        silent: Silent::Never,
    }
}

fn stored(sandbox: &Sandbox, place: &str, kind: &str) -> usize {
    let folder = sandbox.path(place).join("fleet").join(kind);
    if folder.is_dir() {
        names(&folder).len()
    } else {
        0
    }
}

#[tokio::test]
async fn a_run_gives_way_to_a_backup_made_meanwhile_with_the_same_index() {
    let sandbox = Sandbox::new();
    for theirs in [7, 8] {
        let place = format!("nas{theirs}");
        let other = job(&sandbox, &[&place], node(&sandbox, "c1", theirs)).await;
        let ours = Node {
            meanwhile: Some(other),
            ..node(&sandbox, "c1", 7)
        };
        let report = run_once(&job(&sandbox, &[&place], ours).await).await;
        let Outcome::Skipped(why) = &report.outcome else {
            panic!("{report:?}");
        };
        assert!(
            why.contains("another node has saved index 7 or later"),
            "{why}"
        );
        assert_eq!(report.id, None);
        assert_eq!(report.destinations[0].pruned, 0);
        assert_eq!(stored(&sandbox, &place, "manifests"), 1);
        assert_eq!(
            stored(&sandbox, &place, "data"),
            1,
            "the run's own data went again"
        );
    }
}

#[tokio::test]
async fn a_backup_made_meanwhile_that_is_behind_or_of_another_cluster_counts_for_nothing() {
    let sandbox = Sandbox::new();
    for (place, cluster, theirs) in [("older", "c1", 6), ("other", "c2", 9)] {
        let other = job(&sandbox, &[place], node(&sandbox, cluster, theirs)).await;
        let ours = Node {
            meanwhile: Some(other),
            ..node(&sandbox, "c1", 7)
        };
        let report = run_once(&job(&sandbox, &[place], ours).await).await;
        assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
        assert_eq!(stored(&sandbox, place, "manifests"), 2);
        assert_eq!(stored(&sandbox, place, "data"), 2);
    }
}

#[tokio::test]
async fn a_run_that_is_overtaken_in_one_destination_still_fills_the_other() {
    let sandbox = Sandbox::new();
    let other = job(&sandbox, &["near"], node(&sandbox, "c1", 7)).await;
    let ours = Node {
        meanwhile: Some(other),
        ..node(&sandbox, "c1", 7)
    };
    let report = run_once(&job(&sandbox, &["far", "near"], ours).await).await;
    assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
    let outcomes: Vec<_> = report.destinations.iter().map(|d| d.outcome).collect();
    assert_eq!(
        outcomes,
        [DestinationOutcome::Stored, DestinationOutcome::Skipped]
    );
    assert_eq!(stored(&sandbox, "near", "data"), 1);
    assert_eq!(stored(&sandbox, "far", "manifests"), 1);
}

#[tokio::test]
async fn an_idle_history_is_saved_again_each_period() {
    let sandbox = Sandbox::new();
    for runs in 1..=2 {
        let job = job(&sandbox, &["nas"], node(&sandbox, "c1", 7)).await;
        let report = run_once(&job).await;
        assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
        assert_eq!(stored(&sandbox, "nas", "manifests"), runs);
    }
}

#[tokio::test]
async fn what_lies_behind_the_newest_backup_of_its_history_is_refused() {
    let sandbox = Sandbox::new();
    // The newest is a stranger's; the one before it counts.
    for (cluster, index) in [("c1", 9), ("c2", 3)] {
        let report = run_once(&job(&sandbox, &["nas"], node(&sandbox, cluster, index)).await).await;
        assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
        let warned = report
            .warnings
            .iter()
            .any(|w| w.contains("of another cluster"));
        assert_eq!(warned, cluster == "c2", "{:?}", report.warnings);
    }
    let report = run_once(&job(&sandbox, &["nas"], node(&sandbox, "c1", 8)).await).await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}");
    };
    assert!(error.why.contains("ends at index 8, behind 9"), "{error}");
    assert!(
        error
            .hint
            .as_ref()
            .is_some_and(|hint| hint.contains("series"))
    );
    assert_eq!(stored(&sandbox, "nas", "manifests"), 2);
    assert_eq!(stored(&sandbox, "nas", "data"), 2);
}

#[tokio::test]
async fn leadership_lost_during_the_run_is_written_down() {
    let sandbox = Sandbox::new();
    let deposed = Node {
        role_after: Role::Replica,
        ..node(&sandbox, "c1", 7)
    };
    let report = run_once(&job(&sandbox, &["nas"], deposed).await).await;
    assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
    assert!(report.warnings.iter().any(|w| w.contains("is replica now")));
    let folder = sandbox.path("nas/fleet/manifests");
    let manifest = std::fs::read_to_string(folder.join(&names(&folder)[0])).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(
        manifest["role"],
        json!({ "before": "primary", "after": "replica" })
    );
}

#[tokio::test]
async fn a_source_that_never_says_its_role_is_given_up_when_the_time_is_up() {
    let sandbox = Sandbox::new();
    let silent = |silent| Node {
        silent,
        ..node(&sandbox, "c1", 7)
    };
    let mut job_of_silent = job(&sandbox, &["nas"], silent(Silent::FromTheBeginning)).await;
    job_of_silent.timeout = Duration::from_millis(200);
    let begun = Instant::now();
    let report = run_once(&job_of_silent).await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}");
    };
    assert!(error.why.contains("its time limit of 200ms"), "{error}");
    assert_eq!(stored(&sandbox, "nas", "data"), 0);

    // What was stored by then is recorded.
    let mut job_of_silent = job(&sandbox, &["nas"], silent(Silent::AtTheEnd)).await;
    job_of_silent.timeout = Duration::from_secs(2);
    let report = run_once(&job_of_silent).await;
    assert!(matches!(report.outcome, Outcome::Completed), "{report:?}");
    assert_eq!(stored(&sandbox, "nas", "manifests"), 1);
    assert!(report.warnings.iter().any(|w| w.contains("is unknown now")));
    assert!(begun.elapsed() < Duration::from_secs(10));
}
