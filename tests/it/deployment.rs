//! What people deploy fits the program: the image, the compose file, the Kubernetes manifests and
//! the systemd unit, without Docker or a cluster.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex_lite::Regex;
use serde_json::{Value, json};

use crate::deployment_support::{
    Container, commands, compose, containers, directives, document, entries, exists, files, items,
    overlays, pod, root, text,
};
use crate::sandbox::{Ended, Sandbox, names};

/// Variables that the program, or a library it is built on, reads and `config env` does not list.
const AMBIENT: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "HTTPS_PROXY",
    "LOG_FORMAT",
    "RUST_LOG",
    "TZ",
    "VAULT_CACERT",
    "VAULT_TOKEN",
];
/// Folders that hold secrets in a container, and that a test has elsewhere.
const SECRETS: &str = "/run/";
const MEMORY_LIMIT: &str = "64Mi";

/// The program with a container's environment and configuration, and dummies of its secrets.
fn scene(container: &Container) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let secrets = Regex::new(r"/run/[A-Za-z0-9/._-]+").expect("a pattern");
    for secret in secrets.find_iter(&container.configuration) {
        let path = format!("run/{}", &secret.as_str()[SECRETS.len()..]);
        let folder = path.rsplit_once('/').expect("a folder").0;
        sandbox.folder(folder);
        sandbox.write(&path, "dummy");
    }
    let elsewhere = format!("{}/", sandbox.path("run").display());
    let configuration = container.configuration.replace(SECRETS, &elsewhere);
    sandbox.write("config.yaml", configuration);
    for (name, value) in &container.environment {
        sandbox.set(name, value);
    }
    sandbox
}

/// Appended to any command, `--help` is reached only past words that are known.
#[track_caller]
fn assert_known(place: &str, arguments: &[String]) {
    let mut line = arguments.to_vec();
    line.push("--help".to_owned());
    let ended = Sandbox::new().run(&line);
    assert_eq!(ended.code, Some(0), "{place}: {arguments:?}: {ended:#?}");
}

fn pattern(listed: &str) -> Regex {
    Regex::new(&format!(
        "^{}(_FILE)?$",
        listed.replace("<NAME>", "[A-Z0-9_]+?")
    ))
    .expect("a pattern")
}

fn known_variables() -> Vec<Regex> {
    let listed = Sandbox::new().run(["config", "env"]);
    let names = listed
        .ok()
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next());
    let known: Vec<Regex> = names.chain(AMBIENT).map(pattern).collect();
    assert!(known.len() > 50, "{listed:#?}");
    known
}

#[test]
fn every_embedded_configuration_is_sound() {
    for container in containers() {
        let checked = scene(&container).run(["config", "check"]);
        assert_eq!(checked.code, Some(0), "{}: {checked:#?}", container.place);
    }
}

#[test]
fn a_configuration_with_a_mistake_would_be_noticed() {
    let mut container = containers().remove(0);
    container.configuration = container.configuration.replace("schedule:", "schedul:");
    scene(&container).run(["config", "check"]).code(2);
    let mut container = containers().remove(0);
    let name = "LIFEBOAT_JOBS__REDIS__SCHEDULE__EVRY".to_owned();
    container.environment.insert(name, "1h".to_owned());
    scene(&container).run(["config", "check"]).code(2);
}

#[test]
fn every_configuration_file_is_deployed_by_something() {
    let deployed: Vec<String> = containers().into_iter().map(|c| c.configuration).collect();
    let mut found = 0;
    for path in files("docker").into_iter().chain(files("k8s")) {
        let text = text(&path);
        if path.ends_with(".yaml") && text.lines().any(|line| line == "jobs:") {
            assert!(deployed.contains(&text), "{path} is used by nothing");
            found += 1;
        }
    }
    assert_eq!(found, 5, "configurations under docker and k8s");
}

#[test]
fn no_variable_is_unknown_to_the_program() {
    let known = known_variables();
    let check = |place: &str, name: &str| {
        assert!(
            known.iter().any(|known| known.is_match(name)),
            "{place}: the program knows no {name}"
        );
    };
    for container in containers() {
        for name in container.environment.keys() {
            check(&container.place, name);
        }
    }
    // And those that are only mentioned.
    let mentioned = Regex::new(r"\bLIFEBOAT_[A-Z0-9_]+").expect("a pattern");
    let mut places = files("docker");
    places.extend(files("k8s"));
    places.extend(files("dist"));
    places.extend(
        [
            "docs/deployment.md",
            "docs/policies.md",
            "Dockerfile.alpine",
        ]
        .map(String::from),
    );
    for place in places {
        for name in mentioned.find_iter(&text(&place)) {
            check(&place, name.as_str());
        }
    }
    assert!(
        !known
            .iter()
            .any(|known| known.is_match("LIFEBOAT_JOBS__APP__SCHEDUL__EVERY"))
    );
}

