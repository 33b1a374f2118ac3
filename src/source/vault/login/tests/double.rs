//! A server that gives the answers it was told to give, one for each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::source::vault::client::Api;
use crate::source::vault::config::VaultConfig;
use crate::value::Env;

pub struct Double {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /v1/auth/approle/login`.
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: Value,
}

impl Double {
    /// Answers as many requests as there are answers, then refuses connections.
    pub fn answering(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("a bound port"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, requests): (Vec<_>, _) = (answers.into_iter().collect(), seen.clone());
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = Request::read(&stream);
                requests.lock().expect("no panic").push(request);
                answer(&mut stream, status, &body);
            }
        });
        Self { address, seen }
    }

    /// Answers nothing.
    pub fn silent() -> Self {
        Self::answering([])
    }

    pub fn api(&self) -> Api {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        // Another test may have been first.
        let _ = provider.install_default();
        let config = VaultConfig {
            address: Some(self.address.clone()),
            ..VaultConfig::default()
        };
        Api::new(&config, &Env::default()).expect("a client")
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let line = lines.remove(0).trim_end_matches(" HTTP/1.1").to_owned();
        let headers = lines
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut request = Self {
            line,
            headers,
            body: Value::Null,
        };
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a whole body");
        request.body = serde_json::from_slice(&body).unwrap_or_default();
        request
    }
}

fn answer(stream: &mut TcpStream, status: u16, body: &Value) {
    let body = match body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all((head + &body).as_bytes())
        .expect("it listens");
}
