use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::schema::Slot;
use super::secret::{REDACTED, is_reference};

/// A copy of a document that may be shown: plain secrets, and passwords within URLs, are
/// `<redacted>`; `{ env: NAME }` and `{ file: PATH }` stay, since a reference is no secret.
///
/// Where the schema says nothing, the key decides: a value at `api_token` is taken for a secret.
pub fn redact(value: &Value, schema: &Value) -> Value {
    at_slot(value, Some(&Slot::root(schema)))
}

fn at_slot(value: &Value, slot: Option<&Slot<'_>>) -> Value {
    if slot.is_some_and(Slot::is_secret) {
        return if is_reference(value) || value.is_null() {
            value.clone()
        } else {
            REDACTED.into()
        };
    }
    match value {
        Value::String(text) => redact_text(text).into(),
        Value::Array(items) => {
            let item = slot.map(Slot::item);
            items
                .iter()
                .map(|value| at_slot(value, item.as_ref()))
                .collect()
        }
        Value::Object(map) => {
            let slot = slot.map(|slot| slot.narrowed(map));
            let entries = map.iter().map(|(key, value)| {
                let child = slot.as_ref().and_then(|slot| slot.child(key));
                let known = child.as_ref().is_some_and(|child| !child.is_open());
                let hidden = !known && is_sensitive(key) && !is_reference(value);
                (
                    key.clone(),
                    if hidden {
                        REDACTED.into()
                    } else {
                        at_slot(value, child.as_ref())
                    },
                )
            });
            Value::Object(entries.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn is_sensitive(name: &str) -> bool {
    const TELLING: [&str; 6] = [
        "secret",
        "password",
        "passphrase",
        "token",
        "signature",
        "credential",
    ];
    let name = name.to_ascii_lowercase().replace('-', "_");
    // The path of a file is no secret.
    let whole = matches!(name.as_str(), "pass" | "pwd" | "sig");
    whole || (!name.ends_with("_file") && TELLING.iter().any(|part| name.contains(part)))
}

/// Text with the secrets of a URL replaced by `<redacted>`: the password before the host, and the
/// values of query parameters such as `secret_access_key` or `session_token`. Other text is
/// returned as it is.
pub fn redact_text(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = without_password(text, rest);
    let Some((before, query)) = rest.split_once('?') else {
        return format!("{scheme}://{rest}");
    };
    let (query, fragment) = match query.split_once('#') {
        Some((query, fragment)) => (query, Some(fragment)),
        None => (query, None),
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value))
            if !value.is_empty() && is_sensitive(&percent_decode_str(name).decode_utf8_lossy()) =>
        {
            format!("{name}={REDACTED}")
        }
        _ => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    let fragment = fragment
        .map(|fragment| format!("#{fragment}"))
        .unwrap_or_default();
    format!("{scheme}://{before}?{query}{fragment}")
}

/// What follows `://`, with the password redacted if there is one.
fn without_password(url: &str, rest: &str) -> String {
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password with an unescaped `/` makes the URL unreadable: better hide too much of it.
    let reach = if url::Url::parse(url).is_ok() {
        authority
    } else {
        rest.len()
    };
    let Some(host) = rest[..authority]
        .rfind('@')
        .or_else(|| rest[..reach].rfind('@'))
    else {
        return rest.to_owned();
    };
    match rest[..host].split_once(':') {
        Some((user, password)) if !password.is_empty() => {
            format!("{user}:{REDACTED}{}", &rest[host..])
        }
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests;
