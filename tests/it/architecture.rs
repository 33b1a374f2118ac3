//! The shape of the code, read as text: the crate map in `lib.rs` is true, imports go only where it
//! allows, and no engine or store is known outside its own folder and the place that opens it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

const LONGEST: usize = 800;

struct Source {
    /// Below `src`, such as `pipeline/run.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module this file belongs to; nothing for the crate's roots.
    fn module(&self) -> Option<&str> {
        let first = self.path.split('/').next()?.trim_end_matches(".rs");
        (!matches!(first, "lib" | "main")).then_some(first)
    }

    /// How many modules deep the file is: the number of `super` that leads to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        parts - usize::from(self.path.ends_with("/mod.rs"))
    }

    /// The text without comments.
    fn code(&self) -> String {
        self.text
            .lines()
            .map(|line| match line.trim_start() {
                comment if comment.starts_with("//") => "",
                _ => line.split(" // ").next().unwrap_or(line),
            })
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, below: &str, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let below = format!("{below}{name}");
            if path.is_dir() {
                walk(&path, &format!("{below}/"), found);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push(Source { path: below, text });
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn lib() -> String {
    fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs")
}

/// The names in backquotes, or without them in a list.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split(',')
        .map(|word| word.trim().trim_matches('`').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The crate map: each module, and what it may import.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let mut map = BTreeMap::new();
    for line in lib().lines() {
        let Some(row) = line.strip_prefix("//! | `") else {
            continue;
        };
        let cells: Vec<&str> = row.split('|').collect();
        let [modules, _, imports, _] = cells[..] else {
            panic!("not a row of three columns: {line}");
        };
        for module in words(&format!("`{modules}")) {
            map.insert(module, words(imports));
        }
    }
    assert!(map.len() > 10, "the map was not found: {map:?}");
    map
}

/// The top-level modules a piece of code names: after `crate::`, or after as many `super::` as lead
/// to the crate's root.
fn imported(source: &Source) -> BTreeSet<String> {
    let path = Regex::new(r"(?:\bcrate|((?:\bsuper::)*)\bsuper)::(\{|[a-z_]+)").expect("a pattern");
    let code = source.code();
    let mut found = BTreeSet::new();
    for captures in path.captures_iter(&code) {
        let whole = captures.get(0).expect("a match");
        if whole.as_str().starts_with("super") {
            let supers = whole.as_str().matches("super::").count();
            if supers < source.depth() {
                continue;
            }
        }
        match &captures[2] {
            "{" => found.extend(heads(&code[whole.end()..])),
            "super" | "self" => {}
            module => {
                found.insert(module.to_owned());
            }
        }
    }
    found
}

/// The first names of a list of imports, from behind its opening brace.
fn heads(list: &str) -> BTreeSet<String> {
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    items.push(item);
    items
        .iter()
        .filter_map(|item| item.trim().split("::").next())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_crate_map_lists_exactly_the_modules_there_are() {
    let listed: BTreeSet<String> = map().into_keys().collect();
    let declared: BTreeSet<String> = lib()
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|name| name.trim_end_matches(';').to_owned())
        .collect();
    assert_eq!(listed, declared);
    let files: BTreeSet<String> = sources()
        .iter()
        .filter_map(|source| source.module().map(str::to_owned))
        .collect();
    assert_eq!(listed, files);
}

#[test]
fn imports_go_only_where_the_crate_map_allows() {
    let map = map();
    let everyone = Regex::new(r"Every module may import ([^;]+);").expect("a pattern");
    let lib = lib();
    let everyone = everyone.captures(&lib).expect("the line below the map");
    let everyone = words(&everyone[1].replace(" and ", ","));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let Some(module) = source.module() else {
            continue;
        };
        let allowed = &map[module];
        for import in imported(&source) {
            seen += 1;
            let fine = import == module
                || allowed.contains(&import)
                || allowed.contains("everything")
                || everyone.contains(&import);
            if !fine {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(seen > 100, "imports were not found");
    assert!(wrong.is_empty(), "not in the crate map: {wrong:#?}");
}

#[test]
fn the_crate_map_has_no_circle() {
    let map = map();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    while placed.len() < map.len() {
        let next: Vec<&str> = map
            .iter()
            .filter(|(module, imports)| {
                !placed.contains(module.as_str())
                    && !imports.contains("everything")
                    && imports
                        .iter()
                        .all(|import| placed.contains(import.as_str()))
            })
            .map(|(module, _)| module.as_str())
            .collect();
        if next.is_empty() {
            break;
        }
        placed.extend(next);
    }
    let left: Vec<&String> = map
        .keys()
        .filter(|m| !placed.contains(m.as_str()))
        .collect();
    assert_eq!(left, ["cli"], "these import one another");
}

#[test]
fn no_engine_or_store_is_known_outside_its_folder_and_the_place_that_opens_it() {
    let sources = sources();
    let opened = Regex::new(r"use super::([a-z0-9_]+)::\{self").expect("a pattern");
    let mut wrong = Vec::new();
    for kind in ["source", "destination"] {
        let open = format!("{kind}/open.rs");
        let text = &sources
            .iter()
            .find(|s| s.path == open)
            .expect("it is there")
            .text;
        let names: Vec<&str> = opened
            .captures_iter(text)
            .map(|captures| captures.get(1).expect("a name").as_str())
            .collect();
        assert!(names.len() > 1, "{open} was not understood: {names:?}");
        for name in names {
            let used = Regex::new(&format!(r"\b{name}::|::{name}\b")).expect("a pattern");
            let own = [format!("{kind}/{name}/"), format!("{kind}/{name}.rs")];
            for source in &sources {
                let at_home = own.iter().any(|own| source.path.starts_with(own.as_str()));
                let may = [&open, &format!("{kind}/mod.rs")].contains(&&source.path);
                if !at_home && !may && used.is_match(&source.code()) {
                    wrong.push(format!("{} knows {name}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_libraries_of_an_engine_or_store_stay_in_its_folder() {
    let homes = [
        (r"\brusqlite::", ["source/sqlite/", "cli/demo.rs"]),
        (
            r"\baws_(sdk_s3|config|credential_types|smithy_[a-z_]+)::",
            ["destination/s3/", "destination/s3/"],
        ),
        (
            r"\b(google_cloud_(storage|auth|gax)|tonic|prost)::",
            ["destination/gcs/", "destination/gcs/"],
        ),
    ];
    for (library, homes) in homes {
        let library = Regex::new(library).expect("a pattern");
        let users: Vec<String> = sources()
            .into_iter()
            .filter(|source| library.is_match(&source.code()))
            .map(|source| source.path)
            .collect();
        assert!(!users.is_empty(), "{library} is used by nobody");
        for user in users {
            let at_home = homes.iter().any(|home| user.starts_with(home));
            assert!(at_home, "{user} uses {library}");
        }
    }
}

#[test]
fn no_source_file_is_too_long_or_left_for_later() {
    let later = Regex::new(r"\b(TODO|FIXME|XXX|HACK)\b").expect("a pattern");
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", source.path);
        assert!(!later.is_match(&source.text), "{}", source.path);
    }
}

#[test]
fn unsafe_code_is_forbidden_for_the_whole_crate() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, lints) = manifest.split_once("[lints.rust]").expect("lints");
    let lints = lints.split("\n[").next().expect("the section");
    assert!(lints.contains("unsafe_code = \"forbid\""), "{lints}");
}
