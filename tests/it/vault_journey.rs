//! Vault through the real program, beside real servers: what a backup goes through from the first
//! request to the last line of its manifest, and what people see of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::{Ended, names};
use crate::support::servers::wait_until;
use crate::support::vault_double::SNAPSHOT;
use crate::support::{
    Answer, HttpClient, Process, TestCa, VaultCluster, VaultDouble, free_port, require,
    shared_vault, vault_answers,
};
use crate::vault_home::{GENUINE, Home, files, good_node, tell_the_time};

const POLICY: &str = "path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }";

/// Makes a node say something.
type Script = fn(&VaultDouble);

type Variables<'a> = &'a [(&'a str, &'a str)];

fn address(cluster: &VaultCluster, node: usize) -> String {
    format!("address: \"{}\"", cluster.nodes[node].address)
}

/// A job beside a node, with a token that may do just what the documentation asks for.
fn beside(cluster: &VaultCluster, node: usize) -> Home {
    let mut home = Home::new(&address(cluster, node));
    home.sandbox.set("VAULT_TOKEN", &cluster.snapshot_token());
    home
}

fn place(address: &str) -> &str {
    address.split_once("//").expect("a URL").1
}

/// What `inspect` says, in the words of the manifest.
fn facts_of(inspected: &Value) -> (Value, BTreeMap<String, (u64, u64)>) {
    let meta = &inspected["Meta"];
    let facts = json!({
        "index": meta["Index"], "term": meta["Term"], "snapshot_version": meta["Version"],
        "snapshot_id": meta["ID"], "state_bytes": meta["Size"],
    });
    let rows = inspected["StatsKV"].as_array().expect("a list");
    let figures = rows.iter().map(|row| {
        let figure = |name: &str| row[name].as_u64().expect("a figure");
        let name = row["Name"].as_str().expect("a name").to_owned();
        (name, (figure("Count"), figure("Size")))
    });
    (facts, figures.collect())
}

fn data_object(home: &Home, manifest: &Value) -> PathBuf {
    let key = manifest["key"].as_str().expect("a key");
    home.sandbox.path("nas").join(key)
}

#[test]
#[ignore = "needs vault"]
fn a_backup_goes_the_whole_way_and_vault_agrees_with_every_figure() {
    let vault = shared_vault();
    vault.put_secret("journey", "kept");
    let token = vault.snapshot_token();
    let mut home = Home::new(&address(vault, 0));
    home.sandbox.set("VAULT_TOKEN", &token);
    let ended = home.run(&["backup"]);
    ended.ok();
    let [job, nas, completed] = &ended.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{ended:?}");
    };
    assert!(
        job.starts_with("vault  vault  ") && job.contains("index "),
        "{job}"
    );
    assert!(nas.starts_with("  nas  stored "), "{nas}");
    assert!(completed.starts_with("completed  "), "{completed}");
    assert_eq!(ended.stderr, "");

    let shelf = home.shelf();
    let manifest = shelf.newest();
    let id = manifest["id"].as_str().expect("an id");
    let status = vault.api("GET", "sys/seal-status", &Value::Null);
    assert_eq!(
        manifest["role"],
        json!({ "before": "primary", "after": "primary" })
    );
    assert_eq!(manifest["engine"]["name"], "vault");
    assert_eq!(manifest["engine"]["version"], status["version"]);
    assert_eq!(manifest["key"], format!("vault/data/{id}.snap"));
    assert_eq!(manifest["verified"]["ok"], true);
    let facts = &manifest["engine"]["facts"];
    assert_eq!(facts["cluster_id"], status["cluster_id"]);
    assert_eq!(facts["cluster_name"], status["cluster_name"]);
    assert_eq!(facts["product"], "vault");
    let raft = place(&vault.nodes[0].cluster_address);
    let server = json!({ "id": "node-0", "address": raft, "suffrage": "voter" });
    assert_eq!(facts["servers"], json!([server]));

    // The witness: Vault's own command, on the stored object.
    let object = data_object(&home, &manifest);
    let stored = fs::read(&object).expect("the data object");
    assert_eq!(manifest["stored"]["bytes"], stored.len());
    let (inspected, figures) = facts_of(&vault.inspect(&stored));
    for (name, figure) in inspected.as_object().expect("an object") {
        assert_eq!(&facts[name], figure, "{name}");
    }
    let keys = facts["keys"].as_object().expect("an object");
    let ours: BTreeMap<String, (u64, u64)> = keys
        .iter()
        .map(|(name, of)| {
            let figure = |field: &str| of[field].as_u64().expect("a figure");
            (name.clone(), (figure("count"), figure("bytes")))
        })
        .collect();
    assert_eq!(ours, figures);

    // What must be nowhere: who we are, who may do everything, and what opens the data.
    let secrets = [&token, vault.root_token(), vault.unseal_key()];
    for (name, contents) in files(home.sandbox.root()) {
        let text = String::from_utf8_lossy(&contents);
        let told = secrets.iter().any(|secret| text.contains(secret));
        assert!(!told, "a secret in {name}");
    }
}

