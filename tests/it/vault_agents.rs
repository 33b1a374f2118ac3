//! Consul and Nomad, which have the snapshots of Vault behind another interface.

use serde_json::{Value, json};

use crate::sandbox::Ended;
use crate::support::{Answer, VaultDouble};
use crate::vault_home::{Home, agent_archive, good_node, vault_archive};

const TOKEN: &str = "CANARY-4c1d2e7b-acl";
const INDEX: u64 = 19;

/// What differs between the two.
struct Kind {
    product: &'static str,
    /// Below `v1/`.
    snapshot: &'static str,
    /// Where a token is taken from, and the header it goes into.
    variable: &'static str,
    header: &'static str,
    /// What is needed to read snapshots.
    right: &'static str,
    port: u16,
    command: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        product: "consul",
        snapshot: "snapshot",
        variable: "CONSUL_HTTP_TOKEN",
        header: "x-consul-token",
        right: "management policy",
        port: 8300,
        command: "consul snapshot restore consul.snap",
    },
    Kind {
        product: "nomad",
        snapshot: "operator/snapshot",
        variable: "NOMAD_TOKEN",
        header: "x-nomad-token",
        right: "snapshot-save",
        port: 4647,
        command: "nomad operator snapshot restore nomad.snap",
    },
];

impl Kind {
    /// What an agent says of itself. Every figure is a text.
    fn agent(&self, server: bool, leads: bool, leader: &str) -> Value {
        let own = json!({
            "server": server.to_string(), "leader": leads.to_string(), "leader_addr": leader,
        });
        let raft = json!({ "applied_index": "17" });
        match self.product {
            "consul" => json!({
                "Config": { "Version": "1.22.1", "Server": server },
                "Stats": { "consul": own, "raft": raft },
            }),
            _ => json!({
                "config": { "Version": { "Version": "1.11.0" } },
                "stats": { "nomad": own, "raft": raft },
            }),
        }
    }

    fn leader(&self) -> String {
        format!("10.0.0.2:{}", self.port)
    }

    /// A server that leads. It knows nothing of a seal.
    fn node(&self) -> VaultDouble {
        let node = VaultDouble::start();
        for path in ["sys/seal-status", "sys/leader", "sys/health"] {
            node.on("GET", path, [Answer::empty(404)]);
        }
        node.on(
            "GET",
            "agent/self",
            [Answer::json(200, &self.agent(true, true, &self.leader()))],
        );
        let lists = match self.product {
            "consul" => "catalog/datacenters",
            _ => "regions",
        };
        node.on("GET", lists, [Answer::json(200, &json!(["one"]))]);
        node.on(
            "GET",
            self.snapshot,
            [Answer::snapshot(&agent_archive(INDEX))],
        );
        node
    }

    fn beside(&self, node: &VaultDouble, product: &str, job: &str) -> Home {
        let mut home = Home::new("product: auto");
        home.configure(
            &format!("address: \"{}\", product: {product}", node.address()),
            job,
        );
        home.sandbox.set(self.variable, TOKEN);
        home
    }
}

fn says(node: &VaultDouble, agent: &Value) {
    node.on("GET", "agent/self", [Answer::json(200, agent)]);
    node.forget_requests();
}

#[track_caller]
fn fails(ended: &Ended, why: &str, hint: &str) {
    ended.code(1);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let [error, next] = lines[..] else {
        panic!("not an error and a hint: {ended:#?}");
    };
    assert!(
        error.starts_with("error: vault: ") && error.contains(why),
        "{ended:#?}"
    );
    assert!(
        next.starts_with("hint: ") && next.contains(hint),
        "{ended:#?}"
    );
    assert!(!ended.stderr.contains(TOKEN), "{ended:#?}");
}

#[test]
fn a_leader_is_saved_from_its_own_path_with_its_own_token() {
    for kind in KINDS {
        let node = kind.node();
        let home = kind.beside(&node, kind.product, "");
        let run = home.backs_up();
        assert_eq!(run["role"], "primary", "{run}");
        let asked = node.requests();
        let paths: Vec<_> = asked.iter().map(|it| it.path.clone()).collect();
        let snapshot = format!("/v1/{}", kind.snapshot);
        // The role once more, right before the manifest.
        assert_eq!(paths, ["/v1/agent/self", &snapshot, "/v1/agent/self"]);
        for request in &asked {
            assert_eq!(request.header(kind.header), Some(TOKEN), "{request:?}");
            assert_eq!(request.token(), None, "{request:?}");
        }
        let manifest = home.shelf().newest();
        let facts = &manifest["engine"]["facts"];
        assert_eq!(facts["product"], kind.product);
        assert_eq!(facts["index"], INDEX);
        assert!(
            manifest["restore"].to_string().contains(kind.command),
            "{manifest}"
        );
        assert!(!manifest.to_string().contains(TOKEN));
        home.run(&["verify"]).ok();
        home.run(&["restore", "vault", "--to", "plain.snap"]).ok();
        let plain = std::fs::read(home.sandbox.path("plain.snap")).unwrap();
        assert!(plain == agent_archive(INDEX));
        let shown = home.run(&["show", "vault", "latest"]);
        assert!(shown.ok().stdout.contains(kind.product), "{shown:?}");
        home.has_no_scratch();
    }
}

#[test]
fn what_answers_is_found_out_by_asking() {
    for kind in KINDS {
        let node = kind.node();
        let home = kind.beside(&node, "auto", "");
        // The variables of the others are not read where nobody said what answers.
        let mut home = home;
        home.sandbox.set("VAULT_TOKEN", TOKEN);
        home.backs_up();
        assert_eq!(
            home.shelf().newest()["engine"]["facts"]["product"],
            kind.product
        );
        let asked = node.requests_for("GET", kind.snapshot);
        assert_eq!(asked[0].header(kind.header), Some(TOKEN));
    }
}

