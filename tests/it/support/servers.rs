//! Starting, watching and stopping child processes on loopback ports.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to become ready, or to end after SIGTERM.
const SERVER_DEADLINE: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const LOG_TAIL_BYTES: usize = 4000;

/// A loopback port that nothing listens on and that this process has not handed out before.
///
/// Ports come from below the kernel's ephemeral range, so that no outgoing connection can take one
/// between this call and the server's bind.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    const PROCESS_STRIDE: u32 = 211;
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    let offset = std::process::id().wrapping_mul(PROCESS_STRIDE) % COUNT;
    for _ in 0..COUNT {
        let next = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let candidate = FIRST + (offset + next) % COUNT;
        let port = u16::try_from(candidate).expect("the range fits a port number");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no free loopback port between {FIRST} and {}",
        FIRST + COUNT
    );
}

/// The path of a program the tests need, or a panic that says how to get it.
///
/// `minio` is named by `LIFEBOAT_TEST_MINIO`, and others that `tests/run.sh` builds or installs alike;
/// every program is looked for on PATH otherwise.
pub fn require(binary: &str) -> PathBuf {
    let variable = format!("LIFEBOAT_TEST_{}", binary.to_uppercase().replace('-', "_"));
    let named = std::env::var_os(&variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let found = match &named {
        Some(path) => path.is_file().then(|| path.clone()),
        None => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|dir| dir.join(binary))
                .find(|file| file.is_file())
        }),
    };
    found.unwrap_or_else(|| {
        panic!(
            "this test needs {binary}, which is neither on PATH nor named by {variable}: \
             run tests/run.sh, which installs or builds it"
        )
    })
}

/// Runs a program to its end and returns its standard output; panics when it fails.
pub fn run<I, S>(program: &Path, args: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Polls until `probe` succeeds; panics with its last error after `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(error) = probe() {
        assert!(
            begin.elapsed() < deadline,
            "{what}: not within {deadline:?}: {error}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A child process whose output goes to a log file and which is killed when dropped.
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(String, OsString)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts a program. Its standard output and error are appended to `log`.
    pub fn spawn<S: AsRef<OsStr>>(
        program: &Path,
        args: &[S],
        envs: &[(&str, &OsStr)],
        log: &Path,
    ) -> Process {
        let name = program.file_name().unwrap_or(program.as_os_str());
        let mut process = Process {
            name: name.to_string_lossy().into_owned(),
            program: program.to_path_buf(),
            args: args.iter().map(|arg| arg.as_ref().to_os_string()).collect(),
            envs: envs
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_os_string()))
                .collect(),
            log: log.to_path_buf(),
            child: None,
        };
        process.respawn();
        process
    }

    /// Starts the program again with the same arguments; it must not be running.
    pub fn respawn(&mut self) {
        assert!(!self.is_running(), "{} is already running", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("cannot open {}: {error}", self.log.display()));
        let errors = log.try_clone().expect("a file handle can be duplicated");
        let child = Command::new(&self.program)
            .args(&self.args)
            .envs(self.envs.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// The process id; panics when the process was stopped.
    pub fn pid(&self) -> u32 {
        let child = self
            .child
            .as_ref()
            .unwrap_or_else(|| panic!("{} was stopped", self.name));
        child.id()
    }

    /// Whether the process was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until `probe` succeeds; panics with the end of the log if the process ends first or
    /// the deadline passes.
    pub fn wait_ready(&mut self, mut probe: impl FnMut() -> Result<(), String>) {
        let begin = Instant::now();
        loop {
            let answer = probe();
            let ended = match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => None,
                Some(Ok(Some(status))) => Some(format!("it ended with {status}")),
                Some(Err(error)) => Some(format!("its state cannot be read: {error}")),
                None => Some("it was stopped".to_string()),
            };
            let failure = match (answer, ended) {
                (Ok(()), None) => return,
                (_, Some(ended)) => ended,
                (Err(error), None) if begin.elapsed() > SERVER_DEADLINE => error,
                (Err(_), None) => {
                    std::thread::sleep(POLL_INTERVAL);
                    continue;
                }
            };
            panic!(
                "{} did not become ready: {failure}\n{}",
                self.name,
                self.log_tail()
            );
        }
    }

    /// Sends a signal by name, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.pid());
        run(Path::new("/bin/sh"), ["-c", &command]);
    }

    /// Sends SIGTERM and waits for the end; panics when the process does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let begin = Instant::now();
        loop {
            let child = self.child.as_mut().expect("a signal was just sent to it");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                self.child = None;
                return status;
            }
            assert!(
                begin.elapsed() < SERVER_DEADLINE,
                "{} did not end after SIGTERM\n{}",
                self.name,
                self.log_tail()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends SIGKILL and waits for the end; does nothing when the process was stopped before.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error here means that the process has already ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything the process has written to its standard output and error.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let mut start = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        format!("end of the log of {}:\n{}", self.name, &log[start..])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
