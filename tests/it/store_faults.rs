//! Runs over stores that fail at each step: what is visible afterwards is whole, and what is gone
//! was meant to go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat::catalog::{self, Catalog};
use lifeboat::config::{self, Config, JobConfig};
use lifeboat::destination::{Depth, Destination, ManualFetch};
use lifeboat::pipeline::run::{run, survey};
use lifeboat::pipeline::verify::{Finding, verify};
use lifeboat::pipeline::{DestinationOutcome, Job, Outcome, Progress, RunReport};
use lifeboat::source::Stop;
use lifeboat::value::Env;
use rusqlite::Connection;

use crate::faulty::{Call, Fault, Faulty};

struct Scene {
    folder: tempfile::TempDir,
    stores: Vec<Arc<Faulty>>,
    job: Job,
    rows: u32,
}

impl Scene {
    /// A database and `stores` destinations called `a`, `b`, ...; the newest `keep` stay.
    fn new(stores: usize, keep: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("app.db");
        Connection::open(&database)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let mut opened = BTreeMap::new();
        let mut faulty = Vec::new();
        for name in ["a", "b", "c"].into_iter().take(stores) {
            let root = folder.path().join(name);
            std::fs::create_dir(&root).unwrap();
            let store = Arc::new(Faulty::new(&root));
            let destination =
                Destination::new(name, name, ManualFetch::default(), Arc::clone(&store) as _);
            opened.insert(name.to_owned(), destination);
            faulty.push(store);
        }
        let settings: JobConfig = serde_json::from_value(serde_json::json!({
            "source": { "type": "sqlite", "path": database },
            "schedule": { "timezone": "UTC" },
            "retention": { "keep_last": keep, "keep_min": 1 },
        }))
        .unwrap();
        let config = Config {
            scratch_dir: Some(folder.path().join("scratch")),
            ..Config::default()
        };
        let job = config::job(&config, "app", &settings, &opened, &Env::default()).unwrap();
        Self {
            folder,
            stores: faulty,
            job,
            rows: 0,
        }
    }

    fn change(&mut self) {
        self.rows += 1;
        let database = Connection::open(self.folder.path().join("app.db")).unwrap();
        database
            .execute("INSERT INTO t VALUES (hex(randomblob(2000)))", [])
            .unwrap();
    }

    async fn run(&mut self) -> RunReport {
        self.change();
        let every: Vec<usize> = (0..self.stores.len()).collect();
        let survey = survey(&self.job).await;
        run(
            &self.job,
            survey,
            &every,
            &Stop::default(),
            &Progress::default(),
        )
        .await
    }

    async fn backups(&self, at: usize) -> usize {
        Catalog::load(&self.job.destinations[at], "app")
            .await
            .unwrap()
            .backups
            .len()
    }

    /// Promise 1, looked at: every manifest has data that verifies, and there is no data without.
    async fn assert_whole(&self) {
        for destination in &self.job.destinations {
            let catalog = Catalog::load(destination, "app").await.unwrap();
            assert!(catalog.unreadable.is_empty());
            for backup in &catalog.backups {
                let scratch = self.folder.path().join("scratch");
                let checked = verify(
                    destination,
                    "app",
                    &backup.id,
                    &scratch,
                    &Stop::default(),
                    &Progress::default(),
                )
                .await
                .unwrap();
                assert_eq!(checked.outcome, Finding::Ok, "{:?}", checked.checks);
            }
        }
    }

    async fn data_objects(&self, at: usize) -> usize {
        let listing = self.job.destinations[at]
            .list("app/data/", Depth::All)
            .await
            .unwrap();
        listing.objects.len()
    }

    fn stray_files(&self) -> Vec<PathBuf> {
        let scratch = self.folder.path().join("scratch");
        let mut stray: Vec<PathBuf> = std::fs::read_dir(scratch)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        for name in ["a", "b", "c"] {
            let data = self.folder.path().join(name).join("app/data");
            for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with('.') {
                    stray.push(entry.path());
                }
            }
        }
        stray
    }
}

#[tokio::test]
async fn an_upload_that_breaks_at_any_place_leaves_nothing_and_prunes_nothing() {
    let mut scene = Scene::new(1, 1);
    assert!(matches!(scene.run().await.outcome, Outcome::Completed));
    for cut in [0, 1, 700] {
        scene.stores[0].fail(Call::Put, "/data/", Fault::Cut(cut));
        let report = scene.run().await;
        assert!(matches!(report.outcome, Outcome::Failed(_)), "cut at {cut}");
        scene.stores[0].heal();
        assert_eq!(
            (scene.backups(0).await, scene.data_objects(0).await),
            (1, 1)
        );
        assert_eq!(scene.stray_files(), [] as [PathBuf; 0]);
    }
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_manifest_that_cannot_be_written_takes_its_data_along() {
    let mut scene = Scene::new(1, 5);
    scene.stores[0].fail(Call::Put, "/manifests/", Fault::Before);
    let report = scene.run().await;
    assert!(matches!(report.outcome, Outcome::Failed(_)));
    scene.stores[0].heal();
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (0, 0)
    );
}

