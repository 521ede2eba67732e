//! End-to-end tests: every `e2e/FOLDER/NAME.test.mjs`, run by Node's own test runner, one file after the other.
//!
//! A file says in comments at its top what it needs: `// parts: chromium, nginx`, `// budget: 300 s`, `// long` (only with
//! `--long`). It starts the server and the other programs itself, on free ports, and stops them by their process ids.
//! Invariant: a file whose parts are missing fails; it is left out only when the caller said so.

use crate::parts::{self, Part, entries, top_comments};
use crate::process::{self, Ended};
use crate::test::{self, Tally};
use crate::{Choices, Outcome, setup};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs the files that were asked for against a freshly built server.
pub(crate) fn run(root: &Path, choices: &Choices) -> Outcome<Vec<Tally>> {
    let suites: Vec<Suite> = discover(root)?.into_iter().filter(|suite| suite.is_wanted(choices)).collect();
    if suites.is_empty() {
        return Err(format!("no end-to-end file matches {}", choices.only.join(", ")));
    }
    test::build(root, "e2e-build", &["build", "--package", "omnivox"])?;
    Ok(suites.iter().filter_map(|suite| suite.run(root, choices)).collect())
}

/// One test file and what it says of itself.
#[derive(Debug, PartialEq)]
struct Suite {
    /// `native/websocket`.
    name: String,
    file: PathBuf,
    parts: Vec<String>,
    budget: Duration,
    long: bool,
}

/// All test files in the order of their names.
fn discover(root: &Path) -> Outcome<Vec<Suite>> {
    const END: &str = ".test.mjs";
    let mut suites = Vec::new();
    for folder in entries(&root.join("e2e"))?.into_iter().filter(|path| path.is_dir() && !path.ends_with("node_modules")) {
        for file in entries(&folder)? {
            let title = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(own) = title(&file).strip_suffix(END) {
                let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                suites.push(Suite::parse(&format!("{}/{own}", title(&folder)), file, &text));
            }
        }
    }
    suites.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(suites)
}

impl Suite {
    fn parse(name: &str, file: PathBuf, text: &str) -> Self {
        let budget = top_comments(text).find_map(|line| line.strip_prefix("budget:"));
        let seconds = budget.map(str::trim).and_then(|budget| budget.trim_end_matches(" s").parse().ok()).unwrap_or(120);
        Self {
            name: name.to_owned(),
            file,
            parts: std::iter::once("node".to_owned()).chain(parts::named_by(text)).collect(),
            budget: Duration::from_secs(seconds),
            long: top_comments(text).any(|line| line == "long"),
        }
    }

    /// `--only` names all of them (`e2e`), a folder, or one file.
    fn is_wanted(&self, choices: &Choices) -> bool {
        let folder = self.name.split('/').next().unwrap_or_default();
        let names = ["e2e", folder, &self.name];
        let wanted = choices.only.is_empty() || choices.only.iter().any(|only| names.contains(&only.as_str()));
        wanted && (choices.long || !self.long || choices.only.contains(&self.name))
    }

    /// Runs the file; nothing when it is left out.
    fn run(&self, root: &Path, choices: &Choices) -> Option<Tally> {
        if let Some(part) = self.parts.iter().find(|part| choices.leaves_out(part)) {
            println!("      {}: LEFT OUT, it needs {part}", self.name);
            return None;
        }
        for name in &self.parts {
            match parts::named(name) {
                None => return Some(self.cannot_run(&format!("its part '{name}' is not in the table of xtask/src/parts.rs"))),
                Some(part) if part.found(root).is_none() => return self.without(part),
                Some(_) => {}
            }
        }
        Some(match self.start(root) {
            Ok(ended) => self.judge(&ended),
            Err(error) => self.cannot_run(&error),
        })
    }

    fn without(&self, part: &Part) -> Option<Tally> {
        if part.optional {
            println!("      {}: {}", self.name, setup::missing(part));
            return None;
        }
        Some(self.cannot_run(&format!("{} is {}", part.name, setup::missing(part))))
    }

