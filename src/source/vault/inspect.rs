use reqwest::Method;
use serde_json::{Value, json};

use super::VaultSource;
use super::client::{Api, Call};
use super::config::{Auth, Product};
use super::refusal;
use crate::source::{Finding, Probe, Severity, SourceError};
use crate::value::{Secret, format_age};

/// A static token that ends sooner than this is remarked on.
const SOON: std::time::Duration = std::time::Duration::from_hours(24 * 7);

/// What `lifeboat check` shows: the server, the login, the rights, the connection.
pub(super) async fn inspect(source: &VaultSource) -> Vec<Finding> {
    let api = match source.api() {
        Ok(api) => api,
        Err(error) => return vec![Finding::failed("server", &error)],
    };
    let probed = super::probe::probe(source, &api).await;
    let mut findings = vec![server(&probed)];
    if let Ok(probe) = &probed {
        let clock = probe.warnings.iter().filter(|text| text.contains("clock"));
        findings.extend(clock.map(|text| {
            warning("clock", text)
                .hinted("synchronise both clocks: certificates and logins go by them too")
        }));
    }
    findings.extend(connection(&api));
    // A node without its keys knows no tokens.
    if probed.is_ok_and(|probe| probe.not_now.is_none()) {
        findings.extend(login(source, &api).await);
    }
    findings
}

fn server(probed: &Result<Probe, SourceError>) -> Finding {
    match probed {
        Err(error) => Finding::failed("server", error),
        Ok(probe) => Finding {
            name: "server".into(),
            problem: probe.not_now.is_some().then_some(Severity::Warning),
            detail: probe.not_now.clone().map_or_else(
                || probe.summary.clone(),
                |why| format!("{}: {why}", probe.version.as_deref().unwrap_or("?")),
            ),
            hint: None,
        },
    }
}

fn connection(api: &Api) -> Option<Finding> {
    if let Some(text) = api.warning() {
        return Some(warning("tls", text).hinted("set `ca_cert` instead of `skip_verify`"));
    }
    let endpoint = api.endpoint();
    (!endpoint.is_tls() && !endpoint.is_local()).then(|| {
        warning(
            "tls",
            format!("the token and the data go to {endpoint} in the clear"),
        )
        .hinted("use `https://`, or reach the node beside this sidecar as 127.0.0.1")
    })
}

async fn login(source: &VaultSource, api: &Api) -> Vec<Finding> {
    let token = match source.token_if_any(api).await {
        Ok(token) => token,
        Err(error) => return vec![Finding::failed("login", &error)],
    };
    let (Some(token), None | Some(Product::Vault | Product::Openbao)) = (token, api.product())
    else {
        return Vec::new();
    };
    let found = match token_state(source, api, &token).await {
        Ok(found) => found,
        Err(error) => return vec![Finding::failed("login", &error)],
    };
    vec![found, policy(api, &token).await]
}

/// How long the token lives.
async fn token_state(
    source: &VaultSource,
    api: &Api,
    token: &Secret,
) -> Result<Finding, SourceError> {
    let call = Call {
        token: Some(token),
        ..Call::get("v1/auth/token/lookup-self")
    };
    let answer = api.call(call).await?;
    let method = source.keyring.describe();
    if answer.status == 403 {
        if refusal::said(&answer).contains("invalid token") {
            return Err(source.keyring.diagnose(api, token).await);
        }
        return Ok(Finding::fine(
            "login",
            format!("{method}; it may not look itself up"),
        ));
    }
    let Some(data) = answer.json.get("data") else {
        return Err(refusal::answered(&answer, "its token", api.endpoint()));
    };
    let ttl = data.get("ttl").and_then(Value::as_u64).unwrap_or(0);
    let renewable = data.get("renewable").and_then(Value::as_bool) == Some(true);
    if ttl == 0 {
        return Ok(Finding::fine(
            "login",
            format!("{method}; it never expires"),
        ));
    }
    let left = std::time::Duration::from_secs(ttl);
    let detail = format!("{method}; valid for {}", format_age(left));
    // Nobody looks after a token that was given to us, unless it is renewed for ever.
    let given = match &source.config.auth {
        None => true,
        Some(Auth::Token(auth)) => auth.token_file.is_none(),
        Some(_) => false,
    };
    let periodic = data.get("period").and_then(Value::as_u64).unwrap_or(0) > 0;
    if given && (!renewable || (left < SOON && !periodic)) {
        let rest = if renewable {
            ""
        } else {
            " and cannot be renewed"
        };
        return Ok(warning(
            "login",
            format!("{method}; it ends in {}{rest}", format_age(left)),
        )
        .hinted("use a login method, or a token file that an agent keeps fresh"));
    }
    Ok(Finding::fine("login", detail))
}

/// Whether the token may read snapshots.
async fn policy(api: &Api, token: &Secret) -> Finding {
    const PATH: &str = "sys/storage/raft/snapshot";
    let call = Call {
        method: Method::POST,
        path: "v1/sys/capabilities-self",
        token: Some(token),
        namespace: None,
        body: Some(json!({ "paths": [PATH] })),
    };
    let answer = match api.call(call).await {
        Ok(answer) => answer,
        Err(error) => return Finding::failed("policy", &error),
    };
    let granted = answer
        .json
        .get(PATH)
        .or_else(|| answer.json.get("data")?.get(PATH));
    let Some(granted) = granted.and_then(Value::as_array) else {
        return warning(
            "policy",
            format!("the token may not ask for its rights ({})", answer.status),
        );
    };
    if granted
        .iter()
        .filter_map(Value::as_str)
        .any(|right| matches!(right, "read" | "sudo" | "root"))
    {
        return Finding::fine("policy", "the policy allows snapshots");
    }
    Finding::problem(
        "policy",
        Severity::Failed,
        "the token may not read snapshots",
    )
    .hinted(Product::Vault.right())
}

fn warning(name: &str, detail: impl Into<String>) -> Finding {
    Finding::problem(name, Severity::Warning, detail)
}
