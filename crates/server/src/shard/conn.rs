//! One connection: its bytes, what it is at the moment, and what waits to be written to it.
//!
//! ```text
//!   Http ──request──▶ Waiting ──answer──▶ Http …          (keep-alive)
//!                        ├────101────▶ WebSocket
//!                        └──stream───▶ Stream
//!   any of them ──close──▶ Closing (what waits is written, then the rest that comes is read away for a moment)
//! ```
//!
//! Invariant: an idle connection holds no read buffer; bytes are read into the shard's scratch space and only the rest of an unfinished
//! message is kept.

use std::task::Waker;

use omnivox_core::Outbox;
use omnivox_wire::http1::{ChunkedDecoder, RequestHead};
use omnivox_wire::ws;

use super::Peer;
use super::io::Io;
use crate::admission::Share;
use crate::traces::Span;

/// A connection of the shard.
pub(super) struct Conn {
    /// How often the slot was used before.
    pub generation: u32,
    pub io: Io,
    /// The waker of the connection's task.
    pub waker: Option<Waker>,
    pub mode: Mode,
    /// Bytes that were read but not understood yet: pipelined requests, frames behind a handshake.
    pub unread: Vec<u8>,
    /// The session that it serves.
    pub session: Option<SlotRef>,
    /// What is written before the session's outbox: answers, and frames for a carrier that is not promoted.
    pub direct: Option<Box<Outbox>>,
    pub peer: Peer,
    /// What it takes of its address's limits.
    pub share: Share,
    /// Milliseconds of the shard's clock at which bytes last came.
    pub last_in_ms: u64,
    /// When the last ping or comment went out; 0 when nothing is awaited.
    pub pinged_ms: u64,
    /// The time of the connection's entry in the wheel; 0 for none.
    pub timer_ms: u64,
    /// The socket is full: its task waits for it.
    pub blocked: bool,
    /// The answer to the last ping that came while the socket was full.
    pub pong: Option<Box<omnivox_core::Frame>>,
}

/// A session's slot and which use of it is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlotRef {
    pub slot: u32,
    pub generation: u32,
}

/// What a connection is at the moment.
pub(super) enum Mode {
    /// It may send a request.
    Http(Reading),
    /// A request waits for its answer.
    Waiting(Waiting),
    /// A WebSocket.
    WebSocket(ws::Decoder),
    /// A streamed answer.
    Stream {
        /// How the body is framed.
        chunked: bool,
    },
    /// On its way out.
    Closing {
        /// The time after which it is dropped, whatever waits.
        deadline_ms: u64,
        /// Whether the end has been told to the peer.
        shut: bool,
    },
}

/// How far a request has been read.
pub(super) enum Reading {
    /// Nothing of it yet; `first` until the first request of the connection is complete.
    Idle { first: bool },
    /// A part of its head.
    Head { since_ms: u64 },
    /// A part of its body.
    Body(Box<Body>),
}

/// A body that is being read.
pub(super) struct Body {
    pub head: RequestHead,
    pub since_ms: u64,
    pub bytes: Vec<u8>,
    pub rest: BodyRest,
}

/// What of a body is to come.
pub(super) enum BodyRest {
    Length(usize),
    Chunked(ChunkedDecoder),
}

/// A request that waits for its answer.
pub(super) struct Waiting {
    /// Another request may follow.
    pub keep_alive: bool,
    /// The method was HEAD: the answer has no body.
    pub head_only: bool,
    pub http10: bool,
    /// The keys of a WebSocket handshake.
    pub upgrade: Option<Box<(ws::handshake::AcceptKey, Option<ws::deflate::Agreement>)>>,
    /// The answer is in the outbox.
    pub answered: bool,
    /// What is told of the request, when its trace is made.
    pub span: Option<Span>,
}

impl Conn {
    pub(super) fn new(generation: u32, io: Io, peer: Peer, share: Share, now_ms: u64) -> Self {
        Self {
            generation,
            io,
            waker: None,
            mode: Mode::Http(Reading::Idle { first: true }),
            unread: Vec::new(),
            session: None,
            direct: None,
            peer,
            share,
            last_in_ms: now_ms,
            pinged_ms: 0,
            timer_ms: 0,
            blocked: false,
            pong: None,
        }
    }

    /// Appends bytes that go out before the session's outbox.
    pub(super) fn push_direct(&mut self, frame: omnivox_core::Frame) {
        // An answer is bounded by what made it: the page limits of history and polls.
        let unbounded =
            omnivox_core::outbox::OutboxLimits { hard_bytes: usize::MAX, soft_bytes: usize::MAX, soft_for: std::time::Duration::MAX };
        let _ = self.direct.get_or_insert_default().push(frame, &unbounded);
    }

    /// Whether the connection is a carrier of its session.
    pub(super) fn is_carrier(&self) -> bool {
        matches!(self.mode, Mode::WebSocket(_) | Mode::Stream { .. })
    }
}
