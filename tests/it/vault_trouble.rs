//! Everything that can go wrong between Lifeboat and Vault: each ends in one line and a hint,
//! stores nothing, removes nothing and tells no secret.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon_support::{Daemon, wait_until};
use crate::sandbox::{Ended, names};
use crate::support::vault_double::SNAPSHOT;
use crate::support::{Answer, TestCa, VaultDouble, free_port, vault_answers};
use crate::vault_home::{
    GENUINE, GENUINE_INDEX, Home, files, good_node, tell_the_time, unsealed_vault_archive,
    vault_archive,
};

/// Nothing that is printed or written may hold this.
const CANARY: &str = "CANARY-4c1d2e7b";
const TOKEN: &str = "hvs.CANARY-4c1d2e7b-token";

const POLICY: &str = "path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }";

fn lookup(status: u16) -> Answer {
    let data = json!({ "data": { "ttl": 0, "policies": ["default", "other"] } });
    match status {
        200 => Answer::json(200, &data),
        _ => Answer::invalid_token(),
    }
}

/// Three older backups, of which a run that stores anything would leave one.
fn with_history(home: &Home) {
    let source = good_node();
    source.on_snapshot([Answer::snapshot(&vault_archive(40))]);
    let config = std::fs::read_to_string(home.sandbox.path("config.yaml")).unwrap();
    home.configure(
        &format!(
            "address: \"{}\", auth: {{ method: token, token: t }}",
            source.address()
        ),
        "",
    );
    home.backs_up();
    let shelf = home.shelf();
    let template = shelf.newest();
    for hours in 1..=3 {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        shelf.file(&template, then);
    }
    shelf.discard(&template);
    home.sandbox.write("config.yaml", config);
}

/// Runs a backup that must fail, plainly and with everything logged; `script` comes before each.
#[track_caller]
fn fails(home: &Home, script: impl Fn(), why: &str, hint: &str) -> Ended {
    let before = home.stored();
    script();
    let plain = home.run(&["backup"]);
    plain.code(1);
    let lines: Vec<&str> = plain.stderr.lines().collect();
    let [error, next] = lines[..] else {
        panic!("not an error and a hint: {plain:#?}");
    };
    assert!(
        error.starts_with("error: vault: ") && error.contains(why),
        "{why}: {plain:#?}"
    );
    assert!(
        next.starts_with("hint: ") && next.contains(hint),
        "{hint}: {plain:#?}"
    );
    assert!(error.len() < 400, "{error}");

    script();
    let logged = home
        .sandbox
        .command(["backup", "--json"])
        .envs([("RUST_LOG", "trace"), ("LOG_FORMAT", "json")])
        .output();
    let logged = Ended::of(logged.expect("lifeboat was built"));
    let run = &logged.code(1).document()["runs"][0];
    assert_eq!(run["outcome"], "failed", "{run}");
    assert_eq!(run["id"], Value::Null, "{run}");
    let reason = run["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(why), "{why}: {run}");
    assert!(logged.stderr.contains("trace"), "nothing was traced");

    assert!(home.stored() == before, "the destination has changed");
    home.has_no_scratch();
    tells_nothing(home, &[&plain, &logged]);
    plain
}

/// No canary in what was said, in `config show` or in any file but those that are there to hold it.
#[track_caller]
fn tells_nothing(home: &Home, said: &[&Ended]) {
    let shown = home.run(&["config", "show"]);
    for ended in said.iter().chain([&&shown]) {
        let both = format!("{}{}", ended.stdout, ended.stderr);
        let line = both.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None);
    }
    for (name, contents) in files(home.sandbox.root()) {
        let found = contents
            .windows(CANARY.len())
            .any(|it| it == CANARY.as_bytes());
        assert!(!found || name.starts_with("secrets/"), "a secret in {name}");
    }
}

/// Makes a node say something.
type Script = fn(&VaultDouble);

/// What a node says, and what is made of it.
struct Case {
    name: &'static str,
    script: Script,
    why: &'static str,
    hint: &'static str,
}

const fn case(name: &'static str, script: Script, why: &'static str, hint: &'static str) -> Case {
    Case {
        name,
        script,
        why,
        hint,
    }
}

