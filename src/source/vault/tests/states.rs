//! What a probe makes of a node's answers.

use super::*;

async fn probe(server: &Responder) -> Result<Probe, SourceError> {
    source(&server.address).probe().await
}

fn node(seal: Value, leader: Value) -> Responder {
    Responder::new(move |request| match request.path.as_str() {
        SEAL => responder::json(200, &seal),
        LEADER => responder::json(200, &leader),
        HEALTH => responder::json(200, &healthy()),
        _ => errors(404, &[]),
    })
}

fn with(mut state: Value, changes: Value) -> Value {
    let changes: serde_json::Map<_, _> = serde_json::from_value(changes).unwrap();
    state.as_object_mut().unwrap().extend(changes);
    state
}

#[tokio::test]
async fn a_leader_is_asked_three_things_and_none_with_a_token() {
    let server = node(unsealed(), leads());
    let probe = probe(&server).await.unwrap();
    assert_eq!(probe.role, Role::Primary);
    assert_eq!(probe.summary, "1.21.0, unsealed, raft, active");
    assert_eq!(server.paths(), [SEAL, LEADER, HEALTH]);
    for request in server.requests() {
        assert_eq!(request.headers["x-vault-request"], "true");
        assert!(!request.headers.contains_key("x-vault-token"));
        assert!(!request.headers.contains_key("x-vault-namespace"));
    }
    let state = State::of(&probe);
    assert_eq!(state.product(), Product::Vault);
    assert_eq!(state.cluster_id.as_deref(), Some("c-1"));
    assert_eq!(state.applied_index, Some(40));
}

#[tokio::test]
async fn a_standby_is_asked_two_things_and_names_its_leader() {
    let leader = with(
        leads(),
        json!({ "is_self": false, "leader_address": "https://10.0.3.7:8200/" }),
    );
    let server = node(unsealed(), leader);
    let probe = probe(&server).await.unwrap();
    assert_eq!(probe.role, Role::Replica);
    assert_eq!(probe.leader.as_deref(), Some("10.0.3.7:8200"));
    assert_eq!(probe.not_now, None);
    assert_eq!(server.paths(), [SEAL, LEADER]);
}

#[tokio::test]
async fn a_standby_of_openbao_leaves_out_what_is_false() {
    let seal = json!({ "initialized": true, "sealed": false, "version": "2.6.2",
        "commit_date": "2026-01-01", "storage_type": "raft", "cluster_id": "c-2" });
    let leader = json!({ "ha_enabled": true, "leader_address": "https://bao-1:8200",
        "raft_applied_index": 7 });
    let probe = probe(&node(seal, leader)).await.unwrap();
    assert_eq!(probe.role, Role::Replica);
    assert_eq!(State::of(&probe).product(), Product::Openbao);
}

#[tokio::test]
async fn a_node_without_high_availability_stands_alone() {
    let server = node(unsealed(), json!({ "ha_enabled": false }));
    assert_eq!(probe(&server).await.unwrap().role, Role::Standalone);
}

#[tokio::test]
async fn a_cluster_without_a_leader_waits() {
    let leader = json!({ "ha_enabled": true, "is_self": false, "leader_address": "" });
    let probe = probe(&node(unsealed(), leader)).await.unwrap();
    assert!(probe.not_now.unwrap().starts_with("no leader is elected"));
}

#[tokio::test]
async fn a_node_that_cannot_be_saved_now_is_asked_its_state_alone() {
    let cases = [
        (
            json!({ "sealed": true, "progress": 1 }),
            "this node is sealed (1 of 3 keys given)",
        ),
        (
            json!({ "sealed": true, "initialized": false, "t": 0 }),
            "this node is not initialised",
        ),
        (
            json!({ "sealed": true, "removed_from_cluster": true }),
            "this node was removed from its cluster",
        ),
    ];
    for (changes, why) in cases {
        let server = node(with(unsealed(), changes), leads());
        let probe = probe(&server).await.unwrap();
        assert_eq!(probe.not_now.as_deref(), Some(why));
        assert_eq!(server.paths(), [SEAL]);
    }
}

