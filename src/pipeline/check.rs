//! Self-test of a destination: rights, create-only writes and clock, proved with a scratch object.

use crate::clock;
use crate::destination::{Depth, Destination, StoreError, StoreErrorKind};
use crate::source::{Finding, Severity};
use crate::value::format_age;

/// The folder of scratch objects; no series can be called that.
pub(super) const SCRATCH: &str = ".lifeboat-check/";

/// Writes, lists, reads and deletes a scratch object, and says what the store honours.
pub async fn destination(destination: &Destination) -> Vec<Finding> {
    let key = format!("{SCRATCH}{:016x}", rand::random::<u64>());
    let mut findings = Vec::new();
    if let Err(error) = destination.put_small(&key, key.clone()).await {
        findings.push(failed("write", &error));
        // What can be listed is worth knowing all the same.
        findings.push(list(destination).await);
        return findings;
    }
    findings.push(Finding::fine("write", "a scratch object was created"));
    findings.push(create_only(destination, &key).await);
    findings.push(list(destination).await);
    findings.push(match destination.read_small(&key, 1024).await {
        Ok(bytes) if bytes == key.as_bytes() => {
            Finding::fine("read", "it came back as it was written")
        }
        Ok(_) => Finding::problem(
            "read",
            Severity::Failed,
            "it came back different from what was written",
        ),
        Err(error) => failed("read", &error),
    });
    findings.push(match destination.delete(&key).await {
        Ok(()) => match destination.head(&key).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Finding::fine("delete", "it is gone")
            }
            _ => Finding::problem(
                "delete",
                Severity::Warning,
                "it is still there after it was deleted",
            )
            .hinted("retention cannot make room here"),
        },
        Err(error) => Finding {
            problem: Some(Severity::Warning),
            ..failed("delete", &error)
        }
        .hinted("backups work; retention cannot make room here"),
    });
    findings
}

async fn create_only(destination: &Destination, key: &str) -> Finding {
    match destination.put_small(key, "second").await {
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            Finding::fine("create-only", "a second write of the same key was refused")
        }
        Ok(_) => Finding::problem(
            "create-only",
            Severity::Warning,
            "a second write replaced the object",
        )
        .hinted("ids are unique all the same; do not share one series between writers here"),
        Err(error) => failed("create-only", &error),
    }
}

async fn list(destination: &Destination) -> Finding {
    match destination.list(SCRATCH, Depth::Children).await {
        Err(error) => failed("list", &error),
        Ok(listing) => {
            match listing.store_time {
                None => Finding::fine("list", "listed; the store does not tell its time"),
                Some(store) => {
                    let now = clock::now();
                    let (ahead, behind) = (clock::since(now, store), clock::since(store, now));
                    let apart = ahead.max(behind);
                    let side = if ahead > behind { "ahead" } else { "behind" };
                    if apart > clock::TOLERANCE {
                        Finding::problem(
                        "clock",
                        Severity::Failed,
                        format!("the store's clock is {} {side}", format_age(apart)),
                    )
                    .hinted("set the clock here; retention stops while they differ by more than 5 min")
                    } else {
                        Finding::fine(
                            "list",
                            format!("listed; clock within {}", format_age(apart)),
                        )
                    }
                }
            }
        }
    }
}

fn failed(name: &str, error: &StoreError) -> Finding {
    Finding {
        hint: error.hint.clone(),
        ..Finding::problem(name, Severity::Failed, error.at("").why)
    }
}
