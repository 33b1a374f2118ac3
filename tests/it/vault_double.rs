//! The Vault double of `support` does what it says, as curl sees it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::vault_double::SNAPSHOT;
use crate::support::{Answer, HttpClient, TestCa, VaultDouble, vault_answers};

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(10);

/// What curl says when a body does not come whole.
const CUT: &str = "curl: (18)";
const RESET: &str = "curl: (56)";
const TIMEOUT: &str = "curl: (28)";

fn body() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// Fetches a snapshot and gives its body, or the error.
fn fetch(double: &VaultDouble, client: &HttpClient) -> Result<Vec<u8>, String> {
    let answer = client.send("GET", &double.url(SNAPSHOT), &[], None)?;
    Ok(answer.body)
}

#[track_caller]
fn expect_error(double: &VaultDouble, client: &HttpClient, error: &str) {
    let found = fetch(double, client).expect_err("no whole answer");
    assert!(found.contains(error), "{found}");
}

#[test]
#[ignore = "needs curl"]
fn bodies_end_as_scripted() {
    let double = VaultDouble::start();
    let client = HttpClient::default();
    let body = body();
    let whole = Answer::snapshot(&body);

    double.on_snapshot([whole.clone(), whole.clone().ends_after(70_000)]);
    assert_eq!(fetch(&double, &client).as_deref(), Ok(&body[..]));
    assert_eq!(fetch(&double, &client).as_deref(), Ok(&body[..70_000]));

    double.on_snapshot([whole.clone().closes_after(70_000)]);
    expect_error(&double, &client, CUT);
    double.on_snapshot([whole.clone().resets_after(70_000)]);
    expect_error(&double, &client, RESET);
    double.on_snapshot([Answer::reset()]);
    expect_error(&double, &client, RESET);

    let hasty = client.within(SHORT);
    double.on_snapshot([whole.clone().stalls_after(70_000)]);
    expect_error(&double, &hasty, TIMEOUT);
    double.on_snapshot([Answer::hang()]);
    expect_error(&double, &hasty, TIMEOUT);
    double.on_snapshot([whole.clone().after(LONG)]);
    expect_error(&double, &hasty, TIMEOUT);

    double.on_snapshot([whole.drips(100_000, Duration::from_millis(100))]);
    let begin = Instant::now();
    assert_eq!(fetch(&double, &client).as_deref(), Ok(&body[..]));
    assert!(begin.elapsed() >= Duration::from_millis(400));
}

#[test]
#[ignore = "needs curl and openssl"]
fn the_same_over_tls() {
    let ca = TestCa::new();
    let double = VaultDouble::start_tls(&ca);
    let client = HttpClient::trusting(&ca.ca_pem);
    let whole = Answer::snapshot(&body());

    double.on_snapshot([whole.clone()]);
    assert_eq!(fetch(&double, &client), Ok(body()));
    double.on_snapshot([whole.clone().closes_after(70_000)]);
    fetch(&double, &client).expect_err("no whole answer");
    double.on_snapshot([whole.resets_after(70_000)]);
    expect_error(&double, &client, RESET);
    fetch(&double, &HttpClient::trusting(&TestCa::new().ca_pem)).expect_err("a wrong authority");

    let elsewhere = VaultDouble::start_tls_as(&ca, &["vault.example"]);
    fetch(&elsewhere, &client).expect_err("a wrong name");
}

#[test]
#[ignore = "needs curl"]
fn answers_come_in_turn_and_requests_are_kept() {
    let double = VaultDouble::start();
    let client = HttpClient::default();
    double.on_snapshot([
        Answer::invalid_token(),
        Answer::errors(500, &["oh no"]),
        Answer::redirect(302, "http://127.0.0.1:1/elsewhere"),
        Answer::html(200),
    ]);
    let get = || {
        let headers = [("X-Vault-Token", "hvs.secret")];
        let answer = client.send("GET", &double.url(SNAPSHOT), &headers, None);
        answer.expect("an answer")
    };
    let refused = get();
    assert_eq!(refused.status, 403);
    assert!(
        refused.json()["errors"][0]
            .as_str()
            .expect("a text")
            .contains("invalid token")
    );
    assert_eq!(get().json(), json!({ "errors": ["oh no"] }));
    let redirect = get();
    assert_eq!(
        redirect.header("location"),
        Some("http://127.0.0.1:1/elsewhere")
    );
    for _ in 0..2 {
        assert_eq!(
            get().header("content-type"),
            Some("text/html; charset=utf-8")
        );
    }
    let seen = double.requests_for("GET", SNAPSHOT);
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|request| request.token() == Some("hvs.secret"))
    );

    double.on("POST", "auth/approle/login", [Answer::login("hvs.new", 60)]);
    let login = json!({ "role_id": "r", "secret_id": "s" });
    let url = double.url("auth/approle/login?x=y");
    let sent = login.to_string().into_bytes();
    let chunked = [("Transfer-Encoding", "chunked")];
    for headers in [&[][..], &chunked] {
        let answer = client
            .send("POST", &url, headers, Some(&sent))
            .expect("an answer");
        assert_eq!(answer.json()["auth"]["client_token"], "hvs.new");
    }
    for request in double.requests_for("POST", "auth/approle/login") {
        assert_eq!((request.json(), request.token()), (login.clone(), None));
    }
    double.wait_for_requests("POST", "auth/approle/login", 2, LONG);
    let answer = client.send("GET", &double.url("nowhere"), &[], None);
    assert_eq!(answer.expect("an answer").status, 404);
    double.forget_requests();
    assert!(double.requests().is_empty());
}

#[test]
#[ignore = "needs curl"]
fn a_large_body_arrives_whole() {
    let double = VaultDouble::start();
    double.on("POST", SNAPSHOT, [Answer::empty(204)]);
    let sent = body().repeat(10);
    let url = double.url(SNAPSHOT);
    let answer = HttpClient::default().send("POST", &url, &[], Some(&sent));
    assert_eq!(answer.expect("an answer").status, 204);
    assert!(double.requests_for("POST", SNAPSHOT)[0].body == sent);
}

#[test]
#[ignore = "needs curl"]
fn the_double_has_the_states_of_a_node() {
    let double = VaultDouble::start();
    let state = |path| {
        let answer = HttpClient::default().send("GET", &double.url(path), &[], None);
        let answer = answer.expect("an answer");
        (answer.status, answer.json())
    };
    assert_eq!(
        state("sys/leader").1["leader_address"],
        double.address().as_str()
    );
    assert_eq!(state("sys/health").0, 200);
    double.be_standby("http://127.0.0.1:1");
    assert_eq!(state("sys/leader").1["is_self"], false);
    assert_eq!((state("sys/health").0, state(SNAPSHOT).0), (429, 307));
    double.be_sealed();
    assert_eq!(state("sys/seal-status").1["sealed"], true);
    assert_eq!((state("sys/health").0, state("sys/leader").0), (503, 503));
    double.be_uninitialised();
    assert_eq!(state("sys/seal-status").1["initialized"], false);
    assert_eq!(state("sys/health").0, 501);
    double.be_leader();
    let mut partial = vault_answers::leader(&double.address());
    partial
        .as_object_mut()
        .expect("an object")
        .remove("is_self");
    double.on("GET", "sys/leader", [Answer::json(200, &partial)]);
    assert_eq!(state("sys/leader").1, partial);
}
