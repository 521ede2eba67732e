//! Project tasks: `cargo xtask setup | test | lint | tidy | counts | package`.
//!
//! The same commands serve people and `.ci/run`. Each one prints what it does, how long it took, and ends with an exit code
//! that a script can use. Invariant: nothing here needs more than the standard library and a JSON parser, so that the
//! tasks build in seconds on a machine that has only Rust.

mod counts;
mod end_to_end;
mod lint;
mod package;
mod parts;
mod process;
mod setup;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What every task returns: an error is one sentence for the person at the terminal.
type Outcome<T> = Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask TASK

  setup [--without PART]...               install what the tests need and this machine lacks
  test  [--without PART]... [--only STAGE]...   set up, then run every test; STAGE is unit, doc, tidy,
                                          counts, e2e, or one end-to-end file such as native/websocket
        [--long]                          with the suites that take more than a minute
  lint                                    format check, clippy and rustdoc with warnings as errors
  tidy                                    import table, file headers, links, generated files
  counts [--accept]                       instructions of the hot paths, by callgrind; --accept makes them the baseline
  package [--dev]                         static binary, archive and Debian package in target/package; --dev builds quicker

PART is what `setup` lists: node, chromium, redis, nats, coturn, nginx, haproxy, valgrind, curl, python, buildah, systemd, openssl,
dpkg, pebble, autobahn";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((task, rest)) => run(task, rest),
        None => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: &str, arguments: &[String]) -> Outcome<()> {
    let root = workspace_root();
    match task {
        "setup" => setup::run(&root, &Choices::parse(arguments)?),
        "test" => test::run(&root, &Choices::parse(arguments)?),
        "lint" => lint::run(&root),
        "tidy" => tidy::run(&root),
        "counts" => match arguments {
            [] => counts::run(&root, false),
            [option] if option == "--accept" => counts::run(&root, true),
            _ => Err(USAGE.to_owned()),
        },
        "package" => match arguments {
            [] => package::run(&root, false),
            [option] if option == "--dev" => package::run(&root, true),
            _ => Err(USAGE.to_owned()),
        },
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no task is called '{other}'\n\n{USAGE}")),
    }
}

/// The folder above this crate's: where every path of a task starts.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask stands inside the workspace").to_path_buf()
}

/// What the caller typed behind `setup` or `test`.
#[derive(Debug, Default, PartialEq)]
struct Choices {
    without: Vec<String>,
    only: Vec<String>,
    long: bool,
}

impl Choices {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut choices = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value\n\n{USAGE}"));
            match argument.as_str() {
                "--without" => choices.without.push(parts::known(&value()?)?),
                "--only" => choices.only.push(value()?),
                "--long" => choices.long = true,
                other => return Err(format!("no option is called '{other}'\n\n{USAGE}")),
            }
        }
        Ok(choices)
    }

    fn leaves_out(&self, part: &str) -> bool {
        self.without.iter().any(|name| name == part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_or_explained() {
        let parse = |text: &str| Choices::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let choices = parse("--without redis --without nats --only unit --long").expect("all are known");
        assert_eq!((choices.without.len(), choices.only.len(), choices.long), (2, 1, true));
        assert!(choices.leaves_out("redis") && !choices.leaves_out("curl"));
        for (text, said) in [("--without reddis", "reddis"), ("--only", "needs a value"), ("--fast", "--fast")] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
