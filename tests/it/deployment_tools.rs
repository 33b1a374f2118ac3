//! What people deploy, judged by other people's tools: linters, schemas, and Vault itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::deployment_support::{files, overlays, root, text};
use crate::sandbox::{Ended, Sandbox};
use crate::support::servers::wait_until;
use crate::support::{HttpClient, Process, free_port, require, run};

/// The oldest Kubernetes whose schemas the manifests are held to, beside the newest.
const OLDEST_KUBERNETES: &str = "1.29";

#[test]
#[ignore = "needs hadolint"]
fn hadolint_finds_nothing_in_the_dockerfiles() {
    let mut dockerfiles = vec!["Dockerfile.alpine".to_owned()];
    dockerfiles.extend(
        files("docker")
            .into_iter()
            .filter(|path| path.ends_with("/Dockerfile")),
    );
    assert_eq!(dockerfiles.len(), 2);
    for dockerfile in dockerfiles {
        let path = root().join(dockerfile).display().to_string();
        run(
            &require("hadolint"),
            ["--failure-threshold", "style", &path],
        );
    }
}

fn validate(manifests: &[String]) {
    for version in [None, Some(OLDEST_KUBERNETES)] {
        let mut arguments = vec!["--strict".to_owned()];
        arguments.extend(version.map(|version| format!("--kubernetes-version={version}")));
        arguments.extend_from_slice(manifests);
        let said = run(&require("kubernetes-validate"), &arguments);
        let passed = said.matches(" passed ").count();
        assert!(passed >= manifests.len(), "{said}");
    }
}

#[test]
#[ignore = "needs kubernetes-validate"]
fn every_manifest_fits_its_schema() {
    let manifests: Vec<String> = files("k8s")
        .into_iter()
        .filter(|path| text(path).lines().any(|line| line.starts_with("kind: ")))
        .filter(|path| !path.ends_with("/kustomization.yaml"))
        .map(|path| root().join(path).display().to_string())
        .collect();
    assert!(manifests.len() >= 11, "{manifests:?}");
    validate(&manifests);
}

