//! The policies of `docs/policies.md` are enough, and no more: the program works against servers with
//! users who have exactly these rights.

use std::process::Command;

use serde_json::{Value, json};

use crate::deployment_support::text;
use crate::sandbox::Sandbox;
use crate::support::{S3Server, VaultCluster, require};

const BUCKET: &str = "acme-backups";

/// The block of `docs/policies.md` with this name.
fn policy(name: &str) -> String {
    let document = text("docs/policies.md");
    let block = document.split(&format!(" {name}\n")).nth(1);
    let block = block.unwrap_or_else(|| panic!("docs/policies.md has {name}"));
    block.split("```").next().expect("an end").to_owned()
}

/// The text of an XML element.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let rest = xml.split(&format!("<{name}>")).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("{name} in {xml}"));
    rest.split('<').next().expect("an end")
}

/// The environment of a user who may do what the policy says and nothing else.
fn user(server: &S3Server, policy: &str) -> Vec<(&'static str, String)> {
    let output = Command::new(require("curl"))
        .args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--noproxy",
            "*",
        ])
        .args(["--aws-sigv4", "aws:amz:us-east-1:sts"])
        .args([
            "--user",
            &format!("{}:{}", server.access_key, server.secret_key),
        ])
        .args([
            "--data",
            "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600",
        ])
        .args(["--data-urlencode", &format!("Policy={policy}")])
        .arg(format!("{}/", server.endpoint))
        .output()
        .expect("curl can be run");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{answer}");
    [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ]
    .map(|(variable, field)| (variable, element(&answer, field).to_owned()))
    .into()
}

/// A sandbox with a database of several parts, as the user whom the policy of this name describes.
fn scene(server: &S3Server, name: &str, retention: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    for (variable, value) in user(server, &policy(name)) {
        sandbox.set(variable, &value);
    }
    sandbox.sqlite(
        "app.db",
        "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 12000) INSERT INTO t SELECT randomblob(1000) FROM n",
    );
    configure(&sandbox, server, "prod", retention);
    sandbox
}

fn configure(sandbox: &Sandbox, server: &S3Server, prefix: &str, retention: &str) {
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ offsite: {{ type: s3, bucket: {BUCKET}, prefix: {prefix}, endpoint: \"{}\" }} }}\n\
             jobs: {{ app: {{ source: {{ type: sqlite, path: app.db }}, seal: {{ compression: none }}{retention} }} }}\n",
            server.endpoint
        ),
    );
}

fn grow(sandbox: &Sandbox) {
    sandbox.sqlite("app.db", "INSERT INTO t VALUES (randomblob(1000))");
}

fn data(server: &S3Server) -> usize {
    server.objects(BUCKET, "prod/app/data/").len()
}

/// What `check` says of deleting.
fn delete_finding(sandbox: &Sandbox) -> Value {
    let document = sandbox.run(["check", "--json"]).document();
    let checks = document["checks"].as_array().expect("checks").clone();
    let found = checks.iter().find(|check| check["name"] == "delete");
    found.unwrap_or_else(|| panic!("{checks:#?}")).clone()
}

fn server() -> S3Server {
    let server = S3Server::minio();
    server.create_bucket(BUCKET);
    server.put_object(BUCKET, "other/app/manifests/theirs.json", b"{}");
    server
}

fn assert_shut_out_elsewhere(sandbox: &Sandbox, server: &S3Server) {
    configure(sandbox, server, "other", "");
    sandbox.run(["list"]).code(1);
    sandbox.run(["backup"]).code(1);
    assert_eq!(server.objects(BUCKET, "other/").len(), 1);
}

#[test]
#[ignore = "needs minio"]
fn the_backup_policy_saves_and_cannot_destroy() {
    let server = server();
    let sandbox = scene(&server, "s3-backup", "");
    for _ in 0..2 {
        grow(&sandbox);
        sandbox.run(["backup"]).ok();
    }
    sandbox.run(["verify", "--all"]).ok();
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    assert_ne!(delete_finding(&sandbox)["outcome"], "ok");
    // Retention that may not delete is said, and costs no backup.
    configure(&sandbox, &server, "prod", ", retention: { keep_last: 1 }");
    grow(&sandbox);
    sandbox.run(["backup"]).ok();
    sandbox.run(["prune", "--apply"]).code(1);
    assert_eq!(data(&server), 3);
    assert_shut_out_elsewhere(&sandbox, &server);
}

#[test]
#[ignore = "needs minio"]
fn the_retention_policy_saves_and_prunes() {
    let server = server();
    let sandbox = scene(&server, "s3-retention", ", retention: { keep_last: 2 }");
    for _ in 0..4 {
        grow(&sandbox);
        sandbox.run(["backup"]).ok();
    }
    assert_eq!(data(&server), 2);
    sandbox.run(["check"]).ok();
    sandbox.run(["verify", "--all"]).ok();
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    assert_shut_out_elsewhere(&sandbox, &server);
}

#[test]
#[ignore = "needs minio"]
fn the_restore_policy_reads_and_changes_nothing() {
    let server = server();
    let saver = scene(&server, "s3-retention", "");
    saver.run(["backup"]).ok();
    let before = server.objects(BUCKET, "");

    let sandbox = scene(&server, "s3-restore", "");
    sandbox.run(["list"]).ok();
    sandbox.run(["verify", "--all"]).ok();
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    grow(&sandbox);
    sandbox.run(["backup"]).code(1);
    sandbox.run(["prune", "--apply", "--keep-last", "1"]).ok();
    assert_eq!(server.objects(BUCKET, ""), before);
    assert_shut_out_elsewhere(&sandbox, &server);
}

#[test]
#[ignore = "needs vault"]
fn the_vault_policies_save_and_restore_and_do_nothing_else() {
    let cluster = VaultCluster::start(1);
    let mut sandbox = Sandbox::new();
    let store = sandbox.folder("nas").display().to_string();
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ nas: \"file://{store}\" }}\n\
             jobs: {{ vault: {{ source: {{ type: vault, address: \"{}\" }} }} }}\n",
            cluster.nodes[0].address
        ),
    );
    let become_user = |name: &str, sandbox: &mut Sandbox| {
        let policy = json!({ "policy": policy(name) });
        cluster.api("PUT", &format!("sys/policies/acl/{name}"), &policy);
        let token = cluster.create_token(&json!({ "policies": [name], "no_default_policy": true }));
        sandbox.set("VAULT_TOKEN", &token);
    };
    let restore = ["restore", "vault", "--into-source", "--force"];

    become_user("vault-backup", &mut sandbox);
    cluster.put_secret("kept", "of then");
    sandbox.run(["backup"]).ok();
    cluster.put_secret("kept", "of now");
    sandbox.run(restore).code(1);
    assert_eq!(cluster.secret("kept").as_deref(), Some("of now"));

    become_user("vault-restore", &mut sandbox);
    sandbox.run(["backup"]).code(1);
    sandbox.run(restore).ok();
    assert_eq!(cluster.secret("kept").as_deref(), Some("of then"));
}
