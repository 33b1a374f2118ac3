use std::path::Path;
use std::time::Duration;

use super::RedisSource;
use super::capture::{SAVED_ELSEWHERE, refuse_stale, saved_elsewhere};
use super::dump::{Dump, leftovers};
use super::probe::{State, save_points};
use super::words::count;
use crate::source::{Finding, Probe, Severity, SourceError};
use crate::value::{format_age, format_bytes};

/// From this age on, a dump that lacks changes is remarked on, where the job sets no limit.
const OLD: Duration = Duration::from_hours(1);

/// The server as `lifeboat check` shows it.
pub(super) fn server(probed: &Result<Probe, SourceError>) -> Finding {
    match probed {
        Err(error) => Finding::failed("server", error),
        Ok(probe) => Finding {
            name: "server".into(),
            problem: probe.not_now.is_some().then_some(Severity::Warning),
            detail: probe.summary.clone(),
            hint: None,
        },
    }
}

/// The dump: whether it can be read, and whether the server has more to say than it holds.
pub(super) async fn dump(
    opened: Result<Dump, SourceError>,
    probed: Option<&Probe>,
    source: &RedisSource,
) -> Finding {
    let config = &source.config;
    let dump = match opened {
        Ok(dump) => dump,
        Err(error) => return Finding::failed("dump", &error),
    };
    let state = probed.map(State::of).unwrap_or_default();
    if let Some(probe) = probed
        && let Err(error) = refuse_stale(&dump, config, probe.role, &state)
    {
        return Finding::failed("dump", &error);
    }
    let name = &config.dump_filename;
    let age = format_age(dump.age());
    let mut finding = Finding::fine(
        "dump",
        format!("{name} is {}, saved {age} ago", format_bytes(dump.bytes)),
    );
    let changes = state.changes.unwrap_or(0);
    if state.last_save_ok == Some(false) {
        finding.problem = Some(Severity::Warning);
        finding.detail = format!("{name} is {age} old, and the server's last save failed");
        finding.hint = Some("see the server's log; a save needs room for a second dump".into());
    } else if saved_elsewhere(&dump, &state) {
        finding.problem = Some(Severity::Warning);
        finding.hint = Some(SAVED_ELSEWHERE.into());
    } else if changes > 0 && dump.age() > config.max_age.map_or(OLD, |limit| limit.0) {
        finding.problem = Some(Severity::Warning);
        finding.detail = format!(
            "{name} is {age} old, Redis has {} changes since",
            count(changes)
        );
        finding.hint = Some(match save_points(source).await.as_deref() {
            Some("") => "save points are off: set `save 300 1` or schedule BGSAVE yourself".into(),
            Some(points) => format!("save points are `{points}`: is that often enough?"),
            None => "set save points (`save 300 1`) or schedule BGSAVE yourself".into(),
        });
    } else if dump.crc64 == 0 {
        finding.problem = Some(Severity::Warning);
        finding.detail = format!("{name} is written without a checksum: damage would go unseen");
        finding.hint = Some("set `rdbchecksum yes` on the server and restart it".into());
    }
    finding
}

/// What killed saves left in the data folder, if anything.
pub(super) fn remains(data_dir: &Path) -> Option<Finding> {
    let found = leftovers(data_dir);
    let (first, _) = found.first()?;
    let bytes = found.iter().map(|(_, bytes)| bytes).sum();
    Some(Finding {
        name: "leftovers".into(),
        problem: Some(Severity::Warning),
        detail: format!(
            "{} of killed saves, {}: {}",
            if found.len() == 1 {
                "1 file".into()
            } else {
                format!("{} files", found.len())
            },
            format_bytes(bytes),
            first.display(),
        ),
        hint: Some("the server never removes temp-*.rdb: delete them when no save runs".into()),
    })
}
