use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use serde_json::{Value, json};
use url::Url;

use super::attempts::Attempts;
use super::bucket::{Bucket, OWNER};
use super::config::QUANTUM;
use super::error::{Cause, Failure, failed};
use super::wire;

/// A resumable upload: what was sent is no object before its last byte has arrived.
pub(super) struct Session {
    bucket: Arc<Bucket>,
    /// Whoever knows it may write the object: it is a secret.
    url: Url,
}

/// Bytes that the store does not hold yet, as far as is known.
#[derive(Default)]
pub(super) struct Pending {
    pieces: VecDeque<Bytes>,
    /// Where they begin.
    at: u64,
    bytes: u64,
}

impl Pending {
    pub fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        // A rest must not hold on to the buffer that it is the end of.
        for piece in &mut self.pieces {
            *piece = Bytes::copy_from_slice(piece);
        }
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
    }

    /// Where they end.
    pub fn end(&self) -> u64 {
        self.at + self.bytes
    }

    /// How many may be sent before the last.
    fn quanta(&self) -> u64 {
        self.bytes - self.bytes % QUANTUM
    }

    fn first(&self, mut length: u64) -> VecDeque<Bytes> {
        let mut first = VecDeque::new();
        for piece in &self.pieces {
            let some = usize::try_from(length).map_or(piece.len(), |n| n.min(piece.len()));
            first.push_back(piece.slice(..some));
            length -= some as u64;
        }
        first.retain(|piece| !piece.is_empty());
        first
    }

    /// Forgets those that the store holds; whether there were any.
    fn forget(&mut self, held: u64) -> Result<bool, Failure> {
        if held < self.at || held > self.end() {
            let (at, end) = (self.at, self.end());
            let why = format!("{held} bytes are said to have arrived, of {at} to {end}");
            return Err(Failure::new(Cause::Damaged, why));
        }
        let arrived = held - self.at;
        (self.at, self.bytes) = (held, self.bytes - arrived);
        let mut left = arrived;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                break;
            };
            let some = usize::try_from(left).map_or(piece.len(), |n| n.min(piece.len()));
            piece.advance(some);
            left -= some as u64;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        Ok(arrived > 0)
    }
}

/// How far a session is.
enum Answer {
    /// The store holds this many bytes, and waits for more.
    Holds(u64),
    Done(Made),
}

/// What the store says of an object it made.
#[derive(Debug)]
pub(super) struct Made {
    pub bytes: u64,
    pub crc: Option<u32>,
    pub generation: Option<i64>,
}

impl Session {
    /// Begins an upload of `full`, which must not exist. Sessions that an answer was lost of are
    /// forgotten by the store after a week; they cost nothing and nobody sees them.
    pub async fn begin(bucket: Arc<Bucket>, full: &str, token: &str) -> Result<Self, Failure> {
        let mut object = json!({
            "metadata": { OWNER: token },
            "contentType": "application/octet-stream",
        });
        if let Some(class) = &bucket.storage_class {
            object["storageClass"] = class.as_str().into();
        }
        let url = bucket
            .retried(|| async {
                let mut url = address(&bucket)?;
                url.query_pairs_mut()
                    .append_pair("uploadType", "resumable")
                    .append_pair("name", full)
                    .append_pair("ifGenerationMatch", "0");
                let headers = bucket.signed().await?;
                let request = bucket.clients.http()?.post(url).headers(headers);
                let request = request
                    .header(CONTENT_TYPE, "application/json")
                    .header("x-upload-content-type", "application/octet-stream");
                let answer = request.body(object.to_string()).send().await?;
                if !answer.status().is_success() {
                    return Err(failed(answer).await);
                }
                let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
                let url = location.and_then(|location| Url::parse(location).ok());
                url.ok_or_else(|| Failure::new(Cause::Nonsense, "no address for the upload"))
            })
            .await?;
        Ok(Self { bucket, url })
    }

