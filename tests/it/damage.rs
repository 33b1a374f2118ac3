//! Damage done to a stored backup, by every means, at every place, seen by every command.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::program::{Home, Run, add_rows, open_existing};

const COMPRESSIONS: [&str; 3] = ["zstd", "gzip", "none"];
/// Places of an object where a bit is turned.
const PLACES: usize = 12;

#[derive(Debug, Clone, Copy)]
enum Action {
    Flip(usize),
    Truncate,
    Empty,
    Delete,
    Junk,
    Foreign,
}

const BLUNT: [Action; 5] = [
    Action::Truncate,
    Action::Empty,
    Action::Delete,
    Action::Junk,
    Action::Foreign,
];

impl Action {
    /// Does it to the file at `path`; `foreign` is another whole file of its kind.
    fn to(self, path: &Path, foreign: &Path) {
        let mut content = fs::read(path).unwrap();
        match self {
            Action::Flip(place) => {
                let at = place * (content.len() - 1) / (PLACES - 1);
                content[at] ^= 1 << (place % 8);
                fs::write(path, content).unwrap();
            }
            Action::Truncate => {
                let file = File::options().write(true).open(path).unwrap();
                file.set_len(content.len() as u64 - 7).unwrap();
            }
            Action::Empty => fs::write(path, "").unwrap(),
            Action::Delete => fs::remove_file(path).unwrap(),
            Action::Junk => {
                let mut file = File::options().append(true).open(path).unwrap();
                file.write_all(b"and something more").unwrap();
            }
            Action::Foreign => {
                fs::copy(foreign, path).unwrap();
            }
        }
    }
}

/// A home with two backups, and what the second one holds.
struct Scene {
    home: Home,
    first: String,
    second: String,
    plain: Vec<u8>,
}

impl Scene {
    fn new(compression: &str) -> Self {
        let home = Home::new();
        drop(home.app(200));
        let job = format!(
            "    seal: {{ compression: {compression} }}\n    \
             retention: {{ keep_last: 1, keep_min: 1 }}\n"
        );
        home.configure("", &format!("    seal: {{ compression: {compression} }}\n"));
        let first = home.backup();
        add_rows(&open_existing(&home.path("app.db")), 1);
        let second = home.backup();
        home.configure("", &job);
        let scene = Self {
            home,
            first,
            second,
            plain: Vec::new(),
        };
        scene.restore().exits(0);
        let plain = fs::read(scene.target()).unwrap();
        fs::remove_file(scene.target()).unwrap();
        Self { plain, ..scene }
    }

    fn target(&self) -> PathBuf {
        self.home.path("restored.db")
    }

    fn restore(&self) -> Run {
        let target = self.target();
        self.home
            .run(&["restore", "app", "--to", target.to_str().unwrap()])
    }

    /// Does `work` and puts the store back as it was.
    fn each(&self, work: impl FnOnce(&Self)) {
        let before = self.home.stored();
        work(self);
        self.home.is_clean();
        for name in self
            .home
            .stored()
            .into_keys()
            .filter(|name| !before.contains_key(name))
        {
            fs::remove_file(self.home.store().join(name)).unwrap();
        }
        for (name, content) in before {
            fs::write(self.home.store().join(name), content).unwrap();
        }
        let _ = fs::remove_file(self.target());
    }

