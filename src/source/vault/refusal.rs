//! What a request that failed means, in words that hold no secret.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use url::Url;

use super::client::Answer;
use super::endpoint::{Endpoint, place};
use super::redirect::shown;
use crate::error::io_reason;
use crate::source::{SourceError, SourceErrorKind};

/// What ends an answer that has begun.
const BETWEEN: &str =
    "see the server's log, and what lies between: a proxy or load balancer with a limit?";
/// Where only the server knows what is wrong.
pub(super) const LOG: &str = "see the server's log; the next run asks again";
const PLAIN: &str = "see the server's log; if it expects TLS, write `https://` in `address`";
const REACH: &str = "is `address` right as seen from here, and no firewall between?";
const API: &str = "does `address` lead to the API of Vault or OpenBao?";

/// A request that got no answer.
pub(super) fn sending(error: &reqwest::Error, at: &str, tls: bool) -> SourceError {
    if let Some(tls) = cause::<TlsError>(error) {
        return distrust(tls, at);
    }
    if error.is_connect() && error.is_timeout() {
        return unreachable(format!("{at} does not answer: no connection within 5 s")).hint(REACH);
    }
    let Some(io) = cause::<io::Error>(error) else {
        let error = broken(error, at);
        return if tls { error } else { error.hint(PLAIN) };
    };
    match io.kind() {
        io::ErrorKind::ConnectionRefused => {
            unreachable(format!("nothing answers at {at}: connection refused"))
                .hint("is the server up, and `address` right as seen from here?")
        }
        io::ErrorKind::NotFound => unreachable(format!("there is no socket {at}"))
            .hint("the server's socket must lie on a volume that both containers mount"),
        io::ErrorKind::PermissionDenied => login(format!("permission denied on {at}"))
            .hint("the socket must be writable for the user that this sidecar runs as"),
        _ if io.to_string().contains("lookup address information") => {
            unreachable(format!("the name of {at} cannot be resolved"))
                .hint("a sidecar reaches its server as 127.0.0.1")
        }
        io::ErrorKind::UnexpectedEof if tls => login(format!(
            "{at} closes the connection instead of speaking TLS"
        ))
        .hint("if it does not expect TLS, write `http://` in `address`"),
        _ if error.is_connect() => {
            unreachable(format!("cannot connect to {at}: {}", io_reason(io))).hint(REACH)
        }
        _ => {
            let error = broken(error, at);
            if tls { error } else { error.hint(PLAIN) }
        }
    }
}

/// The connection broke in the middle of an answer.
pub(super) fn broken(error: &reqwest::Error, at: &str) -> SourceError {
    if let Some(tls) = cause::<TlsError>(error) {
        return distrust(tls, at);
    }
    if error.is_timeout() {
        return unreachable(format!("{at} does not answer in time")).hint(BETWEEN);
    }
    unreachable(format!(
        "the connection to {at} broke: {}",
        innermost(error)
    ))
    .hint(BETWEEN)
}

/// No answer within the time limit.
pub(super) fn silent(at: &str, limit: Duration) -> SourceError {
    unreachable(format!(
        "{at} did not answer within {} s",
        limit.as_secs().max(1)
    ))
    .hint("is the server overloaded, or is what answers there no Vault?")
}

/// A failure after all was sent: nobody knows whether it arrived.
pub(super) fn unsure(error: SourceError) -> SourceError {
    let why = format!("{}, and the whole backup had been sent", error.why);
    SourceError { why, ..error }
        .hint("the cluster may be taking it in: see the log of its leader before you try again")
}

/// Not a byte within the time limit.
pub(super) fn stalled(at: &str, limit: Duration) -> SourceError {
    unreachable(format!(
        "{at} went silent: no byte for {} s",
        limit.as_secs().max(1)
    ))
    .hint(BETWEEN)
}

/// An answer far too long.
pub(super) fn verbose(at: &str) -> SourceError {
    other(format!("{at} answered with more than 1 MiB"))
        .hint("does `address` lead to the server's API?")
}

/// HTML where JSON belongs.
pub(super) fn web_page(status: u16, at: &str) -> SourceError {
    unreachable(format!("{at} answered {status} with a web page"))
        .hint("is this a proxy or load balancer? `address` must lead to the server's API")
}

/// Plain HTTP, spoken to a port with TLS.
pub(super) fn wants_tls(at: &str) -> SourceError {
    login(format!("{at} expects TLS")).hint("write `https://` in `address`")
}

/// A redirect that cannot be followed.
pub(super) fn redirect(at: &str, why: &str) -> SourceError {
    other(format!("the redirect from {at} {why}"))
        .hint("set `api_addr` of the servers to an address that this sidecar reaches")
}

/// A leader that is reached in the clear, where we began with TLS.
pub(super) fn in_the_clear(endpoint: &Endpoint, leader: &Url) -> SourceError {
    other(format!(
        "{endpoint} names {} as its leader, where the token and the data would be readable on \
         their way",
        shown(leader)
    ))
    .hint("set `api_addr` of the servers to their `https://` address")
}

/// A redirect to somebody we do not know.
pub(super) fn foreign(at: &str, to: &str, leader: Option<&Url>) -> SourceError {
    let leader = match leader {
        Some(leader) => format!("the cluster's leader is {}", place(leader)),
        None => "the cluster names no leader".into(),
    };
    other(format!(
        "{at} leads to {to}, which is neither `address` nor the leader: no token is sent there ({leader})"
    ))
    .hint("set `api_addr` of the servers to the address at which their clients reach them")
}

