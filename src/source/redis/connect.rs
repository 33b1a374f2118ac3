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
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::{TcpStream, UnixStream};

use super::RedisSource;
use super::refusal;
use super::server::{Address, Server};
use crate::error::io_reason;
use crate::source::{SourceError, SourceErrorKind};
use crate::value::Secret;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A short-lived connection, logged in.
pub(super) struct Session<'a> {
    connection: MultiplexedConnection,
    server: &'a Server,
}

impl<'a> Session<'a> {
    /// Connects and logs in. Secrets and certificates are read anew, since they rotate.
    pub(super) async fn open(source: &'a RedisSource) -> Result<Self, SourceError> {
        let unusable =
            |(key, why)| SourceError::new(SourceErrorKind::Login, format!("`{key}`: {why}"));
        let login = Login::read(source).map_err(unusable)?;
        let client = client(source).map_err(unusable)?;
        let server = &source.server;
        let mut settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        if let (
            Address::Tcp {
                host, tls: true, ..
            },
            Some(_),
        ) = (&server.address, &source.config.tls_server_name)
        {
            settings = settings.set_dns_resolver(Instead(host.clone()));
        }
        let connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|error| refusal::connecting(&error, server))?;
        let mut session = Self { connection, server };
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
            .map_err(|error| refusal::logging_in(&error, self.server))
    }
}

struct Login {
    username: Option<String>,
    password: Option<Secret>,
}

impl Login {
    fn read(source: &RedisSource) -> Result<Option<Self>, Unusable> {
        let RedisSource {
            config,
            server,
            env,
        } = source;
        let username = config.username.clone().or_else(|| server.username.clone());
        let password = match &config.password {
            Some(setting) => Some(setting.read(env).map_err(|why| ("password", why))?),
            None => server.password.clone(),
        };
        let needed = username.is_some() || password.is_some();
        Ok(needed.then_some(Self { username, password }))
    }
}

/// A setting that cannot be used: the key and the reason.
type Unusable = (&'static str, String);

/// Reads everything a connection needs, to find mistakes before the first run.
pub(super) fn rehearse(source: &RedisSource) -> Result<(), Unusable> {
    Login::read(source)?;
    client(source).map(|_| ())
}

/// Whether anything listens at the server's address, be it that it would not let us in.
pub(super) async fn listens(server: &Server) -> bool {
    let connected = async {
        match &server.address {
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

fn client(source: &RedisSource) -> Result<Client, Unusable> {
    let RedisSource { config, server, .. } = source;
    let wrong_url = |error: RedisError| ("url", refusal::plain(&error));
    let address = match &server.address {
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
    if !server.is_tls() {
        return Client::open(info).map_err(wrong_url);
    }
    let root_cert = read_certificates("ca_cert", config.ca_cert.as_deref())?;
    let client_cert = read_certificates("client_cert", config.client_cert.as_deref())?;
    let client_key = read("client_key", config.client_key.as_deref())?;
    let client_tls = client_cert
        .zip(client_key)
        .map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        });
    let certificates = TlsCertificates {
        client_tls,
        root_cert,
    };
    Client::build_with_tls(info, certificates).map_err(|error| {
        let why = refusal::plain(&error);
        let key = if why.contains("private key") {
            "client_key"
        } else {
            "ca_cert"
        };
        (key, why)
    })
}

fn read_certificates(key: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, Unusable> {
    let pem = read(key, path)?;
    if let Some(pem) = &pem {
        let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
        if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
            return Err((key, "holds no certificates in PEM form".into()));
        }
    }
    Ok(pem)
}

fn read(key: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, Unusable> {
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
