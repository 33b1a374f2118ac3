//! Real S3 servers in temporary folders, and signed raw requests made with curl, so that what the
//! product stores is looked at by a client that is not its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::servers::{Process, free_port, require};
use super::tls::TestCa;

const ACCESS_KEY: &str = "lifeboat-test";
const SECRET_KEY: &str = "lifeboat-test-secret";
const REGION: &str = "us-east-1";
const CURL_SECONDS: &str = "60";

/// Which implementation an [`S3Server`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Kind {
    Minio,
    VersityGw,
}

/// A running S3 server; dropping it kills it and removes its data.
pub struct S3Server {
    /// `http://127.0.0.1:PORT`, or `https://` when it was started with TLS.
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
    pub kind: S3Kind,
    /// The loopback port.
    pub port: u16,
    /// The server's process, for signals and its log.
    pub process: Process,
    /// The folder the server keeps its data in.
    pub data: PathBuf,
    ca: Option<PathBuf>,
    _scratch: TempDir,
}

/// The answer to a raw request.
#[derive(Debug)]
pub struct S3Response {
    pub status: u16,
    /// Lower-case names and values, in order; of the last answer if there were interim ones.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl S3Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl S3Server {
    /// Starts `MinIO`.
    pub fn minio() -> S3Server {
        start_minio(None)
    }

    /// Starts `MinIO` with a certificate for 127.0.0.1 and localhost.
    pub fn minio_tls(ca: &TestCa) -> S3Server {
        start_minio(Some(ca))
    }

    /// Starts versitygw over a folder.
    pub fn versitygw() -> S3Server {
        let scratch = tempfile::tempdir().expect("a temporary folder can be made");
        let data = make_folder(scratch.path(), "data");
        let metadata = make_folder(scratch.path(), "metadata");
        let port = free_port();
        let args: Vec<OsString> = vec![
            "--port".into(),
            format!("127.0.0.1:{port}").into(),
            "--region".into(),
            REGION.into(),
            "posix".into(),
            "--sidecar".into(),
            metadata.into(),
            data.clone().into(),
        ];
        let secrets = [
            ("ROOT_ACCESS_KEY", OsStr::new(ACCESS_KEY)),
            ("ROOT_SECRET_KEY", OsStr::new(SECRET_KEY)),
        ];
        let log = scratch.path().join("versitygw.log");
        let process = Process::spawn(&require("versitygw"), &args, &secrets, &log);
        S3Server::new(S3Kind::VersityGw, port, process, data, None, scratch)
    }

    fn new(
        kind: S3Kind,
        port: u16,
        process: Process,
        data: PathBuf,
        ca: Option<PathBuf>,
        scratch: TempDir,
    ) -> S3Server {
        let scheme = if ca.is_some() { "https" } else { "http" };
        let mut server = S3Server {
            endpoint: format!("{scheme}://127.0.0.1:{port}"),
            access_key: ACCESS_KEY.to_string(),
            secret_key: SECRET_KEY.to_string(),
            region: REGION.to_string(),
            kind,
            port,
            process,
            data,
            ca,
            _scratch: scratch,
        };
        server.wait_ready();
        server
    }

    fn wait_ready(&mut self) {
        let (endpoint, ca) = (&self.endpoint, self.ca.as_deref());
        let keys = (self.access_key.as_str(), self.secret_key.as_str());
        self.process.wait_ready(|| {
            let answer = s3_request(endpoint, keys, ca, "GET", "/", &[], None)?;
            match answer.status {
                200 => Ok(()),
                status => Err(format!("it answers {status}: {}", answer.text())),
            }
        });
    }

    /// Sends one signed request to the server itself. `path` is `/bucket/key`, not encoded.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> S3Response {
        let keys = (self.access_key.as_str(), self.secret_key.as_str());
        s3_request(
            &self.endpoint,
            keys,
            self.ca.as_deref(),
            method,
            path,
            query,
            body,
        )
        .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.process.log_tail()))
    }

    fn expect(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> S3Response {
        let answer = self.request(method, path, query, body);
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path} {query:?}: {} {}",
            answer.status,
            answer.text()
        );
        answer
    }

    /// Makes a bucket. Names have three characters at least.
    pub fn create_bucket(&self, name: &str) {
        self.expect("PUT", &format!("/{name}"), &[], None);
    }

    /// Names and sizes of all objects whose key begins with `prefix`, in the server's order.
    pub fn objects(&self, bucket: &str, prefix: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let xml = self
                .expect("GET", &format!("/{bucket}"), &query, None)
                .text();
            for entry in elements(&xml, "Contents") {
                let key = element(entry, "Key").expect("an entry has a key");
                let size = element(entry, "Size").and_then(|size| size.parse().ok());
                found.push((key, size.expect("an entry has a size")));
            }
            match element(&xml, "NextContinuationToken") {
                Some(next) if !next.is_empty() => token = next,
                _ => return found,
            }
        }
    }

    /// Stores an object.
    pub fn put_object(&self, bucket: &str, key: &str, content: &[u8]) {
        self.expect("PUT", &format!("/{bucket}/{key}"), &[], Some(content));
    }

    /// Reads a whole object; panics when there is none.
    pub fn get_object(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.expect("GET", &format!("/{bucket}/{key}"), &[], None)
            .body
    }

    /// Deletes an object; one that is not there is no error.
    pub fn delete_object(&self, bucket: &str, key: &str) {
        self.expect("DELETE", &format!("/{bucket}/{key}"), &[], None);
    }

    /// Keys of the multipart uploads that were begun and neither completed nor aborted.
    ///
    /// `MinIO` lists those begun since its start only; see [`S3Server::multipart_uploads_of`].
    pub fn multipart_uploads(&self, bucket: &str) -> Vec<String> {
        self.uploads(bucket, &[("uploads", "")], "Key")
    }

    /// Ids of the unfinished multipart uploads of one key; complete on every implementation.
    pub fn multipart_uploads_of(&self, bucket: &str, key: &str) -> Vec<String> {
        self.uploads(bucket, &[("prefix", key), ("uploads", "")], "UploadId")
    }

    fn uploads(&self, bucket: &str, query: &[(&str, &str)], field: &str) -> Vec<String> {
        let xml = self
            .expect("GET", &format!("/{bucket}"), query, None)
            .text();
        elements(&xml, "Upload")
            .iter()
            .filter_map(|entry| element(entry, field))
            .collect()
    }

    /// Sends SIGKILL and waits.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts the server again on the same port and data, after SIGTERM if it runs.
    pub fn restart(&mut self) {
        if self.process.is_running() {
            self.process.terminate();
        }
        self.process.respawn();
        self.wait_ready();
    }
}

