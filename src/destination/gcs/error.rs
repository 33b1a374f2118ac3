use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::error::Error;
use google_cloud_storage::error::{ReadError, WriteError};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde_json::Value;
use tonic::{Code, Status, TimeoutExpired};

use super::credentials::NoToken;

/// Longest text of a store's own that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// A failed request, whichever way it went.
#[derive(Debug)]
pub(super) struct Failure {
    pub cause: Cause,
    /// The HTTP status, or what is one to a gRPC code; zero without an answer.
    pub status: u16,
    pub message: String,
    /// The wait the store asks for.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The store answered.
    Answer,
    /// It took too long.
    Timeout,
    /// The connection could not be made, or broke.
    Connection,
    /// The certificate, or TLS itself: trying again does not help.
    Tls,
    /// The request could not be made.
    Request,
    /// There was nothing to sign the request with.
    Credentials,
    /// What came back is not what was stored.
    Damaged,
    /// The answer is not one of Cloud Storage.
    Nonsense,
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            status: 0,
            message: message.into(),
            retry_after: None,
        }
    }

    pub fn timeout() -> Self {
        Self::new(Cause::Timeout, "no answer in time")
    }

    /// A request that no answer came to.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        match find::<TimeoutExpired>(error) {
            Some(_) => Self::timeout(),
            None => broken(error),
        }
    }

    /// An answer over HTTP that is no success.
    pub fn answered(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        Self {
            cause: Cause::Answer,
            status,
            message: message(body),
            retry_after: retry_after(headers),
        }
    }

    /// Whether trying again may help.
    pub fn is_passing(&self) -> bool {
        match self.cause {
            Cause::Timeout | Cause::Connection => true,
            Cause::Answer => matches!(self.status, 408 | 429 | 500 | 502..=599),
            _ => false,
        }
    }

    /// Whether the store may have done what was asked, for all we know.
    pub fn is_unclear(&self) -> bool {
        match self.cause {
            Cause::Answer => self.status >= 500 || self.status == 408,
            Cause::Timeout | Cause::Connection | Cause::Nonsense => true,
            Cause::Tls | Cause::Request | Cause::Credentials | Cause::Damaged => false,
        }
    }

    pub fn is_precondition(&self) -> bool {
        self.cause == Cause::Answer && self.status == 412
    }

    pub fn is_refused_login(&self) -> bool {
        self.cause == Cause::Answer && self.status == 401
    }

    pub fn is_missing(&self) -> bool {
        self.cause == Cause::Answer && self.status == 404
    }

    /// Whether it is the bucket that is missing, by the store's own words.
    pub fn is_no_bucket(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.is_missing() && message.contains("bucket") && !message.contains("object")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = |cause, message| Self::new(cause, message);
        if error.is_authentication() {
            return match find::<CredentialsError>(&error) {
                Some(error) => error.into(),
                None => failure(Cause::Credentials, tidy(&deepest(&error).to_string())),
            };
        }
        if let Some(status) = error.http_status_code() {
            let message = match (error.status(), error.http_payload()) {
                (Some(status), _) => tidy(&status.message),
                (None, Some(body)) => message(body),
                (None, None) => String::new(),
            };
            return Self {
                cause: Cause::Answer,
                status,
                message,
                retry_after: error.http_headers().and_then(retry_after),
            };
        }
        if error.is_timeout() {
            return Self::timeout();
        }
        let read = matches!(
            find::<ReadError>(&error),
            Some(ReadError::ChecksumMismatch(_))
        );
        let written = matches!(
            find::<WriteError>(&error),
            Some(WriteError::ChecksumMismatch { .. })
        );
        if read || written {
            return failure(Cause::Damaged, "does not fit its checksum".into());
        }
        if error.is_deserialization() {
            return failure(Cause::Nonsense, tidy(&deepest(&error).to_string()));
        }
        if error.is_serialization() || error.is_binding() {
            return failure(Cause::Request, tidy(&deepest(&error).to_string()));
        }
        broken(&error)
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            return Self::timeout();
        }
        if error.is_builder() {
            return Self::new(Cause::Request, tidy(&deepest(&error).to_string()));
        }
        broken(&error)
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        // One that came from the store has no source.
        if status.source().is_some() {
            return Self::of(status);
        }
        Self {
            cause: Cause::Answer,
            status: status_of(status.code()),
            message: tidy(status.message()),
            retry_after: retry_after(status.metadata().as_ref()),
        }
    }
}

