//! The Vault double's work on one connection: reading requests and delivering answers, whole or not.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::proxy_http::{Framing, Head, copy_body};
use super::vault_answers::{Answer, AnswerEnd, AnswerFraming};
use super::vault_double::{SeenRequest, Shared};

const CHUNK_BYTES: usize = 16 * 1024;
const BEFORE_RESET: Duration = Duration::from_millis(50);

/// A plain or an encrypted connection.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// Serves the requests of one connection until it ends or a fault ends it.
pub(super) fn serve(
    client: &TcpStream,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let socket = client.try_clone()?;
    let wire: Box<dyn Wire> = match tls {
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, socket))
        }
        None => Box::new(socket),
    };
    let mut reader = BufReader::new(wire);
    while let Some(head) = Head::read(&mut reader)? {
        let request = read_request(&head, &mut reader)?;
        let answer = shared.answer(request);
        std::thread::sleep(answer.delay);
        if !deliver(&answer, &mut reader, client)? || head.has("connection", "close") {
            break;
        }
    }
    Ok(())
}

fn read_request(head: &Head, reader: &mut BufReader<Box<dyn Wire>>) -> io::Result<SeenRequest> {
    if head.has("expect", "100-continue") {
        let wire = reader.get_mut();
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        wire.flush()?;
    }
    let framing = head.request_framing()?;
    let mut body = Vec::new();
    copy_body(reader, framing, &mut |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    if framing == Framing::Chunked {
        body = without_chunks(&body);
    }
    let text = String::from_utf8_lossy(&head.raw);
    let headers = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    Ok(SeenRequest {
        method: head.word(0).to_string(),
        path: head.word(1).to_string(),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
            .collect(),
        body,
    })
}

/// The contents of a chunked body that was read to its end.
fn without_chunks(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|pair| pair == b"\r\n") {
        let digits = String::from_utf8_lossy(&raw[..end]);
        let digits = digits.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 4 + size..];
    }
    body
}

/// Gives an answer. `Ok(true)` means that the connection can take another request.
fn deliver(
    answer: &Answer,
    reader: &mut BufReader<Box<dyn Wire>>,
    client: &TcpStream,
) -> io::Result<bool> {
    match answer.end {
        AnswerEnd::Reset => return reset(client),
        AnswerEnd::Hang => return until_closed(reader),
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if answer.framing == AnswerFraming::Chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else if answer.status == 204 {
        head.push_str("\r\n");
    } else {
        let length = format!("Content-Length: {}\r\n\r\n", answer.body.len());
        head.push_str(&length);
    }
    let wire = reader.get_mut();
    wire.write_all(head.as_bytes())?;
    let (until, piece, pause) = match answer.end {
        AnswerEnd::CloseAfter(bytes)
        | AnswerEnd::ResetAfter(bytes)
        | AnswerEnd::StallAfter(bytes) => (bytes, CHUNK_BYTES, Duration::ZERO),
        AnswerEnd::Drip(bytes, pause) => (usize::MAX, bytes, pause),
        _ => (usize::MAX, CHUNK_BYTES, Duration::ZERO),
    };
    let body = &answer.body[..until.min(answer.body.len())];
    for piece in body.chunks(piece) {
        write_piece(wire, answer.framing, piece)?;
        std::thread::sleep(pause);
    }
    wire.flush()?;
    match answer.end {
        AnswerEnd::CloseAfter(_) => Ok(false),
        AnswerEnd::ResetAfter(_) => {
            // A reset overtakes what the client has not read yet.
            std::thread::sleep(BEFORE_RESET);
            reset(client)
        }
        AnswerEnd::StallAfter(_) => until_closed(reader),
        _ => {
            if answer.framing == AnswerFraming::Chunked {
                wire.write_all(b"0\r\n\r\n")?;
            }
            wire.flush()?;
            Ok(true)
        }
    }
}

fn write_piece(wire: &mut dyn Wire, framing: AnswerFraming, piece: &[u8]) -> io::Result<()> {
    if framing == AnswerFraming::Length {
        wire.write_all(piece)?;
    } else {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        wire.write_all(&chunk)?;
    }
    wire.flush()
}

/// Resets the connection: dissolving it does that, however many handles there are.
fn reset(client: &TcpStream) -> io::Result<bool> {
    rustix::net::connect_unspec(client)?;
    Ok(false)
}

/// Waits until the client or the double closes the connection.
fn until_closed(reader: &mut BufReader<Box<dyn Wire>>) -> io::Result<bool> {
    io::copy(reader, &mut io::sink())?;
    Ok(false)
}
