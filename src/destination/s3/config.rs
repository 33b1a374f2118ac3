use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::value::{HumanSize, SecretSetting};

/// The smallest part S3 takes, but for the last one.
pub(super) const SMALLEST_PART: u64 = 5 << 20;
/// The largest part S3 takes.
const LARGEST_PART: u64 = 5 << 30;
const MOST_CONCURRENCY: u32 = 64;

/// A bucket that speaks S3, of AWS or of another store with an `endpoint`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket's name. It must exist.
    pub bucket: String,
    /// Folder inside the bucket. All keys begin with it and a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The bucket's region. Default: `AWS_REGION`, the AWS profile or the instance; with an
    /// `endpoint`, `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// URL of a store other than AWS, such as `https://minio.example:9000`. Default:
    /// `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL`, then AWS itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Put the bucket's name into the path (`endpoint/bucket/key`) and not into the host name.
    /// Default: true with an `endpoint`, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_path_style: Option<bool>,
    /// Access key. Without one, the usual places are searched: environment, AWS profile, web
    /// identity token, container and instance metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<SecretSetting>,
    /// Secret of the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretSetting>,
    /// Session token, for temporary access keys. Read again for every request, as the keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretSetting>,
    /// Storage class of new objects, such as `STANDARD_IA`. Default: the bucket's. Classes that
    /// must be thawed before they can be read make `verify` and `restore` fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Encryption by the store. Default: the bucket's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<ServerSideEncryption>,
    /// Key for `sse: aws:kms`. Default: the account's key for S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_kms_key_id: Option<String>,
    /// PEM file with certificates to trust for this endpoint, beside the system's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// Size of the parts of a large upload, 5MiB to 5GiB. Default: 5MiB, and as much more as
    /// keeps a backup within the 10,000 parts that S3 allows. An upload takes memory for
    /// `concurrency` parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_size: Option<HumanSize>,
    /// Parts in flight at the same time, 1 to 64. Each must get 32KiB per second at least; use
    /// fewer where the network is slower.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: u32,
    /// Checksums (CRC32C) sent with every upload for the store to check. `auto` sends them unless
    /// the store refuses them; `required` fails then; `off` never sends them.
    #[serde(default)]
    pub checksum: ChecksumMode,
}

/// Encryption by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerSideEncryption {
    /// With keys that the store manages.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of the key management service.
    #[serde(rename = "aws:kms")]
    AwsKms,
}

/// When to send checksums with uploads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumMode {
    /// Unless the store refuses them.
    #[default]
    Auto,
    /// Always; a store that refuses them fails the upload.
    Required,
    /// Never.
    Off,
}

fn default_concurrency() -> u32 {
    4
}

