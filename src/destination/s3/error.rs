use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::wire::Stalled;

/// Longest text of a store's own that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// A failed request, stripped of the SDK's types.
#[derive(Debug)]
pub(super) struct Failure {
    pub cause: Cause,
    /// The HTTP status; zero without an answer.
    pub status: u16,
    pub code: String,
    pub message: String,
    /// The region the store says the bucket is in.
    pub region: Option<String>,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// The store answered.
    Answer,
    /// It took too long.
    Timeout,
    /// The connection could not be made, or broke.
    Connection,
    /// The request could not be made from the settings.
    Request,
    /// There was nothing to sign the request with.
    Credentials,
    /// The answer is not one of an S3 store.
    NotS3,
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let answer = error.raw_response();
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        let region = answer.and_then(|answer| answer.headers().get("x-amz-bucket-region"));
        let region = region.map(str::to_owned);
        let code = error.code().unwrap_or_default().to_owned();
        let message = match error.message() {
            Some(message) => message.to_owned(),
            None => answer.map(plain_body).unwrap_or_default(),
        };
        let failure = |cause, message| Self {
            cause,
            status,
            code,
            message,
            region,
        };
        match &error {
            SdkError::ServiceError(_) => failure(Cause::Answer, message),
            SdkError::ResponseError(_) => failure(Cause::NotS3, message),
            SdkError::TimeoutError(_) => failure(Cause::Timeout, "no answer in time".into()),
            SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
                let why = find::<Stalled>(&error).map(ToString::to_string);
                failure(
                    Cause::Timeout,
                    why.unwrap_or_else(|| "no answer in time".into()),
                )
            }
            other => match (find::<CredentialsError>(&error), other) {
                (Some(error), _) => failure(Cause::Credentials, credentials_reason(error)),
                (None, SdkError::ConstructionFailure(_)) => {
                    failure(Cause::Request, tidy(&deepest(&error).to_string()))
                }
                (None, _) => failure(Cause::Connection, connection_reason(&error)),
            },
        }
    }
}

impl Failure {
    /// An answer that says it went well and lacks what it must have.
    pub fn nonsense(what: &str) -> Self {
        Self {
            cause: Cause::NotS3,
            status: 200,
            code: String::new(),
            message: what.into(),
            region: None,
        }
    }

    /// Whether the store may have done what was asked, for all we know.
    pub fn is_unclear(&self) -> bool {
        match self.cause {
            Cause::Answer => self.status >= 500 || self.status == 200,
            Cause::Timeout | Cause::Connection | Cause::NotS3 => true,
            Cause::Request | Cause::Credentials => false,
        }
    }

    pub fn is_precondition(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed"
    }

    /// Another write to the key is under way, so that the store cannot tell yet who wins.
    pub fn is_conflict(&self) -> bool {
        self.status == 409
            && matches!(
                &*self.code,
                "ConditionalRequestConflict" | "OperationAborted"
            )
    }

    pub fn is_missing(&self) -> bool {
        matches!(&*self.code, "NoSuchKey" | "NotFound")
            || (self.status == 404 && self.code.is_empty())
    }

    pub fn is_no_upload(&self) -> bool {
        self.code == "NoSuchUpload"
    }

    pub fn is_denied(&self) -> bool {
        self.status == 403
    }

    /// Whether the store seems to refuse a header of ours; with the header, if it says so.
    pub fn refused(&self) -> Option<Refused> {
        let about = |words: &[&str]| {
            let text = format!("{} {}", self.code, self.message).to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        };
        let damaged = matches!(
            &*self.code,
            "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch"
        );
        match self.status {
            400 | 501 if damaged => None,
            400 | 501 if about(&["none-match", "nonematch", "conditional", "precondition"]) => {
                Some(Refused::Condition)
            }
            400 | 501 if about(&["content-sha256", "contentsha256", "unsigned"]) => {
                Some(Refused::Unsigned)
            }
            400 | 501 if about(&["checksum", "crc32c"]) => Some(Refused::Checksum),
            501 => Some(Refused::Unsaid),
            400 if matches!(
                &*self.code,
                "NotImplemented" | "InvalidRequest" | "InvalidArgument" | "UnsupportedArgument"
            ) =>
            {
                Some(Refused::Unsaid)
            }
            _ => None,
        }
    }
}

