use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::VaultSource;
use super::client::{Answer, Api, Call};
use super::config::Product;
use super::endpoint::place;
use super::leader::Leader;
use super::probe::{self, State};
use super::refusal;
use super::seal::SealStatus;
use crate::source::{
    BackupFacts, Facts, LivePlan, LiveRestore, Probe, Role, SourceError, SourceErrorKind, Stop,
};
use crate::value::Secret;

/// Between two looks at a cluster that is taking a backup.
const POLL: Duration = Duration::from_secs(1);
/// How long one look may take. A node that takes a backup in answers nothing meanwhile.
const LOOK: Duration = Duration::from_secs(10);
/// How long an address of the old cluster may take to answer.
const KNOCK: Duration = Duration::from_secs(2);
const MEMBERS: &str = "v1/sys/storage/raft/configuration";

/// A cluster that is to be given a backup.
#[derive(Debug)]
pub(super) struct Cluster(pub(super) VaultSource);

/// What a plan remembers.
struct Remembered {
    product: Product,
    address: Option<Url>,
    force: bool,
    backup_cluster: String,
    backup_index: u64,
    index_before: u64,
}

#[async_trait]
impl LiveRestore for Cluster {
    async fn plan(&self, backup: &BackupFacts<'_>) -> Result<LivePlan, SourceError> {
        let talk = self.talk()?;
        let probe = probe::probe(&self.0, &talk.api).await?;
        if let Some(why) = probe.not_now {
            let why = format!("{}: {why}", talk.api.endpoint());
            return Err(SourceError::new(SourceErrorKind::Other, why).hint(
                "a backup is restored into a cluster that works: initialise and unseal it first",
            ));
        }
        let state = State::of(&probe);
        let product = state.product();
        talk.api.found(product);
        let made_by = Product::named(&text(backup.facts, "product"));
        if family(made_by) != family(product) {
            let why = format!(
                "the backup is of {}, and {} answers at {}",
                made_by.title(),
                product.title(),
                talk.api.endpoint()
            );
            return Err(SourceError::new(SourceErrorKind::Other, why).hint(format!(
                "write it to a file with --to PATH, and put that back with `{}`",
                made_by.restore_command()
            )));
        }
        // Said before anything is agreed to: without a login nothing can be sent.
        let token = self.0.token_if_any(&talk.api).await?;
        match product {
            Product::Consul | Product::Nomad => Ok(talk.plan_of_agent(product, backup)),
            _ => {
                talk.plan_of_cluster(&probe, state, backup, token.as_ref())
                    .await
            }
        }
    }

    async fn apply(
        &self,
        plan: &LivePlan,
        file: &Path,
        stop: &Stop,
    ) -> Result<Vec<String>, SourceError> {
        let mut remembered = Remembered::from(&plan.state);
        let talk = self.talk()?;
        talk.api.found(remembered.product);
        let send = async {
            if let Some(address) = &remembered.address {
                // Whoever was asked may have taken their time.
                let now = talk.applied(address).await?;
                remembered.index_before = remembered.index_before.max(now);
            }
            talk.send(&remembered, file).await
        };
        tokio::select! {
            biased;
            () = stop.wait() => Err(SourceError::new(
                SourceErrorKind::Stopped,
                "stopped while the backup was being sent",
            )
            .hint(
                "the cluster takes it in if all of it had arrived: see the log of its leader \
                 before you try again",
            )),
            sent = send => sent,
        }?;
        tokio::select! {
            biased;
            () = stop.wait() => Err(SourceError::new(
                SourceErrorKind::Stopped,
                "stopped after the backup was sent: the cluster is taking it in",
            )),
            state = talk.watch(&remembered) => state,
        }
    }
}

/// A cluster and a client to speak to it.
struct Talk<'a> {
    source: &'a VaultSource,
    api: Api,
}

impl Cluster {
    fn talk(&self) -> Result<Talk<'_>, SourceError> {
        Ok(Talk {
            source: &self.0,
            api: self.0.api()?,
        })
    }
}

