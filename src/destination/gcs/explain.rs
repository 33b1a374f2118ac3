use super::bucket::Bucket;
use super::error::{Cause, Failure};
use crate::destination::StoreErrorKind as Kind;
use crate::destination::{StoreError, StoreErrorKind};

const NO_LOGIN: &str = "set `credentials_file` or GOOGLE_APPLICATION_CREDENTIALS, or give the \
                        instance or pod an identity";

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
        let message = &failure.message;
        let (kind, why, hint) = match failure.cause {
            Cause::Answer => self.answered(right, failure),
            Cause::Timeout | Cause::Connection => {
                (Kind::Unreachable, format!("{place}: {message}"), None)
            }
            Cause::Tls => {
                let hint = "SSL_CERT_FILE names the certificates to trust, where a private \
                            authority made this one";
                let why = format!("{place}: {message}");
                (Kind::Unreachable, why, Some(hint.to_owned()))
            }
            Cause::Request => (Kind::Other, message.clone(), None),
            Cause::Credentials => {
                let why = format!("no credentials: {message}");
                (Kind::Denied, why, Some(NO_LOGIN.to_owned()))
            }
            Cause::Damaged => (Kind::Damaged, message.clone(), None),
            Cause::Nonsense => {
                let hint = "check that `endpoint` and `control_endpoint` are those of the store";
                let why = format!("{place} gave an answer that makes no sense: {message}");
                (Kind::Other, why, Some(hint.to_owned()))
            }
        };
        let error = StoreError::new(kind, action, key, why);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn answered(&self, right: &str, failure: &Failure) -> (StoreErrorKind, String, Option<String>) {
        let (name, place) = (&self.name, &self.place);
        match failure.status {
            400 if is_about_checksum(&failure.message) => {
                let why = format!("the bytes arrived damaged at {place}");
                (Kind::Damaged, why, None)
            }
            401 if self.clients.login.is_anonymous() => {
                let why = format!("{place} takes no anonymous requests");
                (Kind::Denied, why, Some(NO_LOGIN.to_owned()))
            }
            401 => {
                let hint = "they may have expired or been withdrawn; renew what \
                            `credentials_file`, GOOGLE_APPLICATION_CREDENTIALS or the identity \
                            of the instance or pod gives";
                let why = format!("{place} does not take the credentials");
                (Kind::Denied, why, Some(hint.to_owned()))
            }
            403 => {
                let why = match &*failure.message {
                    "" => format!("{place} denies access"),
                    message => format!("{place} denies access: {message}"),
                };
                let hint = format!("the identity needs {right} on bucket `{name}`");
                (Kind::Denied, why, Some(hint))
            }
            404 if failure.is_no_bucket() || is_of_the_bucket(right) => {
                let why = format!("there is no bucket `{name}` at {place}");
                let hint = "make the bucket, or correct `bucket` or `endpoint`";
                (Kind::NoDestination, why, Some(hint.to_owned()))
            }
            404 => (Kind::NotFound, "no such object".into(), None),
            409 | 412 if right == "storage.objects.create" => {
                (Kind::AlreadyExists, "the key is taken".into(), None)
            }
            412 => {
                let hint = "a hold or a retention policy of the bucket may protect it";
                (Kind::Denied, self.said(failure), Some(hint.to_owned()))
            }
            416 => (
                Kind::Damaged,
                "is shorter than the part asked for".into(),
                None,
            ),
            507 => (Kind::Full, format!("{place} is full"), None),
            408 | 429 | 500..=599 => (Kind::Unreachable, self.said(failure), None),
            _ => (Kind::Other, self.said(failure), None),
        }
    }

    /// The answer as it is: `Cloud Storage answered 503: backend error`.
    fn said(&self, failure: &Failure) -> String {
        let message = &failure.message;
        let colon = if message.is_empty() { "" } else { ": " };
        format!("{} answered {}{colon}{message}", self.place, failure.status)
    }
}

/// What can only be missing for want of a bucket.
fn is_of_the_bucket(right: &str) -> bool {
    matches!(right, "storage.objects.create" | "storage.objects.list")
}

fn is_about_checksum(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["crc32c", "checksum", "md5"]
        .iter()
        .any(|word| message.contains(word))
}
