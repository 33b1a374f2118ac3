mod damage;
mod gzip;
mod members;
mod state;
mod tar;
mod writer;

use serde_json::{Value, json};

use super::*;
use crate::source::SourceErrorKind;
use writer::{Parts, entries, msgpack};

const VAULT: &[u8] = include_bytes!("../../../../tests/fixtures/vault/vault-1.21.0.snap");
const INSPECTED: &str = include_str!("../../../../tests/fixtures/vault/vault-1.21.0.inspect.json");

fn prove_as(expect: Expect, archive: &[u8]) -> Result<Proof, SourceError> {
    let mut verifier = Box::new(ArchiveVerifier::new(expect));
    for bytes in archive.chunks(4096) {
        verifier.update(bytes)?;
    }
    verifier.finish()
}

fn prove(archive: &[u8]) -> Result<Proof, SourceError> {
    prove_as(Expect::Any, archive)
}

fn refused(result: Result<Proof, SourceError>) -> String {
    let error = result.expect_err("the archive is not whole");
    assert_eq!(error.kind, SourceErrorKind::Damaged, "{error}");
    assert!(!error.why.contains('\n'), "{error}");
    error.why
}

fn damage(archive: &[u8]) -> String {
    refused(prove(archive))
}

#[test]
fn a_snapshot_of_vault_is_proved_and_its_facts_are_those_of_inspect() {
    let inspected: Value = serde_json::from_str(INSPECTED).expect("JSON");
    for expect in [Expect::Any, Expect::Sealed] {
        let proof = prove_as(expect, VAULT).expect("the snapshot is whole");
        assert!(proof.checks.iter().all(|check| check.ok));
        let names: Vec<&str> = proof.checks.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["gzip", "tar", "meta", "sha256", "entries"]);
        let facts = proof.facts;
        for (fact, theirs) in [
            ("snapshot_id", "ID"),
            ("state_bytes", "Size"),
            ("index", "Index"),
            ("term", "Term"),
            ("snapshot_version", "Version"),
        ] {
            assert_eq!(facts[fact], inspected["Meta"][theirs], "{fact}");
        }
        assert_eq!(facts["key_count"], inspected["TotalCountKV"]);
        assert_eq!(facts["key_bytes"], inspected["TotalSizeKV"]);
        let keys: Facts = inspected["StatsKV"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| {
                let name = it["Name"].as_str().expect("a name");
                (
                    name.to_owned(),
                    json!({ "count": it["Count"], "bytes": it["Size"] }),
                )
            })
            .collect();
        assert_eq!(keys.len(), 23);
        assert_eq!(facts["keys"], Value::from(keys));
        assert_eq!(
            facts["servers"],
            json!([{ "id": "node-1", "address": "127.0.0.1:45181", "suffrage": "voter" }])
        );
        assert_eq!(facts["configuration_index"], 1);
        assert_eq!(
            facts["state_sha256"],
            "6cf116e97415e856124d25662feda24b9811ab7e475c098593ae4f421e463ed5"
        );
    }
}

#[test]
fn a_snapshot_of_vault_is_none_of_consul() {
    assert_eq!(
        refused(prove_as(Expect::Unsealed, VAULT)),
        "the snapshot has a SHA256SUMS.sealed, which only Vault and OpenBao write"
    );
}

#[test]
fn an_archive_without_compression_is_proved_as_openbao_writes_it() {
    let archive = Parts::sealed(&entries()).stored();
    for expect in [Expect::Any, Expect::Sealed] {
        let facts = prove_as(expect, &archive).expect("it is whole").facts;
        assert_eq!(facts["key_count"], 5);
        assert_eq!(facts["keys"]["logical/65d67ce3"]["count"], 2);
        assert_eq!(facts["servers"][1]["suffrage"], "nonvoter");
    }
}

#[test]
fn an_archive_without_sealed_sums_is_proved_as_consul_and_nomad_write_it() {
    let archive = Parts::of(&msgpack()).deflated();
    for expect in [Expect::Any, Expect::Unsealed] {
        let proof = prove_as(expect, &archive).expect("it is whole");
        assert_eq!(proof.facts["index"], 54);
        assert!(!proof.facts.contains_key("keys"));
        assert!(proof.checks.iter().all(|check| check.name != "entries"));
    }
    assert_eq!(
        refused(prove_as(Expect::Sealed, &archive)),
        "state.bin is damaged: entry 1 does not begin with a key"
    );
}

#[test]
fn what_is_no_archive_is_told_apart() {
    for (bytes, why) in [
        (&b""[..], "the snapshot is empty"),
        (
            b"<html><body>404",
            "this is not a snapshot archive: it begins like a web page",
        ),
        (
            b"{\"errors\":[]}",
            "this is not a snapshot archive: it begins like JSON",
        ),
        (
            b"PK\x03\x04",
            "this is not a snapshot archive: it is not a gzip stream",
        ),
        (
            b"\x1f\x8b\x08",
            "the snapshot is cut short: it ends in the gzip header",
        ),
    ] {
        assert_eq!(damage(bytes), why);
    }
}