impl S3Config {
    /// What is wrong with the settings beyond their types: each key, and why.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut problem = |key, why: String| problems.push((key, why));
        if self.bucket.is_empty() || self.bucket.contains('/') {
            problem(
                "bucket",
                "must be the name of a bucket, without slashes".into(),
            );
        }
        if let Some(endpoint) = &self.endpoint
            && let Err(why) = check_endpoint(endpoint)
        {
            problem("endpoint", why);
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            let (set, missing) = match self.access_key_id {
                Some(_) => ("access_key_id", "secret_access_key"),
                None => ("secret_access_key", "access_key_id"),
            };
            problem(missing, format!("is missing: `{set}` is set and needs it"));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            problem(
                "session_token",
                "needs `access_key_id` and `secret_access_key`".into(),
            );
        }
        if self.sse_kms_key_id.is_some() && self.sse != Some(ServerSideEncryption::AwsKms) {
            problem("sse_kms_key_id", "needs `sse: aws:kms`".into());
        }
        if let Some(HumanSize(size)) = self.part_size
            && !(SMALLEST_PART..=LARGEST_PART).contains(&size)
        {
            problem("part_size", "must be 5MiB to 5GiB".into());
        }
        if !(1..=MOST_CONCURRENCY).contains(&self.concurrency) {
            problem("concurrency", format!("must be 1 to {MOST_CONCURRENCY}"));
        }
        problems
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let url = Url::parse(endpoint)
        .map_err(|_| format!("`{endpoint}` is no URL; write `https://host:port`"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must begin with `https://` or `http://` and name a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or fragment".into());
    }
    Ok(())
}

/// The settings in `s3://bucket/prefix?endpoint=…&region=…`, every value a string.
///
/// # Errors
/// When the bucket is missing, or the URL holds what does not belong into one.
pub fn settings_from_url(url: &Url) -> Result<Value, String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "keys do not belong into a URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
        );
    }
    if url.port().is_some() {
        return Err(
            "`s3://` is followed by the bucket, not by a host and port; \
             write `s3://bucket/prefix?endpoint=http://host:port`"
                .into(),
        );
    }
    if url.fragment().is_some() {
        return Err("a destination's URL has no `#`".into());
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(String::from)
            .map_err(|_| format!("`{text}` is not UTF-8"))
    };
    let bucket = decode(url.host_str().unwrap_or_default())?;
    if bucket.is_empty() {
        return Err("the bucket is missing; write `s3://bucket/prefix`".into());
    }
    let mut settings = Map::new();
    settings.insert("type".into(), "s3".into());
    settings.insert("bucket".into(), bucket.into());
    let prefix = decode(url.path())?;
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() {
        settings.insert("prefix".into(), prefix.into());
    }
    for (key, value) in url.query_pairs() {
        if matches!(&*key, "secret_access_key" | "session_token") {
            return Err(format!(
                "`{key}` does not belong into a URL, where others can read it; \
                 set AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN"
            ));
        }
        if settings
            .insert(key.to_string(), value.into_owned().into())
            .is_some()
        {
            return Err(format!("`{key}` is given twice"));
        }
    }
    Ok(Value::Object(settings))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(url: &str) -> Result<Value, String> {
        settings_from_url(&Url::parse(url).unwrap())
    }

    fn config(settings: Value) -> S3Config {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn a_url_gives_bucket_prefix_and_query_as_strings() {
        assert_eq!(
            settings("s3://my_Bucket/a/b%20c/?endpoint=http://minio:9000&concurrency=8").unwrap(),
            json!({ "type": "s3", "bucket": "my_Bucket", "prefix": "a/b c",
                "endpoint": "http://minio:9000", "concurrency": "8" })
        );
        assert_eq!(
            settings("s3://b").unwrap(),
            json!({ "type": "s3", "bucket": "b" })
        );
        assert_eq!(
            settings("s3://b//").unwrap(),
            json!({ "type": "s3", "bucket": "b" })
        );
    }

    #[test]
    fn a_url_without_bucket_or_with_secrets_is_refused() {
        assert!(
            settings("s3:///prefix")
                .unwrap_err()
                .contains("bucket is missing")
        );
        assert!(
            settings("s3:prefix")
                .unwrap_err()
                .contains("bucket is missing")
        );
        for url in ["s3://key@b", "s3://key:secret@b", "s3://:secret@b"] {
            let why = settings(url).unwrap_err();
            assert!(
                why.contains("AWS_SECRET_ACCESS_KEY") && !why.contains(":secret"),
                "{why}"
            );
        }
        let why = settings("s3://b?secret_access_key=hush").unwrap_err();
        assert!(!why.contains("hush"), "{why}");
        assert!(
            settings("s3://minio:9000/b")
                .unwrap_err()
                .contains("endpoint=")
        );
        assert!(
            settings("s3://b?region=a&region=b")
                .unwrap_err()
                .contains("twice")
        );
        assert!(settings("s3://b/p?prefix=q").unwrap_err().contains("twice"));
        assert!(settings("s3://b/p#x").is_err());
    }

    #[test]
    fn defaults_and_names_are_those_of_the_reference() {
        let minimal = config(json!({ "bucket": "b" }));
        assert_eq!(
            (minimal.concurrency, minimal.checksum),
            (4, ChecksumMode::Auto)
        );
        assert!(minimal.problems().is_empty());
        let full = config(json!({
            "bucket": "b", "sse": "aws:kms", "sse_kms_key_id": "k", "checksum": "required",
        }));
        assert_eq!(full.sse, Some(ServerSideEncryption::AwsKms));
        assert!(full.problems().is_empty());
        assert!(
            serde_json::from_value::<S3Config>(json!({ "bucket": "b", "pathstyle": true }))
                .is_err()
        );
    }

    #[test]
    fn contradictions_are_all_reported() {
        let bad = config(json!({
            "bucket": "a/b", "endpoint": "minio:9000", "access_key_id": "k",
            "sse_kms_key_id": "k", "concurrency": 65,
        }));
        let keys: Vec<_> = bad.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "bucket",
                "endpoint",
                "secret_access_key",
                "sse_kms_key_id",
                "concurrency"
            ]
        );
        for (size, fits) in [(SMALLEST_PART - 1, false), (SMALLEST_PART, true)] {
            let mut config = config(json!({ "bucket": "b" }));
            config.part_size = Some(HumanSize(size));
            assert_eq!(config.problems().is_empty(), fits, "{size}");
        }
    }
}
