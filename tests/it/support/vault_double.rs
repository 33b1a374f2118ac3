//! A stand-in for one Vault node that gives scripted answers, for faults that a real node does not
//! show when asked to. What can be seen on a real [`super::VaultCluster`] is tested there.

use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::tls::TestCa;
use super::vault_answers::{self as answers, Answer};
use super::vault_double_wire::serve;

pub const SNAPSHOT: &str = "sys/storage/raft/snapshot";

/// The double; dropping it closes all its connections.
pub struct VaultDouble {
    /// The loopback port it listens on.
    pub port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    pub method: String,
    /// With the leading `/v1/` and the query.
    pub path: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// What is left to say, by method and path; the last answer of each is given for ever.
    routes: HashMap<(String, String), VecDeque<Answer>>,
    requests: Vec<SeenRequest>,
    connections: Vec<TcpStream>,
    stopping: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl VaultDouble {
    /// Starts a double over plain HTTP that says it is the active node of an unsealed cluster. All
    /// other paths are not found until [`VaultDouble::on`] says what they answer.
    pub fn start() -> VaultDouble {
        VaultDouble::listen(None)
    }

    /// The same over TLS, with a certificate for 127.0.0.1 and localhost.
    pub fn start_tls(ca: &TestCa) -> VaultDouble {
        VaultDouble::start_tls_as(ca, &["127.0.0.1", "localhost"])
    }

    /// The same with a certificate for these names and addresses.
    pub fn start_tls_as(ca: &TestCa, names: &[&str]) -> VaultDouble {
        let (cert, key) = ca.issue("vault-double", names);
        let certs = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect)
            .expect("a certificate can be read");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key can be read");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the usual versions")
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .expect("the key belongs to the certificate");
        VaultDouble::listen(Some(Arc::new(config)))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> VaultDouble {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, tls.as_ref(), &for_acceptor));
        let double = VaultDouble {
            port,
            scheme,
            shared,
            acceptor: Some(acceptor),
        };
        double.be_leader();
        double
    }

    /// `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The URL of an API path such as `sys/leader`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.address())
    }

    /// Says what a path such as `sys/leader` answers to a method: these in turn, then the last of
    /// them for ever. It replaces what was said before.
    pub fn on(&self, method: &str, path: &str, answers: impl Into<VecDeque<Answer>>) {
        self.on_path(method, &format!("/v1/{path}"), answers);
    }

    /// The same for a path such as `/v1/sys/leader`.
    pub fn on_path(&self, method: &str, path: &str, answers: impl Into<VecDeque<Answer>>) {
        let answers = answers.into();
        assert!(!answers.is_empty(), "{method} {path} needs an answer");
        let route = (method.to_string(), path.to_string());
        self.shared.lock().routes.insert(route, answers);
    }

    /// What the snapshot path answers to GET.
    pub fn on_snapshot(&self, answers: impl Into<VecDeque<Answer>>) {
        self.on("GET", SNAPSHOT, answers);
    }

    /// Becomes the active node, which it is from the start. Only the paths that tell the state
    /// change, here and in the next three.
    pub fn be_leader(&self) {
        let leader = answers::leader(&self.address());
        self.be(200, &answers::seal_status(), 200, &answers::health());
        self.on("GET", "sys/leader", [Answer::json(200, &leader)]);
    }

    /// Becomes a standby of the node at `leader`, which redirects snapshots to it.
    pub fn be_standby(&self, leader: &str) {
        let health = answers::health_of_standby();
        self.be(200, &answers::seal_status(), 429, &health);
        let standby = answers::standby(leader);
        self.on("GET", "sys/leader", [Answer::json(200, &standby)]);
        let target = format!("{leader}/v1/{SNAPSHOT}");
        for (method, suffix) in [("GET", ""), ("POST", ""), ("POST", "-force")] {
            let answer = Answer::redirect(307, &format!("{target}{suffix}"));
            self.on(method, &format!("{SNAPSHOT}{suffix}"), [answer]);
        }
    }

    /// Becomes sealed.
    pub fn be_sealed(&self) {
        let status = answers::seal_status_before_unsealing();
        self.be(200, &status, 503, &answers::health_of_sealed(true));
        self.on("GET", "sys/leader", [Answer::sealed()]);
        self.on_snapshot([Answer::sealed()]);
    }

    /// Becomes a node that was never initialised.
    pub fn be_uninitialised(&self) {
        let status = answers::seal_status_uninitialised();
        self.be(200, &status, 501, &answers::health_of_sealed(false));
        self.on("GET", "sys/leader", [Answer::sealed()]);
        self.on_snapshot([Answer::sealed()]);
    }

    fn be(&self, seal_code: u16, seal: &Value, health_code: u16, health: &Value) {
        self.on("GET", "sys/seal-status", [Answer::json(seal_code, seal)]);
        self.on("GET", "sys/health", [Answer::json(health_code, health)]);
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.lock().requests.clone()
    }

    /// The requests for one path such as `sys/leader`, with any query.
    pub fn requests_for(&self, method: &str, path: &str) -> Vec<SeenRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.method == method && request.is_for(path));
        requests
    }

    /// Empties the list of requests.
    pub fn forget_requests(&self) {
        self.shared.lock().requests.clear();
    }

    /// Waits until so many requests for a path have come; panics after `deadline`.
    pub fn wait_for_requests(&self, method: &str, path: &str, count: usize, deadline: Duration) {
        let enough = |state: &mut State| {
            let requests = state.requests.iter();
            let these = requests.filter(|it| it.method == method && it.is_for(path));
            these.count() < count
        };
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), deadline, enough)
            .unwrap_or_else(PoisonError::into_inner);
        let requests = state.requests.clone();
        drop(state);
        assert!(
            !timeout.timed_out(),
            "no {count} of {method} {path} within {deadline:?}; there were: {requests:?}"
        );
    }
}

impl Drop for VaultDouble {
    fn drop(&mut self) {
        let connections = {
            let mut state = self.shared.lock();
            state.stopping = true;
            std::mem::take(&mut state.connections)
        };
        for connection in connections {
            // It may have been closed already, which is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor; it may have ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            // A panic was printed by itself; a second one here would abort the test.
            let _ = acceptor.join();
        }
    }
}

impl SeenRequest {
    /// The first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The Vault token that was sent.
    pub fn token(&self) -> Option<&str> {
        self.header("x-vault-token")
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn is_for(&self, path: &str) -> bool {
        self.path.split('?').next() == Some(&format!("/v1/{path}"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and finds its answer.
    pub(super) fn answer(&self, request: SeenRequest) -> Answer {
        let mut state = self.lock();
        let path = request.path.split('?').next().unwrap_or_default();
        let route = (request.method.clone(), path.to_string());
        let answer = match state.routes.get_mut(&route) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        };
        state.requests.push(request);
        drop(state);
        self.changed.notify_all();
        answer.unwrap_or_else(|| Answer::errors(404, &["no handler for route"]))
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        let Ok(copy) = client.try_clone() else {
            continue;
        };
        state.connections.push(copy);
        drop(state);
        let (tls, shared) = (tls.cloned(), Arc::clone(shared));
        std::thread::spawn(move || {
            // An error is a fault that was asked for, or a client that went away.
            let _ = serve(&client, tls, &shared);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}
