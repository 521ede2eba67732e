//! What is wrong with the settings, and exactly where.
//!
//! ```text
//! omnivox.toml:12:1: unknown setting `limits.frame_byts`
//!    12 | frame_byts = 10
//!       | ^^^^^^^^^^
//!    did you mean `frame_bytes`?
//! ```
//!
//! Every problem of all layers is reported at once, so that one edit mends them all.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    place: Place,
    what: String,
    mend: Option<String>,
}

impl Problem {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), mend: None }
    }

    /// Adds what to do about it.
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// Adds "did you mean" when a known word is near.
    pub(crate) fn suggest(self, nearest: Option<&str>) -> Self {
        match nearest {
            Some(word) => self.mend(format!("did you mean `{word}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)?;
        if let Place::File { line, column, text, width, .. } = &self.place {
            let gutter = line.to_string().len().max(4);
            let indent = " ".repeat(column - 1);
            write!(formatter, "\n {line:>gutter$} | {text}\n {:>gutter$} | {indent}{}", "", "^".repeat(*width))?;
        }
        if let Some(mend) = &self.mend {
            write!(formatter, "\n   {mend}")?;
        }
        Ok(())
    }
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the settings file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The whole line.
        text: String,
        /// How many characters of it are meant.
        width: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// In a flag.
    Flag(String),
    /// In what the layers say together about a section, an entry or a setting.
    Section(String),
}

impl Place {
    /// The place of a byte range of a file.
    pub(crate) fn in_file(path: &Path, source: &str, span: Range<usize>) -> Self {
        let start = floor_boundary(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let end = floor_boundary(source, span.end).clamp(start, line_end);
        Self::File {
            path: path.to_owned(),
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            text: source[line_start..line_end].trim_end().replace('\t', " "),
            width: source[start..end].chars().count().max(1),
        }
    }
}

/// The nearest character boundary at or before a byte offset.
fn floor_boundary(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column, .. } => write!(formatter, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Section(name) => formatter.write_str(name),
            Self::Flag(name) => write!(formatter, "--{name}"),
        }
    }
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Puts those of a file into the order of its lines, before those of other layers.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match problem.place {
            Place::File { line, column, .. } => (line, column),
            _ => (usize::MAX, 0),
        });
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
