use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Credentials, IdentityCache, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::TrustStore;

use super::config::S3Config;
use super::limits::S3Limits;
use super::wire;
use crate::value::{Env, SecretSetting};

/// The region that stores other than AWS take for granted.
const ANY_REGION: &str = "us-east-1";
/// Where the SDK looks for an endpoint, the first one first.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const KEY_VARIABLES: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
const TOKEN_VARIABLE: &str = "AWS_SESSION_TOKEN";

/// A client, and the place it speaks to in words.
pub(super) struct Connection {
    pub client: Client,
    pub place: String,
    pub region: String,
    pub endpoint: Option<String>,
}

/// Why there is no client, and the next step.
pub(super) struct NoClient {
    pub why: String,
    pub hint: Option<&'static str>,
}

/// Builds the client. Asks the instance for its region where nothing else names one; connects to
/// nothing else.
pub(super) async fn connect(
    config: &S3Config,
    env: &Env,
    limits: &S3Limits,
) -> Result<Connection, NoClient> {
    let endpoint = config
        .endpoint
        .as_deref()
        .or_else(|| first_set(env, &ENDPOINT_VARIABLES));
    let keys = Keys::named(config, env)?;
    // The system's certificates cost memory; nothing asks for them here.
    let plain = endpoint.is_some_and(|url| url.starts_with("http://"));
    let trust = match (&keys, plain) {
        (Some(_), true) => TrustStore::empty(),
        _ => wire::trust(config.ca_cert.as_deref()).map_err(|why| NoClient { why, hint: None })?,
    };
    let http = wire::http_client(trust, limits);
    let chain = ProviderConfig::default().with_http_client(http.clone());
    let region = region(config, env, &chain, endpoint.is_some(), limits).await?;

    let builder = base(http, limits)
        .region(Region::new(region.clone()))
        .force_path_style(config.force_path_style.unwrap_or(endpoint.is_some()));
    let builder = if let Some(keys) = keys {
        // Read for every request: that is cheap, and keys that were replaced count at once.
        let cache = IdentityCache::no_cache();
        builder.credentials_provider(keys).identity_cache(cache)
    } else {
        let region = Region::new(region.clone());
        let chain = DefaultCredentialsChain::builder().configure(chain);
        let chain = chain.region(region).build().await;
        let cache = IdentityCache::lazy().load_timeout(limits.credentials);
        builder
            .credentials_provider(Bounded(chain, limits.credentials))
            .identity_cache(cache.build())
    };
    let (builder, place) = match endpoint {
        Some(url) => (builder.endpoint_url(url), host(url)),
        None => (builder, format!("S3 in {region}")),
    };
    let client = Client::from_conf(builder.build());
    Ok(Connection {
        client,
        place,
        region,
        endpoint: endpoint.map(str::to_owned),
    })
}

fn base(http: SharedHttpClient, limits: &S3Limits) -> Builder {
    Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .app_name(AppName::new("lifeboat").expect("the name has letters only"))
        .http_client(http)
        // Checksums are computed here, once per part, and sent as headers: older stores choke on
        // the trailers that the SDK sends by default.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The SDK's quota of retries suits clients with many requests a second.
        .retry_partition(
            RetryPartition::custom("lifeboat")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(limits.attempts)
                .with_initial_backoff(limits.backoff),
        )
        .timeout_config(time_limit(limits.request))
}

/// The time limit of one attempt; the connector knows the one for connecting.
fn time_limit(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(attempt)
        .build()
}

/// Another time limit than the usual one, for one request.
pub(super) fn within(attempt: Duration) -> Builder {
    Builder::new().timeout_config(time_limit(attempt))
}

/// Without an endpoint the instance is asked too: other stores take any region.
async fn region(
    config: &S3Config,
    env: &Env,
    chain: &ProviderConfig,
    endpoint: bool,
    limits: &S3Limits,
) -> Result<String, NoClient> {
    let named = config
        .region
        .as_deref()
        .or_else(|| first_set(env, &REGION_VARIABLES));
    if let Some(region) = named {
        return Ok(region.to_owned());
    }
    let files = RegionProviderChain::first_try(ProfileFileRegionProvider::new());
    let found = if endpoint {
        files.region().await
    } else {
        let instance = ImdsRegionProvider::builder().configure(chain).build();
        let asked = files.or_else(instance);
        tokio::time::timeout(limits.credentials, asked.region())
            .await
            .ok()
            .flatten()
    };
    match found {
        Some(region) => Ok(region.to_string()),
        None if endpoint => Ok(ANY_REGION.into()),
        None => Err(NoClient {
            why: "no region is known".into(),
            hint: Some("set `region`, or AWS_REGION; for a store other than AWS, `endpoint`"),
        }),
    }
}

fn first_set<'a>(env: &'a Env, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| env.get(name).filter(|value| !value.is_empty()))
}

fn host(endpoint: &str) -> String {
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    host.trim_end_matches('/').to_owned()
}

/// Keys from the settings, read again each time they are asked for.
#[derive(Debug)]
struct Keys {
    access_key_id: SecretSetting,
    secret_access_key: SecretSetting,
    session_token: Option<SecretSetting>,
    env: Env,
}

impl Keys {
    /// The keys that the settings or the environment name; `None` leaves it to the AWS chain.
    fn named(config: &S3Config, env: &Env) -> Result<Option<Self>, NoClient> {
        let keys = match (&config.access_key_id, &config.secret_access_key) {
            (Some(id), Some(secret)) => Self {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: config.session_token.clone(),
                env: env.clone(),
            },
            _ if KEY_VARIABLES
                .iter()
                .all(|name| first_set(env, &[name]).is_some()) =>
            {
                let variable = |name: &str| SecretSetting::Env { env: name.into() };
                let token = first_set(env, &[TOKEN_VARIABLE]).map(|_| variable(TOKEN_VARIABLE));
                Self {
                    access_key_id: variable(KEY_VARIABLES[0]),
                    secret_access_key: variable(KEY_VARIABLES[1]),
                    session_token: token,
                    env: env.clone(),
                }
            }
            _ => return Ok(None),
        };
        match keys.read() {
            Ok(_) => Ok(Some(keys)),
            Err(why) => Err(NoClient { why, hint: None }),
        }
    }

    fn read(&self) -> Result<Credentials, String> {
        let read = |name: &str, setting: &SecretSetting| {
            setting
                .read(&self.env)
                .map_err(|why| format!("{name}: {why}"))
        };
        let id = read("access_key_id", &self.access_key_id)?;
        let secret = read("secret_access_key", &self.secret_access_key)?;
        let token = self
            .session_token
            .as_ref()
            .map(|token| read("session_token", token));
        let token = token.transpose()?.map(|token| token.expose().to_owned());
        Ok(Credentials::new(
            id.expose(),
            secret.expose(),
            token,
            None,
            "settings",
        ))
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read().map_err(CredentialsError::provider_error))
    }
}

/// The AWS chain, ended after a while: an address that swallows packets must not hold up a run.
#[derive(Debug)]
struct Bounded(DefaultCredentialsChain, Duration);

impl Bounded {
    async fn provide(&self) -> provider::Result {
        match tokio::time::timeout(self.1, self.0.provide_credentials()).await {
            Ok(found) => found,
            Err(_) => Err(CredentialsError::provider_timed_out(self.1)),
        }
    }
}

impl ProvideCredentials for Bounded {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}
