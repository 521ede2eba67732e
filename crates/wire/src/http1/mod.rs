//! HTTP/1.1 without I/O, as strict as its security needs: [`RequestHead`] and [`ResponseHead`], [`ChunkedDecoder`],
//! [`write_head`] and chunks, [`Query`] strings and [`path`]s.
//!
//! What two parsers could read differently is refused, not repaired: such a request is how one is smuggled past a proxy.
//!
//! Invariant: after any error of this module the connection must be closed, for nobody knows where the next request starts.
//!
//! ```
//! use omnivox_wire::http1::{Framing, HeadLimits, RequestHead};
//!
//! let bytes = b"POST /publish?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
//! let (head, consumed) = RequestHead::parse(bytes, &HeadLimits::default()).unwrap().unwrap();
//! assert_eq!((head.method(), head.path(), head.query()), ("POST", "/publish", Some("x=1")));
//! assert_eq!(head.framing(), Framing::Length(2));
//! assert_eq!(&bytes[consumed..], b"{}");
//! ```

mod chunked;
mod coding;
mod error;
mod fields;
mod head;
pub mod path;
mod query;
mod respond;
mod response;

pub use chunked::{ChunkedDecoder, ChunkedError, ChunkedPiece};
pub use coding::{deflate, gzip};
pub use error::HeadError;
pub use fields::{HeadLimits, HeadRoom};
pub use head::{Framing, RequestHead, Version};
pub use query::{Query, QueryError, percent_decode};
pub use respond::{Body, ChunkHeader, chunk, chunk_header, last_chunk, reason_phrase, write_head, write_header};
pub use response::{ResponseBody, ResponseHead};

/// Whether the comma-separated list `value` names `token`, letter case aside.
pub fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|byte| *byte == b',').any(|entry| entry.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A byte of a token (RFC 9110 §5.6.2): methods, header names, sub-protocols.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// A table, for every byte of every field name passes here.
static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*')
            || matches!(byte as u8, b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};
