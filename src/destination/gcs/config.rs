use std::path::PathBuf;

use http::HeaderValue;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::value::HumanSize;

/// All chunks of a resumable upload but the last are multiples of it.
pub(super) const QUANTUM: u64 = 256 << 10;
const LARGEST_CHUNK: u64 = 1 << 30;
const DEFAULT_CHUNK: usize = 8 << 20;

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket's name. It must exist.
    pub bucket: String,
    /// Folder inside the bucket. All keys begin with it and a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Project that pays for the requests, for buckets whose requester pays; the identity needs
    /// serviceusage.services.use there. Default: the bucket's own project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// URL for the JSON interface, such as `http://localhost:4443` for an emulator. Default:
    /// Google's own. With an endpoint that is not Google's, and without credentials, requests are
    /// anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// URL for the gRPC interface, which lists, looks up and deletes. Default: the `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_endpoint: Option<String>,
    /// JSON file with credentials: a service account's key, or a configuration for workload
    /// identity federation. Read again when Google refuses what came of it. Default: what
    /// `GOOGLE_APPLICATION_CREDENTIALS` names, then gcloud's own, then the identity of the
    /// instance or pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Storage class of new objects, such as `NEARLINE`. Default: the bucket's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Size of the chunks of a large upload, a multiple of 256KiB up to 1GiB. Default: 8MiB. An
    /// upload takes memory for two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<HumanSize>,
}

impl GcsConfig {
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
        for (key, endpoint) in [
            ("endpoint", &self.endpoint),
            ("control_endpoint", &self.control_endpoint),
        ] {
            if let Some(endpoint) = endpoint
                && let Err(why) = check_endpoint(endpoint)
            {
                problem(key, why);
            }
        }
        if self.control_endpoint.is_some() && self.endpoint.is_none() {
            let why = "is missing: `control_endpoint` is set and needs it";
            problem("endpoint", why.into());
        }
        if let Some(project) = &self.project
            && (project.is_empty() || HeaderValue::from_str(project).is_err())
        {
            problem("project", "must be the id of a project".into());
        }
        if let Some(HumanSize(size)) = self.chunk_size
            && (size % QUANTUM != 0 || !(QUANTUM..=LARGEST_CHUNK).contains(&size))
        {
            problem(
                "chunk_size",
                "must be a multiple of 256KiB, up to 1GiB".into(),
            );
        }
        problems
    }

    pub(super) fn chunk(&self) -> usize {
        self.chunk_size.map_or(DEFAULT_CHUNK, |size| {
            usize::try_from(size.0).unwrap_or(usize::MAX)
        })
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
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must end after the host and port".into());
    }
    Ok(())
}

/// The settings in `gs://bucket/prefix?endpoint=…&chunk_size=…`, every value a string.
///
/// # Errors
/// When the bucket is missing, or the URL holds what does not belong into one.
pub fn settings_from_url(url: &Url) -> Result<Value, String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "credentials do not belong into a URL; set GOOGLE_APPLICATION_CREDENTIALS".into(),
        );
    }
    if url.port().is_some() {
        return Err(
            "`gs://` is followed by the bucket, not by a host and port; \
             write `gs://bucket/prefix?endpoint=http://host:port`"
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
        return Err("the bucket is missing; write `gs://bucket/prefix`".into());
    }
    let mut settings = Map::new();
    settings.insert("type".into(), "gcs".into());
    settings.insert("bucket".into(), bucket.into());
    let prefix = decode(url.path())?;
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() {
        settings.insert("prefix".into(), prefix.into());
    }
    for (key, value) in url.query_pairs() {
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

    fn problems(settings: Value) -> Vec<&'static str> {
        let config: GcsConfig = serde_json::from_value(settings).unwrap();
        config.problems().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_url_gives_bucket_prefix_and_query_as_strings() {
        assert_eq!(
            settings("gs://my_bucket/a/b%20c/?endpoint=http://gcs:4443&chunk_size=16MiB").unwrap(),
            json!({ "type": "gcs", "bucket": "my_bucket", "prefix": "a/b c",
                "endpoint": "http://gcs:4443", "chunk_size": "16MiB" })
        );
        for plain in ["gs://b", "gs://b//"] {
            let expected = json!({ "type": "gcs", "bucket": "b" });
            assert_eq!(settings(plain).unwrap(), expected);
        }
    }

    #[test]
    fn a_url_without_bucket_or_with_what_is_not_its_own_is_refused() {
        for (url, word) in [
            ("gs:///prefix", "bucket is missing"),
            ("gs:prefix", "bucket is missing"),
            ("gs://hush@b", "GOOGLE_APPLICATION_CREDENTIALS"),
            ("gs://host:4443/b", "endpoint="),
            ("gs://b/p?prefix=q", "twice"),
            ("gs://b/p#x", "`#`"),
        ] {
            let why = settings(url).unwrap_err();
            assert!(why.contains(word) && !why.contains("hush"), "{url}: {why}");
        }
    }

    #[test]
    fn contradictions_are_all_reported() {
        assert_eq!(problems(json!({ "bucket": "b" })), [""; 0]);
        assert_eq!(
            problems(
                json!({ "bucket": "a/b", "endpoint": "gcs:4443", "chunk_size": "1000B",
                "control_endpoint": "http://user@gcs", "project": "a\nb" })
            ),
            [
                "bucket",
                "endpoint",
                "control_endpoint",
                "project",
                "chunk_size"
            ]
        );
        let lone = json!({ "bucket": "b", "control_endpoint": "http://gcs:4444" });
        assert_eq!(problems(lone), ["endpoint"]);
        for (size, fits) in [
            (QUANTUM, true),
            (3 * QUANTUM, true),
            (QUANTUM + 1, false),
            (0, false),
        ] {
            let found = problems(json!({ "bucket": "b", "chunk_size": format!("{size}B") }));
            assert_eq!(found.is_empty(), fits, "{size}");
        }
        assert!(serde_json::from_value::<GcsConfig>(json!({ "bucket": "b", "chunk": 1 })).is_err());
    }
}
