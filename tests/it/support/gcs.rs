//! A double of Google Cloud Storage: JSON over HTTP for media, gRPC for control, both over one
//! store in memory, with real preconditions and checksums, and faults on demand.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::gcs_rpc;
use super::proxy_http::{Head, copy_body};

/// All chunks but the last are multiples of it.
const QUANTUM: usize = 256 << 10;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcsCall {
    Begin,
    Chunk,
    Query,
    Cancel,
    Multipart,
    Download,
    List,
    Look,
    Delete,
    Token,
}

/// What goes wrong with it.
#[derive(Clone, Debug)]
pub enum GcsFault {
    /// This status, as HTTP or as the gRPC code that goes with it, with these words.
    Status(u16, &'static str),
    /// The status, and `Retry-After` in seconds.
    Later(u16, u64),
    /// Only so many bytes of the chunk are taken; the answer says so.
    Take(usize),
    /// The connection breaks after so many bytes of the body, in either direction.
    Cut(usize),
    /// It is done, and the connection breaks before the answer.
    Lose,
    /// It is done, and the answer is a failure all the same.
    Deny,
    /// An answer that is not JSON.
    Garbage,
    /// No answer for so long.
    Stall(Duration),
    /// It is done, and the answer stops after its head.
    Hang,
    /// One bit is another.
    Flip,
    /// The whole object, though a part was asked for.
    Whole,
    /// The page leads to itself.
    Again,
}

/// An object.
#[derive(Clone, Debug)]
pub struct GcsObject {
    pub bytes: Arc<Vec<u8>>,
    pub generation: i64,
    pub created: SystemTime,
    pub class: String,
    pub metadata: HashMap<String, String>,
}

struct Session {
    bucket: String,
    name: String,
    object: Value,
    held: Vec<u8>,
    made: Option<GcsObject>,
}

struct Planned {
    call: GcsCall,
    skip: usize,
    times: usize,
    fault: GcsFault,
}

/// What the double holds and what it is told to do.
pub struct World {
    pub(super) buckets: BTreeMap<String, BTreeMap<String, GcsObject>>,
    sessions: HashMap<String, Session>,
    faults: Vec<Planned>,
    generation: i64,
    pub(super) page: usize,
    pub(super) token: Option<String>,
    tokens: u32,
    seen: Vec<(GcsCall, String)>,
}

/// See the module. It serves until the test's process ends.
#[derive(Clone)]
pub struct GcsDouble {
    world: Arc<Mutex<World>>,
    port: u16,
    control: u16,
}

impl GcsDouble {
    /// Starts a double with one bucket.
    pub fn start(bucket: &str) -> Self {
        let world = Arc::new(Mutex::new(World {
            buckets: BTreeMap::from([(bucket.to_owned(), BTreeMap::new())]),
            sessions: HashMap::new(),
            faults: Vec::new(),
            generation: 0,
            page: 1000,
            token: None,
            tokens: 0,
            seen: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let port = listener.local_addr().expect("it has an address").port();
        let shared = world.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let world = shared.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(client.try_clone()?);
                    while serve(&mut reader, &client, port, &world)? {}
                    client.shutdown(Shutdown::Both)
                });
            }
        });
        let control = gcs_rpc::start(world.clone());
        Self {
            world,
            port,
            control,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn control_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.control)
    }

    /// The query that leads a `gs://` URL here.
    pub fn query(&self) -> String {
        format!(
            "endpoint={}&control_endpoint={}",
            self.endpoint(),
            self.control_endpoint()
        )
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nothing panics in it")
    }

    /// The next `times` calls of this kind go wrong, after `skip` that do not.
    pub fn fail(&self, call: GcsCall, skip: usize, times: usize, fault: GcsFault) {
        self.world().faults.push(Planned {
            call,
            skip,
            times,
            fault,
        });
    }

    /// Nothing goes wrong from here on.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// How many objects or folders a page has at most.
    pub fn set_page(&self, page: usize) {
        self.world().page = page;
    }

    /// From here on a token is asked for, and no token is good but one that is yet to be issued.
    pub fn withdraw_tokens(&self) {
        self.world().token = Some(String::new());
    }

    pub fn tokens_issued(&self) -> u32 {
        self.world().tokens
    }

    pub fn names(&self, bucket: &str) -> Vec<String> {
        self.world().buckets[bucket].keys().cloned().collect()
    }

    pub fn object(&self, bucket: &str, name: &str) -> GcsObject {
        self.world().buckets[bucket][name].clone()
    }

    /// Uploads that were begun and neither completed nor cancelled.
    pub fn open_sessions(&self) -> Vec<String> {
        let world = self.world();
        let open = world.sessions.values().filter(|s| s.made.is_none());
        open.map(|session| session.name.clone()).collect()
    }

    /// The calls so far: HTTP ones with their head in lower case.
    pub fn seen(&self, call: GcsCall) -> Vec<String> {
        let world = self.world();
        let seen = world.seen.iter().filter(|(other, _)| *other == call);
        seen.map(|(_, head)| head.clone()).collect()
    }
}