/// What a store refused of a request it would take otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// `If-None-Match`.
    Condition,
    /// The checksum.
    Checksum,
    /// The unsigned payload that goes with it.
    Unsigned,
    /// It did not say.
    Unsaid,
}

/// One line, without a full stop, and not too long.
pub(super) fn tidy(message: &str) -> String {
    let words: Vec<_> = message.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(LONGEST_MESSAGE).collect();
    line.trim_end_matches('.').to_owned()
}

/// The body of an answer that is no S3 error, where it is text.
fn plain_body(answer: &HttpResponse) -> String {
    let body = answer.body().bytes().unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(text) if !text.trim_start().starts_with('<') => tidy(text),
        _ => String::new(),
    }
}

fn credentials_reason(error: &CredentialsError) -> String {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => "no credentials found".into(),
        CredentialsError::ProviderTimedOut(_) => {
            "no credentials found: the instance's metadata service does not answer".into()
        }
        _ => format!("no credentials: {}", tidy(&deepest(error).to_string())),
    }
}

fn connection_reason(error: &(dyn StdError + 'static)) -> String {
    use std::io::ErrorKind;
    if let Some(tls) = find::<rustls::Error>(error) {
        return tls_reason(tls);
    }
    if let Some(io) = find::<std::io::Error>(error) {
        match io.kind() {
            ErrorKind::ConnectionRefused => return "connection refused".into(),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                return "no route to the host".into();
            }
            ErrorKind::TimedOut => return "no answer in time".into(),
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => return "the connection broke".into(),
            _ => {}
        }
    }
    let text = deepest(error).to_string();
    if text.contains("lookup address") {
        return "the host name cannot be resolved".into();
    }
    match &*text {
        "connection closed before message completed" | "connection error" => {
            "the connection broke".into()
        }
        _ => tidy(&text),
    }
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
fn deepest<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: &str, message: &str) -> Failure {
        Failure {
            cause: Cause::Answer,
            status,
            code: code.into(),
            message: message.into(),
            region: None,
        }
    }

    #[test]
    fn only_complaints_about_headers_are_refusals() {
        let refused = |status, code, message| answered(status, code, message).refused();
        for (status, code, message, expected) in [
            (501, "NotImplemented", "", Some(Refused::Unsaid)),
            (
                501,
                "NotImplemented",
                "If-None-Match is not supported",
                Some(Refused::Condition),
            ),
            (
                400,
                "InvalidRequest",
                "conditional writes are off",
                Some(Refused::Condition),
            ),
            (
                400,
                "InvalidArgument",
                "x-amz-checksum-crc32c",
                Some(Refused::Checksum),
            ),
            (
                400,
                "XAmzContentSHA256Mismatch",
                "",
                Some(Refused::Unsigned),
            ),
            (400, "InvalidRequest", "", Some(Refused::Unsaid)),
            (400, "BadDigest", "the checksum did not match", None),
            (400, "XAmzContentChecksumMismatch", "", None),
            (400, "EntityTooLarge", "", None),
            (403, "AccessDenied", "checksum", None),
            (412, "PreconditionFailed", "", None),
            (503, "SlowDown", "", None),
        ] {
            assert_eq!(
                refused(status, code, message),
                expected,
                "{status} {code} {message}"
            );
        }
    }

    #[test]
    fn what_may_have_taken_effect_is_unclear() {
        for (failure, unclear) in [
            (answered(500, "InternalError", ""), true),
            (answered(200, "InternalError", ""), true),
            (answered(403, "AccessDenied", ""), false),
            (answered(412, "PreconditionFailed", ""), false),
            (Failure::nonsense("x"), true),
            (
                Failure {
                    cause: Cause::Timeout,
                    ..Failure::nonsense("")
                },
                true,
            ),
            (
                Failure {
                    cause: Cause::Credentials,
                    ..Failure::nonsense("")
                },
                false,
            ),
        ] {
            assert_eq!(failure.is_unclear(), unclear, "{failure:?}");
        }
    }

    #[test]
    fn long_texts_become_one_short_line() {
        assert_eq!(tidy("  We are\n sorry. "), "We are sorry");
        assert_eq!(tidy(&"é".repeat(500)).chars().count(), LONGEST_MESSAGE);
    }
}
