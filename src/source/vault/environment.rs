//! The settings in effect: the configuration, and below it what the clients of Vault and OpenBao
//! take from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::{Product, VaultConfig};
use super::endpoint::Endpoint;
use crate::value::{Env, Secret};

/// A setting that cannot be used: the key and the reason.
pub(super) type Unusable = (&'static str, String);

/// Everything that a connection needs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub endpoint: Endpoint,
    pub trust: Trust,
    /// Our certificate and its key.
    pub identity: Option<(Pem, Pem)>,
    pub tls_server_name: Option<String>,
    pub skip_verify: bool,
    /// The time limit of a small request, where one is set.
    pub answer: Option<Duration>,
    pub proxies: Proxies,
    /// Further headers that each request carries.
    pub headers: Vec<(String, Secret)>,
}

/// Whose signature on a server's certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    System,
    Only(Pem),
    /// Every file of a folder.
    Folder(PathBuf),
}

/// Certificates or a key, and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pem {
    File(PathBuf),
    Text(Secret),
}

/// The proxies to go through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proxies {
    /// For everything.
    pub all: Option<Secret>,
    pub http: Option<Secret>,
    pub https: Option<Secret>,
    /// Hosts that are reached without the two above.
    pub none_for: Option<String>,
}

impl Settings {
    /// What `config` says, and what the environment adds.
    pub(super) fn resolve(config: &VaultConfig, env: &Env) -> Result<Self, Unusable> {
        let vars = Variables {
            env,
            // The variables are those of Vault's clients, not of Consul's or Nomad's.
            honoured: !matches!(config.product, Product::Consul | Product::Nomad),
        };
        let settings = Self {
            endpoint: endpoint(config, &vars)?,
            trust: trust(config.ca_cert.as_deref(), &vars),
            identity: identity(config, &vars)?,
            tls_server_name: config
                .tls_server_name
                .clone()
                .or_else(|| vars.text("TLS_SERVER_NAME")),
            skip_verify: match config.skip_verify {
                Some(skip) => skip,
                None => vars.boolean("SKIP_VERIFY", "skip_verify")?.unwrap_or(false),
            },
            answer: vars.duration("CLIENT_TIMEOUT", "timeout")?,
            proxies: proxies(env, &vars),
            headers: vars.headers()?,
        };
        if settings.tls_server_name.is_some() && settings.proxies.all.is_some() {
            let why = "cannot be used together with the proxy in `VAULT_PROXY_ADDR`";
            return Err(("tls_server_name", why.into()));
        }
        Ok(settings)
    }
}

fn endpoint(config: &VaultConfig, vars: &Variables<'_>) -> Result<Endpoint, Unusable> {
    let parse = |text: &str| Endpoint::parse(text).map_err(|why| ("address", why));
    if let Some(address) = &config.address {
        return parse(address);
    }
    for name in ["AGENT_ADDR", "ADDR"] {
        if let Some((variable, address)) = vars.find(name) {
            return Endpoint::parse(address)
                .map_err(|why| ("address", format!("`{variable}` {why}")));
        }
    }
    parse(match config.product {
        Product::Consul => "http://127.0.0.1:8500",
        Product::Nomad => "http://127.0.0.1:4646",
        Product::Auto | Product::Vault | Product::Openbao => "https://127.0.0.1:8200",
    })
}

fn trust(ca_cert: Option<&Path>, vars: &Variables<'_>) -> Trust {
    if let Some(path) = ca_cert {
        Trust::Only(Pem::File(path.to_owned()))
    } else if let Some(path) = vars.text("CACERT") {
        Trust::Only(Pem::File(path.into()))
    } else if let Some(text) = vars.text("CACERT_BYTES") {
        Trust::Only(Pem::Text(Secret::new(text)))
    } else if let Some(path) = vars.text("CAPATH") {
        Trust::Folder(path.into())
    } else {
        Trust::System
    }
}

