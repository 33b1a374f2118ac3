//! Single HTTP requests to any server, sent with curl.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::s3::parse_head;
use super::servers::require;

/// How a server is spoken to: what it is trusted by, who we are, and for how long we wait.
#[derive(Clone, Debug)]
pub struct HttpClient {
    /// The authority that signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// A client certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The most that one request may take.
    pub limit: Duration,
}

/// A complete answer; redirects are not followed.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Default for HttpClient {
    fn default() -> Self {
        HttpClient {
            ca: None,
            identity: None,
            limit: Duration::from_mins(1),
        }
    }
}

impl HttpClient {
    /// Trusts this authority only.
    pub fn trusting(ca: &Path) -> HttpClient {
        HttpClient {
            ca: Some(ca.to_path_buf()),
            ..HttpClient::default()
        }
    }

    /// The same, with another time limit.
    pub fn within(&self, limit: Duration) -> HttpClient {
        HttpClient {
            limit,
            ..self.clone()
        }
    }

    /// Sends one request. An error is what curl says when no complete answer came.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<HttpAnswer, String> {
        let head = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let mut curl = self.curl();
        curl.args(["--path-as-is", "--globoff", "--dump-header"])
            .arg(head.path());
        if method == "HEAD" {
            curl.arg("--head");
        } else {
            curl.args(["--request", method]);
        }
        for (name, value) in headers {
            curl.args(["--header", &format!("{name}: {value}")]);
        }
        if body.is_some() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut child = curl
            .arg(url)
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
        let head = fs::read(head.path()).map_err(|error| error.to_string())?;
        let (status, headers) = parse_head(&String::from_utf8_lossy(&head))?;
        Ok(HttpAnswer {
            status,
            headers,
            body: output.stdout,
        })
    }

    /// A curl that heeds no settings of the machine.
    pub fn curl(&self) -> Command {
        let mut curl = Command::new(require("curl"));
        curl.args(["--disable", "--silent", "--show-error", "--http1.1"])
            .args(["--noproxy", "*", "--max-time"])
            .arg(self.limit.as_secs_f64().to_string());
        if let Some(ca) = &self.ca {
            curl.arg("--cacert").arg(ca);
        }
        if let Some((cert, key)) = &self.identity {
            curl.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        curl
    }
}

impl HttpAnswer {
    /// The first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}
