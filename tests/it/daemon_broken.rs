//! A job whose task dies: a daemon without it would look alive and save nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lifeboat::config::{self, Config, JobConfig};
use lifeboat::daemon::serve;
use lifeboat::destination::{self, Destination};
use lifeboat::exit::Exit;
use lifeboat::pipeline::Job;
use lifeboat::source::{
    self, BackupFacts, Capture, Engine, Finding, Format, Home, Probe, Role, SourceError, Stop,
};
use lifeboat::value::Env;
use tokio_util::sync::CancellationToken;

use crate::sandbox::Sandbox;

/// An engine with a mistake in it.
#[derive(Debug)]
struct Mistaken;

#[async_trait]
impl Engine for Mistaken {
    fn format(&self) -> &'static dyn Format {
        source::format("sqlite").expect("there is such a format")
    }

    async fn probe(&self) -> Result<Probe, SourceError> {
        panic!("a mistake in an engine")
    }

    async fn capture(&self, _: &Probe, _: &Path, _: &Stop) -> Result<Capture, SourceError> {
        unreachable!("the probe comes first")
    }

    async fn confirm(&self, _: &Capture, _: &Probe) -> Result<Role, SourceError> {
        unreachable!("the probe comes first")
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

async fn job(sandbox: &Sandbox, name: &str) -> Job {
    let url = format!("file://{}", sandbox.folder("nas").display());
    let place = config::destination_from_url(&url).expect("a folder");
    let nas = destination::open("nas", &place, &Env::default()).await;
    let nas: BTreeMap<String, Destination> = [("nas".into(), nas.expect("a folder"))].into();
    let settings: JobConfig = serde_json::from_value(serde_json::json!({
        "source": { "type": "sqlite", "path": sandbox.path("app.db") },
    }))
    .expect("a job");
    let config = Config::default();
    config::job(&config, name, &settings, &nas, &Env::default()).expect("a job")
}

#[tokio::test]
async fn the_daemon_ends_with_a_failure_when_a_job_dies_and_lets_the_others_drain() {
    let sandbox = Sandbox::new();
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    let sound = job(&sandbox, "sound").await;
    let mistaken = Job {
        engine: Arc::new(Mistaken),
        ..job(&sandbox, "mistaken").await
    };
    let (closing, hurry) = (CancellationToken::new(), CancellationToken::new());
    let served = serve(
        vec![sound, mistaken],
        Duration::from_secs(25),
        closing,
        hurry,
    );
    let ended = tokio::time::timeout(Duration::from_mins(1), served).await;
    assert_eq!(ended.expect("nobody told it to stop"), Exit::Failed);
}