#[test]
#[ignore = "needs vault"]
fn what_people_are_shown_is_what_vault_shows() {
    let vault = shared_vault();
    let home = beside(vault, 0);
    home.backs_up();
    let manifest = home.shelf().newest();
    let id = manifest["id"].as_str().expect("an id");
    let facts = &manifest["engine"]["facts"];
    let object = data_object(&home, &manifest);
    let stored = fs::read(object).expect("the data object");
    let (_, figures) = facts_of(&vault.inspect(&stored));
    let raft = place(&vault.nodes[0].cluster_address);
    let shown = home.run(&["show", "vault", "latest"]);
    shown.ok();
    let rows: Vec<Vec<&str>> = shown
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let has = |words: &[&str]| {
        rows.iter()
            .any(|row| row.windows(words.len()).any(|it| it == words))
    };
    for name in ["index", "term", "snapshot_version", "state_bytes"] {
        assert!(has(&[name, &facts[name].to_string()]), "{name}: {shown:?}");
    }
    for (prefix, (count, _)) in &figures {
        assert!(
            has(&[prefix, &count.to_string()]),
            "{prefix} {count}: {shown:?}"
        );
    }
    assert!(has(&["node-0", raft, "voter"]), "{shown:?}");
    let document = home.run(&["show", "vault", id, "--json"]);
    assert_eq!(document.ok().document(), manifest);

    let list = home.run(&["list"]);
    assert!(list.ok().stdout.contains(id), "{list:?}");
    let list = home.run(&["list", "vault", "--json"]).document();
    let row = &list["backups"][0];
    assert_eq!(
        (&row["id"], &row["verified"]),
        (&manifest["id"], &true.into())
    );
    assert_eq!(
        (&row["role"], &row["engine"]),
        (&"primary".into(), &"vault".into())
    );

    let verified = home.run(&["verify", "vault", "--json"]);
    let checked = &verified.ok().document()["checked"][0];
    assert_eq!(checked["outcome"], "ok", "{checked}");
    home.run(&["restore", "vault", "--to", "plain.snap"]).ok();
    let plain = fs::read(home.sandbox.path("plain.snap")).expect("the plain snapshot");
    assert!(plain == stored);
    home.has_no_scratch();
}

#[test]
#[ignore = "needs vault and zstd"]
fn the_lines_of_the_manifest_bring_it_back_without_lifeboat() {
    let vault = shared_vault();
    for compression in ["none", "gzip", "zstd"] {
        let home = beside(vault, 0);
        let seal = format!("seal: {{ compression: {compression} }}");
        home.configure(&address(vault, 0), &seal);
        home.backs_up();
        let manifest = home.shelf().newest();
        let lines: Vec<&str> = manifest["restore"]
            .as_array()
            .expect("lines")
            .iter()
            .map(|line| line.as_str().expect("a text"))
            .collect();
        let folder = home.sandbox.folder("by-hand");
        let object = data_object(&home, &manifest);
        let run = || {
            Command::new("sh")
                .args(["-e", "-c", &lines.join("\n")])
                .current_dir(&folder)
                .stdin(Stdio::null())
                .output()
                .expect("a shell")
        };
        let ran = run();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{compression}: {lines:#?} {ran:?}");
        let command = "vault operator raft snapshot restore vault.snap";
        assert!(said.contains(command), "{said}");
        let snapshot = fs::read(folder.join("vault.snap")).expect("the plain snapshot");
        let (facts, _) = facts_of(&vault.inspect(&snapshot));
        assert_eq!(facts["index"], manifest["engine"]["facts"]["index"]);

        // A damaged object stops the lines before there is anything to put back.
        fs::remove_file(folder.join("vault.snap")).expect("it was there");
        let mut damaged = fs::read(&object).expect("the data object");
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&object, damaged).expect("it can be written");
        assert!(!run().status.success(), "{compression}: {lines:#?}");
        assert!(!folder.join("vault.snap").exists());
    }
}

