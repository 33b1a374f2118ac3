use proptest::prelude::*;

use super::*;
use crate::source::{Proof, SourceErrorKind, Verifier};

const EMPTY: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/empty.rdb");
const TYPES: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/types.rdb");
const REPLICA: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/replica.rdb");
const NO_CHECKSUM: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/no-checksum.rdb");
const NESTED: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/nested.rdb");

fn prove_in(dump: &[u8], block: usize) -> Result<Proof, SourceError> {
    let mut verifier = Box::new(RdbVerifier::new());
    for bytes in dump.chunks(block) {
        verifier.update(bytes)?;
    }
    verifier.finish()
}

fn prove(dump: &[u8]) -> Result<Proof, SourceError> {
    prove_in(dump, 4096)
}

fn damage(dump: &[u8]) -> String {
    let error = prove(dump).expect_err("the dump is not whole");
    assert_eq!(error.kind, SourceErrorKind::Damaged, "{error}");
    error.why
}

/// A dump with a right checksum around `body`.
fn dump(header: &str, body: &[u8]) -> Vec<u8> {
    let mut dump = [header.as_bytes(), body, &[0xFF]].concat();
    let crc = crc_fast::checksum_with_params(verify::crc64_redis(), &dump);
    dump.extend(crc.to_le_bytes());
    dump
}

#[test]
fn the_checksum_is_the_one_of_redis() {
    let crc = crc_fast::checksum_with_params(verify::crc64_redis(), b"123456789");
    assert_eq!(crc, 0xe9c6_d914_c4b8_d9ca);
}

#[test]
fn genuine_dumps_are_proved() {
    for dump in [EMPTY, TYPES, REPLICA, NESTED] {
        let proof = prove(dump).expect("the dump is whole");
        let names: Vec<_> = proof
            .checks
            .iter()
            .map(|check| check.name.as_str())
            .collect();
        assert_eq!(names, ["header", "crc64", "length"]);
        assert!(proof.checks.iter().all(|check| check.ok));
    }
}

#[test]
fn the_head_tells_where_a_dump_comes_from() {
    let facts = prove(REPLICA).expect("the dump is whole").facts;
    assert_eq!(facts["magic"], "REDIS");
    assert_eq!(facts["rdb_version"], 10);
    assert_eq!(facts["redis_ver"], "7.0.15");
    assert_eq!(facts["ctime"], "2026-11-21T05:05:53Z");
    assert_eq!(facts["repl_id"], "f527d7f68c195317f10f10fe98218688f9ba4d31");
    assert_eq!(facts["repl_offset"], 0);
    assert_eq!(facts["aof_base"], 0);
    assert_eq!(facts["used_mem"], 984_096);
    assert_eq!(facts["db0_keys"], 11);
    assert_eq!(
        prove(EMPTY).expect("the dump is whole").facts["db0_keys"],
        0
    );
    assert!(
        !prove(TYPES)
            .expect("the dump is whole")
            .facts
            .contains_key("repl_id")
    );
}

#[test]
fn every_truncation_is_damage() {
    for dump in [EMPTY, TYPES, REPLICA, NO_CHECKSUM, NESTED] {
        for length in 0..dump.len() {
            damage(&dump[..length]);
        }
    }
}

#[test]
fn every_changed_byte_is_found() {
    for dump in [EMPTY, TYPES] {
        let mut changed = dump.to_vec();
        for at in 0..dump.len() {
            for byte in (0..=u8::MAX).filter(|byte| *byte != dump[at]) {
                changed[at] = byte;
                assert!(prove(&changed).is_err(), "byte {at} as {byte}");
            }
            changed[at] = dump[at];
        }
    }
}

#[test]
fn a_second_dump_behind_the_first_is_damage() {
    for first in [EMPTY, TYPES, REPLICA, NESTED] {
        for second in [EMPTY, TYPES] {
            let both = [first, second].concat();
            // Its checksum alone would pass.
            let covered = both.len() - 8;
            let crc = crc_fast::checksum_with_params(verify::crc64_redis(), &both[..covered]);
            assert_eq!(crc.to_le_bytes(), both[covered..]);
            let why = damage(&both);
            assert!(
                why.contains(&format!("ends at byte {}", first.len())),
                "{why}"
            );
        }
    }
}

#[test]
fn a_second_dump_is_found_wherever_blocks_end() {
    let both = [TYPES, EMPTY].concat();
    for block in 1..both.len() {
        prove_in(&both, block).expect_err("a dump follows the first");
    }
}

#[test]
fn a_second_dump_behind_zeros_is_damage() {
    for zeros in [1, 8, 9, 64, 4096] {
        damage(&[TYPES, &vec![0; zeros], EMPTY].concat());
    }
}

#[test]
fn a_dump_that_is_a_value_is_no_second_dump() {
    assert!(
        NESTED
            .windows(9)
            .filter(|window| window == b"REDIS0010")
            .count()
            == 2
    );
    prove(NESTED).expect("the dump is whole");
}

#[test]
fn what_follows_the_footer_is_damage() {
    for dump in [EMPTY, TYPES, REPLICA] {
        for extra in [
            &b"\n"[..],
            b"\r\n",
            b"REDIS",
            b"$EOF:",
            &[0; 9],
            &[0; 4096],
            &[0xFF; 30],
        ] {
            damage(&[dump, extra].concat());
        }
        // The CRC of a dump followed by zeros is its own footer shifted; the mark must tell.
        for zeros in 1..=8 {
            damage(&[dump, &vec![0; zeros]].concat());
        }
    }
}

