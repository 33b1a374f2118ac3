//! What every store promises, as functions over any [`Store`]. A new store is one more row below.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::{BoxFuture, join_all};
use lifeboat::destination::local::LocalStore;
use lifeboat::destination::{Body, BrokenOff, Depth, Store, StoreError, StoreErrorKind, Stored};

/// A store under test, and what the suite needs to know of it.
pub struct Subject {
    pub store: Arc<dyn Store>,
    /// Size of a part of its large uploads, or anything where it has none.
    pub part: usize,
    /// Objects to list; more than a page where the store has pages.
    pub many: usize,
    /// Half-made objects in the store, by any name; must be none after a failed put.
    pub leftovers: Box<dyn Fn() -> BoxFuture<'static, Vec<String>> + Send + Sync>,
}

/// Runs the whole suite.
pub async fn conforms(subject: &Subject) {
    let store = &*subject.store;
    what_was_put_comes_back(store).await;
    an_empty_object_is_an_object(store).await;
    bodies_around_the_part_size_come_back(store, subject.part).await;
    create_only_never_replaces(store, subject.part).await;
    one_of_many_concurrent_creates_wins(subject, 1000).await;
    one_of_many_concurrent_creates_wins(subject, subject.part + 1).await;
    a_body_broken_off_leaves_nothing(subject).await;
    a_dropped_put_leaves_nothing(subject).await;
    ranges_are_exact(store, subject.part).await;
    what_is_missing_is_not_found(store).await;
    delete_is_idempotent(store).await;
    odd_keys_survive(store).await;
    children_are_objects_and_folders(store).await;
    a_prefix_ends_at_its_slash(store).await;
    a_list_has_every_object(store, subject.many).await;
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Bytes {
    const BLOCK: usize = 1 << 20;
    static BLOCKS: LazyLock<Bytes> = LazyLock::new(|| {
        let mut state = 0x9e37_79b9_u32;
        let mut block: Vec<u8> = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            block.extend(state.to_le_bytes());
        }
        let mut blocks = Vec::with_capacity(64 * BLOCK);
        for number in 0..64 {
            block[..8].copy_from_slice(&u64::to_le_bytes(number));
            blocks.extend_from_slice(&block);
        }
        blocks.into()
    });
    BLOCKS.slice(..length)
}

/// A body in chunks, without a known size.
pub fn chunked(bytes: &Bytes, chunk: usize) -> Body {
    let chunks: Vec<_> = (0..bytes.len().div_ceil(chunk))
        .map(|at| Ok(bytes.slice(at * chunk..bytes.len().min((at + 1) * chunk))))
        .collect();
    Body::from_stream(futures_util::stream::iter(chunks), None)
}

pub async fn put(
    store: &dyn Store,
    key: &str,
    bytes: impl Into<Bytes>,
) -> Result<Stored, StoreError> {
    store.put(key, Body::from(bytes.into())).await
}

pub async fn read(store: &dyn Store, key: &str) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<Bytes> = store.get(key, None).await?.try_collect().await?;
    Ok(chunks.concat())
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let listing = store
        .list(prefix, Depth::All)
        .await
        .expect("the store can be listed");
    listing
        .objects
        .into_iter()
        .map(|object| object.key)
        .collect()
}

async fn assert_absent(subject: &Subject, key: &str) {
    let head = subject.store.head(key).await;
    assert_eq!(
        head.map_err(|error| error.kind),
        Err(StoreErrorKind::NotFound),
        "{key}"
    );
    let folder = key
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    assert_eq!(keys(&*subject.store, &folder).await, Vec::<String>::new());
    assert_eq!((subject.leftovers)().await, Vec::<String>::new());
}

pub async fn what_was_put_comes_back(store: &dyn Store) {
    let stored = put(store, "back/a", "hello").await.unwrap();
    assert_eq!(stored.bytes, 5);
    assert_eq!(read(store, "back/a").await.unwrap(), b"hello");
    let head = store.head("back/a").await.unwrap();
    assert_eq!((&*head.key, head.bytes), ("back/a", 5));
    let listing = store.list("back/", Depth::All).await.unwrap();
    assert_eq!(listing.objects.len(), 1);
    assert_eq!(
        (&*listing.objects[0].key, listing.objects[0].bytes),
        ("back/a", 5)
    );
    let now = lifeboat::clock::now();
    let near = |time| lifeboat::clock::since(time, now).as_secs() < 60;
    assert!(
        listing.store_time.is_some_and(near),
        "{:?}",
        listing.store_time
    );
    assert!(
        listing.objects[0].modified.is_some_and(near),
        "{:?}",
        listing.objects[0].modified
    );
    assert!(head.modified.is_some_and(near), "{:?}", head.modified);
}

pub async fn an_empty_object_is_an_object(store: &dyn Store) {
    let stored = put(store, "empty/none", "").await.unwrap();
    assert_eq!(stored.bytes, 0);
    assert_eq!(store.head("empty/none").await.unwrap().bytes, 0);
    assert_eq!(read(store, "empty/none").await.unwrap(), b"");
    let nothing = Body::from_stream(futures_util::stream::empty(), None);
    assert_eq!(store.put("empty/stream", nothing).await.unwrap().bytes, 0);
    assert_eq!(keys(store, "empty/").await, ["empty/none", "empty/stream"]);
}

