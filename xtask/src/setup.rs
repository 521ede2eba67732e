//! `cargo xtask setup`: installs what the tests need and this machine lacks, and only that.
//!
//! Four sources: Debian packages for the programs in the table of [`parts`], npm packages by the committed lock file into
//! `e2e/node_modules`, Python packages by pinned lists and Go programs by pinned versions into `target/`. Running it twice does nothing the second time.
//! Invariant: it never starts a service, and nothing that it writes lands in the repository.

use crate::parts::{self, PARTS, Part};
use crate::{Choices, Outcome, process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The oldest Node whose test runner and clients the tests use.
const NODE_MAJOR_MIN: u32 = 20;
/// The ACME server of the tests.
const PEBBLE_MODULE: &str = "github.com/letsencrypt/pebble/v2";
const PEBBLE_VERSION: &str = "v2.10.1";
const MINUTE: Duration = Duration::from_secs(60);

/// Installs what is missing and says what is here.
pub(crate) fn run(root: &Path, choices: &Choices) -> Outcome<()> {
    run_quietly(root, choices)?;
    say_what_is_here(root, choices);
    Ok(())
}

/// Installs what is missing, with two lines of progress for each step and none when there is nothing to do.
pub(crate) fn run_quietly(root: &Path, choices: &Choices) -> Outcome<()> {
    let setup = Setup { root };
    setup.debian_packages(choices)?;
    if !choices.leaves_out("node") {
        setup.npm_packages()?;
    }
    if !choices.leaves_out("python") {
        setup.python_packages()?;
    }
    if !choices.leaves_out("autobahn") && !choices.leaves_out("python") {
        setup.autobahn()?;
    }
    if !choices.leaves_out("pebble") {
        setup.pebble()?;
    }
    Ok(())
}

struct Setup<'a> {
    root: &'a Path,
}

impl Setup<'_> {
    fn debian_packages(&self, choices: &Choices) -> Outcome<()> {
        let wanted = PARTS.iter().filter(|part| !choices.leaves_out(part.name) && !part.packages.is_empty());
        let mut packages: Vec<&str> = Vec::new();
        for part in wanted {
            if part.found(self.root).is_none() {
                packages.extend(part.packages);
            } else if part.name == "python" && !has_venv() {
                packages.push("python3-venv");
            }
        }
        if packages.is_empty() {
            return Ok(());
        }
        if parts::which("apt-get").is_none() {
            return Err(format!(
                "missing: {}. Install what brings them (there is no apt-get here), or leave parts out with --without",
                packages.join(" ")
            ));
        }
        let _no_service_starts = PolicyFile::place()?;
        self.step("apt-get update", apt().arg("update"), 5 * MINUTE)?;
        let what = format!("apt-get install {}", packages.join(" "));
        self.step(&what, apt().args(["install", "--yes", "--no-install-recommends"]).args(packages), 15 * MINUTE)
    }

    fn npm_packages(&self) -> Outcome<()> {
        let folder = self.root.join("e2e");
        let lock = folder.join("package-lock.json");
        let installed = folder.join("node_modules/.installed-lock.json");
        if same_content(&lock, &installed) {
            return Ok(());
        }
        let version = Command::new("node").arg("--version").output().map_err(|error| format!("node: {error}"))?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        if node_major(&version) < NODE_MAJOR_MIN {
            return Err(format!("node {version} is too old for the end-to-end tests: install Node {NODE_MAJOR_MIN} or newer"));
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        self.step("npm ci (e2e/node_modules)", &mut npm, 5 * MINUTE)?;
        copy(&lock, &installed)
    }

    fn python_packages(&self) -> Outcome<()> {
        let venv = self.root.join("target/venv");
        let list = self.root.join("e2e/requirements.txt");
        let installed = venv.join("installed-requirements.txt");
        if same_content(&list, &installed) {
            return Ok(());
        }
        let mut create = Command::new("python3");
        self.step("python3 -m venv target/venv", create.args(["-m", "venv", "--clear"]).arg(&venv), 3 * MINUTE)?;
        let mut install = pip(&venv);
        self.step("pip install (target/venv)", install.arg("--requirement").arg(&list), 10 * MINUTE)?;
        copy(&list, &installed)
    }

    /// The Autobahn suite needs a Python 2.7, which Debian no longer has: it is installed where one is found.
    fn autobahn(&self) -> Outcome<()> {
        let venv = self.root.join("target/autobahn");
        let list = self.root.join("e2e/autobahn/requirements.txt");
        let installed = venv.join("installed-requirements.txt");
        if same_content(&list, &installed) {
            return Ok(());
        }
        let Some(python) = python_2_7() else {
            return Ok(());
        };
        let virtualenv = self.root.join("target/venv/bin/virtualenv");
        let mut create = Command::new(virtualenv);
        create.args(["--quiet", "--clear", "--python"]).arg(python).arg(&venv);
        self.step("virtualenv of Python 2.7 (target/autobahn)", &mut create, 3 * MINUTE)?;
        let mut install = pip(&venv);
        install.args(["--only-binary", "cryptography", "--requirement"]).arg(&list);
        self.step("pip install autobahntestsuite (target/autobahn)", &mut install, 10 * MINUTE)?;
        copy(&list, &installed)
    }

    /// The ACME server that certificates are tested with comes as Go source, and is made where there is a Go.
    fn pebble(&self) -> Outcome<()> {
        let folder = self.root.join("target/pebble");
        let made = folder.join("version");
        if fs::read_to_string(&made).is_ok_and(|version| version == PEBBLE_VERSION) {
            return Ok(());
        }
        let Some(go) = go() else {
            return Ok(());
        };
        let programs = ["pebble", "pebble-challtestsrv"].map(|name| format!("{PEBBLE_MODULE}/cmd/{name}@{PEBBLE_VERSION}"));
        let mut install = Command::new(go);
        self.step("go install pebble (target/pebble)", install.arg("install").args(programs).env("GOBIN", &folder), 10 * MINUTE)?;
        fs::write(&made, PEBBLE_VERSION).map_err(|error| format!("{}: {error}", made.display()))
    }

    /// Runs one step and says how long it took; its whole output is the error when it fails.
    fn step(&self, what: &str, command: &mut Command, budget: Duration) -> Outcome<()> {
        eprintln!("setup: {what} …");
        let command = std::mem::replace(command, Command::new("true"));
        let ended = process::run(command, budget, &self.root.join("target/xtask/setup.log"))?;
        if ended.success {
            eprintln!("setup: {what}: done in {:.1} s", ended.took.as_secs_f64());
            return Ok(());
        }
        let why = if ended.over_budget { "took too long" } else { "failed" };
        Err(format!("{}\nsetup: {what}: {why}", ended.tail(40)))
    }
}

