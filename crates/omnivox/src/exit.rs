//! How the process ends: exit codes that scripts can rely on.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | it worked |
//! | 1 | it failed for a reason of this machine: a file, a port, memory |
//! | 2 | the command line or a setting is wrong |
//! | 3 | the server could not be reached |
//! | 4 | the server refused: permission, limit, bad request |
//! | 5 | what answered does not speak omnivox's protocol |
//! | 130, 143 | a server was ended at once by a second SIGINT or SIGTERM |

use std::fmt;
use std::process::ExitCode;

/// Why a command failed, as far as a script cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A reason of this machine.
    Failure = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// The server could not be reached.
    Unreachable = 3,
    /// The server refused.
    Refused = 4,
    /// The peer does not speak our protocol.
    Protocol = 5,
}

/// The table above, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  it worked
  1  it failed for a reason of this machine: a file, a port, memory
  2  the command line or a setting is wrong
  3  the server could not be reached
  4  the server refused: permission, limit, bad request
  5  what answered does not speak omnivox's protocol
  130, 143  a server was ended at once by a second SIGINT or SIGTERM";

/// Marks an error with the exit code that it deserves; the innermost mark wins.
#[derive(Debug)]
struct Marked {
    code: Code,
    message: String,
}

impl fmt::Display for Marked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Marked {}

/// An error that ends the process with `code`.
pub(crate) fn error(code: Code, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Marked { code, message: message.into() })
}

/// The code of an error; what is not marked is a failure.
pub(crate) fn code_of(error: &anyhow::Error) -> Code {
    error.chain().filter_map(|cause| cause.downcast_ref::<Marked>()).last().map_or(Code::Failure, |marked| marked.code)
}

/// Prints what went wrong and turns it into the exit code.
pub(crate) fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("omnivox: {error:#}");
            ExitCode::from(code_of(&error) as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_mark_survives_context_and_unmarked_errors_are_failures() {
        let marked = Err::<(), _>(error(Code::Usage, "no")).context("publishing").expect_err("an error");
        assert_eq!(code_of(&marked), Code::Usage);
        assert_eq!(format!("{marked:#}"), "publishing: no");
        assert_eq!(code_of(&anyhow::anyhow!("disk full")), Code::Failure);
    }

    #[test]
    fn help_lists_every_code() {
        for code in [Code::Failure, Code::Usage, Code::Unreachable, Code::Refused, Code::Protocol] {
            assert!(HELP.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
        }
    }
}
