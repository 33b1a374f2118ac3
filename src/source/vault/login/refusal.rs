//! What a login or a token that was refused means, in words that hold no secret.

use super::grant::NoGrant;
use super::method::{Kind, Method};
use crate::source::vault::client::Answer;
use crate::source::vault::refusal::LOG;
use crate::source::{SourceError, SourceErrorKind};
use crate::value::Secret;

const MAX_QUOTED: usize = 200;
const SNAPSHOT_POLICY: &str =
    r#"its policies need: path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#;

/// A login that was answered with anything but success.
pub(super) fn login(method: &Method, answer: &Answer, secrets: &[Secret]) -> SourceError {
    let who = method.describe();
    let said = said(answer, secrets);
    match answer.status {
        429 | 472 | 473 | 502..=504 => {
            not_now(format!("login by {who} is not possible: {said}")).hint(LOG)
        }
        status => {
            let error = refused(format!("login by {who} was refused: {said}"));
            error.hint(hint(method, status, &said).unwrap_or_else(|| LOG.into()))
        }
    }
}

/// A login that was answered with success, and with nothing to use.
pub(super) fn empty(method: &Method, lack: NoGrant) -> SourceError {
    let who = method.describe();
    match lack {
        NoGrant::SecondFactor => refused(format!("login by {who} asks for a second factor"))
            .hint("nobody is here to give it: leave this user or mount out of the MFA enforcement"),
        NoGrant::Wrapped => refused(format!("login by {who} was answered with a wrapped token"))
            .hint("something between here and the server asks for response wrapping"),
        NoGrant::NoToken => refused(format!("login by {who} was answered without a token"))
            .hint("is `address` that of Vault or OpenBao, and `mount` that of the method?"),
    }
}

/// A token that was denied the snapshot, by what `lookup-self` says of it. `who` is the token or
/// the login it came from; `remedy` how to come by another.
pub(super) fn token(who: &str, remedy: &str, lookup: &Answer) -> SourceError {
    match lookup.status {
        200 => {
            let policies = policies(lookup);
            let why = format!("the {who} is valid, but may not read snapshots{policies}");
            SourceError::new(SourceErrorKind::Denied, why).hint(SNAPSHOT_POLICY)
        }
        403 if said(lookup, &[]).contains("invalid token") => {
            refused(format!("the {who} has expired or was revoked")).hint(remedy)
        }
        // Without the default policy a good token may not look itself up, and older servers do not
        // tell it from a bad one.
        403 => {
            let why =
                format!("the {who} was denied: it may not read snapshots, or is no longer valid");
            SourceError::new(SourceErrorKind::Denied, why).hint(SNAPSHOT_POLICY)
        }
        _ => not_now(format!(
            "the {who} was denied, and cannot be looked up: {}",
            said(lookup, &[])
        ))
        .hint(LOG),
    }
}

/// The next step, by the server's words where they tell.
fn hint(method: &Method, status: u16, said: &str) -> Option<String> {
    let has = |words: &str| said.contains(words);
    let known = match method.kind {
        Kind::AppRole if has("invalid role or secret") || has("invalid secret id") => {
            "check `role_id` and `secret_id`; a secret id ends with its TTL or number of uses"
        }
        Kind::AppRole if has("missing secret_id") => {
            "the role asks for a secret id: set `secret_id`"
        }
        Kind::AppRole | Kind::Userpass | Kind::Ldap | Kind::Cert if has("CIDR") => {
            "only certain addresses may log in so"
        }
        Kind::Kubernetes if has("service account name not") => {
            "the role's `bound_service_account_names` must have this pod's service account"
        }
        Kind::Kubernetes if has("namespace not") => {
            "the role's `bound_service_account_namespaces` must have this pod's namespace"
        }
        Kind::Kubernetes if has("audience") => {
            "the role's `audience` must be one of the token's: project a token with it and set `jwt_path`"
        }
        Kind::Kubernetes if has("expired") => {
            "the service account's token has expired: only a projected one is renewed in its file"
        }
        Kind::Kubernetes | Kind::Jwt if has("role name") || has("could not be found") => {
            "check `role` and `mount`"
        }
        Kind::Kubernetes if status == 403 => {
            return Some(format!(
                "is anything mounted at `auth/{}`, in this namespace? can it have tokens reviewed? the server's log says which",
                method.mount
            ));
        }
        Kind::Jwt if has("audience") => {
            "the token's `aud` must be one of the role's `bound_audiences`"
        }
        Kind::Jwt if has("expired") => "the token in `jwt_path` must be replaced before it expires",
        Kind::Jwt if has("claim") => "the token does not fit what the role binds",
        Kind::Jwt if has("signature") => {
            "`jwt_path` must hold one token, signed by a key the mount knows"
        }
        Kind::Jwt if has("missing role") => "the mount has no default role: set `role`",
        Kind::Userpass | Kind::Ldap
            if has("invalid username or password")
                || has("invalid credentials")
                || has("determine alias name") =>
        {
            "check `username` and `password`"
        }
        Kind::Userpass | Kind::Ldap if status == 403 => {
            return Some(format!(
                "is anything mounted at `auth/{}`, in this namespace? is the user locked out after wrong passwords?",
                method.mount
            ));
        }
        Kind::Ldap if has("connect") => "the server cannot reach its directory",
        Kind::Cert if has("tls connection required") => "`address` must begin with `https://`",
        Kind::Cert if has("must be supplied") || has("no client certificate") => {
            "no certificate arrived: check `client_cert`, and that no proxy ends TLS on the way"
        }
        Kind::Cert if has("constraints") || has("invalid certificate") => {
            "no role takes this certificate: check `client_cert`, `name` and the role's own limits"
        }
        _ if matches!(status, 403 | 404) => {
            return Some(format!(
                "is anything mounted at `auth/{}`, in this namespace? check `mount` and `namespace`",
                method.mount
            ));
        }
        _ if matches!(status, 300..=399) => "set `address` to the server itself",
        _ => return None,
    };
    Some(known.into())
}

/// The server's own words on one line, without what we sent it.
fn said(answer: &Answer, secrets: &[Secret]) -> String {
    let mut text = answer
        .errors()
        .iter()
        .flat_map(|error| error.lines())
        .map(|line| line.trim().trim_start_matches("* "))
        // The heading of a list: `2 errors occurred:`.
        .filter(|line| !line.is_empty() && !line.ends_with("occurred:"))
        .collect::<Vec<_>>()
        .join(", ");
    for secret in secrets.iter().filter(|secret| !secret.expose().is_empty()) {
        text = text.replace(secret.expose(), &secret.to_string());
    }
    text.retain(|character| !character.is_control());
    if let Some((end, _)) = text.char_indices().nth(MAX_QUOTED) {
        text.truncate(end);
        text.push('…');
    }
    if text.is_empty() {
        return format!("status {} without a reason", answer.status);
    }
    text
}

fn policies(lookup: &Answer) -> String {
    let names = lookup.json["data"]["policies"].as_array();
    let names: Vec<_> = names
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" (policies: {})", names.join(", "))
}

fn refused(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Login, why)
}

fn not_now(why: String) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, why)
}
