use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::VaultSource;
use super::client::{Api, Call};
use super::config::Product;
use super::leader::Leader;
use super::product::{self, Agent};
use super::refusal;
use super::seal::SealStatus;
use crate::clock;
use crate::source::{Facts, Probe, Role, SourceError};
use crate::value::format_age;

/// What the capture wants to know of the server, carried in [`Probe::state`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// As [`Product::as_str`] says it.
    pub product: Option<String>,
    pub cluster_id: Option<String>,
    pub cluster_name: Option<String>,
    /// The leader's API, where another node leads or it is known.
    pub leader_address: Option<String>,
    /// How far the node had come.
    pub applied_index: Option<u64>,
}

impl State {
    /// What `probe` remembers; empty where it remembers nothing.
    pub(super) fn of(probe: &Probe) -> Self {
        serde_json::from_value(probe.state.clone().into()).unwrap_or_default()
    }

    /// For [`Probe::state`].
    pub(super) fn into_facts(self) -> Facts {
        match serde_json::to_value(self) {
            Ok(Value::Object(facts)) => facts,
            _ => Facts::new(),
        }
    }

    pub(super) fn leader(&self) -> Option<Url> {
        self.leader_address.as_deref()?.parse().ok()
    }

    /// What answered.
    pub(super) fn product(&self) -> Product {
        Product::named(self.product.as_deref().unwrap_or_default())
    }
}

/// Asks for role and state: two questions, and a third only of the leader. None needs a login,
/// except with Consul and Nomad.
pub(super) async fn probe(source: &VaultSource, api: &Api) -> Result<Probe, SourceError> {
    if let Some(other @ (Product::Consul | Product::Nomad)) = api.product() {
        return agent(source, api, other).await;
    }
    let answer = api.call(Call::get(SealStatus::PATH)).await?;
    if answer.status == 404 && api.product().is_none() {
        let other = product::tell_other(api, &answer).await?;
        api.found(other);
        return agent(source, api, other).await;
    }
    let seal = SealStatus::read(&answer, api.endpoint())?;
    wrong_storage(&seal)?;
    if let Some(why) = seal.not_now() {
        let mut probe = waiting(&seal, why);
        probe.warnings.extend(api.warning());
        return Ok(probe);
    }
    let leader = api.leader().await?;
    api.found(product::tell(&seal, Some(&leader)));
    let mut probe = of_leader(&seal, &leader);
    if matches!(probe.role, Role::Primary | Role::Standalone) {
        health(api, &mut probe).await?;
    }
    let state = State {
        product: api.product().map(|product| product.as_str().to_owned()),
        cluster_id: seal.cluster_id,
        cluster_name: seal.cluster_name,
        leader_address: leader.address.map(String::from),
        applied_index: leader.applied_index,
    };
    probe.state = state.into_facts();
    probe.warnings.extend(api.warning());
    Ok(probe)
}

/// The role alone, some time after the probe `before`.
pub(super) async fn role_since(source: &VaultSource, before: &Probe) -> Result<Role, SourceError> {
    let (api, state) = (source.api()?, State::of(before));
    if let other @ (Product::Consul | Product::Nomad) = state.product() {
        api.found(other);
        return Ok(agent(source, &api, other).await?.role);
    }
    let leader = api.leader().await?;
    // Behind a load balancer another node may answer; as long as the same one leads, nothing has
    // changed.
    if leader.address.is_some() && leader.address == state.leader() {
        return Ok(before.role);
    }
    Ok(leader.role())
}

/// It answers and will never have a snapshot.
fn wrong_storage(seal: &SealStatus) -> Result<(), SourceError> {
    match seal.storage_type.as_deref() {
        None | Some("raft" | "") => Ok(()),
        Some(other) => Err(no_raft(&format!("`{other}`"))),
    }
}

/// The storage cannot be saved here.
pub(super) fn no_raft(what: &str) -> SourceError {
    refusal::other(format!(
        "the storage is {what}, and only raft has snapshots"
    ))
    .hint("back up the storage itself, or migrate: vault operator migrate")
}

fn waiting(seal: &SealStatus, why: String) -> Probe {
    let state = why.strip_prefix("this node ").unwrap_or(&why);
    let state = state.strip_prefix("is ").unwrap_or(state);
    let summary = with_version(seal.version.as_deref(), state);
    let mut probe = Probe::of(Role::Unknown, summary);
    probe.version.clone_from(&seal.version);
    probe.not_now = Some(why);
    probe
}

