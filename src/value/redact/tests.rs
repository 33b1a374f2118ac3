use serde_json::json;

use super::*;
use crate::value::tests::{loaded, schema};

#[test]
fn plain_secrets_go_and_everything_else_stays() {
    let document = loaded(
        "
destinations:
  a: { type: s3, bucket: hunter2, secret_access_key: hunter2 }
  b: { type: sftp, url: 'sftp://u:hunter2@host/p', password: { file: /run/p } }
  c: s3://bucket/prefix?access_key_id=id&secret_access_key=hunter2&region=r
jobs:
  j:
    source: { type: vault, address: 'http://x', auth: { method: token, token: hunter2 } }
    seal: { passphrase: { env: PASS } }
",
        [],
    );
    let mut expected = document.clone();
    expected["destinations"]["a"]["secret_access_key"] = json!("<redacted>");
    expected["destinations"]["b"]["url"] = json!("sftp://u:<redacted>@host/p");
    expected["destinations"]["c"] =
        json!("s3://bucket/prefix?access_key_id=id&secret_access_key=<redacted>&region=r");
    expected["jobs"]["j"]["source"]["auth"]["token"] = json!("<redacted>");
    assert_eq!(redact(&document, &schema()), expected);
}

#[test]
fn a_malformed_secret_is_redacted_as_a_whole() {
    let document = json!({ "destinations": { "a": {
        "type": "s3", "secret_access_key": { "env": "A", "value": "hunter2" },
    } } });
    let shown = redact(&document, &schema());
    assert_eq!(
        shown["destinations"]["a"]["secret_access_key"],
        "<redacted>"
    );
}

#[test]
fn a_secret_is_redacted_though_the_type_around_it_is_unknown() {
    for kind in [json!("s4"), json!(null), json!(1)] {
        let document =
            json!({ "destinations": { "a": { "type": kind, "secret_access_key": "hunter2" } } });
        let shown = redact(&document, &schema());
        assert_eq!(
            shown["destinations"]["a"]["secret_access_key"],
            "<redacted>"
        );
    }
}

#[test]
fn a_key_that_the_schema_does_not_know_is_judged_by_its_name() {
    let document = json!({ "plugin": { "api-token": 5, "token_file": "/x", "colour": "red" } });
    let shown = redact(&document, &schema());
    let expected = json!({ "api-token": "<redacted>", "token_file": "/x", "colour": "red" });
    assert_eq!(shown["plugin"], expected);
}

#[test]
fn urls_lose_their_passwords_and_nothing_else() {
    for (url, shown) in [
        (
            "redis://:hunter2@host:6379/0",
            "redis://:<redacted>@host:6379/0",
        ),
        ("redis://user:hun:ter2@host", "redis://user:<redacted>@host"),
        ("redis://user:hun@ter2@host", "redis://user:<redacted>@host"),
        ("redis://user:hunter/2@host", "redis://user:<redacted>@host"),
        ("redis://user:hunter#2@host", "redis://user:<redacted>@host"),
        ("sftp://user@host:22/a@b", "sftp://user@host:22/a@b"),
        (
            "https://host:8200/a:b@c?x=y#z",
            "https://host:8200/a:b@c?x=y#z",
        ),
        (
            "s3://b?Session%5FToken=hunter2#f",
            "s3://b?Session%5FToken=<redacted>#f",
        ),
        (
            "s3://b?password=&passphrase&sig=h",
            "s3://b?password=&passphrase&sig=<redacted>",
        ),
        ("gs://b?credentials_file=/x", "gs://b?credentials_file=/x"),
        ("user:hunter2@host", "user:hunter2@host"),
        ("https://host/path", "https://host/path"),
        ("://", "://"),
        ("", ""),
    ] {
        assert_eq!(redact_text(url), shown);
    }
}
