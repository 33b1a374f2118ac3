//! A server that says what a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What goes over the wire before the connection ends.
#[derive(Debug, Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    /// Nothing more for a while, and the connection stays open.
    Hang(Vec<u8>),
    /// A blank now and then.
    Drip(Vec<u8>),
}

pub struct Responder {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Responder {
    /// Answers each request with what `answer` makes of it.
    pub fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        // It ends with the test's process.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || serve(connection, &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.path)
            .collect()
    }
}

fn serve(
    connection: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut connection = connection;
    let Some(request) = read(&mut reader) else {
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        return;
    };
    let reply = answer(&request);
    seen.lock().unwrap().push(request);
    match reply {
        Reply::Bytes(bytes) => {
            let _ = connection.write_all(&bytes);
        }
        Reply::Hang(bytes) => {
            let _ = connection.write_all(&bytes);
            thread::sleep(Duration::from_secs(20));
        }
        Reply::Drip(bytes) => {
            let _ = connection.write_all(&bytes);
            for _ in 0..200 {
                if connection.write_all(b" ").is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

fn head(status: u16, rest: &str) -> String {
    format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n{rest}\r\n")
}

pub fn text(status: u16, kind: &str, body: &str) -> Reply {
    let length = body.len();
    let rest = format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n");
    Reply::Bytes((head(status, &rest) + body).into_bytes())
}

pub fn json(status: u16, body: &Value) -> Reply {
    text(status, "application/json", &body.to_string())
}

pub fn errors(status: u16, errors: &[&str]) -> Reply {
    json(status, &serde_json::json!({ "errors": errors }))
}

pub fn redirect(location: &str) -> Reply {
    let rest = format!("Location: {location}\r\nContent-Length: 0\r\n");
    Reply::Bytes(head(307, &rest).into_bytes())
}

/// In chunks, without saying how much there will be; a clean end only with `end`.
pub fn chunks(body: &[u8], end: bool) -> Vec<u8> {
    let rest = "Content-Type: application/gzip\r\nTransfer-Encoding: chunked\r\n";
    let mut bytes = head(200, rest).into_bytes();
    for chunk in body.chunks(1000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    if end {
        bytes.extend(b"0\r\n\r\n");
    }
    bytes
}