pub async fn bodies_around_the_part_size_come_back(store: &dyn Store, part: usize) {
    for length in [part - 1, part, part + 1, 2 * part, 3 * part + 17] {
        let bytes = pattern(length);
        let key = format!("parts/{length}");
        let stored = store.put(&key, chunked(&bytes, 300_000)).await.unwrap();
        assert_eq!(stored.bytes, length as u64);
        assert_eq!(store.head(&key).await.unwrap().bytes, length as u64);
        assert!(
            read(store, &key).await.unwrap() == bytes,
            "{length} bytes came back changed"
        );
    }
}

pub async fn create_only_never_replaces(store: &dyn Store, part: usize) {
    put(store, "once/small", "first").await.unwrap();
    for (length, body) in [(1, "small"), (part + 1, "large")] {
        let again = store
            .put("once/small", chunked(&pattern(length), 300_000))
            .await;
        let kind = again.map_err(|error| error.kind);
        assert_eq!(kind, Err(StoreErrorKind::AlreadyExists), "{body}");
        assert_eq!(read(store, "once/small").await.unwrap(), b"first");
    }
}

pub async fn one_of_many_concurrent_creates_wins(subject: &Subject, length: usize) {
    let key = format!("race/{length}");
    let bodies: Vec<Bytes> = (0..4_u8)
        .map(|writer| {
            let mut bytes = pattern(length).to_vec();
            bytes[0] = writer;
            Bytes::from(bytes)
        })
        .collect();
    let puts = bodies
        .iter()
        .map(|bytes| put(&*subject.store, &key, bytes.clone()));
    let outcomes = join_all(puts).await;
    let winners: Vec<_> = (0..4).filter(|&writer| outcomes[writer].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    }
    let stored = read(&*subject.store, &key).await.unwrap();
    assert!(
        stored == bodies[winners[0]],
        "the winner's bytes are not there"
    );
    assert_eq!((subject.leftovers)().await, Vec::<String>::new());
}

pub async fn a_body_broken_off_leaves_nothing(subject: &Subject) {
    for chunks in [0, 1, 2 * subject.part / 300_000, 6 * subject.part / 300_000] {
        let chunk = pattern(300_000);
        let good = (0..chunks).map(move |_| Ok(chunk.clone()));
        let bad = [Err(BrokenOff("the dump is damaged".into()))];
        let body = Body::from_stream(futures_util::stream::iter(good.chain(bad)), None);
        let error = subject.store.put("broken/off", body).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::BrokenOff);
        assert_eq!(error.why, "the dump is damaged");
        assert_absent(subject, "broken/off").await;

        let (sender, body) = Body::channel(1, None);
        let feed = async {
            for _ in 0..chunks {
                sender
                    .send(pattern(300_000))
                    .await
                    .expect("the store reads on");
            }
            drop(sender);
        };
        let (outcome, ()) = tokio::join!(subject.store.put("broken/sender", body), feed);
        assert_eq!(
            outcome.map_err(|error| error.kind),
            Err(StoreErrorKind::BrokenOff)
        );
        assert_absent(subject, "broken/sender").await;
    }
}

pub async fn a_dropped_put_leaves_nothing(subject: &Subject) {
    for chunks in [1, 4 * subject.part / 300_000] {
        let (sender, body) = Body::channel(1, None);
        {
            let put = subject.store.put("dropped/put", body);
            let feed = async {
                for _ in 0..chunks {
                    sender
                        .send(pattern(300_000))
                        .await
                        .expect("the store reads on");
                }
            };
            tokio::select! {
                outcome = put => panic!("the put cannot have ended: {outcome:?}"),
                () = feed => {}
            }
        }
        assert!(lifeboat::destination::settled(Duration::from_mins(1)).await);
        let begin = Instant::now();
        // A blocking thread may still be at it.
        while !(subject.leftovers)().await.is_empty() && begin.elapsed().as_secs() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_absent(subject, "dropped/put").await;
    }
}

pub async fn ranges_are_exact(store: &dyn Store, part: usize) {
    let bytes = pattern(part + 100);
    put(store, "range/a", bytes.clone()).await.unwrap();
    let length = bytes.len() as u64;
    for range in [
        0..1,
        0..length,
        5..10,
        length - 1..length,
        7..7,
        part as u64 - 1..length,
    ] {
        let chunks = store.get("range/a", Some(range.clone())).await.unwrap();
        let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
        let here = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(chunks.concat() == bytes[here], "{range:?} came back wrong");
    }
    for range in [length..length + 1, 0..length + 1] {
        let got = match store.get("range/a", Some(range.clone())).await {
            Ok(chunks) => chunks.try_collect::<Vec<Bytes>>().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(chunks) => assert!(chunks.concat().len() as u64 <= length, "{range:?}"),
            Err(error) => assert_eq!(error.kind, StoreErrorKind::Damaged, "{range:?}: {error}"),
        }
    }
}

