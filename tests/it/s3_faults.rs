//! S3 when things go wrong on the way: nothing half-made stays, and nothing takes for ever.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use lifeboat::destination::s3::{S3Limits, S3Store, settle};
use lifeboat::destination::{Depth, Store, StoreError, StoreErrorKind};
use lifeboat::value::Env;
use serde_json::json;

use crate::s3_store::{BUCKET, PART, config, leftovers, open, server, short};
use crate::store_conformance::{chunked, pattern, put};
use crate::support::{Fault, FaultProxy, S3Kind, S3Server, Times};

/// A store, the proxy before it, and the server behind that.
pub struct Setup {
    pub server: S3Server,
    pub proxy: FaultProxy,
    pub store: S3Store,
}

pub async fn setup() -> Setup {
    let server = server(S3Kind::Minio);
    let proxy = FaultProxy::start(&server.endpoint);
    let store = open(&proxy.endpoint(), &server, json!({})).await;
    Setup {
        server,
        proxy,
        store,
    }
}

impl Setup {
    pub async fn put_large(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = pattern(3 * PART + 17);
        self.store
            .put(key, chunked(&bytes, 300_000))
            .await
            .map(|_| bytes)
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.server.objects(BUCKET, ""), []);
        assert_eq!(leftovers(&self.server), Vec::<String>::new());
    }

    fn assert_stored(&self, key: &str, bytes: &[u8]) {
        assert!(
            self.server.get_object(BUCKET, &format!("prod/{key}")) == bytes,
            "{key} differs"
        );
        assert_eq!(leftovers(&self.server), Vec::<String>::new());
    }
}

fn error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Injected.</Message></Error>")
}

pub fn status(code: u16, name: &str) -> Fault {
    Fault::Status {
        code,
        body: error(name),
    }
}

fn is_put(method: &str, _: &str) -> bool {
    method == "PUT"
}

fn is_part(method: &str, path: &str) -> bool {
    method == "PUT" && path.contains("partNumber=")
}

fn is_second_part(method: &str, path: &str) -> bool {
    method == "PUT" && path.contains("partNumber=2&")
}

fn is_create(method: &str, path: &str) -> bool {
    method == "POST" && path.contains("?uploads")
}

fn is_complete(method: &str, path: &str) -> bool {
    method == "POST" && path.contains("uploadId=")
}

