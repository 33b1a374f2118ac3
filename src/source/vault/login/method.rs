use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::Unusable;
use super::grant::is_token;
use crate::source::vault::config::{
    AppRoleAuth, CertAuth, JwtAuth, KubernetesAuth, PasswordAuth, VaultConfig,
};
use crate::value::{Env, Secret, SecretSetting};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A way to log in.
#[derive(Debug)]
pub(super) struct Method {
    pub kind: Kind,
    /// Below `auth/`, without slashes at its ends.
    pub mount: String,
    proof: Proof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AppRole,
    Kubernetes,
    Jwt,
    Userpass,
    Ldap,
    Cert,
}

/// What shows who we are. Secrets and files stand here as settings, and are read at each login.
#[derive(Debug)]
pub(super) enum Proof {
    AppRole {
        role_id: SecretSetting,
        secret_id: Option<SecretSetting>,
    },
    Jwt {
        role: Option<String>,
        file: PathBuf,
    },
    Password {
        username: String,
        password: SecretSetting,
    },
    Certificate {
        name: Option<String>,
    },
}

/// A login, ready to be sent. It has no `Debug`, since its body holds the secrets.
pub(super) struct Login {
    pub path: String,
    pub body: Value,
    /// The secrets in the body, to strike them out of whatever the server answers.
    pub secrets: Vec<Secret>,
}

impl Kind {
    /// As `method` in the settings has it; also where the server mounts it unless told.
    pub fn name(self) -> &'static str {
        match self {
            Kind::AppRole => "approle",
            Kind::Kubernetes => "kubernetes",
            Kind::Jwt => "jwt",
            Kind::Userpass => "userpass",
            Kind::Ldap => "ldap",
            Kind::Cert => "cert",
        }
    }
}

impl Method {
    /// A method at its mount, which is the method's own name unless set.
    pub fn new(kind: Kind, mount: Option<&str>, proof: Proof) -> Result<Self, Unusable> {
        let mount = mount.unwrap_or(kind.name()).trim_matches('/');
        if !mount.split('/').all(is_segment) {
            let why = "is not a path such as `approle` or `team/approle`";
            return Err(("auth.mount", why.into()));
        }
        let mount = mount.to_owned();
        Ok(Self { kind, mount, proof })
    }

    /// `approle at `approle``.
    pub fn describe(&self) -> String {
        format!("{} at `{}`", self.kind.name(), self.mount)
    }

    /// The login with the secrets as they are now.
    pub fn prepare(&self, env: &Env) -> Result<Login, Unusable> {
        let mut path = self.mount.split('/').fold("v1/auth".into(), below) + "/login";
        let mut body = Map::new();
        let mut secrets = Vec::new();
        let mut put = |name: &str, secret: Secret| {
            body.insert(name.into(), secret.expose().into());
            secrets.push(secret);
        };
        match &self.proof {
            Proof::AppRole { role_id, secret_id } => {
                put("role_id", read("auth.role_id", role_id, env)?);
                if let Some(secret_id) = secret_id {
                    put("secret_id", read("auth.secret_id", secret_id, env)?);
                }
            }
            Proof::Jwt { role, file } => {
                let setting = SecretSetting::File { file: file.clone() };
                let jwt = read("auth.jwt_path", &setting, env)?;
                if !is_token(jwt.expose()) {
                    let file = file.display();
                    return Err((
                        "auth.jwt_path",
                        format!("`{file}` holds more than one signed token on one line"),
                    ));
                }
                put("jwt", jwt);
                if let Some(role) = role {
                    body.insert("role".into(), role.as_str().into());
                }
            }
            Proof::Password { username, password } => {
                path = below(path, username);
                put("password", read("auth.password", password, env)?);
            }
            Proof::Certificate { name } => {
                if let Some(name) = name {
                    body.insert("name".into(), name.as_str().into());
                }
            }
        }
        let body = body.into();
        Ok(Login {
            path,
            body,
            secrets,
        })
    }
}

impl Proof {
    /// The ids the settings name, else those of the environment.
    pub fn app_role(auth: &AppRoleAuth, env: &Env) -> Result<Self, Unusable> {
        let role_id = auth.role_id.clone();
        let Some(role_id) = role_id.or_else(|| variable(env, "VAULT_ROLE_ID")) else {
            let why = "is not set, nor is `VAULT_ROLE_ID` in the environment";
            return Err(("auth.role_id", why.into()));
        };
        let secret_id = auth.secret_id.clone();
        let secret_id = secret_id.or_else(|| variable(env, "VAULT_SECRET_ID"));
        Ok(Self::AppRole { role_id, secret_id })
    }

    pub fn pod(auth: &KubernetesAuth) -> Self {
        let file = auth.jwt_path.clone();
        Self::Jwt {
            role: Some(auth.role.clone()),
            file: file.unwrap_or_else(|| SERVICE_ACCOUNT.into()),
        }
    }

    pub fn jwt(auth: &JwtAuth) -> Self {
        Self::Jwt {
            role: auth.role.clone(),
            file: auth.jwt_path.clone(),
        }
    }

    pub fn password(auth: &PasswordAuth) -> Result<Self, Unusable> {
        if !is_segment(&auth.username) {
            return Err(("auth.username", "is not the name of a user".into()));
        }
        Ok(Self::Password {
            username: auth.username.clone(),
            password: auth.password.clone(),
        })
    }

    /// The certificate is the connection's; here it is only made sure that there is one.
    pub fn certificate(auth: &CertAuth, config: &VaultConfig, env: &Env) -> Result<Self, Unusable> {
        let known = |name: &&str| variable(env, name).is_some();
        let from = [
            "BAO_CLIENT_CERT",
            "BAO_CLIENT_CERT_BYTES",
            "VAULT_CLIENT_CERT",
        ];
        if config.client_cert.is_none() && !from.iter().any(known) {
            let why = "is not set, and the login method `cert` needs it with `client_key`";
            return Err(("client_cert", why.into()));
        }
        Ok(Self::Certificate {
            name: auth.name.clone(),
        })
    }
}

fn variable(env: &Env, name: &str) -> Option<SecretSetting> {
    env.get(name).filter(|value| !value.is_empty())?;
    Some(SecretSetting::Env { env: name.into() })
}

fn read(key: &'static str, setting: &SecretSetting, env: &Env) -> Result<Secret, Unusable> {
    setting.read(env).map_err(|why| (key, why))
}

/// Whether this names one step of a path; dots would lead elsewhere.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
}

fn below(path: String, segment: &str) -> String {
    path + "/" + &utf8_percent_encode(segment, SEGMENT).to_string()
}
