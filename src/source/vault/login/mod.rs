//! Who we are to the server: a token that somebody else made, or a login whose token is kept while
//! it is good.

mod given;
mod grant;
mod method;
mod refusal;

use std::time::Instant;

use reqwest::Method as Verb;
use tokio::sync::Mutex;

use self::given::Given;
use self::grant::{Grant, Next};
use self::method::{Kind, Method, Proof};
use super::client::{Api, Call};
use super::config::{AppRoleAuth, Auth, Product, VaultConfig};
use crate::source::{SourceError, SourceErrorKind};
use crate::value::{Env, Secret};

/// A setting that cannot be used: the key and the reason.
type Unusable = (&'static str, String);

/// Where tokens come from.
#[derive(Debug)]
pub(super) struct Keyring {
    origin: Origin,
    namespace: Option<String>,
    env: Env,
    /// What the last login gave. Locked over a login, so that two runs need no more than one.
    held: Mutex<Option<Grant>>,
}

#[derive(Debug)]
enum Origin {
    /// Nothing is set. Consul and Nomad may ask for no token, and what only reads backups needs
    /// none.
    Nobody,
    Given(Given),
    Login(Method),
}

impl Keyring {
    /// Reads and checks everything that can be checked without a connection. The error is the key
    /// concerned and why.
    pub fn new(config: &VaultConfig, env: &Env) -> Result<Self, Unusable> {
        let origin = Origin::find(config, env)?;
        match &origin {
            Origin::Nobody => {}
            Origin::Given(given) => given.read(env).map(|_| ())?,
            Origin::Login(method) => method.prepare(env).map(|_| ())?,
        }
        let namespace = config.namespace.as_deref().or_else(|| {
            // As for tokens: the `BAO_` twin counts even when it is empty.
            let bao = env.get("BAO_NAMESPACE");
            bao.or_else(|| env.get("VAULT_NAMESPACE"))
        });
        let namespace = namespace.map(|name| name.trim_matches('/'));
        Ok(Self {
            origin,
            namespace: namespace.filter(|name| !name.is_empty()).map(Into::into),
            env: env.clone(),
            held: Mutex::new(None),
        })
    }

    /// Whether there is any login at all.
    pub fn ready(&self) -> Result<(), Unusable> {
        match self.origin {
            Origin::Nobody => {
                let none = "is not set, and the environment has no `BAO_TOKEN`, `VAULT_TOKEN` or \
                            `VAULT_ROLE_ID`";
                Err(("auth", none.into()))
            }
            Origin::Given(_) | Origin::Login(_) => Ok(()),
        }
    }

    /// The token to send now: one that somebody else made is read anew; a login's is reused while
    /// it is good, and renewed or replaced by another login before it ends.
    pub async fn token(&self, api: &Api) -> Result<Secret, SourceError> {
        let method = match &self.origin {
            Origin::Nobody => {
                let why = "no login is set: the source has no `auth`, and the environment no token";
                return Err(SourceError::new(SourceErrorKind::Login, why)
                    .hint("set `auth`, or VAULT_TOKEN, or VAULT_ROLE_ID with VAULT_SECRET_ID"));
            }
            Origin::Given(given) => return given.read(&self.env).map_err(unusable),
            Origin::Login(method) => method,
        };
        let mut held = self.held.lock().await;
        let next = held
            .as_ref()
            .map(|grant| (grant, grant.next(Instant::now())));
        match next {
            Some((grant, Next::Reuse)) => Ok(grant.token.clone()),
            Some((grant, Next::Renew)) => match renew(api, grant).await {
                Some(renewed) => Ok(held.insert(renewed).token.clone()),
                None => self.log_in(api, method, &mut held).await,
            },
            Some((_, Next::Login)) | None => self.log_in(api, method, &mut held).await,
        }
    }

    /// A newer token than `refused`, which the server answered with 403: what the file holds by
    /// now, or what another login gives. None: there is nothing newer.
    pub async fn after_refusal(
        &self,
        api: &Api,
        refused: &Secret,
    ) -> Result<Option<Secret>, SourceError> {
        let method = match &self.origin {
            Origin::Nobody => return Ok(None),
            Origin::Given(given) => {
                let now = given.read(&self.env).map_err(unusable)?;
                return Ok((now != *refused).then_some(now));
            }
            Origin::Login(method) => method,
        };
        let mut held = self.held.lock().await;
        if let Some(grant) = held.as_ref()
            && grant.token != *refused
            && grant.next(Instant::now()) == Next::Reuse
        {
            return Ok(Some(grant.token.clone()));
        }
        self.log_in(api, method, &mut held).await.map(Some)
    }

    /// Why the server denies `refused` the snapshot, found out by asking it about the token.
    pub async fn diagnose(&self, api: &Api, refused: &Secret) -> SourceError {
        let call = Call {
            method: Verb::GET,
            path: "v1/auth/token/lookup-self",
            token: Some(refused),
            namespace: None,
            body: None,
        };
        let (who, remedy) = match &self.origin {
            Origin::Nobody => ("token".into(), ""),
            Origin::Given(given) => (given.describe(), given.remedy()),
            Origin::Login(method) => (
                format!("token of the login by {}", method.describe()),
                "do all requests reach the same cluster?",
            ),
        };
        match api.call(call).await {
            Ok(lookup) => refusal::token(&who, remedy, &lookup),
            Err(error) => error,
        }
    }

    /// For messages: `token in `VAULT_TOKEN``, `approle at `approle``.
    pub fn describe(&self) -> String {
        match &self.origin {
            Origin::Nobody => "no token".into(),
            Origin::Given(given) => given.describe(),
            Origin::Login(method) => method.describe(),
        }
    }

    async fn log_in(
        &self,
        api: &Api,
        method: &Method,
        held: &mut Option<Grant>,
    ) -> Result<Secret, SourceError> {
        tracing::debug!("logging in by {}", method.describe());
        // Whatever was held is of no use, also when this fails.
        *held = None;
        let login = method.prepare(&self.env).map_err(unusable)?;
        let asked = Instant::now();
        let call = Call {
            method: Verb::POST,
            path: &login.path,
            token: None,
            namespace: self.namespace.as_deref(),
            body: Some(login.body),
        };
        let answer = api.call(call).await?;
        if answer.status != 200 {
            return Err(refusal::login(method, &answer, &login.secrets));
        }
        let grant =
            Grant::read(&answer.json, asked).map_err(|lack| refusal::empty(method, lack))?;
        Ok(held.insert(grant).token.clone())
    }
}

impl Origin {
    fn find(config: &VaultConfig, env: &Env) -> Result<Self, Unusable> {
        let Some(auth) = &config.auth else {
            return Self::in_environment(config.product, env);
        };
        let tokens_only = matches!(config.product, Product::Consul | Product::Nomad);
        if tokens_only && !matches!(auth, Auth::Token(_)) {
            return Err(("auth.method", "must be `token` for this `product`".into()));
        }
        let (kind, mount, proof) = match auth {
            Auth::Token(auth) => {
                let none = "has neither `token` nor `token_file`, and the environment has no token";
                let given = Given::find(auth, config.product, env)?;
                return given.map(Self::Given).ok_or(("auth", none.into()));
            }
            Auth::Approle(auth) => (Kind::AppRole, &auth.mount, Proof::app_role(auth, env)?),
            Auth::Kubernetes(auth) => (Kind::Kubernetes, &auth.mount, Proof::pod(auth)),
            Auth::Jwt(auth) => (Kind::Jwt, &auth.mount, Proof::jwt(auth)),
            Auth::Userpass(auth) => (Kind::Userpass, &auth.mount, Proof::password(auth)?),
            Auth::Ldap(auth) => (Kind::Ldap, &auth.mount, Proof::password(auth)?),
            Auth::Cert(auth) => (
                Kind::Cert,
                &auth.mount,
                Proof::certificate(auth, config, env)?,
            ),
        };
        Method::new(kind, mount.as_deref(), proof).map(Self::Login)
    }

    fn in_environment(product: Product, env: &Env) -> Result<Self, Unusable> {
        if let Some(given) = Given::in_environment(product, env) {
            return Ok(Self::Given(given));
        }
        if let Product::Consul | Product::Nomad = product {
            return Ok(Self::Nobody);
        }
        let app_role = AppRoleAuth {
            mount: None,
            role_id: None,
            secret_id: None,
        };
        match Proof::app_role(&app_role, env) {
            Ok(proof) => Method::new(Kind::AppRole, None, proof).map(Self::Login),
            Err(_) => Ok(Self::Nobody),
        }
    }
}

/// The token with a new lease; nothing where a login is better, for whatever reason.
async fn renew(api: &Api, grant: &Grant) -> Option<Grant> {
    tracing::debug!("renewing the token");
    let asked = Instant::now();
    let call = Call {
        method: Verb::POST,
        path: "v1/auth/token/renew-self",
        token: Some(&grant.token),
        namespace: None,
        body: None,
    };
    let answer = api.call(call).await.ok()?;
    let renewal = Grant::read(&answer.json, asked).ok()?;
    grant.renewed(renewal)
}

fn unusable((key, why): Unusable) -> SourceError {
    SourceError::new(SourceErrorKind::Login, format!("`{key}`: {why}"))
}

#[cfg(test)]
mod tests;
