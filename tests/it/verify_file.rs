//! `verify FILE`, on what somebody else made, and on what is no file at all.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

const GENUINE: &[u8] = include_bytes!("../fixtures/vault/vault-1.21.0.snap");

#[test]
fn a_snapshot_that_somebody_else_made_is_proved_without_any_configuration() {
    let sandbox = Sandbox::new();
    sandbox.write("theirs.snap", GENUINE);
    sandbox.write("cut.snap", &GENUINE[..GENUINE.len() - 1]);
    sandbox.write("other.bin", "no engine's data");
    let whole = sandbox.run(["verify", "theirs.snap"]);
    assert!(whole.ok().stdout.contains("index"), "{whole:?}");
    sandbox.run(["verify", "./cut.snap"]).code(5);
    sandbox.run(["verify", "other.bin"]).code(5);
    sandbox.write(
        "sealed.snap.zst",
        zstd::bulk::compress(GENUINE, 3).expect("it can be packed"),
    );
    let sealed = sandbox.run(["verify", "sealed.snap.zst"]);
    assert!(sealed.code(1).stdout.contains("zstd -d"), "{sealed:?}");
    for nothing in ["./nowhere.snap", ".//", "/dev/zero"] {
        sandbox.run(["verify", nothing]).code(1);
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let mut command = sandbox.command(["verify", "./pipe"]);
    let mut running = command.stderr(Stdio::null()).spawn().expect("it was built");
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = running.try_wait().expect("it can be waited for") {
            break ended;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            running.kill().expect("it can be killed");
            running.wait().expect("it ends");
            panic!("it waits for the pipe");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn a_file_in_the_working_directory_stands_in_for_no_series() {
    let sandbox = Sandbox::new();
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    let nas = format!("file://{}", sandbox.folder("nas").display());
    let source = format!("sqlite://{}", sandbox.path("app.db").display());
    let at = ["--destination", nas.as_str()];
    let saved = [&["backup", "--source", &source, "--name", "vault"][..], &at].concat();
    sandbox.run(saved).ok();
    // Such as the server's own program.
    sandbox.write("vault", "ELF");
    for id in [&[][..], &["latest"], &["--all"]] {
        let verified = sandbox.run([&["verify", "vault"][..], id, &at].concat());
        assert!(verified.ok().stdout.contains("in file://"), "{verified:?}");
    }
    sandbox.run(["verify", "vault"]).code(5);
}
