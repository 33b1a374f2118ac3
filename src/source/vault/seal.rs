use serde::Deserialize;

use super::client::Answer;
use super::endpoint::Endpoint;
use super::refusal;
use crate::source::SourceError;

/// What a node says of its seal, to everyone. Each may be absent somewhere.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SealStatus {
    pub initialized: bool,
    pub sealed: bool,
    /// Keys needed, and keys given since it was sealed.
    pub t: u64,
    pub progress: u64,
    pub version: Option<String>,
    /// OpenBao's, since 2.6.
    pub commit_date: Option<String>,
    pub migration: bool,
    pub recovery_seal: bool,
    pub storage_type: Option<String>,
    /// Vault's, since 1.19.
    pub removed_from_cluster: Option<bool>,
    pub cluster_name: Option<String>,
    pub cluster_id: Option<String>,
}

impl SealStatus {
    pub(super) const PATH: &str = "v1/sys/seal-status";

    /// Reads the answer to [`SealStatus::PATH`].
    pub(super) fn read(answer: &Answer, endpoint: &Endpoint) -> Result<Self, SourceError> {
        let said = answer.json.get("sealed").is_some();
        let status = serde_json::from_value(answer.json.clone()).ok();
        // The status code is 200 whatever the state, and a proxy's word is not the server's.
        status
            .filter(|_| said)
            .ok_or_else(|| refusal::answered(answer, "its seal", endpoint))
    }

    /// Why nothing can be saved of this node now, if so.
    pub(super) fn not_now(&self) -> Option<String> {
        if self.removed_from_cluster == Some(true) {
            Some("this node was removed from its cluster".into())
        } else if !self.initialized {
            Some("this node is not initialised".into())
        } else if self.sealed && self.migration {
            Some("this node is sealed, and its seal is being migrated".into())
        } else if self.sealed && self.recovery_seal {
            Some("this node is sealed: its seal does not open it now".into())
        } else if self.sealed {
            let (progress, needed) = (self.progress, self.t);
            Some(match needed {
                0 => "this node is sealed".into(),
                _ => format!("this node is sealed ({progress} of {needed} keys given)"),
            })
        } else {
            None
        }
    }
}