const CASES: &[Case] = &[
    case(
        "no policy",
        |node| {
            node.on_snapshot([Answer::denied()]);
            node.on("GET", "auth/token/lookup-self", [lookup(200)]);
        },
        "the token in `VAULT_TOKEN` is valid, but may not read snapshots",
        POLICY,
    ),
    case(
        "a token that is dead",
        |node| {
            node.on_snapshot([Answer::invalid_token()]);
            node.on("GET", "auth/token/lookup-self", [lookup(403)]);
        },
        "the token in `VAULT_TOKEN` has expired or was revoked",
        "set a new token",
    ),
    case(
        "storage that is not raft, by its seal",
        |node| {
            let mut status = vault_answers::seal_status();
            status["storage_type"] = json!("file");
            node.on("GET", "sys/seal-status", [Answer::json(200, &status)]);
        },
        "the storage is `file`, and only raft has snapshots",
        "vault operator migrate",
    ),
    case(
        "storage that is not raft, by the snapshot",
        |node| node.on_snapshot([Answer::errors(400, &["raft storage is not in use"])]),
        "only raft has snapshots",
        "vault operator migrate",
    ),
    case(
        "no leader by now",
        |node| {
            let text = "local node not active but active cluster node not found";
            node.on_snapshot([Answer::errors(500, &[text])]);
        },
        "knows no leader at the moment",
        "majority",
    ),
    case(
        "sealed by now",
        |node| node.on_snapshot([Answer::sealed()]),
        "is sealed by now",
        "unseal it",
    ),
    case(
        "sealed between the first two questions",
        |node| node.on("GET", "sys/leader", [Answer::sealed()]),
        "is sealed by now",
        "unseal it",
    ),
    case(
        "an error of the server",
        |node| {
            node.on_snapshot([Answer::errors(
                500,
                &["1 error occurred:\n\t* disk is full\n\n"],
            )]);
        },
        "gives no snapshot, but answers 500: disk is full",
        "log",
    ),
    case(
        "a gateway without a server",
        |node| node.on("GET", "sys/seal-status", [Answer::html(502)]),
        "answered 502 with a web page",
        "load balancer",
    ),
    case(
        "too many requests",
        |node| {
            node.on(
                "GET",
                "sys/seal-status",
                [Answer::errors(429, &["slow down"])],
            );
        },
        "(429)",
        "rate limit",
    ),
    case(
        "HTML for the leader",
        |node| node.on("GET", "sys/leader", [Answer::html(200)]),
        "answered 200 with a web page",
        "load balancer",
    ),
    case(
        "HTML for the snapshot",
        |node| node.on_snapshot([Answer::html(200)]),
        "answered 200 with a web page",
        "load balancer",
    ),
    case(
        "HTML that says it is a snapshot",
        |node| node.on_snapshot([Answer::snapshot(b"<!DOCTYPE html><html></html>")]),
        "answered 200 with a web page",
        "load balancer",
    ),
    case(
        "an empty body for the state",
        |node| node.on("GET", "sys/seal-status", [Answer::empty(200)]),
        "in a form that is not Vault's",
        "address",
    ),
    case(
        "JSON of somebody else",
        |node| {
            node.on(
                "GET",
                "sys/seal-status",
                [Answer::json(200, &json!({ "up": true }))],
            );
        },
        "in a form that is not Vault's",
        "address",
    ),
    case(
        "JSON without an end",
        |node| {
            let whole = Answer::json(200, &vault_answers::seal_status());
            node.on("GET", "sys/seal-status", [whole.ends_after(40)]);
        },
        "in a form that is not Vault's",
        "address",
    ),
    case(
        "nothing at that address but 404",
        |node| node.on("GET", "sys/seal-status", [Answer::errors(404, &[])]),
        "404",
        "address",
    ),
    case(
        "a snapshot path that is not there",
        |node| node.on_snapshot([Answer::errors(404, &["no handler for route"])]),
        "has no snapshots at v1/sys/storage/raft/snapshot (404)",
        "address",
    ),
    case(
        "a namespace that somebody adds",
        |node| node.on_snapshot([Answer::errors(400, &["unsupported path in a namespace"])]),
        "gives no snapshots in a namespace",
        "proxy",
    ),
    case(
        "huge JSON for the state",
        |node| node.on("GET", "sys/leader", [huge(200)]),
        "answered with more than 1 MiB",
        "address",
    ),
    case(
        "huge JSON for an error",
        |node| node.on_snapshot([huge(500)]),
        "answered with more than 1 MiB",
        "address",
    ),
    case(
        "huge JSON for the snapshot",
        |node| node.on_snapshot([huge(200)]),
        "that is no snapshot",
        "address",
    ),
    case(
        "an empty snapshot",
        |node| node.on_snapshot([Answer::snapshot(b"")]),
        "answered with an empty snapshot",
        "log",
    ),
    case(
        "no content at all",
        |node| node.on_snapshot([Answer::empty(204)]),
        "answers 204",
        "address",
    ),
    case(
        "an error with the status of success",
        |node| node.on_snapshot([Answer::errors(200, &["something broke"])]),
        "gives an error for a snapshot: something broke",
        "log",
    ),
    case(
        "a denial with the status of success",
        |node| node.on_snapshot([Answer::errors(200, &["permission denied"])]),
        "gives an error for a snapshot: permission denied",
        "log",
    ),
    case(
        "an end that looks like one",
        |node| node.on_snapshot([Answer::snapshot(GENUINE).ends_after(9000)]),
        "the server ended the snapshot early, after 8.8 KiB",
        "log",
    ),
    case(
        "an end inside the trailer of gzip",
        |node| node.on_snapshot([Answer::snapshot(GENUINE).ends_after(GENUINE.len() - 1)]),
        "the server ended the snapshot early",
        "log",
    ),
    case(
        "a connection that is closed",
        |node| node.on_snapshot([Answer::snapshot(GENUINE).closes_after(9000)]),
        "the snapshot broke off after",
        "load balancer",
    ),
    case(
        "a connection that is reset",
        |node| node.on_snapshot([Answer::snapshot(GENUINE).resets_after(9000)]),
        "the snapshot broke off after",
        "load balancer",
    ),
    case(
        "a reset instead of a snapshot",
        |node| node.on_snapshot([Answer::reset()]),
        "the connection to",
        "log",
    ),
    case(
        "a reset instead of a state",
        |node| node.on("GET", "sys/seal-status", [Answer::reset()]),
        "the connection to",
        "log",
    ),
    case(
        "a flipped bit",
        |node| {
            let mut flipped = GENUINE.to_vec();
            flipped[8000] ^= 4;
            node.on_snapshot([Answer::snapshot(&flipped)]);
        },
        "the server sent a damaged snapshot",
        "proxy",
    ),
    case(
        "bytes behind the end",
        |node| node.on_snapshot([Answer::snapshot(&[GENUINE, b"junk"].concat())]),
        "the server sent a damaged snapshot",
        "proxy",
    ),
    case(
        "a snapshot without its sealed sums",
        |node| node.on_snapshot([Answer::snapshot(&unsealed_vault_archive(60))]),
        "SHA256SUMS.sealed",
        "log",
    ),
    case(
        "a snapshot from before",
        |node| {
            let mut leader = vault_answers::leader(&node.address());
            leader["raft_applied_index"] = json!(GENUINE_INDEX + 1);
            node.on("GET", "sys/leader", [Answer::json(200, &leader)]);
        },
        "the snapshot ends at index 54, and the cluster was at 55",
        "address",
    ),
    case(
        "a redirect to itself",
        |node| node.on_snapshot([Answer::redirect(307, &node.url(SNAPSHOT))]),
        "a loop",
        "api_addr",
    ),
    case(
        "a redirect to nowhere",
        |node| node.on_snapshot([Answer::empty(307)]),
        "does not say where to",
        "api_addr",
    ),
    case(
        "a redirect to another scheme",
        |node| node.on_snapshot([Answer::redirect(302, "ftp://127.0.0.1/snapshot")]),
        "which is no web address",
        "api_addr",
    ),
    case(
        "four redirects",
        |node| chain(node, 4),
        "after 3 redirects",
        "api_addr",
    ),
];