fn is_abort(method: &str, path: &str) -> bool {
    method == "DELETE" && path.contains("uploadId=")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn an_upload_that_is_cut_for_good_leaves_nothing() {
    let it = setup().await;
    it.proxy.inject(
        Times::Always,
        Fault::CutRequestBodyAfter(1 << 20),
        is_second_part,
    );
    let error = it.put_large("cut").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    assert!(error.why.contains("the connection broke"), "{error}");
    it.assert_nothing_left();
    let error = {
        it.proxy
            .inject(Times::Always, Fault::CutRequestBodyAfter(3), is_put);
        put(&it.store, "cut-small", "hello").await.unwrap_err()
    };
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    it.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn an_upload_that_is_disturbed_goes_through() {
    let it = setup().await;
    it.proxy.inject(
        Times::First(2),
        Fault::CutRequestBodyAfter(1 << 20),
        is_second_part,
    );
    it.proxy
        .inject(Times::First(1), status(503, "SlowDown"), is_create);
    it.proxy
        .inject(Times::First(1), status(500, "InternalError"), is_part);
    it.proxy
        .inject(Times::First(2), status(200, "InternalError"), is_complete);
    let bytes = it.put_large("disturbed").await.unwrap();
    it.assert_stored("disturbed", &bytes);
    it.proxy.inject(
        Times::First(1),
        status(409, "ConditionalRequestConflict"),
        is_put,
    );
    it.proxy
        .inject(Times::First(2), status(503, "SlowDown"), is_put);
    put(&it.store, "small", "hello").await.unwrap();
    it.assert_stored("small", b"hello");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_lost_answer_is_not_a_taken_key() {
    let it = setup().await;
    for (at, fault) in [
        Fault::StatusAfterEffect { code: 500 },
        Fault::CutAfterEffect,
    ]
    .into_iter()
    .enumerate()
    {
        for times in [Times::First(1), Times::Always] {
            it.proxy.inject(times, fault.clone(), is_put);
            let key = format!("small-{at}-{times:?}");
            put(&it.store, &key, "hello")
                .await
                .unwrap_or_else(|e| panic!("{key}: {e}"));
            it.assert_stored(&key, b"hello");
            it.proxy.clear();

            it.proxy.inject(times, fault.clone(), is_complete);
            let key = format!("large-{at}-{times:?}");
            let bytes = it
                .put_large(&key)
                .await
                .unwrap_or_else(|e| panic!("{key}: {e}"));
            it.assert_stored(&key, &bytes);
            it.proxy.clear();
        }
        it.proxy.inject(Times::First(1), fault, is_create);
        let bytes = it.put_large(&format!("created-{at}")).await.unwrap();
        it.assert_stored(&format!("created-{at}"), &bytes);
    }
    // What is another's stays a taken key, whatever was lost on the way.
    it.proxy
        .inject(Times::First(1), Fault::CutAfterEffect, is_put);
    let again = put(&it.store, "small-0-First(1)", "other").await;
    assert_eq!(again.unwrap_err().kind, StoreErrorKind::AlreadyExists);
    it.assert_stored("small-0-First(1)", b"hello");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_failed_creation_or_completion_leaves_nothing() {
    let it = setup().await;
    it.proxy
        .inject(Times::Always, Fault::CutAfterEffect, is_create);
    assert_eq!(
        it.put_large("a").await.unwrap_err().kind,
        StoreErrorKind::Unreachable
    );
    it.assert_nothing_left();
    it.proxy.clear();
    it.proxy
        .inject(Times::Always, status(200, "InternalError"), is_complete);
    let error = it.put_large("b").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    it.assert_nothing_left();
    it.proxy.clear();
    it.proxy
        .inject(Times::Always, status(400, "InvalidPart"), is_complete);
    assert_eq!(
        it.put_large("c").await.unwrap_err().kind,
        StoreErrorKind::Other
    );
    it.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_refused_upload_is_denied_and_leaves_nothing() {
    let it = setup().await;
    for (key, matcher) in [
        ("put", is_put as fn(&str, &str) -> bool),
        ("create", is_create),
        ("part", is_second_part),
        ("complete", is_complete),
    ] {
        it.proxy
            .inject(Times::Always, status(403, "AccessDenied"), matcher);
        let outcome = match key {
            "put" => put(&it.store, key, "x").await.map(|_| Bytes::new()),
            _ => it.put_large(key).await,
        };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{key}: {error}");
        assert!(
            error.hint.as_ref().unwrap().contains("s3:PutObject"),
            "{error:?}"
        );
        it.assert_nothing_left();
        it.proxy.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn an_abort_is_repeated_until_the_upload_is_gone() {
    let it = setup().await;
    it.proxy
        .inject(Times::Always, status(403, "AccessDenied"), is_second_part);
    let nothing = Fault::Status {
        code: 204,
        body: String::new(),
    };
    let lies = it.proxy.inject(Times::First(2), nothing, is_abort);
    assert_eq!(
        it.put_large("a").await.unwrap_err().kind,
        StoreErrorKind::Denied
    );
    assert_eq!(lies.fired(), 2);
    it.assert_nothing_left();

    it.proxy
        .inject(Times::Always, status(500, "InternalError"), is_abort);
    let denied = it
        .proxy
        .inject(Times::Always, status(400, "Odd"), is_complete);
    it.proxy.clear();
    it.proxy
        .inject(Times::Always, status(400, "Odd"), is_complete);
    it.proxy
        .inject(Times::Always, status(403, "AccessDenied"), is_abort);
    let error = it.put_large("b").await.unwrap_err();
    assert!(
        error.why.contains("400 Odd"),
        "the cause comes first: {error}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("lifecycle")));
    assert_eq!(denied.fired(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_store_that_hangs_is_given_up() {
    let mut it = setup().await;
    let limits = S3Limits {
        request: Duration::from_secs(1),
        slowest: 8 << 20,
        attempts: 2,
        wind_down: Duration::from_secs(1),
        ..short()
    };
    let behind = config(&it.proxy.endpoint(), &it.server, json!({}));
    it.store = S3Store::open_with(&behind, &Env::default(), limits)
        .await
        .unwrap();
    it.proxy.inject(Times::Always, Fault::Hang, is_second_part);
    let error = it.put_large("part").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    assert!(error.why.contains("no answer in time"), "{error}");
    it.assert_nothing_left();

    it.proxy.clear();
    it.proxy.inject(Times::Always, Fault::Hang, |_, _| true);
    let (listed, head, got, deleted) = tokio::join!(
        it.store.list("", Depth::All),
        it.store.head("a"),
        it.store.get("a", None),
        it.store.delete("a"),
    );
    let errors = [
        listed.unwrap_err(),
        head.unwrap_err(),
        got.err().unwrap(),
        deleted.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
        assert!(error.why.contains("no answer in time"), "{error}");
    }

    // Takes connections and reads nothing: the upload stands still.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let config = config(&endpoint, &it.server, json!({ "part_size": "64MiB" }));
    let store = S3Store::open_with(&config, &Env::default(), limits)
        .await
        .unwrap();
    let error = put(&store, "a", pattern(40 << 20)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    assert!(error.why.contains("no progress for 1 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_slow_upload_that_moves_is_not_given_up() {
    let it = setup().await;
    let slow = Fault::SlowBody {
        bytes_per_sec: 2 << 20,
    };
    it.proxy.inject(Times::Always, slow, is_part);
    let bytes = it.put_large("slow").await.unwrap();
    it.assert_stored("slow", &bytes);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_refused_delete_is_denied() {
    let it = setup().await;
    put(&it.store, "a", "x").await.unwrap();
    it.proxy
        .inject(Times::Always, status(403, "AccessDenied"), |method, _| {
            method == "DELETE"
        });
    let error = it.store.delete("a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.hint.unwrap().contains("s3:DeleteObject"));
    it.proxy.clear();
    it.proxy
        .inject(Times::Always, status(404, "NoSuchKey"), |method, _| {
            method == "DELETE"
        });
    it.store.delete("a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn failures_have_their_kinds_and_hints() {
    use StoreErrorKind as Kind;
    let it = setup().await;
    let moved = Fault::StatusWithHeaders {
        code: 301,
        headers: vec![("x-amz-bucket-region".into(), "eu-west-3".into())],
        body: error("PermanentRedirect"),
    };
    let html = Fault::Status {
        code: 405,
        body: "<html>no</html>".into(),
    };
    for (fault, kind, hint) in [
        (moved, Kind::Other, "region: eu-west-3"),
        (status(403, "RequestTimeTooSkewed"), Kind::Denied, "clock"),
        (status(400, "ExpiredToken"), Kind::Denied, "session_token"),
        (status(507, "XMinioStorageFull"), Kind::Full, ""),
        (status(403, "QuotaExceeded"), Kind::Full, ""),
        (status(400, "BadDigest"), Kind::Damaged, ""),
        (status(503, "SlowDown"), Kind::Unreachable, ""),
        (html, Kind::Other, "endpoint"),
    ] {
        it.proxy.clear();
        it.proxy
            .inject(Times::Always, fault, |method, _| method == "PUT");
        let error = put(&it.store, "a", "x").await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(
            error.hint.as_deref().unwrap_or_default().contains(hint),
            "{error:?}"
        );
        assert!(!error.to_string().contains("service error"), "{error}");
        it.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_put_dropped_while_it_is_answered_leaves_nothing() {
    let it = setup().await;
    let slow = Fault::Delay(Duration::from_millis(500));
    for (key, matcher) in [
        ("put", is_put as fn(&str, &str) -> bool),
        ("create", is_create),
        ("part", is_second_part),
        ("complete", is_complete),
    ] {
        it.proxy.clear();
        let met = it.proxy.inject(Times::Always, slow.clone(), matcher);
        let length = if key == "put" { 10 } else { 2 * PART };
        let upload = it.store.put(key, chunked(&pattern(length), 300_000));
        tokio::select! {
            outcome = upload => panic!("{key} cannot have ended: {outcome:?}"),
            () = until(|| met.fired() > 0) => {}
        }
        assert!(settle(Duration::from_mins(1)).await);
        it.assert_nothing_left();
    }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
