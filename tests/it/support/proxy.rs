//! A loopback HTTP proxy in front of a real server that makes chosen requests fail.
//!
//! Every request gets its own connection to the server. Heads and bodies are passed on unchanged,
//! the Host header too: a client signs for the proxy's address, and the server checks the
//! signature against the Host it receives.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::proxy_relay::{close, cut, serve_client};

/// What happens to a request that a rule matches. Bodies are counted in bytes on the wire, so the
/// framing of a chunked body counts too.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Passes on this much of the request's body, then closes both connections. If that is the
    /// whole body, the server may or may not have carried the request out.
    CutRequestBodyAfter(u64),
    /// Answers without passing the request on.
    Status { code: u16, body: String },
    /// Like `Status`, with headers such as `Location` or `Retry-After`.
    StatusWithHeaders {
        code: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Passes the request on, drops the server's answer and answers with this code instead.
    StatusAfterEffect { code: u16 },
    /// Passes the request on, drops the server's answer and closes the client's connection.
    CutAfterEffect,
    /// Takes the whole request and never answers.
    Hang,
    /// Passes on the answer's head and this much of its body, then closes both connections.
    CutResponseAfter(u64),
    /// Passes on both bodies at this pace.
    SlowBody { bytes_per_sec: u64 },
    /// Waits, then passes the request on.
    Delay(Duration),
}

/// For how many matching requests a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    First(usize),
    Always,
}

type Matcher = Box<dyn Fn(&str, &str) -> bool + Send>;

struct Rule {
    id: usize,
    fault: Fault,
    left: Times,
    matcher: Matcher,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    /// How often each rule was applied, by its id.
    fired: Vec<usize>,
    requests: Vec<(String, String)>,
    connections: Vec<(usize, TcpStream)>,
    next_connection: usize,
    workers: Vec<JoinHandle<()>>,
    stopping: bool,
}

/// What the proxy, its handles and its connections have in common.
pub(super) struct Shared {
    pub(super) upstream: String,
    state: Mutex<State>,
    changed: Condvar,
}

/// The proxy; dropping it closes all its connections.
pub struct FaultProxy {
    /// The loopback port it listens on.
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// Tells how often a rule was applied.
pub struct FaultHandle {
    id: usize,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Starts a proxy in front of `http://HOST:PORT` or `HOST:PORT`.
    pub fn start(upstream: &str) -> FaultProxy {
        assert!(
            !upstream.starts_with("https:"),
            "the fault proxy speaks no TLS"
        );
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let shared = Arc::new(Shared {
            upstream: upstream.to_string(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        FaultProxy {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// `http://127.0.0.1:PORT`, to be given to the client.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule. `matcher` is given the method and the path with its query. The first rule that
    /// matches a request and is not used up is applied to it.
    pub fn inject(
        &self,
        times: Times,
        fault: Fault,
        matcher: impl Fn(&str, &str) -> bool + Send + 'static,
    ) -> FaultHandle {
        let mut state = self.shared.lock();
        let id = state.fired.len();
        state.fired.push(0);
        state.rules.push(Rule {
            id,
            fault,
            left: times,
            matcher: Box::new(matcher),
        });
        FaultHandle {
            id,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Removes all rules; requests that a rule already holds stay as they are.
    pub fn clear(&self) {
        self.shared.lock().rules.clear();
    }

    /// Method and path with query of every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.shared.lock().requests.clone()
    }

    /// Empties the list of requests.
    pub fn forget_requests(&self) {
        self.shared.lock().requests.clear();
    }

    /// Waits until a request has come that `matcher` accepts; panics after `deadline`.
    pub fn wait_for_request(&self, deadline: Duration, matcher: impl Fn(&str, &str) -> bool) {
        self.shared.wait("no such request came", deadline, |state| {
            state
                .requests
                .iter()
                .any(|(method, path)| matcher(method, path))
        });
    }

    /// Closes every open connection, those that hang too; new ones are accepted.
    pub fn cut_connections(&self) {
        self.shared.lock().cut_connections();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let workers = {
            let mut state = self.shared.lock();
            state.stopping = true;
            state.cut_connections();
            std::mem::take(&mut state.workers)
        };
        self.shared.changed.notify_all();
        // Wakes the acceptor; it may have ended already, which is as good.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for thread in self.acceptor.take().into_iter().chain(workers) {
            // A panic of a worker was printed by itself; a second one here would abort the test.
            let _ = thread.join();
        }
    }
}

impl FaultHandle {
    /// How often the rule was applied.
    pub fn fired(&self) -> usize {
        self.shared.lock().fired[self.id]
    }

    /// Waits until the rule was applied `times` times; panics after `deadline`.
    pub fn wait_fired(&self, times: usize, deadline: Duration) {
        self.shared
            .wait("the fault was not met", deadline, |state| {
                state.fired[self.id] >= times
            });
    }
}

impl State {
    fn cut_connections(&mut self) {
        for (_, stream) in self.connections.drain(..) {
            close(&stream);
        }
    }

    fn fault_for(&mut self, method: &str, path: &str) -> Option<Fault> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.left != Times::First(0) && (rule.matcher)(method, path))?;
        if let Times::First(left) = &mut rule.left {
            *left -= 1;
        }
        self.fired[rule.id] += 1;
        Some(rule.fault.clone())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, failure: &str, deadline: Duration, done: impl Fn(&State) -> bool) {
        let (state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), deadline, |state| !done(state))
            .unwrap_or_else(PoisonError::into_inner);
        let requests = state.requests.clone();
        drop(state);
        assert!(
            !timeout.timed_out(),
            "{failure} within {deadline:?}; there were: {requests:?}"
        );
    }

    /// Waits for a time, or less if the proxy stops: then an error.
    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), time, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopping { Err(cut()) } else { Ok(()) }
    }

    /// Makes a connection known, so that it can be cut from outside.
    pub(super) fn register(&self, stream: &TcpStream) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        let copy = stream.try_clone()?;
        let mut state = self.lock();
        if state.stopping {
            return Err(cut());
        }
        let id = state.next_connection;
        state.next_connection += 1;
        state.connections.push((id, copy));
        Ok(id)
    }

    /// Forgets a connection that was closed.
    pub(super) fn unregister(&self, id: usize) {
        self.lock().connections.retain(|(other, _)| *other != id);
    }

    /// Records a request and finds the fault for it.
    pub(super) fn note_request(&self, method: &str, path: &str) -> Option<Fault> {
        let mut state = self.lock();
        state.requests.push((method.to_string(), path.to_string()));
        let fault = state.fault_for(method, path);
        drop(state);
        self.changed.notify_all();
        fault
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.lock().stopping {
            return;
        }
        let for_worker = Arc::clone(shared);
        let worker = std::thread::spawn(move || serve_client(&client, &for_worker));
        let mut state = shared.lock();
        state.workers.retain(|worker| !worker.is_finished());
        state.workers.push(worker);
    }
}
