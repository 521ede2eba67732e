//! A WebSocket that gives back what it gets, for conformance suites.

use std::time::Instant;

use bytes::BytesMut;
use omnivox_core::http::Upgrade;
use omnivox_core::{Action, Actions, Frame, Input, Session, Switch};
use omnivox_wire::ws::{self, DataKind};

use super::codes::{close_code, close_words};
use super::render;

/// The largest message that is given back.
pub(super) const ECHO_BYTES_MAX: usize = 64 << 20;

/// One echoing WebSocket.
pub(super) struct EchoSession {
    /// Whether it compresses what it gives back.
    deflate: bool,
}

impl EchoSession {
    /// A session for a request that can become a WebSocket.
    pub(super) fn new(upgrade: Upgrade) -> Self {
        Self { deflate: upgrade == Upgrade::WebSocket { deflate: true } }
    }

    fn frame(&self, kind: DataKind, payload: &[u8]) -> Frame {
        if self.deflate && payload.len() >= ws::deflate::WORTH_BYTES_MIN {
            return Frame::raw(ws::deflate::message(kind, payload, ws::deflate::WINDOW_BITS_MAX));
        }
        let mut bytes = BytesMut::with_capacity(payload.len() + 10);
        ws::encode(kind, payload, &mut bytes);
        Frame::raw(bytes.freeze())
    }
}

impl Session for EchoSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => actions.push(Action::Upgrade(exchange, Switch::default())),
            Input::Text(carrier, text) => actions.send(carrier, self.frame(DataKind::Text, text.as_bytes())),
            Input::Binary(carrier, bytes) => actions.send(carrier, self.frame(DataKind::Binary, bytes)),
            Input::Control(omnivox_core::Control::Close(reason)) => {
                actions.push(Action::Push(render::close_frame(close_code(reason), close_words(reason))));
                actions.push(Action::End);
            }
            Input::Abandoned(_) | Input::Detached(_) => actions.push(Action::End),
            Input::Attached(..) | Input::Answered(_) | Input::Reply(..) | Input::Event(_) | Input::Control(_) | Input::Timeout => {}
        }
    }
}
