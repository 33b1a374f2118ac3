use std::cmp::Ordering;

use serde_json::Value;

use crate::value::redact::redact_text;
use crate::value::schema::Form;
use crate::value::units::{HumanDuration, HumanSize};
use crate::value::words::quote;

/// What is wrong with a text for a form that takes strings, if anything.
pub(super) fn text_problem(text: &str, form: &Form) -> Option<String> {
    let shown = quote(&redact_text(text));
    if let Some(format) = form.format()
        && let Some(problem) = format_problem(text, format, &shown)
    {
        return Some(problem);
    }
    let length = text.chars().count() as u64;
    let limit = |keyword| form.get(keyword).and_then(Value::as_u64);
    match (limit("minLength"), limit("maxLength")) {
        (Some(1..), _) if length == 0 => return Some("is empty".to_owned()),
        (Some(min), _) if length < min => {
            return Some(format!("{shown} is too short; at least {min} characters"));
        }
        (_, Some(max)) if length > max => {
            return Some(format!("{shown} is too long; at most {max} characters"));
        }
        _ => {}
    }
    let pattern = form.get("pattern").and_then(Value::as_str)?;
    // A pattern that this engine cannot read is for editors only.
    let fits = regex_lite::Regex::new(pattern).map_or(true, |pattern| pattern.is_match(text));
    (!fits).then(|| format!("{shown} does not match {}", quote(pattern)))
}

fn format_problem(text: &str, format: &str, shown: &str) -> Option<String> {
    let problem = match format {
        "duration" => text.parse::<HumanDuration>().err()?.to_string(),
        "size" => text.parse::<HumanSize>().err()?.to_string(),
        "url" | "uri" => {
            let reason = url::Url::parse(text).err()?;
            format!("{shown} is not a URL: {reason}")
        }
        "name" | "series" => {
            let host = format == "series";
            let plain = if host {
                text.replace("{hostname}", "h")
            } else {
                text.to_owned()
            };
            if is_name(&plain) {
                return None;
            }
            let also = if host { " and `{hostname}`" } else { "" };
            format!(
                "{shown} is not a name; use letters, digits, `_`, `.` and `-`{also}, and do not \
                 begin with `.` or `-`"
            )
        }
        _ => return None,
    };
    Some(if text.trim().is_empty() {
        "is empty".to_owned()
    } else {
        problem
    })
}

fn is_name(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(is_word) && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

/// What is wrong with a number for a form that takes numbers, if anything.
pub(super) fn number_problem(value: &Value, form: &Form) -> Option<String> {
    let (low, high) = form.format().and_then(range).unzip();
    let limit = |keyword| form.get(keyword).cloned();
    let limits = [
        (
            "at least",
            limit("minimum").or(low),
            Ordering::is_ge as fn(Ordering) -> bool,
        ),
        ("at most", limit("maximum").or(high), Ordering::is_le),
        ("more than", limit("exclusiveMinimum"), Ordering::is_gt),
        ("less than", limit("exclusiveMaximum"), Ordering::is_lt),
    ];
    limits.into_iter().find_map(|(words, limit, fits)| {
        let limit = limit?;
        let order = compare(value, &limit)?;
        (!fits(order)).then(|| format!("must be {words} {limit}, not `{value}`"))
    })
}

/// The range of a Rust integer, which schemars names without giving it.
fn range(format: &str) -> Option<(Value, Value)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        "uint8" => (0.into(), u8::MAX.into()),
        "uint16" => (0.into(), u16::MAX.into()),
        "uint32" => (0.into(), u32::MAX.into()),
        "uint64" | "uint" => (0.into(), u64::MAX.into()),
        _ => return None,
    })
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    let whole = |value: &Value| {
        value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

#[cfg(test)]
mod tests;