impl Talk<'_> {
    fn api(&self) -> &Api {
        &self.api
    }

    fn plan_of_agent(&self, product: Product, backup: &BackupFacts<'_>) -> LivePlan {
        let title = product.title();
        let index = number(backup.facts, "index");
        LivePlan {
            target: self.api().endpoint().url.to_string(),
            lines: vec![format!(
                "all state of this {title} cluster is replaced by that of index {index}"
            )],
            state: Remembered {
                product,
                address: None,
                force: false,
                backup_cluster: String::new(),
                backup_index: index,
                index_before: 0,
            }
            .into(),
        }
    }

    async fn plan_of_cluster(
        &self,
        probe: &Probe,
        state: State,
        backup: &BackupFacts<'_>,
        token: Option<&Secret>,
    ) -> Result<LivePlan, SourceError> {
        let own = || self.api.endpoint().url.clone();
        let address = match (probe.role, state.leader()) {
            (Role::Replica, Some(leader)) => leader,
            _ => own(),
        };
        let ours = state.cluster_id.clone().unwrap_or_default();
        let remembered = Remembered {
            product: state.product(),
            force: text(backup.facts, "cluster_id") != ours,
            backup_cluster: text(backup.facts, "cluster_id"),
            backup_index: number(backup.facts, "index"),
            index_before: self.applied(&address).await?,
            address: Some(address.clone()),
        };
        if remembered.force {
            self.refuse_living_predecessor(&address, &ours, backup, token)
                .await?;
        }
        Ok(LivePlan {
            target: address.to_string(),
            lines: lines(&remembered, probe, &state, backup),
            state: remembered.into(),
        })
    }

    /// A cluster whose nodes still answer at the addresses in the snapshot would take the new
    /// nodes, which wake up with its member list, for strangers and remove them (seen on 1.21.0;
    /// vault#31933).
    async fn refuse_living_predecessor(
        &self,
        address: &Url,
        ours: &str,
        backup: &BackupFacts<'_>,
        token: Option<&Secret>,
    ) -> Result<(), SourceError> {
        let own = self.members(address, token).await;
        let servers = backup.facts.get("servers").and_then(Value::as_array);
        let theirs = servers
            .into_iter()
            .flatten()
            .filter_map(|server| server.get("address")?.as_str());
        for there in theirs {
            if own.iter().any(|member| member == there) {
                continue;
            }
            let knocked = timeout(KNOCK, TcpStream::connect(there)).await;
            if !matches!(knocked, Ok(Ok(_))) || self.is_own(there, address, ours).await {
                continue;
            }
            let why = format!(
                "the cluster that the backup is of still answers at {there}: \
                 it would remove the restored nodes as strangers"
            );
            return Err(SourceError::new(SourceErrorKind::InUse, why).hint(format!(
                "stop its nodes first, or cut the way to them; if {there} is a node of the new \
                 cluster, let the token read {}",
                MEMBERS.trim_start_matches("v1/")
            )));
        }
        Ok(())
    }

    /// The addresses of the target's own members, as far as it tells.
    async fn members(&self, address: &Url, token: Option<&Secret>) -> Vec<String> {
        let mut own = Vec::new();
        if let Ok(leader) = self.look(address, Leader::PATH).await
            && let Some(cluster) = leader.json.get("leader_cluster_address")
            && let Some(url) = cluster.as_str().and_then(|text| Url::parse(text).ok())
        {
            own.push(place(&url));
        }
        let asked = self.api().call(Call {
            token,
            ..Call::get(MEMBERS)
        });
        let listed = match timeout(LOOK, asked).await {
            Ok(Ok(answer)) if answer.is_ok() => answer.json,
            _ => Value::Null,
        };
        let servers = listed
            .pointer("/data/config/servers")
            .and_then(Value::as_array);
        own.extend(servers.into_iter().flatten().filter_map(|server| {
            let address = server.get("address")?.as_str()?;
            Some(address.to_owned())
        }));
        own
    }

    /// Whether the node at a cluster address says that it belongs to the target. Its API is
    /// usually one port below.
    async fn is_own(&self, there: &str, address: &Url, ours: &str) -> bool {
        let Some((host, port)) = there.rsplit_once(':') else {
            return false;
        };
        let Some(port) = port
            .parse::<u16>()
            .ok()
            .and_then(|port| port.checked_sub(1))
        else {
            return false;
        };
        let Ok(url) = format!("{}://{host}:{port}", address.scheme()).parse::<Url>() else {
            return false;
        };
        let asked = self.api().ask_stranger(&url, SealStatus::PATH);
        let Ok(Ok(answer)) = timeout(KNOCK, asked).await else {
            return false;
        };
        let status = SealStatus::read(&answer, self.api().endpoint());
        status.is_ok_and(|status| status.cluster_id.as_deref() == Some(ours))
    }

    async fn send(&self, to: &Remembered, file: &Path) -> Result<(), SourceError> {
        let bytes = std::fs::metadata(file)
            .map_err(|error| SourceError::io(file, &error))?
            .len();
        let (method, path) = to.product.restore_call(to.force);
        let token = self.source.token_if_any(&self.api).await?;
        let upload = async |token: Option<&Secret>| {
            let api = &self.api;
            api.upload(method.clone(), path, token, file, bytes).await
        };
        let mut answer = upload(token.as_ref()).await?;
        if answer.status == 403
            && let Some(refused) = &token
            && let Some(newer) = self
                .source
                .keyring
                .after_refusal(&self.api, refused)
                .await?
        {
            answer = upload(Some(&newer)).await?;
        }
        if answer.is_ok() {
            return Ok(());
        }
        let said = refusal::said(&answer);
        Err(match answer.status {
            403 => SourceError::new(
                SourceErrorKind::Login,
                "the token may not restore snapshots (403)",
            )
            .hint(restore_right(to.product, path)),
            400 if said.contains("could not verify hash file") => SourceError::new(
                SourceErrorKind::Other,
                "the cluster cannot open the backup's seal: its keys were changed since",
            )
            .hint(
                "nothing has changed; with the keys of that time at hand, restore by hand: \
                 `restore --to backup.snap`, then `operator raft snapshot restore -force backup.snap`",
            ),
            _ => refusal::answered(&answer, "a restore", self.api().endpoint()),
        })
    }

    /// Waits until the cluster has taken the backup in, and says what it is then.
    async fn watch(&self, to: &Remembered) -> Result<Vec<String>, SourceError> {
        let began = Instant::now();
        let limit = self.source.config.timeout.0;
        let mut last = "it does not answer".to_owned();
        let mut good = 0;
        while began.elapsed() < limit {
            sleep(POLL).await;
            match self.state(to).await {
                // A node hangs while it takes a backup in, and works before: two looks make sure.
                Ok(Look::Active(line)) => {
                    good += 1;
                    if good == 2 {
                        return Ok(vec![line]);
                    }
                }
                Ok(Look::Sealed) if to.force => return Ok(sealed_as_expected(to)),
                Ok(Look::Sealed) => {
                    return Err(SourceError::new(
                        SourceErrorKind::Other,
                        "the cluster has sealed itself while it took the backup in",
                    )
                    .hint(
                        "see the leader's log for the reason; unseal it with the keys of the time \
                         of the backup",
                    ));
                }
                Ok(Look::Busy(line)) => {
                    good = 0;
                    last = line;
                }
                Err(error) => {
                    good = 0;
                    last = error.why;
                }
            }
        }
        let why = format!(
            "the backup was sent, and the cluster is not what it should be after {} s: {last}",
            limit.as_secs()
        );
        Err(SourceError::new(SourceErrorKind::Other, why)
            .hint("see the log of its leader before you try again"))
    }

    async fn state(&self, to: &Remembered) -> Result<Look, SourceError> {
        let Some(address) = &to.address else {
            let answer = self.api().call(Call::get("v1/status/leader")).await?;
            return Ok(match answer.json.as_str() {
                Some(leader) if answer.is_ok() && !leader.is_empty() => {
                    Look::Active(format!("active, {leader} leads"))
                }
                _ => Look::Busy("it has no leader".into()),
            });
        };
        let seal = self.seal_status(Some(address)).await?;
        if seal.sealed {
            return Ok(Look::Sealed);
        }
        if let Some(why) = seal.not_now() {
            return Ok(Look::Busy(why));
        }
        let cluster = seal.cluster_id.unwrap_or_default();
        if cluster != to.backup_cluster {
            return Ok(Look::Busy(format!("it is still cluster {cluster}")));
        }
        let answer = self.look(address, Leader::PATH).await?;
        let leader = Leader::read(&answer, self.api().endpoint())?;
        let index = leader.applied_index.unwrap_or(0);
        if leader.role() == Role::Unknown {
            return Ok(Look::Busy("it has no leader".into()));
        }
        // Taking a backup in is an entry of the log itself, behind both the log's end and the
        // backup's (`raft`, `restoreUserSnapshot`).
        if index <= to.index_before.max(to.backup_index) && !to.force {
            return Ok(Look::Busy(format!("it is still at raft index {index}")));
        }
        Ok(Look::Active(format!(
            "active, cluster {cluster}, raft index {index}"
        )))
    }

    async fn applied(&self, address: &Url) -> Result<u64, SourceError> {
        let answer = self.look(address, Leader::PATH).await?;
        let leader = Leader::read(&answer, self.api().endpoint())?;
        Ok(leader.applied_index.unwrap_or(0))
    }

    async fn seal_status(&self, address: Option<&Url>) -> Result<SealStatus, SourceError> {
        let answer = match address {
            Some(address) => self.look(address, SealStatus::PATH).await?,
            None => self.api().call(Call::get(SealStatus::PATH)).await?,
        };
        SealStatus::read(&answer, self.api().endpoint())
    }

    /// Asks a node of the cluster what it tells everybody.
    async fn look(&self, address: &Url, path: &str) -> Result<Answer, SourceError> {
        let asked = async {
            let answer = self.api().download(path, None, Some(address)).await?;
            self.api().read(answer).await
        };
        timeout(LOOK, asked).await.unwrap_or_else(|_| {
            let why = format!("{} does not answer", place(address));
            Err(SourceError::new(SourceErrorKind::Unreachable, why))
        })
    }
}

