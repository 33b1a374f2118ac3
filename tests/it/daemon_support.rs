//! A running daemon, and what it says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// Long enough for a busy machine; nothing waits for it that goes well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// `lifeboat run`, killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// Every line so far.
    pub said: Vec<String>,
    pub started: Instant,
}

impl Daemon {
    /// Starts the daemon with a JSON log.
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, &["run"], &[("LOG_FORMAT", "json")])
    }

    pub fn start_with(sandbox: &Sandbox, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = sandbox
            .command(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lifeboat was built");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
            started: Instant::now(),
        }
    }

    /// The next line, unless the deadline or the end of the daemon comes first.
    fn line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.line(deadline) {
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with `{text}`: {:#?}", self.said);
    }

    /// Waits for the event of the next run that ends.
    #[track_caller]
    pub fn run_event(&mut self) -> Value {
        self.run_event_before(Instant::now() + PATIENCE)
            .unwrap_or_else(|| panic!("no run ended: {:#?}", self.said))
    }

    /// The event of the next run that ends before the deadline.
    pub fn run_event_before(&mut self, deadline: Instant) -> Option<Value> {
        while let Some(line) = self.line(deadline) {
            let event: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("not a JSON line: {error}: {line}"));
            if event.get("outcome").is_some() {
                return Some(event);
            }
        }
        None
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon runs");
    }

    /// Whether the daemon handles SIGTERM already, and would not just die of it.
    pub fn hears_signals(&self) -> bool {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask >> (Signal::TERM.as_raw() - 1) & 1 == 1)
    }

    /// Waits for the daemon to end; its exit code and all it said.
    #[track_caller]
    pub fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        // Its standard error closes when it ends.
        while self.line(deadline).is_some() {}
        assert!(Instant::now() < deadline, "still running: {:#?}", self.said);
        let status = self.child.wait().expect("it was ours");
        (status.code(), std::mem::take(&mut self.said))
    }

    /// SIGTERM, and the wait for the end.
    #[track_caller]
    pub fn stop(self) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        self.ended()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `ready`, for what no event tells.
#[track_caller]
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
