//! Restores that cannot be done: nothing at the target changes, and nothing is left beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::program::{Home, SmallDisk, add_ballast, add_rows, names, open_existing, require_root};

#[track_caller]
fn fails_at(home: &Home, target: &str, code: i32, why: &str) {
    let before = names(&home.path(""));
    let run = home.run(&[
        "restore",
        "app",
        "--to",
        home.path(target).to_str().unwrap(),
    ]);
    run.exits(code).complains(why);
    assert_eq!(names(&home.path("")), before);
    home.is_clean();
}

#[test]
fn a_folder_is_no_target() {
    let home = Home::with_app();
    home.backup();
    fs::create_dir(home.path("target")).unwrap();
    fails_at(&home, "target", 1, "is a folder");
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let home = Home::with_app();
    home.backup();
    fails_at(&home, "no/where.db", 1, "no such file or directory");
    assert!(!home.path("no").exists());
}

#[test]
fn a_target_below_a_file_fails() {
    let home = Home::with_app();
    home.backup();
    fs::write(home.path("file"), "x").unwrap();
    fails_at(&home, "file/app.db", 1, "not a folder");
}

#[test]
fn a_series_without_backups_is_exit_4() {
    let home = Home::with_app();
    fails_at(&home, "x.db", 4, "there is no backup");
    let error = home
        .run(&["restore", "app", "--to", "x.db", "--json"])
        .exits(4)
        .json();
    assert_eq!(error["error"]["code"], 4);
}

#[test]
fn another_destinations_copy_is_taken_where_one_is_damaged() {
    let home = Home::with_app();
    fs::create_dir(home.path("second")).unwrap();
    let dir = home.path("");
    let dir = dir.display();
    let text = format!(
        "destinations:\n  first: {{ type: local, path: \"{dir}/backups\" }}\n  \
         second: {{ type: local, path: \"{dir}/second\" }}\nscratch_dir: \"{dir}/scratch\"\n\
         jobs:\n  app:\n    source: {{ type: sqlite, path: \"{dir}/app.db\" }}\n"
    );
    fs::write(home.path("config.yaml"), text).unwrap();
    let id = home.backup();
    for damage in [home.data_object(&id), home.manifest(&id)] {
        fs::write(&damage, "garbage").unwrap();
        let run = home.run(&[
            "restore",
            "app",
            "--to",
            home.path("x.db").to_str().unwrap(),
        ]);
        let run = run.exits(0);
        assert!(run.stdout.contains("/second"), "{run:?}");
        assert!(run.stderr.starts_with("warning: "), "{run:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_may_not_be_written_fails() {
    require_root();
    let home = Home::with_app();
    home.backup();
    let target = home.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("app.db"), "mine").unwrap();
    for folder in [
        "",
        "target",
        "backups",
        "backups/app",
        "backups/app/data",
        "backups/app/manifests",
    ] {
        fs::set_permissions(home.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(home.path("scratch"), fs::Permissions::from_mode(0o777)).unwrap();
    for name in names(&home.store()) {
        fs::set_permissions(home.store().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let program = home.path("lifeboat");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_lifeboat"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program);
    home.isolate(&mut command);
    command
        .args(["restore", "app", "--to"])
        .arg(target.join("app.db"));
    let run: super::program::Run = command.output().unwrap().into();
    run.exits(1).complains("permission denied");
    assert_eq!(fs::read(target.join("app.db")).unwrap(), b"mine");
    assert_eq!(names(&target), ["app.db"]);
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_under_the_target_fails_before_and_during_the_download() {
    require_root();
    let home = Home::new();
    add_ballast(&home.app(10), 8);
    home.configure("", "");
    home.backup();
    // Too small as a whole; and large enough by its size, but not for what lies there already.
    for (size, ballast) in [(2 * 1024, 0), (10 * 1024, 6 << 20)] {
        let _disk = SmallDisk::mount(&home.path("target"), size);
        fs::write(home.path("target/ballast"), vec![1; ballast]).unwrap();
        fs::write(home.path("target/app.db"), "mine").unwrap();
        fails_at(&home, "target/app.db", 1, "no space left on device");
        assert_eq!(fs::read(home.path("target/app.db")).unwrap(), b"mine");
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_that_only_shows_while_writing_fails_as_well() {
    require_root();
    let home = Home::new();
    add_ballast(&home.app(10), 8);
    home.configure("", "");
    let id = home.backup();
    // The manifest lies about the size, so that the look at the free space is passed.
    let path = home.manifest(&id);
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["plain"]["bytes"] = 1.into();
    fs::write(&path, manifest.to_string()).unwrap();
    let _disk = SmallDisk::mount(&home.path("target"), 2 * 1024);
    fails_at(&home, "target/app.db", 1, "no space left on device");
}

#[test]
fn a_damaged_backup_leaves_the_target_as_it_was_and_names_the_way_out() {
    let home = Home::with_app();
    let first = home.backup();
    add_rows(&open_existing(&home.path("app.db")), 1);
    let second = home.backup();
    let object = home.data_object(&second);
    let mut content = fs::read(&object).unwrap();
    content[20] ^= 0x10;
    fs::write(&object, content).unwrap();
    let before = fs::read(home.path("app.db")).unwrap();
    fails_at(&home, "app.db", 5, "is damaged");
    assert!(fs::read(home.path("app.db")).unwrap() == before);
    let target = home.path("app.db");
    home.run(&["restore", "app", &first, "--to", target.to_str().unwrap()])
        .exits(0);
}
