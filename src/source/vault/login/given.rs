use super::Unusable;
use super::grant::is_token;
use crate::source::vault::config::{Product, TokenAuth};
use crate::value::{Env, Secret, SecretSetting};

/// A token that somebody else made: where it is kept, and the key that says so.
#[derive(Debug)]
pub(super) struct Given {
    key: &'static str,
    setting: SecretSetting,
}

impl Given {
    /// The token the settings name, else the one of the environment, if there is one.
    pub fn find(auth: &TokenAuth, product: Product, env: &Env) -> Result<Option<Self>, Unusable> {
        match (auth.token.clone(), auth.token_file.clone()) {
            (Some(_), Some(_)) => Err(("auth.token_file", "cannot be set beside `token`".into())),
            (Some(setting), None) => Ok(Some(Self {
                key: "auth.token",
                setting,
            })),
            (None, Some(file)) => Ok(Some(Self {
                key: "auth.token_file",
                setting: SecretSetting::File { file },
            })),
            (None, None) => Ok(Self::in_environment(product, env)),
        }
    }

    /// The token that the servers' own clients would take from the environment.
    pub fn in_environment(product: Product, env: &Env) -> Option<Self> {
        let (token, file) = match product {
            Product::Consul => ("CONSUL_HTTP_TOKEN", Some("CONSUL_HTTP_TOKEN_FILE")),
            Product::Nomad => ("NOMAD_TOKEN", None),
            // A `BAO_` variable that is set and empty hides its `VAULT_` twin, as for its CLI.
            _ if env.get("BAO_TOKEN").is_some() => ("BAO_TOKEN", Some("BAO_TOKEN_PATH")),
            _ => ("VAULT_TOKEN", Some("BAO_TOKEN_PATH")),
        };
        let set = |name| env.get(name).filter(|value| !value.is_empty());
        let setting = match (set(token), file.and_then(set)) {
            (Some(_), _) => SecretSetting::Env { env: token.into() },
            (None, Some(file)) => SecretSetting::File { file: file.into() },
            (None, None) => return None,
        };
        Some(Self {
            key: "auth",
            setting,
        })
    }

    /// The token as it is now.
    pub fn read(&self, env: &Env) -> Result<Secret, Unusable> {
        let token = self.setting.read(env).map_err(|why| (self.key, why))?;
        if is_token(token.expose()) {
            return Ok(token);
        }
        let who = self.describe();
        Err((
            self.key,
            format!("the {who} holds blanks, line breaks or other characters that no token has"),
        ))
    }

    pub fn describe(&self) -> String {
        match &self.setting {
            SecretSetting::Plain(_) => "token".into(),
            SecretSetting::Env { env } => format!("token in `{env}`"),
            SecretSetting::File { file } => format!("token in `{}`", file.display()),
        }
    }

    /// How to bring another token here.
    pub fn remedy(&self) -> &'static str {
        match &self.setting {
            SecretSetting::File { .. } => "write a new token to the file; it is read at each run",
            SecretSetting::Plain(_) | SecretSetting::Env { .. } => {
                "set a new token and start again; a token file or a login method heals by itself"
            }
        }
    }
}
