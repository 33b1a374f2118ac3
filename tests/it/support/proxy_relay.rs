//! The fault proxy's work on one connection: passing requests and answers on, with faults.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::proxy::{Fault, Shared};
use super::proxy_http::{Framing, Head, copy_body};

/// Serves the requests of one client connection until it ends or a fault closes it.
pub(super) fn serve_client(client: &TcpStream, shared: &Shared) {
    let Ok(id) = shared.register(client) else {
        return;
    };
    if let Ok(reading) = client.try_clone() {
        let mut reader = BufReader::new(reading);
        // An error is a fault that was asked for, or a peer that went away: both end the
        // connection, which is all a proxy can tell its client.
        while matches!(serve_request(&mut reader, client, shared), Ok(true)) {}
    }
    close(client);
    shared.unregister(id);
}

/// Serves one request. `Ok(true)` means that the connection can take another.
fn serve_request(
    reader: &mut BufReader<TcpStream>,
    client: &TcpStream,
    shared: &Shared,
) -> io::Result<bool> {
    let Some(request) = Head::read(reader)? else {
        return Ok(false);
    };
    let fault = shared.note_request(request.word(0), request.word(1));
    match fault {
        Some(Fault::Hang) => {
            if request.has("expect", "100-continue") {
                write_all(client, CONTINUE)?;
            }
            copy_body(reader, request.request_framing()?, &mut |_| Ok(()))?;
            // Ends when the client gives up or the proxy is dropped.
            copy_body(reader, Framing::UntilClose, &mut |_| Ok(()))?;
            Ok(false)
        }
        Some(Fault::Status { code, body }) => answer(reader, client, &request, code, &[], &body),
        Some(Fault::StatusWithHeaders {
            code,
            headers,
            body,
        }) => answer(reader, client, &request, code, &headers, &body),
        Some(Fault::Delay(time)) => {
            shared.pause(time)?;
            forward(reader, client, shared, &request, None)
        }
        fault => forward(reader, client, shared, &request, fault.as_ref()),
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Answers a request that is not passed on.
fn answer(
    reader: &mut BufReader<TcpStream>,
    client: &TcpStream,
    request: &Head,
    code: u16,
    headers: &[(String, String)],
    body: &str,
) -> io::Result<bool> {
    // A client that waits for "100 Continue" must not send its body after a final answer.
    let refused_early = request.has("expect", "100-continue");
    if !refused_early {
        copy_body(reader, request.request_framing()?, &mut |_| Ok(()))?;
    }
    let keep = !refused_early && !request.has("connection", "close");
    let mut head = format!(
        "HTTP/1.1 {code} Injected\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str(if keep {
        "\r\n"
    } else {
        "connection: close\r\n\r\n"
    });
    if request.word(0) != "HEAD" {
        head.push_str(body);
    }
    write_all(client, head.as_bytes())?;
    Ok(keep)
}

fn forward(
    reader: &mut BufReader<TcpStream>,
    client: &TcpStream,
    shared: &Shared,
    request: &Head,
    fault: Option<&Fault>,
) -> io::Result<bool> {
    let server = TcpStream::connect(&shared.upstream)?;
    let id = shared.register(&server)?;
    let result = exchange(reader, client, &server, shared, request, fault);
    close(&server);
    shared.unregister(id);
    result
}

/// Passes one request on and its answer back, with the fault in between.
fn exchange(
    reader: &mut BufReader<TcpStream>,
    client: &TcpStream,
    server: &TcpStream,
    shared: &Shared,
    request: &Head,
    fault: Option<&Fault>,
) -> io::Result<bool> {
    let (cut_request, cut_answer, pace) = match fault {
        Some(Fault::CutRequestBodyAfter(bytes)) => (Some(*bytes), None, None),
        Some(Fault::CutResponseAfter(bytes)) => (None, Some(*bytes), None),
        Some(Fault::SlowBody { bytes_per_sec }) => (None, None, Some(*bytes_per_sec)),
        _ => (None, None, None),
    };
    let mut from_server = BufReader::new(server.try_clone()?);
    let framing = request.request_framing()?;
    write_all(server, &request.raw)?;
    let mut early_answer = None;
    if request.has("expect", "100-continue") {
        let head = read_answer(&mut from_server)?;
        if head.status()? == 100 {
            write_all(client, &head.raw)?;
        } else {
            early_answer = Some(head);
        }
    }
    let refused_early = early_answer.is_some();
    let mut body_was_sent = true;
    if !refused_early {
        let mut sink = Sink {
            to: server,
            shared,
            left: cut_request,
            pace,
        };
        if cut_request == Some(0) {
            return Err(cut());
        }
        let mut refused = false;
        let sent = copy_body(reader, framing, &mut |piece| {
            sink.write(piece).inspect_err(|_| refused = true)
        });
        match sent {
            Ok(()) if cut_request.is_some() => return Err(cut()),
            Ok(()) => {}
            // The server may have answered and closed without reading the whole body.
            Err(_) if refused && cut_request.is_none() => body_was_sent = false,
            Err(error) => return Err(error),
        }
    }
    let mut answer_head = match early_answer {
        Some(head) => head,
        None => read_answer(&mut from_server)?,
    };
    while matches!(answer_head.status()?, 100..=199) {
        write_all(client, &answer_head.raw)?;
        answer_head = read_answer(&mut from_server)?;
    }
    let answer_framing = answer_head.answer_framing(request.word(0))?;
    let keep = !refused_early
        && body_was_sent
        && answer_framing != Framing::UntilClose
        && !request.has("connection", "close")
        && !answer_head.has("connection", "close");
    if let Some(Fault::StatusAfterEffect { code }) = fault {
        copy_body(&mut from_server, answer_framing, &mut |_| Ok(()))?;
        let head =
            format!("HTTP/1.1 {code} Injected\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        write_all(client, head.as_bytes())?;
        return Ok(false);
    }
    if matches!(fault, Some(Fault::CutAfterEffect)) {
        copy_body(&mut from_server, answer_framing, &mut |_| Ok(()))?;
        return Err(cut());
    }
    write_all(client, &answer_head.raw)?;
    if cut_answer == Some(0) {
        return Err(cut());
    }
    let mut sink = Sink {
        to: client,
        shared,
        left: cut_answer,
        pace,
    };
    copy_body(&mut from_server, answer_framing, &mut |piece| {
        sink.write(piece)
    })?;
    if cut_answer.is_some() {
        Err(cut())
    } else {
        Ok(keep)
    }
}

fn read_answer(from: &mut BufReader<TcpStream>) -> io::Result<Head> {
    Head::read(from)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Where a body goes, with the byte budget and the pace that a fault gives it.
struct Sink<'a> {
    to: &'a TcpStream,
    shared: &'a Shared,
    left: Option<u64>,
    pace: Option<u64>,
}

impl Sink<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let allowed = match self.left {
            Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()),
            None => piece.len(),
        };
        match self.pace {
            Some(bytes_per_sec) => self.write_slowly(&piece[..allowed], bytes_per_sec)?,
            None => write_all(self.to, &piece[..allowed])?,
        }
        if let Some(left) = &mut self.left {
            *left -= allowed as u64;
            if *left == 0 {
                return Err(cut());
            }
        }
        Ok(())
    }

    fn write_slowly(&self, piece: &[u8], bytes_per_sec: u64) -> io::Result<()> {
        const STEPS_PER_SECOND: u64 = 20;
        let step = usize::try_from((bytes_per_sec / STEPS_PER_SECOND).max(1)).unwrap_or(usize::MAX);
        for part in piece.chunks(step) {
            let begin = Instant::now();
            write_all(self.to, part)?;
            let nanos = part.len() as u64 * 1_000_000_000 / bytes_per_sec.max(1);
            let due = Duration::from_nanos(nanos);
            self.shared.pause(due.saturating_sub(begin.elapsed()))?;
        }
        Ok(())
    }
}

fn write_all(mut to: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)
}

/// Closes a connection in both directions.
pub(super) fn close(stream: &TcpStream) {
    // An error means that the peer has closed it already.
    let _ = stream.shutdown(Shutdown::Both);
}

/// The error that ends a connection on purpose.
pub(super) fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "cut by a fault or by the end of the proxy",
    )
}
