//! Answers: the head in one piece, and chunks.

use bytes::{BufMut, BytesMut};

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, and no field about it: 1xx, 204, 304.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// Bytes follow until the connection is closed (HTTP/1.0 streams).
    UntilClose,
}

/// Appends a whole response head. `Body::UntilClose` adds `Connection: close`; any other `Connection` is the caller's.
pub fn write_head<N: AsRef<[u8]>, V: AsRef<[u8]>>(into: &mut BytesMut, status: u16, headers: impl IntoIterator<Item = (N, V)>, body: Body) {
    let mut digits = itoa::Buffer::new();
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(digits.format(status).as_bytes());
    into.put_slice(b" ");
    into.put_slice(reason_phrase(status).as_bytes());
    into.put_slice(b"\r\n");
    for (name, value) in headers {
        write_header(into, name.as_ref(), value.as_ref());
    }
    match body {
        Body::None => {}
        Body::Length(length) => write_header(into, b"Content-Length", digits.format(length).as_bytes()),
        Body::Chunked => into.put_slice(b"Transfer-Encoding: chunked\r\n"),
        Body::UntilClose => into.put_slice(b"Connection: close\r\n"),
    }
    into.put_slice(b"\r\n");
}

/// Appends one field line. Control bytes in the value become spaces, so that no value can add a line of its own.
pub fn write_header(into: &mut BytesMut, name: &[u8], value: &[u8]) {
    debug_assert!(!name.is_empty() && name.iter().all(|byte| super::is_token_byte(*byte)), "header names are ours");
    into.reserve(name.len() + value.len() + 4);
    into.put_slice(name);
    into.put_slice(b": ");
    let start = into.len();
    into.put_slice(value);
    for byte in &mut into[start..] {
        if *byte < 0x20 && *byte != b'\t' || *byte == 0x7f {
            *byte = b' ';
        }
    }
    into.put_slice(b"\r\n");
}

/// Appends `data` as one chunk; nothing for empty data, which would end the body.
pub fn chunk(data: &[u8], into: &mut BytesMut) {
    if data.is_empty() {
        return;
    }
    into.reserve(CHUNK_HEADER_BYTES_MAX + data.len() + 2);
    into.put_slice(&chunk_header(data.len()));
    into.put_slice(data);
    into.put_slice(b"\r\n");
}

/// The line before a chunk of `len` bytes, for a vectored write of header, data and CRLF.
pub fn chunk_header(len: usize) -> ChunkHeader {
    debug_assert!(len > 0, "a chunk of no bytes ends the body");
    let mut bytes = [0; CHUNK_HEADER_BYTES_MAX];
    let digits = (usize::BITS - len.max(1).leading_zeros()).div_ceil(4) as usize;
    for (index, byte) in bytes[..digits].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[len >> (4 * (digits - 1 - index)) & 0xf];
    }
    bytes[digits..digits + 2].copy_from_slice(b"\r\n");
    ChunkHeader { bytes, len: digits + 2 }
}

/// Appends the end of a chunked body.
pub fn last_chunk(into: &mut BytesMut) {
    into.put_slice(b"0\r\n\r\n");
}

/// A chunk's size line.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; CHUNK_HEADER_BYTES_MAX],
    len: usize,
}

impl std::ops::Deref for ChunkHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The usual words after a status code.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

const CHUNK_HEADER_BYTES_MAX: usize = 18;