#[test]
fn without_a_token_nothing_is_sent_for_one() {
    for kind in KINDS {
        let node = kind.node();
        let home = Home::new(&format!(
            "address: \"{}\", product: {}",
            node.address(),
            kind.product
        ));
        home.backs_up();
        for request in node.requests() {
            assert_eq!(request.header(kind.header), None);
        }
    }
}

#[test]
fn a_follower_is_skipped_and_saved_where_any_will_do() {
    for kind in KINDS {
        let node = kind.node();
        says(&node, &kind.agent(true, false, &kind.leader()));
        let home = kind.beside(&node, kind.product, "");
        let skipped = home.run(&["backup"]);
        let why = format!("skipped: this node is a follower; {} leads", kind.leader());
        assert!(skipped.ok().stdout.contains(&why), "{skipped:?}");
        assert!(home.stored().is_empty());
        assert_eq!(node.requests().len(), 1, "{:?}", node.requests());

        let home = kind.beside(&node, kind.product, "run_on: any");
        assert_eq!(home.backs_up()["role"], "replica");
    }
}

#[test]
fn a_node_that_cannot_be_saved_says_why() {
    for kind in KINDS {
        let node = kind.node();
        let home = kind.beside(&node, kind.product, "");
        says(&node, &kind.agent(true, false, ""));
        let skipped = home.run(&["backup"]);
        let why = "skipped: no leader is elected at the moment";
        assert!(skipped.ok().stdout.contains(why), "{skipped:?}");

        says(&node, &kind.agent(false, false, ""));
        fails(
            &home.run(&["backup"]),
            "agent is a client, not a server",
            "a server of the cluster",
        );

        node.on(
            "GET",
            "agent/self",
            [Answer::errors(403, &["Permission denied"])],
        );
        let unknown = home.run(&["backup"]);
        unknown.code(1);
        for said in [
            "needs `read` on the agent",
            "did not say which role",
            "hint: ",
            "run_on: any",
        ] {
            assert!(unknown.stderr.contains(said), "{said}: {unknown:?}");
        }

        node.on(
            "GET",
            "agent/self",
            [Answer::errors(500, &["No cluster leader"])],
        );
        fails(&home.run(&["backup"]), "No cluster leader", "log");

        says(&node, &kind.agent(true, true, &kind.leader()));
        node.on(
            "GET",
            kind.snapshot,
            [Answer::errors(403, &["Permission denied"])],
        );
        fails(
            &home.run(&["backup"]),
            "may not read snapshots (403",
            kind.right,
        );

        node.on(
            "GET",
            kind.snapshot,
            [Answer::snapshot(&vault_archive(INDEX))],
        );
        fails(&home.run(&["backup"]), "SHA256SUMS.sealed", "proxy");
        assert!(home.stored().is_empty());
        home.has_no_scratch();
    }
}

#[test]
fn a_backup_is_put_back_whole() {
    for kind in KINDS {
        let node = kind.node();
        let home = kind.beside(&node, kind.product, "");
        home.backs_up();
        node.on("PUT", kind.snapshot, [Answer::empty(200)]);
        node.on(
            "GET",
            "status/leader",
            [
                Answer::errors(500, &["No cluster leader"]),
                Answer::json(200, &json!(kind.leader())),
            ],
        );
        let arguments = ["restore", "vault", "--into-source"];
        let refused = home.run(&arguments);
        assert!(refused.code(2).stderr.contains("--force"), "{refused:?}");
        let dry = home.run(&[&arguments[..], &["--dry-run"]].concat());
        assert!(
            dry.ok().stdout.contains("is replaced by that of index 19"),
            "{dry:?}"
        );
        assert!(node.requests_for("PUT", kind.snapshot).is_empty());

        let done = home.run(&[&arguments[..], &["--force"]].concat());
        assert!(
            done.ok()
                .stdout
                .contains(&format!("{} leads", kind.leader())),
            "{done:?}"
        );
        let sent = node.requests_for("PUT", kind.snapshot);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].body == agent_archive(INDEX));
        assert_eq!(sent[0].header(kind.header), Some(TOKEN));
        home.has_no_scratch();

        node.on(
            "PUT",
            kind.snapshot,
            [Answer::errors(403, &["Permission denied"])],
        );
        let denied = home.run(&[&arguments[..], &["--force"]].concat());
        fails(&denied, "may not restore snapshots (403)", "management");
    }
}

#[test]
fn a_backup_goes_only_where_it_is_from() {
    let [consul, nomad] = &KINDS;
    let (node, other) = (consul.node(), nomad.node());
    let home = consul.beside(&node, "consul", "");
    home.backs_up();
    let source = format!("address: \"{}\", product: nomad", other.address());
    home.configure(&source, "");
    let refused = home.run(&["restore", "vault", "--into-source", "--force"]);
    fails(
        &refused,
        "the backup is of Consul, and Nomad answers",
        "consul snapshot restore",
    );
    let vault = good_node();
    home.configure(
        &format!(
            "address: \"{}\", auth: {{ method: token, token: t }}",
            vault.address()
        ),
        "",
    );
    let refused = home.run(&["restore", "vault", "--into-source", "--force"]);
    fails(
        &refused,
        "the backup is of Consul, and Vault answers",
        "consul snapshot restore",
    );
    for node in [other, vault] {
        assert!(!node.requests().iter().any(|it| it.method != "GET"));
    }
}