impl World {
    /// Notes a call; the fault that is planned for it.
    pub(super) fn meet(&mut self, call: GcsCall, head: String) -> Option<GcsFault> {
        self.seen.push((call, head));
        let planned = self
            .faults
            .iter_mut()
            .find(|planned| planned.call == call && planned.times > 0)?;
        if planned.skip > 0 {
            planned.skip -= 1;
            return None;
        }
        planned.times -= 1;
        Some(planned.fault.clone())
    }

    pub(super) fn is_welcome(&self, authorization: &str) -> bool {
        match &self.token {
            Some(token) => !token.is_empty() && authorization == format!("Bearer {token}"),
            None => true,
        }
    }

    fn create(&mut self, bucket: &str, name: &str, object: &Value, bytes: Vec<u8>) -> GcsObject {
        self.generation += 1;
        let metadata = object["metadata"].as_object().into_iter().flatten();
        let made = GcsObject {
            bytes: Arc::new(bytes),
            generation: self.generation,
            created: SystemTime::now(),
            class: object["storageClass"]
                .as_str()
                .unwrap_or("STANDARD")
                .to_owned(),
            metadata: metadata
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
        };
        let objects = self.buckets.get_mut(bucket).expect("it was looked up");
        objects.insert(name.to_owned(), made.clone());
        made
    }

    fn taken(&self, bucket: &str, name: &str) -> bool {
        self.buckets[bucket].contains_key(name)
    }
}

impl GcsObject {
    pub fn crc(&self) -> u32 {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &self.bytes);
        u32::try_from(crc).expect("it has 32 bits")
    }

    fn hash(&self) -> String {
        BASE64_STANDARD.encode(self.crc().to_be_bytes())
    }

    fn json(&self, bucket: &str, name: &str) -> Answer {
        let seconds = self.created.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let time = jiff::Timestamp::from_second(seconds.cast_signed()).unwrap();
        Answer::new(200).json(&json!({
            "kind": "storage#object", "bucket": bucket, "name": name,
            "generation": self.generation.to_string(), "metageneration": "1",
            "size": self.bytes.len().to_string(), "crc32c": self.hash(),
            "storageClass": self.class, "metadata": self.metadata,
            "timeCreated": time.to_string(), "updated": time.to_string(),
        }))
    }
}

struct Request {
    head: Head,
    method: String,
    path: String,
    query: HashMap<String, String>,
}

impl Request {
    fn of(head: Head) -> Self {
        let target = head.word(1).to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Self {
            method: head.word(0).to_owned(),
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            head,
        }
    }

    fn header(&self, name: &str) -> String {
        let raw = String::from_utf8_lossy(&self.head.raw).into_owned();
        let line = raw.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    }

