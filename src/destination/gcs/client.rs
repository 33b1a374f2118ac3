use std::error::Error;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage;
use google_cloud_storage::read_resume_policy::NeverResume;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::config::GcsConfig;
use super::credentials::Login;
use super::error::{Cause, Failure, deepest, tidy};
use super::limits::GcsLimits;
use super::rpc::Control;

const GOOGLE: &str = "https://storage.googleapis.com";
const USER_AGENT: &str = concat!("lifeboat/", env!("CARGO_PKG_VERSION"));

/// The clients of one bucket, each made when it is first needed: a daemon that waits for its next
/// run keeps neither connections nor tokens it has no use for.
pub(super) struct Clients {
    pub login: Login,
    endpoint: Option<String>,
    control_endpoint: Option<String>,
    limits: GcsLimits,
    http: OnceLock<reqwest::Client>,
    media: OnceCell<Storage>,
    control: Mutex<Option<(Control, Instant)>>,
}

impl Clients {
    pub fn new(config: &GcsConfig, login: Login, limits: GcsLimits) -> Self {
        let trimmed = |url: &Option<String>| {
            let url = url.as_deref()?;
            Some(url.trim_end_matches('/').to_owned())
        };
        let endpoint = trimmed(&config.endpoint);
        Self {
            login,
            control_endpoint: trimmed(&config.control_endpoint).or_else(|| endpoint.clone()),
            endpoint,
            limits,
            http: OnceLock::new(),
            media: OnceCell::new(),
            control: Mutex::default(),
        }
    }

    /// Where requests go, in words.
    pub fn place(&self) -> String {
        match &self.endpoint {
            Some(url) => url
                .split_once("://")
                .map_or(&**url, |(_, host)| host)
                .to_owned(),
            None => "Cloud Storage".into(),
        }
    }

    /// Where JSON requests go, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(GOOGLE)
    }

    /// The endpoint that the settings name.
    pub fn named_endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// For requests that the official client does not make.
    pub fn http(&self) -> Result<&reqwest::Client, Failure> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        one_tls();
        let client = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.limits.connect)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(self.http.get_or_init(|| client))
    }

    /// For small objects, and for reading.
    pub async fn media(&self) -> Result<&Storage, Failure> {
        let make = || async {
            one_tls();
            Storage::builder()
                .with_endpoint(self.endpoint())
                .with_credentials(Credentials::from(self.login.clone()))
                .with_retry_policy(NeverRetry)
                .with_read_resume_policy(NeverResume)
                .with_grpc_subchannel_count(1_usize)
                .build()
                .await
        };
        let made = self.media.get_or_try_init(make).await;
        made.map_err(|error| no_client(&error))
    }

    /// For lists, look-ups and removals. One that was not used for a while is made anew: its
    /// connection may be dead without anybody having noticed.
    pub async fn control(&self) -> Result<Control, Failure> {
        let mut made = self.control.lock().await;
        if let Some((control, used)) = &mut *made
            && used.elapsed() < self.limits.idle
        {
            *used = Instant::now();
            return Ok(control.clone());
        }
        one_tls();
        let url = self.control_endpoint.as_deref().unwrap_or(GOOGLE);
        let control = Control::new(url, USER_AGENT, &self.limits);
        let control = control.map_err(|error| no_client(&error))?;
        *made = Some((control.clone(), Instant::now()));
        Ok(control)
    }

    /// The next control request makes a new connection.
    pub async fn forget_control(&self) {
        self.control.lock().await.take();
    }

    /// How long the store's clock may take to be read.
    pub fn clock_limit(&self) -> Duration {
        self.limits.request.min(Duration::from_secs(10))
    }
}

fn no_client(error: &(dyn Error + 'static)) -> Failure {
    Failure::new(Cause::Request, tidy(&deepest(error).to_string()))
}

/// The official clients take the process' own TLS; there is one.
fn one_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Who came first chose the same: there is no other.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
