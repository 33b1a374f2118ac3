//! Google Cloud Storage against its double: the suite every store passes, lists of many pages,
//! logins, and what goes over the wire.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt;
use lifeboat::destination::gcs::{GcsConfig, GcsLimits, GcsStore};
use lifeboat::destination::{Body, Depth, Store, StoreError, StoreErrorKind, settings_from_url};
use lifeboat::value::Env;
use serde_json::{Value, json};

use crate::store_conformance::{Subject, chunked, conforms, pattern, put, read};
use crate::support::{GcsCall, GcsDouble, GcsFault};

pub const BUCKET: &str = "backups";
pub const CHUNK: usize = 1 << 20;

/// Time limits that a test can wait for.
pub fn short() -> GcsLimits {
    GcsLimits {
        request: Duration::from_secs(2),
        stall: Duration::from_secs(1),
        slowest: 1 << 20,
        attempts: 3,
        backoff: Duration::from_millis(20),
        credentials: Duration::from_secs(2),
        ..GcsLimits::default()
    }
}

/// The settings for a double, with more of them in `settings`.
pub fn config(double: &GcsDouble, settings: Value) -> GcsConfig {
    let mut all = json!({
        "bucket": BUCKET,
        "prefix": "prod",
        "endpoint": double.endpoint(),
        "control_endpoint": double.control_endpoint(),
        "chunk_size": "1MiB",
    });
    if let (Value::Object(all), Value::Object(settings)) = (&mut all, settings) {
        all.extend(settings);
    }
    serde_json::from_value(all).unwrap()
}