fn huge(status: u16) -> Answer {
    Answer::json(status, &json!({ "errors": ["x".repeat(3 << 20)] }))
}

/// The snapshot lies behind so many redirects.
fn chain(node: &VaultDouble, hops: usize) {
    let path = |hop: usize| match hop {
        0 => SNAPSHOT.to_owned(),
        _ => format!("hop/{hop}"),
    };
    for hop in 0..hops {
        let status = [307, 302, 301, 307][hop];
        node.on(
            "GET",
            &path(hop),
            [Answer::redirect(status, &node.url(&path(hop + 1)))],
        );
    }
    node.on("GET", &path(hops), [Answer::snapshot(GENUINE)]);
}

#[test]
fn whatever_a_node_answers_is_told_in_one_line_and_stores_nothing() {
    for case in CASES {
        eprintln!("{}", case.name);
        let node = good_node();
        let home = Home::beside(&node, TOKEN);
        with_history(&home);
        let source = format!("address: \"{}\"", node.address());
        home.configure(&source, "retention: { keep_last: 1 }");
        fails(&home, || (case.script)(&node), case.why, case.hint);
    }
}

#[test]
fn after_a_fault_the_next_run_stores_and_only_that_one_prunes() {
    let node = good_node();
    let home = Home::beside(&node, TOKEN);
    with_history(&home);
    let source = format!("address: \"{}\"", node.address());
    home.configure(&source, "retention: { keep_last: 1 }");
    let cut = || node.on_snapshot([Answer::snapshot(GENUINE).ends_after(9000)]);
    fails(&home, cut, "the server ended the snapshot early", "log");
    assert_eq!(home.shelf().ids().len(), 3);
    node.on_snapshot([Answer::snapshot(GENUINE)]);
    assert_eq!(home.backs_up()["destinations"][0]["pruned"], 3);
    assert_eq!(home.shelf().ids().len(), 1);
    tells_nothing(&home, &[]);
}

