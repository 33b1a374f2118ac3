use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{
    Builder, CacheableResource, Credentials, CredentialsProvider, anonymous, external_account,
    impersonated, service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::config::GcsConfig;
use super::error::{deepest, message, tidy};
use crate::error::io_reason;
use crate::value::Env;

const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// All that backups take.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Where credentials come from.
#[derive(Debug, Clone)]
enum Origin {
    /// Nowhere: an emulator takes any request.
    Anonymous,
    /// A file that the settings or the environment name.
    File(PathBuf),
    /// gcloud's own file, then the instance or pod.
    Default,
}

/// Credentials that are made when the first request needs them, and made anew when the store
/// refuses them: a token may be withdrawn before its time, a key file replaced.
#[derive(Debug, Clone)]
pub(super) struct Login(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    limit: Duration,
    made: Mutex<Option<Credentials>>,
}

impl Login {
    pub fn new(config: &GcsConfig, env: &Env, limit: Duration) -> Self {
        let named = env.get(VARIABLE).filter(|path| !path.is_empty());
        let file = config.credentials_file.clone();
        let origin = match file.or_else(|| named.map(PathBuf::from)) {
            Some(path) => Origin::File(path),
            None if config.endpoint.as_deref().is_none_or(is_google) => Origin::Default,
            None => Origin::Anonymous,
        };
        let made = Mutex::default();
        Self(Arc::new(Inner {
            origin,
            limit,
            made,
        }))
    }

    /// Reads the file that is named, so that a wrong path is found before the first backup is due.
    pub fn check(&self) -> Result<(), String> {
        match &self.0.origin {
            Origin::File(path) => read(path).map(drop),
            Origin::Anonymous | Origin::Default => Ok(()),
        }
    }

    /// Whether there is anything to be refused.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.0.origin, Origin::Anonymous)
    }

    /// The headers that a request is signed with.
    pub async fn sign(&self) -> Result<HeaderMap, CredentialsError> {
        match self.headers(Extensions::new()).await? {
            CacheableResource::New { data, .. } => Ok(data),
            CacheableResource::NotModified => Ok(HeaderMap::new()),
        }
    }

    /// Forgets what was made: the store did not take it.
    pub async fn renew(&self) {
        self.0.made.lock().await.take();
    }

    async fn current(&self) -> Result<Credentials, String> {
        let mut made = self.0.made.lock().await;
        if let Some(credentials) = &*made {
            return Ok(credentials.clone());
        }
        let credentials = match &self.0.origin {
            Origin::Anonymous => anonymous::Builder::new().build(),
            Origin::File(path) => from_file(path)?,
            Origin::Default => Builder::default()
                .with_scopes([SCOPE])
                .build()
                .map_err(|error| error.to_string())?,
        };
        *made = Some(credentials.clone());
        Ok(credentials)
    }
}

impl CredentialsProvider for Login {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let refused = |why: String| CredentialsError::from_source(false, NoToken(why));
        let current = self.current().await.map_err(refused)?;
        let headers = tokio::time::timeout(self.0.limit, current.headers(extensions)).await;
        let why = match headers {
            Ok(Ok(headers)) => return Ok(headers),
            Ok(Err(error)) => refusal(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(refused(match &self.0.origin {
            Origin::Default => format!(
                "no key file is named, and the metadata server of the instance or pod gives no \
                 token: {why}"
            ),
            Origin::Anonymous => why,
            Origin::File(path) => format!("{}: no token: {why}", path.display()),
        }))
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

/// Why there is no token, in our words: those of the library speak to programmers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoToken(String);

/// What the giver of tokens said, which the library quotes in the middle of its own words; else
/// what kept it from answering.
fn refusal(error: &CredentialsError) -> String {
    let chain = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let said = chain.map(ToString::to_string).find_map(|text| {
        let (_, body) = text.split_once("body=<")?;
        let (body, _) = body.rsplit_once('>')?;
        Some(message(body.as_bytes())).filter(|said| !said.is_empty())
    });
    said.unwrap_or_else(|| tidy(&deepest(error).to_string()))
}

/// Whether an endpoint is one of Google's own, such as a private one.
fn is_google(endpoint: &str) -> bool {
    let url = Url::parse(endpoint).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    host.ends_with(".googleapis.com")
}

fn read(path: &Path) -> Result<Value, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let text = std::fs::read(path).map_err(|error| named(io_reason(&error)))?;
    // What the parser says of a place may quote the file.
    serde_json::from_slice(&text).map_err(|_| named("is not JSON".into()))
}

fn from_file(path: &Path) -> Result<Credentials, String> {
    let json = read(path)?;
    let kind = json["type"].as_str().unwrap_or_default().to_owned();
    let built = match &*kind {
        "service_account" => service_account::Builder::new(json)
            .with_access_specifier(service_account::AccessSpecifier::from_scopes([SCOPE]))
            .build(),
        "external_account" => external_account::Builder::new(json)
            .with_scopes([SCOPE])
            .build(),
        "impersonated_service_account" => impersonated::Builder::new(json)
            .with_scopes([SCOPE])
            .build(),
        "authorized_user" => user_account::Builder::new(json).build(),
        _ => {
            return Err(format!(
                "{}: holds no credentials of Google: its `type` is none of service_account, \
                 external_account, impersonated_service_account and authorized_user",
                path.display()
            ));
        }
    };
    built.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_endpoint_that_is_not_googles_makes_requests_anonymous() {
        for (endpoint, anonymous) in [
            (None, false),
            (Some("https://storage-psc.p.googleapis.com"), false),
            (
                Some("https://storage.europe-west3.rep.googleapis.com"),
                false,
            ),
            (Some("http://localhost:4443"), true),
            (Some("https://googleapis.com.example"), true),
        ] {
            let settings = serde_json::json!({ "bucket": "b", "endpoint": endpoint });
            let config: GcsConfig = serde_json::from_value(settings).unwrap();
            let login = Login::new(&config, &Env::default(), Duration::from_secs(1));
            assert_eq!(login.is_anonymous(), anonymous, "{endpoint:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        assert!(read(&path).unwrap_err().contains("no such file"));
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----hush").unwrap();
        let why = read(&path).unwrap_err();
        assert!(
            why.contains("is not JSON") && !why.contains("hush"),
            "{why}"
        );
        std::fs::write(&path, r#"{"type":"bitcoin"}"#).unwrap();
        assert!(from_file(&path).unwrap_err().contains("service_account"));
    }
}