pub fn open(double: &GcsDouble, settings: Value) -> GcsStore {
    let config = config(double, settings);
    GcsStore::open_with(&config, &Env::default(), short()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_double_conforms() {
    let double = GcsDouble::start(BUCKET);
    // Folders and objects alike count for a page.
    double.set_page(70);
    let server = double.clone();
    let subject = Subject {
        store: Arc::new(open(&double, json!({}))),
        part: CHUNK,
        many: 300,
        leftovers: Box::new(move || {
            let open = server.open_sessions();
            Box::pin(async move { open })
        }),
    };
    conforms(&subject).await;
    let pages = double.seen(GcsCall::List).len();
    assert!(pages > 15, "{pages} pages");
}

#[tokio::test]
async fn large_objects_go_in_chunks_of_the_size_that_is_set_and_small_ones_at_once() {
    let double = GcsDouble::start(BUCKET);
    let store = open(
        &double,
        json!({ "storage_class": "NEARLINE", "project": "payer" }),
    );
    put(&store, "small", "hello").await.unwrap();
    let bytes = pattern(3 * CHUNK + 17);
    store.put("large", chunked(&bytes, 300_000)).await.unwrap();
    let chunks = double.seen(GcsCall::Chunk);
    let ranges: Vec<&str> = chunks
        .iter()
        .filter_map(|head| head.lines().find_map(|l| l.strip_prefix("content-range: ")))
        .collect();
    assert_eq!(
        ranges,
        [
            "bytes 0-1048575/*",
            "bytes 1048576-2097151/*",
            "bytes 2097152-3145727/*",
            "bytes 3145728-3145744/3145745",
        ]
    );
    assert!(chunks[3].contains("x-goog-hash: crc32c="), "{}", chunks[3]);
    let (begun, whole) = (double.seen(GcsCall::Begin), double.seen(GcsCall::Multipart));
    assert_eq!((begun.len(), whole.len()), (1, 1));
    for head in begun.iter().chain(&whole).chain(&chunks) {
        assert!(head.contains("x-goog-user-project: payer"), "{head}");
    }
    for head in begun.iter().chain(&whole) {
        assert!(head.contains("ifgenerationmatch=0"), "{head}");
    }
    for name in ["prod/small", "prod/large"] {
        assert_eq!(double.object(BUCKET, name).class, "NEARLINE");
    }
    assert_eq!(*double.object(BUCKET, "prod/large").bytes, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_takes_memory_for_its_chunks_only() {
    let double = GcsDouble::start(BUCKET);
    let store = open(&double, json!({}));
    let (sender, body) = Body::channel(1, None);
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let feed = async move {
        for _ in 0..160 {
            sender.send(pattern(1 << 18)).await.unwrap();
            count.fetch_add(1 << 18, std::sync::atomic::Ordering::Relaxed);
            // What the store has not taken yet is in memory.
            let held = double
                .seen(GcsCall::Chunk)
                .iter()
                .filter_map(|head| {
                    let (_, range) = head.split_once("content-range: bytes ")?;
                    range.split_once('-')?.0.parse::<usize>().ok()
                })
                .max()
                .unwrap_or(0);
            let ahead = count.load(std::sync::atomic::Ordering::Relaxed) - held;
            assert!(ahead <= 4 * CHUNK, "{ahead} bytes are on their way");
        }
        sender.finish(Ok(())).await;
    };
    let (stored, ()) = tokio::join!(store.put("large", body), feed);
    assert_eq!(stored.unwrap().bytes, 160 << 18);
}

#[tokio::test]
async fn nobody_is_asked_for_anything_before_it_is_needed() {
    let config: GcsConfig = serde_json::from_value(json!({
        "bucket": BUCKET, "endpoint": "http://127.0.0.1:1",
    }))
    .unwrap();
    let store = GcsStore::open(&config, &Env::default()).unwrap();
    assert_eq!(store.address(), "gs://backups");
}

#[test]
fn the_manual_way_is_gcloud_with_the_same_endpoint() {
    let line = |settings: Value| {
        let config: GcsConfig = serde_json::from_value(settings).unwrap();
        let store = GcsStore::open(&config, &Env::default()).unwrap();
        store.manual_fetch().line("app/data/it's", "a.db")
    };
    assert_eq!(
        line(json!({ "bucket": "b" })),
        r"gcloud storage cp 'gs://b/app/data/it'\''s' a.db"
    );
    assert_eq!(
        line(json!({ "bucket": "b", "prefix": "/p/", "project": "payer",
            "endpoint": "http://gcs:4443/" })),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE='http://gcs:4443/storage/v1/' gcloud storage cp \
         'gs://b/p/app/data/it'\\''s' a.db --billing-project 'payer'"
    );
}

#[test]
fn a_url_and_a_block_of_settings_are_the_same() {
    let url = "gs://backups/prod?endpoint=http://gcs:4443&storage_class=NEARLINE";
    let settings = settings_from_url(&url::Url::parse(url).unwrap()).unwrap();
    assert_eq!(
        settings,
        json!({ "type": "gcs", "bucket": "backups", "prefix": "prod",
            "endpoint": "http://gcs:4443", "storage_class": "NEARLINE" })
    );
}

/// Workload identity: a token of the pod's own in a file, exchanged for one of Google's.
fn federation(folder: &Path, double: &GcsDouble) -> Value {
    let subject = folder.join("subject");
    std::fs::write(&subject, "a token of the pod").unwrap();
    let path = folder.join("credentials.json");
    let file = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/token", double.endpoint()),
        "credential_source": { "file": subject },
    });
    std::fs::write(&path, file.to_string()).unwrap();
    json!({ "credentials_file": path })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_withdrawn_is_renewed_in_the_middle_of_everything() {
    let folder = tempfile::tempdir().unwrap();
    let double = GcsDouble::start(BUCKET);
    double.withdraw_tokens();
    let store = open(&double, federation(folder.path(), &double));
    put(&store, "a", "hello").await.unwrap();
    assert_eq!(double.tokens_issued(), 1);

    double.withdraw_tokens();
    assert_eq!(read(&store, "a").await.unwrap(), b"hello");
    double.withdraw_tokens();
    assert_eq!(store.list("", Depth::All).await.unwrap().objects.len(), 1);
    double.withdraw_tokens();
    put(&store, "b", "hello").await.unwrap();
    assert_eq!(double.tokens_issued(), 4);

    let (sender, body) = Body::channel(1, None);
    let feed = async {
        for piece in 0..30 {
            sender.send(pattern(300_000)).await.unwrap();
            if piece == 15 {
                double.withdraw_tokens();
            }
        }
        sender.finish(Ok(())).await;
    };
    let (stored, ()) = tokio::join!(store.put("large", body), feed);
    assert_eq!(stored.unwrap().bytes, 30 * 300_000);
    assert_eq!(double.tokens_issued(), 5);
    store.delete("large").await.unwrap();
}

#[tokio::test]
async fn a_store_that_wants_credentials_and_gets_none_or_bad_ones_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let double = GcsDouble::start(BUCKET);
    double.withdraw_tokens();
    let error = put(&open(&double, json!({})), "a", "x").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.why.contains("anonymous"), "{error}");
    assert!(error.hint.unwrap().contains("credentials_file"));

    let settings = federation(folder.path(), &double);
    let store = open(&double, settings);
    std::fs::remove_file(folder.path().join("subject")).unwrap();
    for error in all_fail(&store).await {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.why.contains("no credentials"), "{error}");
        assert!(error.hint.is_some(), "{error}");
    }

    let settings = federation(folder.path(), &double);
    let expired = GcsFault::Status(400, "the token of the pod has expired");
    double.fail(GcsCall::Token, 0, 99, expired);
    for error in all_fail(&open(&double, settings)).await {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.why.contains("pod has expired"), "{error}");
        assert!(!error.why.contains("a token of the pod"), "{error}");
    }

    let missing = json!({ "credentials_file": folder.path().join("none.json") });
    let error = GcsStore::open(&config(&double, missing), &Env::default()).unwrap_err();
    assert!(error.why.contains("none.json: no such file"), "{error}");
}

