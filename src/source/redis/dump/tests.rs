use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

const TYPES: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/types.rdb");

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(name: &str, bytes: &[u8]) -> (Self, PathBuf) {
        let folder = Self(tempfile::tempdir().expect("a folder can be made"));
        let path = folder.0.path().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        (folder, path)
    }
}

fn refusal(path: &Path) -> SourceError {
    Dump::open(path).expect_err("this is no dump to save")
}

#[test]
fn a_dump_is_opened_at_its_first_byte() {
    let (_folder, path) = Folder::with("dump.rdb", TYPES);
    let dump = Dump::open(&path).expect("it is a dump");
    assert_eq!(dump.bytes, TYPES.len() as u64);
    assert_eq!(dump.crc64.to_le_bytes(), TYPES[TYPES.len() - 8..]);
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &dump.file, &mut bytes).expect("it can be read");
    assert_eq!(bytes, TYPES);
}

#[test]
fn an_open_dump_keeps_its_bytes_when_it_is_replaced() {
    let (folder, path) = Folder::with("dump.rdb", TYPES);
    let dump = Dump::open(&path).expect("it is a dump");
    let next = folder.0.path().join("temp-1.rdb");
    fs::write(&next, b"other").expect("a file can be written");
    fs::rename(&next, &path).expect("it can be replaced");
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &dump.file, &mut bytes).expect("it can be read");
    assert_eq!(bytes, TYPES);
}

#[test]
fn a_missing_dump_and_a_missing_folder_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let error = refusal(&folder.path().join("dump.rdb"));
    assert_eq!(error.kind, SourceErrorKind::Missing);
    assert!(
        error.why.ends_with("dump.rdb: no such file or directory"),
        "{error}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("save points")));
    let error = refusal(&folder.path().join("data/dump.rdb"));
    assert_eq!(error.kind, SourceErrorKind::Missing);
    assert!(
        error.why.ends_with("data: no such file or directory"),
        "{error}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("mount")));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn what_is_no_whole_dump_is_refused_before_it_is_read() {
    let cases: [(&[u8], &str); 5] = [
        (b"", "is empty (0 bytes)"),
        (b"hello, world, this is text", "not an RDB file"),
        (b"REDIS", "cut short"),
        (b"REDIS0010\xFF", "cut short"),
        (&TYPES[..300], "no end-of-file mark"),
    ];
    for (bytes, words) in cases {
        let (_folder, path) = Folder::with("dump.rdb", bytes);
        let error = refusal(&path);
        assert_eq!(error.kind, SourceErrorKind::Damaged, "{error}");
        assert!(error.why.contains(words), "{error}");
        assert!(error.why.contains("dump.rdb"), "{error}");
    }
}

#[test]
fn folders_and_pipes_are_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    assert!(refusal(folder.path()).why.ends_with("is a folder"));
    let pipe = folder.path().join("dump.rdb");
    let made = Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo can be run");
    assert!(made.success());
    assert!(refusal(&pipe).why.ends_with("is not a regular file"));
}

#[test]
fn a_dump_of_another_user_is_denied_with_both_users() {
    if geteuid().is_root() {
        // Nothing is denied to root: the words alone can be tried.
        let (_folder, path) = Folder::with("dump.rdb", TYPES);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = not_opened(&path, &denied);
        assert_eq!(error.kind, SourceErrorKind::Denied);
        assert!(
            error
                .why
                .ends_with("permission denied (owned by uid 0, mode 0600)"),
            "{error}"
        );
        assert!(error.hint.is_some_and(|hint| hint.contains("runAsUser: 0")));
        return;
    }
    let (_folder, path) = Folder::with("dump.rdb", TYPES);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is ours");
    let error = refusal(&path);
    assert_eq!(error.kind, SourceErrorKind::Denied);
    assert!(error.why.contains("mode 0000"), "{error}");
}

#[test]
fn age_goes_by_the_time_inside_the_dump() {
    let (_folder, path) = Folder::with("dump.rdb", TYPES);
    let dump = Dump::open(&path).expect("it is a dump");
    assert_eq!(dump.dated().as_second(), 1_795_237_552);
    let (_folder, path) = Folder::with("dump.rdb", b"REDIS0011\xFF12345678");
    let dump = Dump::open(&path).expect("it looks like a dump");
    assert_eq!(dump.dated(), dump.modified);
}

#[test]
fn leftovers_are_quiet_files_of_killed_saves() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let old = std::time::SystemTime::now() - Duration::from_hours(1);
    for (name, quiet) in [
        ("temp-12.rdb", true),
        ("temp-9.12.rdb", true),
        ("temp-13.rdb", false),
        ("my.rdb", true),
    ] {
        let file = File::create(folder.path().join(name)).expect("a file can be made");
        file.set_len(10).expect("a file can grow");
        if quiet {
            file.set_modified(old).expect("it is ours");
        }
    }
    let names: Vec<_> = leftovers(folder.path())
        .into_iter()
        .map(|(path, bytes)| (path.file_name().unwrap_or_default().to_owned(), bytes))
        .collect();
    assert_eq!(
        names,
        [("temp-12.rdb".into(), 10), ("temp-9.12.rdb".into(), 10)]
    );
    assert!(leftovers(&folder.path().join("none")).is_empty());
}
