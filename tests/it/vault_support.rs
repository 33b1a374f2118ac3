//! The Vault helpers of `support` do what they say.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::servers::wait_until;
use crate::support::{
    HttpClient, LdapServer, TestCa, TokenReviewServer, VaultCluster, service_account_token,
    shared_vault,
};

const SNAPSHOT: &str = "sys/storage/raft/snapshot";

#[test]
#[ignore = "needs vault"]
fn a_cluster_survives_its_leader() {
    let mut cluster = VaultCluster::start(3);
    let first = cluster.wait_for_leader();

    cluster.kill(first);
    let second = cluster.wait_for_new_leader(first);
    cluster.restart(first);
    cluster.unseal(first);
    cluster.wait_until_settled();
    assert_eq!(cluster.leader(), Some(second));

    cluster.step_down(second);
    let third = cluster.wait_for_new_leader(second);
    cluster.wait_until_settled();

    cluster.freeze(third);
    cluster.wait_for_new_leader(third);
    cluster.thaw(third);
    cluster.wait_until_settled();
}

#[test]
#[ignore = "needs vault"]
fn a_node_can_be_sealed_and_a_standby_redirects() {
    let mut cluster = VaultCluster::start(3);
    let leader = cluster.wait_for_leader();
    let standby = (leader + 1) % 3;
    let node = &cluster.nodes[standby];
    let answer = node.client.send("GET", &node.url(SNAPSHOT), &[], None);
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 307);
    let target = cluster.nodes[leader].url(SNAPSHOT);
    assert_eq!(answer.header("location"), Some(target.as_str()));

    cluster.seal(standby);
    let (status, _) = cluster
        .http(standby, "GET", SNAPSHOT, None, None)
        .expect("an answer");
    assert_eq!(status, 503);
    cluster.unseal(standby);
    cluster.wait_until_settled();

    cluster.seal(leader);
    let new = cluster.wait_for_new_leader(leader);
    cluster.unseal(leader);
    cluster.wait_until_settled();
    assert_eq!(cluster.leader(), Some(new));
}

#[test]
#[ignore = "needs vault"]
fn snapshots_hold_what_was_put_and_come_back() {
    let mut cluster = VaultCluster::start(1);
    cluster.put_secret("greeting", "hello");
    let begin = Instant::now();
    cluster.put_secrets(32, 512 * 1024);
    eprintln!("16 MiB put in {:?}", begin.elapsed());
    let begin = Instant::now();
    cluster.put_secrets(1000, 100);
    eprintln!("1000 secrets put in {:?}", begin.elapsed());
    let snapshot = cluster.snapshot();
    assert!(snapshot.len() > 16 << 20, "{} bytes", snapshot.len());
    let inspected = cluster.inspect(&snapshot);
    assert!(
        inspected["Meta"]["Index"].as_u64() > Some(1000),
        "{inspected}"
    );

    cluster.put_secret("greeting", "changed");
    assert_eq!(cluster.post_snapshot(0, &snapshot, false).status, 204);
    cluster.wait_for_secret("greeting", "hello");

    cluster.restart(0);
    cluster.unseal(0);
    assert_eq!(cluster.secret("greeting").as_deref(), Some("hello"));
}

#[test]
#[ignore = "needs vault"]
fn logins_may_read_snapshots_and_nothing_else() {
    let cluster = shared_vault();
    let (role_id, secret_id) = cluster.enable_approle("support", &json!({ "token_ttl": "1m" }));
    let login = json!({ "role_id": role_id, "secret_id": secret_id });
    let answer = cluster.api("POST", "auth/support/login", &login);
    assert_eq!(answer["auth"]["lease_duration"], 60);
    let logged_in = answer["auth"]["client_token"].as_str().expect("a token");
    for token in [logged_in, &cluster.snapshot_token()] {
        let get = |path| cluster.http(0, "GET", path, Some(token), None);
        assert_eq!(get(SNAPSHOT).expect("an answer").0, 200);
        assert_eq!(get("sys/mounts").expect("an answer").0, 403);
    }
    let printed = cluster.cli_ok(0, &["policy", "read", cluster.snapshot_policy()]);
    assert!(printed.contains(SNAPSHOT), "{printed}");
    let denied = cluster.cli(0, &["kv", "get", "nowhere/nothing"]);
    assert!(!denied.status.success());
}

