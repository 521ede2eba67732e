//! `cargo xtask test`: sets up what is missing, then runs every stage with a time budget and ends with the counts.
//!
//! ```text
//! [1/5] unit    cargo's own tests of all crates
//! [2/5] doc     the examples in the documentation
//! [3/5] tidy    the rules of the project
//! [4/5] counts  instructions of the hot paths
//! [5/5] e2e     the built server against real clients, browsers, proxies and suites
//! ```
//!
//! Invariant: the last line is `N passed, N failed` and nothing else, and a stage that could not run counts as failed.

use crate::parts::{self, PARTS, entries};
use crate::process::{self, Ended};
use crate::{Choices, Outcome, counts, end_to_end, setup, tidy};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// What one real part of the run came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Tally {
    pub(crate) part: String,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn failed(part: &str) -> Self {
        Self { part: part.to_owned(), passed: 0, failed: 1 }
    }
}

/// A stage: its name, what it is, and how it is run.
type Stage = (&'static str, &'static str, fn(&Path, &Choices) -> Outcome<Vec<Tally>>);

const STAGES: &[Stage] = &[
    ("unit", "cargo's own tests of all crates", unit),
    ("doc", "the examples in the documentation", doc),
    ("tidy", "the rules of the project", rules),
    ("counts", "instructions of the hot paths", counts::stage),
    ("e2e", "the built server against real clients", end_to_end::run),
];

/// Runs the stages that were asked for; an error when anything failed.
pub(crate) fn run(root: &Path, choices: &Choices) -> Outcome<()> {
    let end_to_end_is_wanted = choices.only.iter().any(|only| STAGES.iter().all(|(name, ..)| name != only));
    let wanted =
        |name: &str| choices.only.is_empty() || choices.only.iter().any(|only| only == name) || (name == "e2e" && end_to_end_is_wanted);
    setup::run_quietly(root, choices)?;
    let stages: Vec<&Stage> = STAGES.iter().filter(|(name, ..)| wanted(name)).collect();
    let mut tallies = Vec::new();
    for (number, (name, what, stage)) in stages.iter().enumerate() {
        println!("[{}/{}] {name:<6} {what} …", number + 1, stages.len());
        let started = Instant::now();
        let came_to = stage(root, choices).unwrap_or_else(|error| {
            println!("{error}");
            vec![Tally::failed(name)]
        });
        let (passed, failed) = sum(&came_to);
        println!("      {name}: {passed} passed, {failed} failed in {:.0} s", started.elapsed().as_secs_f64());
        tallies.extend(came_to.into_iter().map(|tally| Tally { part: format!("{name} {}", tally.part), ..tally }));
    }
    report(root, choices, &tallies)
}

/// The cases of each part, what was left out, and the plain closing line.
fn report(root: &Path, choices: &Choices, tallies: &[Tally]) -> Outcome<()> {
    println!("\n{:>7} {:>7}  part", "passed", "failed");
    for Tally { part, passed, failed } in tallies.iter().filter(|tally| tally.passed + tally.failed > 0) {
        println!("{passed:>7} {failed:>7}  {part}");
    }
    for part in PARTS.iter().filter(|part| part.optional && part.found(root).is_none()) {
        println!("\n{}", setup::missing(part));
    }
    if !choices.without.is_empty() {
        println!("\nLEFT OUT BY --without: {}", choices.without.join(", "));
    }
    let (passed, failed) = sum(tallies);
    println!("\n{passed} passed, {failed} failed");
    // Nothing may stand below that line, so the error has no words of its own.
    if failed == 0 && passed > 0 { Ok(()) } else { Err(String::new()) }
}

fn sum(tallies: &[Tally]) -> (u64, u64) {
    tallies.iter().fold((0, 0), |(passed, failed), tally| (passed + tally.passed, failed + tally.failed))
}

fn unit(root: &Path, choices: &Choices) -> Outcome<Vec<Tally>> {
    let targets = unit_targets(&integration_tests(root)?, choices);
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    build(root, "unit-build", &[&["test", "--no-run", "--workspace"], &targets[..]].concat())?;
    cargo_test(root, "unit", &[&["--workspace", "--no-fail-fast"], &targets[..]].concat(), 12 * MINUTE)
}

/// The targets to test: all, or all but the integration tests that need a part which was left out.
fn unit_targets(tests: &[(String, Vec<String>)], choices: &Choices) -> Vec<String> {
    let mut targets = ["--lib", "--bins", "--examples"].map(str::to_owned).to_vec();
    let first_left_out = |parts: &[String]| parts.iter().find(|part| choices.leaves_out(part)).cloned();
    if tests.iter().all(|(_, parts)| first_left_out(parts).is_none()) {
        targets.push("--tests".to_owned());
        return targets;
    }
    for (name, parts) in tests {
        match first_left_out(parts) {
            Some(part) => println!("      {name}: LEFT OUT, it needs {part}"),
            None => targets.extend(["--test".to_owned(), name.clone()]),
        }
    }
    targets
}

