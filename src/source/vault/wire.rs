//! The ways onto the network.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Client, NoProxy, Proxy};
use rustls::ClientConfig;
use url::{Host, Url};

use super::environment::{Proxies, Settings, Unusable};
use super::tls;

/// Clients for each kind of target.
#[derive(Debug)]
pub(super) struct Wires {
    tls: ClientConfig,
    connect: Duration,
    server_name: Option<String>,
    /// The configured address, where it is a socket.
    socket: Option<(Client, Url)>,
    client: Client,
}

/// How one target is reached.
pub(super) struct Way {
    pub client: Client,
    pub url: Url,
    /// What the `Host` header says, where it is not what the URL says.
    pub host: Option<HeaderValue>,
}

impl Wires {
    /// Reads certificates; connects to nothing.
    pub(super) fn new(settings: &Settings, connect: Duration) -> Result<Self, Unusable> {
        let tls = tls::config(settings)?;
        let wrong = |why| ("address", why);
        if let Some(name) = &settings.tls_server_name
            && !matches!(Host::parse(name), Ok(Host::Domain(_)))
        {
            return Err(("tls_server_name", format!("`{name}` is not a DNS name")));
        }
        let socket = match &settings.endpoint.socket {
            None => None,
            Some(path) => {
                let client = client(
                    &tls,
                    connect,
                    &Proxies::default(),
                    Route::Socket(path.clone()),
                )
                .map_err(wrong)?;
                Some((client, settings.endpoint.url.clone()))
            }
        };
        Ok(Self {
            client: client(&tls, connect, &settings.proxies, Route::Plain).map_err(wrong)?,
            socket,
            tls,
            connect,
            server_name: settings.tls_server_name.clone(),
        })
    }

    pub(super) fn to(&self, url: &Url) -> Result<Way, String> {
        if let Some((client, address)) = &self.socket
            && address.origin() == url.origin()
        {
            return Ok(Way {
                client: client.clone(),
                url: url.clone(),
                host: None,
            });
        }
        if let (Some(name), "https") = (&self.server_name, url.scheme()) {
            return self.under_another_name(url, name);
        }
        Ok(Way {
            client: self.client.clone(),
            url: url.clone(),
            host: None,
        })
    }

    /// The name of the certificate stands where the host belongs, so that it is asked for and
    /// proved, and leads to that host. Proxies would resolve it for themselves: none is used.
    fn under_another_name(&self, url: &Url, name: &str) -> Result<Way, String> {
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("the address has no host".into()),
        };
        let mut named = url.clone();
        named
            .set_host(Some(name))
            .map_err(|error| format!("`tls_server_name`: {error}"))?;
        let header = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let none = Proxies::default();
        Ok(Way {
            client: client(&self.tls, self.connect, &none, Route::Host(host))?,
            url: named,
            host: HeaderValue::from_str(&header).ok(),
        })
    }
}

enum Route {
    Plain,
    Socket(PathBuf),
    /// To this host, whatever the URL says.
    Host(String),
}

fn client(
    tls: &ClientConfig,
    connect: Duration,
    proxies: &Proxies,
    route: Route,
) -> Result<Client, String> {
    // Redirects carry a token: we follow them ourselves.
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(connect)
        .no_proxy();
    match route {
        Route::Plain => {
            for proxy in through(proxies)? {
                builder = builder.proxy(proxy);
            }
        }
        Route::Socket(path) => builder = builder.unix_socket(path),
        Route::Host(host) => builder = builder.dns_resolver(Instead(host.into())),
    }
    builder.build().map_err(|error| error.to_string())
}

fn through(proxies: &Proxies) -> Result<Vec<Proxy>, String> {
    let wrong = |variable: &str| format!("`{variable}` is not the URL of a proxy");
    if let Some(url) = &proxies.all {
        let proxy = Proxy::all(url.expose()).map_err(|_| wrong("VAULT_PROXY_ADDR"))?;
        return Ok(vec![proxy]);
    }
    // This machine is never reached by a proxy, in Go's clients too.
    let none_for = format!(
        "localhost,127.0.0.0/8,::1,{}",
        proxies.none_for.as_deref().unwrap_or_default()
    );
    let mut found = Vec::new();
    if let Some(url) = &proxies.http {
        found.push(Proxy::http(url.expose()).map_err(|_| wrong("HTTP_PROXY"))?);
    }
    if let Some(url) = &proxies.https {
        found.push(Proxy::https(url.expose()).map_err(|_| wrong("HTTPS_PROXY"))?);
    }
    Ok(found
        .into_iter()
        .map(|proxy| proxy.no_proxy(NoProxy::from_string(&none_for)))
        .collect())
}

/// Resolves every name to one host.
struct Instead(Arc<str>);

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}
