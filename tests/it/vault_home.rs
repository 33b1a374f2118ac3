//! A sandbox with one job of a Vault server, and snapshots to give it that no server has made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};

use crate::sandbox::{Ended, Sandbox, names};
use crate::shelf::Shelf;
use crate::support::{Answer, VaultDouble, vault_answers};

/// A snapshot of Vault 1.21.0.
pub const GENUINE: &[u8] = include_bytes!("../fixtures/vault/vault-1.21.0.snap");
/// Its raft index.
pub const GENUINE_INDEX: u64 = 54;

/// The job `vault`, the folder `nas` it saves to and an empty `scratch` folder.
pub struct Home {
    pub sandbox: Sandbox,
}

impl Home {
    /// A job with these settings of its source: `address: "http://127.0.0.1:8200"`.
    pub fn new(source: &str) -> Home {
        let sandbox = Sandbox::new();
        for folder in ["nas", "scratch"] {
            sandbox.folder(folder);
        }
        let home = Home { sandbox };
        home.configure(source, "");
        home
    }

    /// A job beside the double, with this token in its environment.
    pub fn beside(double: &VaultDouble, token: &str) -> Home {
        let mut home = Home::new(&format!("address: \"{}\"", double.address()));
        home.sandbox.set("VAULT_TOKEN", token);
        home
    }

    /// Replaces the settings of the source, and adds `job` to those of the job: `run_on: any`.
    pub fn configure(&self, source: &str, job: &str) {
        let root = self.sandbox.root().display();
        let job = if job.is_empty() {
            String::new()
        } else {
            format!(", {job}")
        };
        let text = format!(
            "destinations: {{ nas: \"file://{root}/nas\" }}\n\
             jobs: {{ vault: {{ source: {{ type: vault, {source} }}{job} }} }}\n\
             scratch_dir: {root}/scratch\n"
        );
        self.sandbox.write("config.yaml", text);
    }

    /// Adds a setting that is no job's: `grace: 1s`.
    pub fn add(&self, setting: &str) {
        let path = self.sandbox.path("config.yaml");
        let text = fs::read_to_string(path).expect("a configuration");
        self.sandbox
            .write("config.yaml", format!("{text}{setting}\n"));
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.sandbox.run(arguments)
    }

    /// The run of `backup --json`.
    #[track_caller]
    pub fn backup(&self, code: i32) -> Value {
        let ended = self.run(&["backup", "--json"]);
        ended.code(code).document()["runs"][0].clone()
    }

    /// A backup that must be completed.
    #[track_caller]
    pub fn backs_up(&self) -> Value {
        let run = self.backup(0);
        assert_eq!(run["outcome"], "completed", "{run}");
        run
    }

    pub fn shelf(&self) -> Shelf {
        Shelf::new(&self.sandbox.path("nas"), "vault")
    }

    /// Every file in the destination, with its contents.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.sandbox.path("nas"))
    }

    #[track_caller]
    pub fn has_no_scratch(&self) {
        let left = names(&self.sandbox.path("scratch"));
        assert!(left.is_empty(), "scratch files were left: {left:?}");
    }
}

/// All files below a folder, by their path below it.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for name in names(folder) {
            let (path, below) = (folder.join(&name), format!("{below}{name}"));
            if path.is_dir() {
                walk(&path, &format!("{below}/"), found);
            } else {
                found.insert(below, fs::read(path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

/// Makes a double an active node whose clock is right.
pub fn tell_the_time(double: &VaultDouble, seconds_ahead: i64) {
    let mut health = vault_answers::health();
    health["server_time_utc"] = json!(jiff::Timestamp::now().as_second() + seconds_ahead);
    double.on("GET", "sys/health", [Answer::json(200, &health)]);
}

/// A node that leads, whose clock is right, and which gives the genuine snapshot to everybody.
pub fn good_node() -> VaultDouble {
    let double = VaultDouble::start();
    tell_the_time(&double, 0);
    double.on_snapshot([Answer::snapshot(GENUINE)]);
    let lookup = json!({ "data": { "ttl": 0, "policies": ["default", "lifeboat"] } });
    double.on(
        "GET",
        "auth/token/lookup-self",
        [Answer::json(200, &lookup)],
    );
    let rights = json!({ "sys/storage/raft/snapshot": ["read"] });
    double.on(
        "POST",
        "sys/capabilities-self",
        [Answer::json(200, &rights)],
    );
    double
}

/// A snapshot as Vault makes them, as far as anybody without its keys can tell.
pub fn vault_archive(index: u64) -> Vec<u8> {
    archive("bolt-snapshot", index, &vault_state(), true)
}

/// The same without the sums that only its keys can prove.
pub fn unsealed_vault_archive(index: u64) -> Vec<u8> {
    archive("bolt-snapshot", index, &vault_state(), false)
}

fn vault_state() -> Vec<u8> {
    [
        entry(b"core/audit", &[1; 40]),
        entry(b"sys/policy/default", &[2; 20]),
    ]
    .concat()
}

/// A snapshot as Consul and Nomad make them: nothing in it is sealed.
pub fn agent_archive(index: u64) -> Vec<u8> {
    let state = [
        b"\x81\xa9LastIndex\x13\x00\x8b\xa2ID\xc4\x10".as_slice(),
        &[9; 600],
    ]
    .concat();
    archive("2-19-1795246864000", index, &state, false)
}

fn archive(id: &str, index: u64, state: &[u8], sealed: bool) -> Vec<u8> {
    let servers = json!([{ "Suffrage": 0, "ID": "node-1", "Address": "127.0.0.1:1" }]);
    let meta = json!({
        "Version": 1, "ID": id, "Index": index, "Term": 3, "Peers": null,
        "Configuration": { "Servers": servers }, "ConfigurationIndex": 1, "Size": state.len(),
    });
    let meta = format!("{meta}\n");
    let sums = format!(
        "{}  meta.json\n{}  state.bin\n",
        sha256(meta.as_bytes()),
        sha256(state)
    );
    let mut members = vec![
        ("meta.json", meta.as_bytes()),
        ("state.bin", state),
        ("SHA256SUMS", sums.as_bytes()),
    ];
    if sealed {
        members.push(("SHA256SUMS.sealed", &[10; 187]));
    }
    let mut tar = Vec::new();
    for (name, contents) in members {
        tar.extend(header(name, contents.len()));
        tar.extend(contents);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend([0; 1024]);
    gzip(&tar)
}

/// As Go's gzip writes it.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(plain).expect("a vector takes it");
    let blocks = deflate.finish().expect("a vector takes it");
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    [&head[..], &blocks, &trailer].concat()
}

fn header(name: &str, size: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000600");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// A key and its value, as protobuf with its length in front.
fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let field = |tag: u8, contents: &[u8]| {
        let mut field = vec![tag];
        field.extend(varint(contents.len()));
        field.extend(contents);
        field
    };
    let message = [field(0x0a, key), field(0x12, value)].concat();
    [varint(message.len()), message].concat()
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 0x7f {
        bytes.push(u8::try_from(n & 0x7f).expect("seven bits") | 0x80);
        n >>= 7;
    }
    bytes.push(u8::try_from(n).expect("seven bits"));
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in digest(&SHA256, bytes).as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