/// Every file of integration tests with the parts that its first comments name, as end-to-end tests do.
fn integration_tests(root: &Path) -> Outcome<Vec<(String, Vec<String>)>> {
    let mut tests = Vec::new();
    let crates = entries(&root.join("crates"))?.into_iter().chain([root.join("bench")]);
    for folder in crates.map(|member| member.join("tests")).filter(|folder| folder.is_dir()) {
        for entry in entries(&folder)? {
            let file = if entry.is_dir() { entry.join("main.rs") } else { entry.clone() };
            let named = entry.file_stem().map(|name| name.to_string_lossy().into_owned());
            if let (true, Some(name)) = (file.extension().is_some_and(|end| end == "rs") && file.is_file(), named) {
                let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                tests.push((name, parts::named_by(&text)));
            }
        }
    }
    tests.sort();
    Ok(tests)
}

fn doc(root: &Path, _: &Choices) -> Outcome<Vec<Tally>> {
    cargo_test(root, "doc", &["--workspace", "--no-fail-fast", "--doc"], 10 * MINUTE)
}

fn rules(root: &Path, _: &Choices) -> Outcome<Vec<Tally>> {
    let mut tally = Tally { part: "rules".to_owned(), passed: 0, failed: 0 };
    for verdict in tidy::verdicts(root)? {
        for breach in &verdict.breaches {
            println!("      {}: {breach}", verdict.rule);
        }
        let kept = u64::from(verdict.breaches.is_empty());
        tally.passed += kept;
        tally.failed += 1 - kept;
    }
    Ok(vec![tally])
}

/// Compiles, so that no test's budget pays for it.
pub(crate) fn build(root: &Path, name: &str, arguments: &[&str]) -> Outcome<()> {
    let ended = cargo(root, name, arguments, 30 * MINUTE)?;
    if ended.success { Ok(()) } else { Err(format!("{}\ncargo {} failed", ended.tail(60), arguments.join(" "))) }
}

fn cargo_test(root: &Path, name: &str, arguments: &[&str], budget: Duration) -> Outcome<Vec<Tally>> {
    let ended = cargo(root, name, &[&["test"], arguments].concat(), budget)?;
    let mut tallies = cargo_tallies(&ended.lines);
    if !ended.success {
        println!("{}", ended.tail(150));
        if ended.over_budget {
            println!("      over the budget of {} s", budget.as_secs());
        }
        if sum(&tallies).1 == 0 {
            tallies.push(Tally::failed("did not end well"));
        }
    }
    Ok(tallies)
}

fn cargo(root: &Path, name: &str, arguments: &[&str], budget: Duration) -> Outcome<Ended> {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root);
    process::run(command, budget, &root.join(format!("target/xtask/{name}.log")))
}

/// Reads the counts out of what `cargo test` prints, one tally for each program that it ran.
fn cargo_tallies(lines: &[String]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    let mut part = String::new();
    for line in lines.iter().map(|line| line.trim()) {
        if let Some(running) = line.strip_prefix("Running ") {
            part = program_name(running);
        } else if let Some(documented) = line.strip_prefix("Doc-tests ") {
            part = documented.to_owned();
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word: &str| -> u64 {
                let before = result.split(word).next().unwrap_or_default();
                before.trim_end().rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            tallies.push(Tally { part: part.clone(), passed: count(" passed"), failed: count(" failed") });
        }
    }
    tallies
}

/// `unittests src/lib.rs (target/debug/deps/omnivox_core-0a1b)` is `omnivox_core`.
fn program_name(running: &str) -> String {
    let file = running.rsplit('/').next().unwrap_or(running).trim_end_matches(')');
    file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_left_out_takes_its_integration_tests_along() {
        let tests = [("a".to_owned(), vec![]), ("b".to_owned(), vec!["coturn".to_owned()])];
        assert!(unit_targets(&tests, &Choices::default()).ends_with(&["--tests".to_owned()]));
        let choices = Choices { without: vec!["coturn".to_owned()], ..Choices::default() };
        assert!(unit_targets(&tests, &choices).ends_with(&["--test".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn counts_come_from_what_cargo_prints() {
        let printed = "\
     Running unittests src/lib.rs (target/debug/deps/omnivox_core-0a1b)
running 3 tests
test a ... ok
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests omnivox_wire
test result: ok. 11 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.09s";
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        let tally = |part: &str, passed, failed| Tally { part: part.to_owned(), passed, failed };
        assert_eq!(cargo_tallies(&lines), [tally("omnivox_core", 2, 1), tally("omnivox_wire", 11, 0)]);
        assert_eq!(sum(&cargo_tallies(&lines)), (13, 1));
    }
}
