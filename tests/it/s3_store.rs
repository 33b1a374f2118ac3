//! S3 against real servers: the suite every store passes, logins, certificates, and what goes
//! over the wire.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::destination::s3::{S3Config, S3Limits, S3Store};
use lifeboat::destination::{Depth, Store, StoreError, StoreErrorKind};
use lifeboat::value::Env;
use serde_json::{Value, json};

use crate::s3_double::HeadProxy;
use crate::store_conformance::{Subject, chunked, conforms, pattern, put, read};
use crate::support::{S3Kind, S3Server, TestCa};

pub const BUCKET: &str = "backups";
pub const PART: usize = 5 << 20;

/// A server with its bucket.
pub fn server(kind: S3Kind) -> S3Server {
    let server = match kind {
        S3Kind::Minio => S3Server::minio(),
        S3Kind::VersityGw => S3Server::versitygw(),
    };
    server.create_bucket(BUCKET);
    server
}

/// Time limits that a test can wait for.
pub fn short() -> S3Limits {
    S3Limits {
        request: Duration::from_secs(2),
        stall: Duration::from_secs(1),
        slowest: 1 << 20,
        attempts: 3,
        backoff: Duration::from_millis(20),
        ..S3Limits::default()
    }
}

/// The settings for a server behind `endpoint`, with more of them in `settings`.
pub fn config(endpoint: &str, server: &S3Server, settings: Value) -> S3Config {
    let mut all = json!({
        "bucket": BUCKET,
        "prefix": "prod",
        "endpoint": endpoint,
        "region": server.region,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
    });
    if let (Value::Object(all), Value::Object(settings)) = (&mut all, settings) {
        all.extend(settings);
    }
    serde_json::from_value(all).unwrap()
}

/// A store behind `endpoint`.
pub async fn open(endpoint: &str, server: &S3Server, settings: Value) -> S3Store {
    let config = config(endpoint, server, settings);
    S3Store::open_with(&config, &Env::default(), short())
        .await
        .unwrap()
}

/// Multipart uploads that were neither completed nor aborted, by any name.
pub fn leftovers(server: &S3Server) -> Vec<String> {
    if server.kind == S3Kind::VersityGw {
        return server.multipart_uploads(BUCKET);
    }
    let folders = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect::<Vec<_>>()
    };
    let keys = folders(&server.data.join(".minio.sys/multipart"));
    let uploads = keys.iter().flat_map(|key| folders(key));
    uploads.map(|upload| upload.display().to_string()).collect()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreErrorKind {
    outcome.unwrap_err().kind
}

