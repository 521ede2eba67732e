//! Paths: refuse every spelling that a proxy and a router could resolve to different places.
//!
//! Nothing is normalised. A path is taken apart at its slashes first and decoded after, so that an encoded slash in a channel
//! name is data and never a border.
//!
//! ```
//! use omnivox_wire::http1::path::{self, PathError};
//!
//! assert_eq!(path::check("/v1/channels/a%2Fb"), Ok(()));
//! let segments: Vec<_> = path::segments("/v1/channels/a%2Fb").unwrap().collect();
//! assert_eq!(segments, ["v1", "channels", "a/b"]);
//! assert_eq!(path::check("/v1/%2e%2e/admin"), Err(PathError::DotSegment));
//! ```

use std::borrow::Cow;
use std::fmt;

use super::query::{QueryError, percent_decode};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The path does not start with a slash.
    NotAbsolute,
    /// Two slashes in a row.
    EmptySegment,
    /// A `.` or `..` segment, encoded or not.
    DotSegment,
    /// A backslash, encoded or not.
    Backslash,
    /// A control byte, encoded or not.
    ControlByte,
    /// A `%` that two hexadecimal digits don't follow.
    Escape,
    /// Bytes that are not UTF-8 when decoded.
    NotUtf8,
}

impl PathError {
    /// A stable code for the error body; the status is 400.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::EmptySegment => "path_empty_segment",
            Self::DotSegment => "path_dot_segment",
            Self::Backslash => "path_backslash",
            Self::ControlByte => "path_control_byte",
            Self::Escape => "path_escape",
            Self::NotUtf8 => "path_utf8",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "a path must start with a slash",
            Self::EmptySegment => "a path must not have two slashes in a row",
            Self::DotSegment => "a path must not have `.` or `..` segments",
            Self::Backslash => "a path must not have a backslash",
            Self::ControlByte => "a path must not have control bytes",
            Self::Escape => "a `%` in a path must be followed by two hexadecimal digits",
            Self::NotUtf8 => "a path must be UTF-8",
        })
    }
}

impl std::error::Error for PathError {}

impl From<QueryError> for PathError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Escape => Self::Escape,
            QueryError::NotUtf8 => Self::NotUtf8,
        }
    }
}

/// Checks a raw path, still percent-encoded.
pub fn check(path: &str) -> Result<(), PathError> {
    if is_plain(path) { Ok(()) } else { segments(path).map(drop) }
}

/// Whether a path is made of plain words, as nearly every one is: nothing to decode, no dot, no two slashes in a row.
fn is_plain(path: &str) -> bool {
    let mut behind_slash = false;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let twice = byte == b'/' && behind_slash;
            behind_slash = byte == b'/';
            !twice && is_plain_byte(byte) | (byte == b'/')
        })
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The decoded segments of a raw path; a slash at the end adds none.
pub fn segments(path: &str) -> Result<impl Iterator<Item = Cow<'_, str>>, PathError> {
    let rest = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if !path[1..].is_empty() {
        for segment in rest.split('/') {
            check_segment(segment)?;
        }
    }
    let decode = |segment| percent_decode(str::as_bytes(segment)).unwrap_or_default();
    Ok(rest.split('/').filter(|segment| !segment.is_empty()).map(decode))
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    if segment.is_empty() {
        return Err(PathError::EmptySegment);
    }
    // Most segments are plain words: nothing to decode, and no dot that could mean a directory.
    if segment.bytes().all(is_plain_byte) {
        return Ok(());
    }
    let decoded = percent_decode(segment.as_bytes())?;
    if decoded.contains('\\') {
        return Err(PathError::Backslash);
    }
    if decoded.chars().any(|character| character.is_ascii_control()) {
        return Err(PathError::ControlByte);
    }
    // An encoded slash is data, but never one that makes a dot segment for a proxy that decodes too early.
    if decoded.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(PathError::DotSegment);
    }
    Ok(())
}
