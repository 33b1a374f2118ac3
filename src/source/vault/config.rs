use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::endpoint::Endpoint;
use crate::value::{HumanDuration, SecretSetting};

/// A Vault or OpenBao node with raft storage, or a Consul or Nomad server, by its snapshot API.
/// What is not set here is taken from the environment as its own clients do: `BAO_ADDR` or
/// `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE`, `VAULT_CACERT` and the rest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VaultConfig {
    /// Where the node beside us answers: `https://host:port`, `http://host:port` or
    /// `unix:///path/to/vault.sock`. Unset:
    /// `BAO_ADDR` or `VAULT_ADDR`, else `https://127.0.0.1:8200`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uri"))]
    pub address: Option<String>,

    /// The namespace to log in to; snapshots themselves belong to the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// How to log in. Unset: a token from `BAO_TOKEN` or `VAULT_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,

    /// The authorities to trust, a PEM file. Then only these; the system's otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,

    /// Our certificate, for servers that ask for one and for the `cert` method: a PEM file, with
    /// its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,

    /// The private key of `client_cert`, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,

    /// The name the server's certificate must carry, where it is not the host in `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,

    /// Do not verify the server's certificate; every run then warns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_verify: Option<bool>,

    /// The time limit of one whole capture.
    pub timeout: HumanDuration,

    /// What answers at `address`.
    pub product: Product,
}

/// What answers at the address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Found out by asking.
    #[default]
    Auto,
    /// HashiCorp Vault.
    Vault,
    /// OpenBao.
    Openbao,
    /// A HashiCorp Consul server.
    Consul,
    /// A HashiCorp Nomad server.
    Nomad,
}

/// How to log in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum Auth {
    /// A token that somebody else made.
    Token(TokenAuth),
    /// A role id and a secret id.
    Approle(AppRoleAuth),
    /// The service account's token of this pod.
    Kubernetes(KubernetesAuth),
    /// A signed JSON web token from a file.
    Jwt(JwtAuth),
    /// User name and password kept by Vault.
    Userpass(PasswordAuth),
    /// User name and password of a directory.
    Ldap(PasswordAuth),
    /// The client certificate, `client_cert` and `client_key`.
    Cert(CertAuth),
}

/// A token that somebody else made and renews.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenAuth {
    /// The token. Unset, with no `token_file`: `BAO_TOKEN` or `VAULT_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSetting>,
    /// A file that holds the token, such as the sink of an agent; read again each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// A role id and a secret id.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRoleAuth {
    /// Where the method is mounted; `approle` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The role id. Unset: `VAULT_ROLE_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<SecretSetting>,
    /// The secret id, for roles that bind one. Unset: `VAULT_SECRET_ID`, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<SecretSetting>,
}

/// The service account's token of this pod.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesAuth {
    /// Where the method is mounted; `kubernetes` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The role to log in as.
    pub role: String,
    /// The service account's token; `/var/run/secrets/kubernetes.io/serviceaccount/token` unless
    /// set. Read at each login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_path: Option<PathBuf>,
}

/// A signed JSON web token from a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtAuth {
    /// Where the method is mounted; `jwt` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The role to log in as; the mount's default role unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The file that holds the token; read at each login.
    pub jwt_path: PathBuf,
}

/// A user name and a password.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordAuth {
    /// Where the method is mounted; the method's own name unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretSetting,
}

/// The client certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertAuth {
    /// Where the method is mounted; `cert` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The certificate role to log in as; any that matches unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Default for VaultConfig {
    fn default() -> Self {
        Self {
            address: None,
            namespace: None,
            auth: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            tls_server_name: None,
            skip_verify: None,
            timeout: HumanDuration(Duration::from_mins(10)),
            product: Product::Auto,
        }
    }
}

impl VaultConfig {
    /// Mistakes that the single values do not show: the key concerned and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        match (&self.client_cert, &self.client_key) {
            (Some(_), None) => found.push(("client_cert", "needs `client_key` beside it".into())),
            (None, Some(_)) => found.push(("client_key", "needs `client_cert` beside it".into())),
            _ => {}
        }
        match self.address.as_deref().map(Endpoint::parse) {
            Some(Err(why)) => found.push(("address", why)),
            // The leader may have TLS where the socket of a proxy beside us has none.
            Some(Ok(endpoint)) if !endpoint.is_tls() && endpoint.socket.is_none() => {
                let why = "is for TLS only; `address` must then begin with `https://`";
                found.extend(self.tls_keys().map(|key| (key, why.to_owned())));
            }
            _ => {}
        }
        if self.skip_verify == Some(true) && self.ca_cert.is_some() {
            let why = "is on, so that `ca_cert` has no effect; keep one of them";
            found.push(("skip_verify", why.into()));
        }
        if let Some(Auth::Token(auth)) = &self.auth
            && auth.token.is_some()
            && auth.token_file.is_some()
        {
            let why = "has both `token` and `token_file`; keep one";
            found.push(("auth", why.into()));
        }
        if let (Product::Consul | Product::Nomad, Some(auth)) = (self.product, &self.auth)
            && !matches!(auth, Auth::Token(_))
        {
            let why = "must be `token`, the only one that this `product` has";
            found.push(("auth.method", why.into()));
        }
        if self.timeout.0.is_zero() {
            found.push(("timeout", "must be longer than `0s`".into()));
        }
        found
    }

    /// The keys for TLS that are set.
    fn tls_keys(&self) -> impl Iterator<Item = &'static str> {
        let set = [
            ("ca_cert", self.ca_cert.is_some()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
            ("tls_server_name", self.tls_server_name.is_some()),
            ("skip_verify", self.skip_verify == Some(true)),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(key, _)| key)
    }
}

/// Settings and default series name from the URL short form `vault+https://host:8200`; each pair
/// of the query is a key. The login comes from the environment.
///
/// # Errors
/// When the URL is not one of Vault, or names a key twice.
pub fn settings_from_url(url: &Url) -> Result<(serde_json::Value, String), String> {
    let Some(rest) = url.as_str().strip_prefix("vault+") else {
        return Err("is not `vault+https://host:8200` or `vault+http://host:8200`".into());
    };
    let address = rest.split(['?', '#']).next().unwrap_or(rest);
    Endpoint::parse(address)?;
    let mut settings = serde_json::Map::new();
    settings.insert("type".into(), "vault".into());
    settings.insert("address".into(), address.into());
    for (key, value) in url.query_pairs() {
        if settings
            .insert(key.clone().into_owned(), value.as_ref().into())
            .is_some()
        {
            return Err(format!("sets `{key}` twice, or where it cannot be set"));
        }
    }
    Ok((settings.into(), "vault".into()))
}

#[cfg(test)]
mod tests;
