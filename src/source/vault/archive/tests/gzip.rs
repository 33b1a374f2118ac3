use proptest::prelude::*;

use super::super::gzip::Gunzip;
use super::*;
use crate::source::vault::archive::tests::writer::{gzip, wrapped};

fn gunzip(bytes: &[u8], chunks: &[usize]) -> Result<Vec<u8>, SourceError> {
    let mut plain = Vec::new();
    let mut gunzip = Gunzip::new();
    let mut rest = bytes;
    let mut sizes = chunks.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |&size| size.min(rest.len()));
        let (chunk, behind) = rest.split_at(size);
        gunzip.update(chunk, &mut |bytes| {
            plain.extend_from_slice(bytes);
            Ok(())
        })?;
        rest = behind;
    }
    let inflated = gunzip.finish()?;
    assert_eq!(inflated.bytes, plain.len() as u64);
    Ok(plain)
}

/// Bits as DEFLATE packs them, the first one lowest.
fn pack(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(u8::is_ascii_digit).collect();
    bits.chunks(8)
        .map(|byte| {
            let set = byte.iter().enumerate().filter(|&(_, &bit)| bit == b'1');
            set.fold(0, |byte, (at, _)| byte | 1 << at)
        })
        .collect()
}

fn why(archive: &[u8]) -> String {
    gunzip(archive, &[]).expect_err("it is damaged").why
}

#[test]
fn blocks_of_each_kind_may_follow_each_other() {
    // A last block with a fixed code: literal 0, a repetition of three from one before, its end.
    let blocks = pack("1 10 00110000 0000001 00000 0000000");
    assert_eq!(
        gunzip(&wrapped(&blocks, &[0; 4]), &[]).expect("whole"),
        [0; 4]
    );
    // An empty stored block in front, as a flush leaves it.
    let blocks = [&pack("0 00 00000")[..], &[0, 0, 255, 255], &blocks].concat();
    assert_eq!(
        gunzip(&wrapped(&blocks, &[0; 4]), &[1]).expect("whole"),
        [0; 4]
    );
}

#[test]
fn a_repetition_of_what_was_before_the_first_byte_is_refused() {
    let blocks = pack("1 10 0000001 00000 0000000");
    assert!(why(&wrapped(&blocks, &[0; 3])).ends_with("it cannot be inflated"));
}

#[test]
fn bits_that_decompressors_skip_must_be_zero() {
    let last = pack("1 10 00110000 0000000 000001");
    assert_eq!(
        why(&wrapped(&last, &[0])),
        "the gzip stream is damaged: bits that must be zero at its end are not"
    );
    let stored = [&pack("1 00 00001")[..], &[1, 0, 254, 255, 7]].concat();
    assert_eq!(
        why(&wrapped(&stored, &[7])),
        "the gzip stream is damaged: bits that must be zero before a block are not"
    );
    // The header begins in one byte and the filling bits are in the next.
    let behind = pack("0 10 00110000 0000000 1000 1000 0000");
    let both = [&behind[..], &[0, 0, 255, 255]].concat();
    assert!(why(&wrapped(&both, &[0])).contains("before a block"));
}

#[test]
fn a_block_of_no_known_type_or_length_is_refused() {
    assert!(why(&wrapped(&pack("1 11"), &[])).ends_with("a block is of no known type"));
    let stored = [&pack("1 00")[..], &[1, 0, 0, 0, 7]].concat();
    assert!(why(&wrapped(&stored, &[7])).ends_with("the length of a stored block is not right"));
}

#[test]
fn the_trailer_must_match() {
    let mut archive = gzip(b"lifeboat", 6);
    let length = archive.len();
    archive[length - 4] ^= 1;
    assert!(why(&archive).ends_with("its length does not match its contents"));
    archive[length - 8] ^= 1;
    assert!(why(&archive).contains("its checksum is "));
}

#[test]
fn other_headers_are_refused() {
    let mut archive = gzip(b"lifeboat", 6);
    archive[9] = 3;
    assert_eq!(
        why(&archive),
        "the gzip header is damaged, or another program packed this: byte 9 is 03, not ff"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_another_program_deflated_comes_back(
        pieces in prop::collection::vec((any::<u64>(), 0_usize..30_000, any::<bool>()), 0..8),
        level in 0_u32..10,
        chunks in prop::collection::vec(1_usize..5000, 1..4),
    ) {
        let mut plain = Vec::new();
        for (seed, length, random) in pieces {
            let mut state = seed | 1;
            plain.extend((0..length).map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if random { state.to_le_bytes()[7] } else { at.to_le_bytes()[0] % 23 }
            }));
        }
        let archive = gzip(&plain, level);
        prop_assert_eq!(gunzip(&archive, &chunks).expect("it is whole"), plain);
    }

    #[test]
    fn any_bytes_behind_the_header_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        chunks in prop::collection::vec(1_usize..50, 1..4),
    ) {
        prop_assert!(gunzip(&wrapped(&bytes, b""), &chunks).is_err() || bytes.is_empty());
    }
}
