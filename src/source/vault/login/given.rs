use super::Unusable;
use super::grant::is_token;
use crate::source::vault::config::TokenAuth;
use crate::value::{Env, Secret, SecretSetting};

/// A token that somebody else made: where it is kept, and the key that says so.
#[derive(Debug)]
pub(super) struct Given {
    key: &'static str,
    setting: SecretSetting,
}

impl Given {
    /// The token the settings name, else the one of the environment, if there is one.
    pub fn find(auth: &TokenAuth, env: &Env) -> Result<Option<Self>, Unusable> {
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
            (None, None) => Ok(Self::in_environment(env)),
        }
    }

    /// The token that the servers' own clients would take from the environment.
    pub fn in_environment(env: &Env) -> Option<Self> {
        // A `BAO_` variable that is set and empty hides its `VAULT_` twin, as for OpenBao's CLI.
        let name = if env.get("BAO_TOKEN").is_some() {
            "BAO_TOKEN"
        } else {
            "VAULT_TOKEN"
        };
        let set = |name| env.get(name).filter(|value| !value.is_empty());
        let setting = match (set(name), set("BAO_TOKEN_PATH")) {
            (Some(_), _) => SecretSetting::Env { env: name.into() },
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