fn of_leader(seal: &SealStatus, leader: &Leader) -> Probe {
    let role = leader.role();
    let said = match role {
        Role::Primary => "active".to_owned(),
        Role::Standalone => "alone".to_owned(),
        Role::Replica => format!("standby of {}", leader.shown().unwrap_or_default()),
        Role::Unknown => "without a leader".to_owned(),
    };
    let mut probe = Probe::of(
        role,
        with_version(seal.version.as_deref(), &format!("unsealed, raft, {said}")),
    );
    probe.version.clone_from(&seal.version);
    match role {
        Role::Replica => {
            probe.follower = "standby";
            probe.leader = leader.shown();
        }
        Role::Unknown => {
            probe.not_now = Some(
                "no leader is elected at the moment: has the cluster lost its majority?".into(),
            );
        }
        Role::Primary | Role::Standalone => {}
    }
    probe
}

fn with_version(version: Option<&str>, rest: &str) -> String {
    match version {
        Some(version) => format!("{version}, {rest}"),
        None => rest.to_owned(),
    }
}

/// What only the node that leads is asked for: its clock, and whether its cluster only follows
/// another one. A proxy may change the status code, so the body counts.
async fn health(api: &Api, probe: &mut Probe) -> Result<(), SourceError> {
    let before = clock::now();
    let answer = api.call(Call::get("v1/sys/health")).await?;
    // It is no reason to save nothing that a proxy lets the question not through.
    if answer.json.get("sealed").is_none() {
        return Ok(());
    }
    let theirs = answer.json.get("server_time_utc").and_then(Value::as_i64);
    probe
        .warnings
        .extend(theirs.and_then(|theirs| apart(theirs, before)));
    let mode = |name: &str| answer.json.get(name).and_then(Value::as_str);
    if mode("replication_dr_mode") == Some("secondary") {
        probe.not_now = Some(
            "this cluster is a disaster recovery secondary, which gives no snapshots: \
             save the primary cluster"
                .into(),
        );
    }
    Ok(())
}

/// A remark on a server's clock, in Unix seconds, that differs from ours.
fn apart(theirs: i64, ours: Timestamp) -> Option<String> {
    let theirs = Timestamp::from_second(theirs).ok()?;
    let (ahead, behind) = (clock::since(ours, theirs), clock::since(theirs, ours));
    let (apart, side) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    (apart > clock::TOLERANCE).then(|| {
        format!(
            "the clock of the server is {} {side} this machine's: set the one that is wrong, for \
             ids, schedules and retention go by them",
            format_age(apart)
        )
    })
}

/// Consul and Nomad: an agent says of itself whether it leads, to a token that may read it.
async fn agent(source: &VaultSource, api: &Api, product: Product) -> Result<Probe, SourceError> {
    let token = source.token_if_any(api).await?;
    let answer = api
        .call(Call {
            token: token.as_ref(),
            ..Call::get(Agent::PATH)
        })
        .await?;
    let (mut probe, applied_index) = if answer.status == 403 {
        let summary = "it does not tell its role to this token";
        let mut probe = Probe::of(Role::Unknown, summary);
        let right = "the token needs `read` on the agent, or nobody can tell who leads";
        probe.warnings.push(right.into());
        (probe, None)
    } else {
        let agent = Agent::read(&answer, product, api.endpoint())?;
        (of_agent(&agent, product)?, agent.applied_index)
    };
    let state = State {
        product: Some(product.as_str().to_owned()),
        applied_index,
        ..State::default()
    };
    probe.state = state.into_facts();
    probe.warnings.extend(api.warning());
    Ok(probe)
}

fn of_agent(agent: &Agent, product: Product) -> Result<Probe, SourceError> {
    if !agent.server {
        let why = format!("this {} agent is a client, not a server", product.title());
        return Err(refusal::other(why).hint("point `address` at a server of the cluster"));
    }
    let (role, said) = match (&agent.leader, agent.leads) {
        (_, true) => (Role::Primary, "leader".to_owned()),
        (Some(leader), false) => (Role::Replica, format!("follower of {leader}")),
        (None, false) => (Role::Unknown, "without a leader".to_owned()),
    };
    let mut probe = Probe::of(role, with_version(agent.version.as_deref(), &said));
    probe.version.clone_from(&agent.version);
    match role {
        Role::Replica => {
            probe.follower = "follower";
            probe.leader.clone_from(&agent.leader);
        }
        Role::Unknown => probe.not_now = Some("no leader is elected at the moment".into()),
        Role::Primary | Role::Standalone => {}
    }
    Ok(probe)
}