/// A token with a line break in it.
pub(super) fn unprintable_token() -> SourceError {
    login("the token holds characters that no token has, such as a line break".into())
        .hint("write the token alone, in one line")
}

/// An error status of an endpoint that needs no login, or of one that has no words of its own.
/// `asked` completes `asked for …`.
pub(super) fn answered(answer: &Answer, asked: &str, endpoint: &Endpoint) -> SourceError {
    let said = said(answer);
    match answer.status {
        503 if said.contains("sealed") => sealed(&endpoint.to_string()),
        429 => unreachable(format!("{endpoint} answers to no more requests now (429)"))
            .hint("a rate limit of the server or of a proxy; the next run asks again"),
        404 => other(format!("{endpoint} knows nothing of {asked} (404)")).hint(API),
        200..=299 => other(format!(
            "{endpoint}, asked for {asked}, answered in a form that is not Vault's"
        ))
        .hint(API),
        status @ 500.. => unreachable(format!(
            "{endpoint}, asked for {asked}, answered {status}{said}"
        ))
        .hint(LOG),
        status => other(format!(
            "{endpoint}, asked for {asked}, answered {status}{said}"
        ))
        .hint(API),
    }
}

/// A node that was open when it was asked before.
pub(super) fn sealed(at: &str) -> SourceError {
    unreachable(format!("{at} is sealed by now"))
        .hint("unseal it, and see its log for why; the next run asks again")
}

/// What the server said, for the end of a line: `: permission denied`.
pub(super) fn said(answer: &Answer) -> String {
    let words: Vec<_> = answer
        .errors()
        .iter()
        .map(|text| plain(text))
        .filter(|text| !text.is_empty())
        .collect();
    if words.is_empty() {
        return String::new();
    }
    let text: String = words.join("; ").chars().take(300).collect();
    format!(": {text}")
}

/// One line, and without the server's own `1 error occurred:` and its bullets.
fn plain(text: &str) -> String {
    let text = match text.split_once(" occurred:") {
        Some((count, list)) if count.starts_with(|c: char| c.is_ascii_digit()) => list,
        _ => text,
    };
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|character| !character.is_control());
    let items = words.trim_start_matches("* ").split(" * ");
    items.collect::<Vec<_>>().join(", ")
}

fn distrust(error: &TlsError, at: &str) -> SourceError {
    const NAME: &str = "set `tls_server_name` to a name the certificate carries";
    match error {
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => login(format!(
            "the certificate of {at} is signed by no authority trusted here"
        ))
        .hint("set `ca_cert` to the authority's PEM file"),
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let presented = if presented.is_empty() {
                "no name".to_owned()
            } else {
                presented.join(", ")
            };
            login(format!(
                "the certificate of {at} is not for {}, but for {presented}",
                expected.to_str(),
            ))
            .hint(NAME)
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForName) => {
            login(format!("the certificate of {at} is for another name")).hint(NAME)
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => login(format!("the certificate of {at} has expired"))
            .hint("renew it on the server; is the clock here right?"),
        TlsError::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => login(format!("the certificate of {at} is not valid yet"))
            .hint("is the clock here right?"),
        TlsError::InvalidCertificate(error) => {
            login(format!("the certificate of {at} is not accepted: {error}"))
                .hint("replace the certificate in the listener's `tls_cert_file`")
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => login(format!("{at} asks for a client certificate"))
            .hint("set `client_cert` and `client_key`"),
        TlsError::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        ) => login(format!("{at} does not accept our client certificate")).hint(
            "is `client_cert` signed by the listener's `tls_client_ca_file`, and still valid?",
        ),
        TlsError::AlertReceived(AlertDescription::ProtocolVersion) => {
            login(format!("{at} does not speak TLS 1.2 or newer"))
                .hint("raise the listener's `tls_min_version` and `tls_max_version`")
        }
        TlsError::InvalidMessage(_) => {
            login(format!("{at} does not speak TLS")).hint("write `http://` in `address`")
        }
        other => login(format!(
            "no TLS connection to {at}: {}",
            lowered(&other.to_string())
        ))
        .hint("see the server's log; does a proxy between here and there end TLS?"),
    }
}

/// The first error of a kind in the chain. An I/O error hides what it wraps from the chain.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(found) = cause(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The last error of the chain: the others repeat the URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match last.downcast_ref::<io::Error>() {
        Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => "it ended in the middle".into(),
        Some(io) => io_reason(io),
        None => lowered(&last.to_string()),
    }
}

/// `vault.internal` out of `DnsName("vault.internal")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

pub(super) fn unreachable(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, why)
}

pub(super) fn login(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Login, why)
}

pub(super) fn other(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Other, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(errors: &[&str]) -> String {
        let json = serde_json::json!({ "errors": errors });
        said(&Answer { status: 403, json })
    }

    #[test]
    fn what_the_server_said_is_one_line() {
        let two = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        assert_eq!(said_of(&[two]), ": permission denied, invalid token");
        assert_eq!(said_of(&["Vault is sealed"]), ": Vault is sealed");
        assert_eq!(said_of(&["a", " ", "b"]), ": a; b");
        assert_eq!(said_of(&["\u{1b}[2Jgone"]), ": [2Jgone");
        assert_eq!(said_of(&[]), "");
    }

    #[test]
    fn what_the_server_said_at_length_is_cut() {
        assert!(said_of(&["x".repeat(10_000).as_str()]).len() < 400);
    }
}
