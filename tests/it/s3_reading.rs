//! S3 when answers break off, lie or stand still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use lifeboat::destination::s3::{S3Limits, S3Store};
use lifeboat::destination::{Depth, Destination, ManualFetch, Store, StoreErrorKind};
use lifeboat::value::Env;
use serde_json::json;

use crate::s3_faults::{setup, status};
use crate::s3_store::{BUCKET, PART, config, short};
use crate::store_conformance::{put, read};
use crate::support::{Fault, Times};

fn is_get(method: &str, path: &str) -> bool {
    method == "GET" && path.contains("/prod/")
}

fn is_list(method: &str, path: &str) -> bool {
    method == "GET" && path.contains("list-type=2")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_download_that_breaks_is_taken_up_where_it_stopped() {
    let it = setup().await;
    let bytes = it.put_large("down").await.unwrap();
    let broken = it
        .proxy
        .inject(Times::First(3), Fault::CutResponseAfter(4 << 20), is_get);
    let length = bytes.len() as u64;
    let name = "test";
    let destination = Destination::new(name, name, ManualFetch::default(), Arc::new(it.store));
    let chunks: Vec<Bytes> = destination
        .read("down", length)
        .try_collect()
        .await
        .unwrap();
    assert!(chunks.concat() == bytes);
    assert_eq!(broken.fired(), 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_download_that_stands_still_is_given_up() {
    let it = setup().await;
    it.put_large("down").await.unwrap();
    it.proxy
        .inject(Times::Always, Fault::SlowBody { bytes_per_sec: 1 }, is_get);
    let begin = Instant::now();
    let limits = S3Limits {
        stall: Duration::from_millis(300),
        ..short()
    };
    let config = config(&it.proxy.endpoint(), &it.server, json!({}));
    let store = S3Store::open_with(&config, &Env::default(), limits)
        .await
        .unwrap();
    let mut chunks = store.get("down", None).await.unwrap();
    let error = loop {
        match chunks.next().await {
            Some(Ok(chunk)) => assert!(chunk.len() < PART),
            Some(Err(error)) => break error,
            None => panic!("it cannot end well"),
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    };
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_range_that_is_not_the_one_asked_for_is_damage() {
    let it = setup().await;
    put(&it.store, "a", "0123456789").await.unwrap();
    let range = |text: &str| Fault::StatusWithHeaders {
        code: 206,
        headers: vec![("content-range".into(), text.into())],
        body: "345".into(),
    };
    let whole = Fault::Status {
        code: 200,
        body: "0123456789".into(),
    };
    for fault in [
        whole,
        range("bytes 2-4/10"),
        range("bytes 3-4/10"),
        range("nonsense"),
    ] {
        it.proxy.clear();
        it.proxy.inject(Times::Always, fault, is_get);
        let error = it.store.get("a", Some(3..6)).await.err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    }
    it.proxy.clear();
    it.proxy
        .inject(Times::Always, range("bytes 3-5/10"), is_get);
    let chunks = it.store.get("a", Some(3..6)).await.unwrap();
    assert_eq!(
        chunks.try_collect::<Vec<Bytes>>().await.unwrap().concat(),
        b"345"
    );
    it.proxy.clear();
    assert_eq!(read(&it.store, "a").await.unwrap(), b"0123456789");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_list_that_fails_or_comes_back_short_is_an_error() {
    let it = setup().await;
    for n in 0..3 {
        put(&it.store, &format!("a/{n}"), "x").await.unwrap();
    }
    let page = |inner: &str| Fault::Status {
        code: 200,
        body: format!(
            "<ListBucketResult><EncodingType>url</EncodingType>{inner}</ListBucketResult>"
        ),
    };
    let object = "<Contents><Key>prod/a/0</Key><Size>1</Size></Contents>";
    let more = "<IsTruncated>true</IsTruncated>";
    let token = "<NextContinuationToken>t</NextContinuationToken>";
    let short = Fault::CutResponseAfter(100);
    let full = object.repeat(1000);
    for (fault, kind, reason) in [
        (
            status(403, "AccessDenied"),
            StoreErrorKind::Denied,
            "denies access",
        ),
        (
            status(500, "InternalError"),
            StoreErrorKind::Unreachable,
            "500 InternalError",
        ),
        (short, StoreErrorKind::Unreachable, "broke"),
        (
            page(&format!("{object}{more}")),
            StoreErrorKind::Damaged,
            "not where",
        ),
        (
            page(&format!("{object}{more}{token}")),
            StoreErrorKind::Damaged,
            "same page",
        ),
        (page(&full), StoreErrorKind::Damaged, "where it ends"),
        (
            page("<Contents><Key>other/a/0</Key><Size>1</Size></Contents>"),
            StoreErrorKind::Damaged,
            "not asked for",
        ),
        (
            page("<Contents><Key>prod/a/0</Key></Contents>"),
            StoreErrorKind::Damaged,
            "no size",
        ),
    ] {
        it.proxy.clear();
        it.proxy.inject(Times::Always, fault, is_list);
        let error = it.store.list("a/", Depth::All).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.why.contains(reason), "{reason}: {error}");
    }
    it.proxy.clear();
    assert_eq!(
        it.store.list("a/", Depth::All).await.unwrap().objects.len(),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn a_list_whose_second_page_fails_is_an_error() {
    let it = setup().await;
    for n in 0..1001 {
        it.server
            .put_object(BUCKET, &format!("prod/a/{n:04}"), b"x");
    }
    assert_eq!(
        it.store.list("a/", Depth::All).await.unwrap().objects.len(),
        1001
    );
    for fault in [status(403, "AccessDenied"), Fault::CutResponseAfter(60)] {
        it.proxy.clear();
        let second = it.proxy.inject(Times::Always, fault, |_, path| {
            path.contains("continuation-token=")
        });
        it.store.list("a/", Depth::All).await.unwrap_err();
        assert!(second.fired() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MinIO"]
async fn folder_marks_of_consoles_are_not_objects() {
    let it = setup().await;
    for key in ["prod/", "prod/a/", "prod/a/x", "prod/b/"] {
        it.server.put_object(BUCKET, key, b"");
    }
    let all = it.store.list("", Depth::All).await.unwrap();
    let keys: Vec<_> = all.objects.iter().map(|object| &*object.key).collect();
    assert_eq!(keys, ["a/x"]);
    let children = it.store.list("", Depth::Children).await.unwrap();
    assert_eq!(children.folders, ["a/", "b/"]);
    assert_eq!(children.objects, []);
}
