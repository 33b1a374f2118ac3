use super::*;
use writer::{checked, gzip, header, octal, padded};

fn tar_damage(tar: &[u8]) -> String {
    damage(&gzip(tar, 6))
}

/// Offsets of the headers in an archive of `parts`.
fn headers(parts: &Parts) -> Vec<usize> {
    let lengths = parts.members.iter().map(|(_, it)| 512 + padded(it).len());
    lengths
        .scan(0, |at, length| Some(std::mem::replace(at, *at + length)))
        .collect()
}

#[test]
fn the_end_must_be_there_and_be_the_end() {
    let tar = Parts::of(&msgpack()).tar();
    let end = tar.len() - 1024;
    for cut in [100, 1000, end, end + 511, end + 512, end + 1023] {
        assert_eq!(
            tar_damage(&tar[..cut]),
            "the tar inside is cut short: its end mark is missing"
        );
    }
    for cut in [513, 700, 1600] {
        assert_eq!(
            tar_damage(&tar[..cut]),
            "the tar inside is cut short: it ends in a member"
        );
    }
    let long = [&tar[..], &[0; 8192]].concat();
    prove(&gzip(&long, 6)).expect("more empty blocks are no harm");
    let junk = [&long[..], &[1]].concat();
    assert_eq!(
        tar_damage(&junk),
        "the tar inside is damaged: bytes behind its end are not zero"
    );
    let mut half = tar.clone();
    half.splice(end..end, [0; 512]);
    half[end + 600] = 1;
    assert_eq!(
        tar_damage(&half),
        "the tar inside is damaged: one empty block stands between its members"
    );
}

#[test]
fn headers_and_padding_are_checked() {
    let parts = Parts::of(&msgpack());
    let tar = parts.tar();
    for at in headers(&parts) {
        for (offset, mask) in [(0, 1), (100, 4), (124, 1), (150, 1), (156, 4), (300, 1)] {
            let mut spoiled = tar.clone();
            spoiled[at + offset] ^= mask;
            assert_eq!(
                tar_damage(&spoiled),
                "the tar inside is damaged: the checksum of a header does not match"
            );
        }
    }
    let mut spoiled = tar.clone();
    spoiled[1023] = 1;
    assert_eq!(
        tar_damage(&spoiled),
        "the tar inside is damaged: bytes behind a member are not zero"
    );
    let mut unknown = checked_at(&tar, 0, |header| header[257..265].fill(0));
    assert!(tar_damage(&unknown).ends_with("a header is of no known kind"));
    unknown = checked_at(&tar, 0, |header| header[345] = b'd');
    assert!(tar_damage(&unknown).starts_with("the tar has a member in a folder"));
    unknown = checked_at(&tar, 0, |header| header[124] = b'9');
    assert!(tar_damage(&unknown).ends_with("a header has a size that is no number"));
}

fn checked_at(tar: &[u8], at: usize, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut header = tar[at..at + 512].to_vec();
    change(&mut header);
    [&tar[..at], &checked(header), &tar[at + 512..]].concat()
}

#[test]
fn only_files_are_taken() {
    let tar = Parts::of(&msgpack()).tar();
    for kind in [b'1', b'2', b'5', b'g', b'L', b'S'] {
        let spoiled = checked_at(&tar, 0, |header| header[156] = kind);
        assert!(tar_damage(&spoiled).contains("and a snapshot has only files"));
    }
    let old = checked_at(&tar, 0, |header| header[156] = 0);
    prove(&gzip(&old, 6)).expect("an old way to say file");
    let gnu = checked_at(&tar, 0, |header| {
        header[257..265].copy_from_slice(b"ustar  \0");
    });
    prove(&gzip(&gnu, 6)).expect("GNU tar writes it");
}

/// A sound archive, but `extension` stands before `state.bin`, whose header has this size.
fn extended(extension: &[u8], size: [u8; 12]) -> Vec<u8> {
    let parts = Parts::of(&msgpack());
    let state = headers(&parts)[1];
    let tar = checked_at(&parts.tar(), state, |header| {
        header[124..136].copy_from_slice(&size);
    });
    let before = header("PaxHeaders.0/state.bin", b'x', &octal(extension.len()));
    [&tar[..state], &before, &padded(extension), &tar[state..]].concat()
}

#[test]
fn large_sizes_are_read_as_go_and_gnu_write_them() {
    let size = msgpack().len();
    let record = format!("12 size={size}\n");
    assert_eq!(record.len(), 12);
    prove(&gzip(&extended(record.as_bytes(), octal(0)), 6)).expect("a size in a record");
    let mut binary = [0; 12];
    binary[0] = 0x80;
    binary[4..].copy_from_slice(&(size as u64).to_be_bytes());
    prove(&gzip(&extended(b"14 mtime=1234\n", binary), 6)).expect("a size in binary");
    binary[0] = 0xff;
    let negative = extended(b"14 mtime=1234\n", binary);
    assert!(tar_damage(&negative).ends_with("a header has a size that is no number"));
}

#[test]
fn extended_headers_that_say_more_are_refused() {
    for (record, why) in [
        (
            &b"17 path=meta.json\n"[..],
            "an extended header cannot be read",
        ),
        (b"18 path=meta.json\n", "an extended header sets `path`"),
        (b"11 size=-1\n", "an extended header cannot be read"),
        (b"99 size=1\n", "an extended header cannot be read"),
        (b"0 size=1\n", "an extended header cannot be read"),
        (b"size=1\n", "an extended header cannot be read"),
        (b"", "an extended header has no sensible size"),
        (&[b' '; 5000], "an extended header has no sensible size"),
    ] {
        let tar = extended(record, octal(msgpack().len()));
        assert_eq!(
            tar_damage(&tar),
            format!("the tar inside is damaged: {why}")
        );
    }
    let twice = header("x", b'x', &octal(12));
    let twice = [&twice[..], &padded(b"12 size=600\n")].concat();
    assert!(tar_damage(&[&twice[..], &twice].concat()).contains("two extended headers"));
    assert!(tar_damage(&[&twice[..], &[0; 1024]].concat()).contains("stands before its end"));
}
