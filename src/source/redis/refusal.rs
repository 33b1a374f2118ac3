//! What a connection that failed means, in words that hold no secret.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::server::{Address, Server};
use crate::error::io_reason;
use crate::source::{SourceError, SourceErrorKind};

/// A connection that was not made.
pub(super) fn connecting(error: &RedisError, server: &Server) -> SourceError {
    if let Some(tls) = tls_error(error) {
        return distrust(tls, server);
    }
    if error.kind() == ErrorKind::InvalidClientConfig {
        return login(format!("no connection to {server}: {}", detail(error)))
            .hint("do `client_cert` and `client_key` belong together?");
    }
    let Some(io) = io_error(error) else {
        return unreachable(format!("cannot connect to {server}: {}", plain(error)));
    };
    match (io.kind(), &server.address) {
        (io::ErrorKind::NotFound, Address::Unix(_)) => {
            unreachable(format!("there is no socket {server}"))
                .hint("the server's `unixsocket` must lie on a volume that both containers mount")
        }
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => {
            login(format!("permission denied on the socket {server}"))
                .hint("set `unixsocketperm 770` on the server and run with its group")
        }
        (io::ErrorKind::ConnectionRefused, _) => {
            unreachable(format!("nothing answers at {server}: connection refused"))
                .hint("is the server up, and `url` its address as seen from here?")
        }
        _ if error.is_timeout() => silent(server),
        _ if is_lookup(io) => unreachable(format!("the name of {server} cannot be resolved"))
            .hint("a sidecar reaches its server as localhost"),
        _ => unreachable(format!("cannot connect to {server}: {}", io_reason(io))),
    }
}

/// AUTH that was answered with an error, or not at all.
pub(super) fn logging_in(error: &RedisError, server: &Server) -> SourceError {
    match error.code() {
        Some("WRONGPASS") => login(format!("{server} does not accept this user and password"))
            .hint("check `username` and `password`; the password is read at every connection"),
        Some("ERR") if detail(error).contains("without any password configured") => login(format!(
            "a password is set here, but {server} asks for none"
        ))
        .hint("remove `password`, or set `requirepass` on the server"),
        Some("ERR") if detail(error).contains("invalid password") => {
            login(format!("{server} does not accept this password"))
        }
        // The details of other errors may repeat the arguments, and so the password.
        Some("ERR") if !is_full(error) => login(format!("{server} refused the login")),
        _ => asking(error, "AUTH", server),
    }
}

/// A command that was answered with an error, or not at all.
pub(super) fn asking(error: &RedisError, command: &str, server: &Server) -> SourceError {
    match error.code() {
        Some("NOAUTH") => login(format!("{server} asks for a password"))
            .hint("set `password`, and `username` for an ACL user"),
        Some("NOPERM") => {
            login(format!("the user may not run {command} at {server}")).hint(format!(
                "as an administrator: ACL SETUSER <user> +{}",
                command.to_lowercase()
            ))
        }
        Some("DENIED") => login(format!("{server} is in protected mode"))
            .hint("connect through localhost, or set a password on the server"),
        Some("ERR") if is_full(error) => unreachable(format!("{server} takes no more clients"))
            .hint("raise `maxclients` on the server"),
        Some("BUSY") => unreachable(format!("{server} is busy running a script")),
        Some("ERR") => other(format!(
            "{server} answered {command} with: {}",
            detail(error)
        )),
        Some(code) => other(format!("{server} answered {command} with {code}")),
        None => broken(error, server),
    }
}

/// The connection broke, or the time was up, before an answer came.
fn broken(error: &RedisError, server: &Server) -> SourceError {
    if let Some(tls) = tls_error(error) {
        return distrust(tls, server);
    }
    if error.is_timeout() {
        return silent(server);
    }
    if error.kind() == ErrorKind::Parse {
        return other(format!(
            "what answers at {server} does not speak Redis' protocol"
        ));
    }
    let lost = unreachable(format!("{server} closed the connection without an answer"));
    match &server.address {
        Address::Tcp { tls: true, .. } => lost
            .hint("does the server ask for a client certificate? set `client_cert`, `client_key`"),
        Address::Tcp { tls: false, .. } => lost.hint("if it expects TLS, write `rediss://`"),
        Address::Unix(_) => lost,
    }
}

fn silent(server: &Server) -> SourceError {
    let error = unreachable(format!("{server} does not answer: timed out after 5 s"));
    // A server without TLS waits for the rest of what it takes for a command.
    if server.is_tls() {
        error.hint("if it does not expect TLS, write `redis://`")
    } else {
        error
    }
}

fn distrust(error: &TlsError, server: &Server) -> SourceError {
    match error {
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => login(format!(
            "the certificate of {server} is signed by no authority trusted here"
        ))
        .hint("set `ca_cert` to the authority's PEM file"),
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) => login(format!(
            "the certificate of {server} is not for {}, but for {}",
            expected.to_str(),
            presented
                .iter()
                .map(|name| bare(name))
                .collect::<Vec<_>>()
                .join(", ")
        ))
        .hint("set `tls_server_name` to a name the certificate carries"),
        TlsError::InvalidCertificate(CertificateError::NotValidForName) => {
            login(format!("the certificate of {server} is for another name"))
                .hint("set `tls_server_name` to a name the certificate carries")
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => login(format!("the certificate of {server} has expired")),
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate,
        ) => login(format!("{server} asks for a client certificate"))
            .hint("set `client_cert` and `client_key`"),
        TlsError::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        ) => login(format!("{server} does not accept our client certificate"))
            .hint("is `client_cert` signed by the server's `tls-ca-cert-file`, and still valid?"),
        TlsError::InvalidMessage(_) => login(format!("{server} does not speak TLS"))
            .hint("write `redis://`, or give the server's `tls-port`"),
        other => login(format!(
            "no TLS connection to {server}: {}",
            lowered(&other.to_string())
        )),
    }
}

fn is_full(error: &RedisError) -> bool {
    detail(error).contains("max number of clients")
}

/// The command does not take that many arguments.
pub(super) fn is_arity(error: &RedisError) -> bool {
    detail(error).contains("wrong number of arguments")
}

/// The user may not run the command, or the server does not have it.
pub(super) fn is_withheld(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || detail(error).contains("unknown command")
}

/// The server is reading its data set in.
pub(super) fn is_loading(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading)
}

/// The library's own words.
pub(super) fn plain(error: &RedisError) -> String {
    io_error(error).map_or_else(|| lowered(&error.to_string()), io_reason)
}

fn detail(error: &RedisError) -> &str {
    error.detail().unwrap_or_default()
}

/// What the library wraps. It hands out its own shared pointer as the source.
fn cause(error: &RedisError) -> Option<&(dyn Error + 'static)> {
    let source = error.source()?;
    match source.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => Some(&**shared),
        None => Some(source),
    }
}

fn io_error(error: &RedisError) -> Option<&io::Error> {
    cause(error)?.downcast_ref()
}

fn tls_error(error: &RedisError) -> Option<&TlsError> {
    match io_error(error) {
        Some(io) => io.get_ref()?.downcast_ref(),
        None => cause(error)?.downcast_ref(),
    }
}

fn is_lookup(error: &io::Error) -> bool {
    error.to_string().contains("lookup address information")
}

/// `redis.internal` out of `DnsName("redis.internal")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

fn unreachable(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, why)
}

fn login(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Login, why)
}

fn other(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Other, why)
}