#[test]
#[ignore = "needs kubernetes-validate, kustomize"]
fn every_overlay_renders_to_what_fits_its_schema() {
    let sandbox = Sandbox::new();
    for overlay in overlays() {
        let folder = root().join(&overlay.folder).display().to_string();
        let rendered = run(&require("kustomize"), ["build", &folder]);
        assert!(
            rendered.contains("LIFEBOAT_DESTINATIONS__OFFSITE__BUCKET"),
            "{rendered}"
        );
        let (cloud, store) = overlay
            .folder
            .rsplit('/')
            .next()
            .unwrap()
            .split_once('-')
            .unwrap();
        assert!(
            rendered.contains(&format!("namespace: {store}\n")),
            "{rendered}"
        );
        let identity = match cloud {
            "aws" => "eks.amazonaws.com/role-arn: arn:aws:iam::",
            _ => "iam.gke.io/gcp-service-account: ",
        };
        assert!(rendered.contains(identity), "{rendered}");
        // What is generated has a hash in its name everywhere.
        assert!(
            !rendered.contains("name: lifeboat-destination\n"),
            "{rendered}"
        );
        let path = sandbox.write("rendered.yaml", &rendered);
        validate(&[path.display().to_string()]);
    }
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_reads_the_unit_and_finds_it_closed() {
    let sandbox = Sandbox::new();
    let program = env!("CARGO_BIN_EXE_lifeboat");
    let unit = text("dist/lifeboat.service").replace("/usr/local/bin/lifeboat", program);
    let unit = sandbox
        .write("lifeboat.service", unit)
        .display()
        .to_string();
    let analyze = require("systemd-analyze");
    let output = Command::new(&analyze)
        .args(["verify", "--man=no", &unit])
        .output()
        .unwrap();
    let said = Ended::of(output);
    said.ok();
    assert!(!said.stderr.contains("lifeboat.service"), "{said:#?}");
    // From 0, closed, to 100.
    run(
        &analyze,
        [
            "security",
            "--offline=true",
            "--threshold=20",
            "--no-pager",
            &unit,
        ],
    );
}

#[test]
#[ignore = "needs vault"]
fn the_init_helper_of_compose_brings_up_a_vault_that_lifeboat_can_save() {
    let sandbox = Sandbox::new();
    let [data, keys, login] = ["data", "keys", "login"].map(|name| sandbox.folder(name));
    let (port, cluster_port) = (free_port(), free_port());
    let address = format!("http://127.0.0.1:{port}");
    let vault = require("vault");
    let settings = text("docker/vault/vault.hcl")
        .replace("/vault/file", &data.display().to_string())
        .replace("0.0.0.0:8200", &format!("127.0.0.1:{port}"))
        .replace("http://vault:8200", &address)
        .replace(
            "http://vault:8201",
            &format!("http://127.0.0.1:{cluster_port}"),
        );
    let settings = sandbox.write("vault.hcl", settings);
    let arguments = ["server".into(), format!("-config={}", settings.display())];
    let home = [("HOME", sandbox.root().as_os_str())];
    let mut server = Process::spawn(&vault, &arguments, &home, &sandbox.path("vault.log"));
    let health = format!("{address}/v1/sys/health?sealedcode=200&uninitcode=200");
    let ready = || match HttpClient::default().send("GET", &health, &[], None) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait_until("vault answers", Duration::from_mins(1), ready);

    // The helper calls `vault`, whatever the server's file is called here.
    let bin = sandbox.folder("bin");
    std::os::unix::fs::symlink(&vault, bin.join("vault")).unwrap();
    let initialise = || {
        let output = Command::new("sh")
            .arg(root().join("docker/vault/init.sh"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", sandbox.root())
            .env("VAULT_ADDR", &address)
            .env("KEYS", &keys)
            .env("LOGIN", &login)
            .env("POLICY", root().join("docker/vault/lifeboat.hcl"))
            .output();
        Ended::of(output.unwrap()).ok();
    };
    initialise();

    sandbox.folder("store");
    let configuration = text("docker/lifeboat/vault.yaml")
        .replace("http://vault:8200", &address)
        .replace("/run/vault-login", &login.display().to_string())
        .replace("/run/secrets/", &format!("{}/", keys.display()));
    for secret in ["s3-access-key", "s3-secret-key"] {
        fs::write(keys.join(secret), "dummy").unwrap();
    }
    sandbox.write("config.yaml", configuration);
    let mut here = sandbox.command(["backup"]);
    let store = format!("file://{}", sandbox.path("store").display());
    here.args(["--destination", &store]);
    Ended::of(here.output().unwrap()).ok();
    sandbox
        .run(["verify", "vault", "--destination", &store])
        .ok();

    // After a restart Vault is sealed; the helper may run again.
    server.kill9();
    server.respawn();
    wait_until("vault answers", Duration::from_mins(1), ready);
    initialise();
    let mut here = sandbox.command(["backup", "--destination", &store]);
    Ended::of(here.output().unwrap()).ok();
}

/// A server with this configuration and no password on the command line.
fn redis(sandbox: &Sandbox, name: &str, settings: &str, more: &[&str]) -> (Process, u16) {
    let port = free_port();
    let data = sandbox.folder(name);
    let settings = settings.replace("dir /data", &format!("dir {}", data.display()));
    let file = sandbox.write(&format!("{name}.conf"), settings);
    let mut arguments = vec![
        file.display().to_string(),
        "--port".into(),
        port.to_string(),
    ];
    arguments.extend(["--bind".into(), "127.0.0.1".into()]);
    arguments.extend(more.iter().map(ToString::to_string));
    let log = sandbox.path(&format!("{name}.log"));
    let server = Process::spawn(&require("redis-server"), &arguments, &[], &log);
    wait_until("redis answers", Duration::from_mins(1), || {
        let answer = redis_cli(port, &["info", "persistence"]);
        if answer.contains("loading:0") {
            Ok(())
        } else {
            Err(answer)
        }
    });
    (server, port)
}

/// What the user that Lifeboat logs in as is told.
fn redis_cli(port: u16, command: &[&str]) -> String {
    redis_cli_as("lifeboat", "lifeboat-dev", port, command)
}

fn redis_cli_as(user: &str, password: &str, port: u16, command: &[&str]) -> String {
    let output = Command::new(require("redis-cli"))
        .args(["-p", &port.to_string(), "--user", user, "--pass", password])
        .arg("--no-auth-warning")
        .args(command)
        .output();
    let ended = Ended::of(output.unwrap());
    format!("{}{}", ended.stdout, ended.stderr)
}

#[test]
#[ignore = "needs redis-server"]
fn redis_as_it_is_deployed_replicates_and_can_be_saved() {
    for (settings, job) in [
        ("docker/redis/redis.conf", "docker/lifeboat/redis.yaml"),
        ("k8s/redis/redis.conf", "k8s/redis/lifeboat.yaml"),
    ] {
        let mut sandbox = Sandbox::new();
        let secrets = sandbox.folder("run/redis");
        let acl = sandbox.write("run/redis/users.acl", text("docker/redis/users.acl"));
        sandbox.write(
            "run/redis/replication.conf",
            "masteruser replica\nmasterauth replica-dev\n",
        );
        let settings = text(settings)
            .replace("/etc/redis/users.acl", &acl.display().to_string())
            .replace("/run/secrets/redis", &secrets.display().to_string());
        let (_primary, primary) = redis(&sandbox, "primary", &settings, &[]);
        let of = ["--replicaof", "127.0.0.1", &primary.to_string()];
        let (_replica, replica) = redis(&sandbox, "replica", &settings, &of);
        wait_until("the replica is in sync", Duration::from_mins(1), || {
            let answer = redis_cli(replica, &["info", "replication"]);
            if answer.contains("master_link_status:up") {
                Ok(())
            } else {
                Err(answer)
            }
        });
        let written = redis_cli_as("app", "app-dev", primary, &["incr", "visits"]);
        assert_eq!(written.trim(), "1");
        let refused = redis_cli(primary, &["get", "visits"]);
        assert!(refused.contains("NOPERM"), "{refused}");

        let store = format!("file://{}", sandbox.folder("store").display());
        for secret in [
            "s3-access-key",
            "s3-secret-key",
            "redis-password",
            "redis/lifeboat-password",
        ] {
            sandbox.write(&format!("run/{secret}"), "lifeboat-dev");
        }
        if job.starts_with("k8s/") {
            sandbox.set("LIFEBOAT_DESTINATIONS__OFFSITE__BUCKET", "unused");
        }
        let elsewhere = format!("{}/", sandbox.path("run").display());
        let job = text(job).replace("/run/secrets/", &elsewhere);
        sandbox.write("config.yaml", job);
        for (port, data, outcome) in [
            (primary, "primary", "skipped"),
            (replica, "replica", "completed"),
        ] {
            let data = sandbox.path(data).display().to_string();
            sandbox.set("LIFEBOAT_JOBS__REDIS__SOURCE__DATA_DIR", &data);
            let url = format!("redis://127.0.0.1:{port}");
            sandbox.set("LIFEBOAT_JOBS__REDIS__SOURCE__URL", &url);
            let ended = sandbox.run(["backup", "--json", "--destination", &store]);
            let document = ended.ok().document();
            assert_eq!(document["runs"][0]["outcome"], outcome, "{document:#}");
        }
    }
}