enum Look {
    Active(String),
    Sealed,
    Busy(String),
}

fn lines(to: &Remembered, probe: &Probe, live: &State, backup: &BackupFacts<'_>) -> Vec<String> {
    let title = to.product.title();
    let name = |name: Option<&str>, id: &str| match name {
        Some(name) if !name.is_empty() => format!("{name} ({id})"),
        _ => id.to_owned(),
    };
    let ours = name(
        live.cluster_name.as_deref(),
        live.cluster_id.as_deref().unwrap_or("unknown"),
    );
    let index = number(backup.facts, "index");
    let mut lines = vec![format!(
        "{title} {}, cluster {ours}",
        probe.version.as_deref().unwrap_or("of unknown version")
    )];
    if to.force {
        let theirs = name(
            Some(&text(backup.facts, "cluster_name")),
            &to.backup_cluster,
        );
        lines.extend([
            format!("the backup is of ANOTHER cluster: {theirs}"),
            format!("everything in this one is replaced by what that one had at raft index {index}"),
            "the nodes seal themselves afterwards: only the unseal (or recovery) keys of that cluster open them"
                .to_owned(),
        ]);
    } else {
        let before = to.index_before;
        lines.push(if index <= before {
            format!(
                "it is at raft index {before} and goes back to the state of index {index}: what was \
                 written since is lost"
            )
        } else {
            format!(
                "it is at raft index {before}, behind the backup's {index}: what it holds is \
                 replaced"
            )
        });
        lines.push(
            "tokens and leases made since then end; the unseal keys of that time open it"
                .to_owned(),
        );
    }
    if let (Some(written), Some(running)) = (
        backup.version.and_then(release),
        probe.version.as_deref().and_then(release),
    ) && written > running
    {
        lines.push(format!(
            "the backup was written by {}, which is newer: upgrade the cluster first",
            backup.version.unwrap_or_default()
        ));
    }
    lines
}

