use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::VaultSource;
use super::client::{Answer, Api};
use super::config::Product;
use super::endpoint::place;
use super::format::verifier;
use super::probe::{State, no_raft};
use super::refusal;
use crate::block::Blocks;
use crate::clock;
use crate::draft::free_bytes;
use crate::manifest::Sum;
use crate::seal::Sha256;
use crate::source::{
    Capture, Facts, Probe, Proof, Role, Scratch, SourceError, SourceErrorKind, Stop, blocking,
};
use crate::value::{Secret, format_bytes};

/// What is handed to the disk at once.
const BLOCK: usize = 1 << 20;
/// Blocks that wait for the disk. The server waits once they are full, and holds a lock meanwhile.
const WAITING: usize = 2;
const ROOM: &str = "set scratch_dir to a folder with room for the whole snapshot";

/// Reads a snapshot to a scratch file as fast as it comes, and proves it on the way.
pub(super) async fn capture(
    source: &VaultSource,
    before: &Probe,
    scratch: &Path,
    stop: &Stop,
) -> Result<Capture, SourceError> {
    let limit = source.config.timeout;
    tokio::select! {
        biased;
        () = stop.wait() => Err(SourceError::stopped()),
        done = timeout(limit.0, take(source, before, scratch)) => done.unwrap_or_else(|_| {
            let why = format!("the snapshot was not complete within {limit}");
            Err(refusal::unreachable(why).hint("raise `timeout` of the source"))
        }),
    }
}

async fn take(
    source: &VaultSource,
    before: &Probe,
    scratch: &Path,
) -> Result<Capture, SourceError> {
    let state = State::of(before);
    let product = state.product();
    let api = source.api()?;
    api.found(product);
    let leader = state.leader();
    api.knows_leader(leader.clone());
    let token = source.token_if_any(&api).await?;

    let (scratch, path, file) = {
        let parent = scratch.to_owned();
        blocking(move || create(&parent)).await?
    };
    // A standby of OpenBao answers for itself, with what it has by now.
    let leader = leader
        .as_ref()
        .filter(|_| product == Product::Openbao && before.role == Role::Replica);
    let captured_at = clock::now();
    let mut answer = begin(source, &api, token, product, leader).await?;
    let at = place(answer.url());
    if let (Some(bytes), Some(free)) = (answer.content_length(), free_bytes(&path))
        && bytes > free
    {
        let (bytes, free) = (format_bytes(bytes), format_bytes(free));
        let why = format!("the snapshot has {bytes}, and the scratch folder {free} left");
        return Err(SourceError::new(SourceErrorKind::Full, why).hint(ROOM));
    }

    let first = first_bytes(&api, &mut answer, product, &at).await?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let kept = {
        let path = path.clone();
        blocking(move || keep(file, &path, receiver, product))
    };
    // A failure on the one side ends the other.
    let (streamed, kept) = tokio::join!(stream(&api, answer, first, sender, &at), kept);
    let kept = match (streamed, kept) {
        (Ok(()), kept) => kept?,
        // The writer has stopped reading, and knows why.
        (Err(Broken::Reader), Err(error)) | (Err(Broken::Server(error)), _) => return Err(error),
        (Err(Broken::Reader), Ok(_)) => return Err(SourceError::stopped()),
    };
    not_behind(&kept.proof.facts, &state)?;

    let file = File::open(&path).map_err(|error| SourceError::io(&path, &error))?;
    let facts = facts(product, state, kept.proof.facts);
    Ok(Capture {
        file,
        bytes: kept.sum.bytes,
        captured_at,
        version: before.version.clone(),
        summary: summary(&facts),
        facts,
        checks: kept.proof.checks,
        warnings: Vec::new(),
        marks: None,
        proved: Some(kept.sum),
        scratch: Some(scratch),
    })
}

fn create(parent: &Path) -> Result<(Scratch, PathBuf, File), SourceError> {
    let scratch = Scratch::new(parent).map_err(|error| {
        SourceError::io(parent, &error).hint("set scratch_dir to a writable folder")
    })?;
    let path = scratch.path("snapshot");
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| SourceError::io(&path, &error))?;
    Ok((scratch, path, file))
}