/// Logs in as a role; both halves of its login are canaries, in files of their own.
fn with_role(node: &VaultDouble) -> Home {
    let home = Home::new("product: auto");
    let secrets = home.sandbox.folder("secrets");
    let secrets = secrets.display();
    home.sandbox.write("secrets/role", format!("{CANARY}-role"));
    home.sandbox
        .write("secrets/secret", format!("{CANARY}-secret"));
    home.configure(
        &format!(
            "address: \"{}\", auth: {{ method: approle, role_id: {{ file: {secrets}/role }}, \
             secret_id: {{ file: {secrets}/secret }} }}",
            node.address()
        ),
        "",
    );
    home
}

const LOGIN: &str = "auth/approle/login";

fn logins() -> [Answer; 3] {
    ["1", "2", "3"].map(|number| Answer::login(&format!("hvs.{CANARY}-{number}"), 3600))
}

#[test]
fn a_token_that_is_refused_is_replaced_once_in_the_run() {
    let node = good_node();
    let home = with_role(&node);
    node.on("POST", LOGIN, logins());
    node.on_snapshot([Answer::invalid_token(), Answer::snapshot(GENUINE)]);
    home.backs_up();
    assert_eq!(node.requests_for("POST", LOGIN).len(), 2);
    let asked = node.requests_for("GET", SNAPSHOT);
    let tokens: Vec<_> = asked.iter().filter_map(|it| it.token()).collect();
    assert_eq!(
        tokens,
        [format!("hvs.{CANARY}-1"), format!("hvs.{CANARY}-2")]
    );
    assert_eq!(node.requests_for("POST", LOGIN)[0].token(), None);
    home.has_no_scratch();
    tells_nothing(&home, &[]);
}

#[test]
fn a_token_that_is_refused_twice_is_not_tried_a_third_time() {
    let node = good_node();
    let home = with_role(&node);
    node.on("POST", LOGIN, logins());
    node.on_snapshot([Answer::denied()]);
    node.on("GET", "auth/token/lookup-self", [lookup(200)]);
    let before = || {
        node.forget_requests();
        node.on("POST", LOGIN, logins());
    };
    fails(
        &home,
        before,
        "is valid, but may not read snapshots",
        POLICY,
    );
    assert_eq!(node.requests_for("POST", LOGIN).len(), 2);
    assert_eq!(node.requests_for("GET", SNAPSHOT).len(), 2);
}