fn sealed_as_expected(to: &Remembered) -> Vec<String> {
    let cluster = &to.backup_cluster;
    vec![
        "sealed, as expected after the backup of another cluster".to_owned(),
        format!(
            "unseal each node with the keys of cluster {cluster}; the keys of before open nothing any more"
        ),
    ]
}

/// The first two numbers of a version.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '+', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn restore_right(product: Product, path: &str) -> String {
    match product {
        Product::Consul => "the token needs a management policy".into(),
        Product::Nomad => "the token must be a management token".into(),
        _ => format!(
            "the token's policy needs: path \"{}\" {{ capabilities = [\"update\"] }}",
            path.trim_start_matches("v1/")
        ),
    }
}

/// Snapshots of one family are read by each of its products.
fn family(product: Product) -> Product {
    match product {
        Product::Auto | Product::Vault | Product::Openbao => Product::Vault,
        other => other,
    }
}

fn text(facts: &Facts, name: &str) -> String {
    let value = facts.get(name).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn number(facts: &Facts, name: &str) -> u64 {
    facts.get(name).and_then(Value::as_u64).unwrap_or(0)
}

impl From<Remembered> for Facts {
    fn from(to: Remembered) -> Self {
        let state = json!({
            "product": to.product.as_str(),
            "address": to.address.as_ref().map(Url::as_str),
            "force": to.force,
            "backup_cluster": to.backup_cluster,
            "backup_index": to.backup_index,
            "index_before": to.index_before,
        });
        match state {
            Value::Object(state) => state,
            _ => Facts::new(),
        }
    }
}

impl From<&Facts> for Remembered {
    fn from(state: &Facts) -> Self {
        Self {
            product: Product::named(&text(state, "product")),
            address: text(state, "address").parse().ok(),
            force: state.get("force").and_then(Value::as_bool) == Some(true),
            backup_cluster: text(state, "backup_cluster"),
            backup_index: number(state, "backup_index"),
            index_before: number(state, "index_before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_first_two_numbers() {
        assert_eq!(release("1.21.0"), Some((1, 21)));
        assert_eq!(release("1.9.3+ent"), Some((1, 9)));
        assert!(release("1.21.0") > release("1.9.3"));
        assert_eq!(release("dev"), None);
    }

    #[test]
    fn a_plan_remembers_what_it_was_made_of() {
        let facts = Facts::from(Remembered {
            product: Product::Openbao,
            address: "https://127.0.0.1:8200".parse().ok(),
            force: true,
            backup_cluster: "c1".into(),
            backup_index: 9,
            index_before: 7,
        });
        let again = Remembered::from(&facts);
        assert_eq!(again.product, Product::Openbao);
        assert_eq!(again.address.unwrap().as_str(), "https://127.0.0.1:8200/");
        assert!(again.force);
        assert_eq!(
            (
                again.backup_cluster.as_str(),
                again.backup_index,
                again.index_before
            ),
            ("c1", 9, 7)
        );
    }
}