    fn call(&self) -> Option<GcsCall> {
        let range = self.header("content-range");
        Some(match (&*self.method, &*self.path) {
            ("POST", "/token") => GcsCall::Token,
            ("POST", _) if self.query.get("uploadType")? == "resumable" => GcsCall::Begin,
            ("POST", _) if self.query.get("uploadType")? == "multipart" => GcsCall::Multipart,
            ("PUT", _) if range == "bytes */*" => GcsCall::Query,
            ("PUT", _) => GcsCall::Chunk,
            ("DELETE", "/session") => GcsCall::Cancel,
            ("GET", path) if path.starts_with("/storage/v1/b/") => GcsCall::Download,
            _ => return None,
        })
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The body breaks off here.
    cut: Option<usize>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
        }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::new(status).json(&json!({ "error": { "code": status, "message": message } }))
    }

    fn header(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    fn write(&self, mut client: &TcpStream) -> io::Result<bool> {
        let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&now.timestamp())
            .expect("a date");
        write!(
            client,
            "HTTP/1.1 {} Double\r\ndate: {date}\r\n",
            self.status
        )?;
        write!(client, "content-length: {}\r\n", self.body.len())?;
        for (name, value) in &self.headers {
            write!(client, "{name}: {value}\r\n")?;
        }
        client.write_all(b"\r\n")?;
        match self.cut {
            Some(cut) => client.write_all(&self.body[..cut.min(self.body.len())])?,
            None => client.write_all(&self.body)?,
        }
        Ok(self.cut.is_none())
    }
}

