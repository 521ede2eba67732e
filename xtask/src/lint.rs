//! `cargo xtask lint`: the compiler's own checks, each with warnings as errors: format, clippy, rustdoc.

use crate::Outcome;
use std::path::Path;
use std::process::Command;

const CHECKS: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("rustdoc", &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]),
];

/// The documentation is for those who work here: private items are in it, so links to them are good.
const RUSTDOC_FLAGS: &str = "-D warnings -A rustdoc::private_intra_doc_links";

/// Runs all checks, and names every one that failed.
pub(crate) fn run(root: &Path) -> Outcome<()> {
    let mut failed = Vec::new();
    for (name, arguments) in CHECKS {
        eprintln!("lint: {name} …");
        let status = Command::new("cargo")
            .args(*arguments)
            .env("RUSTDOCFLAGS", RUSTDOC_FLAGS)
            .current_dir(root)
            .status()
            .map_err(|error| format!("cargo does not start: {error}"))?;
        if !status.success() {
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("lint: failed: {}", failed.join(", "))) }
}
