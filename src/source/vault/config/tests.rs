use serde_json::json;

use super::*;

fn config(settings: serde_json::Value) -> VaultConfig {
    serde_json::from_value(settings).unwrap()
}

fn wrong_keys(settings: serde_json::Value) -> Vec<&'static str> {
    let found = config(settings).contradictions();
    found.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn the_defaults_contradict_nothing() {
    assert!(VaultConfig::default().contradictions().is_empty());
}

#[test]
fn settings_for_tls_need_an_address_with_tls() {
    let address = "http://127.0.0.1:8200";
    let wrong = json!({ "address": address, "ca_cert": "/ca.pem", "skip_verify": false });
    assert_eq!(wrong_keys(wrong), ["ca_cert"]);
    let right = json!({ "address": "https://vault", "ca_cert": "/ca.pem" });
    assert!(wrong_keys(right).is_empty());
    let unset = json!({ "tls_server_name": "vault.internal" });
    assert!(wrong_keys(unset).is_empty());
}

#[test]
fn what_excludes_each_other_is_said() {
    assert_eq!(
        wrong_keys(json!({ "client_key": "/key.pem" })),
        ["client_key"]
    );
    assert_eq!(wrong_keys(json!({ "address": "vault:8200" })), ["address"]);
    let both = json!({ "auth": { "method": "token", "token": "t", "token_file": "/t" } });
    assert_eq!(wrong_keys(both), ["auth"]);
    let consul = json!({ "product": "consul", "auth": { "method": "cert" } });
    assert_eq!(wrong_keys(consul), ["auth.method"]);
    let unverified = json!({ "skip_verify": true, "ca_cert": "/ca.pem" });
    assert_eq!(wrong_keys(unverified), ["skip_verify"]);
    assert_eq!(wrong_keys(json!({ "timeout": "0s" })), ["timeout"]);
}

fn from_url(url: &str) -> Result<serde_json::Value, String> {
    settings_from_url(&url.parse().unwrap()).map(|(settings, _)| settings)
}

#[test]
fn a_url_is_an_address_and_its_query_the_other_keys() {
    let found = from_url("vault+https://vault:8200?ca_cert=/ca.pem&product=openbao").unwrap();
    assert_eq!(found["address"], "https://vault:8200");
    assert_eq!(found["ca_cert"], "/ca.pem");
    assert_eq!(found["product"], "openbao");
    let socket = from_url("vault+unix:///run/vault.sock").unwrap();
    assert_eq!(socket["address"], "unix:///run/vault.sock");
}

#[test]
fn a_url_sets_no_key_twice_and_holds_no_login() {
    assert!(from_url("vault+https://vault?address=https://other").is_err());
    let why = from_url("vault+https://me:hunter2@vault").unwrap_err();
    assert!(!why.contains("hunter2"), "{why}");
}
