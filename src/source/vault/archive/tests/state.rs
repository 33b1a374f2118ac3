use super::*;
use writer::{entry, field, framed, varint};

/// What is wrong with a state, in an archive that is sound otherwise.
fn state_damage(state: &[u8]) -> String {
    let why = refused(prove_as(Expect::Sealed, &Parts::sealed(state).stored()));
    // Beside sealed sums, nobody takes it for the state of another server.
    assert_eq!(damage(&Parts::sealed(state).deflated()), why);
    why
}

fn keys(state: &[u8]) -> u64 {
    let proof = prove_as(Expect::Sealed, &Parts::sealed(state).stored());
    let count = &proof.expect("it is whole").facts["key_count"];
    count.as_u64().expect("a number")
}

#[test]
fn a_state_that_ends_within_an_entry_is_cut_short() {
    let state = entries();
    let mut ends = vec![0];
    for cut in 1..state.len() {
        let walked = prove_as(Expect::Sealed, &Parts::sealed(&state[..cut]).stored());
        match walked {
            Ok(_) => ends.push(cut),
            Err(error) => assert_eq!(error.why, "state.bin is cut short: it ends within an entry"),
        }
    }
    // Where an entry ends it cannot be told; the sums and the size can.
    assert_eq!(ends.len(), 5);
    assert_eq!(state_damage(b""), "state.bin has no entries");
}

#[test]
fn large_values_are_passed_over_and_large_keys_refused() {
    let state = [entry("core/large", &vec![1; 3 << 20]), entries()].concat();
    assert_eq!(keys(&state), 6);
    assert_eq!(keys(&entry(&"k".repeat(32_768), b"v")), 1);
    assert_eq!(
        state_damage(&entry(&"k".repeat(32_769), b"v")),
        "state.bin is damaged: entry 1 has a key of 32769 bytes"
    );
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let key = field(0x0a, b"core/x");
    for later in [
        &[0x20, 0x80, 0x01][..],
        &field(0x22, b"later"),
        &[0x21, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x25, 1, 2, 3, 4],
    ] {
        assert_eq!(keys(&framed(&[&key[..], later].concat())), 1);
        assert_eq!(
            keys(&framed(&[&key[..], later, &field(0x12, b"v")].concat())),
            1
        );
    }
}

#[test]
fn entries_that_are_no_storage_entries_are_refused() {
    let key = field(0x0a, b"core/x");
    let with = |rest: &[u8]| framed(&[&key[..], rest].concat());
    let overlong = [&[0xff; 9][..], &[2]].concat();
    for (state, why) in [
        (vec![0], "is empty"),
        (varint(1 << 31), "is longer than 2 GiB"),
        (overlong.clone(), "has a number that is too large"),
        (
            with(&[&[0x18][..], &overlong].concat()),
            "has a number that is too large",
        ),
        (framed(&field(0x12, b"v")), "does not begin with a key"),
        (framed(&field(0x0a, b"")), "has an empty key"),
        (framed(&field(0x0a, b"\xff")), "has a key that is not text"),
        (framed(&[0x08, 1]), "has a field of the wrong type"),
        (with(&[0x10, 1]), "has a field of the wrong type"),
        (with(&[0x1a, 0]), "has a field of the wrong type"),
        (with(&[0x02, 0]), "has a field of the wrong type"),
        (with(&[0x23, 0]), "has a field of no known type"),
        (with(&key), "has a field twice"),
        (with(&[0x12]), "ends within a field"),
        (with(&[0x18]), "ends within a field"),
        (with(&[0x18, 0x80]), "ends within a field"),
        (with(&[0x12, 5, 1]), "has a field that reaches past its end"),
        (
            framed(&[0x0a, 5, b'x']),
            "has a field that reaches past its end",
        ),
        (with(&[0x21, 1]), "is too short"),
    ] {
        assert_eq!(
            state_damage(&[entries(), state].concat()),
            format!("state.bin is damaged: entry 6 {why}")
        );
    }
}
