//! `cargo xtask tidy`: the rules of the project that no compiler checks, each one a small pure function.
//!
//! - [`imports`]: which crate may depend on which, as a table; what pure crates must not drag in.
//! - [`sources`]: what every file opens with and must not hold, and how long it may be.
//! - [`documents`]: links between documents resolve, generated pages are fresh.
//!
//! A breach says the place, what is wrong and what mends it. Invariant: a rule reads only files that git tracks or would
//! track, so that what is built or installed here changes no verdict.

mod documents;
mod imports;
mod sources;

use crate::Outcome;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One rule with all that breaks it.
pub(crate) struct Verdict {
    pub(crate) rule: &'static str,
    pub(crate) breaches: Vec<String>,
}

/// Prints every breach; an error when there is one.
pub(crate) fn run(root: &Path) -> Outcome<()> {
    let verdicts = verdicts(root)?;
    let broken = verdicts.iter().filter(|verdict| !verdict.breaches.is_empty()).count();
    for verdict in &verdicts {
        for breach in &verdict.breaches {
            println!("{}: {breach}", verdict.rule);
        }
    }
    println!("tidy: {} rules kept, {broken} broken", verdicts.len() - broken);
    if broken == 0 { Ok(()) } else { Err("tidy: see the lines above".to_owned()) }
}

/// Every rule, looked at once.
pub(crate) fn verdicts(root: &Path) -> Outcome<Vec<Verdict>> {
    let files = Tree::read(root)?;
    let mut verdicts = imports::verdicts(root, &files)?;
    verdicts.extend(sources::verdicts(&files));
    verdicts.extend(documents::verdicts(&files)?);
    Ok(verdicts)
}

/// The text files of the repository.
pub(crate) struct Tree {
    root: PathBuf,
    /// Path below the root and content, in the order of the paths; files that are not text have none.
    files: Vec<(String, String)>,
}

impl Tree {
    fn read(root: &Path) -> Outcome<Self> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("git does not start: {error}"))?;
        if !listing.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr)));
        }
        let names = String::from_utf8_lossy(&listing.stdout).into_owned();
        let mut names: Vec<&str> = names.split_terminator('\0').collect();
        names.sort_unstable();
        names.dedup();
        // A file that git knows and that was just removed is read as nothing.
        let read = |name: &str| Some((name.to_owned(), std::fs::read(root.join(name)).ok()?));
        let text = |(name, bytes): (String, Vec<u8>)| (name, String::from_utf8(bytes).unwrap_or_default());
        let files = names.into_iter().filter_map(read).map(text).collect();
        Ok(Self { root: root.to_path_buf(), files })
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self { root: PathBuf::from("/nowhere"), files: files.iter().map(own).collect() }
    }

    fn with_suffix<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all().filter(move |(name, _)| name.ends_with(suffix))
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    fn text(&self, wanted: &str) -> Option<&str> {
        self.all().find(|(name, _)| *name == wanted).map(|(_, text)| text)
    }

    /// True for a file, and for a folder that holds one.
    fn holds(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty() || self.all().any(|(name, _)| name == path || name.starts_with(&folder))
    }
}
