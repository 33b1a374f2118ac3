use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::Facts;
use crate::value::{HumanDuration, HumanSize};

/// The fact that only the quick check was made.
const QUICK: &str = "quick_check_only";

/// A SQLite database file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file. Mount its folder, not the file alone: the write-ahead log lies beside it.
    pub path: PathBuf,
    /// How long to wait for a lock that a writer holds.
    #[serde(default = "default_busy_timeout")]
    pub busy_timeout: HumanDuration,
    /// Tables to leave out of the backup, as globs (`cache_*`). The source is not touched.
    #[serde(default)]
    pub drop_tables: Vec<String>,
    /// Leave all triggers out of the backup.
    #[serde(default)]
    pub drop_triggers: bool,
    /// SQL statements that run on the copy, after the tables were dropped, with foreign keys off.
    #[serde(default)]
    pub sql: Vec<String>,
    /// Page size of the copy in bytes, a power of two from 512 to 65536; the source's own unless
    /// set.
    #[serde(default)]
    pub page_size: Option<HumanSize>,
    /// How the copy is proved: `full` is `PRAGMA integrity_check`, `quick` is `PRAGMA quick_check`,
    /// which does not compare indexes with their tables.
    #[serde(default)]
    pub check: CheckDepth,
}

/// How deep a copy is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckDepth {
    /// `PRAGMA integrity_check`.
    #[default]
    Full,
    /// `PRAGMA quick_check`.
    Quick,
}

impl CheckDepth {
    /// The depth by which a backup was proved; its manifest says so where it was not the full one.
    pub(super) fn recorded(facts: &Facts) -> Self {
        match facts.get(QUICK).and_then(serde_json::Value::as_bool) {
            Some(true) => Self::Quick,
            _ => Self::Full,
        }
    }

    /// Leaves in the facts what [`Self::recorded`] reads.
    pub(super) fn record(self, facts: &mut Facts) {
        if self == Self::Quick {
            facts.insert(QUICK.into(), true.into());
        }
    }
}

fn default_busy_timeout() -> HumanDuration {
    HumanDuration(std::time::Duration::from_secs(5))
}

impl SqliteConfig {
    /// Mistakes that the single values do not show: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let sound = |size: u64| (512..=65_536).contains(&size) && size.is_power_of_two();
        let bad = self.page_size.filter(|size| !sound(size.0));
        bad.map(|size| {
            let size = size.0;
            (
                "page_size",
                format!("`{size}` is no page size; take a power of two from 512 to 65536"),
            )
        })
        .into_iter()
        .collect()
    }

    /// Whether the copy is changed after it was taken.
    pub(super) fn sanitises(&self) -> bool {
        self.drop_triggers || !self.drop_tables.is_empty() || !self.sql.is_empty()
    }
}