#[test]
fn a_login_that_is_refused_is_told_without_what_was_sent() {
    let node = good_node();
    let home = with_role(&node);
    // A server that repeats what it was sent.
    let echo = format!("invalid role or secret ID: {CANARY}-role {CANARY}-secret");
    let cases = [
        (
            Answer::errors(400, &["invalid role or secret ID"]),
            "invalid role or secret ID",
            "check `role_id`",
        ),
        (
            Answer::errors(400, &[&echo]),
            "login by approle",
            "check `role_id`",
        ),
        (
            Answer::errors(403, &["permission denied"]),
            "permission denied",
            "`auth/approle`",
        ),
        (
            Answer::errors(500, &["internal error"]),
            "internal error",
            "log",
        ),
        (Answer::sealed(), "Vault is sealed", "log"),
        (
            Answer::errors(429, &["rate limit quota exceeded"]),
            "quota exceeded",
            "log",
        ),
        (Answer::html(200), "with a web page", "load balancer"),
        (
            Answer::json(200, &json!({ "auth": null })),
            "without a token",
            "address",
        ),
        (
            Answer::redirect(302, "http://127.0.0.1:1/ui"),
            "no token is sent there",
            "api_addr",
        ),
        (Answer::reset(), "the connection to", "log"),
    ];
    for (answer, why, hint) in cases {
        let login = || node.on("POST", LOGIN, [answer.clone()]);
        fails(&home, login, why, hint);
        assert_eq!(node.requests_for("GET", SNAPSHOT).len(), 0, "{why}");
    }
    let user = format!(
        "address: \"{}\", auth: {{ method: userpass, username: lifeboat, password: {{ file: {}/secrets/secret }} }}",
        node.address(),
        home.sandbox.root().display()
    );
    home.configure(&user, "");
    let refused = Answer::errors(
        400,
        &[&format!("invalid username or password {CANARY}-secret")],
    );
    node.on("POST", "auth/userpass/login/lifeboat", [refused]);
    fails(
        &home,
        || {},
        "login by userpass",
        "check `username` and `password`",
    );
}

#[test]
fn secrets_in_the_configuration_are_shown_by_nothing() {
    let node = good_node();
    let home = Home::new("product: auto");
    let auths = [
        format!("method: token, token: \"{TOKEN}\""),
        format!("method: approle, role_id: {CANARY}-role, secret_id: {CANARY}-secret"),
        format!("method: userpass, username: me, password: {CANARY}-pass"),
        format!("method: ldap, username: me, password: {CANARY}-pass"),
    ];
    for auth in auths {
        // A second mistake is told together with the configuration around it.
        for more in ["", ", timeout: soon"] {
            home.configure(
                &format!("address: \"{}\", auth: {{ {auth} }}{more}", node.address()),
                "",
            );
            for arguments in [
                &["config", "show"][..],
                &["config", "show", "--json"],
                &["config", "check"],
                &["check"],
                &["backup", "-v"],
                &["status"],
                &["list"],
            ] {
                let ended = home
                    .sandbox
                    .command(arguments)
                    .env("RUST_LOG", "trace")
                    .output();
                let ended = Ended::of(ended.expect("lifeboat was built"));
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert!(!said.contains(CANARY), "{arguments:?}: {said}");
                assert_eq!(
                    ended.code == Some(2),
                    !more.is_empty(),
                    "{arguments:?}: {said}"
                );
            }
        }
    }
}

#[test]
fn what_is_wrong_with_the_address_is_told() {
    let closed = format!("http://127.0.0.1:{}", free_port());
    let cases = [
        (closed.as_str(), "connection refused", "is the server up"),
        (
            "http://no-such-host.invalid:8200",
            "cannot be resolved",
            "127.0.0.1",
        ),
        ("unix:///no/such/socket", "there is no socket", "volume"),
    ];
    for (address, why, hint) in cases {
        let mut home = Home::new(&format!("address: \"{address}\""));
        home.sandbox.set("VAULT_TOKEN", TOKEN);
        with_history(&home);
        fails(&home, || {}, why, hint);
    }
}

#[test]
#[ignore = "needs openssl"]
fn what_is_wrong_with_tls_is_told_and_no_token_is_sent() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let node = VaultDouble::start_tls_as(&ca, &["vault.internal"]);
    tell_the_time(&node, 0);
    node.on_snapshot([Answer::snapshot(GENUINE)]);
    let (right, wrong) = (ca.ca_pem.display(), other.ca_pem.display());
    let plain = format!("http://127.0.0.1:{}", node.port);
    let https = node.address();
    let cases = [
        (
            https.as_str(),
            String::new(),
            "signed by no authority trusted here",
            "ca_cert",
        ),
        (
            &https,
            format!("ca_cert: {wrong}"),
            "signed by no authority trusted here",
            "ca_cert",
        ),
        (
            &https,
            format!("ca_cert: {right}"),
            "not for 127.0.0.1, but for vault.internal",
            "tls_server_name",
        ),
        (
            &https,
            format!("ca_cert: {right}, tls_server_name: other.internal"),
            "not for other.internal, but for vault.internal",
            "tls_server_name",
        ),
        (&plain, String::new(), "the connection to", "https://"),
    ];
    for (address, settings, why, hint) in cases {
        let comma = if settings.is_empty() { "" } else { ", " };
        let mut home = Home::new(&format!("address: \"{address}\"{comma}{settings}"));
        home.sandbox.set("VAULT_TOKEN", TOKEN);
        with_history(&home);
        fails(&home, || {}, why, hint);
    }
    assert!(node.requests().is_empty(), "{:?}", node.requests());

    let named = format!("address: \"{https}\", ca_cert: {right}, tls_server_name: vault.internal");
    let mut home = Home::new(&named);
    home.sandbox.set("VAULT_TOKEN", TOKEN);
    home.backs_up();
}