async fn conformance(server: S3Server) {
    let config = config(&server.endpoint, &server, json!({}));
    let store = Arc::new(S3Store::open(&config, &Env::default()).await.unwrap());
    let server = Arc::new(server);
    let subject = Subject {
        store,
        part: PART,
        many: 1100,
        leftovers: Box::new(move || {
            let server = server.clone();
            Box::pin(async move {
                tokio::task::spawn_blocking(move || leftovers(&server))
                    .await
                    .unwrap()
            })
        }),
    };
    conforms(&subject).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn minio_conforms() {
    conformance(server(S3Kind::Minio)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs versitygw"]
async fn versitygw_conforms() {
    conformance(server(S3Kind::VersityGw)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn what_cannot_be_reached_says_so_in_one_reason() {
    let server = server(S3Kind::Minio);
    let tls = server.endpoint.replace("http:", "https:");
    for (endpoint, reason) in [
        ("http://127.0.0.1:1", "127.0.0.1:1: connection refused"),
        (
            "http://nowhere.invalid",
            "nowhere.invalid: the host name cannot be resolved",
        ),
        (&*tls, "it does not speak TLS"),
    ] {
        let store = open(endpoint, &server, json!({})).await;
        let error = put(&store, "a", "x").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.to_string().contains("dispatch"), "{error}");
        assert_eq!(
            kind(store.list("", Depth::All).await),
            StoreErrorKind::Unreachable
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_missing_bucket_and_wrong_keys_are_told_apart() {
    let server = server(S3Kind::Minio);
    let endpoint = server.endpoint.as_str();
    let store = open(endpoint, &server, json!({ "bucket": "no-such-bucket" })).await;
    for error in [
        put(&store, "a", "x").await.unwrap_err(),
        store.list("", Depth::All).await.unwrap_err(),
        store.get("a", None).await.err().unwrap(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::NoDestination, "{error}");
        assert!(
            error.why.contains("`no-such-bucket`") && error.hint.is_some(),
            "{error}"
        );
    }
    for (settings, reason) in [
        (
            json!({ "access_key_id": "nobody" }),
            "does not know the access key",
        ),
        (
            json!({ "secret_access_key": "wrong-secret" }),
            "does not fit the access key",
        ),
    ] {
        let store = open(endpoint, &server, settings).await;
        for error in [
            put(&store, "a", "x").await.unwrap_err(),
            store
                .put("a", chunked(&pattern(PART + 1), 300_000))
                .await
                .unwrap_err(),
            store.list("", Depth::All).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
            assert!(error.why.contains(reason), "{error}");
            assert!(!format!("{error:?}").contains("wrong-secret"), "{error:?}");
        }
        assert_eq!(kind(store.head("a").await), StoreErrorKind::Denied);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn keys_are_read_again_from_their_files() {
    let server = server(S3Kind::Minio);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "old\n").unwrap();
    let settings = json!({ "secret_access_key": { "file": secret } });
    let store = open(&server.endpoint, &server, settings).await;
    assert_eq!(kind(put(&store, "a", "x").await), StoreErrorKind::Denied);
    std::fs::write(&secret, format!("{}\n", server.secret_key)).unwrap();
    put(&store, "a", "x").await.unwrap();
    std::fs::remove_file(&secret).unwrap();
    let error = put(&store, "b", "x").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.why.contains("secret_access_key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn settings_are_found_in_the_environment() {
    let server = server(S3Kind::Minio);
    let variables = [
        ("AWS_ACCESS_KEY_ID", &server.access_key),
        ("AWS_SECRET_ACCESS_KEY", &server.secret_key),
        ("AWS_ENDPOINT_URL_S3", &server.endpoint),
    ];
    let env: Env = variables.into_iter().collect();
    let config = serde_json::from_value(json!({ "bucket": BUCKET })).unwrap();
    let store = S3Store::open_with(&config, &env, short()).await.unwrap();
    put(&store, "from-env", "x").await.unwrap();
    assert_eq!(server.get_object(BUCKET, "from-env"), b"x");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_certificate_is_trusted_only_if_its_authority_is() {
    let ca = TestCa::new();
    let server = S3Server::minio_tls(&ca);
    server.create_bucket(BUCKET);
    let store = open(&server.endpoint, &server, json!({})).await;
    let error = put(&store, "a", "x").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert!(error.why.contains("certificate is not trusted"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("ca_cert")));

    let store = open(&server.endpoint, &server, json!({ "ca_cert": ca.ca_pem })).await;
    let bytes = pattern(2 * PART + 5);
    store.put("large", chunked(&bytes, 300_000)).await.unwrap();
    assert!(read(&store, "large").await.unwrap() == bytes);

    let plain = server.endpoint.replace("https:", "http:");
    let error = put(&open(&plain, &server, json!({})).await, "a", "x")
        .await
        .unwrap_err();
    assert!(
        error.hint.is_some_and(|hint| hint.contains("endpoint")),
        "{}",
        error.why
    );

    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.pem");
    for (content, reason) in [
        ("no certificate", "holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "not a PEM certificate",
        ),
    ] {
        std::fs::write(&bad, content).unwrap();
        let config = config(&server.endpoint, &server, json!({ "ca_cert": bad }));
        let error = S3Store::open(&config, &Env::default()).await.unwrap_err();
        assert!(error.why.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn settings_are_checked_when_the_bucket_is_opened() {
    for (settings, reason) in [
        (
            json!({ "bucket": "b", "region": "r", "concurrency": 0 }),
            "concurrency",
        ),
        (
            json!({ "bucket": "b", "region": "r", "access_key_id": "k" }),
            "secret_access_key",
        ),
        (
            json!({ "bucket": "b", "region": "r", "access_key_id": { "env": "NOT_SET" },
                "secret_access_key": "s" }),
            "NOT_SET",
        ),
    ] {
        let config = serde_json::from_value(settings).unwrap();
        let error = S3Store::open(&config, &Env::default()).await.unwrap_err();
        assert!(error.why.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn uploads_carry_the_headers_that_were_asked_for() {
    let server = server(S3Kind::Minio);
    let proxy = HeadProxy::start(&server.endpoint, |_| None);
    let settings = json!({ "storage_class": "REDUCED_REDUNDANCY" });
    let store = open(&proxy.endpoint(), &server, settings).await;
    put(&store, "small", "x").await.unwrap();
    store
        .put("large", chunked(&pattern(PART + 1), 300_000))
        .await
        .unwrap();
    let heads = proxy.heads();
    let find = |start: &str| heads.iter().find(|head| head.starts_with(start)).unwrap();
    for commit in [
        find("PUT /backups/prod/small"),
        find("POST /backups/prod/large?uploadId"),
    ] {
        assert!(commit.contains("\nif-none-match: *\r"), "{commit}");
    }
    for made in [
        find("PUT /backups/prod/small"),
        find("POST /backups/prod/large?uploads"),
    ] {
        assert!(
            made.contains("\nx-amz-storage-class: reduced_redundancy\r"),
            "{made}"
        );
        assert!(made.contains("\nx-amz-meta-lifeboat-upload: "), "{made}");
    }
    for body in [
        find("PUT /backups/prod/small"),
        find("PUT /backups/prod/large?"),
    ] {
        assert!(body.contains("\nx-amz-checksum-crc32c: "), "{body}");
        assert!(
            body.contains("\nx-amz-content-sha256: unsigned-payload\r"),
            "{body}"
        );
        assert!(body.contains("\ncontent-length: "), "{body}");
    }
    for head in &heads {
        for unwanted in [
            "aws-chunked",
            "x-amz-trailer",
            "transfer-encoding",
            "expect:",
        ] {
            assert!(!head.contains(unwanted), "{unwanted} in {head}");
        }
    }
    assert_eq!(heads.len(), 1 + 4, "{heads:#?}");

    let proxy = HeadProxy::start(&server.endpoint, |_| None);
    let store = open(&proxy.endpoint(), &server, json!({ "checksum": "off" })).await;
    put(&store, "unsummed", "x").await.unwrap();
    store
        .put("unsummed-large", chunked(&pattern(PART + 1), 300_000))
        .await
        .unwrap();
    for head in proxy.heads() {
        assert!(
            !head.contains("checksum") && !head.contains("unsigned-payload"),
            "{head}"
        );
    }
}

#[tokio::test]
#[ignore = "needs MinIO"]
async fn limits_bound_the_parts_of_a_body_of_unknown_length() {
    let server = server(S3Kind::Minio);
    let limits = S3Limits {
        parts: 3,
        ..short()
    };
    let config = config(&server.endpoint, &server, json!({}));
    let store = S3Store::open_with(&config, &Env::default(), limits)
        .await
        .unwrap();
    store
        .put("fits", chunked(&pattern(3 * PART), 1 << 20))
        .await
        .unwrap();
    let error = store
        .put("long", chunked(&pattern(3 * PART + 1), 1 << 20))
        .await
        .unwrap_err();
    assert!(error.why.contains("3 parts of 5 MiB"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("part_size")));
    assert_eq!(leftovers(&server), Vec::<String>::new());
}

/// Runs itself again in an environment of its own: the AWS chain looks at the process's.
#[tokio::test]
async fn a_run_without_credentials_ends_soon() {
    const INNER: &str = "LIFEBOAT_TEST_WITHOUT_CREDENTIALS";
    if std::env::var_os(INNER).is_none() {
        // Takes connections and never answers, as metadata addresses do in some networks.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", silent.local_addr().unwrap());
        let home = tempfile::tempdir().unwrap();
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "s3_store::a_run_without_credentials_ends_soon",
                "--nocapture",
            ])
            .env_clear()
            .env(INNER, "1")
            .env("HOME", home.path())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&inner.stdout) + String::from_utf8_lossy(&inner.stderr);
        assert!(
            inner.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let limits = S3Limits {
        credentials: Duration::from_secs(2),
        ..short()
    };
    let begin = Instant::now();
    let config = json!({ "bucket": "b", "endpoint": "http://127.0.0.1:1" });
    let config = serde_json::from_value(config).unwrap();
    let store = S3Store::open_with(&config, &Env::default(), limits)
        .await
        .unwrap();
    let error = put(&store, "a", "x").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.why.contains("no credentials found"), "{error}");
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("AWS_ACCESS_KEY_ID"))
    );

    let config = serde_json::from_value(json!({ "bucket": "b" })).unwrap();
    let error = S3Store::open_with(&config, &Env::default(), limits)
        .await
        .unwrap_err();
    assert!(error.why.contains("no region"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
}
