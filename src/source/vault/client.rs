use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::body::{self, Progress};
use super::config::{Product, VaultConfig};
use super::endpoint::{Endpoint, below, place};
use super::environment::{Settings, Unusable};
use super::leader::Leader;
use super::redirect::{Refused, Trail, shown};
use super::refusal;
use super::wire::Wires;
use crate::source::SourceError;
use crate::value::{Env, Secret};

/// No small answer is larger.
const SMALL: usize = 1 << 20;

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub connect: Duration,
    /// Until a small request is answered, and once more until the answer is there in full.
    pub answer: Duration,
    /// Until a snapshot begins to come. The server looks through its data first.
    pub snapshot: Duration,
    /// Without a byte, either way.
    pub stall: Duration,
    /// From the last byte of an upload to its answer. The server takes the data apart first.
    pub digest: Duration,
}

impl Limits {
    fn new(settings: &Settings) -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: settings.answer.unwrap_or(Duration::from_secs(30)),
            snapshot: Duration::from_mins(3),
            stall: Duration::from_secs(30),
            digest: Duration::from_mins(5),
        }
    }
}

/// The server's HTTP interface.
#[derive(Debug)]
pub(super) struct Api {
    endpoint: Endpoint,
    headers: HeaderMap,
    wires: Wires,
    pub(super) limits: Limits,
    verifies: bool,
    product: OnceLock<Product>,
    leader: Mutex<Option<Url>>,
    /// What we have sent and nobody may read in an error, should the other side repeat it.
    sent: Mutex<Vec<Secret>>,
}

/// One small request. Its body may hold a password, so it has no `Debug`.
pub(super) struct Call<'a> {
    pub method: Method,
    /// Below the address, percent-encoded: `v1/sys/leader`.
    pub path: &'a str,
    pub token: Option<&'a Secret>,
    pub namespace: Option<&'a str>,
    pub body: Option<Value>,
}

impl<'a> Call<'a> {
    /// A request without a login.
    pub fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            token: None,
            namespace: None,
            body: None,
        }
    }
}

/// A small answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// The body; null where it was empty, and a string where it was no JSON.
    pub json: Value,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the server said went wrong.
    pub fn errors(&self) -> Vec<String> {
        if let Some(text) = self.json.as_str() {
            return vec![text.to_owned()];
        }
        let errors = self.json.get("errors").and_then(Value::as_array);
        let texts = errors.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }
}

/// A request on its way, with what is the same at each hop.
struct Journey<'a> {
    method: Method,
    headers: HeaderMap,
    cargo: Cargo<'a>,
    limit: Duration,
}

enum Cargo<'a> {
    None,
    Text(String),
    File { path: &'a Path, bytes: u64 },
}

