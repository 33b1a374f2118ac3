use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Env, HumanDuration, HumanSize, SecretSetting, load, redact};

/// Settings of an invented program, with every construct that real ones use.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    destinations: BTreeMap<String, Destination>,
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    jobs: BTreeMap<String, Job>,
    log: Option<Log>,
    scratch_dir: Option<PathBuf>,
    grace: Option<HumanDuration>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Destination {
    Url(#[schemars(extend("format" = "url"))] String),
    Full(Store),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Store {
    S3(S3),
    Local {
        path: PathBuf,
    },
    Sftp {
        url: String,
        password: Option<SecretSetting>,
        identity_file: Option<PathBuf>,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct S3 {
    bucket: String,
    #[serde(default)]
    force_path_style: bool,
    secret_access_key: Option<SecretSetting>,
    part_size: Option<HumanSize>,
    #[schemars(range(min = 1, max = 64))]
    concurrency: Option<u8>,
    sse: Option<Sse>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum Sse {
    #[serde(rename = "AES256")]
    Aes256,
    #[serde(rename = "aws:kms")]
    AwsKms,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Job {
    source: Source,
    destinations: Option<Vec<String>>,
    schedule: Option<Schedule>,
    run_on: Option<RunOn>,
    retention: Option<Retention>,
    #[schemars(extend("format" = "series"))]
    series: Option<String>,
    seal: Option<Seal>,
    enabled: Option<bool>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    ratio: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    Sqlite {
        path: PathBuf,
        page_size: Option<u32>,
    },
    Redis {
        url: Option<String>,
        password: Option<SecretSetting>,
        sentinel: Option<Sentinel>,
    },
    Vault {
        address: String,
        auth: Auth,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sentinel {
    master: String,
    urls: Vec<String>,
    password: Option<SecretSetting>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Auth {
    mount: Option<String>,
    #[serde(flatten)]
    method: Method,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
enum Method {
    Token {
        token: Option<SecretSetting>,
        token_file: Option<PathBuf>,
    },
    Kubernetes {
        role: String,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    every: Option<HumanDuration>,
    on_change: Option<OnChange>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OnChange {
    Switch(bool),
    After(HumanDuration),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RunOn {
    /// Where writes go.
    Primary,
    /// Where they are copied to.
    Replica,
    Any,
    PreferReplica,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retention {
    keep_last: Option<u32>,
    keep_within: Option<HumanDuration>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seal {
    level: Option<i32>,
    #[serde(default)]
    recipients: Vec<String>,
    passphrase: Option<SecretSetting>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Log {
    format: Option<LogFormat>,
    level: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LogFormat {
    Text,
    Json,
}

pub(super) fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The document that YAML and variables make.
pub(super) fn loaded<const LEN: usize>(yaml: &str, variables: [(&str, &str); LEN]) -> Value {
    let (document, problems) = load(
        Some(("config.yaml", yaml)),
        &Env::from(variables),
        &schema(),
    );
    assert!(problems.is_empty(), "unexpected problems: {problems:#?}");
    document
}

/// The problems of YAML and variables, each as `path: what`.
pub(super) fn problems<const LEN: usize>(
    yaml: &str,
    variables: [(&str, &str); LEN],
) -> Vec<String> {
    let (document, problems) = load(
        Some(("config.yaml", yaml)),
        &Env::from(variables),
        &schema(),
    );
    assert!(!problems.is_empty(), "no problem found in {document:#}");
    problems.iter().map(ToString::to_string).collect()
}

const VALID: &str = r#"
destinations:
  offsite:
    { type: s3, bucket: 2024, secret_access_key: { env: KEY }, part_size: 64MiB, sse: aws:kms }
  nas: file:///backups
jobs:
  vault:
    source: { type: vault, address: "https://vault", auth: { method: kubernetes, role: x } }
    schedule: { every: 1h, on_change: true }
    run_on: prefer_replica
    destinations: [offsite, nas]
    seal: { level: -3, recipients: ["age1"], passphrase: 12345 }
    retention: { keep_last: 7, keep_within: 30d }
    labels: { team: 7 }
    ratio: 2
  cache:
    source: { type: redis, password: { file: /run/secret }, sentinel: }
    schedule: { on_change: 5s }
"#;

#[test]
fn a_document_without_problems_deserializes_into_the_type_of_its_schema() {
    let document = loaded(
        VALID,
        [
            ("LIFEBOAT_JOBS__CACHE__ENABLED", "off"),
            ("LIFEBOAT_GRACE", "1m30s"),
        ],
    );
    let config: Config = serde_json::from_value(document.clone()).unwrap();
    let again = serde_json::to_value(&config).unwrap();
    assert_eq!(again["jobs"]["vault"]["seal"]["passphrase"], "<redacted>");
    assert_eq!(again["jobs"]["vault"]["labels"]["team"], "7");
    assert_eq!(again["jobs"]["cache"]["enabled"], false);
    assert_eq!(
        again["destinations"]["offsite"]["secret_access_key"],
        json!({ "env": "KEY" })
    );
    assert_eq!(again["grace"], "1m30s");
    assert_eq!(
        redact(&document, &schema())["jobs"]["vault"]["seal"]["passphrase"],
        "<redacted>"
    );
}

/// Pieces that come close to being settings.
fn scrap() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "jobs",
        "destinations",
        "source",
        "type",
        "sqlite",
        "vault",
        "auth",
        "method",
        "token",
        "s3",
        "schedule",
        "every",
        "password",
        "env",
        "file",
        "labels",
        "<<",
        "&a",
        "*a",
        ": ",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "\n  ",
        "\n    ",
        "1h",
        "64M",
        "007",
        "1e5",
        "true",
        "~",
        "!x",
        "!!int",
        "---\n",
        "\"",
        "'",
        "#",
        "|",
        "é",
        "\u{0}",
        "{hostname}",
        "99999999999999999999999",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

fn variable() -> impl Strategy<Value = (String, String)> {
    let part = prop::sample::select(vec![
        "JOBS",
        "DESTINATIONS",
        "X",
        "x-y",
        "SOURCE",
        "AUTH",
        "TYPE",
        "METHOD",
        "PASSWORD",
        "FILE",
        "_FILE",
        "ENV",
        "__",
        "__",
        "_",
        "É",
        "LABELS",
        "GRACE",
        "SCHEDULE",
        "ON_CHANGE",
    ]);
    let name = prop::collection::vec(part, 0..8);
    let text = prop_oneof![".*", scrap()];
    (name, text).prop_map(|(name, text)| (format!("LIFEBOAT_{}", name.concat()), text))
}

fn scalar() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(7),
        json!(300),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("s3"),
        json!("1h"),
        json!("1GiB"),
        json!([]),
        json!(["x", 7]),
        json!({}),
        json!({ "env": "X" }),
        json!({ "type": "local", "path": "/x" }),
    ])
}

fn pointers(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{path}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, format!("{path}/{key}"), found);
            }
        }
        _ => {}
    }
    found.push(path);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_passes_the_check_is_what_the_program_can_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), scalar()), 1..4),
    ) {
        let mut document = loaded(VALID, []);
        for (place, value) in changes {
            let mut places = Vec::new();
            pointers(&document, String::new(), &mut places);
            if let Some(old) = document.pointer_mut(&places[place.index(places.len())]) {
                *old = value;
            }
        }
        let yaml = document.to_string();
        let (document, problems) =
            load(Some(("config.yaml", &yaml)), &Env::default(), &schema());
        if problems.is_empty() {
            let config = serde_json::from_value::<Config>(document.clone());
            prop_assert!(config.is_ok(), "{config:?} from {document}");
        }
    }

    #[test]
    fn no_text_and_no_variable_makes_it_panic(
        yaml in prop_oneof![".*", "(?s).*", scrap()],
        variables in prop::collection::vec(variable(), 0..5),
    ) {
        let env: Env = variables.into_iter().collect();
        let schema = schema();
        let (document, _) = load(Some(("config.yaml", &yaml)), &env, &schema);
        redact(&document, &schema);
        super::unreadable_secrets(&document, &schema, &env);
        super::redact_text(&yaml);
    }
}
