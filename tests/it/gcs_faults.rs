//! Google Cloud Storage when things go wrong on the way: what can be taken up again is, nothing
//! half-made stays, nothing takes for ever, and the words say what to do.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lifeboat::destination::gcs::{GcsStore, settle};
use lifeboat::destination::{
    Body, Depth, Destination, ManualFetch, Store, StoreError, StoreErrorKind,
};
use serde_json::json;
use std::sync::Arc;

use crate::gcs_store::{BUCKET, CHUNK, all_fail, open, part};
use crate::store_conformance::{chunked, pattern, put, read};
use crate::support::{GcsCall as Call, GcsDouble, GcsFault as Fault};

struct Setup {
    double: GcsDouble,
    store: GcsStore,
}

fn setup() -> Setup {
    let double = GcsDouble::start(BUCKET);
    let store = open(&double, json!({}));
    Setup { double, store }
}

impl Setup {
    async fn put_large(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = pattern(4 * CHUNK + 17);
        let body = chunked(&bytes, 300_000);
        self.store.put(key, body).await.map(|_| bytes)
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.double.names(BUCKET), [] as [String; 0]);
        assert_eq!(self.double.open_sessions(), [] as [String; 0]);
    }

    /// A large object arrives in spite of what was planned.
    async fn survives(&self, what: &str) {
        let bytes = self.put_large("large").await;
        let bytes = bytes.unwrap_or_else(|error| panic!("{what}: {error}"));
        let stored = self.double.object(BUCKET, "prod/large").bytes;
        assert!(*stored == bytes, "{what}: the object differs");
        assert_eq!(self.double.open_sessions(), [] as [String; 0], "{what}");
        self.store.delete("large").await.unwrap();
        self.double.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_disturbed_goes_on_where_it_was() {
    let setup = setup();
    let disturbances = [
        ("503", Fault::Status(503, "backend error")),
        ("500", Fault::Status(500, "")),
        ("429", Fault::Status(429, "rate limit")),
        ("408", Fault::Status(408, "")),
        ("done, and 503", Fault::Deny),
        ("nothing taken", Fault::Take(0)),
        ("a part taken", Fault::Take(256 << 10)),
        ("an odd part taken", Fault::Take(100_001)),
        ("cut at once", Fault::Cut(0)),
        ("cut halfway", Fault::Cut(10)),
        ("the answer lost", Fault::Lose),
    ];
    for (what, fault) in disturbances {
        for skip in [0, 2, 4] {
            setup.double.fail(Call::Chunk, skip, 1, fault.clone());
            setup.survives(&format!("{what}, after {skip}")).await;
        }
        setup.double.fail(Call::Chunk, 1, 2, fault.clone());
        setup.survives(&format!("{what}, twice")).await;
    }
    for call in [Call::Begin, Call::Query] {
        for fault in [Fault::Status(503, ""), Fault::Cut(0), Fault::Lose] {
            setup.double.fail(Call::Chunk, 1, 1, Fault::Cut(5));
            setup.double.fail(call, 0, 1, fault.clone());
            let bytes = setup.put_large("large").await;
            assert!(bytes.is_ok(), "{call:?} {fault:?}: {bytes:?}");
            setup.store.delete("large").await.unwrap();
            setup.double.heal();
        }
    }
}

#[tokio::test]
async fn a_small_object_whose_answer_was_lost_is_known_by_its_token() {
    let setup = setup();
    for fault in [Fault::Lose, Fault::Deny, Fault::Garbage, Fault::Cut(100)] {
        setup.double.fail(Call::Multipart, 0, 1, fault.clone());
        let stored = put(&setup.store, "small", "hello").await;
        assert_eq!(stored.unwrap().bytes, 5, "{fault:?}");
        assert_eq!(read(&setup.store, "small").await.unwrap(), b"hello");
        setup.store.delete("small").await.unwrap();
    }
    // And one that was there before is not.
    put(&setup.store, "small", "first").await.unwrap();
    setup
        .double
        .fail(Call::Multipart, 0, 1, Fault::Status(503, ""));
    let error = put(&setup.store, "small", "hello").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists);
    assert_eq!(read(&setup.store, "small").await.unwrap(), b"first");
}

#[tokio::test]
async fn a_large_object_whose_answer_made_no_sense_is_known_by_its_token() {
    let setup = setup();
    setup.double.fail(Call::Chunk, 4, 1, Fault::Garbage);
    setup.survives("garbage after the last chunk").await;
}