impl Api {
    /// A client that has not connected yet. The error is the key concerned and why.
    pub fn new(config: &VaultConfig, env: &Env) -> Result<Self, Unusable> {
        let settings = Settings::resolve(config, env)?;
        let limits = Limits::new(&settings);
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let wrong = |_| ("address", format!("the header `{name}` cannot be sent"));
            let name = name
                .parse::<reqwest::header::HeaderName>()
                .map_err(|error| wrong(error.to_string()))?;
            let value = sensitive(value).map_err(|error| wrong(error.to_string()))?;
            headers.insert(name, value);
        }
        headers.insert("X-Vault-Request", HeaderValue::from_static("true"));
        let product = OnceLock::new();
        if config.product != Product::Auto {
            let _ = product.set(config.product);
        }
        let sent = settings.headers.iter().map(|(_, value)| value.clone());
        Ok(Self {
            sent: Mutex::new(sent.collect()),
            wires: Wires::new(&settings, limits.connect)?,
            verifies: !settings.skip_verify || !settings.endpoint.is_tls(),
            endpoint: settings.endpoint,
            headers,
            limits,
            product,
            leader: Mutex::new(None),
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What every run warns of.
    pub fn warning(&self) -> Option<String> {
        (!self.verifies).then(|| {
            "`skip_verify` is on: the server's certificate is not verified, so that anybody \
             between may read the token and change the data"
                .into()
        })
    }

    /// What answers there, once it is known.
    pub fn product(&self) -> Option<Product> {
        self.product.get().copied()
    }

    pub fn found(&self, product: Product) {
        // What the configuration says stays.
        let _ = self.product.set(product);
    }

    /// The leader's address as it was said last.
    pub fn known_leader(&self) -> Option<Url> {
        self.leader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Redirects to this address are followed from now on.
    pub fn knows_leader(&self, address: Option<Url>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Sends one small request and reads its answer, whatever its status.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, SourceError> {
        let journey = Journey {
            headers: self.headers(call.token, call.namespace)?,
            method: call.method,
            cargo: call
                .body
                .map_or(Cargo::None, |body| Cargo::Text(body.to_string())),
            limit: self.limits.answer,
        };
        let (answer, _) = self.travel(&journey, self.start(None, call.path)?).await?;
        self.read(answer).await
    }

    /// Who leads, asked now.
    pub async fn leader(&self) -> Result<Leader, SourceError> {
        let answer = self.call(Call::get(Leader::PATH)).await?;
        let leader = Leader::read(&answer, &self.endpoint)?;
        self.knows_leader(leader.address.clone());
        Ok(leader)
    }

    /// Asks whoever may answer at `address`, which need not be one of the servers we know: without
    /// what the environment adds for those, and without being sent on.
    pub async fn ask_stranger(&self, address: &Url, path: &str) -> Result<Answer, SourceError> {
        let journey = Journey {
            method: Method::GET,
            headers: HeaderMap::new(),
            cargo: Cargo::None,
            limit: self.limits.answer,
        };
        let url = self.start(Some(address), path)?;
        let answer = self.send(&journey, &url).await?;
        self.read(answer).await
    }

    /// Begins a download. `from` is where to ask, unless it is the configured address.
    pub async fn download(
        &self,
        path: &str,
        token: Option<&Secret>,
        from: Option<&Url>,
    ) -> Result<Response, SourceError> {
        let journey = Journey {
            method: Method::GET,
            headers: self.headers(token, None)?,
            cargo: Cargo::None,
            limit: self.limits.snapshot,
        };
        let (answer, _) = self.travel(&journey, self.start(from, path)?).await?;
        Ok(answer)
    }

    /// Sends a file of `bytes` bytes to the leader, and reads its answer. A node that does not
    /// lead sends us on before it has read the file, which breaks the connection, so the leader
    /// is asked for first.
    pub async fn upload(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        file: &Path,
        bytes: u64,
    ) -> Result<Answer, SourceError> {
        let leader = match self.product() {
            Some(Product::Consul | Product::Nomad) => None,
            _ => {
                let leader = self.leader().await?;
                match leader
                    .address
                    .filter(|address| *address != self.endpoint.url)
                {
                    Some(address) if !leader.is_self => Some(address),
                    // At a load balancer the next request may reach a node that does not lead.
                    Some(address) if self.leads(&address).await => Some(address),
                    _ => None,
                }
            }
        };
        let journey = Journey {
            method,
            headers: self.headers(token, None)?,
            cargo: Cargo::File { path: file, bytes },
            limit: self.limits.digest,
        };
        let start = self.start(leader.as_ref(), path)?;
        let (answer, _) = self.travel(&journey, start).await?;
        self.read(answer).await
    }

    /// Whether whoever answers at `address` says that it leads.
    async fn leads(&self, address: &Url) -> bool {
        let asked = tokio::time::timeout(
            self.limits.connect,
            self.ask_stranger(address, Leader::PATH),
        )
        .await;
        let Ok(Ok(answer)) = asked else { return false };
        Leader::read(&answer, &self.endpoint).is_ok_and(|leader| leader.is_self)
    }

    /// Reads a small answer to its end.
    pub async fn read(&self, mut answer: Response) -> Result<Answer, SourceError> {
        let status = answer.status().as_u16();
        let at = place(answer.url());
        let html = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/html"));
        let limit = self.limits.answer;
        let end = Instant::now() + limit;
        let mut body = Vec::new();
        loop {
            // As a whole: one that drips never goes silent, and never ends.
            let chunk = timeout_at(end, answer.chunk())
                .await
                .map_err(|_| refusal::silent(&at, limit))?
                .map_err(|error| refusal::broken(&error, &at))?;
            let Some(chunk) = chunk else { break };
            if body.len() + chunk.len() > SMALL {
                return Err(refusal::verbose(&at));
            }
            body.extend_from_slice(&chunk);
        }
        let text = body.trim_ascii();
        if html || text.starts_with(b"<") {
            return Err(refusal::web_page(status, &at));
        }
        if text.is_empty() {
            let json = Value::Null;
            return Ok(Answer { status, json });
        }
        let struck;
        let text = if (200..300).contains(&status) {
            text
        } else {
            struck = self.without_secrets(text);
            struck.as_bytes()
        };
        let json = serde_json::from_slice(text).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(text);
            Value::String(text.chars().take(300).collect())
        });
        if status == 400
            && json
                .as_str()
                .is_some_and(|text| text.contains("HTTP request to an HTTPS server"))
        {
            return Err(refusal::wants_tls(&at));
        }
        Ok(Answer { status, json })
    }

    /// What a server says of an error, should it repeat what we have sent.
    pub fn without_secrets(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in sent.iter().filter(|secret| !secret.expose().is_empty()) {
            text = text.replace(secret.expose(), &secret.to_string());
        }
        text
    }

    fn start(&self, from: Option<&Url>, path: &str) -> Result<Url, SourceError> {
        let url = match from {
            // What a redirect may not do, nobody's word on who leads may do either.
            Some(address) if self.endpoint.is_tls() && address.scheme() != "https" => {
                return Err(refusal::in_the_clear(&self.endpoint, address));
            }
            Some(address) => below(address, path),
            None => self.endpoint.at(path),
        };
        url.map_err(|error| refusal::other(format!("`{path}` is no path: {error}")))
    }

    fn headers(
        &self,
        token: Option<&Secret>,
        namespace: Option<&str>,
    ) -> Result<HeaderMap, SourceError> {
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            let value = sensitive(token).map_err(|_| refusal::unprintable_token())?;
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            if !sent.contains(token) {
                sent.push(token.clone());
            }
            let name = match self.product() {
                Some(Product::Consul) => "X-Consul-Token",
                Some(Product::Nomad) => "X-Nomad-Token",
                _ => "X-Vault-Token",
            };
            headers.insert(name, value);
        }
        if let Some(namespace) = namespace {
            let value = HeaderValue::from_str(namespace)
                .map_err(|_| refusal::other("`namespace` cannot be sent in a header".into()))?;
            headers.insert("X-Vault-Namespace", value);
        }
        Ok(headers)
    }

    /// Sends a request and follows where it is sent on to, with everything it carries.
    async fn travel(
        &self,
        journey: &Journey<'_>,
        start: Url,
    ) -> Result<(Response, Url), SourceError> {
        let mut known = vec![self.endpoint.url.clone()];
        known.extend(self.known_leader());
        let mut trail = Trail::new(start, known);
        let mut asked = false;
        loop {
            let answer = self.send(journey, trail.here()).await?;
            if !leads_on(answer.status()) {
                return Ok((answer, trail.here().clone()));
            }
            let location = answer.headers().get(LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            let at = place(trail.here());
            match trail.follow(location) {
                Ok(()) => {}
                Err(Refused::Wrong(why)) => return Err(refusal::redirect(&at, &why)),
                Err(Refused::Foreign(url)) if asked => {
                    return Err(refusal::foreign(
                        &at,
                        &shown(&url),
                        self.known_leader().as_ref(),
                    ));
                }
                Err(Refused::Foreign(_)) => {
                    // Another node may have been elected since the leader was asked for.
                    asked = true;
                    if let Some(leader) = self.leader_without_redirects().await? {
                        trail.allow(leader);
                    }
                    match trail.follow(location) {
                        Ok(()) => {}
                        Err(Refused::Wrong(why)) => return Err(refusal::redirect(&at, &why)),
                        Err(Refused::Foreign(url)) => {
                            let leader = self.known_leader();
                            return Err(refusal::foreign(&at, &shown(&url), leader.as_ref()));
                        }
                    }
                }
            }
        }
    }

    async fn leader_without_redirects(&self) -> Result<Option<Url>, SourceError> {
        if let Some(Product::Consul | Product::Nomad) = self.product() {
            return Ok(None);
        }
        let journey = Journey {
            method: Method::GET,
            headers: self.headers(None, None)?,
            cargo: Cargo::None,
            limit: self.limits.answer,
        };
        let answer = self
            .send(&journey, &self.start(None, Leader::PATH)?)
            .await?;
        if leads_on(answer.status()) {
            return Ok(None);
        }
        let leader = Leader::read(&self.read(answer).await?, &self.endpoint)?;
        self.knows_leader(leader.address.clone());
        Ok(leader.address)
    }

    /// One hop.
    async fn send(&self, journey: &Journey<'_>, url: &Url) -> Result<Response, SourceError> {
        let at = place(url);
        let way = self.wires.to(url).map_err(refusal::other)?;
        let mut request = way
            .client
            .request(journey.method.clone(), way.url)
            .headers(journey.headers.clone());
        if let Some(host) = way.host {
            request = request.header(HOST, host);
        }
        let progress = Arc::new(Progress::new());
        let mut limit = journey.limit;
        match &journey.cargo {
            Cargo::None => progress.end(),
            Cargo::Text(text) => {
                progress.end();
                request = request
                    .header(CONTENT_TYPE, "application/json")
                    .body(text.clone());
            }
            Cargo::File { path, bytes } => {
                limit = limit.max(self.limits.stall);
                let file = tokio::fs::File::open(path)
                    .await
                    .map_err(|error| SourceError::io(path, &error))?;
                request = request
                    .header(CONTENT_LENGTH, *bytes)
                    .header(CONTENT_TYPE, "application/gzip")
                    .body(body::of(file, *bytes, progress.clone()));
            }
        }
        let sent = tokio::select! {
            answer = request.send() => {
                answer.map_err(|error| refusal::sending(&error, &at, url.scheme() == "https"))
            }
            at_end = progress.watch(self.limits.stall, limit) => Err(if at_end {
                refusal::silent(&at, limit)
            } else {
                refusal::stalled(&at, self.limits.stall)
            }),
        };
        match (sent, &journey.cargo) {
            (Err(error), Cargo::File { .. }) if progress.has_ended() => Err(refusal::unsure(error)),
            (sent, _) => sent,
        }
    }
}

/// 303 would have us ask with another method.
fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308)
}

fn sensitive(secret: &Secret) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose())?;
    value.set_sensitive(true);
    Ok(value)
}
