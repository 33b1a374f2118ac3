use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::{Probe, Role};

/// The roles a job's source is saved in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOn {
    /// The primary, or a node on its own.
    #[default]
    Primary,
    /// Replicas only.
    Replica,
    /// Any node, also one that does not say.
    Any,
    /// Replicas; the primary only while no replica of it is online.
    PreferReplica,
}

/// What the role gate decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Go on.
    Open,
    /// It answered, and is not to be saved now.
    Skip(String),
    /// It did not say what it is, which is no licence.
    Refuse(String),
}

/// Whether a source that answered `probe` is to be saved now.
pub(super) fn gate(run_on: RunOn, probe: &Probe) -> Gate {
    if let Some(why) = &probe.not_now {
        return Gate::Skip(why.clone());
    }
    let leads = matches!(probe.role, Role::Primary | Role::Standalone);
    match (run_on, probe.role) {
        (RunOn::Any, _) | (RunOn::Replica | RunOn::PreferReplica, Role::Replica) => Gate::Open,
        (_, Role::Unknown) => Gate::Refuse("the source did not say which role it has".into()),
        (RunOn::Primary, _) if leads => Gate::Open,
        (RunOn::PreferReplica, _) if probe.online_replicas == 0 => Gate::Open,
        (RunOn::PreferReplica, _) => {
            let replicas = match probe.online_replicas {
                1 => "a replica is".to_owned(),
                n => format!("{n} replicas are"),
            };
            Gate::Skip(format!("this node is the primary, and {replicas} online"))
        }
        (RunOn::Replica, role) => Gate::Skip(match role {
            Role::Standalone => "this node stands alone, and run_on is replica".into(),
            _ => "this node is the primary, and run_on is replica".into(),
        }),
        (RunOn::Primary, _) => Gate::Skip(match &probe.leader {
            Some(leader) => format!("this node is a {}; {leader} leads", probe.follower),
            None => format!("this node is a {}", probe.follower),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(role: Role) -> Probe {
        Probe::of(role, "")
    }

    #[test]
    fn an_unknown_role_opens_nothing_but_any() {
        for run_on in [RunOn::Primary, RunOn::Replica, RunOn::PreferReplica] {
            assert!(
                matches!(gate(run_on, &probe(Role::Unknown)), Gate::Refuse(_)),
                "{run_on:?}"
            );
        }
        assert_eq!(gate(RunOn::Any, &probe(Role::Unknown)), Gate::Open);
    }

    #[test]
    fn each_role_opens_its_own_gate() {
        use Role::{Primary, Replica, Standalone};
        let open = [
            (RunOn::Primary, Primary),
            (RunOn::Primary, Standalone),
            (RunOn::Replica, Replica),
            (RunOn::Any, Primary),
            (RunOn::Any, Replica),
            (RunOn::PreferReplica, Replica),
            (RunOn::PreferReplica, Primary),
            (RunOn::PreferReplica, Standalone),
        ];
        for run_on in [
            RunOn::Primary,
            RunOn::Replica,
            RunOn::Any,
            RunOn::PreferReplica,
        ] {
            for role in [Primary, Replica, Standalone] {
                let opened = gate(run_on, &probe(role)) == Gate::Open;
                let expected =
                    open.contains(&(run_on, role)) || (run_on, role) == (RunOn::Any, Standalone);
                assert_eq!(opened, expected, "{run_on:?} {role:?}");
            }
        }
    }

    #[test]
    fn a_primary_leaves_it_to_an_online_replica_when_replicas_are_preferred() {
        let mut primary = probe(Role::Primary);
        primary.online_replicas = 1;
        assert!(matches!(
            gate(RunOn::PreferReplica, &primary),
            Gate::Skip(_)
        ));
    }

    #[test]
    fn what_is_loading_is_skipped_whatever_its_role() {
        let mut loading = probe(Role::Primary);
        loading.not_now = Some("loading".into());
        assert_eq!(gate(RunOn::Any, &loading), Gate::Skip("loading".into()));
    }
}
