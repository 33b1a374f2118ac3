use reqwest::Method;
use serde_json::Value;
use url::Url;

use super::config::VaultConfig;
use crate::source::{SourceError, SourceErrorKind};
use crate::value::{Env, Secret};

/// The server's HTTP interface.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    address: Url,
}

/// One small request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub method: Method,
    /// Below the address, percent-encoded: `v1/sys/leader`.
    pub path: &'a str,
    pub token: Option<&'a Secret>,
    pub namespace: Option<&'a str>,
    pub body: Option<Value>,
}

/// A small answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// The body; null where it was empty.
    pub json: Value,
}

impl Answer {
    /// What the server said went wrong.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.json.get("errors").and_then(Value::as_array);
        let texts = errors.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }
}

impl Api {
    /// A client that has not connected yet. The error is the key concerned and why.
    pub fn new(config: &VaultConfig, _env: &Env) -> Result<Self, (&'static str, String)> {
        let address = config
            .address
            .as_deref()
            .unwrap_or("https://127.0.0.1:8200");
        let address = address
            .parse()
            .map_err(|error| ("address", format!("{error}")))?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ("address", error.to_string()))?;
        Ok(Self { http, address })
    }

    /// Sends one small request and reads its answer, whatever its status.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, SourceError> {
        let unreachable = |error: reqwest::Error| {
            SourceError::new(SourceErrorKind::Unreachable, error.to_string())
        };
        let url = format!(
            "{}/{}",
            self.address.as_str().trim_end_matches('/'),
            call.path
        );
        let mut request = self.http.request(call.method, url);
        request = request.header("X-Vault-Request", "true");
        if let Some(token) = call.token {
            request = request.header("X-Vault-Token", token.expose());
        }
        if let Some(namespace) = call.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(body) = call.body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, json })
    }
}
