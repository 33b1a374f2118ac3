use serde_json::Value;

use crate::source::{Facts, Position};
use crate::value::format_bytes;

/// What the verifier calls the keys of all prefixes but the largest.
const OTHERS: &str = "keys_under_other_prefixes";

/// The facts as `operator raft snapshot inspect` prints them: what the snapshot is, its servers,
/// then keys and bytes for each prefix.
pub(super) fn describe(facts: &Facts) -> Vec<Vec<Vec<String>>> {
    let list = |name: &str| facts.get(name).and_then(Value::as_array);
    let figure = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
    let single = |(name, value): (&String, &Value)| {
        let shown = !matches!(
            name.as_str(),
            "servers" | "keys" | "key_count" | "key_bytes" | OTHERS
        );
        shown.then(|| vec![name.clone(), plain(value)])
    };
    let servers = list("servers").into_iter().flatten().map(|server| {
        let fields = ["id", "address", "suffrage"].map(|field| plain(&server[field]));
        std::iter::once("server".to_owned()).chain(fields).collect()
    });
    let prefixes = facts.get("keys").and_then(Value::as_object);
    let mut prefixes: Vec<(&str, u64, u64)> = prefixes
        .into_iter()
        .flatten()
        .map(|(prefix, of)| (prefix.as_str(), figure(of, "count"), figure(of, "bytes")))
        .collect();
    prefixes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    if let Some(others) = facts.get(OTHERS) {
        let (count, bytes) = (figure(others, "count"), figure(others, "bytes"));
        prefixes.push(("other prefixes", count, bytes));
    }
    let total = |name: &str| facts.get(name).and_then(Value::as_u64);
    if let (Some(count), Some(bytes)) = (total("key_count"), total("key_bytes")) {
        prefixes.push(("total", count, bytes));
    }
    let keys = prefixes
        .into_iter()
        .map(|(prefix, count, bytes)| key_row(prefix, count, bytes));
    vec![
        facts.iter().filter_map(single).collect(),
        servers.collect(),
        keys.collect(),
    ]
}

fn key_row(prefix: &str, count: u64, bytes: u64) -> Vec<String> {
    let count = match count {
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    };
    vec![
        "keys".to_owned(),
        prefix.to_owned(),
        count,
        format_bytes(bytes),
    ]
}

fn plain(value: &Value) -> String {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
}

/// The raft index in the history of its cluster.
pub(super) fn position(facts: &Facts) -> Option<Position> {
    let history = facts.get("cluster_id")?.as_str()?;
    let at = facts.get("index")?.as_u64()?;
    let known = !history.is_empty();
    known.then(|| Position {
        history: history.to_owned(),
        at,
    })
}