    fn cannot_run(&self, why: &str) -> Tally {
        println!("      {}: {why}", self.name);
        Tally::failed(&self.name)
    }

    fn start(&self, root: &Path) -> Outcome<Ended> {
        let mut node = Command::new("node");
        node.args(["--test", "--test-reporter=tap"]).arg(&self.file).current_dir(root.join("e2e"));
        node.env("E2E_BINARY", root.join("target/debug/omnivox")).env("E2E_TARGET", root.join("target"));
        process::run(node, self.budget, &root.join("target/xtask/e2e").join(format!("{}.log", self.name)))
    }

    fn judge(&self, ended: &Ended) -> Tally {
        let (passed, mut failed) = tap_counts(&ended.lines);
        if failed == 0 && !ended.success {
            failed = 1;
        }
        if passed + failed == 0 {
            println!("      {}: ran no test", self.name);
            failed = 1;
        }
        if failed > 0 {
            println!("{}", failures(&ended.lines));
        }
        if ended.over_budget {
            println!("      {}: over its budget of {} s; last lines:\n{}", self.name, self.budget.as_secs(), ended.tail(40));
        }
        println!("      {:<28} {passed:>4} passed {failed:>3} failed  {:>5.1} s", self.name, ended.took.as_secs_f64());
        Tally { part: self.name.clone(), passed, failed }
    }
}

/// The counts at the end of TAP; what was skipped or cut short proves nothing, so it has failed.
fn tap_counts(lines: &[String]) -> (u64, u64) {
    let count = |word: &str| -> u64 {
        let found = lines.iter().rev().find_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.trim().parse().ok());
        found.unwrap_or(0)
    };
    (count("pass "), count("fail ") + count("cancelled ") + count("skipped ") + count("todo "))
}

/// The part of a TAP output that says what failed and why: each `not ok` with the block behind it.
fn failures(lines: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut block = false;
    for line in lines {
        let start = line.trim_start();
        if start.starts_with("not ok") {
            block = true;
        } else if start.starts_with("ok ") || start.starts_with("# ") {
            block = false;
        }
        if block {
            shown.push(line);
        }
    }
    shown.truncate(200);
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(text: &str) -> Suite {
        Suite::parse("native/proxies", PathBuf::from("x"), text)
    }

    #[test]
    fn a_file_says_what_it_needs() {
        let plain = suite("// Title.\nimport 'x';\n// parts: redis\n");
        assert_eq!((plain.parts.len(), plain.budget, plain.long), (1, Duration::from_secs(120), false));
        let full = suite("// Title.\n// parts: nginx, haproxy\n// budget: 300 s\n// long\n");
        assert_eq!(full.parts, ["node", "nginx", "haproxy"]);
        assert_eq!((full.budget, full.long), (Duration::from_secs(300), true));
    }

    #[test]
    fn only_names_all_a_folder_or_a_file() {
        let wanted = |text: &str, only: &str, long| {
            let only = only.split_whitespace().map(str::to_owned).collect();
            suite(text).is_wanted(&Choices { only, long, ..Choices::default() })
        };
        for (text, only, long, expected) in [
            ("", "", false, true),
            ("", "e2e", false, true),
            ("", "unit native", false, true),
            ("", "native/proxies", false, true),
            ("", "native/websocket", false, false),
            ("", "turn", false, false),
            ("// long", "e2e", false, false),
            ("// long", "e2e", true, true),
            ("// long", "native/proxies", false, true),
        ] {
            assert_eq!(wanted(text, only, long), expected, "{text:?} {only:?} {long}");
        }
    }

    #[test]
    fn what_was_skipped_or_cut_short_has_failed() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(tap_counts(&lines("ok 1 - a\n# tests 9\n# pass 5\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0")), (5, 4));
        assert_eq!(tap_counts(&lines("node: no such file")), (0, 0));
        assert_eq!(failures(&lines("ok 1 - a\nnot ok 2 - b\n  why\nok 3 - c")), "not ok 2 - b\n  why");
    }
}
