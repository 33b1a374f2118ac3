use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::server::Server;
use crate::value::{HumanDuration, SecretSetting, redact_text};

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
            url: "redis://localhost:6379".into(),
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

    /// Mistakes that the single values do not show: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let name = self.dump_filename.as_str();
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            let why = format!("`{name}` is not a file name; the folder belongs into `data_dir`");
            found.push(("dump_filename", why));
        }
        match self.server() {
            Err(why) => found.push(("url", why)),
            Ok(server) if server.is_tls() => found.extend(self.half_a_certificate()),
            Ok(_) => {
                let why = "is for TLS only; `url` must then begin with `rediss://`";
                found.extend(self.tls_keys().map(|key| (key, why.to_owned())));
            }
        }
        found
    }

    fn half_a_certificate(&self) -> Option<(&'static str, String)> {
        match (&self.client_cert, &self.client_key) {
            (Some(_), None) => Some(("client_cert", "needs `client_key` beside it".into())),
            (None, Some(_)) => Some(("client_key", "needs `client_cert` beside it".into())),
            _ => None,
        }
    }

    /// The keys for TLS that are set.
    fn tls_keys(&self) -> impl Iterator<Item = &'static str> {
        let set = [
            ("ca_cert", self.ca_cert.is_some()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
            ("tls_server_name", self.tls_server_name.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(key, _)| key)
    }

    /// Where the server is, and the login its URL holds.
    pub(super) fn server(&self) -> Result<Server, String> {
        Server::parse(&self.url.0)
    }
}

/// A server's URL as it is written, which may hold a password. Shown and serialized without it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RedisUrl(#[schemars(extend("format" = "uri"))] String);

impl From<&str> for RedisUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_text(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
    Server::parse(bare.as_str())?;
    let mut settings = serde_json::Map::new();
    settings.insert("type".into(), "redis".into());
    settings.insert("url".into(), bare.as_str().into());
    for (key, value) in url.query_pairs() {
        if settings
            .insert(key.clone().into_owned(), value.as_ref().into())
            .is_some()
        {
            return Err(format!("sets `{key}` twice, or where it cannot be set"));
        }
    }
    Ok((settings.into(), "redis".into()))
}

#[cfg(test)]
mod tests;
