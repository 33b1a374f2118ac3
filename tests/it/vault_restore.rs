//! Backups of a real Vault, put back into the same cluster and into another one.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::support::VaultCluster;

/// A sandbox with the job `vault`, beside the first node, whose token may save and restore.
fn beside(cluster: &VaultCluster) -> Sandbox {
    let mut sandbox = Sandbox::new();
    for folder in ["nas", "scratch"] {
        sandbox.folder(folder);
    }
    point_at(&mut sandbox, cluster);
    sandbox
}

fn point_at(sandbox: &mut Sandbox, cluster: &VaultCluster) {
    let policy = serde_json::json!({ "policy": "path \"sys/storage/raft/snapshot*\" { capabilities = [\"read\", \"update\"] }" });
    cluster.api("PUT", "sys/policies/acl/restore", &policy);
    let token = cluster.create_token(&serde_json::json!({ "policies": ["restore"] }));
    sandbox.set("VAULT_TOKEN", &token);
    let root = sandbox.root().display().to_string();
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ nas: file://{root}/nas }}\n\
             jobs: {{ vault: {{ source: {{ type: vault, address: \"{}\" }} }} }}\n\
             scratch_dir: {root}/scratch\n",
            cluster.nodes[0].address
        ),
    );
}

fn into_source(sandbox: &Sandbox, more: &[&str]) -> crate::sandbox::Ended {
    let arguments = ["restore", "vault", "--into-source"];
    sandbox.run(arguments.iter().chain(more))
}

fn clean(sandbox: &Sandbox) {
    assert!(
        crate::sandbox::names(&sandbox.path("scratch")).is_empty(),
        "scratch files were left"
    );
}

#[test]
#[ignore = "needs vault"]
fn a_cluster_goes_back_to_its_own_backup() {
    let cluster = VaultCluster::start(1);
    let sandbox = beside(&cluster);
    cluster.put_secret("kept", "of then");
    sandbox.run(["backup"]).ok();
    cluster.put_secret("kept", "of now");
    cluster.put_secret("later", "of now");

    let refused = into_source(&sandbox, &[]);
    refused.code(2);
    assert!(refused.stderr.contains("--force"), "{refused:?}");

    let dry = into_source(&sandbox, &["--dry-run"]);
    dry.ok();
    for text in ["goes back to the state of index", "verified", "dry run"] {
        assert!(dry.stdout.contains(text), "{text}: {dry:?}");
    }
    assert_eq!(cluster.secret("kept").as_deref(), Some("of now"));

    let done = into_source(&sandbox, &["--force"]);
    done.ok();
    assert!(done.stdout.contains("restored"), "{done:?}");
    assert!(done.stdout.contains("active"), "{done:?}");
    assert_eq!(cluster.secret("kept").as_deref(), Some("of then"));
    assert_eq!(cluster.secret("later"), None);
    clean(&sandbox);
}

/// The same at a terminal, where somebody types an answer.
fn at_a_terminal(sandbox: &Sandbox, answer: &str) -> (Option<i32>, String) {
    use std::io::Write;
    let lifeboat = sandbox.command(["restore", "vault", "--into-source"]);
    let words: Vec<_> = std::iter::once(lifeboat.get_program())
        .chain(lifeboat.get_args())
        .map(|word| word.to_str().expect("plain words"))
        .collect();
    let mut terminal = std::process::Command::new("script");
    terminal
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .current_dir(sandbox.root())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    for (name, value) in lifeboat.get_envs() {
        terminal.env(name, value.expect("a value"));
    }
    let mut child = terminal.spawn().expect("script is part of Debian");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{answer}").expect("the terminal takes it");
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), seen)
}

#[test]
#[ignore = "needs vault"]
fn somebody_at_a_terminal_is_asked() {
    let cluster = VaultCluster::start(1);
    let sandbox = beside(&cluster);
    cluster.put_secret("kept", "of then");
    sandbox.run(["backup"]).ok();
    cluster.put_secret("kept", "of now");

    let (code, seen) = at_a_terminal(&sandbox, "y");
    assert_eq!(code, Some(1), "{seen}");
    assert!(seen.contains("goes back to the state of index"), "{seen}");
    assert!(
        seen.contains("was not agreed to; nothing has changed"),
        "{seen}"
    );
    assert_eq!(cluster.secret("kept").as_deref(), Some("of now"));

    let (code, seen) = at_a_terminal(&sandbox, "yes");
    assert_eq!(code, Some(0), "{seen}");
    assert_eq!(cluster.secret("kept").as_deref(), Some("of then"));
}

#[test]
#[ignore = "needs vault"]
fn a_restore_finds_the_leader_from_a_standby() {
    let cluster = VaultCluster::start(3);
    let mut sandbox = beside(&cluster);
    cluster.put_secret("kept", "of then");
    // The first node initialised the cluster and leads.
    sandbox.run(["backup"]).ok();
    cluster.put_secret("kept", "of now");
    let standby = (cluster.wait_for_leader() + 1) % 3;
    let at_standby = std::fs::read_to_string(sandbox.path("config.yaml")).unwrap();
    let leader = &cluster.nodes[cluster.wait_for_leader()].address;
    let at_standby = at_standby.replace(leader.as_str(), &cluster.nodes[standby].address);
    sandbox.write("config.yaml", at_standby);
    sandbox.set("NO_COLOR", "1");

    let skipped = sandbox.run(["backup"]);
    skipped.ok();
    assert!(skipped.stdout.contains("standby"), "{skipped:?}");

    let done = into_source(&sandbox, &["--force", "--json"]);
    done.ok();
    let document: Value = done.document();
    let to = document["to"].as_str().expect("an address");
    assert!(leader.starts_with(to.trim_end_matches('/')), "{document}");
    cluster.wait_for_secret("kept", "of then");
    cluster.wait_until_settled();
}

#[test]
#[ignore = "needs vault"]
fn another_cluster_takes_a_backup_once_the_old_one_is_gone_and_opens_with_its_keys() {
    let mut old = VaultCluster::start(1);
    let mut sandbox = beside(&old);
    old.put_secret("kept", "of the old cluster");
    sandbox.run(["backup"]).ok();
    let id = old.api("GET", "sys/seal-status", &Value::Null)["cluster_id"].clone();
    let id = id.as_str().expect("an id");

    let mut new = VaultCluster::start(1);
    point_at(&mut sandbox, &new);
    let refused = into_source(&sandbox, &["--force"]);
    refused.code(1);
    assert!(refused.stderr.contains("still answers"), "{refused:?}");
    new.put_secret("untouched", "yes");
    assert_eq!(new.secret("untouched").as_deref(), Some("yes"));

    old.kill(0);
    let dry = into_source(&sandbox, &["--dry-run"]);
    dry.ok();
    assert!(dry.stdout.contains("ANOTHER cluster"), "{dry:?}");
    assert!(dry.stdout.contains(id), "{dry:?}");
    let done = into_source(&sandbox, &["--force"]);
    done.ok();
    assert!(done.stdout.contains("sealed, as expected"), "{done:?}");
    assert!(done.stdout.contains(id), "{done:?}");

    new.adopt_keys(&old);
    new.unseal(0);
    new.wait_for_secret("kept", "of the old cluster");
    clean(&sandbox);
}

#[test]
#[ignore = "needs vault"]
fn what_cannot_be_restored_changes_nothing_and_says_why() {
    let mut cluster = VaultCluster::start(1);
    let mut sandbox = beside(&cluster);
    cluster.put_secret("kept", "of now");
    sandbox.run(["backup"]).ok();

    // A token that may only read.
    let reader = cluster.snapshot_token();
    sandbox.set("VAULT_TOKEN", &reader);
    let denied = into_source(&sandbox, &["--force"]);
    denied.code(1);
    let right = "path \"sys/storage/raft/snapshot\" { capabilities = [\"update\"] }";
    assert!(denied.stderr.contains(right), "{denied:?}");
    assert!(!denied.stderr.contains(&reader), "{denied:?}");

    // A damaged backup.
    let data = sandbox.path("nas/vault/data");
    let object = data.join(&crate::sandbox::names(&data)[0]);
    let whole = std::fs::read(&object).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&object, flipped).unwrap();
    let damaged = into_source(&sandbox, &["--force"]);
    damaged.code(5);
    std::fs::write(&object, whole).unwrap();
    assert_eq!(cluster.secret("kept").as_deref(), Some("of now"));

    let never_empty = into_source(&sandbox, &["--if-empty"]);
    never_empty.code(2);

    // A cluster that is sealed.
    cluster.seal(0);
    let sealed = into_source(&sandbox, &["--force"]);
    sealed.code(1);
    assert!(sealed.stderr.contains("sealed"), "{sealed:?}");
    assert!(sealed.stderr.contains("hint:"), "{sealed:?}");
    clean(&sandbox);
}

#[test]
#[ignore = "needs vault"]
fn the_plain_snapshot_is_one_that_vault_itself_restores() {
    let cluster = VaultCluster::start(1);
    let sandbox = beside(&cluster);
    cluster.put_secret("kept", "of then");
    sandbox.run(["backup"]).ok();
    cluster.put_secret("kept", "of now");
    let to = sandbox.path("vault.snap");
    let to = to.to_str().expect("a path");
    sandbox.run(["restore", "vault", "--to", to]).ok();
    cluster.cli_ok(0, &["operator", "raft", "snapshot", "restore", to]);
    cluster.wait_for_secret("kept", "of then");
}
