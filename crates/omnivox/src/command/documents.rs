//! `omnivox config`: documents made from the definition of the settings.

use std::io::{self, Write as _};

use crate::cli::Documents;
use crate::config::render;

/// Prints the document that was asked for.
pub(crate) fn run(which: &Documents) -> anyhow::Result<()> {
    let document = if which.print_docs {
        render::reference()
    } else if which.print_sample {
        render::sample()
    } else {
        render::schema()
    };
    print(document.as_bytes())
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
