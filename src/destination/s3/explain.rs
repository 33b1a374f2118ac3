use super::bucket::Bucket;
use super::error::{Cause, Failure, tidy};
use crate::destination::StoreErrorKind as Kind;
use crate::destination::{StoreError, StoreErrorKind};

/// What people are told of a failure.
struct Reason {
    kind: StoreErrorKind,
    why: String,
    hint: Option<String>,
}

fn reason(kind: StoreErrorKind, why: impl Into<String>) -> Reason {
    Reason {
        kind,
        why: why.into(),
        hint: None,
    }
}

impl Reason {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
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
        let place = &self.place;
        let reason = match failure.cause {
            Cause::Answer => self.answered(right, failure),
            Cause::NotS3 if failure.status != 200 => self.not_s3(failure),
            Cause::NotS3 if failure.message.is_empty() => reason(
                Kind::Unreachable,
                format!("the answer of {place} broke off"),
            ),
            Cause::NotS3 => reason(Kind::Other, format!("{place} {}", failure.message)),
            Cause::Timeout | Cause::Connection => {
                let reason = reason(Kind::Unreachable, format!("{place}: {}", failure.message));
                if failure.message.contains("certificate") {
                    reason.hint("set `ca_cert` if a private authority made the certificate")
                } else {
                    reason
                }
            }
            Cause::Request => reason(Kind::Other, &failure.message),
            Cause::Credentials => reason(Kind::Denied, &failure.message).hint(
                "set `access_key_id` and `secret_access_key`, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY",
            ),
        };
        let error = StoreError::new(reason.kind, action, key, reason.why);
        match reason.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// By the store's own code, and by the status where the code is not known.
    fn answered(&self, right: &str, failure: &Failure) -> Reason {
        let (name, place) = (&self.name, &self.place);
        match &*failure.code {
            "NoSuchBucket" => {
                let why = format!("there is no bucket `{name}` at {place}");
                let hint = "make the bucket, or correct `bucket`, `endpoint` or `region`";
                reason(Kind::NoDestination, why).hint(hint)
            }
            "NoSuchKey" | "NotFound" => reason(Kind::NotFound, "no such object"),
            "PreconditionFailed" => reason(Kind::AlreadyExists, "the key is taken"),
            "InvalidAccessKeyId" => reason(
                Kind::Denied,
                format!("{place} does not know the access key"),
            )
            .hint("check `access_key_id`, and that it belongs to this store"),
            "SignatureDoesNotMatch" => reason(
                Kind::Denied,
                "the secret access key does not fit the access key",
            )
            .hint("check `secret_access_key`, also for white space around it"),
            "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired" => {
                reason(
                    Kind::Denied,
                    "the session token has expired or is not valid",
                )
                .hint("renew `session_token` together with its keys")
            }
            "RequestTimeTooSkewed" | "RequestExpired" => reason(
                Kind::Denied,
                format!("this machine's clock and that of {place} differ"),
            )
            .hint("set the clock; NTP keeps it right"),
            "InternalError" | "SlowDown" | "ServiceUnavailable" | "RequestTimeout" => {
                reason(Kind::Unreachable, self.said(failure))
            }
            "InvalidRange" => reason(Kind::Damaged, "is shorter than the part asked for"),
            code if FULL.contains(&code) => {
                let why = format!("{place} is full: {}", tidy(&failure.message));
                reason(Kind::Full, why)
            }
            code if DAMAGED.contains(&code) => {
                reason(Kind::Damaged, format!("the bytes arrived damaged ({code})"))
            }
            code if ELSEWHERE.contains(&code) => self.wrong_region(failure),
            _ => self.answered_status(right, failure),
        }
    }

    fn answered_status(&self, right: &str, failure: &Failure) -> Reason {
        let (name, place) = (&self.name, &self.place);
        match failure.status {
            301 | 307 => self.wrong_region(failure),
            400 if self.is_elsewhere(failure) => self.wrong_region(failure),
            401 | 403 => {
                let why = match &*failure.code {
                    "" | "AccessDenied" | "Forbidden" => format!("{place} denies access"),
                    _ => self.said(failure),
                };
                let hint = format!("the access key needs {right} on bucket `{name}`");
                reason(Kind::Denied, why).hint(hint)
            }
            404 if failure.code.is_empty() => reason(Kind::NotFound, "no such object"),
            412 => reason(Kind::AlreadyExists, "the key is taken"),
            416 => reason(Kind::Damaged, "is shorter than the part asked for"),
            507 => reason(Kind::Full, format!("{place} is full")),
            429 | 500.. => reason(Kind::Unreachable, self.said(failure)),
            _ if failure.code.is_empty() => self.not_s3(failure),
            _ => reason(Kind::Other, self.said(failure)),
        }
    }

    fn is_elsewhere(&self, failure: &Failure) -> bool {
        failure
            .region
            .as_ref()
            .is_some_and(|region| *region != self.region)
    }

    fn wrong_region(&self, failure: &Failure) -> Reason {
        let why = format!(
            "the bucket `{}` is not in region {}",
            self.name, self.region
        );
        let hint = match &failure.region {
            Some(region) if self.is_elsewhere(failure) => format!("set `region: {region}`"),
            _ => "set `region` to the bucket's region".into(),
        };
        reason(Kind::Other, why).hint(hint)
    }

    fn not_s3(&self, failure: &Failure) -> Reason {
        reason(Kind::Other, self.said(failure)).hint(
            "check that `endpoint` is the S3 address of the store, with http or https as it speaks",
        )
    }

    /// The answer as it is: `host answered 500 InternalError: We encountered an internal error`.
    fn said(&self, failure: &Failure) -> String {
        let words = format!("{} {}", failure.status, failure.code);
        let message = tidy(&failure.message);
        let colon = if message.is_empty() { "" } else { ": " };
        format!(
            "{} answered {}{colon}{message}",
            self.place,
            words.trim_end()
        )
    }
}

const FULL: [&str; 6] = [
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
    "InsufficientStorage",
    "InsufficientCapacity",
    "StorageFull",
];
const DAMAGED: [&str; 4] = [
    "BadDigest",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];
const ELSEWHERE: [&str; 4] = [
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];
