use std::io::Read;

use proptest::prelude::*;

use super::*;
use writer::gzip;

/// Where `archive` may be cut, or a byte of it changed, unnoticed: the positions and masks for
/// which it is still proved. `masks` says what to change each byte with.
fn unnoticed(archive: &[u8], masks: impl Fn(usize) -> Vec<u8>) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    let mut verifier = ArchiveVerifier::new(Expect::Any);
    let kind = |result: Result<Proof, SourceError>| {
        if let Err(error) = &result {
            assert_eq!(error.kind, SourceErrorKind::Damaged, "{error}");
        }
        result.is_ok()
    };
    for (at, &byte) in archive.iter().enumerate() {
        assert!(!kind(Box::new(verifier.clone()).finish()), "cut at {at}");
        for mask in masks(at) {
            let mut flipped = Box::new(verifier.clone());
            let result = flipped
                .update(&[byte ^ mask])
                .and_then(|()| flipped.update(&archive[at + 1..]))
                .and_then(|()| flipped.finish());
            if kind(result) {
                found.push((at, mask));
            }
        }
        verifier.update(&[byte]).expect("the archive is whole");
    }
    Box::new(verifier).finish().expect("the archive is whole");
    found
}

fn all_masks(_: usize) -> Vec<u8> {
    let bits = (0..8).map(|bit| 1 << bit);
    bits.chain([0xff, 0x55]).collect()
}

fn inflate(archive: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(archive);
    decoder.read_to_end(&mut plain).ok().map(|_| plain)
}

/// The one kind of change that cannot be noticed.
fn inflates_to_the_same(archive: &[u8], (at, mask): (usize, u8)) -> bool {
    let mut flipped = archive.to_vec();
    flipped[at] ^= mask;
    inflate(&flipped).is_some_and(|plain| Some(plain) == inflate(archive))
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_stored_archive_is_noticed() {
    let archive = Parts::sealed(&entries()).stored();
    assert_eq!(unnoticed(&archive, all_masks), []);
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_deflated_archive_is_noticed_or_harmless() {
    for parts in [Parts::sealed(&entries()), Parts::of(&msgpack())] {
        let archive = parts.deflated();
        for flip in unnoticed(&archive, all_masks) {
            assert!(inflates_to_the_same(&archive, flip), "{flip:?}");
        }
    }
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_genuine_snapshot_is_noticed_or_harmless() {
    // All bits of all bytes take a minute in a debug build. Of those 130,936, 17 are harmless.
    let found = unnoticed(VAULT, |at| match at % 8 {
        0 => vec![0x01, 0xff],
        bit => vec![1 << bit],
    });
    for &flip in &found {
        assert!(inflates_to_the_same(VAULT, flip), "{flip:?}");
    }
    assert!(found.len() <= 17, "{found:?}");
}

#[test]
fn bytes_behind_the_end_are_noticed() {
    for archive in [VAULT.to_vec(), Parts::of(&msgpack()).stored()] {
        for junk in [&[0][..], &[0; 512], b"\n", &archive, &gzip(b"", 6)] {
            let long = [&archive[..], junk].concat();
            assert_eq!(damage(&long), "the snapshot has bytes after its end");
        }
    }
}

#[test]
fn a_cut_says_where() {
    for (bytes, why) in [
        (4, "it ends in the gzip header"),
        (5000, "it ends in the compressed data"),
        (VAULT.len() - 8, "the gzip trailer is missing"),
        (VAULT.len() - 1, "it ends in the gzip trailer"),
    ] {
        let expected = format!("the snapshot is cut short: {why}");
        assert_eq!(damage(&VAULT[..bytes]), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_does_not_matter_in_which_pieces_an_archive_comes(
        chunks in prop::collection::vec(1_usize..3000, 1..6),
        deflated in any::<bool>(),
    ) {
        let archive = if deflated {
            VAULT.to_vec()
        } else {
            Parts::sealed(&entries()).stored()
        };
        let whole = prove(&archive).expect("it is whole");
        let mut verifier = Box::new(ArchiveVerifier::new(Expect::Any));
        let (mut rest, mut sizes) = (&archive[..], chunks.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |&size| size.min(rest.len()));
            verifier.update(&[]).expect("nothing is no harm");
            verifier.update(&rest[..size]).expect("it is whole");
            rest = &rest[size..];
        }
        let proof = verifier.finish().expect("it is whole");
        prop_assert_eq!(proof.facts, whole.facts);
        prop_assert_eq!(proof.checks, whole.checks);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(prove(&bytes).is_err());
        // In place of the tar, and of the state.
        prop_assert!(prove(&gzip(&bytes, 1)).is_err());
        for expect in [Expect::Any, Expect::Sealed] {
            let _ = prove_as(expect, &Parts::sealed(&bytes).stored());
        }
    }

    #[test]
    fn several_changes_are_noticed_or_harmless(
        changes in prop::collection::vec((0..VAULT.len(), 1_u8..=255), 1..5),
        chunk in 1_usize..20_000,
    ) {
        let mut archive = VAULT.to_vec();
        for (at, mask) in changes {
            archive[at] ^= mask;
        }
        let mut verifier = Box::new(ArchiveVerifier::new(Expect::Any));
        let fed = archive.chunks(chunk).try_for_each(|bytes| verifier.update(bytes));
        if fed.and_then(|()| verifier.finish()).is_ok() {
            prop_assert_eq!(inflate(&archive), inflate(VAULT));
        }
    }
}