#[test]
fn a_foreign_host_gets_no_token_and_no_request() {
    let (node, stranger) = (good_node(), good_node());
    let home = Home::beside(&node, TOKEN);
    with_history(&home);
    for status in [301, 302, 307, 308] {
        let away = || node.on_snapshot([Answer::redirect(status, &stranger.url(SNAPSHOT))]);
        let told = fails(&home, away, "no token is sent there", "api_addr");
        let place = format!("127.0.0.1:{}", stranger.port);
        assert!(told.stderr.contains(&place), "{told:?}");
    }
    // Not even to ask for the state.
    node.on(
        "GET",
        "sys/leader",
        [Answer::redirect(307, &stranger.url("sys/leader"))],
    );
    fails(&home, || {}, "no token is sent there", "api_addr");
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
}

#[test]
#[ignore = "needs openssl"]
fn nothing_leads_from_https_to_http() {
    let ca = TestCa::new();
    let (node, plain) = (VaultDouble::start_tls(&ca), good_node());
    tell_the_time(&node, 0);
    // The cluster itself says so, which changes nothing.
    let leader = vault_answers::leader(&plain.address());
    node.on("GET", "sys/leader", [Answer::json(200, &leader)]);
    node.on_snapshot([Answer::redirect(307, &plain.url(SNAPSHOT))]);
    let source = format!(
        "address: \"{}\", ca_cert: {}",
        node.address(),
        ca.ca_pem.display()
    );
    let mut home = Home::new(&source);
    home.sandbox.set("VAULT_TOKEN", TOKEN);
    with_history(&home);
    fails(&home, || {}, "leads from https to http", "api_addr");
    assert!(plain.requests().is_empty(), "{:?}", plain.requests());
}

#[test]
fn three_redirects_are_followed_each_with_the_token() {
    let node = good_node();
    chain(&node, 3);
    let home = Home::beside(&node, TOKEN);
    home.backs_up();
    let asked = node.requests();
    let hops: Vec<_> = asked.iter().filter(|it| it.token().is_some()).collect();
    let paths: Vec<_> = hops.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths[1..], ["/v1/hop/1", "/v1/hop/2", "/v1/hop/3"]);
    assert!(hops.iter().all(|it| it.token() == Some(TOKEN)));
    home.has_no_scratch();
}

#[test]
fn a_load_balancer_may_answer_from_another_node_each_time() {
    let (leader, elected) = (good_node(), good_node());
    let says = |address: &str, leads: bool| {
        let it = vault_answers::leader(address);
        let other = vault_answers::standby(address);
        Answer::json(200, if leads { &it } else { &other })
    };
    let to_leader = Answer::redirect(307, &leader.url(SNAPSHOT));
    let to_elected = Answer::redirect(307, &elected.url(SNAPSHOT));
    let snapshot = Answer::snapshot(GENUINE);
    let (first, second) = (leader.address(), elected.address());
    // What is said of the leader in turn, and to the question for the snapshot.
    let cases = [
        ("primary", vec![says(&first, true)], to_leader, "primary"),
        ("any", vec![says(&first, false)], snapshot, "replica"),
        (
            "primary",
            vec![says(&first, true), says(&second, false)],
            to_elected,
            "primary",
        ),
    ];
    for (run_on, leaders, answer, role) in cases {
        let balancer = good_node();
        balancer.on("GET", "sys/leader", leaders);
        balancer.on_snapshot([answer]);
        let mut home = Home::new(&format!("address: \"{}\"", balancer.address()));
        home.sandbox.set("VAULT_TOKEN", TOKEN);
        home.configure(
            &format!("address: \"{}\"", balancer.address()),
            &format!("run_on: {run_on}"),
        );
        let run = home.backs_up();
        assert_eq!(run["role"], role, "{run}");
        assert_eq!(home.shelf().newest()["role"]["before"], role);
        home.run(&["verify"]).ok();
        home.has_no_scratch();
    }
    for node in [leader, elected] {
        let [asked] = &node.requests()[..] else {
            panic!("{:?}", node.requests())
        };
        assert_eq!(asked.token(), Some(TOKEN));
    }
}