/// Logs in at the shared server, and says whether the token reads snapshots.
fn reads_snapshots(path: &str, login: &Value) -> bool {
    let cluster = shared_vault();
    let answer = cluster.http(0, "POST", path, None, Some(login));
    let (_, answer) = answer.expect("an answer");
    let token = answer["auth"]["client_token"].as_str();
    let answer = cluster.http(0, "GET", SNAPSHOT, token, None);
    answer.expect("an answer").0 == 200
}

#[test]
#[ignore = "needs vault and slapd"]
fn users_of_vault_and_of_a_directory_log_in() {
    let cluster = shared_vault();
    cluster.enable_userpass("support-people", "ann", "secret");
    let path = "auth/support-people/login/ann";
    assert!(reads_snapshots(path, &json!({ "password": "secret" })));
    assert!(!reads_snapshots(path, &json!({ "password": "wrong" })));

    let directory = LdapServer::start();
    cluster.enable_ldap("support-directory", &directory);
    let path = format!("auth/support-directory/login/{}", LdapServer::USER);
    assert!(reads_snapshots(
        &path,
        &json!({ "password": LdapServer::PASSWORD })
    ));
    assert!(!reads_snapshots(&path, &json!({ "password": "wrong" })));
}

#[test]
#[ignore = "needs vault"]
fn a_service_account_logs_in() {
    let cluster = shared_vault();
    let reviews = TokenReviewServer::start("backups", "lifeboat");
    cluster.enable_kubernetes("support-cluster", &reviews, "backups", "lifeboat");
    let path = "auth/support-cluster/login";
    let jwt = service_account_token("backups", "lifeboat");
    let login = json!({ "role": "lifeboat", "jwt": jwt });
    assert!(reads_snapshots(path, &login));
    let asked = &reviews.requests()[0];
    assert_eq!(asked.json()["spec"]["token"], jwt.as_str());
    let other = service_account_token("backups", "other");
    assert!(!reads_snapshots(
        path,
        &json!({ "role": "lifeboat", "jwt": other })
    ));
    reviews.reject();
    assert!(!reads_snapshots(path, &login));
}

#[test]
#[ignore = "needs vault"]
fn a_certificate_logs_in() {
    let ca = TestCa::new();
    let cluster = VaultCluster::options().tls(&ca).start();
    cluster.enable_cert("cert", &ca.ca_pem);
    let mut client = cluster.nodes[0].client.clone();
    let login = |client: &HttpClient| {
        let url = cluster.nodes[0].url("auth/cert/login");
        let answer = client.send("POST", &url, &[], Some(b"{\"name\": \"lifeboat\"}"));
        answer.expect("an answer").status
    };
    assert_eq!(login(&client), 400);
    client.identity = Some(ca.issue("someone", &[]));
    assert_eq!(login(&client), 200);
}

#[test]
#[ignore = "needs vault"]
fn nodes_speak_tls_when_told_to() {
    let ca = TestCa::new();
    let cluster = VaultCluster::options().nodes(3).tls_on(&ca, &[1]).start();
    let schemes: Vec<_> = cluster
        .addresses()
        .iter()
        .map(|it| it.split_once(':').map(|it| it.0.to_owned()))
        .collect();
    assert_eq!(
        schemes,
        ["http", "https", "http"].map(|it| Some(it.to_owned()))
    );
    drop(cluster);

    let cluster = VaultCluster::options().nodes(2).mutual_tls(&ca).start();
    assert!(cluster.cli_ok(1, &["status"]).contains("standby"));
    let mut stranger = cluster.nodes[0].client.clone();
    stranger.identity = None;
    let url = cluster.nodes[0].url("sys/health");
    stranger
        .send("GET", &url, &[], None)
        .expect_err("a client certificate is demanded");
}

#[test]
#[ignore = "needs vault"]
fn a_shared_server_ends_with_the_test_process() {
    const CHILD: &str = "LIFEBOAT_TEST_SHARED_VAULT_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let cluster = shared_vault();
        println!("\nserver {}", cluster.nodes[0].process.pid());
        std::process::abort();
    }
    let this = "vault_support::a_shared_server_ends_with_the_test_process";
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", this, "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("this program can be run");
    let printed = String::from_utf8_lossy(&output.stdout);
    let pid = printed
        .lines()
        .find_map(|line| line.strip_prefix("server "));
    let pid = pid.unwrap_or_else(|| panic!("no server was started: {printed}"));
    wait_until("the server ends", Duration::from_secs(10), || {
        // A process that has ended and was not yet waited for has an empty command line.
        match fs::read(format!("/proc/{pid}/cmdline")) {
            Ok(line) if !line.is_empty() => Err(format!("{pid} runs")),
            _ => Ok(()),
        }
    });
}
