//! A loopback proxy that shows the head of each request to a test, which may answer it in the
//! server's place. (The fault proxy of `support` sees methods and paths only.)

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::proxy_http::{Framing, Head, copy_body};

type Answer = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// See the module. It serves until the test's process ends.
pub struct HeadProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl HeadProxy {
    /// Starts a proxy to `http://HOST:PORT`. `answer` is given a request's head, in lower case but
    /// for its first line.
    pub fn start(
        upstream: &str,
        answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> HeadProxy {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answer> = Arc::new(answer);
        let seen = heads.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, answer, seen) = (upstream.clone(), answer.clone(), seen.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(client.try_clone()?);
                    while serve(&mut reader, &client, &upstream, &*answer, &seen)? {}
                    client.shutdown(Shutdown::Both)
                });
            }
        });
        HeadProxy { port, heads }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    reader: &mut BufReader<TcpStream>,
    mut client: &TcpStream,
    upstream: &str,
    answer: &Answer,
    seen: &Mutex<Vec<String>>,
) -> io::Result<bool> {
    let Some(request) = Head::read(reader)? else {
        return Ok(false);
    };
    let raw = String::from_utf8_lossy(&request.raw).into_owned();
    let (first, rest) = raw.split_once("\r\n").unwrap_or((&raw, ""));
    let head = format!("{first}\n{}", rest.to_lowercase());
    seen.lock().unwrap().push(head.clone());
    if let Some((code, body)) = answer(&head) {
        copy_body(reader, request.request_framing()?, &mut |_| Ok(()))?;
        let length = body.len();
        let body = if request.word(0) == "HEAD" {
            ""
        } else {
            &*body
        };
        write!(
            client,
            "HTTP/1.1 {code} Scripted\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        return Ok(true);
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(&request.raw)?;
    copy_body(reader, request.request_framing()?, &mut |piece| {
        server.write_all(piece)
    })?;
    let mut from_server = BufReader::new(server.try_clone()?);
    let Some(head) = Head::read(&mut from_server)? else {
        return Ok(false);
    };
    let framing = head.answer_framing(request.word(0))?;
    client.write_all(&head.raw)?;
    copy_body(&mut from_server, framing, &mut |piece| {
        client.write_all(piece)
    })?;
    Ok(framing != Framing::UntilClose)
}
