//! Documents: their links resolve, and the pages that the program prints are fresh.
//!
//! Invariant: a page that is generated says the same as the program; [`GENERATED`] lists them, each with the arguments that
//! print it.

use super::{Tree, Verdict};
use crate::Outcome;
use std::path::Path;
use std::process::Command;

/// A committed page and the arguments with which `omnivox` prints it.
const GENERATED: &[(&str, &[&str])] =
    &[("docs/config.md", &["config", "--print-docs"]), ("omnivox.sample.toml", &["config", "--print-sample"])];

/// Everything that this module checks.
pub(super) fn verdicts(tree: &Tree) -> Outcome<Vec<Verdict>> {
    let mut broken = Vec::new();
    for (name, text) in tree.with_suffix(".md") {
        broken.extend(broken_links(tree, name, text));
    }
    Ok(vec![Verdict { rule: "links resolve", breaches: broken }, Verdict { rule: "generated files are fresh", breaches: stale(tree)? }])
}

/// Relative links whose file, or heading in that file, is not there.
fn broken_links(tree: &Tree, name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in prose(text) {
        for target in links(line).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { name.to_owned() } else { join(name, path) };
            if !tree.holds(&file) {
                breaches.push(format!("{name}:{number}: '{target}' leads nowhere"));
            } else if !anchor.is_empty() && tree.text(&file).is_some_and(|text| !headings(text).any(|heading| heading == anchor)) {
                breaches.push(format!("{name}:{number}: {file} has no heading '#{anchor}'"));
            }
        }
    }
    breaches
}

/// The lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((index + 1, line))
    })
}

/// What stands in the round brackets of `[words](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()).filter(|target| !target.is_empty())
}

/// `path`, as it is meant in the file called `from`.
fn join(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { from.split('/').rev().skip(1).collect() };
    parts.reverse();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A document's headings, as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = prose(text).filter_map(|(_, line)| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()));
    titles.map(|title| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    })
}

fn stale(tree: &Tree) -> Outcome<Vec<String>> {
    let mut breaches = Vec::new();
    for (page, arguments) in GENERATED {
        if let Some(committed) = tree.text(page) {
            let printed = printed_by_omnivox(&tree.root, arguments)?;
            if printed != committed {
                breaches.push(format!("{page} is stale: cargo run -- {} > {page}", arguments.join(" ")));
            }
        }
    }
    Ok(breaches)
}

fn printed_by_omnivox(root: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--package", "omnivox", "--"])
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("omnivox {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_the_heading() {
        let page = "# Top\n[a](b.md) [b](../README.md#two-commands) [c](#top) [d](https://example.org/x)\n```\n[e](no.md)\n```\n";
        let tree = Tree::of(&[("README.md", "# It\n## Two commands\n"), ("docs/a.md", page), ("docs/b.md", "")]);
        assert_eq!(broken_links(&tree, "docs/a.md", page), Vec::<String>::new());
        for target in ["no.md", "../docs/no.md", "#bottom", "../README.md#three", "/docs/no.md"] {
            let page = format!("[x]({target} \"title\")");
            assert_eq!(broken_links(&tree, "docs/a.md", &page).len(), 1, "{target}");
        }
        assert!(broken_links(&tree, "docs/a.md", "[x](..) [y](/docs) [z](../docs/)").is_empty());
    }
}
