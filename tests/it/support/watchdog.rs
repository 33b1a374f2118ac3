//! Ends servers when the test process is gone, however it ended: a shell reads from a pipe that only
//! the test process holds open, and kills what is still on its list when the pipe closes.
//!
//! Statics are never dropped and a killed process drops nothing, so without this a server that many
//! tests share would outlive them all.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
pids=
while read -r verb value; do
    case $verb in
        watch) pids="$pids $value" ;;
        forget)
            left=
            for pid in $pids; do [ "$pid" = "$value" ] || left="$left $pid"; done
            pids=$left ;;
        folder) set -- "$@" "$value" ;;
    esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
[ $# -eq 0 ] || rm -rf -- "$@"
"#;

/// Kills this process when the test process ends.
pub fn watch(pid: u32) {
    tell(&format!("watch {pid}"));
}

/// Takes a process off the list. To be called before it is waited for: its number may then be
/// given to another.
pub fn forget(pid: u32) {
    tell(&format!("forget {pid}"));
}

/// Removes this folder when the test process ends.
pub fn remove_at_end(folder: &Path) {
    tell(&format!("folder {}", folder.display()));
}

fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| Mutex::new(start()));
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the watchdog lives as long as its pipe");
}

/// In a process group of its own, so that Ctrl-C at the terminal does not reach it.
#[expect(
    clippy::zombie_processes,
    reason = "it ends after the process that would wait for it"
)]
fn start() -> ChildStdin {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "watchdog"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell can be started");
    shell.stdin.take().expect("standard input was piped")
}
