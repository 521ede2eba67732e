//! Imports point down only: the crates of the workspace as a table of who may know whom.
//!
//! `omnivox → server → {hub, dialects, wire, auth, turn} → core`, `hub → auth`, `dialects → wire`; engines and sources know
//! `core` alone. A new edge is a change of the architecture: it changes [`EDGES`] and `ARCHITECTURE.md` in the same commit.
//! Invariant: a pure crate depends on nothing that can do I/O, tell the time or draw a random number.

use super::{Tree, Verdict};
use crate::Outcome;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What a crate may name in `[dependencies]`; the prefix `omnivox-` is left out.
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("wire", &["core"]),
    ("auth", &["core"]),
    ("turn", &["core"]),
    ("dialects", &["core", "wire"]),
    ("hub", &["core", "auth"]),
    ("engine-redis", &["core"]),
    ("engine-nats", &["core"]),
    ("engine-disk", &["core"]),
    ("server", &["core", "wire", "auth", "turn", "dialects", "hub"]),
    ("bench", &["core", "wire"]),
    ("testkit", &["core", "wire", "auth", "dialects", "hub", "server"]),
    ("omnivox", &["core", "wire", "auth", "turn", "dialects", "hub", "server", "bench", "engine-redis", "engine-nats", "engine-disk"]),
    ("xtask", &[]),
];

/// Crates that come as a family, by the start of their names: things that publish into the hub.
const FAMILIES: &[(&str, &[&str])] = &[("source-", &["core"])];

/// Allowed in `[dev-dependencies]` only.
const TEST_ONLY: &str = "testkit";

/// The crates that think and do nothing else.
const PURE: &[&str] = &["core", "wire", "dialects", "auth"];

/// What a pure crate must not depend on, because it brings sockets, threads, clocks or randomness.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-rustls",
    "hyper",
    "hyper-util",
    "socket2",
    "mio",
    "libc",
    "rustix",
    "getrandom",
    "rand",
    "reqwest",
    "async-std",
    "smol",
];

/// Everything that this module checks.
pub(super) fn verdicts(root: &Path, tree: &Tree) -> Outcome<Vec<Verdict>> {
    let packages = packages(root)?;
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    Ok(vec![
        Verdict { rule: "import table", breaches: packages.iter().flat_map(new_edges).collect() },
        Verdict { rule: "pure crates", breaches: packages.iter().flat_map(impure_dependencies).collect() },
        Verdict { rule: "pure crates forbid unsafe", breaches: unsafe_in_pure_crates(tree) },
        Verdict { rule: "dialects know no other", breaches: dialects_that_know_another(tree) },
        Verdict { rule: "dependency table", breaches: undocumented_dependencies(tree) },
        Verdict { rule: "code map", breaches: absent_from_the_map(&names, tree.text("ARCHITECTURE.md").unwrap_or_default()) },
    ])
}

/// A crate of the workspace and what it names.
#[derive(Debug, Default)]
struct Package {
    name: String,
    /// Each dependency with true for one of tests only.
    dependencies: BTreeSet<(String, bool)>,
}

fn packages(root: &Path) -> Outcome<Vec<Package>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let listed = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    Ok(listed.iter().map(Package::parse).collect())
}

impl Package {
    fn parse(package: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        Self {
            name: short(&text(&package["name"])).to_owned(),
            dependencies: dependencies
                .map(|dependency| (short(&text(&dependency["name"])).to_owned(), dependency["kind"] == "dev"))
                .collect(),
        }
    }
}

/// Our crates' names without their common start.
fn short(name: &str) -> &str {
    name.strip_prefix("omnivox-").unwrap_or(name)
}

fn is_ours(name: &str) -> bool {
    EDGES.iter().any(|(ours, _)| *ours == name) || FAMILIES.iter().any(|(start, _)| name.starts_with(start))
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    let own = EDGES.iter().find(|(ours, _)| *ours == name);
    own.or_else(|| FAMILIES.iter().find(|(start, _)| name.starts_with(start))).map(|(_, edges)| *edges)
}

fn new_edges(package: &Package) -> Vec<String> {
    let name = &package.name;
    let Some(allowed) = allowed(name) else {
        return vec![format!("'{name}' is not in the table of xtask/src/tidy/imports.rs: say there what it may import")];
    };
    let ours = package.dependencies.iter().filter(|(dependency, _)| is_ours(dependency));
    let breach = |(dependency, for_tests): &(String, bool)| match (dependency.as_str(), for_tests) {
        (TEST_ONLY, false) => Some(format!("{name} → {dependency}: it serves tests, so it belongs in [dev-dependencies]")),
        (_, true) => None,
        (other, false) if allowed.contains(&other) => None,
        (other, false) => Some(format!("{name} → {other} is a new edge; {name} may import {}", list(allowed))),
    };
    ours.filter_map(breach).collect()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}

fn impure_dependencies(package: &Package) -> Vec<String> {
    if !PURE.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let impure = package.dependencies.iter().filter(|(name, for_tests)| !for_tests && IMPURE.contains(&name.as_str()));
    impure.map(|(name, _)| format!("{} is pure: it must not depend on {name}", package.name)).collect()
}

