//! Objects in a destination that Lifeboat did not write: counted for people, and left alone.

use std::time::Duration;

use super::check::SCRATCH;
use crate::destination::{Depth, Destination, StoreError};
use crate::manifest::{data_prefix, id_in_key, index_prefix, manifest_prefix};
use crate::source::Finding;

/// A bucket may hold millions of objects, and nobody waits for them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks beside the series of a destination, and into those given, for objects that are not named
/// as ours are. Nothing where there is none, or where the destination cannot be listed, which
/// others report.
pub async fn strangers(destination: &Destination, series: &[String]) -> Option<Finding> {
    let finding = |detail| Finding::fine("foreign objects", detail);
    let found = match tokio::time::timeout(PATIENCE, list(destination, series)).await {
        Ok(found) => found.ok()?,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            return Some(finding(format!(
                "not counted: the list takes over {seconds} s"
            )));
        }
    };
    let example = found.first()?;
    let objects = match found.len() {
        1 => "1 object".to_owned(),
        n => format!("{n} objects"),
    };
    Some(finding(format!(
        "{objects} that Lifeboat did not write, such as {example}: left alone"
    )))
}

async fn list(destination: &Destination, series: &[String]) -> Result<Vec<String>, StoreError> {
    let top = destination.list("", Depth::Children).await?;
    let mut found: Vec<String> = top.objects.into_iter().map(|object| object.key).collect();
    for series in series {
        let inside = destination.list(&format!("{series}/"), Depth::All).await?;
        let keys = inside.objects.into_iter().map(|object| object.key);
        found.extend(keys.filter(|key| !is_ours(series, key)));
    }
    found.retain(|key| !key.starts_with(SCRATCH));
    Ok(found)
}

fn is_ours(series: &str, key: &str) -> bool {
    let folders = [
        manifest_prefix(series),
        data_prefix(series),
        index_prefix(series),
    ];
    let own = |folder: &String| {
        key.strip_prefix(folder)
            .is_some_and(|name| !name.contains('/'))
    };
    folders.iter().any(own) && id_in_key(key).is_some()
}