/// Says which parts are here; one that this machine can't have is said loudly.
fn say_what_is_here(root: &Path, choices: &Choices) {
    for part in PARTS {
        if choices.leaves_out(part.name) {
            eprintln!("setup: {:<9} left out by --without", part.name);
        } else if let Some(path) = part.found(root) {
            eprintln!("setup: {:<9} {}", part.name, path.strip_prefix(root).unwrap_or(&path).display());
        } else {
            eprintln!("setup: {:<9} {}", part.name, missing(part));
        }
    }
}

/// Why a part is not here.
pub(crate) fn missing(part: &Part) -> String {
    if part.optional {
        let needs = if part.name == "pebble" { "A GO OF 1.24 OR NEWER" } else { "A PYTHON 2.7" };
        format!("SKIPPED: {} NEEDS {needs}, AND NONE WAS FOUND", part.name.to_uppercase())
    } else {
        format!("missing ('{}' is not on the search path)", part.program)
    }
}

/// `apt-get` as root, or through `sudo` when that asks for no password.
fn apt() -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"));
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    command
}

/// Debian's own switch against services that start while they are installed, set for as long as this lives.
struct PolicyFile {
    placed: bool,
}

impl PolicyFile {
    const PATH: &'static str = "/usr/sbin/policy-rc.d";

    fn place() -> Outcome<Self> {
        if Path::new(Self::PATH).exists() {
            return Ok(Self { placed: false });
        }
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' > {0} && chmod 755 {0}", Self::PATH);
        as_root(&script).map_err(|error| format!("{}: {error}", Self::PATH))?;
        Ok(Self { placed: true })
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        if self.placed && as_root(&format!("rm {}", Self::PATH)).is_err() {
            eprintln!("setup: remove {} by hand: it keeps services from starting", Self::PATH);
        }
    }
}

fn as_root(script: &str) -> Outcome<()> {
    let plain = Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status();
    if plain.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    match Command::new("sudo").args(["--non-interactive", "sh", "-c", script]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("this needs root, or a sudo that asks for no password".to_owned()),
    }
}

/// Debian's Python can't make virtual environments without one more package.
fn has_venv() -> bool {
    let check = Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    check.is_ok_and(|status| status.success())
}

/// `v20.20.2` is 20.
fn node_major(version: &str) -> u32 {
    let major = version.trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn pip(venv: &Path) -> Command {
    let mut command = Command::new(venv.join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
}

/// A Python 2.7 on the search path, or among the versions that pyenv keeps.
fn python_2_7() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = fs::read_dir(home.join(".pyenv/versions")).ok();
    let kept = versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python2.7"));
    kept.chain(parts::which("python2.7")).find(|python| answers_2_7(python))
}

/// A pyenv shim stands on the path even when no version is chosen, so the program is asked.
fn answers_2_7(python: &Path) -> bool {
    let output = Command::new(python).args(["-c", "import sys; print(sys.version_info[:2] == (2, 7))"]).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"True"))
}

/// A Go on the search path, or where its own installer puts it; 1.21 and newer fetch the version that a module asks for.
fn go() -> Option<PathBuf> {
    let installed = Some(PathBuf::from("/usr/local/go/bin/go")).filter(|go| go.is_file());
    let minor = |go: &PathBuf| {
        let output = Command::new(go).arg("version").output().ok()?;
        go_minor(&String::from_utf8_lossy(&output.stdout))
    };
    parts::which("go").into_iter().chain(installed).find(|go| minor(go).is_some_and(|minor| minor >= 21))
}

/// `go version go1.26.8 linux/amd64` is 26.
fn go_minor(version: &str) -> Option<u32> {
    version.split(' ').find_map(|word| word.strip_prefix("go1."))?.split('.').next()?.parse().ok()
}

fn same_content(one: &Path, other: &Path) -> bool {
    fs::read(one).is_ok_and(|content| fs::read(other).is_ok_and(|installed| installed == content))
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!([node_major("v20.20.2"), node_major("v8"), node_major("")], [20, 8, 0]);
        assert_eq!(["go version go1.26.8 linux/amd64", "go version go1.19 x", "?"].map(go_minor), [Some(26), Some(19), None]);
    }
}
