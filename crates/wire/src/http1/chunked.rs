//! Chunked bodies, read strictly: CRLF only, hexadecimal sizes without signs, bounded extensions and trailers.
//!
//! ```
//! use omnivox_wire::http1::{ChunkedDecoder, ChunkedPiece};
//!
//! let mut decoder = ChunkedDecoder::new(1024);
//! let (consumed, piece) = decoder.step(b"5\r\nhello\r\n0\r\n\r\n").unwrap();
//! assert_eq!((consumed, piece), (8, ChunkedPiece::Data(b"hello")));
//! assert_eq!(decoder.step(b"\r\n0\r\n\r\n").unwrap(), (7, ChunkedPiece::End));
//! ```

use std::fmt;

/// Takes a chunked body apart; nothing of it is stored.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    body_bytes_left: u64,
    /// Bytes of size lines' extensions and of trailers may not pass this together.
    overhead_bytes_left: u32,
}

/// What a call of [`ChunkedDecoder::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedPiece<'a> {
    /// The next bytes of the body.
    Data(&'a [u8]),
    /// All input is consumed; more must come.
    More,
    /// The body and its trailers are complete. What was not consumed belongs to the next request.
    End,
}

/// Why a chunked body is refused: answer [`ChunkedError::status`] and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedError {
    /// A chunk size that is not one to sixteen hexadecimal digits.
    Size,
    /// A line or a chunk's data that does not end with CRLF.
    LineEnd,
    /// A control byte in an extension or trailer.
    ControlByte,
    /// Extensions and trailers beyond what is sane.
    Overhead,
    /// A body beyond its limit.
    TooLarge,
}

impl ChunkedError {
    /// The status to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Size | Self::LineEnd | Self::ControlByte | Self::Overhead => 400,
            Self::TooLarge => 413,
        }
    }

    /// A stable code for the error body.
    pub fn code(self) -> &'static str {
        match self {
            Self::Size => "chunk_size",
            Self::LineEnd => "chunk_line_end",
            Self::ControlByte => "chunk_control_byte",
            Self::Overhead => "chunk_overhead",
            Self::TooLarge => "body_too_large",
        }
    }

    /// What is wrong, for the sender.
    pub fn message(self) -> &'static str {
        match self {
            Self::Size => "a chunk size is one to sixteen hexadecimal digits",
            Self::LineEnd => "chunk lines and chunk data must end with CRLF",
            Self::ControlByte => "a control byte in a chunk extension or trailer",
            Self::Overhead => "chunk extensions and trailers are too long",
            Self::TooLarge => "the body is larger than the limit (limits.body_bytes_max)",
        }
    }
}

impl fmt::Display for ChunkedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ChunkedError {}

#[derive(Clone, Copy, Debug)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line or the final empty line.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body of at most `body_bytes_max`.
    pub fn new(body_bytes_max: u64) -> Self {
        let state = State::Size { size: 0, digits: 0 };
        Self { state, body_bytes_left: body_bytes_max, overhead_bytes_left: OVERHEAD_BYTES_MAX }
    }

    /// Reads on in `input` up to the next piece; gives how many bytes are done with.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<(usize, ChunkedPiece<'a>), ChunkedError> {
        let mut at = 0;
        while at < input.len() && !matches!(self.state, State::End) {
            if let State::Data { left } = self.state {
                let available = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                let left = left - available as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok((at + available, ChunkedPiece::Data(&input[at..at + available])));
            }
            self.state = self.next(input[at])?;
            at += 1;
        }
        Ok((at, if matches!(self.state, State::End) { ChunkedPiece::End } else { ChunkedPiece::More }))
    }

    /// The state after one byte outside of chunk data.
    fn next(&mut self, byte: u8) -> Result<State, ChunkedError> {
        use State::*;
        Ok(match (self.state, byte) {
            (Size { size, digits: 1.. }, b'\r') => SizeLf { size },
            (Size { size, digits: 1.. }, b';') => Extension { size },
            (Size { size, digits }, byte) => {
                let digit = char::from(byte).to_digit(16).filter(|_| digits < SIZE_DIGITS_MAX);
                let digit = digit.ok_or(if byte == b'\n' { ChunkedError::LineEnd } else { ChunkedError::Size })?;
                Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Extension { size }, b'\r') => SizeLf { size },
            (Extension { size }, byte) => self.overhead(byte, Extension { size })?,
            (SizeLf { size: 0 }, b'\n') => TrailerStart,
            (SizeLf { size }, b'\n') => {
                self.body_bytes_left = self.body_bytes_left.checked_sub(size).ok_or(ChunkedError::TooLarge)?;
                Data { left: size }
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size { size: 0, digits: 0 },
            (TrailerStart, b'\r') => EndLf,
            (EndLf, b'\n') => End,
            (Trailer, b'\r') => TrailerLf,
            (TrailerLf, b'\n') => TrailerStart,
            (TrailerStart | Trailer, byte) => self.overhead(byte, Trailer)?,
            (state @ (Data { .. } | End), _) => state,
            (SizeLf { .. } | DataCr | DataLf | EndLf | TrailerLf, _) => return Err(ChunkedError::LineEnd),
        })
    }

    fn overhead(&mut self, byte: u8, next: State) -> Result<State, ChunkedError> {
        match byte {
            b'\n' => return Err(ChunkedError::LineEnd),
            b'\t' => {}
            0..0x20 | 0x7f => return Err(ChunkedError::ControlByte),
            _ => {}
        }
        self.overhead_bytes_left = self.overhead_bytes_left.checked_sub(1).ok_or(ChunkedError::Overhead)?;
        Ok(next)
    }
}

const OVERHEAD_BYTES_MAX: u32 = 4096;
const SIZE_DIGITS_MAX: u8 = 16;
