use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates, Value,
};
use tokio::net::{TcpStream, UnixStream};

use super::config::{Address, RedisConfig};
use super::refusal;
use crate::error::io_reason;
use crate::source::{SourceError, SourceErrorKind};
use crate::value::{Env, Secret};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A short-lived connection, logged in.
pub(super) struct Session<'a> {
    connection: MultiplexedConnection,
    config: &'a RedisConfig,
}

impl<'a> Session<'a> {
    /// Connects and logs in. Secrets and certificates are read anew, since they rotate.
    pub(super) async fn open(config: &'a RedisConfig, env: &Env) -> Result<Self, SourceError> {
        let login = Login::read(config, env).map_err(|(key, why)| {
            SourceError::new(SourceErrorKind::Login, format!("`{key}`: {why}"))
        })?;
        let client = client(config).map_err(|(key, why)| {
            SourceError::new(SourceErrorKind::Login, format!("`{key}`: {why}"))
        })?;
        let mut settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        if let (
            Address::Tcp {
                host, tls: true, ..
            },
            Some(_),
        ) = (config.url.address(), &config.tls_server_name)
        {
            settings = settings.set_dns_resolver(Instead(host.clone()));
        }
        let connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|error| refusal::connecting(&error, config))?;
        let mut session = Self { connection, config };
        if let Some(login) = login {
            session.login(&login).await?;
        }
        Ok(session)
    }

    /// Sends a command that only reads.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Value, RedisError> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.connection).await
    }

    async fn login(&mut self, login: &Login) -> Result<(), SourceError> {
        // The library's own login drops the server's reason, which tells a wrong password from
        // a server that is full or protected.
        let password = login.password.as_ref().map_or("", Secret::expose);
        let answer = match &login.username {
            Some(username) => match self.ask(&["AUTH", username, password]).await {
                // Redis before version 6 knows passwords, and no users.
                Err(error) if refusal::is_arity(&error) => self.ask(&["AUTH", password]).await,
                answer => answer,
            },
            None => self.ask(&["AUTH", password]).await,
        };
        answer
            .map(|_| ())
            .map_err(|error| refusal::logging_in(&error, self.config))
    }
}

struct Login {
    username: Option<String>,
    password: Option<Secret>,
}

impl Login {
    fn read(config: &RedisConfig, env: &Env) -> Result<Option<Self>, (&'static str, String)> {
        let username = config.username.clone().or_else(|| config.url.username());
        let password = match &config.password {
            Some(setting) => Some(setting.read(env).map_err(|why| ("password", why))?),
            None => config.url.password().map(Secret::new),
        };
        let needed = username.is_some() || password.is_some();
        Ok(needed.then_some(Self { username, password }))
    }
}

/// Reads everything the connection needs, to find mistakes before the first run: the key
/// concerned and why.
pub(super) fn rehearse(config: &RedisConfig, env: &Env) -> Result<(), (&'static str, String)> {
    Login::read(config, env)?;
    client(config).map(|_| ())
}

/// Whether anything listens at the server's address, be it that it would not let us in.
pub(super) async fn listens(config: &RedisConfig) -> bool {
    let connected = async {
        match config.url.address() {
            Address::Tcp { host, port, .. } => {
                TcpStream::connect((host.as_str(), *port)).await.is_ok()
            }
            Address::Unix(path) => UnixStream::connect(path).await.is_ok(),
        }
    };
    tokio::time::timeout(CONNECT_LIMIT, connected)
        .await
        .unwrap_or(false)
}

fn client(config: &RedisConfig) -> Result<Client, (&'static str, String)> {
    let wrong_url = |error: RedisError| ("url", refusal::plain(&error));
    let address = match config.url.address() {
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        Address::Tcp {
            host,
            port,
            tls: false,
        } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Tcp {
            host,
            port,
            tls: true,
        } => ConnectionAddr::TcpTls {
            host: config
                .tls_server_name
                .clone()
                .unwrap_or_else(|| host.clone()),
            port: *port,
            insecure: false,
            tls_params: None,
        },
    };
    // No CLIENT SETINFO and no SELECT: an ACL user that may only run INFO must do.
    let info = address
        .into_connection_info()
        .map_err(wrong_url)?
        .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
    if !config.url.is_tls() {
        return Client::open(info).map_err(wrong_url);
    }
    let root_cert = read("ca_cert", config.ca_cert.as_deref())?;
    let client_tls = match (
        read("client_cert", config.client_cert.as_deref())?,
        read("client_key", config.client_key.as_deref())?,
    ) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        _ => None,
    };
    if let Some(pem) = &root_cert
        && !pem
            .windows(CERTIFICATE.len())
            .any(|window| window == CERTIFICATE)
    {
        return Err(("ca_cert", "holds no PEM certificate".into()));
    }
    Client::build_with_tls(
        info,
        TlsCertificates {
            client_tls,
            root_cert,
        },
    )
    .map_err(|error| {
        let why = refusal::plain(&error);
        let key = if why.contains("client certificate") {
            "client_cert"
        } else if why.contains("private key") {
            "client_key"
        } else {
            "ca_cert"
        };
        (key, why)
    })
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn read(key: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, (&'static str, String)> {
    let Some(path) = path else { return Ok(None) };
    fs::read(path)
        .map(Some)
        .map_err(|error| (key, format!("{}: {}", path.display(), io_reason(&error))))
}

/// Resolves every name to one host: the name in the certificate stands where the host belongs.
struct Instead(String);

impl AsyncDNSResolver for Instead {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = std::net::SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((self.0.as_str(), port))
                .await?
                .collect();
            if found.is_empty() {
                return Err(
                    io::Error::new(io::ErrorKind::NotFound, "the name has no address").into(),
                );
            }
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = _> + Send>)
        })
    }
}
