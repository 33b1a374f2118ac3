use serde::Deserialize;
use serde_json::{Value, json};

use crate::source::{Facts, SourceError};

/// What `meta.json` says: raft's `SnapshotMeta`. Unknown fields (`Peers`, which is only there for
/// raft's first version, and a `CRC` in files of raft's own store) are passed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Meta {
    version: u64,
    #[serde(rename = "ID")]
    id: String,
    pub index: u64,
    pub term: u64,
    configuration: Configuration,
    configuration_index: u64,
    /// Bytes of `state.bin`.
    pub size: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    /// `null` where there is none.
    servers: Option<Vec<Server>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    suffrage: u8,
    #[serde(rename = "ID")]
    id: String,
    address: String,
}

/// The names of raft's `ServerSuffrage`, by number.
const SUFFRAGE: [&str; 3] = ["voter", "nonvoter", "staging"];

impl Meta {
    pub(super) fn parse(json: &[u8]) -> Result<Self, SourceError> {
        let meta: Self = serde_json::from_slice(json)
            .map_err(|error| damaged(&format!("it cannot be read: {error}")))?;
        if meta.version != 1 {
            return Err(SourceError::damaged(format!(
                "meta.json has version {}, and only version 1 is known",
                meta.version
            )));
        }
        for (name, value) in [("index", meta.index), ("term", meta.term)] {
            if value == 0 {
                return Err(damaged(&format!("its {name} is 0")));
            }
        }
        if meta.servers().is_empty() {
            return Err(damaged("it lists no servers"));
        }
        for server in meta.servers() {
            if usize::from(server.suffrage) >= SUFFRAGE.len() {
                let suffrage = server.suffrage;
                return Err(damaged(&format!("a server has suffrage {suffrage}")));
            }
        }
        Ok(meta)
    }

    /// `index 54, term 3, 1 server`.
    pub(super) fn summary(&self) -> String {
        let servers = match self.servers().len() {
            1 => "1 server".to_owned(),
            n => format!("{n} servers"),
        };
        format!("index {}, term {}, {servers}", self.index, self.term)
    }

    pub(super) fn facts(&self) -> Facts {
        let servers: Vec<Value> = self
            .servers()
            .iter()
            .map(|server| {
                json!({
                    "id": server.id,
                    "address": server.address,
                    "suffrage": SUFFRAGE[usize::from(server.suffrage)],
                })
            })
            .collect();
        [
            ("index", self.index.into()),
            ("term", self.term.into()),
            ("snapshot_version", self.version.into()),
            ("snapshot_id", self.id.clone().into()),
            ("configuration_index", self.configuration_index.into()),
            ("servers", servers.into()),
        ]
        .into_iter()
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .collect()
    }

    fn servers(&self) -> &[Server] {
        self.configuration.servers.as_deref().unwrap_or_default()
    }
}

fn damaged(why: &str) -> SourceError {
    SourceError::damaged(format!("meta.json is damaged: {why}"))
}