fn identity(config: &VaultConfig, vars: &Variables<'_>) -> Result<Option<(Pem, Pem)>, Unusable> {
    if let (Some(cert), Some(key)) = (&config.client_cert, &config.client_key) {
        return Ok(Some((Pem::File(cert.clone()), Pem::File(key.clone()))));
    }
    let pem = |path: &str, bytes: &str| {
        let file = vars.text(path).map(|path| Pem::File(path.into()));
        let text = || vars.text(bytes).map(|text| Pem::Text(Secret::new(text)));
        file.or_else(text)
    };
    let cert = pem("CLIENT_CERT", "CLIENT_CERT_BYTES");
    let key = pem("CLIENT_KEY", "CLIENT_KEY_BYTES");
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err((
            "client_cert",
            "`VAULT_CLIENT_CERT` is set without `VAULT_CLIENT_KEY`".into(),
        )),
        (None, Some(_)) => Err((
            "client_key",
            "`VAULT_CLIENT_KEY` is set without `VAULT_CLIENT_CERT`".into(),
        )),
    }
}

fn proxies(env: &Env, vars: &Variables<'_>) -> Proxies {
    let either = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| env.get(name));
        found.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    Proxies {
        all: vars.text("PROXY_ADDR").map(Secret::new),
        http: either(["HTTP_PROXY", "http_proxy"]).map(Secret::new),
        https: either(["HTTPS_PROXY", "https_proxy"]).map(Secret::new),
        none_for: either(["NO_PROXY", "no_proxy"]),
    }
}

/// Variables of which there is one for OpenBao and one for Vault.
struct Variables<'a> {
    env: &'a Env,
    honoured: bool,
}

impl<'a> Variables<'a> {
    /// The variable in effect and its value: OpenBao's counts where it is set, be it to nothing.
    fn find(&self, name: &str) -> Option<(String, &'a str)> {
        if !self.honoured {
            return None;
        }
        let found = ["BAO", "VAULT"].into_iter().find_map(|prefix| {
            let variable = format!("{prefix}_{name}");
            let value = self.env.get(&variable)?;
            Some((variable, value))
        });
        found.filter(|(_, value)| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|(_, value)| value.to_owned())
    }

    /// As Go reads it.
    fn boolean(&self, name: &str, key: &'static str) -> Result<Option<bool>, Unusable> {
        let Some((variable, value)) = self.find(name) else {
            return Ok(None);
        };
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err((
                key,
                format!("`{variable}` is `{value}`; write true or false"),
            )),
        }
    }

    /// A plain number is in seconds.
    fn duration(&self, name: &str, key: &'static str) -> Result<Option<Duration>, Unusable> {
        let Some((variable, value)) = self.find(name) else {
            return Ok(None);
        };
        let duration = match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => value
                .parse::<crate::value::HumanDuration>()
                .ok()
                .map(|duration| duration.0),
        };
        match duration {
            Some(duration) if !duration.is_zero() => Ok(Some(duration)),
            // No limit at all is no choice for a daemon.
            Some(_) => Ok(None),
            None => Err((
                key,
                format!("`{variable}` is `{value}`, which is no duration; write 60s"),
            )),
        }
    }

    /// A JSON map of names and values. The values may be secrets.
    fn headers(&self) -> Result<Vec<(String, Secret)>, Unusable> {
        let Some((variable, value)) = self.find("HEADERS") else {
            return Ok(Vec::new());
        };
        let map: std::collections::BTreeMap<String, String> =
            serde_json::from_str(value).map_err(|_| {
                let why = format!("`{variable}` is not a JSON map of header names and values");
                ("address", why)
            })?;
        let usable = |(name, value): &(String, String)| {
            name.parse::<reqwest::header::HeaderName>().is_ok()
                && value.parse::<reqwest::header::HeaderValue>().is_ok()
                && !name.to_ascii_lowercase().starts_with("x-vault-")
        };
        let headers: Vec<_> = map.into_iter().collect();
        if let Some((name, _)) = headers.iter().find(|header| !usable(header)) {
            let why = format!("`{variable}` sets `{name}`, which cannot be set there");
            return Err(("address", why));
        }
        Ok(headers
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect())
    }
}

#[cfg(test)]
mod tests;
