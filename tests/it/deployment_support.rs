//! Reads the Dockerfile, the compose file, the Kubernetes manifests and the systemd unit for what
//! they ask of the program: its environment, its configuration, its commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The name of the image in all files.
pub const IMAGE: &str = "lifeboat";

/// One container that runs our image.
#[derive(Debug)]
pub struct Container {
    /// Where it stands, for messages.
    pub place: String,
    pub spec: Value,
    pub environment: BTreeMap<String, String>,
    /// The file at `/etc/lifeboat/config.yaml`.
    pub configuration: String,
    /// Its arguments, where it runs the program and not a script.
    pub arguments: Option<Vec<String>>,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(path: &str) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder, as paths from the root of the repository.
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The documents of a YAML file, with anchors and merges resolved.
pub fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| {
            let mut value: serde_yaml::Value =
                serde::Deserialize::deserialize(document).expect("sound YAML");
            value.apply_merge().expect("sound merges");
            serde_json::to_value(value).expect("keys are words")
        })
        .collect()
}

pub fn document(path: &str) -> Value {
    let mut all = documents(&text(path));
    assert_eq!(all.len(), 1, "{path} has one document");
    all.remove(0)
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

pub fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn compose() -> Value {
    document("docker/compose.yaml")
}

/// Everything that runs our image anywhere.
pub fn containers() -> Vec<Container> {
    let mut all = compose_containers();
    for overlay in overlays() {
        all.extend(pod_containers(&overlay));
    }
    assert!(all.len() > 10, "the containers were not found: {all:#?}");
    all
}

fn compose_containers() -> Vec<Container> {
    let compose = compose();
    let ours = entries(&compose["services"]).filter(|(_, service)| service["image"] == IMAGE);
    ours.map(|(name, service)| {
        let mount = items(&service["volumes"])
            .filter_map(|volume| volume.as_str()?.split_once(":/etc/lifeboat/config.yaml"))
            .map(|(file, _)| format!("docker/{}", file.trim_start_matches("./")))
            .next()
            .unwrap_or_else(|| panic!("{name} mounts no configuration"));
        let arguments = words(&service["command"]);
        Container {
            place: format!("docker/compose.yaml, {name}"),
            environment: entries(&service["environment"])
                .map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned()))
                .collect(),
            configuration: text(&mount),
            arguments: Some(if arguments.is_empty() {
                vec!["run".to_owned()]
            } else {
                arguments
            }),
            spec: service.clone(),
        }
    })
    .collect()
}

/// A store with what a cloud's component adds to it.
pub struct Overlay {
    pub folder: String,
    pub store: String,
    pub kustomizations: Vec<(String, Value)>,
}

/// The folders that are applied.
pub fn overlays() -> Vec<Overlay> {
    let found = files("k8s/overlays");
    let found = found
        .iter()
        .filter_map(|path| path.strip_suffix("/kustomization.yaml"));
    let all: Vec<Overlay> = found
        .map(|folder| {
            let own = document(&format!("{folder}/kustomization.yaml"));
            let mut kustomizations = Vec::new();
            let mut store = None;
            for other in items(&own["resources"]).chain(items(&own["components"])) {
                let other = other.as_str().expect("a path");
                let Some(below) = other.strip_prefix("../../") else {
                    continue;
                };
                let path = format!("k8s/{below}");
                if !below.starts_with("components/") {
                    store = Some(path.clone());
                }
                let kustomization = document(&format!("{path}/kustomization.yaml"));
                kustomizations.push((path, kustomization));
            }
            Overlay {
                folder: folder.to_owned(),
                store: store.unwrap_or_else(|| panic!("{folder} has a store")),
                kustomizations,
            }
        })
        .collect();
    assert!(all.len() >= 4, "the overlays were not found");
    all
}

