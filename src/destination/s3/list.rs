use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::bucket::{Bucket, Watch};
use super::error::Failure;
use super::store::timestamp;
use crate::destination::{Depth, Listing, Object, StoreError, StoreErrorKind};

/// What S3 answers at most in one page.
const PAGE: usize = 1000;

/// Lists everything below `prefix`, page by page; a list that does not come to its proper end is
/// an error.
pub(super) async fn list(
    bucket: &Bucket,
    prefix: &str,
    depth: Depth,
) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut token: Option<String> = None;
    loop {
        let watch = Watch::default();
        let page = bucket
            .client
            .list_objects_v2()
            .bucket(&bucket.name)
            .prefix(bucket.full(prefix))
            .set_delimiter((depth == Depth::Children).then(|| "/".to_owned()))
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.clone())
            .customize()
            .interceptor(watch.clone())
            .send()
            .await
            .map_err(|error| {
                bucket.explain("list", prefix, "s3:ListBucket", &Failure::from(error))
            })?;
        listing.store_time = watch.store_time().or(listing.store_time);
        take(bucket, prefix, &page, &mut listing)?;
        match next_token(&page, token.as_deref()) {
            Ok(None) => break,
            Ok(next) => token = next,
            Err(why) => {
                return Err(StoreError::new(
                    StoreErrorKind::Damaged,
                    "list",
                    prefix,
                    why,
                ));
            }
        }
    }
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    listing.objects.dedup_by(|a, b| a.key == b.key);
    listing.folders.sort();
    listing.folders.dedup();
    Ok(listing)
}

fn take(
    bucket: &Bucket,
    prefix: &str,
    page: &ListObjectsV2Output,
    listing: &mut Listing,
) -> Result<(), StoreError> {
    let damaged = |why: String| StoreError::new(StoreErrorKind::Damaged, "list", prefix, why);
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let key = |raw: Option<&str>| {
        let raw = raw.ok_or_else(|| damaged("the store named an object without a key".into()))?;
        let full = if encoded {
            decode(raw)
        } else {
            Some(raw.to_owned())
        };
        let full = full.ok_or_else(|| damaged(format!("the key `{raw}` is not UTF-8")))?;
        match full.strip_prefix(&bucket.prefix) {
            Some(key) if key.starts_with(prefix) => Ok(key.to_owned()),
            _ => Err(damaged(format!(
                "the store answered with `{full}`, which was not asked for"
            ))),
        }
    };
    for object in page.contents() {
        let key = key(object.key())?;
        // Consoles mark folders with empty objects of this form.
        if key.is_empty() || key.ends_with('/') {
            continue;
        }
        let bytes = object.size().and_then(|size| u64::try_from(size).ok());
        let bytes = bytes.ok_or_else(|| damaged(format!("the store gave no size for `{key}`")))?;
        let modified = object.last_modified().and_then(timestamp);
        listing.objects.push(Object {
            key,
            bytes,
            modified,
        });
    }
    for folder in page.common_prefixes() {
        listing.folders.push(key(folder.prefix())?);
    }
    Ok(())
}

/// The token of the next page; `None` at the end of the list.
fn next_token(page: &ListObjectsV2Output, current: Option<&str>) -> Result<Option<String>, String> {
    let next = page
        .next_continuation_token()
        .filter(|token| !token.is_empty());
    let full = page.contents().len() + page.common_prefixes().len() >= PAGE;
    match (page.is_truncated(), next) {
        (Some(true) | None, Some(next)) if Some(next) != current => Ok(Some(next.to_owned())),
        (Some(true), Some(_)) => {
            Err("the list came back short: the store gave the same page again".into())
        }
        (Some(true), None) => {
            Err("the list came back short: the store says there is more, and not where".into())
        }
        (None, _) if full => {
            Err("the list came back short: the store does not say where it ends".into())
        }
        (Some(false) | None, _) => Ok(None),
    }
}

/// A key in the form encoding, in which a space is a plus sign.
fn decode(raw: &str) -> Option<String> {
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_form_encoding_are_decoded() {
        assert_eq!(decode("a+b%2Bc%20d/%C3%BC").as_deref(), Some("a b+c d/ü"));
        assert_eq!(decode("%ff"), None);
    }
}