/// The error of each of the five methods.
pub async fn all_fail(store: &GcsStore) -> Vec<StoreError> {
    let large = pattern(CHUNK + 1);
    vec![
        put(store, "a", "x").await.unwrap_err(),
        store.put("b", chunked(&large, 300_000)).await.unwrap_err(),
        read(store, "a").await.unwrap_err(),
        store.head("a").await.unwrap_err(),
        store.list("", Depth::All).await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
    ]
}

/// The bytes of a part of an object.
pub async fn part(
    store: &GcsStore,
    key: &str,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<Bytes> = store.get(key, Some(range)).await?.try_collect().await?;
    Ok(chunks.concat())
}

/// A key of a service account, as it is downloaded from the console.
fn key_file(folder: &Path) -> Value {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};

    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der.as_ref())
    );
    let path = folder.join("key.json");
    let file = json!({
        "type": "service_account", "project_id": "p", "private_key_id": "k",
        "private_key": pem, "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    std::fs::write(&path, file.to_string()).unwrap();
    json!({ "credentials_file": path })
}

#[tokio::test]
async fn a_service_account_signs_its_requests_itself() {
    let folder = tempfile::tempdir().unwrap();
    let double = GcsDouble::start(BUCKET);
    let store = open(&double, key_file(folder.path()));
    let bytes = pattern(CHUNK + 1);
    store.put("large", chunked(&bytes, 300_000)).await.unwrap();
    assert!(read(&store, "large").await.unwrap() == bytes);
    for call in [GcsCall::Begin, GcsCall::Chunk, GcsCall::Download] {
        for head in double.seen(call) {
            assert!(head.contains("authorization: bearer ey"), "{call:?}");
        }
    }
}

#[tokio::test]
async fn tls_is_spoken_where_the_endpoint_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut hello = [0; 100];
            let _ = client.read(&mut hello);
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let double = GcsDouble::start(BUCKET);
    let settings = json!({ "endpoint": url, "control_endpoint": url });
    for error in all_fail(&open(&double, settings)).await {
        assert!(error.why.contains("does not speak TLS"), "{error}");
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
    }
}