fn serve(
    reader: &mut BufReader<TcpStream>,
    client: &TcpStream,
    port: u16,
    world: &Mutex<World>,
) -> io::Result<bool> {
    let Some(head) = Head::read(reader)? else {
        return Ok(false);
    };
    let request = Request::of(head);
    let Some(call) = request.call() else {
        let head = request.method == "HEAD";
        let answer = Answer::new(if head { 400 } else { 404 });
        return answer.write(client);
    };
    let raw = String::from_utf8_lossy(&request.head.raw).to_lowercase();
    let fault = world.lock().unwrap().meet(call, raw);
    if let (Some(GcsFault::Cut(bytes)), false) = (&fault, call == GcsCall::Download) {
        let mut some = vec![0; *bytes];
        reader.read_exact(&mut some)?;
        return Ok(false);
    }
    if let Some(GcsFault::Stall(time)) = fault {
        std::thread::sleep(time);
        return Ok(false);
    }
    let mut body = Vec::new();
    copy_body(reader, request.head.request_framing()?, &mut |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    if request.header("transfer-encoding").contains("chunked") {
        body = unchunked(&body);
    }
    let mut world = world.lock().unwrap();
    let answer = match &fault {
        Some(GcsFault::Status(status, why)) => Answer::error(*status, why),
        Some(GcsFault::Later(status, seconds)) => {
            Answer::error(*status, "slow down").header("retry-after", seconds)
        }
        Some(GcsFault::Garbage) => {
            let mut answer = Answer::new(200).header("content-type", "application/json");
            if call == GcsCall::Chunk || call == GcsCall::Multipart {
                handle(&mut world, &request, call, body, port, None);
            }
            answer.body = b"<html>a proxy's page</html>".to_vec();
            answer
        }
        _ if call != GcsCall::Token && !world.is_welcome(&request.header("authorization")) => {
            Answer::error(401, "Invalid Credentials")
        }
        fault => {
            let answer = handle(&mut world, &request, call, body, port, fault.as_ref());
            match fault {
                Some(GcsFault::Lose) => return Ok(false),
                Some(GcsFault::Deny) => Answer::error(503, "backend error"),
                _ => answer,
            }
        }
    };
    drop(world);
    if let Some(GcsFault::Hang) = fault {
        let mut answer = answer;
        answer.cut = Some(0);
        answer.write(client)?;
        std::thread::sleep(Duration::from_mins(1));
        return Ok(false);
    }
    answer.write(client)
}

fn handle(
    world: &mut World,
    request: &Request,
    call: GcsCall,
    mut body: Vec<u8>,
    port: u16,
    fault: Option<&GcsFault>,
) -> Answer {
    if let (Some(GcsFault::Flip), GcsCall::Chunk) = (fault, call) {
        flip(&mut body);
    }
    match call {
        GcsCall::Token => {
            world.tokens += 1;
            let token = format!("token-{}", world.tokens);
            world.token = Some(token.clone());
            Answer::new(200).json(&json!({
                "access_token": token, "token_type": "Bearer", "expires_in": 3600,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }))
        }
        GcsCall::Begin => begin(world, request, &body, port),
        GcsCall::Multipart => multipart(world, request, &body, fault),
        GcsCall::Query | GcsCall::Chunk => chunk(world, request, call, &body, fault),
        GcsCall::Cancel => match world.sessions.remove(&request.query["id"]) {
            Some(_) => Answer::new(499),
            None => Answer::error(404, "no such upload"),
        },
        _ => download(world, request, fault),
    }
}

fn bucket_of(world: &World, path: &str) -> Result<String, Answer> {
    let name = path.split('/').skip_while(|part| *part != "b").nth(1);
    let name = name.unwrap_or_default().to_owned();
    if world.buckets.contains_key(&name) {
        return Ok(name);
    }
    Err(Answer::error(404, "The specified bucket does not exist."))
}

fn precondition(world: &World, request: &Request, bucket: &str, name: &str) -> Option<Answer> {
    let create = request.query.get("ifGenerationMatch").map(String::as_str) == Some("0");
    let why = "At least one of the pre-conditions you specified did not hold.";
    (create && world.taken(bucket, name)).then(|| Answer::error(412, why))
}

fn begin(world: &mut World, request: &Request, body: &[u8], port: u16) -> Answer {
    let bucket = match bucket_of(world, &request.path) {
        Ok(bucket) => bucket,
        Err(answer) => return answer,
    };
    let name = request.query["name"].clone();
    if let Some(refusal) = precondition(world, request, &bucket, &name) {
        return refusal;
    }
    let id = format!("{:016x}", rand::random::<u64>());
    let create = request.query.contains_key("ifGenerationMatch");
    let session = Session {
        bucket,
        name,
        object: serde_json::from_slice(body).expect("an object's metadata"),
        held: Vec::new(),
        made: None,
    };
    world.sessions.insert(id.clone(), session);
    let condition = if create { "&ifGenerationMatch=0" } else { "" };
    let location = format!("http://127.0.0.1:{port}/session?id={id}{condition}");
    Answer::new(200).header("location", location)
}

/// `bytes 0-9/*`: the first byte and, with the last chunk, the length.
fn content_range(range: &str) -> (Option<usize>, Option<usize>) {
    let range = range.strip_prefix("bytes ").expect("a range of bytes");
    let (span, total) = range.split_once('/').expect("a length, or a star");
    let first = span.split_once('-').map(|(first, _)| first);
    (
        first.and_then(|first| first.parse().ok()),
        total.parse().ok(),
    )
}

fn chunk(
    world: &mut World,
    request: &Request,
    call: GcsCall,
    body: &[u8],
    fault: Option<&GcsFault>,
) -> Answer {
    let id = &request.query["id"];
    let Some(session) = world.sessions.get_mut(id) else {
        return Answer::error(404, "no such upload");
    };
    let (bucket, name) = (session.bucket.clone(), session.name.clone());
    if let Some(made) = &session.made {
        return made.json(&bucket, &name);
    }
    let mut total = None;
    if call == GcsCall::Chunk {
        let (first, length) = content_range(&request.header("content-range"));
        if first.is_some_and(|first| first != session.held.len()) {
            return Answer::error(400, "that is not where the upload is");
        }
        if length.is_none() && !body.len().is_multiple_of(QUANTUM) {
            return Answer::error(400, "chunks are multiples of 256 KiB");
        }
        let taken = match fault {
            Some(GcsFault::Take(most)) => (*most).min(body.len()),
            _ => body.len(),
        };
        session.held.extend_from_slice(&body[..taken]);
        total = length;
    }
    if total != Some(session.held.len()) {
        let answer = Answer::new(308);
        return match session.held.len() {
            0 => answer,
            held => answer.header("range", format!("bytes=0-{}", held - 1)),
        };
    }
    let (object, bytes) = (session.object.clone(), session.held.clone());
    if let Some(refusal) = precondition(world, request, &bucket, &name) {
        return refusal;
    }
    let made = world.create(&bucket, &name, &object, bytes);
    let hash = request.header("x-goog-hash");
    if !hash.is_empty() && hash != format!("crc32c={}", made.hash()) {
        world.buckets.get_mut(&bucket).unwrap().remove(&name);
        return Answer::error(400, "Provided CRC32C does not match calculated CRC32C.");
    }
    world.sessions.get_mut(id).expect("it was there").made = Some(made.clone());
    made.json(&bucket, &name)
}

fn multipart(
    world: &mut World,
    request: &Request,
    body: &[u8],
    fault: Option<&GcsFault>,
) -> Answer {
    let bucket = match bucket_of(world, &request.path) {
        Ok(bucket) => bucket,
        Err(answer) => return answer,
    };
    let name = request.query["name"].clone();
    let kind = request.header("content-type");
    let (_, boundary) = kind.split_once("boundary=").expect("a boundary");
    let (metadata, mut media) = parts(body, boundary.trim_matches('"'));
    if let Some(refusal) = precondition(world, request, &bucket, &name) {
        return refusal;
    }
    let mut object: Value = serde_json::from_slice(&metadata).expect("an object's metadata");
    let claimed = object["crc32c"].take();
    if let Some(GcsFault::Flip) = fault {
        flip(&mut media);
    }
    let made = world.create(&bucket, &name, &object, media);
    if claimed.as_str() != Some(&made.hash()) && !matches!(fault, Some(GcsFault::Flip)) {
        world.buckets.get_mut(&bucket).unwrap().remove(&name);
        return Answer::error(400, "Provided CRC32C does not match calculated CRC32C.");
    }
    made.json(&bucket, &name)
}

fn flip(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}

/// The two parts of a `multipart/related` body.
fn parts(body: &[u8], boundary: &str) -> (Vec<u8>, Vec<u8>) {
    let find = |from: usize, what: &str| {
        let found = memchr::memmem::find(&body[from..], what.as_bytes());
        from + found.unwrap_or_else(|| panic!("no {what:?} in a multipart body"))
    };
    let mut at = 0;
    let mut next = || {
        let begin = find(find(at, &format!("--{boundary}")), "\r\n\r\n") + 4;
        at = find(begin, &format!("\r\n--{boundary}"));
        body[begin..at].to_vec()
    };
    (next(), next())
}

fn download(world: &World, request: &Request, fault: Option<&GcsFault>) -> Answer {
    let bucket = match bucket_of(world, &request.path) {
        Ok(bucket) => bucket,
        Err(answer) => return answer,
    };
    let (_, name) = request.path.split_once("/o/").expect("an object's name");
    let name = percent_decode_str(name).decode_utf8().expect("UTF-8");
    let Some(object) = world.buckets[&bucket].get(&*name) else {
        let why = format!("No such object: {bucket}/{name}");
        return Answer::error(404, &why);
    };
    let length = object.bytes.len();
    let range = request.header("range");
    let range = range.strip_prefix("bytes=").filter(|_| {
        // A server may ignore a range.
        !matches!(fault, Some(GcsFault::Whole))
    });
    let mut answer = match range.and_then(|range| range.split_once('-')) {
        None => Answer::new(200),
        Some((first, last)) => {
            let first: usize = first.parse().expect("a number");
            let last = last.parse().unwrap_or(length).min(length.max(1) - 1);
            if first >= length {
                return Answer::error(416, "The requested range cannot be satisfied.");
            }
            let mut answer = Answer::new(206);
            answer.body = object.bytes[first..=last].to_vec();
            answer.header("content-range", format!("bytes {first}-{last}/{length}"))
        }
    };
    if answer.status == 200 {
        answer.body = object.bytes.to_vec();
    }
    match fault {
        Some(GcsFault::Cut(bytes)) => answer.cut = Some(*bytes),
        Some(GcsFault::Flip) => answer.body[0] ^= 1,
        _ => {}
    }
    answer
        .header("x-goog-generation", object.generation)
        .header("x-goog-metageneration", 1)
        .header("x-goog-stored-content-length", length)
        .header("x-goog-stored-content-encoding", "identity")
        .header("x-goog-storage-class", &object.class)
        .header("x-goog-hash", format!("crc32c={}", object.hash()))
}

/// The content of a body in chunked encoding.
fn unchunked(mut wire: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = memchr::memmem::find(wire, b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&wire[..line]).expect("a number");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&wire[line + 2..line + 2 + size]);
        wire = &wire[line + 4 + size..];
    }
}
