//! A real redis-server in a temporary folder.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::servers::{Process, free_port, require};
use super::tls::TestCa;

/// How to start a [`RedisServer`]; every setting has a default.
#[derive(Default)]
pub struct RedisOptions {
    args: Vec<String>,
    dir: Option<PathBuf>,
    tls: Option<Tls>,
    unix_socket: bool,
    acl: Option<Acl>,
}

struct Tls {
    ca: PathBuf,
    server: (PathBuf, PathBuf),
    client: Option<(PathBuf, PathBuf)>,
}

struct Acl {
    lines: Vec<String>,
    user: String,
    password: String,
}

impl RedisOptions {
    /// Adds arguments for redis-server, after the default ones, so that they win.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Keeps the data in `dir`, which is neither made nor removed.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// Listens with TLS only, with a certificate for 127.0.0.1 and localhost. Clients need none.
    pub fn tls(mut self, ca: &TestCa) -> Self {
        let server = ca.issue("redis-server", &["127.0.0.1", "localhost"]);
        self.tls = Some(Tls {
            ca: ca.ca_pem.clone(),
            server,
            client: None,
        });
        self
    }

    /// Listens with TLS only and demands a client certificate of the same authority.
    pub fn mutual_tls(mut self, ca: &TestCa) -> Self {
        self = self.tls(ca);
        let tls = self.tls.as_mut().expect("TLS was just set");
        tls.client = Some(ca.issue("redis-client", &[]));
        self
    }

    /// Listens on a unix socket as well as on the TCP port. See [`RedisServer::socket`].
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Starts with an ACL file of these lines, such as `user default off` and
    /// `user admin on >secret ~* &* +@all`. `user` is the one that [`RedisServer::cli`] uses and
    /// that readiness is checked with, so it must be allowed PING and INFO.
    pub fn acl(mut self, lines: &[&str], user: &str, password: &str) -> Self {
        self.acl = Some(Acl {
            lines: lines.iter().map(ToString::to_string).collect(),
            user: user.to_string(),
            password: password.to_string(),
        });
        self
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> RedisServer {
        RedisServer::start_with(self)
    }
}

/// A running redis-server; dropping it kills it and removes its temporary folder.
pub struct RedisServer {
    /// The loopback port, which speaks TLS when the server was started with it.
    pub port: u16,
    /// The folder that `dump.rdb` and the append-only files go to.
    pub dir: PathBuf,
    /// The server's process, for signals and its log.
    pub process: Process,
    cli_args: Vec<OsString>,
    socket: Option<PathBuf>,
    url: String,
    _scratch: TempDir,
}

impl RedisServer {
    /// Starts a server that saves nothing by itself, with extra arguments such as
    /// `["--appendonly", "yes"]`. Arguments given here win over the default ones.
    pub fn start(args: &[&str]) -> RedisServer {
        RedisServer::options().args(args).start()
    }

    /// Like [`RedisServer::start`], with the data in `dir`, which outlives the server.
    pub fn start_in(dir: &Path, args: &[&str]) -> RedisServer {
        RedisServer::options().dir(dir).args(args).start()
    }

    /// Settings for TLS, a unix socket or an ACL file.
    pub fn options() -> RedisOptions {
        RedisOptions::default()
    }

    fn start_with(options: RedisOptions) -> RedisServer {
        let scratch = tempfile::tempdir().expect("a temporary folder can be made");
        let dir = options.dir.unwrap_or_else(|| {
            let dir = scratch.path().join("data");
            fs::create_dir(&dir).expect("a folder can be made");
            dir
        });
        let port = free_port();
        let mut args: Vec<OsString> = Vec::new();
        let mut cli_args: Vec<OsString> = vec!["-e".into(), "-h".into(), "127.0.0.1".into()];
        let mut scheme = "redis";
        let text_port = port.to_string();
        let plain_port = if options.tls.is_some() {
            "0"
        } else {
            &text_port
        };
        push(&mut args, &["--port", plain_port, "--bind", "127.0.0.1"]);
        push(
            &mut args,
            &[
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "local",
            ],
        );
        args.extend(["--dir".into(), dir.clone().into_os_string()]);
        push(&mut cli_args, &["-p", &text_port]);
        if let Some(tls) = options.tls {
            scheme = "rediss";
            let client_auth = if tls.client.is_some() { "yes" } else { "no" };
            push(
                &mut args,
                &["--tls-port", &text_port, "--tls-auth-clients", client_auth],
            );
            args.extend(["--tls-cert-file".into(), tls.server.0.into_os_string()]);
            args.extend(["--tls-key-file".into(), tls.server.1.into_os_string()]);
            args.extend(["--tls-ca-cert-file".into(), tls.ca.clone().into_os_string()]);
            cli_args.extend(["--tls".into(), "--cacert".into(), tls.ca.into_os_string()]);
            if let Some((cert, key)) = tls.client {
                cli_args.extend(["--cert".into(), cert.into_os_string()]);
                cli_args.extend(["--key".into(), key.into_os_string()]);
            }
        }
        let socket = options
            .unix_socket
            .then(|| scratch.path().join("redis.sock"));
        if let Some(socket) = &socket {
            args.extend(["--unixsocket".into(), socket.clone().into_os_string()]);
        }
        let mut login = String::new();
        if let Some(acl) = options.acl {
            let file = scratch.path().join("users.acl");
            fs::write(&file, acl.lines.join("\n") + "\n").expect("a file can be written");
            args.extend(["--aclfile".into(), file.into_os_string()]);
            push(&mut cli_args, &["--no-auth-warning", "--user", &acl.user]);
            push(&mut cli_args, &["--pass", &acl.password]);
            login = format!("{}:{}@", acl.user, acl.password);
        }
        args.extend(options.args.iter().map(OsString::from));
        let log = scratch.path().join("redis.log");
        let process = Process::spawn(&require("redis-server"), &args, &[], &log);
        let url = format!("{scheme}://{login}127.0.0.1:{port}");
        let mut server = RedisServer {
            port,
            dir,
            process,
            cli_args,
            socket,
            url,
            _scratch: scratch,
        };
        server.wait_ready();
        server
    }

