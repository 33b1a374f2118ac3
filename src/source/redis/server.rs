use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::value::Secret;

const DEFAULT_PORT: u16 = 6379;
const FORMS: &str =
    "write `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:///path/to/redis.sock`";

/// Where a server is, and the login its URL holds. Prints as host and port, or the socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub address: Address,
    pub username: Option<String>,
    pub password: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl Server {
    /// Takes a URL apart. The text may hold a password and is no part of the error.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("is not a URL: {error}; {FORMS}"))?;
        let address = match url.scheme() {
            "redis" | "valkey" => tcp(&url, false)?,
            "rediss" | "valkeys" => tcp(&url, true)?,
            "unix" | "redis+unix" | "valkey+unix" => {
                let path = url
                    .to_file_path()
                    .ok()
                    .filter(|path| path.parent().is_some());
                Address::Unix(path.ok_or_else(|| format!("names no socket; {FORMS}"))?)
            }
            other => return Err(format!("`{other}:` is not a scheme of Redis; {FORMS}")),
        };
        if url.fragment().is_some() {
            return Err(
                "ends in a `#` part, which switches nothing off here: certificates are \
                        checked, and a private authority goes into `ca_cert`"
                    .into(),
            );
        }
        // Which database and which protocol: other clients' settings, without effect on a dump.
        let mut keys = url.query_pairs().map(|(key, _)| key);
        if let Some(key) = keys.find(|key| key != "db" && key != "protocol") {
            return Err(format!(
                "sets `{key}` in its query; settings stand beside `url`"
            ));
        }
        Ok(Self {
            address,
            username: Some(decoded(url.username())).filter(|name| !name.is_empty()),
            password: url.password().map(decoded).map(Secret::new),
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.address, Address::Tcp { tls: true, .. })
    }
}

fn tcp(url: &Url, tls: bool) -> Result<Address, String> {
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => decoded(&host.to_string()),
        None => return Err(format!("names no host; {FORMS}")),
    };
    let database = url.path().trim_matches('/');
    if !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("has a path that is no database number; {FORMS}"));
    }
    Ok(Address::Tcp {
        host,
        port: url.port().unwrap_or(DEFAULT_PORT),
        tls,
    })
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
