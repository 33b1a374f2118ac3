use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::bucket::Bucket;
use super::wire::Stalled;
use crate::destination::{StoreError, StoreErrorKind};

/// Longest text of a store's own that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// A failed request, stripped of the SDK's types.
#[derive(Debug)]
pub(super) struct Failure {
    cause: Cause,
    /// The HTTP status; zero without an answer.
    status: u16,
    code: String,
    message: String,
    /// The region the store says the bucket is in.
    region: Option<String>,
}

#[derive(Debug)]
enum Cause {
    /// The store answered.
    Answer,
    /// It took too long.
    Timeout,
    /// The connection could not be made, or broke.
    Connection,
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
            _ => match find::<CredentialsError>(&error) {
                Some(error) => failure(Cause::Credentials, credentials_reason(error)),
                None => failure(Cause::Connection, connection_reason(&error)),
            },
        }
    }
}

impl Failure {
    /// Whether the store may have done what was asked, for all we know.
    pub fn is_unclear(&self) -> bool {
        match self.cause {
            Cause::Answer => self.status >= 500 || self.status == 200,
            Cause::Timeout | Cause::Connection | Cause::NotS3 => true,
            Cause::Credentials => false,
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
            400 | 501 if about(&["checksum", "crc32c", "content-sha256", "contentsha256"]) => {
                Some(Refused::Checksum)
            }
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
    /// The checksum, or the unsigned payload that goes with it.
    Checksum,
    /// It did not say.
    Unsaid,
}

impl Bucket {
    /// The failure of `action` on `key` (below the prefix), in plain words. `right` is the
    /// permission it takes.
    pub fn explain(
        &self,
        action: &'static str,
        key: &str,
        right: &str,
        failure: &Failure,
    ) -> StoreError {
        use StoreErrorKind as Kind;
        let error = |kind, why: String| StoreError::new(kind, action, key, why);
        let place = &self.place;
        match failure.cause {
            Cause::Answer => {}
            Cause::NotS3 if failure.status == 200 => {
                return error(
                    Kind::Unreachable,
                    format!("the answer of {place} broke off"),
                );
            }
            Cause::NotS3 => return self.not_s3(action, key, failure),
            Cause::Timeout | Cause::Connection => {
                let why = format!("{place}: {}", failure.message);
                let error = error(Kind::Unreachable, why);
                return if failure.message.contains("certificate") {
                    error
                        .hint("set `ca_cert` if the store has a certificate of a private authority")
                } else {
                    error
                };
            }
            Cause::Credentials => {
                return error(Kind::Denied, failure.message.clone()).hint(
                    "set `access_key_id` and `secret_access_key`, or AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY",
                );
            }
        }
        match &*failure.code {
            "NoSuchBucket" => error(
                Kind::NoDestination,
                format!("there is no bucket `{}` at {place}", self.name),
            )
            .hint("make the bucket, or correct `bucket`, `endpoint` or `region`"),
            "NoSuchKey" | "NotFound" => error(Kind::NotFound, "no such object".into()),
            "PreconditionFailed" => error(Kind::AlreadyExists, "the key is taken".into()),
            "InvalidAccessKeyId" => error(
                Kind::Denied,
                format!("{place} does not know the access key"),
            )
            .hint("check `access_key_id`, and that it belongs to this store"),
            "SignatureDoesNotMatch" => error(
                Kind::Denied,
                "the secret access key does not fit the access key".into(),
            )
            .hint("check `secret_access_key`, also for white space around it"),
            "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired" => {
                error(
                    Kind::Denied,
                    "the session token has expired or is not valid".into(),
                )
                .hint("renew `session_token` together with its keys")
            }
            "RequestTimeTooSkewed" | "RequestExpired" => error(
                Kind::Denied,
                format!("this machine's clock and that of {place} differ"),
            )
            .hint("set the clock; NTP keeps it right"),
            "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "QuotaExceeded"
            | "InsufficientStorage"
            | "InsufficientCapacity"
            | "StorageFull" => error(
                Kind::Full,
                format!("{place} is full: {}", tidy(&failure.message)),
            ),
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch" => error(
                Kind::Damaged,
                format!("the bytes arrived damaged ({})", failure.code),
            ),
            "InvalidRange" => error(Kind::Damaged, "is shorter than the part asked for".into()),
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => self.wrong_region(action, key, failure),
            _ => match failure.status {
                301 | 307 => self.wrong_region(action, key, failure),
                400 if failure
                    .region
                    .as_ref()
                    .is_some_and(|region| *region != self.region) =>
                {
                    self.wrong_region(action, key, failure)
                }
                403 => error(Kind::Denied, self.denied(failure)).hint(format!(
                    "the access key needs {right} on bucket `{}`",
                    self.name
                )),
                401 => error(Kind::Denied, self.denied(failure)),
                404 if failure.code.is_empty() => error(Kind::NotFound, "no such object".into()),
                412 => error(Kind::AlreadyExists, "the key is taken".into()),
                416 => error(Kind::Damaged, "is shorter than the part asked for".into()),
                507 => error(Kind::Full, format!("{place} is full")),
                429 | 500.. => error(
                    Kind::Unreachable,
                    format!("{place} answered {}", said(failure)),
                ),
                _ if failure.code.is_empty() => self.not_s3(action, key, failure),
                _ => error(Kind::Other, format!("{place} answered {}", said(failure))),
            },
        }
    }

    fn denied(&self, failure: &Failure) -> String {
        match &*failure.code {
            "" | "AccessDenied" | "Forbidden" => format!("{} denies access", self.place),
            _ => format!("{} denies access: {}", self.place, said(failure)),
        }
    }

    fn wrong_region(&self, action: &'static str, key: &str, failure: &Failure) -> StoreError {
        let why = format!(
            "the bucket `{}` is not in region {}",
            self.name, self.region
        );
        let error = StoreError::new(StoreErrorKind::Other, action, key, why);
        match &failure.region {
            Some(region) if *region != self.region => error.hint(format!("set `region: {region}`")),
            _ => error.hint("set `region` to the bucket's region"),
        }
    }

    fn not_s3(&self, action: &'static str, key: &str, failure: &Failure) -> StoreError {
        let why = format!("{} answered {}", self.place, said(failure));
        StoreError::new(StoreErrorKind::Other, action, key, why).hint(
            "check that `endpoint` is the S3 address of the store, with http or https as it speaks",
        )
    }
}

/// The answer in a few words: `500 InternalError: We encountered an internal error`.
fn said(failure: &Failure) -> String {
    let mut text = failure.status.to_string();
    if !failure.code.is_empty() {
        text = format!("{text} {}", failure.code);
    }
    let message = tidy(&failure.message);
    if message.is_empty() {
        text
    } else {
        format!("{text}: {message}")
    }
}

/// One line, without a full stop, and not too long.
fn tidy(message: &str) -> String {
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
        _ => {
            let mut cause: &dyn StdError = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("no credentials: {}", tidy(&cause.to_string()))
        }
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
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
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