#[tokio::test]
async fn storage_without_snapshots_will_never_work() {
    let server = node(
        with(unsealed(), json!({ "storage_type": "consul" })),
        leads(),
    );
    let error = probe(&server).await.unwrap_err();
    assert_eq!(
        error.why,
        "the storage is `consul`, and only raft has snapshots"
    );
    assert!(error.hint.is_some());
}

#[tokio::test]
async fn a_disaster_recovery_secondary_waits_and_a_clock_apart_is_remarked_on() {
    let server = Responder::new(|request| match request.path.as_str() {
        SEAL => responder::json(200, &unsealed()),
        LEADER => responder::json(200, &leads()),
        _ => {
            let health = json!({ "replication_dr_mode": "secondary",
                "server_time_utc": jiff::Timestamp::now().as_second() - 3600 });
            responder::json(472, &with(healthy(), health))
        }
    });
    let probe = probe(&server).await.unwrap();
    assert!(probe.not_now.unwrap().contains("disaster recovery"));
    let [clock] = &probe.warnings[..] else {
        panic!("{:?}", probe.warnings)
    };
    assert!(clock.contains("1 h behind this machine's: set"), "{clock}");
}

#[tokio::test]
async fn what_is_no_vault_is_told_from_one_that_is_down() {
    let kind = "text/html; charset=utf-8";
    let page = Responder::new(move |_| text(502, kind, "<html>bad gateway"));
    let error = probe(&page).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.why.contains("502 with a web page"), "{}", error.why);

    let strange = Responder::new(|_| text(200, "text/plain", "hello"));
    let error = probe(&strange).await.unwrap_err();
    assert!(error.why.contains("not Vault's"), "{}", error.why);

    let broken = Responder::new(|_| errors(500, &["storage is away"]));
    let error = probe(&broken).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.why.ends_with("answered 500: storage is away"));

    let tls = "Client sent an HTTP request to an HTTPS server.\n";
    let tls = Responder::new(move |_| text(400, "text/plain", tls));
    let error = probe(&tls).await.unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("write `https://` in `address`"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Responder::new(|_| Reply::Hang(Vec::new()));
    let error = probe(&server).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.why.ends_with("did not answer within 1 s"));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = Responder::new(|_| Reply::Bytes(chunks(&vec![b' '; (1 << 20) + 1], true)));
    let error = probe(&server).await.unwrap_err();
    assert!(error.why.contains("more than 1 MiB"), "{}", error.why);
}

#[tokio::test]
async fn a_server_of_consul_is_known_by_what_it_has() {
    let server = Responder::new(|request| match request.path.as_str() {
        "/v1/catalog/datacenters" => responder::json(200, &json!(["dc1"])),
        "/v1/agent/self" => responder::json(
            200,
            &json!({ "Config": { "Version": "1.20.0" }, "Stats": {
                "consul": { "server": "true", "leader": "true", "leader_addr": "10.0.0.1:8300" },
                "raft": { "applied_index": "99" } } }),
        ),
        _ => text(404, "text/plain", "404 page not found"),
    });
    let probe = probe(&server).await.unwrap();
    assert_eq!(
        (probe.role, probe.summary.as_str()),
        (Role::Primary, "1.20.0, leader")
    );
    assert_eq!(State::of(&probe).product(), Product::Consul);
    assert_eq!(State::of(&probe).applied_index, Some(99));
    let asked = server.requests();
    assert_eq!(asked.last().unwrap().headers["x-consul-token"], TOKEN);
}

#[tokio::test]
async fn an_agent_that_tells_nothing_has_no_role() {
    let server = Responder::new(|request| match request.path.as_str() {
        "/v1/regions" => responder::json(200, &json!(["global"])),
        "/v1/agent/self" => text(403, "text/plain", "Permission denied"),
        _ => text(404, "text/plain", "404 page not found"),
    });
    let probe = probe(&server).await.unwrap();
    assert_eq!(probe.role, Role::Unknown);
    assert_eq!(State::of(&probe).product(), Product::Nomad);
}
