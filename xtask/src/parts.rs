//! The programs beside the project that its tests use, as one table: how each is found and which package brings it.
//!
//! A test file names its parts in a comment (`// parts: nginx, haproxy`); `setup` installs them; `test --without nginx`
//! leaves out the files that need it. Invariant: a part that is missing fails the run unless the caller left it out,
//! save one that this machine can't have at all ([`Part::optional`]), whose absence is printed in capitals.

use crate::Outcome;
use std::path::{Path, PathBuf};

/// One thing that tests run against.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// The program that proves the part is here.
    pub(crate) program: &'static str,
    /// The Debian packages that bring it; empty when `setup` makes the part itself.
    pub(crate) packages: &'static [&'static str],
    /// True when a machine may be unable to have it.
    pub(crate) optional: bool,
}

const fn debian(name: &'static str, program: &'static str, packages: &'static [&'static str]) -> Part {
    Part { name, program, packages, optional: false }
}

/// Every part, in the order in which `setup` looks at them.
pub(crate) const PARTS: &[Part] = &[
    debian("node", "node", &["nodejs", "npm"]),
    debian("python", "python3", &["python3", "python3-venv"]),
    debian("curl", "curl", &["curl"]),
    debian("chromium", "chromium", &["chromium"]),
    debian("nginx", "nginx", &["nginx-light"]),
    debian("haproxy", "haproxy", &["haproxy"]),
    debian("redis", "redis-server", &["redis-server"]),
    debian("nats", "nats-server", &["nats-server"]),
    debian("coturn", "turnserver", &["coturn"]),
    debian("openssl", "openssl", &["openssl"]),
    debian("systemd", "systemd-socket-activate", &["systemd"]),
    debian("openssl", "openssl", &["openssl"]),
    debian("netns", "iptables", &["iproute2", "iptables"]),
    debian("valgrind", "valgrind", &["valgrind"]),
    Part { name: "pebble", program: "target/pebble/pebble", packages: &[], optional: true },
    debian("buildah", "buildah", &["buildah"]),
    debian("dpkg", "adduser", &["dpkg", "adduser", "init-system-helpers"]),
    Part { name: "autobahn", program: "target/autobahn/bin/wstest", packages: &[], optional: true },
];

/// Checks a part's name that a person typed.
pub(crate) fn known(name: &str) -> Outcome<String> {
    if PARTS.iter().any(|part| part.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
    Err(format!("no part is called '{name}'; the parts are {}", names.join(", ")))
}

/// The part of this name.
pub(crate) fn named(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}

impl Part {
    /// Where the part's program stands on this machine.
    pub(crate) fn found(&self, root: &Path) -> Option<PathBuf> {
        if self.program.contains('/') {
            return Some(root.join(self.program)).filter(|path| path.is_file());
        }
        which(self.program)
    }
}

/// Finds a program on the search path and in the folders of system programs, which a person's path may lack.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The parts that the comments at the top of a test file name: `// parts: nginx, haproxy`.
pub(crate) fn named_by(text: &str) -> Vec<String> {
    let list = top_comments(text).find_map(|line| line.strip_prefix("parts:"));
    list.into_iter().flat_map(|list| list.split(',')).map(|part| part.trim().to_owned()).collect()
}

/// The text of the comments that a file begins with.
pub(crate) fn top_comments(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().map_while(|line| line.strip_prefix("//"));
    comments.map(|line| line.trim_start_matches('!').trim())
}

/// What a folder holds.
pub(crate) fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(listing.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comments_name_the_parts() {
        for (text, parts) in [
            ("// Proxies.\n// parts: nginx, haproxy\n", &["nginx", "haproxy"][..]),
            ("//! aioice.\n//!\n//! More.\n// parts: python\nuse x;\n", &["python"]),
            ("// Title.\nimport 'x';\n// parts: redis\n", &[]),
        ] {
            assert_eq!(named_by(text), parts);
        }
    }
}
