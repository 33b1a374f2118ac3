//! A series in a local destination, for tests that need backups of any age.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::names;

/// The folder of one series.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

impl Shelf {
    pub fn new(destination: &Path, series: &str) -> Self {
        Self(destination.join(series))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The ids of all manifests, oldest first.
    pub fn ids(&self) -> Vec<String> {
        names(&self.path("manifests"))
            .iter()
            .filter_map(|name| name.strip_suffix(".json"))
            .map(str::to_owned)
            .collect()
    }

    /// The names of all data objects, oldest first.
    pub fn data(&self) -> Vec<String> {
        names(&self.path("data"))
    }

    pub fn manifest_path(&self, id: &str) -> PathBuf {
        self.path("manifests").join(format!("{id}.json"))
    }

    pub fn manifest(&self, id: &str) -> Value {
        let json = fs::read(self.manifest_path(id)).expect("a manifest");
        serde_json::from_slice(&json).expect("a manifest is JSON")
    }

    /// The newest manifest.
    pub fn newest(&self) -> Value {
        self.manifest(self.ids().last().expect("a backup"))
    }

    /// Files a copy of a backup, manifest and data, as one of another moment.
    pub fn file(&self, template: &Value, captured_at: Timestamp) -> String {
        self.file_as(template, captured_at, |_| {})
    }

    /// The same, with the manifest changed before it is written.
    pub fn file_as(
        &self,
        template: &Value,
        captured_at: Timestamp,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let id = format!(
            "{}-{:06x}",
            captured_at.strftime("%Y%m%dT%H%M%SZ"),
            captured_at.as_second() & 0x00ff_ffff
        );
        let old_key = template["key"].as_str().expect("a key");
        let (series, old_name) = old_key.split_once("/data/").expect("a key of a series");
        let extension = old_name.split_once('.').expect("an extension").1;
        let name = format!("{id}.{extension}");
        let mut manifest = template.clone();
        manifest["id"] = json!(id);
        manifest["captured_at"] = json!(captured_at);
        manifest["finished_at"] = json!(captured_at);
        manifest["key"] = json!(format!("{series}/data/{name}"));
        change(&mut manifest);
        if manifest["key"].as_str().expect("a key").ends_with(&name) {
            let data = self.path("data");
            fs::copy(data.join(old_name), data.join(&name)).expect("a copy of the data");
        }
        let json = serde_json::to_vec_pretty(&manifest).expect("JSON");
        fs::write(self.manifest_path(&id), json).expect("a new manifest");
        id
    }

    /// Takes a backup away, with its data where `template` says it is.
    pub fn discard(&self, manifest: &Value) {
        let text = |key: &str| manifest[key].as_str().expect("a text").to_owned();
        fs::remove_file(self.manifest_path(&text("id"))).expect("the manifest goes");
        let name = text("key");
        let name = name.rsplit('/').next().expect("a name");
        fs::remove_file(self.path("data").join(name)).expect("the data goes");
    }
}