    fn outcome(&self, code: i32) -> String {
        let document = self
            .home
            .run(&["verify", "app", "--json"])
            .exits(code)
            .json();
        document["checked"][0]["outcome"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[test]
fn a_bit_turned_anywhere_in_the_data_is_found() {
    for compression in COMPRESSIONS {
        let scene = Scene::new(compression);
        for place in 0..PLACES {
            scene.each(|scene| {
                let object = scene.home.data_object(&scene.second);
                Action::Flip(place).to(&object, &object);
                assert_eq!(scene.outcome(5), "damaged", "{compression} {place}");
                scene.restore().exits(5).complains("is damaged");
                assert!(!scene.target().exists());
            });
        }
    }
}

#[test]
fn data_that_is_cut_empty_gone_longer_or_anothers_is_found() {
    for compression in COMPRESSIONS {
        let scene = Scene::new(compression);
        for action in BLUNT {
            scene.each(|scene| {
                let object = scene.home.data_object(&scene.second);
                action.to(&object, &scene.home.data_object(&scene.first));
                let expected = match action {
                    Action::Delete => "missing",
                    _ => "damaged",
                };
                assert_eq!(scene.outcome(5), expected, "{compression} {action:?}");
                let refused = scene.restore().exits(5);
                refused.complains(&scene.second);
                assert!(!scene.target().exists());
                // An older one is whole, and says so.
                scene.home.run(&["verify", "app", &scene.first]).exits(0);
                scene.home.run(&["verify", "app", "--all"]).exits(5);
                // What is listed is what there are manifests of.
                assert_eq!(scene.home.ids().len(), 2);
            });
        }
    }
}

#[test]
fn a_backup_after_damage_to_the_data_is_whole_again_where_the_damage_shows() {
    for compression in COMPRESSIONS {
        let scene = Scene::new(compression);
        for action in [
            Action::Truncate,
            Action::Empty,
            Action::Delete,
            Action::Junk,
        ] {
            scene.each(|scene| {
                let object = scene.home.data_object(&scene.second);
                action.to(&object, &object);
                let run = scene.home.run(&["backup", "app", "--json"]).exits(0).json();
                let part = &run["runs"][0]["destinations"][0];
                assert_eq!(part["outcome"], "stored", "{compression} {action:?}");
                assert_eq!(scene.outcome(0), "ok");
                scene.restore().exits(0);
            });
        }
    }
}

#[test]
fn a_manifest_that_is_cut_empty_longer_or_anothers_stops_what_relies_on_it() {
    for compression in COMPRESSIONS {
        let scene = Scene::new(compression);
        for action in [
            Action::Truncate,
            Action::Empty,
            Action::Junk,
            Action::Foreign,
        ] {
            scene.each(|scene| {
                let manifest = scene.home.manifest(&scene.second);
                action.to(&manifest, &scene.home.manifest(&scene.first));
                assert_eq!(scene.outcome(5), "damaged", "{compression} {action:?}");
                scene.restore().exits(5).complains(&scene.second);
                assert!(!scene.target().exists());
                let listed = scene.home.run(&["list", "app"]).exits(0);
                assert!(listed.stderr.contains(&scene.second), "{listed:?}");
                let before = scene.home.stored();
                scene.home.run(&["prune", "app"]).exits(0);
                scene.home.run(&["prune", "app", "--apply"]).exits(1);
                assert!(
                    scene.home.stored() == before,
                    "pruned by half a catalog: {action:?}"
                );
                let run = scene.home.run(&["backup", "app", "--json"]).exits(0).json();
                let part = &run["runs"][0]["destinations"][0];
                assert_eq!(
                    (&part["outcome"], &part["pruned"]),
                    (&"stored".into(), &0.into())
                );
                assert_eq!(scene.home.stored().len(), before.len() + 2);
            });
        }
    }
}

#[test]
fn a_manifest_that_is_gone_is_a_backup_that_is_gone() {
    for compression in COMPRESSIONS {
        let scene = Scene::new(compression);
        scene.each(|scene| {
            fs::remove_file(scene.home.manifest(&scene.second)).unwrap();
            assert_eq!(scene.home.ids(), std::slice::from_ref(&scene.first));
            scene
                .home
                .run(&["verify", "app", &scene.second])
                .exits(4)
                .complains("no backup");
            assert_eq!(scene.outcome(0), "ok");
            fs::remove_file(scene.home.manifest(&scene.first)).unwrap();
            scene.restore().exits(4).complains("there is no backup");
            scene
                .home
                .run(&["verify", "app"])
                .exits(4)
                .complains("there is no backup");
            // Its data may be a run's that is about to write its manifest: it stays.
            scene.home.run(&["prune", "app", "--apply"]).exits(0);
            assert_eq!(scene.home.stored().len(), 2);
        });
    }
}

/// A manifest carries no checksum of its own: a turned bit may be in a host's name. But whatever
/// it is in, no other data than what was saved comes out of a restore that says it worked.
#[test]
fn a_bit_turned_in_a_manifest_never_brings_back_anything_else() {
    let scene = Scene::new("zstd");
    let length = fs::metadata(scene.home.manifest(&scene.second))
        .unwrap()
        .len();
    for at in (0..usize::try_from(length).unwrap()).step_by(23) {
        scene.each(|scene| {
            let manifest = scene.home.manifest(&scene.second);
            let mut content = fs::read(&manifest).unwrap();
            content[at] ^= 1 << (at % 7);
            fs::write(&manifest, content).unwrap();
            let run = scene.restore();
            match run.code {
                0 => {
                    let found = fs::read(scene.target()).unwrap();
                    // A turned bit in the journal mode is a remark; in the digest it is damage.
                    assert!(
                        found == scene.plain || found.len() == scene.plain.len(),
                        "{at}"
                    );
                }
                1 | 4 | 5 => {
                    assert!(!scene.target().exists(), "{at}: {run:?}");
                    assert!(!run.stderr.contains("panicked"), "{run:?}");
                }
                _ => panic!("{at}: {run:?}"),
            }
            let verified = scene.home.run(&["verify", "app", &scene.second]);
            assert!([0, 1, 4, 5].contains(&verified.code), "{at}: {verified:?}");
        });
    }
}

#[test]
fn a_manifest_that_points_elsewhere_reads_and_deletes_nothing_there() {
    let scene = Scene::new("zstd");
    let secret = scene.home.path("secret.db");
    fs::copy(scene.home.path("app.db"), &secret).unwrap();
    for key in [
        "../secret.db",
        "app/data/../../../secret.db",
        "/etc/hostname",
        "other/data/x.db",
        "",
    ] {
        scene.each(|scene| {
            let path = scene.home.manifest(&scene.first);
            let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            manifest["key"] = key.into();
            fs::write(&path, manifest.to_string()).unwrap();
            scene.home.run(&["prune", "app", "--apply"]).exits(1);
            scene.home.run(&["verify", "app", &scene.first]).exits(5);
            assert!(secret.exists());
        });
    }
}

#[test]
fn a_seal_of_tomorrow_is_unreadable_and_not_damaged() {
    let scene = Scene::new("zstd");
    scene.each(|scene| {
        let path = scene.home.manifest(&scene.second);
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        manifest["seal"] = serde_json::json!([{ "name": "zstd" }, { "name": "rot13" }]);
        fs::write(&path, manifest.to_string()).unwrap();
        assert_eq!(scene.outcome(1), "unreadable");
        scene.restore().exits(1).complains("rot13");
    });
}

#[test]
fn a_format_of_tomorrow_is_refused_as_such() {
    let home = Home::with_app();
    let id = home.backup();
    let path = home.manifest(&id);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["format"] = 2.into();
    fs::write(&path, manifest.to_string()).unwrap();
    let document = home.run(&["verify", "app", "--json"]).exits(1).json();
    assert_eq!(document["checked"][0]["outcome"], "unreadable");
    home.run(&["restore", "app", "--to", "x"])
        .exits(1)
        .complains("has format 2");
    home.run(&["show", "app", &id])
        .exits(1)
        .complains("has format 2");
    assert!(!home.path("x").exists());
}
