use serde_json::Value;

use crate::source::{Facts, Position};
use crate::value::format_bytes;

/// The facts as `operator raft snapshot inspect` prints them: what the snapshot is, its servers,
/// then keys and bytes for each prefix.
pub(super) fn describe(facts: &Facts) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, value) in facts {
        match name.as_str() {
            "servers" | "keys" | "key_count" | "key_bytes" => {}
            _ => rows.push(vec![name.clone(), plain(value)]),
        }
    }
    for server in facts
        .get("servers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mut row = vec!["server".to_owned()];
        row.extend(["id", "address", "suffrage"].map(|field| plain(&server[field])));
        rows.push(row);
    }
    let mut keys: Vec<(&String, u64, u64)> = facts
        .get("keys")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(prefix, of)| {
            let figure = |name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
            (prefix, figure("count"), figure("bytes"))
        })
        .collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    for (prefix, count, bytes) in keys {
        rows.push(key_row(prefix, count, bytes));
    }
    let total = |name: &str| facts.get(name).and_then(Value::as_u64);
    if let (Some(count), Some(bytes)) = (total("key_count"), total("key_bytes")) {
        rows.push(key_row("total", count, bytes));
    }
    rows
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
