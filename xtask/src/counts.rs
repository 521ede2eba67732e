//! `cargo xtask counts`: the instructions that a round of each hot path takes, by callgrind, beside the committed baseline.
//!
//! Wall time is noisy on shared machines; instruction counts of the same binary repeat. Each `examples/CRATE_hot_paths.rs` of a
//! pure crate is run for two numbers of rounds, and the difference is what a round costs. `--accept` writes the baseline anew.
//! Invariant: a path that got more than [`TOLERANCE_PERCENT`] dearer, or that the baseline lacks, fails.

use crate::process;
use crate::test::{Tally, build};
use crate::{Choices, Outcome};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Compilers and C libraries differ a little from machine to machine.
const TOLERANCE_PERCENT: u64 = 15;
const CRATES: &[&str] = &["core", "dialects", "wire"];
const BASELINE: &str = "xtask/counts.txt";
const ROUNDS: [u64; 2] = [2_000, 6_000];

/// Counts as a stage of the tests: one case for each path.
pub(crate) fn stage(root: &Path, choices: &Choices) -> Outcome<Vec<Tally>> {
    if choices.leaves_out("valgrind") {
        println!("      counts: LEFT OUT, they need valgrind");
        return Ok(Vec::new());
    }
    let baseline = parse(&std::fs::read_to_string(root.join(BASELINE)).unwrap_or_default());
    let verdicts = compare(&baseline, &measure(root)?);
    let mut tally = Tally { part: "hot paths".to_owned(), passed: 0, failed: 0 };
    for (path, verdict) in verdicts {
        match verdict {
            Ok(said) => {
                tally.passed += 1;
                println!("      {path:<32} {said}");
            }
            Err(said) => {
                tally.failed += 1;
                println!("      {path:<32} {said}; `cargo xtask counts --accept` makes it the baseline");
            }
        }
    }
    Ok(vec![tally])
}

/// Prints the counts; with `accept` they become the baseline.
pub(crate) fn run(root: &Path, accept: bool) -> Outcome<()> {
    let measured = measure(root)?;
    let text: String = measured.iter().map(|(path, count)| format!("{path} {count}\n")).collect();
    print!("{text}");
    if accept {
        std::fs::write(root.join(BASELINE), text).map_err(|error| format!("{BASELINE}: {error}"))?;
    }
    Ok(())
}

/// Instructions per round, by `CRATE/PATH`.
type Counts = BTreeMap<String, u64>;

fn measure(root: &Path) -> Outcome<Counts> {
    let mut counts = Counts::new();
    for name in CRATES {
        let (package, example) = (format!("omnivox-{name}"), format!("{name}_hot_paths"));
        build(root, "counts-build", &["build", "--release", "--package", &package, "--example", &example])?;
        let program = root.join("target/release/examples").join(example);
        let listed = Command::new(&program).output().map_err(|error| format!("{}: {error}", program.display()))?;
        for path in String::from_utf8_lossy(&listed.stdout).lines() {
            let [short, long] = [ROUNDS[0], ROUNDS[1]].map(|rounds| instructions(root, &program, path, rounds));
            counts.insert(format!("{name}/{path}"), (long? - short?) / (ROUNDS[1] - ROUNDS[0]));
        }
    }
    Ok(counts)
}

fn instructions(root: &Path, program: &Path, path: &str, rounds: u64) -> Outcome<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(path).arg(rounds.to_string());
    let ended = process::run(command, Duration::from_secs(60), &root.join("target/xtask/counts.log"))?;
    let collected = ended.lines.iter().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    collected.filter(|_| ended.success).ok_or_else(|| format!("{}\nvalgrind has failed for {path}", ended.tail(20)))
}

fn parse(text: &str) -> Counts {
    text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(path, count)| Some((path.to_owned(), count.parse().ok()?))).collect()
}

/// What there is to say of each path, as an error when it got too dear.
fn compare(baseline: &Counts, measured: &Counts) -> Vec<(String, Result<String, String>)> {
    let gone = baseline.keys().filter(|path| !measured.contains_key(*path)).map(|path| (path.clone(), Err("is no more".to_owned())));
    let verdict = |(path, now): (&String, &u64)| {
        let verdict = match baseline.get(path) {
            None => Err(format!("{now} instructions, no baseline")),
            Some(before) if *now > before + before * TOLERANCE_PERCENT / 100 => Err(format!("{now} instructions, {before} before")),
            Some(before) => Ok(format!("{now} instructions, {before} before")),
        };
        (path.clone(), verdict)
    };
    measured.iter().map(verdict).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_not_get_dearer_or_lose_its_baseline() {
        let baseline = parse("wire/a 100\nwire/b 100\nwire/gone 7\n");
        let measured = parse("wire/a 115\nwire/b 116\nwire/new 1\n");
        let failed: Vec<_> =
            compare(&baseline, &measured).into_iter().filter(|(_, verdict)| verdict.is_err()).map(|(path, _)| path).collect();
        assert_eq!(failed, ["wire/b", "wire/new", "wire/gone"]);
    }
}
