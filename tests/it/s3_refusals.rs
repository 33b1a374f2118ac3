//! Stores that refuse headers Lifeboat would like to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lifeboat::destination::Store;
use lifeboat::destination::StoreErrorKind;
use serde_json::json;

use crate::s3_double::HeadProxy;
use crate::s3_store::{BUCKET, PART, leftovers, open, server};
use crate::store_conformance::{chunked, pattern, put, read};
use crate::support::S3Kind;

fn error(code: &str, message: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

/// Refuses requests that have `header` with these answers; counts them.
fn refusing(
    header: &'static str,
    code: u16,
    body: String,
) -> (
    Arc<AtomicUsize>,
    impl Fn(&str) -> Option<(u16, String)> + Send + Sync,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let refused = count.clone();
    let answer = move |head: &str| {
        head.contains(header).then(|| {
            refused.fetch_add(1, Ordering::Relaxed);
            (code, body.clone())
        })
    };
    (count, answer)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_store_without_conditional_writes_is_asked_before_each_upload() {
    let server = server(S3Kind::Minio);
    for (at, (code, body)) in [
        (501, error("NotImplemented", "A header you provided implies functionality that is not implemented: If-None-Match")),
        (501, error("NotImplemented", "A header you provided implies functionality that is not implemented")),
        (400, error("InvalidArgument", "Unsupported header if-none-match")),
    ]
    .into_iter()
    .enumerate()
    {
        let (count, answer) = refusing("\nif-none-match:", code, body);
        let proxy = HeadProxy::start(&server.endpoint, answer);
        let store = open(&proxy.endpoint(), &server, json!({})).await;
        let (small, large) = (format!("small-{at}"), format!("large-{at}"));
        put(&store, &small, "first").await.unwrap();
        let refused = count.load(Ordering::Relaxed);
        let bytes = pattern(PART + 1);
        store.put(&large, chunked(&bytes, 300_000)).await.unwrap();
        for body in [chunked(&pattern(5), 5), chunked(&pattern(PART + 1), 300_000)] {
            let again = store.put(&small, body).await.unwrap_err();
            assert_eq!(again.kind, StoreErrorKind::AlreadyExists, "{again}");
        }
        assert_eq!(count.load(Ordering::Relaxed), refused, "the refusal is remembered");
        assert_eq!(read(&store, &small).await.unwrap(), b"first");
        assert!(read(&store, &large).await.unwrap() == bytes);
        assert_eq!(leftovers(&server), Vec::<String>::new());
    }
    // A large upload may be the first to meet the refusal.
    let (_, answer) = refusing("\nif-none-match:", 501, error("NotImplemented", ""));
    let proxy = HeadProxy::start(&server.endpoint, answer);
    let store = open(&proxy.endpoint(), &server, json!({})).await;
    store
        .put("large-first", chunked(&pattern(PART + 1), 300_000))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_store_without_checksums_is_sent_none() {
    let server = server(S3Kind::Minio);
    for (at, (header, code, body)) in [
        (
            "checksum",
            400,
            error("InvalidRequest", "unsupported header x-amz-checksum-crc32c"),
        ),
        ("checksum", 501, error("NotImplemented", "")),
        ("checksum", 400, error("InvalidArgument", "")),
        (
            "unsigned-payload",
            400,
            error(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match",
            ),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for first in ["small", "large"] {
            let (count, answer) = refusing(header, code, body.clone());
            let proxy = HeadProxy::start(&server.endpoint, answer);
            let store = open(&proxy.endpoint(), &server, json!({})).await;
            let (small, large) = (format!("{first}-{at}-small"), format!("{first}-{at}-large"));
            let bytes = pattern(6 * PART + 1);
            if first == "small" {
                put(&store, &small, "x").await.unwrap();
                assert_eq!(count.load(Ordering::Relaxed), 1);
            }
            store.put(&large, chunked(&bytes, 300_000)).await.unwrap();
            let refused = count.load(Ordering::Relaxed);
            assert!(
                refused <= 4,
                "each part in flight may learn it once: {refused}"
            );
            put(&store, &format!("{small}-2"), "x").await.unwrap();
            assert_eq!(
                count.load(Ordering::Relaxed),
                refused,
                "the refusal is remembered"
            );
            assert!(read(&store, &large).await.unwrap() == bytes);

            // Create-only still holds: only the checksum was given up.
            let again = put(&store, &format!("{small}-2"), "y").await.unwrap_err();
            assert_eq!(again.kind, StoreErrorKind::AlreadyExists);
            let last = proxy
                .heads()
                .into_iter()
                .rfind(|head| head.starts_with("PUT"))
                .unwrap();
            assert!(last.contains("\nif-none-match: *"), "{last}");
        }
        let (_, answer) = refusing(header, code, body);
        let proxy = HeadProxy::start(&server.endpoint, answer);
        let store = open(
            &proxy.endpoint(),
            &server,
            json!({ "checksum": "required" }),
        )
        .await;
        for length in [1, PART + 1] {
            let key = format!("required-{at}-{length}");
            let outcome = store.put(&key, chunked(&pattern(length), 300_000)).await;
            if header == "unsigned-payload" {
                // Signing the body costs time and no checksum.
                outcome.unwrap();
            } else {
                let hint = outcome.unwrap_err().hint.unwrap_or_default();
                assert!(hint.contains("checksum"), "{hint}");
                let head = store.head(&key).await;
                assert_eq!(head.unwrap_err().kind, StoreErrorKind::NotFound);
            }
        }
    }
    assert_eq!(leftovers(&server), Vec::<String>::new());
    assert!(!server.objects(BUCKET, "").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn other_refusals_are_not_taken_for_a_missing_feature() {
    let server = server(S3Kind::Minio);
    for code in [
        "EntityTooLarge",
        "KeyTooLongError",
        "BadDigest",
        "InvalidStorageClass",
    ] {
        let (count, answer) = refusing("PUT ", 400, error(code, "no"));
        let proxy = HeadProxy::start(&server.endpoint, answer);
        let store = open(&proxy.endpoint(), &server, json!({})).await;
        put(&store, "a", "x").await.unwrap_err();
        assert_eq!(count.load(Ordering::Relaxed), 1, "{code}");
    }
}
