use serde_json::json;

use super::*;

fn seal(json: Value) -> SealStatus {
    serde_json::from_value(json).unwrap()
}

#[test]
fn vault_and_openbao_are_told_apart_by_what_they_say_and_then_by_version() {
    let (vault, bao) = (Product::Vault, Product::Openbao);
    let performance = Leader {
        names_performance: true,
        ..Leader::default()
    };
    let silent = Leader::default();
    let cases = [
        (
            json!({ "version": "1.21.0", "removed_from_cluster": false }),
            &silent,
            vault,
        ),
        (
            json!({ "version": "2.0.0", "removed_from_cluster": false }),
            &silent,
            vault,
        ),
        (json!({ "version": "2.0.0" }), &performance, vault),
        (json!({ "version": "1.13.4" }), &performance, vault),
        (
            json!({ "version": "2.6.2", "commit_date": "2026" }),
            &silent,
            bao,
        ),
        (json!({ "version": "2.1.0" }), &silent, bao),
        (json!({ "version": "1.9.0" }), &silent, vault),
        (json!({}), &silent, vault),
    ];
    for (status, leader, product) in cases {
        assert_eq!(
            tell(&seal(status.clone()), Some(leader)),
            product,
            "{status}"
        );
    }
}

#[test]
fn an_agent_says_in_texts_what_it_is() {
    let json = json!({ "config": { "Version": { "Version": "1.9.0" } }, "stats": {
        "nomad": { "server": "true", "leader": "false", "leader_addr": "10.0.0.2:4647" },
        "raft": { "applied_index": "12" } } });
    let answer = Answer { status: 200, json };
    let endpoint = Endpoint::parse("http://nomad:4646").unwrap();
    let agent = Agent::read(&answer, Product::Nomad, &endpoint).unwrap();
    assert_eq!(
        agent,
        Agent {
            version: Some("1.9.0".into()),
            server: true,
            leads: false,
            leader: Some("10.0.0.2:4647".into()),
            applied_index: Some(12),
        }
    );
    assert!(Agent::read(&answer, Product::Consul, &endpoint).is_err());
}

#[test]
fn a_name_in_a_manifest_is_read_back() {
    for product in [
        Product::Vault,
        Product::Openbao,
        Product::Consul,
        Product::Nomad,
    ] {
        assert_eq!(Product::named(product.as_str()), product);
    }
}
