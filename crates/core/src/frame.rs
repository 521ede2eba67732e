//! Frames: bytes that are ready for a carrier, made once and shared by everyone who gets the same ones.

use std::sync::Arc;

use bytes::Bytes;

/// What the payload of a frame is, for carriers that tell text from binary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FrameKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
    /// Bytes that only their own carrier understands: a part of an event stream, a whole HTTP answer, two WebSocket frames in a row.
    Raw,
}

/// Bytes for a carrier: an optional header in front (of a WebSocket frame, of a chunk) and the payload.
///
/// Cloning copies a pointer.
#[derive(Clone, Debug)]
pub struct Frame {
    wire: Bytes,
    payload_start: u16,
    payload_end_cut: u8,
    kind: FrameKind,
}

impl Frame {
    /// A frame whose payload lies in `wire` behind `header` bytes and before `trailer` bytes.
    pub fn framed(kind: FrameKind, wire: Bytes, header: u16, trailer: u8) -> Self {
        debug_assert!(usize::from(header) + usize::from(trailer) <= wire.len(), "header and trailer lie inside the frame");
        Self { wire, payload_start: header, payload_end_cut: trailer, kind }
    }

    /// A frame that is its own payload.
    pub fn raw(wire: Bytes) -> Self {
        Self::framed(FrameKind::Raw, wire, 0, 0)
    }

    /// All bytes, as the carrier that the frame was made for writes them.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The payload alone, for another carrier.
    pub fn payload(&self) -> Bytes {
        self.wire.slice(usize::from(self.payload_start)..self.wire.len() - usize::from(self.payload_end_cut))
    }

    /// What the payload is.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// The number of bytes that a carrier writes.
    pub fn len(&self) -> usize {
        self.wire.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }
}

/// How bytes are wrapped for a carrier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// A WebSocket frame.
    WebSocket,
    /// A WebSocket frame whose message went through permessage-deflate.
    WebSocketDeflate,
    /// A chunk of an HTTP/1.1 body.
    Chunk,
    /// The bytes alone: HTTP/2 and HTTP/1.0 bodies.
    Bare,
    /// A whole HTTP/1.1 answer.
    Answer,
}

/// What decides the bytes of an event besides the event: subscribers with equal keys share one frame.
///
/// Opaque to the hub. `format` and `qualifier` belong to the dialect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EncodingKey {
    /// The dialect, by its index among the server's dialects.
    pub dialect: u8,
    /// The dialect's own number for the format.
    pub format: u8,
    /// How the carrier wraps it.
    pub framing: Framing,
    /// Further distinction within the format, such as an alias or an origin.
    pub qualifier: Option<Arc<str>>,
}