/// Asks for the snapshot; once more with a newer token, where the first is refused.
async fn begin(
    source: &VaultSource,
    api: &Api,
    token: Option<Secret>,
    product: Product,
    leader: Option<&url::Url>,
) -> Result<Response, SourceError> {
    let path = product.snapshot_path();
    let mut token = token;
    let mut answer = api.download(path, token.as_ref(), leader).await?;
    if answer.status() == 403
        && let Some(refused) = &token
        && let Some(newer) = source.keyring.after_refusal(api, refused).await?
    {
        tracing::debug!("the token was refused; asking once more with a newer one");
        answer = api.download(path, Some(&newer), leader).await?;
        token = Some(newer);
    }
    if answer.status() == 200 {
        return Ok(answer);
    }
    let at = place(answer.url());
    let answer = api.read(answer).await?;
    match (answer.status, token, product) {
        (403, Some(refused), Product::Vault | Product::Openbao) => {
            Err(source.keyring.diagnose(api, &refused).await)
        }
        _ => Err(refused(&answer, product, &at)),
    }
}

/// Any answer but a snapshot.
fn refused(answer: &Answer, product: Product, at: &str) -> SourceError {
    let said = refusal::said(answer);
    match answer.status {
        401 | 403 => denied(answer, product),
        400 if said.contains("raft storage is not in use") => no_raft("not raft"),
        _ if said.contains("active cluster node not found")
            || said.contains("no active Vault instance") =>
        {
            refusal::unreachable(format!("{at} knows no leader at the moment"))
                .hint("has the cluster lost its majority? the run is tried again")
        }
        503 if said.contains("sealed") => refusal::sealed(at),
        404 => refusal::other(format!(
            "{at} has no snapshots at {} (404)",
            product.snapshot_path()
        ))
        .hint("does `address` lead to the server's API, and is `product` right?"),
        400 if said.contains("namespace") => {
            refusal::other(format!("{at} gives no snapshots in a namespace{said}"))
                .hint("a proxy that adds a namespace cannot stand between")
        }
        200 => refusal::unreachable(format!("{at} gives an error for a snapshot{said}"))
            .hint(refusal::LOG),
        status @ 500.. => refusal::unreachable(format!(
            "{at} gives no snapshot, but answers {status}{said}"
        ))
        .hint(refusal::LOG),
        status => refusal::other(format!(
            "{at} gives no snapshot, but answers {status}{said}"
        ))
        .hint("does `address` lead to the server's API?"),
    }
}

fn denied(answer: &Answer, product: Product) -> SourceError {
    let said = refusal::said(answer);
    let why = format!("the token may not read snapshots ({}{said})", answer.status);
    SourceError::new(SourceErrorKind::Denied, why).hint(product.right())
}

/// The beginning of the archive; anything else is read as what it says.
async fn first_bytes(
    api: &Api,
    answer: &mut Response,
    product: Product,
    at: &str,
) -> Result<Bytes, SourceError> {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("text/html") {
        return Err(refusal::web_page(200, at));
    }
    let mut first = loop {
        match next(api, answer, at).await? {
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) => break bytes,
            None => {
                return Err(
                    SourceError::damaged(format!("{at} answered with an empty snapshot"))
                        .hint("see the server's log"),
                );
            }
        }
    };
    if first[0] == 0x1f {
        return Ok(first);
    }
    if first[0] == b'<' {
        return Err(refusal::web_page(200, at));
    }
    // An error that came too late for its status.
    let mut text = Vec::new();
    while text.len() < 4096 {
        text.extend_from_slice(&first);
        match next(api, answer, at).await? {
            Some(bytes) => first = bytes,
            None => break,
        }
    }
    let json = serde_json::from_str(&api.without_secrets(&text)).unwrap_or(Value::Null);
    let said = Answer { status: 200, json };
    if said.errors().is_empty() {
        let why = format!("{at} answered with something that is no snapshot");
        return Err(SourceError::damaged(why).hint("does `address` lead to the server's API?"));
    }
    Err(refused(&said, product, at))
}

