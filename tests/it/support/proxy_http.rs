//! The parts of HTTP/1.1 that the fault proxy needs: message heads, and bodies passed on as they
//! are on the wire.

use std::io::{self, BufRead, Read};

const MAX_HEAD_BYTES: usize = 256 * 1024;
const COPY_BYTES: usize = 16 * 1024;

/// A request's or an answer's start line and headers, kept as they came.
pub struct Head {
    /// Everything up to and including the empty line.
    pub raw: Vec<u8>,
    /// The start line without its line end.
    pub start: String,
    headers: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads one head. `None` means that the connection ended before one began.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut raw = Vec::new();
        let mut limited = from.take(MAX_HEAD_BYTES as u64);
        loop {
            let begin = raw.len();
            if limited.read_until(b'\n', &mut raw)? == 0 {
                if raw.is_empty() {
                    return Ok(None);
                }
                return Err(invalid("a message head ends early or is too long"));
            }
            if matches!(&raw[begin..], b"\r\n" | b"\n") {
                break;
            }
        }
        let text = String::from_utf8_lossy(&raw);
        let mut lines = text.lines();
        let start = lines.next().unwrap_or_default().to_string();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
            .collect();
        Ok(Some(Head {
            raw,
            start,
            headers,
        }))
    }

    /// The word at `index` of the start line: method and path, or version and status.
    pub fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// The status code of an answer.
    pub fn status(&self) -> io::Result<u16> {
        self.word(1)
            .parse()
            .map_err(|_| invalid("an answer has no status code"))
    }

    /// Whether a header has `token` among its comma-separated values.
    pub fn has(&self, name: &str, token: &str) -> bool {
        self.values(name).any(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case(token))
        })
    }

    /// How the body of this request ends.
    pub fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.stated_framing()?.unwrap_or(Framing::None))
    }

    /// How the body of this answer to a request with `method` ends.
    pub fn answer_framing(&self, method: &str) -> io::Result<Framing> {
        if method == "HEAD" || matches!(self.status()?, 204 | 304) {
            return Ok(Framing::None);
        }
        Ok(self.stated_framing()?.unwrap_or(Framing::UntilClose))
    }

    fn stated_framing(&self) -> io::Result<Option<Framing>> {
        if self.has("transfer-encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        self.values("content-length")
            .next()
            .map(|value| value.parse().map(Framing::Length))
            .transpose()
            .map_err(|_| invalid("a Content-Length is not a number"))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one body and hands every piece of it to `sink` as it is on the wire, chunk sizes and
/// trailers included. An error of the sink ends the copy.
pub fn copy_body(
    from: &mut impl BufRead,
    framing: Framing,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    match framing {
        Framing::None => Ok(()),
        Framing::Length(length) => copy_exactly(from, length, sink),
        Framing::UntilClose => loop {
            let mut buffer = [0; COPY_BYTES];
            match from.read(&mut buffer)? {
                0 => return Ok(()),
                count => sink(&buffer[..count])?,
            }
        },
        Framing::Chunked => copy_chunks(from, sink),
    }
}

fn copy_chunks(
    from: &mut impl BufRead,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let line = read_line(from)?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk size is not a number"))?;
        sink(&line)?;
        if size == 0 {
            break;
        }
        copy_exactly(from, size, sink)?;
        sink(&read_line(from)?)?;
    }
    loop {
        let line = read_line(from)?;
        sink(&line)?;
        if matches!(line.as_slice(), b"\r\n" | b"\n") {
            return Ok(());
        }
    }
}

fn copy_exactly(
    from: &mut impl BufRead,
    length: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = [0; COPY_BYTES];
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let count = from.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sink(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(MAX_HEAD_BYTES as u64)
        .read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        return Ok(line);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
