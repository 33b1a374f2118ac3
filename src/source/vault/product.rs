//! What differs between the servers that speak of raft snapshots.

use reqwest::Method;
use serde_json::Value;

use super::client::{Answer, Api, Call};
use super::config::Product;
use super::endpoint::Endpoint;
use super::leader::Leader;
use super::refusal;
use super::seal::SealStatus;
use crate::source::SourceError;

impl Product {
    /// As it stands in manifests.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Product::Auto => "auto",
            Product::Vault => "vault",
            Product::Openbao => "openbao",
            Product::Consul => "consul",
            Product::Nomad => "nomad",
        }
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Product::Auto | Product::Vault => "Vault",
            Product::Openbao => "OpenBao",
            Product::Consul => "Consul",
            Product::Nomad => "Nomad",
        }
    }

    /// Where a snapshot is read, below the address.
    pub(super) fn snapshot_path(self) -> &'static str {
        match self {
            Product::Auto | Product::Vault | Product::Openbao => "v1/sys/storage/raft/snapshot",
            Product::Consul => "v1/snapshot",
            Product::Nomad => "v1/operator/snapshot",
        }
    }

    /// How a snapshot is put back. `force` is for one of another cluster, which only Vault and
    /// OpenBao tell apart.
    pub(super) fn restore_call(self, force: bool) -> (Method, &'static str) {
        match self {
            Product::Auto | Product::Vault | Product::Openbao if force => {
                (Method::POST, "v1/sys/storage/raft/snapshot-force")
            }
            Product::Auto | Product::Vault | Product::Openbao => {
                (Method::POST, self.snapshot_path())
            }
            Product::Consul | Product::Nomad => (Method::PUT, self.snapshot_path()),
        }
    }

    /// The right a token needs, as the server's operators write it.
    pub(super) fn right(self) -> &'static str {
        match self {
            Product::Auto | Product::Vault | Product::Openbao => {
                "the token's policy needs: path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }"
            }
            Product::Consul => "the token needs a management policy",
            Product::Nomad => "the token needs `operator { capabilities = [\"snapshot-save\"] }`",
        }
    }

    /// What people call the file when they put it back by hand.
    pub(super) fn snapshot_file(self) -> &'static str {
        match self {
            Product::Auto | Product::Vault | Product::Openbao => "vault.snap",
            Product::Consul => "consul.snap",
            Product::Nomad => "nomad.snap",
        }
    }

    /// What people type before it.
    pub(super) fn restore_command(self) -> &'static str {
        match self {
            Product::Auto | Product::Vault => "vault operator raft snapshot restore",
            Product::Openbao => "bao operator raft snapshot restore",
            Product::Consul => "consul snapshot restore",
            Product::Nomad => "nomad operator snapshot restore",
        }
    }

    /// Whether a manifest or a probe means this product.
    pub(super) fn named(name: &str) -> Self {
        [Self::Openbao, Self::Consul, Self::Nomad]
            .into_iter()
            .find(|product| product.as_str() == name)
            .unwrap_or(Self::Vault)
    }
}

/// Vault or OpenBao, by what their answers show. A leader's answer is there where it was asked for.
pub(super) fn tell(seal: &SealStatus, leader: Option<&Leader>) -> Product {
    if seal.commit_date.is_some() {
        return Product::Openbao;
    }
    if seal.removed_from_cluster.is_some() || leader.is_some_and(|leader| leader.names_performance)
    {
        return Product::Vault;
    }
    // OpenBao began at 2.0, when Vault was at 1.14 and had neither of the two.
    let major = seal
        .version
        .as_deref()
        .and_then(|version| version.split('.').next());
    if major.and_then(|major| major.parse::<u32>().ok()) >= Some(2) {
        Product::Openbao
    } else {
        Product::Vault
    }
}

/// Consul or Nomad, where an address knows nothing of a seal.
pub(super) async fn tell_other(api: &Api, seal: &Answer) -> Result<Product, SourceError> {
    // Each answers 403 without a token, and 404 to the other's question.
    for (path, product) in [
        ("v1/catalog/datacenters", Product::Consul),
        ("v1/regions", Product::Nomad),
    ] {
        let answer = api.call(Call::get(path)).await?;
        if matches!(answer.json, Value::Array(_)) || answer.status == 403 {
            return Ok(product);
        }
    }
    Err(refusal::answered(seal, "its seal", api.endpoint()))
}

/// What an agent of Consul or Nomad says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agent {
    pub version: Option<String>,
    pub server: bool,
    pub leads: bool,
    pub leader: Option<String>,
    pub applied_index: Option<u64>,
}

impl Agent {
    pub(super) const PATH: &str = "v1/agent/self";

    /// Reads the answer to [`Agent::PATH`].
    pub(super) fn read(
        answer: &Answer,
        product: Product,
        endpoint: &Endpoint,
    ) -> Result<Self, SourceError> {
        let json = &answer.json;
        let (stats, own) = match product {
            Product::Consul => (json.get("Stats"), "consul"),
            _ => (json.get("stats"), "nomad"),
        };
        let Some(stats) = stats else {
            return Err(refusal::answered(answer, "its state", endpoint));
        };
        // Every figure is a text.
        let text = |group: &str, name: &str| stats.get(group)?.get(name)?.as_str();
        let version = match product {
            Product::Consul => json.pointer("/Config/Version"),
            _ => json.pointer("/config/Version/Version"),
        };
        Ok(Self {
            version: version.and_then(Value::as_str).map(str::to_owned),
            server: text(own, "server") == Some("true"),
            leads: text(own, "leader") == Some("true"),
            leader: text(own, "leader_addr")
                .filter(|address| !address.is_empty())
                .map(str::to_owned),
            applied_index: text("raft", "applied_index").and_then(|index| index.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests;
