use std::fmt;
use std::path::PathBuf;

use url::{Host, Url};

const FORMS: &str = "write `https://host:8200` or `http://host:8200`";

/// Where a server answers. Prints as host and port, or the socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Without a slash at its end; a path before the API's is kept.
    pub url: Url,
    /// The socket that stands for it.
    pub socket: Option<PathBuf>,
}

impl Endpoint {
    /// Reads an address as Vault's own client does. The error begins with a verb.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err("names no socket; write `unix:///path/to/vault.sock`".into());
            }
            return Ok(Self {
                url: parsed("http://localhost")?,
                socket: Some(path.into()),
            });
        }
        let url = parsed(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            // `127.0.0.1:8200` fails to parse, `localhost:8200` has a scheme called localhost.
            return Err(format!("has no scheme; {FORMS}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password; the login goes into `auth`".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has a query or a `#` part; {FORMS}"));
        }
        Ok(Self { url, socket: None })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether what is sent there stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.socket.is_some() || is_loopback(&self.url)
    }

    /// The URL of a path of the API: `v1/sys/leader`.
    pub(super) fn at(&self, path: &str) -> Result<Url, url::ParseError> {
        below(&self.url, path)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str(&place(&self.url)),
        }
    }
}

/// The URL of a path below an address.
pub(super) fn below(address: &Url, path: &str) -> Result<Url, url::ParseError> {
    format!("{}/{path}", address.as_str().trim_end_matches('/')).parse()
}

/// Host and port, for people.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a URL is this machine's own.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn parsed(text: &str) -> Result<Url, String> {
    // The text may hold a password and is no part of the error.
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {FORMS}"))?;
    if matches!(url.scheme(), "http" | "https") && url.host().is_none() {
        return Err(format!("names no host; {FORMS}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        let at = |text: &str| Endpoint::parse(text).unwrap().at("v1/sys/leader").unwrap();
        let cases = [
            ("https://vault:8200", "https://vault:8200/v1/sys/leader"),
            ("https://vault:8200/", "https://vault:8200/v1/sys/leader"),
            ("http://vault", "http://vault/v1/sys/leader"),
            ("https://host/vault/", "https://host/vault/v1/sys/leader"),
            ("http://[::1]:8200", "http://[::1]:8200/v1/sys/leader"),
        ];
        for (text, url) in cases {
            assert_eq!(at(text).as_str(), url);
        }
    }

    #[test]
    fn a_socket_is_an_address() {
        let endpoint = Endpoint::parse("unix:///run/vault.sock").unwrap();
        assert_eq!(endpoint.to_string(), "/run/vault.sock");
        assert!(endpoint.is_local() && !endpoint.is_tls());
    }

    #[test]
    fn what_is_no_address_is_told_what_to_write_and_repeats_no_password() {
        let wrong = [
            "127.0.0.1:8200",
            "localhost:8200",
            "vault",
            "https://",
            "ftp://vault:8200",
            "unix://vault.sock",
            "https://me:hunter2@vault:8200",
            "https://vault:8200?token=hunter2",
        ];
        for text in wrong {
            let why = Endpoint::parse(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
    }
}