async fn next(api: &Api, answer: &mut Response, at: &str) -> Result<Option<Bytes>, SourceError> {
    let stall = api.limits.stall;
    timeout(stall, answer.chunk())
        .await
        .map_err(|_| refusal::stalled(at, stall))?
        .map_err(|error| refusal::broken(&error, at))
}

/// Which side of the stream failed.
enum Broken {
    Server(SourceError),
    Reader,
}

enum Part {
    Bytes(Bytes),
    /// The server says that this was all. Without it, the stream was given up.
    End,
}

/// Hands over what comes, in blocks.
async fn stream(
    api: &Api,
    mut answer: Response,
    first: Bytes,
    to: mpsc::Sender<Part>,
    at: &str,
) -> Result<(), Broken> {
    let memory = |error: std::io::Error| Broken::Server(refusal::other(error.to_string()));
    let blocks = Blocks::of(BLOCK);
    let mut block = blocks.take().map_err(memory)?;
    let mut filled = 0;
    let mut total: u64 = 0;
    let mut rest = first;
    loop {
        while !rest.is_empty() {
            let room = &mut block.bytes_mut()[filled..];
            let taken = rest.split_to(rest.len().min(room.len()));
            room[..taken.len()].copy_from_slice(&taken);
            filled += taken.len();
            if filled == BLOCK {
                let full = std::mem::replace(&mut block, blocks.take().map_err(memory)?);
                let full = Part::Bytes(full.freeze(filled));
                to.send(full).await.map_err(|_| Broken::Reader)?;
                total += filled as u64;
                filled = 0;
            }
        }
        match next(api, &mut answer, at).await {
            Ok(Some(bytes)) => rest = bytes,
            Ok(None) => break,
            Err(error) => {
                let so_far = format_bytes(total + filled as u64);
                let why = format!("{}; the snapshot broke off after {so_far}", error.why);
                return Err(Broken::Server(SourceError { why, ..error }));
            }
        }
    }
    for part in [Part::Bytes(block.freeze(filled)), Part::End] {
        to.send(part).await.map_err(|_| Broken::Reader)?;
    }
    Ok(())
}

/// What lies in the scratch file.
struct Kept {
    sum: Sum,
    proof: Proof,
}

/// Writes, digests and proves. Blocking.
fn keep(
    mut file: File,
    path: &Path,
    mut parts: mpsc::Receiver<Part>,
    product: Product,
) -> Result<Kept, SourceError> {
    let mut digest = Sha256::default();
    let mut verifier = verifier(Some(product));
    let mut bytes: u64 = 0;
    while let Some(part) = parts.blocking_recv() {
        let Part::Bytes(block) = part else {
            let proof = verifier.finish().map_err(|error| cut_short(error, bytes))?;
            let sum = digest.finish();
            return Ok(Kept { sum, proof });
        };
        file.write_all(&block).map_err(|error| {
            let error = SourceError::io(path, &error);
            match error.kind {
                SourceErrorKind::Full => error.hint(ROOM),
                _ => error,
            }
        })?;
        digest.update(&block);
        verifier.update(&block).map_err(|error| {
            let why = format!("the server sent a damaged snapshot: {}", error.why);
            SourceError { why, ..error }
                .hint("nothing was stored; does a proxy change what it passes on?")
        })?;
        bytes += block.len() as u64;
    }
    Err(SourceError::stopped())
}

/// The server can only stop sending when something fails after the first byte.
fn cut_short(error: SourceError, bytes: u64) -> SourceError {
    let why = format!(
        "the server ended the snapshot early, after {}: {}",
        format_bytes(bytes),
        error.why
    );
    SourceError { why, ..error }
        .hint("see the server's log: its seal or its disk may have failed while it was sending")
}