    /// Runs redis-cli and returns its trimmed output; panics on an error answer.
    pub fn cli(&self, args: &[&str]) -> String {
        self.try_cli(args)
            .unwrap_or_else(|error| panic!("redis-cli {args:?}: {error}"))
    }

    /// Runs redis-cli and returns its trimmed output, or the error it printed.
    pub fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        try_cli(&self.cli_args, args, b"")
    }

    /// Runs redis-cli with `input` as the last argument (`-x`), for values that are not text.
    pub fn cli_with_input(&self, args: &[&str], input: &[u8]) -> String {
        let mut full = vec!["-x"];
        full.extend(args);
        try_cli(&self.cli_args, &full, input)
            .unwrap_or_else(|error| panic!("redis-cli {full:?}: {error}"))
    }

    /// Makes `count` keys named `prefix:N` with values of `size` bytes (DEBUG POPULATE).
    pub fn populate(&self, count: usize, prefix: &str, size: usize) {
        self.cli(&[
            "DEBUG",
            "POPULATE",
            &count.to_string(),
            prefix,
            &size.to_string(),
        ]);
    }

    /// Makes the server write its dump now. Only tests do this, never the product.
    pub fn save(&self) {
        assert_eq!(self.cli(&["SAVE"]), "OK");
    }

    /// One field of INFO, such as `rdb_last_save_time` or `master_link_status`.
    pub fn info(&self, field: &str) -> Option<String> {
        info_field(&self.cli(&["INFO", "everything"]), field)
    }

    /// The path of the dump file, with the server's default file name.
    pub fn dump_path(&self) -> PathBuf {
        self.dir.join("dump.rdb")
    }

    /// Sends SIGKILL and waits.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Sends SIGTERM and waits; the server saves first if it has save points.
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Starts the server again with the same arguments and port, after SIGTERM if it runs.
    pub fn restart(&mut self) {
        if self.process.is_running() {
            self.terminate();
        }
        self.process.respawn();
        self.wait_ready();
    }

    /// `redis://` or `rediss://` with the port, and with the login when there is an ACL file.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The unix socket; panics when the server was started without one.
    pub fn socket(&self) -> &Path {
        self.socket
            .as_deref()
            .expect("the server was started without a unix socket")
    }

    /// Waits until this very process answers and has loaded its data.
    fn wait_ready(&mut self) {
        let pid = self.process.pid().to_string();
        let cli_args = &self.cli_args;
        self.process.wait_ready(|| {
            let info = try_cli(cli_args, &["INFO", "everything"], b"")?;
            if info_field(&info, "process_id").as_ref() != Some(&pid) {
                return Err("another server answers on the port".to_string());
            }
            match info_field(&info, "loading").as_deref() {
                Some("0") => Ok(()),
                other => Err(format!("it is still loading: {other:?}")),
            }
        });
    }
}

fn push(args: &mut Vec<OsString>, more: &[&str]) {
    args.extend(more.iter().map(OsString::from));
}

fn info_field(info: &str, field: &str) -> Option<String> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .find(|(key, _)| *key == field)
        .map(|(_, value)| value.to_string())
}

fn try_cli(connection: &[OsString], args: &[&str], input: &[u8]) -> Result<String, String> {
    let output = cli_output(connection, args, input)
        .map_err(|error| format!("redis-cli cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text} {}", output.status, errors.trim()))
}

fn cli_output(connection: &[OsString], args: &[&str], input: &[u8]) -> std::io::Result<Output> {
    let mut child = Command::new(require("redis-cli"))
        .args(connection)
        .args(args)
        .env_remove("REDISCLI_AUTH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("standard input was piped");
    // redis-cli that fails to connect ends without reading; its exit status tells why.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output()
}