#[test]
fn no_command_or_flag_is_unknown_to_the_program() {
    let mut seen = 0;
    for container in containers() {
        let spec = &container.spec;
        let probe = &spec["livenessProbe"]["exec"]["command"];
        let probe: Vec<String> = items(probe)
            .map(|w| w.as_str().unwrap().to_owned())
            .collect();
        for arguments in container.arguments.iter().chain(
            (!probe.is_empty())
                .then(|| {
                    assert_eq!(probe[0], "lifeboat");
                    probe[1..].to_vec()
                })
                .iter(),
        ) {
            assert_known(&container.place, arguments);
            seen += 1;
        }
    }
    let mut places = files("docker");
    places.extend(files("k8s"));
    places.extend(files("dist"));
    places.extend(["docs/deployment.md", "docs/policies.md"].map(String::from));
    for place in places {
        for arguments in commands(&text(&place)) {
            assert_known(&place, &arguments);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn commands_are_found_where_they_stand() {
    let found = commands(
        "status=0\nlifeboat restore a --to /b \\\n  --if-empty || status=$?\n\
         ExecStart=/usr/local/bin/lifeboat run\n# lifeboat-redis is no command, nor is a lifeboat here\n\
         vault write policies=lifeboat ttl=1h\nx -- sh -c 'A=b lifeboat list --json' | cat\n",
    );
    let joined: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        joined,
        ["restore a --to /b --if-empty", "run", "list --json"]
    );
}

#[test]
fn the_image_says_what_the_program_knows() {
    let dockerfile = text("Dockerfile.alpine");
    let exec = |instruction: &str| -> Vec<String> {
        let line = dockerfile.lines().find_map(|line| {
            line.strip_prefix(instruction)?
                .find('[')
                .map(|at| &line[instruction.len() + at..])
        });
        serde_json::from_str(line.unwrap_or_else(|| panic!("{instruction} in exec form"))).unwrap()
    };
    assert_eq!(exec("ENTRYPOINT"), ["lifeboat"]);
    assert_known("CMD", &exec("CMD"));
    let health = exec("HEALTHCHECK");
    assert_eq!(health[..2], ["lifeboat", "status"]);
    assert_known("HEALTHCHECK", &health[1..]);
    assert!(dockerfile.contains("\nUSER 65532:65532\n"));
    // tests/image.sh builds by this line.
    let build = dockerfile.lines().map(str::trim);
    assert_eq!(
        build
            .filter(|line| line.starts_with("cargo build "))
            .count(),
        1
    );

    let version = |text: &str, key: &str| -> String {
        let rest = text
            .split(key)
            .nth(1)
            .unwrap_or_else(|| panic!("{key} is set"));
        let end = rest.find(['"', '\n']).expect("an end");
        rest[..end].to_owned()
    };
    assert_eq!(
        version(&dockerfile, "ARG RUST_VERSION="),
        version(&text("Cargo.toml"), "rust-version = \""),
        "the image is built by the Rust that the crate promises to build with"
    );
    // The build stage has what it copies.
    let ignored = text(".dockerignore");
    let copied = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    for words in copied.filter(|line| !line.starts_with("--")) {
        let mut words: Vec<&str> = words.split(' ').collect();
        words.pop();
        for source in words {
            assert!(exists(source), "{source}");
            assert!(
                ignored.lines().any(|line| line == format!("!{source}")),
                "{source} is ignored"
            );
        }
    }
}

#[test]
fn the_compose_file_names_only_what_is_there() {
    let compose = compose();
    let services = &compose["services"];
    let has = |group: &str, name: &str| compose[group].get(name).is_some();
    for (name, service) in entries(services) {
        for (other, _) in entries(&service["depends_on"]) {
            assert!(services.get(other).is_some(), "{name} depends on {other}");
        }
        for secret in items(&service["secrets"]) {
            assert!(has("secrets", secret.as_str().unwrap()), "{name}: {secret}");
        }
        for volume in items(&service["volumes"]) {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let there = match source.strip_prefix("./") {
                Some(file) => exists(&format!("docker/{file}")),
                None => has("volumes", source),
            };
            assert!(there, "{name} mounts {source}");
        }
        let build = &service["build"];
        if let Some(context) = build["context"].as_str() {
            let file = build["dockerfile"].as_str().unwrap_or("Dockerfile");
            assert!(
                exists(&format!("docker/{context}/{file}")),
                "{name}: {build}"
            );
        }
    }
    for (name, secret) in entries(&compose["secrets"]) {
        let file = secret["file"].as_str().unwrap();
        assert!(exists(&format!("docker/{file}")), "{name}: {file}");
    }
    let volumes: BTreeSet<&str> = entries(services)
        .flat_map(|(_, service)| items(&service["volumes"]))
        .filter_map(|volume| volume.as_str()?.split(':').next())
        .collect();
    for (volume, _) in entries(&compose["volumes"]) {
        assert!(
            volumes.contains(volume.as_str()),
            "{volume} is mounted by nothing"
        );
    }
}

#[test]
fn every_container_of_ours_is_locked_down() {
    for container in containers() {
        let (place, spec) = (&container.place, &container.spec);
        if place.starts_with("docker/") {
            assert_eq!(spec["read_only"], true, "{place}");
            assert_eq!(spec["cap_drop"], json!(["ALL"]), "{place}");
            assert!(spec["mem_limit"].is_string(), "{place}");
            continue;
        }
        assert_eq!(
            spec["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            }),
            "{place}"
        );
        assert_eq!(
            spec["resources"]["limits"]["memory"], MEMORY_LIMIT,
            "{place}"
        );
        assert!(spec["resources"]["requests"].is_object(), "{place}");
        // A secret is a file: nothing of the sort is in the environment.
        for name in container.environment.keys() {
            let secret = ["PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY_ID"];
            assert!(
                !secret.iter().any(|word| name.contains(word)),
                "{place}: {name}"
            );
        }
    }
}

#[test]
fn pods_run_as_nobody_and_outlast_the_grace_period() {
    for overlay in overlays() {
        let (place, pod) = (&overlay.folder, pod(&overlay.store));
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{place}");
        assert_eq!(
            security["seccompProfile"]["type"], "RuntimeDefault",
            "{place}"
        );
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > 25, "{place}: `grace` is 25 s");
        let account = document(&format!("{}/serviceaccount.yaml", overlay.store));
        assert_eq!(
            pod["serviceAccountName"], account["metadata"]["name"],
            "{place}"
        );
        // Only what serves the store is ever out of service.
        for container in items(&pod["containers"]) {
            let ours = container["image"] == "lifeboat";
            assert_eq!(container["readinessProbe"].is_null(), ours, "{place}");
            assert!(container["livenessProbe"].is_object(), "{place}");
        }
        let name = pod_label(&overlay.store);
        for policy in ["networkpolicy", "poddisruptionbudget"] {
            let policy = document(&format!("{}/{policy}.yaml", overlay.store));
            let spec = &policy["spec"];
            let selector = spec.get("podSelector").unwrap_or(&spec["selector"]);
            assert_eq!(selector["matchLabels"], name, "{place}");
        }
    }
}

fn pod_label(store: &str) -> Value {
    document(&format!("{store}/statefulset.yaml"))["spec"]["template"]["metadata"]["labels"].clone()
}

#[test]
fn redis_and_its_sidecar_share_the_data_and_the_uid() {
    let pod = pod("k8s/redis");
    let mount = |name: &str| -> Value {
        let all = items(&pod["initContainers"]).chain(items(&pod["containers"]));
        let container = all.into_iter().find(|c| c["name"] == name).unwrap();
        assert!(
            container["securityContext"].get("runAsUser").is_none(),
            "{name}"
        );
        let mount = items(&container["volumeMounts"]).find(|m| m["name"] == "data");
        mount.unwrap().clone()
    };
    assert_eq!(mount("redis").get("readOnly"), None);
    assert_eq!(mount("restore").get("readOnly"), None);
    assert_eq!(mount("lifeboat")["readOnly"], true);
    assert!(pod["securityContext"]["runAsUser"].is_u64());
}

#[test]
fn kustomizations_name_every_file_beside_them_and_no_other() {
    for path in files("k8s")
        .iter()
        .filter(|path| path.ends_with("/kustomization.yaml"))
    {
        let folder = path.strip_suffix("/kustomization.yaml").unwrap();
        let kustomization = document(path);
        let mut named = BTreeSet::from(["kustomization.yaml".to_owned()]);
        let generated =
            items(&kustomization["configMapGenerator"]).flat_map(|g| items(&g["files"]));
        for file in items(&kustomization["resources"])
            .chain(items(&kustomization["components"]))
            .chain(generated)
        {
            let file = file.as_str().unwrap();
            let file = file.split_once('=').map_or(file, |(_, file)| file);
            assert!(exists(&format!("{folder}/{file}")), "{path} names {file}");
            named.insert(file.to_owned());
        }
        for file in names(&root().join(folder)) {
            assert!(named.contains(&file), "{path} does not name {file}");
        }
    }
}

/// `restore.sh` of the pod `hostname`, with the sandbox as the pod's volumes.
fn init_container(sandbox: &Sandbox, hostname: &str) -> Ended {
    let script = text("k8s/redis/restore.sh");
    assert!(script.contains("/data/dump.rdb"));
    let data = sandbox.folder("data");
    let script = script.replace("/data/", &format!("{}/", data.display()));
    let script = sandbox.write("restore.sh", script);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lifeboat"));
    let output = Command::new("sh")
        .arg(script)
        .current_dir(sandbox.root())
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        )
        .env("HOSTNAME", hostname)
        .output();
    Ended::of(output.expect("a shell"))
}

#[test]
fn the_init_container_fills_an_empty_volume_and_stops_at_nothing_but_real_failures() {
    let sandbox = Sandbox::new();
    let store = sandbox.path("store");
    let fixture = fs::read(root().join("tests/fixtures/rdb/types.rdb")).unwrap();
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ offsite: \"file://{}\" }}\n\
             jobs: {{ redis: {{ source: {{ type: redis, url: \"redis://127.0.0.1:1\", data_dir: {} }}, run_on: any }} }}\n",
            store.display(),
            sandbox.folder("server").display(),
        ),
    );
    let dump = sandbox.path("data/dump.rdb");

    // The store is away: not the same as an empty one.
    let ended = init_container(&sandbox, "redis-0");
    assert!(!matches!(ended.code, Some(0 | 4)), "{ended:#?}");

    sandbox.folder("store");
    let ended = init_container(&sandbox, "redis-0");
    assert!(ended.ok().stdout.contains("no backup yet"), "{ended:#?}");
    assert!(!dump.exists());

    sandbox.write("server/dump.rdb", &fixture);
    sandbox.run(["backup"]).ok();
    init_container(&sandbox, "redis-1").ok();
    assert!(!dump.exists(), "a replica copies its primary");
    init_container(&sandbox, "redis-0").ok();
    assert_eq!(fs::read(&dump).unwrap(), fixture);

    fs::write(&dump, "newer").unwrap();
    init_container(&sandbox, "redis-0").ok();
    assert_eq!(
        fs::read(&dump).unwrap(),
        b"newer",
        "data that is there stays"
    );

    // A backup that is damaged is no reason to start empty.
    fs::remove_file(&dump).unwrap();
    let data = store.join("redis/data");
    fs::write(data.join(&names(&data)[0]), "torn").unwrap();
    let ended = init_container(&sandbox, "redis-0");
    assert!(!matches!(ended.code, Some(0 | 4)), "{ended:#?}");
    assert!(!dump.exists());
}

#[test]
fn the_systemd_unit_runs_the_daemon_and_gives_it_time_to_drain() {
    let unit = text("dist/lifeboat.service");
    assert_eq!(
        directives(&unit, "ExecStart"),
        ["/usr/local/bin/lifeboat run"]
    );
    let seconds = directives(&unit, "TimeoutStopSec");
    assert!(seconds[0].trim_end_matches('s').parse::<u32>().unwrap() > 25);
    for hardening in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "CapabilityBoundingSet=",
    ] {
        assert!(unit.lines().any(|line| line == hardening), "{hardening}");
    }
    // What it names in examples is where systemd puts it.
    let loaded = directives(&unit, "LoadCredential");
    let (id, _) = loaded[0].split_once(':').unwrap();
    assert!(unit.contains(&format!("/run/credentials/lifeboat.service/{id}_")));
}
