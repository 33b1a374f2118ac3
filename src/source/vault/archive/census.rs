use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::source::Facts;

/// Prefixes named in the facts, which live in a manifest of at most 1 MiB.
const NAMED: usize = 200;

/// Prefixes held while counting; what is more falls back to [`NAMED`].
const HELD: usize = 2000;

/// Longer prefixes are counted and not named.
const LONGEST: usize = 256;

/// How many entries there are under each prefix, and how large they are. A prefix is the first two
/// parts of a key, as `vault operator raft snapshot inspect` groups them.
///
/// Servers write their keys in order, so a prefix is complete when the next one comes, and the
/// smallest can be let go on the way without losing count of those that stay.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    total: Tally,
    /// The prefix of the last entry, and what was counted of it in a row.
    prefix: String,
    run: Tally,
    held: BTreeMap<String, Tally>,
    others: Tally,
}

/// Entries, and their bytes without the length in front of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub count: u64,
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.count += other.count;
        self.bytes += other.bytes;
    }

    fn json(self) -> Value {
        json!({ "count": self.count, "bytes": self.bytes })
    }
}

impl Census {
    /// Counts an entry of so many `bytes`.
    pub(super) fn add(&mut self, key: &str, bytes: u64) {
        let entry = Tally { count: 1, bytes };
        self.total.add(entry);
        let prefix = prefix(key);
        if prefix != self.prefix {
            self.end_run();
            prefix.clone_into(&mut self.prefix);
        }
        self.run.add(entry);
    }

    pub(super) fn total(&self) -> Tally {
        self.total
    }

    pub(super) fn facts(mut self) -> Facts {
        self.end_run();
        self.shrink();
        let keys: Facts = self
            .held
            .into_iter()
            .map(|(prefix, tally)| (prefix, tally.json()))
            .collect();
        let mut facts = Facts::from_iter([
            ("keys".to_owned(), keys.into()),
            ("key_count".to_owned(), self.total.count.into()),
            ("key_bytes".to_owned(), self.total.bytes.into()),
        ]);
        if self.others != Tally::default() {
            facts.insert("keys_under_other_prefixes".into(), self.others.json());
        }
        facts
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run == Tally::default() {
            return;
        }
        if self.prefix.len() > LONGEST {
            self.others.add(run);
            return;
        }
        if let Some(held) = self.held.get_mut(&self.prefix) {
            held.add(run);
            return;
        }
        if self.held.len() == HELD {
            self.shrink();
        }
        self.held.insert(self.prefix.clone(), run);
    }

    /// Lets go of all but the largest.
    fn shrink(&mut self) {
        if self.held.len() <= NAMED {
            return;
        }
        let mut all: Vec<(String, Tally)> = std::mem::take(&mut self.held).into_iter().collect();
        all.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.bytes));
        for (_, tally) in all.split_off(NAMED) {
            self.others.add(tally);
        }
        self.held = all.into_iter().collect();
    }
}

fn prefix(key: &str) -> &str {
    let mut slashes = key.bytes().enumerate().filter(|&(_, byte)| byte == b'/');
    slashes.nth(1).map_or(key, |(at, _)| &key[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_first_two_parts_of_a_key() {
        for (key, expected) in [
            ("core/hsm/barrier-unseal-keys", "core/hsm"),
            ("core/lock", "core/lock"),
            ("core/", "core/"),
            ("core//x", "core/"),
            ("core", "core"),
            ("/a/b", "/a"),
        ] {
            assert_eq!(prefix(key), expected, "{key}");
        }
    }

    #[test]
    fn entries_out_of_order_are_counted_together() {
        let mut census = Census::default();
        for key in ["a/b/1", "c/d/1", "a/b/2"] {
            census.add(key, 10);
        }
        let facts = census.facts();
        assert_eq!(facts["keys"]["a/b"], json!({ "count": 2, "bytes": 20 }));
        assert_eq!(facts["keys"]["c/d"], json!({ "count": 1, "bytes": 10 }));
        assert!(!facts.contains_key("keys_under_other_prefixes"));
    }

    #[test]
    fn only_the_largest_prefixes_are_named_and_the_rest_is_summed() {
        let mut census = Census::default();
        let prefixes = 3 * HELD as u64;
        for n in 0..prefixes {
            for _ in 0..2 {
                census.add(&format!("mount/{n:05}/key"), n);
            }
        }
        census.add(&"x".repeat(LONGEST + 1), 7);
        let facts = census.facts();
        let keys = facts["keys"].as_object().expect("an object");
        assert_eq!(keys.len(), NAMED);
        let largest = format!("mount/{:05}", prefixes - 1);
        let smallest = format!("mount/{:05}", prefixes - NAMED as u64);
        assert_eq!(keys[&largest]["bytes"], 2 * (prefixes - 1));
        assert!(keys.contains_key(&smallest));
        let named: u64 = keys.values().filter_map(|key| key["bytes"].as_u64()).sum();
        let others = facts["keys_under_other_prefixes"]["bytes"].as_u64();
        assert_eq!(facts["key_bytes"], named + others.expect("a number"));
        assert_eq!(facts["key_count"], 2 * prefixes + 1);
    }
}