    /// Sends what is pending, and what the store did not take of it again, until it holds all of
    /// it; a rest that is no full quantum waits for the next chunk. With `crc`, the checksum of all
    /// bytes, this is the end of the upload, and the object is the answer.
    pub async fn send_all(
        &self,
        pending: &mut Pending,
        crc: Option<u32>,
    ) -> Result<Option<Made>, Failure> {
        let mut attempts = Attempts::new(&self.bucket);
        let mut unsure = false;
        while crc.is_some() || pending.quanta() > 0 {
            let answer = if unsure {
                let query = self.query();
                let limit = self.bucket.limits.request;
                let limited = tokio::time::timeout(limit, query).await;
                limited.unwrap_or_else(|_| Err(Failure::timeout()))
            } else {
                self.send(pending, crc).await
            };
            match answer {
                Ok(Answer::Done(made)) if crc.is_some() => return Ok(Some(made)),
                Ok(Answer::Done(_)) => {
                    let why = "the upload is said to be complete before its end was sent";
                    return Err(Failure::new(Cause::Damaged, why));
                }
                Ok(Answer::Holds(held)) => {
                    if pending.forget(held)? {
                        attempts.progress();
                    } else if !unsure {
                        let why = "took none of the bytes that were sent";
                        attempts.after(Failure::new(Cause::Timeout, why)).await?;
                    }
                    unsure = false;
                }
                // What arrived of it is not known.
                Err(failure) => {
                    attempts.after(failure).await?;
                    unsure = true;
                }
            }
        }
        Ok(None)
    }

    /// Ends the upload without an object.
    pub async fn cancel(&self) -> Result<(), Failure> {
        let cancelled = self.bucket.retried(|| async {
            let headers = self.signed().await?;
            let request = self.bucket.clients.http()?.delete(self.url.clone());
            let request = request.headers(headers).header(CONTENT_LENGTH, 0);
            let answer = request.send().await?;
            // 499 is what the store calls a success here.
            match answer.status().as_u16() {
                200..=299 | 404 | 410 | 499 => Ok(()),
                _ => Err(failed(answer).await),
            }
        });
        cancelled.await
    }

    async fn send(&self, pending: &Pending, crc: Option<u32>) -> Result<Answer, Failure> {
        let at = pending.at;
        let (length, total) = match crc {
            Some(_) => (pending.bytes, (at + pending.bytes).to_string()),
            None => (pending.quanta(), "*".to_owned()),
        };
        let range = match length {
            0 => format!("bytes */{total}"),
            _ => format!("bytes {at}-{}/{total}", at + length - 1),
        };
        let headers = self.signed().await?;
        let request = self.bucket.clients.http()?.put(self.url.clone());
        let request = request.headers(headers).header(CONTENT_RANGE, range);
        let request = match crc {
            Some(crc) => {
                let crc = BASE64_STANDARD.encode(crc.to_be_bytes());
                request.header("x-goog-hash", format!("crc32c={crc}"))
            }
            None => request,
        };
        let limits = &self.bucket.limits;
        let sent = wire::send(request, pending.first(length), limits).await?;
        let limited = tokio::time::timeout(limits.request, answer(sent)).await;
        limited.unwrap_or_else(|_| Err(Failure::timeout()))
    }

    /// Asks how much the store holds.
    async fn query(&self) -> Result<Answer, Failure> {
        let headers = self.signed().await?;
        let request = self.bucket.clients.http()?.put(self.url.clone());
        let request = request
            .headers(headers)
            .header(CONTENT_LENGTH, 0)
            .header(CONTENT_RANGE, "bytes */*");
        answer(request.send().await?).await
    }

    /// The store may lead to another host; credentials do not follow.
    async fn signed(&self) -> Result<HeaderMap, Failure> {
        let ours = address(&self.bucket)?;
        if self.url.origin() == ours.origin() {
            self.bucket.signed().await
        } else {
            Ok(HeaderMap::new())
        }
    }
}