#[test]
fn a_standby_answers_the_probe_and_nothing_else_is_asked() {
    let (leader, standby) = (good_node(), good_node());
    standby.be_standby(&leader.address());
    let home = Home::beside(&standby, TOKEN);
    with_history(&home);
    let before = home.stored();
    let skipped = home.run(&["backup"]);
    skipped.ok();
    let why = format!(
        "skipped: this node is a standby; 127.0.0.1:{} leads",
        leader.port
    );
    assert!(skipped.stdout.contains(&why), "{skipped:?}");
    assert!(home.stored() == before);
    assert_eq!(standby.requests().len(), 2, "{:?}", standby.requests());
    assert!(standby.requests().iter().all(|it| it.token().is_none()));
    assert!(leader.requests().is_empty());
}

#[test]
fn a_node_that_is_not_to_be_saved_now_says_why_and_is_asked_its_state_only() {
    let scripts: [(Script, &str, usize); 5] = [
        (
            VaultDouble::be_sealed,
            "this node is sealed (0 of 1 keys given)",
            1,
        ),
        (
            VaultDouble::be_uninitialised,
            "this node is not initialised",
            1,
        ),
        (
            |node| {
                let mut status = vault_answers::seal_status();
                status["removed_from_cluster"] = json!(true);
                node.on("GET", "sys/seal-status", [Answer::json(200, &status)]);
            },
            "this node was removed from its cluster",
            1,
        ),
        (
            |node| {
                let nobody = json!({ "ha_enabled": true, "is_self": false, "leader_address": "" });
                node.on("GET", "sys/leader", [Answer::json(200, &nobody)]);
            },
            "no leader is elected at the moment",
            2,
        ),
        (
            |node| {
                let mut health = vault_answers::health();
                health["replication_dr_mode"] = json!("secondary");
                health["server_time_utc"] = json!(jiff::Timestamp::now().as_second());
                node.on("GET", "sys/health", [Answer::json(472, &health)]);
            },
            "this cluster is a disaster recovery secondary",
            3,
        ),
    ];
    for (script, why, questions) in scripts {
        let node = good_node();
        script(&node);
        // Whatever the role must be, there is nothing to save.
        for run_on in ["primary", "any"] {
            let home = Home::beside(&node, TOKEN);
            with_history(&home);
            let source = format!("address: \"{}\"", node.address());
            home.configure(&source, &format!("run_on: {run_on}"));
            let before = home.stored();
            node.forget_requests();
            let skipped = home.run(&["backup"]);
            skipped.ok();
            assert!(
                skipped.stdout.contains(&format!("skipped: {why}")),
                "{skipped:?}"
            );
            let asked = node.requests();
            assert_eq!(asked.len(), questions, "{asked:?}");
            assert!(asked.iter().all(|it| it.token().is_none()), "{asked:?}");
            let run = home.backup(0);
            assert_eq!(run["outcome"], "skipped");
            assert!(run["reason"].as_str().unwrap().contains(why), "{run}");
            assert!(home.stored() == before);
            home.has_no_scratch();
        }
    }
}

#[test]
fn a_clock_that_is_wrong_is_warned_of_and_the_backup_stored() {
    for (ahead, side) in [(3700, "1 h ahead of"), (-3700, "1 h behind")] {
        let node = good_node();
        tell_the_time(&node, ahead);
        let home = Home::beside(&node, TOKEN);
        let ended = home.run(&["backup"]);
        ended.ok();
        let warning = format!("the clock of the server is {side} this machine's");
        assert_eq!(ended.stderr.matches(&warning).count(), 1, "{ended:?}");
        assert!(ended.stdout.contains("completed"), "{ended:?}");
        let check = home.run(&["check"]);
        let line = check.stdout.lines().find(|line| line.contains(&warning));
        assert!(
            line.is_some_and(|line| line.contains("warning")),
            "{check:?}"
        );
    }
    let node = good_node();
    tell_the_time(&node, 60);
    let ended = Home::beside(&node, TOKEN).run(&["backup"]);
    assert!(!ended.ok().stderr.contains("clock"), "{ended:?}");
}

