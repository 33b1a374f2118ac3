//! Runs the real program in a folder of its own, with an environment of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a run of the program left on its way out.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes| String::from_utf8(bytes).expect("what people read is UTF-8");
        let status = output.status;
        Self {
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The one document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no single JSON document ({error}): {self:#?}"))
    }

    /// One line `error: what: why` that says `why`, and a hint behind it.
    #[track_caller]
    pub fn complains(&self, why: &str) {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let errors = lines
            .iter()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(errors, 1, "one error line: {self:#?}");
        let at = lines
            .iter()
            .position(|line| line.starts_with("error: "))
            .unwrap();
        assert!(lines[at].contains(why), "`{why}` is not in {self:#?}");
        let hint = lines
            .get(at + 1)
            .is_some_and(|line| line.starts_with("hint: "));
        assert!(hint, "no hint behind the error: {self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// A folder with a store, scratch space and whatever a test puts there.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["backups", "scratch"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir }
    }

    /// One with a small database `app.db` and a job `app` that saves it to `store`.
    pub fn with_app() -> Self {
        let home = Self::new();
        home.app(10);
        home.configure("", "");
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("backups")
    }

    pub fn store_url(&self) -> String {
        format!("file://{}", self.store().display())
    }

    pub fn source_url(&self) -> String {
        format!("sqlite://{}", self.path("app.db").display())
    }

    /// Makes `app.db`, in rollback mode, with a table of `rows` rows.
    pub fn app(&self, rows: u32) -> Connection {
        let database = Connection::open(self.path("app.db")).unwrap();
        database
            .execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
            .unwrap();
        add_rows(&database, rows);
        database
    }

    /// Writes config.yaml: `source` is added to the source's keys, `job` to the job's.
    pub fn configure(&self, source: &str, job: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "destinations:\n  store: {{ type: local, path: \"{dir}/backups\" }}\n\
             scratch_dir: \"{dir}/scratch\"\n\
             jobs:\n  app:\n    source: {{ type: sqlite, path: \"{dir}/app.db\"{source} }}\n{job}"
        );
        fs::write(self.path("config.yaml"), text).unwrap();
    }

    /// The program, knowing nothing of the caller's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        self.isolate(&mut command);
        command
    }

    /// Gives `command` this folder and nothing of the caller's environment but the path.
    pub fn isolate(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", self.path("scratch"))
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
    }

    /// Runs the program, by the configuration in this folder.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.command().args(arguments).output().unwrap().into()
    }

    /// Runs the program with the store as its only destination, given as a URL.
    pub fn on_store(&self, arguments: &[&str]) -> Run {
        let mut command = self.command();
        command
            .args(arguments)
            .args(["--destination", &self.store_url()]);
        command.output().unwrap().into()
    }

    /// A completed backup of `app`; answers with its id.
    #[track_caller]
    pub fn backup(&self) -> String {
        let document = self.run(&["backup", "app", "--json"]).exits(0).json();
        document["runs"][0]["id"]
            .as_str()
            .expect("a completed run has an id")
            .to_owned()
    }

    /// Starts the program and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command();
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Every file of the store with its content.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.store())
    }

    pub fn data_object(&self, id: &str) -> PathBuf {
        let manifest: Value =
            serde_json::from_slice(&fs::read(self.manifest(id)).unwrap()).unwrap();
        self.store().join(manifest["key"].as_str().unwrap())
    }

    pub fn manifest(&self, id: &str) -> PathBuf {
        self.store().join(format!("app/manifests/{id}.json"))
    }

    pub fn ids(&self) -> Vec<String> {
        let document = self.run(&["list", "app", "--json"]).exits(0).json();
        let backups = document["backups"].as_array().unwrap();
        backups
            .iter()
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Nothing half-made lies anywhere: no scratch copy, no draft, no companion of one.
    #[track_caller]
    pub fn is_clean(&self) {
        // Only names: to close a database's file here would drop this process' locks on it.
        let left: Vec<String> = names(self.dir.path())
            .into_iter()
            .filter(|name| name.starts_with("scratch/") || name.contains(".lifeboat-"))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let folders = fs::read_dir(self.path("scratch")).unwrap().count();
        assert_eq!(folders, 0, "scratch folders were left behind");
    }
}

pub fn add_rows(database: &Connection, rows: u32) {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO orders (item) SELECT 'item ' || i FROM n";
    database.execute(sql, [rows]).unwrap();
}

/// Adds about `mebibytes` of what no compression makes smaller.
pub fn add_ballast(database: &Connection, mebibytes: u32) {
    database
        .execute_batch("CREATE TABLE ballast (noise BLOB)")
        .unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO ballast SELECT randomblob(65000) FROM n";
    database.execute(sql, [mebibytes * 16]).unwrap();
}

/// The number of orders in the database at `path`, which must be there and whole.
#[track_caller]
pub fn orders(path: &Path) -> u32 {
    let database = open_existing(path);
    let sound: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    database
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap()
}

#[track_caller]
pub fn open_existing(path: &Path) -> Connection {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).unwrap()
}

/// `path` with `suffix` on its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Every file below `root`, by its path from there.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        fs::read(root.join(&name))
            .ok()
            .map(|content| (name, content))
    };
    names(root).into_iter().filter_map(read).collect()
}

/// The path of every file below `root`, from there.
pub fn names(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

/// Waits until `happened`; there is no event to wait for in another process' files.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Whether a file below `folder` has a name with `part` in it, and a size above zero.
pub fn holds(folder: &Path, part: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, part);
        }
        entry.file_name().to_string_lossy().contains(part)
            && entry.metadata().is_ok_and(|found| found.len() > 0)
    })
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the end of `child`, which is killed when it does not come.
#[track_caller]
pub fn finish(mut child: Child) -> Run {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!(
                "it never ended: {:?}",
                Run::from(child.wait_with_output().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

pub fn age(path: &Path, by: Duration) {
    let then = std::time::SystemTime::now() - by;
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

/// Fails unless this process may mount and become another user.
#[track_caller]
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts file systems or changes its user: run it as root"
    );
}

/// A small file system of its own, unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    #[track_caller]
    pub fn mount(path: &Path, kibibytes: u32) -> Self {
        require_root();
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={kibibytes}k"),
                "lifeboat-test",
            ])
            .arg(path)
            .output()
            .expect("`mount` runs");
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(
            mounted.status.success(),
            "cannot mount a tmpfs, which this test needs: {said}"
        );
        Self {
            path: path.to_owned(),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}