impl Bucket {
    /// The headers that say who asks.
    pub async fn signed(&self) -> Result<HeaderMap, Failure> {
        let signed = self.clients.login.sign().await;
        let mut headers = signed.map_err(|error| Failure::from(&error))?;
        let project = self.project.as_deref().map(str::parse);
        if let Some(Ok(project)) = project {
            headers.insert("x-goog-user-project", project);
        }
        Ok(headers)
    }
}

fn address(bucket: &Bucket) -> Result<Url, Failure> {
    let mut url = Url::parse(bucket.clients.endpoint())
        .map_err(|error| Failure::new(Cause::Request, error.to_string()))?;
    if let Ok(mut path) = url.path_segments_mut() {
        let parts = ["upload", "storage", "v1", "b", &bucket.name, "o"];
        path.clear().extend(parts);
    }
    Ok(url)
}

async fn answer(answer: reqwest::Response) -> Result<Answer, Failure> {
    match answer.status().as_u16() {
        308 => held(answer.headers())
            .map(Answer::Holds)
            .ok_or_else(|| Failure::new(Cause::Nonsense, "no range of what has arrived")),
        200..=299 => {
            let body = answer.bytes().await?;
            let made = serde_json::from_slice(&body).ok().and_then(|o| made(&o));
            made.map(Answer::Done)
                .ok_or_else(|| Failure::new(Cause::Nonsense, "no object after an upload"))
        }
        _ => Err(failed(answer).await),
    }
}

/// The number of bytes in `bytes=0-99`; none have arrived where the header is missing.
fn held(headers: &HeaderMap) -> Option<u64> {
    let Some(range) = headers.get(RANGE) else {
        return Some(0);
    };
    let last = range.to_str().ok()?.strip_prefix("bytes=0-")?;
    last.parse::<u64>().ok()?.checked_add(1)
}

fn made(object: &Value) -> Option<Made> {
    let number = |key: &str| object[key].as_str()?.parse().ok();
    Some(Made {
        bytes: u64::try_from(number("size")?).ok()?,
        crc: object["crc32c"].as_str().and_then(decode_crc),
        generation: number("generation"),
    })
}

fn decode_crc(text: &str) -> Option<u32> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_read_to_the_letter() {
        let range = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, value.parse().unwrap());
            held(&headers)
        };
        assert_eq!(held(&HeaderMap::new()), Some(0));
        assert_eq!(range("bytes=0-0"), Some(1));
        assert_eq!(range("bytes=0-262143"), Some(262_144));
        for wrong in [
            "",
            "bytes=1-5",
            "0-5",
            "bytes=0-",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_pending_is_sent_in_quanta_and_forgotten_as_it_arrives() {
        let mut pending = Pending::default();
        let chunk = Bytes::from(vec![1; 2 * 262_144]);
        pending.push(chunk.clone());
        assert_eq!(pending.quanta(), 524_288);
        assert!(!pending.forget(0).unwrap());
        assert!(pending.forget(100_001).unwrap());
        assert_eq!((pending.quanta(), pending.end()), (262_144, 524_288));
        assert!(pending.forget(362_145).unwrap());
        assert_eq!(pending.quanta(), 0);
        pending.push(chunk);
        assert_eq!(pending.quanta(), 524_288);
        let lengths: Vec<_> = pending.first(524_288).iter().map(Bytes::len).collect();
        assert_eq!(lengths, [162_143, 362_145]);
        assert!(pending.forget(362_144).is_err());
        assert!(pending.forget(pending.end() + 1).is_err());
        assert!(pending.forget(pending.end()).unwrap());
        assert!(pending.first(0).is_empty());
    }

    #[test]
    fn an_object_is_read_with_its_checksum() {
        // CRC-32C of "123456789" is 0xe3069283.
        let object = json!({ "size": "9", "crc32c": "4waSgw==", "generation": "17" });
        let made = made(&object).unwrap();
        assert_eq!(
            (made.bytes, made.crc, made.generation),
            (9, Some(0xe306_9283), Some(17))
        );
        assert!(super::made(&json!({ "kind": "storage#object" })).is_none());
    }
}