impl Overlay {
    /// The data of the ConfigMaps that are generated, by name.
    fn config_maps(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut maps: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (folder, kustomization) in &self.kustomizations {
            for generator in items(&kustomization["configMapGenerator"]) {
                let name = generator["name"].as_str().expect("a name");
                let map = maps.entry(name.to_owned()).or_default();
                for literal in words(&generator["literals"]) {
                    let (key, value) = literal.split_once('=').expect("KEY=VALUE");
                    map.insert(key.to_owned(), value.to_owned());
                }
                for file in words(&generator["files"]) {
                    let (key, file) = file.split_once('=').unwrap_or((&file, &file));
                    map.insert(key.to_owned(), text(&format!("{folder}/{file}")));
                }
            }
        }
        maps
    }
}

/// The StatefulSet's pod.
pub fn pod(store: &str) -> Value {
    document(&format!("{store}/statefulset.yaml"))["spec"]["template"]["spec"].clone()
}

pub fn pod_containers(overlay: &Overlay) -> Vec<Container> {
    let pod = pod(&overlay.store);
    let maps = overlay.config_maps();
    let ours = items(&pod["initContainers"])
        .chain(items(&pod["containers"]))
        .filter(|container| container["image"] == IMAGE);
    ours.map(|container| {
        let name = container["name"].as_str().expect("a name");
        let place = format!("{}, {name}", overlay.folder);
        let mount = items(&container["volumeMounts"])
            .find(|mount| mount["mountPath"] == "/etc/lifeboat")
            .unwrap_or_else(|| panic!("{place} mounts no configuration"));
        let volume = items(&pod["volumes"])
            .find(|volume| volume["name"] == mount["name"])
            .unwrap_or_else(|| panic!("{place} mounts a volume that is not there"));
        let map = volume["configMap"]["name"].as_str().expect("a ConfigMap");
        let mut environment: BTreeMap<String, String> = items(&container["envFrom"])
            .map(|from| from["configMapRef"]["name"].as_str().expect("a name"))
            .flat_map(|name| maps[name].clone())
            .collect();
        environment.extend(items(&container["env"]).map(|variable| {
            let part = |key: &str| variable[key].as_str().unwrap_or_default().to_owned();
            (part("name"), part("value"))
        }));
        let command = words(&container["command"]);
        assert!(
            command.is_empty() || command[0] == "sh",
            "{place}: the image's entrypoint does"
        );
        Container {
            place,
            environment,
            configuration: maps[map]["config.yaml"].clone(),
            arguments: command.is_empty().then(|| words(&container["args"])),
            spec: container.clone(),
        }
    })
    .collect()
}

/// The commands of ours in a text: what comes after `lifeboat ` where a command may begin, up to
/// the end of the line or of the command.
pub fn commands(text: &str) -> Vec<Vec<String>> {
    let whole = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in whole.lines() {
        let line = line.trim().trim_start_matches(['$', '#', '-']).trim_start();
        let line = line.replace("lifeboat-", "other-");
        for (at, _) in line.match_indices("lifeboat ") {
            let (before, by_path) = match line[..at].strip_suffix("/usr/local/bin/") {
                Some(before) => (before, true),
                None => (&line[..at], false),
            };
            let apart = before.is_empty() || before.ends_with([' ', '\'', '`', '(']);
            let before = before.trim_end();
            let last = before.rsplit([' ', '\'', '"']).next().unwrap_or_default();
            let begins = before.is_empty()
                || before.ends_with([';', '|', '&', '(', '\'', '`'])
                || last.contains('=')
                // `docker compose exec lifeboat-app lifeboat list`
                || last.starts_with("other-")
                || matches!(last, "then" | "exec" | "until" | "--");
            let begins = by_path || (apart && begins);
            if begins {
                let command = line[at + "lifeboat ".len()..].to_owned();
                found.push(first_command(&command));
            }
        }
    }
    found
}

fn first_command(line: &str) -> Vec<String> {
    let end = line
        .match_indices([';', '|', '&', '`', ')', '>', '<', '#'])
        .map(|(at, _)| at)
        .next()
        .unwrap_or(line.len());
    line[..end]
        .split_whitespace()
        .map(|word| word.trim_matches(['\'', '"']).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The value of a directive in a systemd unit, each time it is there.
pub fn directives(unit: &str, name: &str) -> Vec<String> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

pub fn exists(path: &str) -> bool {
    Path::new(&root().join(path)).exists()
}
