use std::time::Duration;

use jiff::Timestamp;

use super::config::RedisConfig;
use super::dump::{Dump, modified};
use super::probe::State;
use super::rdb::{Head, Text};
use super::words::count;
use crate::clock;
use crate::source::{Capture, Facts, Probe, Role, SourceError, SourceErrorKind};
use crate::value::format_age;

/// From this age on, a dump beside an append-only file is remarked on.
const OLD_BESIDE_AOF: Duration = Duration::from_hours(24);

pub(super) const SAVED_ELSEWHERE: &str = "the server has saved since, but not to this file: \
     are `data_dir` and `dump_filename` its `dir` and `dbfilename`?";

/// The dump as a capture, if it may be saved.
pub(super) fn capture(
    dump: Dump,
    config: &RedisConfig,
    before: &Probe,
) -> Result<Capture, SourceError> {
    let state = State::of(before);
    refuse_stale(&dump, config, before.role, &state)?;
    let warnings = warnings(&dump, before.role, &state);
    let facts = facts(&dump, &state);
    let marks = ["ctime", "crc64"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), facts.get(name)?.clone())))
        .collect();
    Ok(Capture {
        bytes: dump.bytes,
        captured_at: dump.opened_at,
        version: before.version.clone().or_else(|| written_by(&dump.head)),
        facts,
        checks: Vec::new(),
        summary: summary(&dump, before),
        warnings,
        marks: Some(marks),
        proved: None,
        scratch: None,
        file: dump.file,
    })
}

/// Whether the bytes that were read belong together: Redis replaces its dump and never writes
/// into it; other programs do.
pub(super) fn unchanged(capture: &Capture) -> Result<(), SourceError> {
    let metadata = capture.file.metadata().map_err(|error| {
        SourceError::new(
            SourceErrorKind::Changed,
            format!(
                "the dump cannot be looked at again: {}",
                crate::error::io_reason(&error)
            ),
        )
    })?;
    // The inode's own change time is no sign: it moves when the file is replaced.
    let same_time = capture
        .facts
        .get("mtime")
        .and_then(serde_json::Value::as_str)
        == Some(modified(&metadata).to_string().as_str());
    if metadata.len() == capture.bytes && same_time {
        return Ok(());
    }
    Err(SourceError::new(
        SourceErrorKind::Changed,
        "the dump was written in place while it was read",
    )
    .hint("Redis replaces its dump by rename: which other program writes this file?"))
}

/// Refuses a dump that is not what the server would call its data.
pub(super) fn refuse_stale(
    dump: &Dump,
    config: &RedisConfig,
    role: Role,
    state: &State,
) -> Result<(), SourceError> {
    let path = config.dump();
    if role == Role::Replica && is_foreign(&dump.head, state) {
        let why = format!(
            "{} belongs to another replication history than the one this replica follows",
            path.display()
        );
        return Err(SourceError::new(SourceErrorKind::Stale, why).hint(
            "the replica has synced since without saving (`repl-diskless-load`?): \
             let it save once, by a save point or BGSAVE",
        ));
    }
    let Some(max_age) = config.max_age else {
        return Ok(());
    };
    if dump.age() <= max_age.0 {
        return Ok(());
    }
    let since = match state.changes {
        Some(1) => "; Redis has 1 change since".to_owned(),
        Some(changes) => format!("; Redis has {} changes since", count(changes)),
        None => String::new(),
    };
    let why = format!(
        "{} was written {} ago, max_age is {max_age}{since}",
        path.display(),
        format_age(dump.age()),
    );
    Err(SourceError::new(SourceErrorKind::Stale, why)
        .hint("the server saves too seldom: set `save 300 1` or schedule BGSAVE"))
}

/// Whether the dump is from another replication history than the server's, as far as that can be
/// told: a replica that was synced past its disk keeps its old dump, with another data set in it.
fn is_foreign(head: &Head, state: &State) -> bool {
    let Some(replid) = state.replid.as_deref() else {
        return false;
    };
    let known = match head.aux.get("repl-id") {
        Some(Text::Plain(id)) => id == replid || Some(id) == state.replid2.as_ref(),
        Some(Text::Compressed) => true,
        None => false,
    };
    if known {
        return false;
    }
    // Two failovers without a save between them leave a good dump with a history that is no
    // longer named, for ever where nothing is written. A full sync forgets the previous history
    // and counts as a change; so no change since the dump was saved or loaded vouches for it,
    // unless the server started from its append-only file.
    let vouched =
        state.replid2.is_some() && state.changes == Some(0) && state.append_only == Some(false);
    !vouched
}

/// Whether the server has saved since, and not to this file. The end of a save may lie well behind
/// the last write to its file, where the disk is slow to sync.
pub(super) fn saved_elsewhere(dump: &Dump, state: &State) -> bool {
    const SYNC: Duration = Duration::from_mins(15);
    let saved = state.saves.is_some_and(|saves| saves > 0);
    let at = state
        .last_save
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    saved && at.is_some_and(|at| clock::since(dump.modified, at) > SYNC)
}

fn warnings(dump: &Dump, role: Role, state: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    let age = dump.age();
    if state.last_save_ok == Some(false) {
        warnings.push(format!(
            "the server's last save failed (see its log): this dump is {} old",
            format_age(age)
        ));
    }
    if state.append_only == Some(true) && age > OLD_BESIDE_AOF {
        warnings.push(format!(
            "the server keeps an append-only file and its dump is {} old: \
             set save points, or newer data is not in this backup",
            format_age(age)
        ));
    }
    if saved_elsewhere(dump, state) {
        warnings.push(SAVED_ELSEWHERE.to_owned());
    }
    // A primary forgets histories for good reasons too; only one that names a previous one can
    // be expected to know its dump's.
    let promoted = matches!(role, Role::Primary | Role::Standalone) && state.replid2.is_some();
    if promoted && is_foreign(&dump.head, state) {
        warnings.push(
            "the dump is older than this server's last failover: let it save once".to_owned(),
        );
    }
    let ahead = clock::since(dump.opened_at, dump.dated());
    if ahead > clock::TOLERANCE {
        warnings.push(format!(
            "the dump is dated {} ahead of this machine's clock",
            format_age(ahead)
        ));
    }
    warnings.extend(dump.head.header.remark());
    warnings
}

fn facts(dump: &Dump, state: &State) -> Facts {
    let mut facts = dump.head.facts();
    facts.insert("crc64".into(), format!("{:016x}", dump.crc64).into());
    facts.insert("mtime".into(), dump.modified.to_string().into());
    if let Some(server) = &state.server {
        facts.insert("server".into(), server.as_str().into());
    }
    if state.cluster == Some(true) {
        facts.insert("cluster".into(), true.into());
    }
    facts
}

fn written_by(head: &Head) -> Option<String> {
    head.text("valkey-ver")
        .or_else(|| head.text("redis-ver"))
        .map(str::to_owned)
}

/// `replica in sync, saved 4 min ago`.
fn summary(dump: &Dump, before: &Probe) -> String {
    let role = match before.role {
        Role::Replica => "replica in sync, ",
        Role::Unknown => "the server did not answer, ",
        Role::Primary => "primary, ",
        Role::Standalone => "",
    };
    format!("{role}{}", saved(dump.dated(), dump.opened_at))
}

fn saved(dated: Timestamp, now: Timestamp) -> String {
    format!("saved {} ago", format_age(clock::since(dated, now)))
}

#[cfg(test)]
mod tests;
