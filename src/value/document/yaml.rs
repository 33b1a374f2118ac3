use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::{Map, Number, Value};

use super::{Problem, at_index, at_key};
use crate::value::schema::{Kind, Slot};

/// A YAML node that still knows how its numbers were written: `007`, `1e5` and `0x1F` are other
/// passwords than the numbers they stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool, String),
    /// A number, or nothing for one that JSON does not have, and its text.
    Number(Option<Number>, String),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    /// JSON as a node, with each number in its shortest form.
    pub(super) fn from_json(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value, value.to_string()),
            Value::Number(number) => {
                let text = number.to_string();
                Self::Number(Some(number), text)
            }
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Value::Object(map) => Self::Map(
                map.into_iter()
                    .map(|(key, value)| (key, Self::from_json(value)))
                    .collect(),
            ),
        }
    }
}

/// Reads one YAML document. A syntax error is returned with its line and column, also for a tag,
/// a key that is no text and a second document; keys that come twice are added to `problems`.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Node, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // serde gives a number's value or its text, never both: the second reading follows the tree of
    // the first one and asks for the text of each scalar.
    let raw =
        Raw::deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|e| message(&e))?;
    let node = Spelled(&raw)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| message(&error))?;
    Ok(unique(node, "", problems))
}

fn message(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    if text.contains("more than one document") {
        return "has more than one document; `---` may only stand at its beginning".to_owned();
    }
    // serde's own messages quote the value, which may be a secret.
    let text = if text.contains("invalid value") || text.contains("invalid type") {
        "a value does not fit its tag".to_owned()
    } else {
        text
    };
    let Some(place) = error.location() else {
        return text;
    };
    let (line, column) = (place.line(), place.column());
    let text = text.replacen(&format!(" at line {line} column {column}"), "", 1);
    format!("line {line}, column {column}: {text}")
}

/// Applies merge keys (`<<`) and leaves the first of keys that come twice.
fn unique(node: Node, path: &str, problems: &mut Vec<Problem>) -> Node {
    let entries = match node {
        Node::Map(entries) => entries,
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            return Node::List(
                items
                    .map(|(i, item)| unique(item, &at_index(path, i), problems))
                    .collect(),
            );
        }
        scalar => return scalar,
    };
    let mut own = Vec::new();
    let mut merged = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, value) in entries {
        let here = at_key(path, &key);
        if key == "<<" {
            match unique(value, &here, problems) {
                Node::Map(more) => merged.extend(more),
                Node::List(maps) => {
                    for map in maps {
                        match map {
                            Node::Map(more) => merged.extend(more),
                            _ => problems.push(Problem::new(&here, "merges only maps")),
                        }
                    }
                }
                _ => problems.push(Problem::new(&here, "merges only maps")),
            }
        } else if seen.insert(key.clone()) {
            own.push((key, unique(value, &here, problems)));
        } else {
            problems.push(Problem::new(here, "is there twice; keep one"));
        }
    }
    for (key, value) in merged {
        if seen.insert(key.clone()) {
            own.push((key, value));
        }
    }
    Node::Map(own)
}

/// The node as JSON for its place in the schema: keys without a value are left out, and a number or
/// boolean is its text where only a string fits.
pub(super) fn settle(node: &Node, slot: &Slot<'_>) -> Value {
    convert(node, Some(slot))
}

fn convert(node: &Node, slot: Option<&Slot<'_>>) -> Value {
    let as_text = |kind| slot.is_some_and(|slot| !slot.allows(kind) && slot.allows(Kind::String));
    match node {
        Node::Null => Value::Null,
        Node::Bool(_, text) if as_text(Kind::Boolean) => Value::String(text.clone()),
        Node::Bool(value, _) => Value::Bool(*value),
        Node::Number(Some(number), text) => {
            // An integer is all right where a whole number or any number is.
            if as_text(Kind::Integer) {
                Value::String(text.clone())
            } else {
                Value::Number(number.clone())
            }
        }
        Node::Number(None, text) | Node::Text(text) => Value::String(text.clone()),
        Node::List(items) => {
            let slot = slot.map(Slot::item);
            items
                .iter()
                .map(|item| convert(item, slot.as_ref()))
                .collect()
        }
        Node::Map(entries) => {
            let slot = slot.map(|slot| slot.narrow(|tag| text_at(entries, tag)));
            let mut map = Map::new();
            for (key, value) in entries {
                let child = slot.as_ref().and_then(|slot| slot.child(key));
                let value = match (value, &slot, &child) {
                    (Node::Null, Some(slot), _) if slot.has_property(key) => continue,
                    // A job with nothing in it is a job all the same.
                    (Node::Null, _, Some(child)) if child.allows(Kind::Object) => {
                        Value::Object(Map::new())
                    }
                    _ => convert(value, child.as_ref()),
                };
                map.insert(key.clone(), value);
            }
            Value::Object(map)
        }
    }
}

fn text_at<'n>(entries: &'n [(String, Node)], key: &str) -> Option<&'n str> {
    entries.iter().find_map(|(name, value)| match value {
        Node::Text(text) if name == key => Some(text.as_str()),
        _ => None,
    })
}

/// The first reading: values, with map entries in order and not yet unique.
enum Raw {
    Null,
    Bool(bool),
    Number(Option<Number>),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    // An empty document.
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(Some(value.into())))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number(None))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number(None))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(Number::from_f64(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Raw, A::Error> {
        let (tag, _) = data.variant::<String>()?;
        Err(de::Error::custom(format_args!(
            "the tag `!{tag}` is not known here"
        )))
    }
}

/// The second reading, along the tree of the first.
struct Spelled<'r>(&'r Raw);

impl<'de> DeserializeSeed<'de> for Spelled<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Raw::Null => IgnoredAny::deserialize(deserializer).map(|_| Node::Null),
            Raw::Bool(value) => Ok(Node::Bool(*value, String::deserialize(deserializer)?)),
            Raw::Number(value) => Ok(Node::Number(
                value.clone(),
                String::deserialize(deserializer)?,
            )),
            Raw::Text(text) => {
                IgnoredAny::deserialize(deserializer).map(|_| Node::Text(text.clone()))
            }
            Raw::List(_) => deserializer.deserialize_seq(self),
            Raw::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Spelled<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same YAML value again")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        if let Raw::List(raw) = self.0 {
            for item in raw {
                list.extend(items.next_element_seed(Spelled(item))?);
            }
        }
        // The reader insists on being asked for the end.
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        if let Raw::Map(raw) = self.0 {
            for (key, value) in raw {
                if matches!(key, Raw::List(_) | Raw::Map(_)) {
                    return Err(de::Error::custom("a key must be plain text"));
                }
                if let Some(key) = entries.next_key::<String>()? {
                    map.push((key, entries.next_value_seed(Spelled(value))?));
                }
            }
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests;