#[tokio::test]
async fn a_manifest_whose_answer_was_lost_counts_and_keeps_its_data() {
    let mut scene = Scene::new(1, 5);
    scene.stores[0].fail(Call::Put, "/manifests/", Fault::After);
    let report = scene.run().await;
    assert!(
        matches!(report.outcome, Outcome::Completed),
        "{:?}",
        report.reason
    );
    scene.stores[0].heal();
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (1, 1)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn data_stays_where_nobody_knows_whether_its_manifest_was_written() {
    let mut scene = Scene::new(1, 5);
    scene.stores[0].fail(Call::Put, "/manifests/", Fault::After);
    scene.stores[0].fail(Call::Get, "/manifests/", Fault::Before);
    let report = scene.run().await;
    assert!(matches!(report.outcome, Outcome::Failed(_)));
    scene.stores[0].heal();
    // It was written after all: promise 1 holds only because the data was left alone.
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (1, 1)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_listed_gets_nothing_and_the_source_is_left_in_peace() {
    let mut scene = Scene::new(1, 1);
    scene.run().await;
    scene.stores[0].fail(Call::List, "manifests", Fault::Before);
    std::fs::rename(
        scene.folder.path().join("app.db"),
        scene.folder.path().join("away"),
    )
    .unwrap();
    scene.stores[0].take_calls();
    let every = [0];
    let survey = survey(&scene.job).await;
    let report = run(
        &scene.job,
        survey,
        &every,
        &Stop::default(),
        &Progress::default(),
    )
    .await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{:?}", report.outcome)
    };
    // The source is gone too, and nobody asked it.
    assert!(
        error
            .to_string()
            .contains("a: cannot list app/manifests/: made to fail"),
        "{error}"
    );
    assert!(
        scene.stores[0]
            .take_calls()
            .iter()
            .all(|(call, _)| *call == Call::List)
    );
    scene.stores[0].heal();
    assert_eq!(scene.backups(0).await, 1);
}

#[tokio::test]
async fn a_list_that_fails_after_the_upload_stops_retention_only() {
    let mut scene = Scene::new(1, 1);
    scene.run().await;
    scene.change();
    let survey = survey(&scene.job).await;
    scene.stores[0].fail(Call::List, "manifests", Fault::Before);
    let report = run(
        &scene.job,
        survey,
        &[0],
        &Stop::default(),
        &Progress::default(),
    )
    .await;
    assert!(matches!(report.outcome, Outcome::Completed));
    assert_eq!(report.destinations[0].pruned, 0);
    assert!(report.destinations[0].warnings[0].contains("retention did not run"));
    scene.stores[0].heal();
    assert_eq!(scene.backups(0).await, 2);
}

#[tokio::test]
async fn each_destination_succeeds_or_fails_alone_and_only_the_one_that_gained_is_pruned() {
    let mut scene = Scene::new(3, 1);
    scene.run().await;
    // Retention has something to do everywhere: one backup too many.
    for store in &scene.stores {
        store.fail(Call::Delete, "/manifests/", Fault::Before);
    }
    scene.run().await;
    scene.stores.iter().for_each(|store| store.heal());
    scene.stores[1].fail(Call::Put, "/data/", Fault::Cut(10));
    scene.stores[2].fail(Call::Put, "/manifests/", Fault::Before);
    let report = scene.run().await;
    assert!(matches!(report.outcome, Outcome::Completed));
    let outcomes: Vec<_> = report
        .destinations
        .iter()
        .map(|d| (d.outcome, d.pruned))
        .collect();
    let failed = (DestinationOutcome::Failed, 0);
    assert_eq!(outcomes, [(DestinationOutcome::Stored, 2), failed, failed]);
    scene.stores.iter().for_each(|store| store.heal());
    scene.assert_whole().await;
    for (at, left) in [1, 2, 2].into_iter().enumerate() {
        let held = (scene.backups(at).await, scene.data_objects(at).await);
        assert_eq!(held, (left, left), "store {at}");
    }
}

#[tokio::test]
async fn a_delete_that_is_refused_leaves_the_run_completed_with_a_warning() {
    let mut scene = Scene::new(1, 1);
    scene.run().await;
    scene.stores[0].fail(Call::Delete, "/manifests/", Fault::Before);
    let report = scene.run().await;
    assert!(matches!(report.outcome, Outcome::Completed));
    assert_eq!(report.destinations[0].pruned, 0);
    assert!(report.destinations[0].warnings[0].contains("made to fail"));
    scene.stores[0].heal();
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (2, 2)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_backup_is_deleted_manifest_first() {
    let mut scene = Scene::new(1, 1);
    scene.run().await;
    scene.stores[0].fail(Call::Delete, "/data/", Fault::Before);
    scene.stores[0].take_calls();
    scene.run().await;
    let deleted: Vec<String> = scene.stores[0]
        .take_calls()
        .into_iter()
        .filter(|(call, _)| *call == Call::Delete)
        .map(|(_, key)| key)
        .collect();
    assert!(
        deleted[0].contains("/manifests/") && deleted[1].contains("/data/"),
        "{deleted:?}"
    );
    scene.stores[0].heal();
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (1, 2)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn unchanged_data_is_named_again_and_goes_with_its_last_manifest() {
    let mut scene = Scene::new(1, 1);
    let first = scene.run().await;
    let survey = survey(&scene.job).await;
    let again = run(
        &scene.job,
        survey,
        &[0],
        &Stop::default(),
        &Progress::default(),
    )
    .await;
    assert_eq!(again.destinations[0].outcome, DestinationOutcome::Unchanged);
    assert_eq!(again.destinations[0].key, first.destinations[0].key);
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (2, 1)
    );
    scene.assert_whole().await;
    scene.run().await;
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (1, 1)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn data_that_was_pruned_meanwhile_is_not_named_again() {
    let mut scene = Scene::new(1, 5);
    scene.run().await;
    let survey = survey(&scene.job).await;
    // The other process deletes between our comparison and our look at the old manifest.
    scene.stores[0].fail(Call::Head, "/manifests/", Fault::Before);
    let report = run(
        &scene.job,
        survey,
        &[0],
        &Stop::default(),
        &Progress::default(),
    )
    .await;
    assert!(matches!(report.outcome, Outcome::Failed(_)));
    scene.stores[0].heal();
    assert_eq!(
        (scene.backups(0).await, scene.data_objects(0).await),
        (1, 1)
    );
}

#[tokio::test]
async fn unchanged_data_whose_object_is_gone_is_stored_anew() {
    let mut scene = Scene::new(1, 5);
    let first = scene.run().await;
    let key = first.destinations[0].key.clone().unwrap();
    std::fs::remove_file(scene.folder.path().join("a").join(&key)).unwrap();
    let survey = survey(&scene.job).await;
    let report = run(
        &scene.job,
        survey,
        &[0],
        &Stop::default(),
        &Progress::default(),
    )
    .await;
    assert_eq!(report.destinations[0].outcome, DestinationOutcome::Stored);
    assert_ne!(report.destinations[0].key.as_ref(), Some(&key));
}

#[tokio::test]
async fn a_run_costs_a_store_few_requests() {
    let mut scene = Scene::new(1, 5);
    scene.run().await;
    scene.stores[0].take_calls();
    scene.run().await;
    let calls: Vec<Call> = scene.stores[0]
        .take_calls()
        .into_iter()
        .map(|(call, _)| call)
        .collect();
    // The survey, the newest manifest, data, manifest, and retention's list and two manifests.
    let expected = [
        Call::List,
        Call::Get,
        Call::Put,
        Call::Put,
        Call::List,
        Call::Get,
        Call::Get,
    ];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn ids_of_one_series_never_share_a_second() {
    let mut scene = Scene::new(1, 9);
    for _ in 0..3 {
        scene.run().await;
    }
    let ids = catalog::ids(&scene.job.destinations[0], "app")
        .await
        .unwrap();
    let mut seconds: Vec<_> = ids.found.keys().map(catalog_second).collect();
    seconds.dedup();
    assert_eq!(seconds.len(), 3);
}

fn catalog_second(id: &lifeboat::manifest::Id) -> i64 {
    id.second().as_second()
}

#[tokio::test]
async fn data_that_shrank_to_less_than_half_is_noticed() {
    let mut scene = Scene::new(1, 5);
    for _ in 0..20 {
        scene.change();
    }
    assert_eq!(scene.run().await.warnings, [] as [String; 0]);
    let database = Connection::open(scene.folder.path().join("app.db")).unwrap();
    database.execute("DELETE FROM t", []).unwrap();
    drop(database);
    let report = scene.run().await;
    assert!(matches!(report.outcome, Outcome::Completed));
    assert!(
        report.warnings[0].contains("the data shrank from"),
        "{:?}",
        report.warnings
    );
}