fn unsafe_in_pure_crates(tree: &Tree) -> Vec<String> {
    let files = PURE.iter().map(|name| format!("crates/{name}/src/lib.rs"));
    let lacks = |file: &String| tree.text(file).is_some_and(|text| !text.contains("#![forbid(unsafe_code)]"));
    files.filter(lacks).map(|file| format!("{file}: add #![forbid(unsafe_code)]")).collect()
}

/// A dialect is a folder of `crates/dialects/src`; it names no sibling folder.
fn dialects_that_know_another(tree: &Tree) -> Vec<String> {
    const FOLDER: &str = "crates/dialects/src/";
    let files: Vec<(&str, &str, &str)> =
        tree.with_suffix(".rs").filter_map(|(name, text)| Some((name, name.strip_prefix(FOLDER)?.split_once('/')?.0, text))).collect();
    let dialects: BTreeSet<&str> = files.iter().map(|(_, dialect, _)| *dialect).collect();
    let mut breaches = Vec::new();
    for (name, own, text) in &files {
        for other in dialects.iter().filter(|other| *other != own) {
            if text.contains(&format!("crate::{other}::")) {
                breaches.push(format!("{name}: {own} imports {other}; what both need belongs in core or wire"));
            }
        }
    }
    breaches
}

/// Folders of programs that are not of the workspace: fuzz targets, and a server that is measured beside ours.
const OUTSIDE: &[&str] = &["fuzz/", "bench/peers/"];

/// Each third-party crate has a sentence that earns its place, and is named through the workspace's table.
fn undocumented_dependencies(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, text) in tree.with_suffix("Cargo.toml").filter(|(name, _)| !OUTSIDE.iter().any(|folder| name.starts_with(folder))) {
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if let Some((dependency, value)) = line.split_once('=').filter(|_| section.contains("dependencies")) {
                let (dependency, value) = (dependency.trim(), value.trim());
                let ours = dependency.starts_with("omnivox-");
                if section == "[workspace.dependencies]" {
                    if !ours && !value.contains('#') {
                        breaches.push(format!("{name}: say behind '{dependency}' in a comment what it is for"));
                    }
                } else if !dependency.ends_with(".workspace") && !value.contains("workspace = true") {
                    breaches.push(format!("{name}: take '{dependency}' from the workspace's table"));
                }
            }
        }
    }
    breaches
}

fn absent_from_the_map(names: &[&str], map: &str) -> Vec<String> {
    let shown = |name: &&&str| !map.contains(&format!("`{name}`")) && !map.contains(&format!("/{name}`"));
    names.iter().filter(shown).map(|name| format!("ARCHITECTURE.md does not name the crate `{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let own = |(name, for_tests): &(&str, bool)| ((*name).to_owned(), *for_tests);
        Package { name: name.to_owned(), dependencies: dependencies.iter().map(own).collect() }
    }

    #[test]
    fn an_edge_that_the_table_lacks_is_a_breach() {
        for (name, dependencies, breaches) in [
            ("server", &[("hub", false), ("core", false), ("bytes", false)][..], 0),
            ("dialects", &[("hub", false)], 1),
            ("core", &[("wire", false)], 1),
            ("core", &[("testkit", true), ("hub", true)], 0),
            ("core", &[("testkit", false)], 1),
            ("source-postgres", &[("core", false)], 0),
            ("source-postgres", &[("hub", false)], 1),
            ("stranger", &[], 1),
        ] {
            assert_eq!(new_edges(&package(name, dependencies)).len(), breaches, "{name} {dependencies:?}");
        }
    }

    #[test]
    fn a_pure_crate_drags_in_no_runtime() {
        assert_eq!(impure_dependencies(&package("core", &[("tokio", false), ("bytes", false)])).len(), 1);
        assert_eq!(impure_dependencies(&package("core", &[("tokio", true)])).len(), 0);
        assert_eq!(impure_dependencies(&package("hub", &[("tokio", false)])).len(), 0);
        let tree = Tree::of(&[("crates/core/src/lib.rs", "//! Core."), ("crates/wire/src/lib.rs", "#![forbid(unsafe_code)]")]);
        assert_eq!(unsafe_in_pure_crates(&tree).len(), 1);
    }

    #[test]
    fn a_dialect_names_no_sibling() {
        let tree = Tree::of(&[
            ("crates/dialects/src/pusher/mod.rs", "use crate::pusher::codes; use crate::shared;"),
            ("crates/dialects/src/ably/mod.rs", "use crate::pusher::codes;"),
        ]);
        assert_eq!(dialects_that_know_another(&tree).len(), 1);
    }

    #[test]
    fn every_dependency_earns_its_place_in_one_table() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace.dependencies]\nomnivox-core = { path = \"x\" }\nbytes = \"1\" # frames\nrand = \"1\"\n"),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nbytes.workspace = true\nrand = \"1\"\n"),
        ]);
        assert_eq!(undocumented_dependencies(&tree).len(), 2);
    }

    #[test]
    fn the_map_names_every_crate() {
        assert_eq!(absent_from_the_map(&["core", "hub"], "| `crates/core` | …").len(), 1);
    }
}