#[test]
fn a_dump_without_checksum_is_whole_but_not_proved() {
    let proof = prove(NO_CHECKSUM).expect("the dump is whole");
    let failed: Vec<_> = proof.checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].name, "crc64");
    assert!(failed[0].detail.contains("rdbchecksum no"));
}

#[test]
fn every_version_with_a_checksum_is_accepted() {
    for header in [
        "REDIS0005",
        "REDIS0009",
        "REDIS0016",
        "REDIS0099",
        "VALKEY080",
        "VALKEY123",
    ] {
        prove(&dump(header, &[])).expect("the version is accepted");
    }
}

#[test]
fn valkey_names_itself_in_its_dumps() {
    let fields: &[u8] =
        b"\xFA\nvalkey-ver\x059.0.0\xFA\x05ctime\xC2\x00\x00\x00\x60\xFE\x00\xFB\x02\x00";
    let facts = prove(&dump("VALKEY080", fields))
        .expect("the dump is whole")
        .facts;
    assert_eq!(facts["magic"], "VALKEY");
    assert_eq!(facts["rdb_version"], 80);
    assert_eq!(facts["valkey_ver"], "9.0.0");
    assert_eq!(facts["ctime"], "2021-01-14T08:25:36Z");
    assert_eq!(facts["db0_keys"], 2);
}

#[test]
fn keys_are_those_of_the_first_database() {
    let keys = |body: &[u8]| {
        let proof = prove(&dump("REDIS0011", body)).expect("the dump is whole");
        proof
            .facts
            .get("db0_keys")
            .and_then(serde_json::Value::as_u64)
    };
    assert_eq!(keys(b"\xFE\x00\xFB\x43\xE8\x00"), Some(1_000));
    assert_eq!(keys(b"\xFE\x03\xFB\x07\x00"), None);
    assert_eq!(keys(b"\xFE\x00\xF4\x07\x00"), None);
    assert_eq!(keys(b"\xF5\x03lib\xFE\x00\xFB\x02\x00"), Some(2));
    assert_eq!(keys(b""), Some(0));
}

#[test]
fn what_is_no_dump_is_refused_in_words() {
    let long = |first: &[u8]| [first, &[0xFF; 40]].concat();
    let cases: [(&[u8], &str); 6] = [
        (b"\x1F\x8B\x08\0\0\0\0\0\0", "not an RDB file"),
        (b"REDIS00x1", "not an RDB file"),
        (b"redis0011", "not an RDB file"),
        (b"REDIS0100", "REDIS has no RDB version 100"),
        (b"VALKEY079", "VALKEY has no RDB version 79"),
        (b"\0\0\0\0\0\0\0\0\0", "\\x00"),
    ];
    for (first, words) in cases {
        let why = damage(&long(first));
        assert!(why.contains(words), "{why}");
    }
    for (first, words) in [
        (&b"REDIS0004"[..], "no checksum"),
        (b"VKCS\x01\0\0\0\0", "compression"),
    ] {
        let error = prove(&long(first)).expect_err("it cannot be proved");
        assert_eq!(error.kind, SourceErrorKind::Other);
        assert!(error.why.contains(words) && error.hint.is_some(), "{error}");
    }
}

#[test]
fn fields_that_are_not_understood_end_the_walk_and_are_no_damage() {
    let compressed = b"\xFA\x07repl-id\xC3\x03\x28abc\xFA\x08used-mem\xC1\x10\x27";
    let head = parse_head(&dump("REDIS0011", compressed)).expect("the header is good");
    assert_eq!(head.aux["repl-id"], Text::Compressed);
    assert_eq!(head.text("used-mem"), Some("10000"));
    for body in [
        &b"\xFA\xC7"[..],
        b"\xFA\x05ab",
        b"\xFA\x80\xFF\xFF\xFF\xFF",
        b"\xFA\x90",
    ] {
        let proof = prove(&dump("REDIS0011", body)).expect("the checksum is right");
        assert!(!proof.facts.contains_key("db0_keys"));
    }
}

#[test]
fn the_head_is_read_no_further_than_its_limit() {
    let huge = [
        b"\xFA\x01a\x80\x00\x10\x00\x00".as_slice(),
        &vec![b'x'; 1 << 20],
    ]
    .concat();
    let facts = prove(&dump("REDIS0011", &huge))
        .expect("the dump is whole")
        .facts;
    assert_eq!(facts["rdb_version"], 11);
}

#[test]
fn unknown_versions_are_remarked_on() {
    let remark = |text: &[u8; 9]| Header::recognise(text).expect("it is a header").remark();
    assert_eq!(remark(b"REDIS0015"), None);
    assert_eq!(remark(b"VALKEY081"), None);
    assert!(remark(b"REDIS0016").is_some_and(|remark| remark.contains("16")));
    assert!(remark(b"VALKEY082").is_some());
}

proptest! {
    #[test]
    fn the_proof_does_not_depend_on_the_blocks(blocks in prop::collection::vec(1_usize..40, 1..80)) {
        let mut verifier = Box::new(RdbVerifier::new());
        let mut rest = NESTED;
        for block in blocks.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (bytes, after) = rest.split_at(block.min(rest.len()));
            verifier.update(bytes)?;
            rest = after;
        }
        let proof = verifier.finish()?;
        prop_assert!(proof.checks.iter().all(|check| check.ok));
    }

    #[test]
    fn no_tail_of_other_bytes_passes(extra in prop::collection::vec(any::<u8>(), 1..200)) {
        for dump in [EMPTY, TYPES] {
            prop_assert!(prove(&[dump, &extra].concat()).is_err());
        }
    }

    #[test]
    fn no_other_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(prove(&bytes).is_err());
        prop_assert!(prove(&[&TYPES[..200], &bytes].concat()).is_err());
    }
}