fn start_minio(ca: Option<&TestCa>) -> S3Server {
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    let data = make_folder(scratch.path(), "data");
    let certs = make_folder(scratch.path(), "certs");
    if let Some(ca) = ca {
        let (cert, key) = ca.issue("minio", &["127.0.0.1", "localhost"]);
        fs::copy(cert, certs.join("public.crt")).expect("the certificate can be copied");
        fs::copy(key, certs.join("private.key")).expect("the key can be copied");
    }
    let port = free_port();
    let args: Vec<OsString> = vec![
        "server".into(),
        "--quiet".into(),
        "--address".into(),
        format!("127.0.0.1:{port}").into(),
        "--certs-dir".into(),
        certs.into(),
        data.clone().into(),
    ];
    let settings = [
        ("MINIO_ROOT_USER", OsStr::new(ACCESS_KEY)),
        ("MINIO_ROOT_PASSWORD", OsStr::new(SECRET_KEY)),
        ("MINIO_BROWSER", OsStr::new("off")),
        ("MINIO_UPDATE", OsStr::new("off")),
    ];
    let log = scratch.path().join("minio.log");
    let process = Process::spawn(&require("minio"), &args, &settings, &log);
    let ca_pem = ca.map(|ca| ca.ca_pem.clone());
    S3Server::new(S3Kind::Minio, port, process, data, ca_pem, scratch)
}

fn make_folder(parent: &Path, name: &str) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir(&folder).expect("a folder can be made");
    folder
}

/// Sends one signed request to any endpoint, such as that of a proxy. `keys` are the access key
/// and the secret key; `path` is not encoded. An error means that no complete answer came.
pub fn s3_request(
    endpoint: &str,
    keys: (&str, &str),
    ca: Option<&Path>,
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<S3Response, String> {
    let url = format!("{endpoint}{}{}", encode(path, true), query_string(query));
    let headers = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut curl = Command::new(require("curl"));
    curl.args([
        "--silent",
        "--show-error",
        "--path-as-is",
        "--max-time",
        CURL_SECONDS,
    ])
    .args([
        "--noproxy",
        "*",
        "--aws-sigv4",
        &format!("aws:amz:{REGION}:s3"),
    ])
    .args(["--user", &format!("{}:{}", keys.0, keys.1)])
    .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
    .arg("--dump-header")
    .arg(headers.path());
    if let Some(ca) = ca {
        curl.arg("--cacert").arg(ca);
    }
    if method == "HEAD" {
        curl.arg("--head");
    } else {
        curl.args(["--request", method]);
    }
    if body.is_some() {
        curl.args([
            "--header",
            "content-type: application/octet-stream",
            "--data-binary",
            "@-",
        ]);
    }
    let mut child = curl
        .arg(&url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("curl cannot be run: {error}"))?;
    let mut stdin = child.stdin.take().expect("standard input was piped");
    // curl reads its whole input before it connects; if it ends early, its status tells why.
    let _ = stdin.write_all(body.unwrap_or_default());
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    let head = fs::read(headers.path()).map_err(|error| error.to_string())?;
    let (status, headers) = parse_head(&String::from_utf8_lossy(&head))?;
    let body = if method == "HEAD" {
        Vec::new()
    } else {
        output.stdout
    };
    Ok(S3Response {
        status,
        headers,
        body,
    })
}

/// The last answer's status and headers in what curl wrote.
pub(super) fn parse_head(text: &str) -> Result<(u16, Vec<(String, String)>), String> {
    let last = text
        .trim_end()
        .rsplit("\r\n\r\n")
        .next()
        .unwrap_or_default();
    let mut lines = last.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| format!("no status line in {last:?}"))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
        .collect();
    Ok((status, headers))
}

/// A query in the canonical form that the signature is made over: sorted, encoded, with every `=`.
fn query_string(query: &[(&str, &str)]) -> String {
    let mut parts: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key, false), encode(value, false)))
        .collect();
    parts.sort();
    if parts.is_empty() {
        String::new()
    } else {
        format!("?{}", parts.join("&"))
    }
}

fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' if keep_slashes => encoded.push('/'),
            _ => encoded.extend(["%".to_string(), format!("{byte:02X}")]),
        }
    }
    encoded
}

/// The contents of every `<name>` element, undecoded.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split(&close).next())
        .collect()
}

/// The decoded text of the first `<name>` element.
fn element(xml: &str, name: &str) -> Option<String> {
    let mut rest = *elements(xml, name).first()?;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('&') {
        let (entity, after) = after.split_once(';')?;
        text.push_str(before);
        text.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            numeric => {
                let number = numeric.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}