pub async fn what_is_missing_is_not_found(store: &dyn Store) {
    let head = store.head("missing/key").await;
    assert_eq!(
        head.map_err(|error| error.kind),
        Err(StoreErrorKind::NotFound)
    );
    for range in [None, Some(0..10)] {
        let get = store.get("missing/key", range).await;
        assert_eq!(
            get.err().map(|error| error.kind),
            Some(StoreErrorKind::NotFound)
        );
    }
    for depth in [Depth::All, Depth::Children] {
        let listing = store.list("missing/", depth).await.unwrap();
        assert!(
            listing.objects.is_empty() && listing.folders.is_empty(),
            "{listing:?}"
        );
        assert!(listing.store_time.is_some());
    }
}

pub async fn delete_is_idempotent(store: &dyn Store) {
    put(store, "delete/a", "x").await.unwrap();
    put(store, "delete/ab", "x").await.unwrap();
    for _ in 0..2 {
        store.delete("delete/a").await.unwrap();
        assert_eq!(keys(store, "delete/").await, ["delete/ab"]);
    }
    store.delete("never/was").await.unwrap();
    put(store, "delete/a", "again").await.unwrap();
    assert_eq!(read(store, "delete/a").await.unwrap(), b"again");
}

pub async fn odd_keys_survive(store: &dyn Store) {
    let odd = [
        "odd/a b",
        "odd/a+b",
        "odd/a%20b",
        "odd/a%2Bb",
        "odd/ünïcødé",
        "odd/日本",
        "odd/a&b=c?d#e",
        "odd/it's",
        "odd/\"quoted\"",
        "odd/a;b,c",
        "odd/<tag>",
        "odd/~!@$^*()",
        "odd/x..y",
    ];
    for key in odd {
        put(store, key, key.as_bytes().to_vec())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let listed: BTreeSet<_> = keys(store, "odd/").await.into_iter().collect();
    assert_eq!(listed, odd.iter().map(|&key| key.to_owned()).collect());
    for key in odd {
        assert_eq!(read(store, key).await.unwrap(), key.as_bytes());
        assert_eq!(store.head(key).await.unwrap().key, key);
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store, "odd/").await, Vec::<String>::new());
}

pub async fn children_are_objects_and_folders(store: &dyn Store) {
    for key in ["tree/a", "tree/b/c", "tree/b/d", "tree/b/e/f", "tree/z z/g"] {
        put(store, key, "x").await.unwrap();
    }
    let listing = store.list("tree/", Depth::Children).await.unwrap();
    let objects: Vec<_> = listing.objects.iter().map(|object| &*object.key).collect();
    assert_eq!(objects, ["tree/a"]);
    assert_eq!(listing.folders, ["tree/b/", "tree/z z/"]);
    assert_eq!(
        keys(store, "tree/").await,
        ["tree/a", "tree/b/c", "tree/b/d", "tree/b/e/f", "tree/z z/g"]
    );
    let root = store.list("", Depth::Children).await.unwrap();
    assert!(root.folders.contains(&"tree/".to_owned()), "{root:?}");
    assert!(root.objects.is_empty(), "{root:?}");
}

pub async fn a_prefix_ends_at_its_slash(store: &dyn Store) {
    for key in [
        "redis-1/data/x",
        "redis-10/data/x",
        "redis-1x",
        "redis-1/manifests/x",
    ] {
        put(store, key, "x").await.unwrap();
    }
    assert_eq!(
        keys(store, "redis-1/").await,
        ["redis-1/data/x", "redis-1/manifests/x"]
    );
    assert_eq!(keys(store, "redis-10/").await, ["redis-10/data/x"]);
    let children = store.list("redis-1/", Depth::Children).await.unwrap();
    assert_eq!(children.folders, ["redis-1/data/", "redis-1/manifests/"]);
    store.delete("redis-1x").await.unwrap();
}

pub async fn a_list_has_every_object(store: &dyn Store, many: usize) {
    let expected: Vec<_> = (0..many).map(|n| format!("many/{n:05}/x")).collect();
    for some in expected.chunks(20) {
        for stored in join_all(some.iter().map(|key| put(store, key, "x"))).await {
            stored.unwrap();
        }
    }
    assert_eq!(keys(store, "many/").await, expected);
    let children = store.list("many/", Depth::Children).await.unwrap();
    assert_eq!(children.folders.len(), many);
    assert!(children.objects.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let subject = Subject {
        store: Arc::new(LocalStore::new(&root)),
        part: 5 << 20,
        many: 300,
        leftovers: Box::new(move || {
            let root = root.clone();
            Box::pin(async move { hidden_files(&root) })
        }),
    };
    conforms(&subject).await;
}

/// The names of files whose name begins with a dot, in all folders.
fn hidden_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(hidden_files(&entry.path()));
        } else if name.starts_with('.') {
            found.push(name);
        }
    }
    found
}
