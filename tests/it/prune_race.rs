//! Two processes that prune one series at the same moment.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use lifeboat::destination::local::LocalStore;
use lifeboat::destination::{
    Body, ByteStream, Depth, Destination, Listing, ManualFetch, Object, Store, StoreError, Stored,
};
use lifeboat::pipeline::prune;
use lifeboat::retention::Policy;

use super::program::{Home, add_rows, names, open_existing};

/// A store whose second list of manifests shows one more, that is gone when it is read.
#[derive(Debug)]
struct Haunted {
    inner: LocalStore,
    lists: AtomicUsize,
}

#[async_trait]
impl Store for Haunted {
    async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError> {
        self.inner.put(key, body).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<Object, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(prefix, depth).await?;
        let again = prefix == "app/manifests/" && self.lists.fetch_add(1, Ordering::Relaxed) == 1;
        if let (true, Some(one)) = (again, listing.objects.first().cloned()) {
            let key = "app/manifests/20200101T000000Z-abcdef.json".into();
            listing.objects.insert(0, Object { key, ..one });
        }
        Ok(listing)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

#[tokio::test]
async fn a_manifest_that_another_process_pruned_since_the_list_stops_nothing() {
    let home = Home::with_app();
    for _ in 0..3 {
        add_rows(&open_existing(&home.path("app.db")), 1);
        home.backup();
    }
    let store = Haunted {
        inner: LocalStore::new(&home.store()),
        lists: AtomicUsize::new(0),
    };
    let destination = Destination::new("store", "store", ManualFetch::default(), Arc::new(store));
    let policy = Policy {
        keep_last: Some(1),
        keep_min: Some(1),
        ..Policy::default()
    };
    let planned = prune::plan(&destination, "app", &policy, &TimeZone::UTC)
        .await
        .unwrap();
    assert_eq!(
        planned
            .execute()
            .await
            .map_err(|(_, error)| error.to_string()),
        Ok(2)
    );
    assert_eq!(names(&home.store()).len(), 2);
}