#[test]
fn a_snapshot_that_somebody_else_made_is_verified_as_a_file() {
    let home = Home::new("product: vault");
    let sandbox = &home.sandbox;
    let genuine = sandbox.write("genuine.snap", GENUINE);
    for name in ["genuine.snap", "./genuine.snap", genuine.to_str().unwrap()] {
        let ended = sandbox.run(["verify", name]);
        ended.ok();
        for said in ["ok  vault", "gzip", "sha256", "index", "47 keys"] {
            assert!(ended.stdout.contains(said), "{said}: {ended:?}");
        }
    }
    let document = sandbox.run(["verify", "genuine.snap", "--json"]).document();
    let one = &document["checked"][0];
    assert_eq!(
        (&one["outcome"], &one["engine"]),
        (&"ok".into(), &"vault".into())
    );
    assert_eq!(one["facts"]["index"], 54, "{one}");
    assert!(
        one["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["ok"] == true)
    );

    let flipped = |at: usize| {
        let mut bytes = GENUINE.to_vec();
        bytes[at] ^= 0x20;
        bytes
    };
    let end = GENUINE.len();
    let damaged: [(&str, Vec<u8>, &str); 12] = [
        ("cut-1", GENUINE[..1].to_vec(), "cut short"),
        ("cut-half", GENUINE[..end / 2].to_vec(), "cut short"),
        (
            "cut-before-the-trailer",
            GENUINE[..end - 8].to_vec(),
            "cut short",
        ),
        (
            "cut-in-the-trailer",
            GENUINE[..end - 1].to_vec(),
            "gzip trailer",
        ),
        ("flip-magic", flipped(0), ""),
        ("flip-header", flipped(3), "gzip header is damaged"),
        ("flip-early", flipped(100), "damaged"),
        ("flip-late", flipped(end - 100), "damaged"),
        ("flip-length", flipped(end - 1), "damaged"),
        ("junk", [GENUINE, b"\n"].concat(), "bytes after its end"),
        ("twice", [GENUINE, GENUINE].concat(), "bytes after its end"),
        ("empty", Vec::new(), "empty"),
    ];
    for (name, bytes, why) in damaged {
        let file = format!("{name}.snap");
        sandbox.write(&file, bytes);
        let ended = sandbox.run(["verify", &file]);
        ended.code(5);
        let first = ended.stdout.lines().next().unwrap_or_default();
        assert!(first.starts_with("DAMAGED  "), "{ended:?}");
        let told = ended
            .stdout
            .lines()
            .any(|line| line.contains("failed") && line.contains(why));
        assert!(told, "{why}: {ended:?}");
        let ended = sandbox.run(["verify", &file, "--json"]);
        let document = ended.code(5).document();
        let one = &document["checked"][0];
        assert_eq!(one["outcome"], "damaged", "{one}");
        assert!(one["checks"].to_string().contains(why), "{why}: {one}");
        assert_eq!(ended.stderr, "");
    }
    sandbox.write("garbage", b"this is no snapshot at all".repeat(100));
    let garbage = sandbox.run(["verify", "./garbage"]);
    assert!(
        garbage.code(5).stdout.contains("looks like none of"),
        "{garbage:?}"
    );

    for name in ["./missing.snap", "missing.snap", "/no/such/file", "."] {
        let path = if name == "." { "./nas" } else { name };
        let ended = sandbox.run(["verify", path]);
        ended.code(1);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [error, hint] = lines[..] else {
            panic!("not an error and a hint: {ended:?}");
        };
        assert!(error.starts_with(&format!("error: {path}: ")), "{ended:?}");
        assert!(hint.starts_with("hint: name a file"), "{ended:?}");
        let document = sandbox.run(["verify", path, "--json"]).code(1).document();
        assert_eq!(document["error"]["what"], path, "{document}");
        assert_eq!(document["error"]["code"], 1, "{document}");
    }
    // A job goes before a file of its name.
    sandbox.write("vault", GENUINE);
    sandbox.run(["verify", "vault"]).code(4);
}

#[test]
#[ignore = "needs vault"]
fn a_standby_is_skipped_unless_any_will_do_and_then_the_leader_is_read() {
    let cluster = VaultCluster::start(3);
    cluster.put_secret("kept", "of the cluster");
    let leader = cluster.wait_for_leader();
    let standby = (leader + 1) % 3;
    let home = beside(&cluster, standby);
    let skipped = home.run(&["backup"]);
    skipped.ok();
    let leads = format!(
        "this node is a standby; {} leads",
        place(&cluster.nodes[leader].address)
    );
    assert!(
        skipped.stdout.contains(&format!("skipped: {leads}")),
        "{skipped:?}"
    );
    let run = home.backup(0);
    assert_eq!(
        (&run["outcome"], &run["role"]),
        (&"skipped".into(), &"replica".into())
    );
    assert_eq!(run["reason"], leads);
    assert!(home.stored().is_empty());

    let check = home.run(&["check"]);
    let of = format!("standby of {}", place(&cluster.nodes[leader].address));
    assert!(check.ok().stdout.contains(&of), "{check:?}");
    assert!(
        check.stdout.contains("the policy allows snapshots"),
        "{check:?}"
    );

    home.configure(&address(&cluster, standby), "run_on: any");
    let run = home.backs_up();
    assert_eq!(run["role"], "replica");
    let manifest = home.shelf().newest();
    assert_eq!(manifest["role"]["before"], "replica");
    assert_eq!(
        manifest["engine"]["facts"]["servers"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    let data = data_object(&home, &manifest);
    let (inspected, _) = facts_of(&cluster.inspect(&fs::read(data).unwrap()));
    assert_eq!(inspected["index"], manifest["engine"]["facts"]["index"]);
    home.run(&["verify"]).ok();
    home.has_no_scratch();
}

#[test]
#[ignore = "needs vault and openssl"]
fn tls_is_verified_unless_each_run_warns() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let cluster = VaultCluster::options().tls(&ca).start();
    let address = address(&cluster, 0);
    let port = cluster.nodes[0].address.rsplit(':').next().unwrap();
    let (right, wrong) = (ca.ca_pem.display(), other.ca_pem.display());
    let home = beside(&cluster, 0);
    let refused = |source: &str, why: &str, hint: &str| {
        home.configure(source, "");
        let ended = home.run(&["backup"]);
        ended.code(1);
        assert!(
            ended.stderr.starts_with("error: vault: ") && ended.stderr.contains(why),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("\nhint: ") && ended.stderr.contains(hint),
            "{ended:?}"
        );
        assert!(home.stored().is_empty());
    };
    let untrusted = "is signed by no authority trusted here";
    refused(&address, untrusted, "`ca_cert`");
    refused(
        &format!("{address}, ca_cert: {wrong}"),
        untrusted,
        "`ca_cert`",
    );
    refused(
        &format!("{address}, ca_cert: {right}, tls_server_name: vault.internal"),
        "is not for vault.internal, but for",
        "`tls_server_name`",
    );
    refused(
        &format!("address: \"http://127.0.0.1:{port}\""),
        "expects TLS",
        "`https://`",
    );
    let plain = format!("https://{}", place(&shared_vault().nodes[0].address));
    refused(
        &format!("address: \"{plain}\""),
        "does not speak TLS",
        "`http://`",
    );

    let stores = |source: &str, variables: &[(&str, &OsStr)], warns: bool| {
        home.configure(source, "");
        let run = home
            .sandbox
            .command(["backup"])
            .envs(variables.iter().copied())
            .output();
        let ended = Ended::of(run.expect("lifeboat was built"));
        ended.ok();
        assert!(ended.stdout.contains("completed"), "{ended:?}");
        let warnings = ended.stderr.matches("warning: `skip_verify` is on").count();
        assert_eq!(warnings, usize::from(warns), "{ended:?}");
    };
    stores(&format!("{address}, ca_cert: {right}"), &[], false);
    stores(
        &format!("{address}, ca_cert: {right}, tls_server_name: localhost"),
        &[],
        false,
    );
    for _ in 0..2 {
        stores(&format!("{address}, skip_verify: true"), &[], true);
    }
    // The environment, and what is configured above it.
    let (right_pem, wrong_pem) = (ca.ca_pem.as_os_str(), other.ca_pem.as_os_str());
    stores(&address, &[("VAULT_CACERT", right_pem)], false);
    stores(&address, &[("VAULT_SKIP_VERIFY", OsStr::new("true"))], true);
    stores(
        &format!("{address}, ca_cert: {right}"),
        &[("VAULT_CACERT", wrong_pem)],
        false,
    );
    stores(
        &format!("{address}, ca_cert: {right}, skip_verify: false"),
        &[("VAULT_SKIP_VERIFY", OsStr::new("true"))],
        false,
    );

    // By URL alone.
    let url = format!("vault+https://127.0.0.1:{port}");
    let to = format!("file://{}", home.sandbox.folder("by-url").display());
    let mut command = home
        .sandbox
        .command(["backup", "--source", &url, "--destination", &to]);
    let ended = Ended::of(command.env("VAULT_CACERT", right_pem).output().unwrap());
    assert!(ended.ok().stdout.contains("completed"), "{ended:?}");
    home.has_no_scratch();
}

#[test]
#[ignore = "needs vault"]
fn no_configuration_is_needed_to_save_and_to_rescue() {
    let vault = shared_vault();
    let mut home = Home::new("product: auto");
    fs::remove_file(home.sandbox.path("config.yaml")).expect("it was there");
    let url = format!("vault+http://{}", place(&vault.nodes[0].address));
    let nas = format!("file://{}/nas", home.sandbox.root().display());
    let backup = ["backup", "--source", &url, "--destination", &nas];

    let without = home.run(&backup);
    without.code(2);
    assert!(without.stderr.contains("VAULT_TOKEN"), "{without:?}");
    assert!(home.stored().is_empty());

    home.sandbox.set("VAULT_TOKEN", &vault.snapshot_token());
    home.run(&backup).ok();
    for arguments in [
        &["list"][..],
        &["list", "vault"],
        &["show", "vault", "latest"],
        &["verify", "vault"],
        &["verify", "vault", "--all", "--json"],
        &["restore", "vault", "--to", "back.snap"],
        &["prune", "vault", "--keep-last", "1"],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--destination", &nas]);
        home.run(&all).ok();
    }
    let plain = fs::read(home.sandbox.path("back.snap")).expect("the plain snapshot");
    vault.inspect(&plain);

    let named = [&backup[..], &["--name", "other"]].concat();
    home.run(&named).ok();
    assert_eq!(names(&home.sandbox.path("nas")), ["other", "vault"]);
    // Without a port and with nothing there.
    let nothing = format!("vault+http://127.0.0.1:{}", free_port());
    let ended = home.run(&["backup", "--source", &nothing, "--destination", &nas]);
    assert!(
        ended.code(1).stderr.contains("connection refused"),
        "{ended:?}"
    );
}

#[test]
fn what_is_configured_counts_before_what_the_environment_says() {
    let (node, other) = (good_node(), good_node());
    let (here, there) = (node.address(), other.address());
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let configured =
        format!("address: \"{here}\", auth: {{ method: token, token: hvs.configured }}");
    let address_only = format!("address: \"{here}\"");
    let (nothing, token) = ("product: vault", "hvs.environment");
    // Source, variables, and the token that arrives.
    let cases: [(&str, Variables<'_>, &str); 7] = [
        (
            nothing,
            &[("VAULT_ADDR", &here), ("VAULT_TOKEN", token)],
            token,
        ),
        (nothing, &[("BAO_ADDR", &here), ("BAO_TOKEN", token)], token),
        (
            nothing,
            &[
                ("BAO_ADDR", &here),
                ("VAULT_ADDR", &there),
                ("BAO_TOKEN", token),
                ("VAULT_TOKEN", "hvs.no"),
            ],
            token,
        ),
        (
            nothing,
            &[
                ("VAULT_AGENT_ADDR", &here),
                ("VAULT_ADDR", &there),
                ("VAULT_TOKEN", token),
            ],
            token,
        ),
        (
            &address_only,
            &[("VAULT_ADDR", &there), ("VAULT_TOKEN", token)],
            token,
        ),
        (
            &configured,
            &[("VAULT_ADDR", &there), ("VAULT_TOKEN", "hvs.no")],
            "hvs.configured",
        ),
        (
            &configured,
            &[
                ("BAO_ADDR", &nowhere),
                ("BAO_TOKEN", ""),
                ("VAULT_NAMESPACE", "team"),
            ],
            "hvs.configured",
        ),
    ];
    for (source, variables, expected) in cases {
        let mut home = Home::new(source);
        for (name, value) in variables {
            home.sandbox.set(name, value);
        }
        node.forget_requests();
        home.backs_up();
        let asked = node.requests_for("GET", SNAPSHOT);
        let tokens: Vec<_> = asked.iter().map(|it| it.token()).collect();
        assert_eq!(tokens, [Some(expected)], "{variables:?}");
        // Snapshots belong to the whole cluster.
        let namespaces = node.requests();
        assert!(
            namespaces
                .iter()
                .all(|it| it.header("x-vault-namespace").is_none())
        );
    }
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

/// The outcome and the detail of a finding of `check`, with its hint.
#[track_caller]
fn finding(ended: &Ended, name: &str) -> [String; 3] {
    let document = ended.document();
    let rows = document["checks"].as_array().expect("a list");
    let row = rows
        .iter()
        .find(|row| row["subject"] == "vault" && row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("no {name}: {document}"));
    ["outcome", "detail", "hint"].map(|field| row[field].as_str().unwrap_or_default().to_owned())
}

fn has(ended: &Ended, name: &str) -> bool {
    let document = ended.document();
    let rows = document["checks"].as_array().expect("a list");
    rows.iter()
        .any(|row| row["subject"] == "vault" && row["name"] == name)
}

#[test]
#[ignore = "needs vault"]
fn check_tells_a_good_login_from_one_without_the_right_and_from_none() {
    let vault = shared_vault();
    let check = |token: &str| {
        let mut home = Home::new(&address(vault, 0));
        home.sandbox.set("VAULT_TOKEN", token);
        let ended = home.run(&["check", "--json"]);
        let text = home.run(&["check"]);
        assert_eq!(text.code, ended.code);
        for said in [&ended, &text] {
            assert!(!format!("{said:?}").contains(token), "{said:?}");
        }
        assert!(home.stored().keys().all(|name| !name.starts_with("vault/")));
        ended
    };
    let good = check(&vault.snapshot_token());
    let [outcome, detail, _] = finding(good.ok(), "server");
    assert_eq!(
        (outcome.as_str(), detail.ends_with("unsealed, raft, active")),
        ("ok", true),
        "{detail}"
    );
    assert_eq!(
        finding(&good, "policy")[..2],
        ["ok", "the policy allows snapshots"]
    );
    let [outcome, detail, _] = finding(&good, "login");
    assert!(
        detail.contains("token in `VAULT_TOKEN`"),
        "{outcome} {detail}"
    );

    let powerless = check(&vault.create_token(&json!({ "policies": ["default"] })));
    let [outcome, detail, hint] = finding(powerless.code(1), "policy");
    assert_eq!(
        (outcome.as_str(), detail.as_str()),
        ("failed", "the token may not read snapshots")
    );
    assert!(hint.contains(POLICY), "{hint}");
    assert_ne!(finding(&powerless, "login")[0], "failed");

    let unknown = check("hvs.nobody-knows-this-token");
    let [outcome, detail, hint] = finding(unknown.code(1), "login");
    assert_eq!(outcome, "failed");
    assert!(
        detail.contains("revoked or has expired") || detail.contains("expired or was revoked"),
        "{detail}"
    );
    assert!(!hint.is_empty());
    assert_eq!(finding(&unknown, "server")[0], "ok");
}

#[test]
fn check_tells_what_state_a_node_is_in_and_asks_no_more() {
    let cases: [(Script, &str, &str); 4] = [
        (
            VaultDouble::be_sealed,
            "warning",
            "1.21.0: this node is sealed (0 of 1 keys given)",
        ),
        (
            VaultDouble::be_uninitialised,
            "warning",
            "1.21.0: this node is not initialised",
        ),
        (
            |node| node.be_standby("http://10.0.3.7:8200"),
            "ok",
            "1.21.0, unsealed, raft, standby of 10.0.3.7:8200",
        ),
        (
            |node| {
                let mut status = vault_answers::seal_status();
                status["storage_type"] = json!("consul");
                node.on("GET", "sys/seal-status", [Answer::json(200, &status)]);
            },
            "failed",
            "the storage is `consul`, and only raft has snapshots",
        ),
    ];
    for (script, outcome, detail) in cases {
        let node = good_node();
        script(&node);
        let home = Home::beside(&node, "hvs.token");
        let ended = home.run(&["check", "--json"]);
        ended.code(i32::from(outcome == "failed"));
        assert_eq!(finding(&ended, "server")[..2], [outcome, detail]);
        assert!(node.requests_for("GET", SNAPSHOT).is_empty());
        if outcome != "ok" {
            assert!(!has(&ended, "login"), "{ended:?}");
            assert_eq!(node.requests().len(), 1, "{:?}", node.requests());
        }
    }
    // Nothing answers.
    let home = Home::new(&format!(
        "address: \"http://127.0.0.1:{}\", auth: {{ method: token, token: t }}",
        free_port()
    ));
    let ended = home.run(&["check", "--json"]);
    let [outcome, detail, hint] = finding(ended.code(1), "server");
    assert!(
        outcome == "failed" && detail.contains("connection refused"),
        "{ended:?}"
    );
    assert!(hint.contains("is the server up"), "{hint}");
}

#[test]
#[ignore = "needs vault"]
fn a_server_without_raft_says_that_it_has_no_snapshots() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let address = format!("http://127.0.0.1:{port}");
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let arguments = [
        "server",
        "-dev",
        "-dev-root-token-id=root",
        "-dev-no-store-token",
        &listen,
    ];
    let home_of_server = [("HOME", scratch.path().as_os_str())];
    let log = scratch.path().join("vault.log");
    let _server = Process::spawn(&require("vault"), &arguments, &home_of_server, &log);
    let client = HttpClient::default();
    wait_until("a server without raft", Duration::from_secs(30), || {
        let answer = client.send("GET", &format!("{address}/v1/sys/health"), &[], None)?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.status.to_string())
        }
    });
    let mut home = Home::new(&format!("address: \"{address}\""));
    home.sandbox.set("VAULT_TOKEN", "root");
    let ended = home.run(&["backup"]);
    let why = "error: vault: the storage is `inmem`, and only raft has snapshots\nhint: ";
    assert!(ended.code(1).stderr.starts_with(why), "{ended:?}");
    assert!(home.stored().is_empty());
    home.has_no_scratch();
}

#[test]
#[ignore = "needs vault"]
fn a_node_without_its_keys_is_skipped_and_each_state_has_its_words() {
    let mut cluster = VaultCluster::start(1);
    let home = beside(&cluster, 0);
    home.backs_up();
    let before = home.stored();
    cluster.seal(0);
    let sealed = home.run(&["backup"]);
    assert!(
        sealed
            .ok()
            .stdout
            .contains("skipped: this node is sealed (0 of 1 keys given)"),
        "{sealed:?}"
    );
    assert_eq!(home.backup(0)["outcome"], "skipped");
    let check = home.run(&["check", "--json"]);
    assert_eq!(finding(check.ok(), "server")[0], "warning");
    assert!(!has(&check, "login"));
    assert!(home.stored() == before);
    home.has_no_scratch();
    cluster.unseal(0);
    cluster.wait_until_settled();
    home.backs_up();

    // A clock is right where it is the same.
    let ended = home.run(&["backup"]);
    assert!(!ended.ok().stderr.contains("clock"), "{ended:?}");
    let node = good_node();
    tell_the_time(&node, 3700);
    let far = Home::beside(&node, "hvs.token");
    let [outcome, _, hint] = finding(far.run(&["check", "--json"]).ok(), "clock");
    assert!(
        outcome == "warning" && hint.contains("synchronise"),
        "{outcome} {hint}"
    );
}
