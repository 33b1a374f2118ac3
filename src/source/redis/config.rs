use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

use crate::value::{HumanDuration, SecretSetting};

const DEFAULT_URL: &str = "redis://localhost:6379";
const DEFAULT_PORT: u16 = 6379;
const URL_FORMS: &str =
    "write `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:///path/to/redis.sock`";

/// A Redis or Valkey server beside us, backed up by the dump file it writes itself. The server is
/// never told to save: set save points, or schedule BGSAVE.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Where the server answers: `redis://host:port`, `rediss://host:port` with TLS, or
    /// `unix:///path/to/redis.sock`. `valkey://`, `valkeys://` and `redis+unix://` mean the same.
    /// A user and a password may stand before the host. A database number is accepted and not
    /// used: a dump holds all databases.
    pub url: RedisUrl,

    /// The ACL user to log in as. Its rights need nothing but `+info`. Wins over the user in
    /// `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,

    /// The password; read again each time the server is asked, so that a rotated file is
    /// followed. Wins over the password in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSetting>,

    /// How the data is taken.
    pub mode: Mode,

    /// The folder the server writes its dump to, as mounted here. Read-only is enough to back up;
    /// `restore --into-source` writes there.
    pub data_dir: PathBuf,

    /// The dump's file name below `data_dir` (the server's `dbfilename`).
    #[schemars(regex(pattern = r"^[^/]+$"))]
    #[serde(deserialize_with = "file_name")]
    pub dump_filename: String,

    /// The oldest dump that may be saved, by the time the server began to write it; an older one
    /// fails the run. Unset: any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<HumanDuration>,

    /// The authorities to trust for `rediss://`, a PEM file. Then only these; the system's
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,

    /// Our certificate, for servers that ask for one: a PEM file, with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,

    /// The private key of `client_cert`, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,

    /// The name the server's certificate must carry, where it is not the host in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
}

/// How the data is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The dump file that the server has written last.
    #[default]
    File,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: RedisUrl::default(),
            username: None,
            password: None,
            mode: Mode::File,
            data_dir: PathBuf::from("/data"),
            dump_filename: "dump.rdb".into(),
            max_age: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            tls_server_name: None,
        }
    }
}

impl RedisConfig {
    /// The dump file.
    pub fn dump(&self) -> PathBuf {
        self.data_dir.join(&self.dump_filename)
    }

    /// Settings that contradict each other: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.client_cert.is_some() && self.client_key.is_none() {
            found.push(("client_key", "`client_cert` needs its private key".into()));
        }
        if self.client_key.is_some() && self.client_cert.is_none() {
            found.push(("client_cert", "`client_key` needs its certificate".into()));
        }
        let tls = [
            ("ca_cert", self.ca_cert.is_some()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
            ("tls_server_name", self.tls_server_name.is_some()),
        ];
        if !self.url.is_tls() {
            for (key, _) in tls.into_iter().filter(|(_, set)| *set) {
                found.push((key, "is for TLS: `url` must begin with `rediss://`".into()));
            }
        }
        found
    }
}

fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(D::Error::custom(format!(
            "`{name}` is not a file name; the folder belongs into `data_dir`"
        )));
    }
    Ok(name)
}

/// A server's address with its login. Prints without the login; as configuration, with the
/// password as `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    url: Url,
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl RedisUrl {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.address, Address::Tcp { tls: true, .. })
    }

    /// The user in the URL, decoded.
    pub(super) fn username(&self) -> Option<String> {
        Some(self.url.username())
            .filter(|name| !name.is_empty())
            .map(decoded)
    }

    /// The password in the URL, decoded.
    pub(super) fn password(&self) -> Option<String> {
        self.url.password().map(decoded)
    }

    fn parse(url: Url) -> Result<Self, String> {
        let tls = matches!(url.scheme(), "rediss" | "valkeys");
        let address = match url.scheme() {
            "redis" | "rediss" | "valkey" | "valkeys" => {
                let host = match url.host() {
                    Some(Host::Ipv6(address)) => address.to_string(),
                    Some(host) => decoded(&host.to_string()),
                    None => return Err(format!("the URL names no host; {URL_FORMS}")),
                };
                Address::Tcp {
                    host,
                    port: url.port().unwrap_or(DEFAULT_PORT),
                    tls,
                }
            }
            "unix" | "redis+unix" | "valkey+unix" => {
                let path = url
                    .to_file_path()
                    .ok()
                    .filter(|path| path.parent().is_some());
                Address::Unix(path.ok_or_else(|| format!("the URL names no socket; {URL_FORMS}"))?)
            }
            other => return Err(format!("`{other}:` is not a scheme of Redis; {URL_FORMS}")),
        };
        if matches!(address, Address::Tcp { .. }) {
            let database = url.path().trim_matches('/');
            if !database.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!(
                    "the URL has a path that is no database number; {URL_FORMS}"
                ));
            }
        }
        if url.fragment().is_some() {
            return Err(
                "the URL ends in a `#` part; certificates are always checked, \
                        a private authority goes into `ca_cert`"
                    .into(),
            );
        }
        // Which database and which protocol: other clients' settings, without effect on a dump.
        if let Some((key, _)) = url
            .query_pairs()
            .find(|(key, _)| key != "db" && key != "protocol")
        {
            return Err(format!(
                "the URL has `{key}` in its query; settings stand beside `url`"
            ));
        }
        Ok(Self { url, address })
    }

    /// The URL as configuration shows it: whole, but for the password.
    fn redacted(&self) -> String {
        let mut text = format!("{}://", self.url.scheme());
        if self.url.password().is_some() {
            text.push_str(self.url.username());
            text.push_str(":<redacted>@");
        } else if !self.url.username().is_empty() {
            text.push_str(self.url.username());
            text.push('@');
        }
        text.push_str(&self.place());
        text.push_str(if self.is_unix() || self.url.path() == "/" {
            ""
        } else {
            self.url.path()
        });
        text
    }

    fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// Host and port, or the socket's path.
    pub(super) fn place(&self) -> String {
        match &self.address {
            Address::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

impl Default for RedisUrl {
    fn default() -> Self {
        DEFAULT_URL
            .parse()
            .expect("the default URL is a Redis URL, as a test shows")
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    // The text itself may hold a password and is never part of the error.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| format!("this is not a URL; {URL_FORMS}"))?;
        Self::parse(url)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.place())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for RedisUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RedisUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri" })
    }
}

/// Settings and default series name from the URL short form
/// `redis://host:port?data_dir=/data&max_age=2h`: each pair of the query is a key.
///
/// # Errors
/// When the URL is not one of Redis, or names a key twice.
pub fn settings_from_url(url: &Url) -> Result<(serde_json::Value, String), String> {
    let mut bare = url.clone();
    bare.set_query(None);
    RedisUrl::parse(bare.clone())?;
    let mut settings = serde_json::Map::new();
    settings.insert("type".into(), "redis".into());
    settings.insert("url".into(), bare.as_str().into());
    for (key, value) in url.query_pairs() {
        if settings
            .insert(key.clone().into_owned(), value.as_ref().into())
            .is_some()
        {
            return Err(format!(
                "the URL's query sets `{key}` twice or must not set it"
            ));
        }
    }
    Ok((settings.into(), "redis".into()))
}

#[cfg(test)]
mod tests;
