use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::bucket::{Bucket, written};
use super::error::Failure;
use super::rpc::{ListObjects, Page};
use crate::destination::{Depth, Listing, Object, StoreError, StoreErrorKind};

const LENGTH: i32 = 1000;

/// Lists everything below `prefix`, page by page; a list that does not come to its proper end is
/// an error.
pub(super) async fn list(
    bucket: &Bucket,
    prefix: &str,
    depth: Depth,
) -> Result<Listing, StoreError> {
    let clock = async { Ok(clock(bucket).await) };
    let (mut listing, store_time) = tokio::try_join!(pages(bucket, prefix, depth), clock)?;
    listing.store_time = store_time;
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    listing.objects.dedup_by(|a, b| a.key == b.key);
    listing.folders.sort();
    listing.folders.dedup();
    Ok(listing)
}

async fn pages(bucket: &Bucket, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut token = String::new();
    loop {
        let page = bucket.ask(ListObjects {
            parent: bucket.resource(),
            page_size: LENGTH,
            page_token: token.clone(),
            delimiter: match depth {
                Depth::Children => "/".to_owned(),
                Depth::All => String::new(),
            },
            prefix: bucket.full(prefix),
        });
        let page = page
            .await
            .map_err(|failure| bucket.explain("list", prefix, "storage.objects.list", &failure))?;
        take(bucket, prefix, &page, &mut listing)?;
        match page.next_page_token {
            next if next.is_empty() => return Ok(listing),
            next if next == token => {
                let why = "the list came back short: the store gave the same page again";
                let kind = StoreErrorKind::Damaged;
                return Err(StoreError::new(kind, "list", prefix, why));
            }
            next => token = next,
        }
    }
}

fn take(
    bucket: &Bucket,
    prefix: &str,
    page: &Page,
    listing: &mut Listing,
) -> Result<(), StoreError> {
    let damaged = |why: String| StoreError::new(StoreErrorKind::Damaged, "list", prefix, why);
    let key = |full: &str| match full.strip_prefix(&bucket.prefix) {
        Some(key) if key.starts_with(prefix) => Ok(key.to_owned()),
        _ => Err(damaged(format!(
            "the store answered with `{full}`, which was not asked for"
        ))),
    };
    for object in &page.objects {
        let key = key(&object.name)?;
        // Consoles mark folders with empty objects of this form.
        if key.is_empty() || key.ends_with('/') {
            continue;
        }
        let bytes = u64::try_from(object.size)
            .map_err(|_| damaged(format!("the store gave no size for `{key}`")))?;
        let modified = written(object);
        listing.objects.push(Object {
            key,
            bytes,
            modified,
        });
    }
    for folder in &page.prefixes {
        listing.folders.push(key(folder)?);
    }
    Ok(())
}

/// The store's clock, by the date of any answer over HTTP: the official client does not show the
/// headers of a success. Needs no rights and no credentials.
async fn clock(bucket: &Bucket) -> Option<Timestamp> {
    let ask = async {
        let client = bucket.clients.http()?;
        let answer = client
            .head(format!("{}/", bucket.clients.endpoint()))
            .send();
        Ok::<_, Failure>(answer.await?)
    };
    let answer = tokio::time::timeout(bucket.clients.clock_limit(), ask).await;
    let answer = answer.ok()?.ok()?;
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    rfc2822::parse(date).ok().map(|date| date.timestamp())
}