/// Whether the snapshot holds at least what the probe has seen.
fn not_behind(proved: &Facts, state: &State) -> Result<(), SourceError> {
    let index = proved.get("index").and_then(Value::as_u64);
    let (Some(index), Some(applied)) = (index, state.applied_index) else {
        return Ok(());
    };
    if index >= applied {
        return Ok(());
    }
    let why = format!(
        "the snapshot ends at index {index}, and the cluster was at {applied} before it was taken"
    );
    Err(SourceError::new(SourceErrorKind::Stale, why).hint(
        "a standby that lags behind answered: point `address` at the node beside this sidecar",
    ))
}

fn facts(product: Product, state: State, proved: Facts) -> Facts {
    let mut facts = Facts::new();
    facts.insert("product".into(), product.as_str().into());
    for (name, value) in [
        ("cluster_id", state.cluster_id),
        ("cluster_name", state.cluster_name),
    ] {
        if let Some(value) = value {
            facts.insert(name.into(), value.into());
        }
    }
    facts.extend(proved);
    facts
}

/// `index 1234, 56 keys`.
fn summary(facts: &Facts) -> String {
    let number = |name: &str| facts.get(name).and_then(Value::as_u64);
    let mut parts = Vec::new();
    if let Some(index) = number("index") {
        parts.push(format!("index {index}"));
    }
    match number("key_count") {
        Some(1) => parts.push("1 key".into()),
        Some(keys) => parts.push(format!("{keys} keys")),
        None => {}
    }
    if parts.is_empty() {
        parts.push("snapshot".into());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proved(facts: Value) -> Facts {
        serde_json::from_value(facts).unwrap()
    }

    #[test]
    fn a_snapshot_holds_what_the_probe_has_seen_or_more() {
        let state = State {
            applied_index: Some(40),
            ..State::default()
        };
        for (index, good) in [(39, false), (40, true), (41, true)] {
            let facts = proved(json!({ "index": index }));
            assert_eq!(not_behind(&facts, &state).is_ok(), good, "{index}");
            assert!(not_behind(&facts, &State::default()).is_ok());
        }
        let error = not_behind(&proved(json!({ "index": 39 })), &state).unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Stale);
    }

    #[test]
    fn a_capture_says_how_far_it_goes_and_how_much_it_holds() {
        let facts = facts(
            Product::Openbao,
            State {
                cluster_id: Some("c-1".into()),
                ..State::default()
            },
            proved(json!({ "index": 1234, "key_count": 56 })),
        );
        assert_eq!(summary(&facts), "index 1234, 56 keys");
        assert_eq!(facts["product"], "openbao");
        assert_eq!(facts["cluster_id"], "c-1");
        assert!(!facts.contains_key("cluster_name"));
    }

    /// Feeds the writer's side alone.
    fn keep_parts(parts: Vec<Part>) -> Result<Kept, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let (_scratch, path, file) = create(folder.path()).unwrap();
        let (sender, receiver) = mpsc::channel(8);
        for part in parts {
            assert!(sender.try_send(part).is_ok());
        }
        drop(sender);
        keep(file, &path, receiver, Product::Vault)
    }

    #[test]
    fn a_stream_that_was_given_up_is_no_snapshot() {
        let bytes = Bytes::from_static(&[0x1f, 0x8b]);
        let error = keep_parts(vec![Part::Bytes(bytes)]).err().unwrap();
        assert_eq!(error.kind, SourceErrorKind::Stopped);
    }

    #[test]
    fn an_early_end_is_the_servers() {
        let bytes = Bytes::from_static(&[0x1f]);
        let error = keep_parts(vec![Part::Bytes(bytes), Part::End])
            .err()
            .unwrap();
        assert_eq!(error.kind, SourceErrorKind::Damaged);
        assert!(
            error
                .why
                .starts_with("the server ended the snapshot early, after 1 B")
        );
        assert!(error.hint.unwrap().contains("the server's log"));
    }

    #[test]
    fn the_scratch_file_is_for_us_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (_scratch, path, _file) = create(folder.path()).unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
