use serde_json::Value;
use url::Url;

use super::client::Answer;
use super::endpoint::{Endpoint, place};
use super::refusal;
use crate::source::{Role, SourceError};

/// What a node said of who leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Leader {
    pub ha_enabled: bool,
    pub is_self: bool,
    /// The leader's API.
    pub address: Option<Url>,
    /// How far this node has come.
    pub applied_index: Option<u64>,
    /// A field that Vault always has, and OpenBao never.
    pub names_performance: bool,
}

impl Leader {
    pub(super) const PATH: &str = "v1/sys/leader";

    /// Reads the answer to [`Leader::PATH`].
    pub(super) fn read(answer: &Answer, endpoint: &Endpoint) -> Result<Self, SourceError> {
        let json = &answer.json;
        // A node that is alone says only that.
        let Some(ha_enabled) = json.get("ha_enabled").and_then(Value::as_bool) else {
            return Err(refusal::answered(answer, "who leads", endpoint));
        };
        let flag = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
        let address = json.get("leader_address").and_then(Value::as_str);
        Ok(Self {
            ha_enabled,
            is_self: flag("is_self"),
            address: address
                .and_then(|text| Url::parse(text).ok())
                .filter(|url| url.host().is_some()),
            applied_index: json.get("raft_applied_index").and_then(Value::as_u64),
            names_performance: json.get("performance_standby").is_some(),
        })
    }

    pub(super) fn role(&self) -> Role {
        if !self.ha_enabled {
            Role::Standalone
        } else if self.is_self {
            Role::Primary
        } else if self.address.is_some() {
            Role::Replica
        } else {
            Role::Unknown
        }
    }

    /// Host and port of the leader.
    pub(super) fn shown(&self) -> Option<String> {
        self.address.as_ref().map(place)
    }
}
