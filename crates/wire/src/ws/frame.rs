//! Frames on their way out: headers, whole frames, control frames, and the masked ones of a client.

use bytes::{BufMut, BytesMut};

use super::apply_mask;

/// Whether a message is text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// UTF-8 text, opcode 1.
    Text,
    /// Any bytes, opcode 2.
    Binary,
}

/// The frame types of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A later fragment of a message.
    Continuation = 0,
    /// A text message or its first fragment.
    Text = 1,
    /// A binary message or its first fragment.
    Binary = 2,
    /// The end of the conversation.
    Close = 8,
    /// A heartbeat that wants a pong.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    /// The opcode of the low four bits of a frame's first byte; `None` when it is reserved.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl From<DataKind> for Opcode {
    fn from(kind: DataKind) -> Self {
        match kind {
            DataKind::Text => Self::Text,
            DataKind::Binary => Self::Binary,
        }
    }
}

/// A server frame's header, at most ten bytes, to be written before its payload in one vectored write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl Header {
    fn new(first: u8, payload_bytes: usize) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = first;
        let len = if payload_bytes < 126 {
            bytes[1] = payload_bytes as u8;
            2
        } else if let Ok(short) = u16::try_from(payload_bytes) {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&short.to_be_bytes());
            4
        } else {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        };
        Self { bytes, len }
    }
}

impl std::ops::Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The header of a data frame of `len` payload bytes; `rsv1` marks a compressed message.
pub fn header(kind: DataKind, fin: bool, rsv1: bool, len: usize) -> Header {
    Header::new(first_byte(kind.into(), fin, rsv1), len)
}

/// The header of a later fragment.
pub fn continuation(fin: bool, len: usize) -> Header {
    Header::new(first_byte(Opcode::Continuation, fin, false), len)
}

/// Appends one whole unmasked message as one frame.
pub fn encode(kind: DataKind, payload: &[u8], into: &mut BytesMut) {
    append(Opcode::from(kind), payload, into);
}

/// Appends a ping; a payload beyond 125 bytes is cut.
pub fn ping(payload: &[u8], into: &mut BytesMut) {
    append(Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES_MAX)], into);
}

/// Appends a pong; a payload beyond 125 bytes is cut.
pub fn pong(payload: &[u8], into: &mut BytesMut) {
    append(Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES_MAX)], into);
}

/// Appends a close frame; the reason is cut at a character border to the 123 bytes that fit.
///
/// A code that may not appear on the wire (1005 for instance, "there was none") gives a close frame without payload.
pub fn close(code: u16, reason: &str, into: &mut BytesMut) {
    let (payload, len) = close_payload(code, reason);
    append(Opcode::Close, &payload[..len], into);
}

/// Appends one whole masked message, as a client sends it; `key` must be unpredictable to the sender of `payload`.
pub fn encode_masked(kind: DataKind, payload: &[u8], key: [u8; 4], into: &mut BytesMut) {
    masked(Opcode::from(kind), true, false, payload, key, into);
}

/// Appends a client's close frame.
pub fn close_masked(code: u16, reason: &str, key: [u8; 4], into: &mut BytesMut) {
    let (payload, len) = close_payload(code, reason);
    masked(Opcode::Close, true, false, &payload[..len], key, into);
}

/// Appends any frame as a client sends it, legal or not: tests and load tools need both.
pub fn masked(opcode: Opcode, fin: bool, rsv1: bool, payload: &[u8], key: [u8; 4], into: &mut BytesMut) {
    let mut header = Header::new(first_byte(opcode, fin, rsv1), payload.len());
    header.bytes[1] |= 0x80;
    into.reserve(header.len() + 4 + payload.len());
    into.put_slice(&header);
    into.put_slice(&key);
    let start = into.len();
    into.put_slice(payload);
    apply_mask(&mut into[start..], key, 0);
}

fn append(opcode: Opcode, payload: &[u8], into: &mut BytesMut) {
    let header = Header::new(first_byte(opcode, true, false), payload.len());
    into.reserve(header.len() + payload.len());
    into.put_slice(&header);
    into.put_slice(payload);
}

fn first_byte(opcode: Opcode, fin: bool, rsv1: bool) -> u8 {
    u8::from(fin) << 7 | u8::from(rsv1) << 6 | opcode as u8
}

fn close_payload(code: u16, reason: &str) -> ([u8; CONTROL_BYTES_MAX], usize) {
    let mut payload = [0; CONTROL_BYTES_MAX];
    if !super::is_close_code(code) {
        return (payload, 0);
    }
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    (payload, 2 + reason.len())
}

pub(super) const CONTROL_BYTES_MAX: usize = 125;