#[test]
#[ignore = "takes half a minute"]
fn a_snapshot_that_stops_coming_is_given_up_after_half_a_minute() {
    let node = good_node();
    node.on_snapshot([Answer::snapshot(GENUINE).stalls_after(9000)]);
    let home = Home::beside(&node, TOKEN);
    with_history(&home);
    let before = home.stored();
    let begin = Instant::now();
    let ended = home.run(&["backup"]);
    ended.code(1);
    assert!(
        (29..40).contains(&begin.elapsed().as_secs()),
        "{:?}",
        begin.elapsed()
    );
    let error = ended
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "));
    let why = "went silent: no byte for 30 s; the snapshot broke off after 8.8 KiB";
    assert!(error.is_some_and(|line| line.contains(why)), "{ended:?}");
    assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
    assert!(home.stored() == before);
    home.has_no_scratch();
    tells_nothing(&home, &[&ended]);
}

/// A node whose snapshot takes minutes.
fn slow_node() -> VaultDouble {
    let node = good_node();
    let slow = Answer::snapshot(GENUINE).drips(16, Duration::from_millis(100));
    node.on_snapshot([slow]);
    node
}

fn wait_for_capture(home: &Home) {
    let scratch = home.sandbox.path("scratch");
    wait_until("a capture has begun", || {
        let files = files(&scratch);
        files.keys().any(|name| name.ends_with("/snapshot"))
    });
}

#[test]
fn what_a_killed_capture_leaves_the_next_run_sweeps_away() {
    let node = slow_node();
    let home = Home::beside(&node, TOKEN);
    let mut running = home
        .sandbox
        .command(["backup"])
        .spawn()
        .expect("lifeboat was built");
    wait_for_capture(&home);
    running.kill().expect("it runs");
    running.wait().expect("it was ours");
    assert_eq!(names(&home.sandbox.path("scratch")).len(), 1);
    assert!(home.stored().is_empty(), "{:?}", home.stored().keys());
    tells_nothing(&home, &[]);
    node.on_snapshot([Answer::snapshot(GENUINE)]);
    home.backs_up();
    home.has_no_scratch();
    assert_eq!(home.shelf().ids().len(), 1);
}

#[test]
fn a_signal_in_the_middle_of_a_capture_ends_it_in_time_and_leaves_nothing() {
    let node = slow_node();
    let home = Home::beside(&node, TOKEN);
    home.add("grace: 1s");
    let daemon = Daemon::start(&home.sandbox);
    wait_for_capture(&home);
    let asked = Instant::now();
    let (code, said) = daemon.stop();
    assert_eq!(code, Some(0), "{said:#?}");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    let interrupted = "interrupted before it was finished; nothing was recorded";
    assert!(
        said.iter().any(|line| line.contains(interrupted)),
        "{said:#?}"
    );
    assert!(!said.iter().any(|line| line.contains(CANARY)), "{said:#?}");
    assert!(home.stored().is_empty(), "{:?}", home.stored().keys());
    home.has_no_scratch();

    // A single backup has no grace.
    let running = home
        .sandbox
        .command(["backup", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("lifeboat was built");
    wait_for_capture(&home);
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    let ended = Ended::of(running.wait_with_output().expect("it ends"));
    assert_eq!(ended.code(130).document()["runs"][0]["outcome"], "failed");
    assert!(home.stored().is_empty());
    home.has_no_scratch();
}

#[test]
fn a_daemon_that_may_finish_its_capture_does() {
    let node = good_node();
    node.on_snapshot([Answer::snapshot(GENUINE).drips(4096, Duration::from_millis(300))]);
    let home = Home::beside(&node, TOKEN);
    let daemon = Daemon::start(&home.sandbox);
    wait_for_capture(&home);
    let (code, said) = daemon.stop();
    assert_eq!(code, Some(0), "{said:#?}");
    assert_eq!(home.shelf().ids().len(), 1, "{said:#?}");
    home.has_no_scratch();
    home.run(&["verify"]).ok();
}