impl From<&CredentialsError> for Failure {
    fn from(error: &CredentialsError) -> Self {
        let why = match find::<NoToken>(error) {
            Some(words) => words.to_string(),
            None => deepest(error).to_string(),
        };
        Self::new(Cause::Credentials, tidy(&why))
    }
}

fn status_of(code: Code) -> u16 {
    match code {
        Code::InvalidArgument => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists => 409,
        Code::FailedPrecondition => 412,
        Code::OutOfRange => 416,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Aborted | Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        _ => 500,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

/// The words of an answer: the message of a JSON error, or a body that is plain text.
pub(super) fn message(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let words = [
            &json["error"]["message"],
            &json["error_description"],
            &json["error"],
        ];
        return tidy(
            words
                .iter()
                .find_map(|word| word.as_str())
                .unwrap_or_default(),
        );
    }
    match std::str::from_utf8(body) {
        Ok(text) if !text.trim_start().starts_with(['<', '{', '[']) => tidy(text),
        _ => String::new(),
    }
}

/// One line, without a full stop, and not too long.
pub(super) fn tidy(message: &str) -> String {
    let words: Vec<_> = message.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(LONGEST_MESSAGE).collect();
    line.trim_end_matches('.').to_owned()
}

fn broken(error: &(dyn StdError + 'static)) -> Failure {
    use std::io::ErrorKind;
    if let Some(tls) = find::<rustls::Error>(error) {
        return Failure::new(Cause::Tls, tls_reason(tls));
    }
    let why = match find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => "connection refused".into(),
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            "no route to the host".into()
        }
        Some(ErrorKind::TimedOut) => return Failure::timeout(),
        Some(
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof,
        ) => "the connection broke".into(),
        _ => match deepest(error).to_string() {
            text if text.contains("lookup address") => "the host name cannot be resolved".into(),
            text if text.contains("closed before") || text == "connection error" => {
                "the connection broke".into()
            }
            text => tidy(&text),
        },
    };
    Failure::new(Cause::Connection, why)
}

fn tls_reason(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not trusted: unknown issuer".into()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name".into(),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired".into(),
        Error::InvalidMessage(_) => "it does not speak TLS; is its URL `http://`?".into(),
        other => format!("TLS: {}", tidy(&other.to_string())),
    }
}

/// The error that caused all others.
pub(super) fn deepest<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    std::iter::successors(Some(error), |&error| error.source())
        .last()
        .unwrap_or(error)
}

/// The first error of type `E` in the chain. The payload of an I/O error counts as its source.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(payload) => Some(payload),
            None => error.source(),
        };
    }
    None
}

/// The body of an answer, of which a failure shows no more than a line.
pub(super) async fn failed(answer: reqwest::Response) -> Failure {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.unwrap_or_else(|_| Bytes::new());
    Failure::answered(status, &headers, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, message: &str) -> Failure {
        let body = serde_json::json!({ "error": { "code": status, "message": message } });
        Failure::answered(status, &HeaderMap::new(), body.to_string().as_bytes())
    }

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(answered(status, "").is_passing(), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 410, 412, 416, 501] {
            assert!(!answered(status, "").is_passing(), "{status}");
        }
        assert!(Failure::timeout().is_passing());
        assert!(!Failure::new(Cause::Credentials, "").is_passing());
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        assert!(answered(404, "The specified bucket does not exist.").is_no_bucket());
        assert!(!answered(404, "No such object: bucket/key").is_no_bucket());
        assert!(!answered(404, "Not Found").is_no_bucket());
        assert!(!answered(403, "bucket").is_no_bucket());
    }

    #[test]
    fn a_wait_is_read_in_seconds() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let failure = Failure::answered(429, &headers, b"slow down, please.\n");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(failure.message, "slow down, please");
    }

    #[test]
    fn pages_for_browsers_are_not_passed_on() {
        assert_eq!(message(b"<html>oops</html>"), "");
        assert_eq!(message(b"{broken"), "");
    }
}