#[tokio::test]
async fn a_key_that_is_taken_meanwhile_keeps_its_object() {
    let setup = setup();
    let (sender, body) = Body::channel(1, None);
    let feed = async {
        for _ in 0..10 {
            sender.send(pattern(300_000)).await.unwrap();
        }
        put(&setup.store, "key", "first").await.unwrap();
        sender.finish(Ok(())).await;
    };
    let (outcome, ()) = tokio::join!(setup.store.put("key", body), feed);
    assert_eq!(outcome.unwrap_err().kind, StoreErrorKind::AlreadyExists);
    assert_eq!(read(&setup.store, "key").await.unwrap(), b"first");
    assert_eq!(setup.double.open_sessions(), [] as [String; 0]);
}

#[tokio::test]
async fn a_busy_store_is_given_the_time_it_asks_for() {
    let setup = setup();
    for call in [Call::Chunk, Call::Multipart] {
        setup.double.fail(call, 0, 1, Fault::Later(429, 1));
        let begin = Instant::now();
        match call {
            Call::Chunk => setup.survives("429").await,
            _ => drop(put(&setup.store, "small", "x").await.unwrap()),
        }
        assert!(begin.elapsed() >= Duration::from_secs(1), "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_leaves_nothing_and_says_why() {
    let setup = setup();
    for (what, call, fault, kind) in [
        (
            "503",
            Call::Chunk,
            Fault::Status(503, ""),
            StoreErrorKind::Unreachable,
        ),
        (
            "nothing",
            Call::Chunk,
            Fault::Take(0),
            StoreErrorKind::Unreachable,
        ),
        (
            "cut",
            Call::Chunk,
            Fault::Cut(7),
            StoreErrorKind::Unreachable,
        ),
        (
            "lost",
            Call::Begin,
            Fault::Cut(0),
            StoreErrorKind::Unreachable,
        ),
        (
            "410",
            Call::Chunk,
            Fault::Status(410, "gone"),
            StoreErrorKind::Other,
        ),
        (
            "garbage",
            Call::Chunk,
            Fault::Garbage,
            StoreErrorKind::Other,
        ),
        ("flip", Call::Chunk, Fault::Flip, StoreErrorKind::Damaged),
        (
            "403",
            Call::Begin,
            Fault::Status(403, "no"),
            StoreErrorKind::Denied,
        ),
    ] {
        setup.double.fail(call, 0, 100, fault);
        let error = setup.put_large("large").await.unwrap_err();
        assert_eq!(error.kind, kind, "{what}: {error}");
        setup.double.heal();
        setup.assert_nothing_left();
    }
    // A store that changes what it takes, and does not notice.
    setup.double.fail(Call::Multipart, 0, 1, Fault::Flip);
    let error = put(&setup.store, "small", "hello").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    setup.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_holds_up_nothing_for_long() {
    let setup = setup();
    let silence = Fault::Stall(Duration::from_mins(1));
    for call in [
        Call::Multipart,
        Call::Begin,
        Call::Chunk,
        Call::Download,
        Call::Look,
        Call::List,
        Call::Delete,
    ] {
        setup.double.fail(call, 0, 1, silence.clone());
    }
    let begin = Instant::now();
    setup.survives("silence").await;
    setup.double.fail(Call::Chunk, 4, 1, Fault::Hang);
    setup.survives("an answer without its body").await;
    put(&setup.store, "small", "hello").await.unwrap();
    assert_eq!(read(&setup.store, "small").await.unwrap(), b"hello");
    setup.store.head("small").await.unwrap();
    setup.store.list("", Depth::All).await.unwrap();
    setup.store.delete("small").await.unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(40),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_is_taken_up_by_range() {
    let Setup { double, store } = setup();
    let bytes = pattern(CHUNK + 17);
    put(&store, "a", bytes.clone()).await.unwrap();
    double.fail(Call::Download, 0, 1, Fault::Cut(CHUNK / 2));
    double.fail(Call::Download, 1, 1, Fault::Cut(1000));
    let error = read(&store, "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    double.heal();

    double.fail(Call::Download, 0, 1, Fault::Cut(CHUNK / 2));
    let destination = Destination::new("d", "d", ManualFetch::default(), Arc::new(store));
    let whole: Vec<Bytes> =
        futures_util::TryStreamExt::try_collect(destination.read("a", bytes.len() as u64))
            .await
            .unwrap();
    assert!(whole.concat() == bytes, "the object differs");
    let asked = double.seen(Call::Download);
    assert!(asked.last().unwrap().contains("range: bytes="), "{asked:?}");
}

#[tokio::test]
async fn what_comes_back_changed_is_damage() {
    let setup = setup();
    let bytes = pattern(100_000);
    put(&setup.store, "a", bytes.clone()).await.unwrap();
    setup.double.fail(Call::Download, 0, 1, Fault::Flip);
    let error = read(&setup.store, "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    assert!(error.why.contains("checksum"), "{error}");

    setup.double.fail(Call::Download, 0, 1, Fault::Whole);
    let error = part(&setup.store, "a", 10..20).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
}

#[tokio::test]
async fn control_requests_are_tried_again_over_a_new_connection() {
    let setup = setup();
    put(&setup.store, "a", "x").await.unwrap();
    for fault in [
        Fault::Cut(0),
        Fault::Status(503, ""),
        Fault::Status(429, ""),
    ] {
        for call in [Call::Look, Call::List, Call::Delete] {
            setup.double.fail(call, 0, 2, fault.clone());
        }
        setup.store.head("a").await.unwrap();
        assert_eq!(
            setup
                .store
                .list("", Depth::All)
                .await
                .unwrap()
                .objects
                .len(),
            1
        );
        setup.store.delete("b").await.unwrap();
    }
    // Removed, and the answer lost: the next attempt finds nothing, which is the same.
    setup.double.fail(Call::Delete, 0, 1, Fault::Lose);
    setup.store.delete("a").await.unwrap();
    setup.assert_nothing_left();
    setup.double.fail(Call::List, 0, 9, Fault::Garbage);
    assert!(setup.store.list("", Depth::All).await.is_err());
}

#[tokio::test]
async fn a_list_that_breaks_after_its_first_page_is_an_error() {
    let setup = setup();
    for key in ["a", "b", "c"] {
        put(&setup.store, key, "x").await.unwrap();
    }
    setup.double.set_page(1);
    setup
        .double
        .fail(Call::List, 1, 9, Fault::Status(503, "no"));
    let error = setup.store.list("", Depth::All).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    setup.double.heal();
    setup.double.fail(Call::List, 1, 1, Fault::Again);
    let error = setup.store.list("", Depth::All).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged);
    assert!(error.why.contains("came back short"), "{error}");
    let listing = setup.store.list("", Depth::All).await.unwrap();
    assert_eq!(listing.objects.len(), 3);
}

#[tokio::test]
async fn each_refusal_names_the_permission_it_takes() {
    let setup = setup();
    let rights = [
        (Call::Multipart, "storage.objects.create"),
        (Call::Begin, "storage.objects.create"),
        (Call::Download, "storage.objects.get"),
        (Call::Look, "storage.objects.get"),
        (Call::List, "storage.objects.list"),
        (Call::Delete, "storage.objects.delete"),
    ];
    for (call, _) in rights {
        let words = "robot@example does not have access";
        setup.double.fail(call, 0, 9, Fault::Status(403, words));
    }
    for (error, (_, right)) in all_fail(&setup.store).await.iter().zip(rights) {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.why.contains("robot@example"), "{error}");
        let hint = error.hint.as_deref().unwrap();
        assert_eq!(
            hint,
            format!("the identity needs {right} on bucket `backups`")
        );
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let double = GcsDouble::start(BUCKET);
    let store = open(&double, json!({ "bucket": "nowhere" }));
    for error in all_fail(&store).await {
        assert_eq!(error.kind, StoreErrorKind::NoDestination, "{error}");
        assert!(
            error.why.contains("there is no bucket `nowhere`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    let double = GcsDouble::start(BUCKET);
    let nowhere = "http://127.0.0.1:1";
    let store = open(
        &double,
        json!({ "endpoint": nowhere, "control_endpoint": nowhere }),
    );
    for error in all_fail(&store).await {
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
        assert_eq!(error.why, "127.0.0.1:1: connection refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_dropped_as_it_is_completed_leaves_nothing() {
    let setup = setup();
    setup.double.fail(Call::Chunk, 4, 9, Fault::Deny);
    {
        let put = setup.put_large("large");
        let seen = async {
            while setup.double.seen(Call::Chunk).len() < 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            outcome = put => panic!("it cannot have ended: {outcome:?}"),
            () = seen => {}
        }
    }
    assert!(settle(Duration::from_mins(1)).await);
    setup.assert_nothing_left();
}
