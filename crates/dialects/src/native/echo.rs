//! A WebSocket that gives back what it gets, for conformance suites.

use std::time::Instant;

use bytes::BytesMut;
use omnivox_core::{Action, Actions, Frame, FrameKind, Input, Session};
use omnivox_wire::ws::{self, DataKind};

use super::codes::{close_code, close_words};
use super::render;

/// The largest message that is given back.
pub(super) const ECHO_BYTES_MAX: usize = 64 << 20;

/// One echoing WebSocket.
pub(super) struct EchoSession;

impl Session for EchoSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => actions.push(Action::Upgrade(exchange, None)),
            Input::Text(carrier, text) => actions.send(carrier, frame(DataKind::Text, FrameKind::Text, text.as_bytes())),
            Input::Binary(carrier, bytes) => actions.send(carrier, frame(DataKind::Binary, FrameKind::Binary, bytes)),
            Input::Control(omnivox_core::Control::Close(reason)) => {
                actions.push(Action::Push(render::close_frame(close_code(reason), close_words(reason))));
                actions.push(Action::End);
            }
            Input::Abandoned(_) | Input::Detached(_) => actions.push(Action::End),
            Input::Attached(..) | Input::Answered(_) | Input::Reply(..) | Input::Event(_) | Input::Control(_) | Input::Timeout => {}
        }
    }
}

fn frame(data: DataKind, kind: FrameKind, payload: &[u8]) -> Frame {
    let mut bytes = BytesMut::with_capacity(payload.len() + 10);
    ws::encode(data, payload, &mut bytes);
    let header = (bytes.len() - payload.len()) as u16;
    Frame::framed(kind, bytes.freeze(), header, 0)
}
