//! One connection as its client sees it: answers, stream events, WebSocket messages, each as a line of the transcript.

use std::collections::VecDeque;

use base64::Engine as _;
use bytes::Bytes;
use omnivox_core::session::Drain;
use omnivox_core::{CarrierId, ExchangeId, Frame, FrameKind, Response};
use omnivox_wire::ws::{Decoder, Message, Role};

use super::{Seen, hex, shown};

/// One connection of the client.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) state: State,
    pub(super) head_only: bool,
    pub(super) seen: VecDeque<Seen>,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    Idle,
    Exchange(usize, ExchangeId),
    WebSocket(usize, CarrierId, Box<Decoder>),
    Stream(usize, CarrierId),
}

impl Connection {
    pub(super) fn actor(&self) -> Option<usize> {
        match self.state {
            State::Idle => None,
            State::Exchange(actor, _) | State::WebSocket(actor, ..) | State::Stream(actor, _) => Some(actor),
        }
    }

    pub(super) fn answer(&mut self, response: &Response) {
        self.state = State::Idle;
        let body = if self.head_only { String::new() } else { shown(&response.body) };
        self.see_head(response, &body);
    }

    pub(super) fn see_head(&mut self, response: &Response, body: &str) {
        let headers: Vec<(String, String)> =
            response.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned())).collect();
        self.see_answer(response.status, headers, body);
    }

    pub(super) fn see_answer(&mut self, status: u16, headers: Vec<(String, String)>, body: &str) {
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        let status = status.to_string();
        let words = [Some(status.as_str()), kind, Some(body).filter(|body| !body.is_empty())];
        let line = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        self.seen.push_back(Seen { line, headers });
    }

    /// A whole HTTP/1.1 answer as bytes; its length must be true.
    pub(super) fn answer_bytes(&mut self, bytes: &[u8]) {
        self.state = State::Idle;
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3)?.parse().ok());
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header line: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        assert_eq!(length, Some(body.len()), "the content-length of {head}");
        self.see_answer(status.expect("a status line"), headers, &shown(body.as_bytes()));
    }

    pub(super) fn receive(&mut self, frame: &Frame) {
        match &mut self.state {
            State::WebSocket(_, _, decoder) => {
                let mut bytes = frame.wire().to_vec();
                let mut at = 0;
                loop {
                    let step = decoder.step(&mut bytes[at..]).expect("what we send is legal");
                    at += step.consumed;
                    let Some(message) = step.message else { break };
                    self.seen.push_back(Seen::line(match message {
                        Message::Text(text) => shown(text.as_bytes()),
                        Message::Binary(bytes) => format!("[binary] {}", hex(bytes)),
                        Message::Ping(bytes) => format!("[ping] {}", hex(bytes)),
                        Message::Pong(bytes) => format!("[pong] {}", hex(bytes)),
                        Message::Close(None) => "[close]".to_owned(),
                        Message::Close(Some((code, reason))) => format!("[close] {code} {reason}").trim_end().to_owned(),
                    }));
                }
            }
            State::Stream(..) => {
                let payload = frame.payload();
                let wire = frame.wire();
                let chunked = format!("{:x}\r\n", payload.len()).into_bytes();
                let framed = wire.len() == payload.len() || wire.starts_with(&chunked) && wire.ends_with(b"\r\n");
                assert!(framed, "a frame is one chunk: {}", shown(wire));
                self.seen.push_back(Seen::line(shown(&payload)));
            }
            State::Idle | State::Exchange(..) => panic!("a frame for a connection that takes none: {}", shown(frame.wire())),
        }
    }

    pub(super) fn close(&mut self) {
        self.state = State::Idle;
        self.seen.push_back(Seen::line("[closed]"));
    }
}

pub(super) fn drained(drain: &Drain, frames: &[Frame]) -> Response {
    let mut body = drain.head.body.to_vec();
    for (index, (kind, payload)) in frames.iter().flat_map(messages).enumerate() {
        if index > 0 {
            body.extend_from_slice(drain.separator);
        }
        if kind == FrameKind::Binary {
            body.extend_from_slice(drain.binary_prefix.as_bytes());
            body.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(payload).as_bytes());
        } else {
            body.extend_from_slice(&payload);
        }
    }
    body.extend_from_slice(&drain.end);
    Response { body: Bytes::from(body), ..drain.head.clone() }
}

/// The messages of a frame: itself, or for a raw one the WebSocket frames that it is a row of.
fn messages(frame: &Frame) -> Vec<(FrameKind, Bytes)> {
    if frame.kind() != FrameKind::Raw {
        return vec![(frame.kind(), frame.payload())];
    }
    let mut decoder = Decoder::new(Role::Client, 64 << 20, None);
    let mut row = frame.wire().to_vec();
    let (mut at, mut messages) = (0, Vec::new());
    loop {
        let step = decoder.step(&mut row[at..]).expect("what we send is legal");
        at += step.consumed;
        match step.message {
            Some(Message::Text(text)) => messages.push((FrameKind::Text, Bytes::copy_from_slice(text.as_bytes()))),
            Some(Message::Binary(data)) => messages.push((FrameKind::Binary, Bytes::copy_from_slice(data))),
            Some(control) => panic!("no message: {control:?}"),
            None => return messages,
        }
    }
}
