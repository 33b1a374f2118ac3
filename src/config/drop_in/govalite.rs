//! GoVaLite: raft snapshots of Vault, configured by the environment alone.

use super::{Program, Reader, duration};
use crate::config::sound_name;
use crate::value::quote;

pub(super) static PROGRAM: Program = Program {
    name: "GoVaLite",
    // An address and a login are what every client of Vault has.
    sure: &[
        "SNAPSHOT_FREQUENCY",
        "SNAPSHOT_PREFIX",
        "SNAPSHOT_RETAIN",
        "SNAPSHOT_TIMEZONE",
        "STORAGE_S3_BUCKET",
        "STORAGE_S3_REGION",
        "STORAGE_LOCAL_PATH",
    ],
    likely: &["ENABLE_S3", "ENABLE_LOCAL"],
    beside: &["VAULT_ADDR", "VAULT_ROLE_ID", "VAULT_TOKEN"],
    translate,
};

const ADDRESS: &str = "http://127.0.0.1:8200";
const SERIES: &str = "raft-snapshot";

fn translate(settings: &mut Reader<'_>) {
    settings.put("jobs.vault.source.type", "vault", "VAULT_ADDR");
    settings.carry("jobs.vault.source.address", "VAULT_ADDR", Some(ADDRESS));
    trust(settings);
    login(settings);

    settings.put("jobs.vault.schedule.every", "1h", "SNAPSHOT_FREQUENCY");
    if let Some(every) = settings.duration("SNAPSHOT_FREQUENCY", duration::GO) {
        let every = every.to_string();
        settings.put("jobs.vault.schedule.every", every, "SNAPSHOT_FREQUENCY");
    }
    let zone = "jobs.vault.schedule.timezone";
    settings.carry(zone, "SNAPSHOT_TIMEZONE", Some("UTC"));
    // None to keep has always meant all.
    if let Some(count) = settings.count("SNAPSHOT_RETAIN", 5)
        && count > 0
    {
        settings.put("jobs.vault.retention.keep_last", count, "SNAPSHOT_RETAIN");
    }

    let folder = place(settings);
    let to_s3 = settings.flag("ENABLE_S3", false);
    let to_folder = settings.flag("ENABLE_LOCAL", false);
    if to_s3 {
        bucket(settings, &folder);
    }
    if to_folder {
        let root = settings.text("STORAGE_LOCAL_PATH");
        let mut path = root.unwrap_or_else(|| "./snapshots".into());
        if !folder.is_empty() {
            path = format!("{}/{folder}", path.trim_end_matches('/'));
        }
        let variable = "STORAGE_LOCAL_PATH";
        settings.put("destinations.local.type", "local", variable);
        settings.put("destinations.local.path", path, variable);
        settings.put("destinations.local.create", true, variable);
    }
    if !to_s3 && !to_folder {
        let what = "neither it nor `ENABLE_LOCAL` is on, so that backups have no place to go; \
                    set one of them to `true`";
        settings.problem("ENABLE_S3", what);
    }
}

/// Whose certificates count. Other variables of Vault's clients are read where they always are.
fn trust(settings: &mut Reader<'_>) {
    let address = settings.text("VAULT_ADDR").unwrap_or_default();
    let is_tls = address.to_ascii_lowercase().starts_with("https:");
    let skip = settings.flag("VAULT_SKIP_VERIFY", false);
    if settings.has("VAULT_SKIP_VERIFY") {
        let path = "jobs.vault.source.skip_verify";
        settings.put(path, skip && is_tls, "VAULT_SKIP_VERIFY");
    }
    if is_tls && !skip {
        settings.carry("jobs.vault.source.ca_cert", "VAULT_CACERT", None);
    }
}

/// A whole AppRole goes before a token. Without either, what stands before the server may log in.
fn login(settings: &mut Reader<'_>) {
    let role = settings.has("VAULT_ROLE_ID");
    let secret = settings.has("VAULT_SECRET_ID");
    let token = settings.has("VAULT_TOKEN");
    if role && (secret || !token) {
        let at = "jobs.vault.source.auth";
        settings.put(&format!("{at}.method"), "approle", "VAULT_ROLE_ID");
        settings.refer(&format!("{at}.role_id"), "VAULT_ROLE_ID");
        if secret {
            settings.refer(&format!("{at}.secret_id"), "VAULT_SECRET_ID");
        }
    } else if token {
        settings.put("jobs.vault.source.auth.method", "token", "VAULT_TOKEN");
        settings.refer("jobs.vault.source.auth.token", "VAULT_TOKEN");
    } else if secret {
        settings.problem("VAULT_ROLE_ID", "is not set; `VAULT_SECRET_ID` needs it");
    }
}

/// Takes the prefix of file names apart: folders for the destinations, and the series.
fn place(settings: &mut Reader<'_>) -> String {
    let prefix = settings.text("SNAPSHOT_PREFIX").unwrap_or_default();
    let (folders, stem) = prefix.rsplit_once('/').unwrap_or(("", &prefix));
    let stem = stem.strip_suffix('-').unwrap_or(stem);
    let series = if stem.is_empty() { SERIES } else { stem };
    settings.origin("jobs.vault.series", "SNAPSHOT_PREFIX");
    if sound_name(series) {
        settings.put("jobs.vault.series", series, "SNAPSHOT_PREFIX");
    } else {
        let what = format!(
            "{} in {} is not the name of a series; use letters, digits, `-`, `_` and `.`, and \
             begin with a letter, a digit or `_`",
            quote(series),
            quote(&prefix)
        );
        settings.problem("SNAPSHOT_PREFIX", what);
    }
    let folders: Vec<&str> = folders.split('/').filter(|f| !f.is_empty()).collect();
    if folders.iter().any(|folder| matches!(*folder, "." | "..")) {
        let what = format!("{} leads through `.` or `..`", quote(&prefix));
        settings.problem("SNAPSHOT_PREFIX", what);
    }
    folders.join("/")
}

fn bucket(settings: &mut Reader<'_>, folder: &str) {
    let at = |key: &str| format!("destinations.s3.{key}");
    if !settings.has("STORAGE_S3_BUCKET") {
        let what = "is not set; `ENABLE_S3` needs the name of a bucket";
        settings.problem("STORAGE_S3_BUCKET", what);
        return;
    }
    settings.put(&at("type"), "s3", "ENABLE_S3");
    settings.carry(&at("bucket"), "STORAGE_S3_BUCKET", None);
    if !folder.is_empty() {
        settings.put(&at("prefix"), folder, "SNAPSHOT_PREFIX");
    }
    settings.carry(&at("region"), "STORAGE_S3_REGION", Some("us-east-1"));
    settings.carry(&at("endpoint"), "AWS_ENDPOINT_URL", None);
    let keys = [
        ("access_key_id", "AWS_ACCESS_KEY_ID"),
        ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ];
    let there: Vec<_> = keys.iter().filter(|(_, name)| settings.has(name)).collect();
    match there[..] {
        // A role of this machine or pod, then.
        [] => {}
        [(_, one)] => {
            let (_, other) = keys.iter().find(|(_, name)| name != one).expect("two keys");
            settings.problem(other, format!("is not set; `{one}` needs it"));
        }
        _ => {
            for (key, variable) in keys {
                settings.refer(&at(key), variable);
            }
            if settings.has("AWS_SESSION_TOKEN") {
                settings.refer(&at("session_token"), "AWS_SESSION_TOKEN");
            }
        }
    }
}
