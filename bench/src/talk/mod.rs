//! The client's side of one connection, without a socket: bytes in, bytes out, and what was heard.
//!
//! A [`Talk`] is one subscriber on one transport. It writes its request, tells when the subscription stands, and hands on each text that carries messages.
//! The load tool speaks the native protocol, Mercure and Socket.IO; another dialect is another variant here, and perhaps another way to publish.
//!
//! ```text
//! Talk::open            ->  request head
//! Talk::feed(bytes)     ->  Heard::Subscribed, Heard::Text(..), Heard::Mark(..), Heard::Gap   and perhaps bytes to send (a pong, the next poll)
//! ```
//! Invariant: nothing here allocates per message once a connection stands and its messages arrive whole.

mod http;
mod poll;
mod socketio;
mod sse;
mod ws;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

pub(crate) use http::{Head, parse_request};
pub(crate) use socketio::write_emit;
pub(crate) use ws::{ACCEPT, Opcode, next_frame, write_frame, write_masked};

/// How subscribers connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// WebSocket at `/ws`.
    Ws,
    /// Server-sent events at `/sse`.
    Sse,
    /// Held polls at `/poll`.
    Poll,
    /// Mercure: server-sent events at `/.well-known/mercure`, published to by POST.
    Mercure,
    /// Socket.IO on a WebSocket, also for the publisher.
    #[value(name = "socketio")]
    #[serde(rename = "socketio")]
    SocketIo,
    /// Socket.IO on held polls; the publisher has a WebSocket.
    #[value(name = "socketio-poll")]
    #[serde(rename = "socketio-poll")]
    SocketIoPoll,
}

impl Transport {
    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
            Self::Mercure => "mercure",
            Self::SocketIo => "socketio",
            Self::SocketIoPoll => "socketio-poll",
        }
    }

    /// The native protocol on the same carrier, which is what the floors speak; they do not stand in for a Mercure hub.
    pub(crate) fn native(self) -> Option<Self> {
        match self {
            Self::Ws | Self::SocketIo => Some(Self::Ws),
            Self::Sse => Some(Self::Sse),
            Self::Poll | Self::SocketIoPoll => Some(Self::Poll),
            Self::Mercure => None,
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// Listen to a channel, from a mark when there is one.
    Subscribe { channel: String, since: Option<Vec<u8>> },
    /// Get everything back on `/echo`.
    Echo,
    /// Follow patterns on a WebSocket.
    Follow { patterns: Vec<String> },
    /// Publish on a WebSocket, subscribe to nothing.
    Publish,
}

/// Something that the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// The connection does from here on what it is for.
    Subscribed,
    /// A text with one message or several.
    Text(&'a [u8]),
    /// Where to resume, when it does not stand in the text itself.
    Mark(&'a [u8]),
    /// A resume that can't be complete.
    Gap,
}

/// Takes what was heard.
pub(crate) type Hear<'h> = &'h mut dyn FnMut(Heard<'_>) -> Result<()>;

/// One connection's conversation.
#[derive(Debug)]
pub(crate) enum Talk {
    Ws(ws::WsTalk),
    Sse(sse::SseTalk),
    Poll(poll::PollTalk),
    SocketIo(socketio::SocketIoTalk),
}

impl Talk {
    /// Begins a conversation and writes its first bytes.
    pub(crate) fn open(transport: Transport, host: &str, purpose: Purpose, send: &mut Vec<u8>) -> Self {
        match (transport, purpose) {
            (Transport::Sse, Purpose::Subscribe { channel, since }) => {
                Self::Sse(sse::SseTalk::open(host, "/sse?channel=", &channel, since.as_deref(), send))
            }
            (Transport::Mercure, Purpose::Subscribe { channel, since }) => {
                Self::Sse(sse::SseTalk::open(host, "/.well-known/mercure?topic=", &channel, since.as_deref(), send))
            }
            (Transport::Poll, Purpose::Subscribe { channel, since }) => Self::Poll(poll::PollTalk::open(host, &channel, since, send)),
            (Transport::SocketIo | Transport::SocketIoPoll, purpose) => {
                Self::SocketIo(socketio::SocketIoTalk::open(host, transport == Transport::SocketIoPoll, &purpose, send))
            }
            (Transport::Ws | Transport::Sse | Transport::Mercure | Transport::Poll, purpose) => {
                Self::Ws(ws::WsTalk::open(host, purpose, send))
            }
        }
    }

    /// Takes bytes of the server.
    pub(crate) fn feed(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<()> {
        match self {
            Self::Ws(talk) => talk.feed(bytes, send, hear),
            Self::Sse(talk) => talk.feed(bytes, hear),
            Self::Poll(talk) => talk.feed(bytes, send, hear),
            Self::SocketIo(talk) => talk.feed(bytes, send, hear),
        }
    }
}

/// The beginning of something whose end has not arrived yet; empty, and without memory, whenever messages arrive whole.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
}

impl Carry {
    /// Gives `take` all that is at hand; what it doesn't use (it returns how much it used) is kept for the next call.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> Result<usize>) -> Result<()> {
        if self.bytes.is_empty() {
            let used = take(bytes)?;
            self.bytes.extend_from_slice(&bytes[used..]);
        } else {
            self.bytes.extend_from_slice(bytes);
            let used = take(&self.bytes)?;
            self.bytes.drain(..used);
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
        }
        ensure!(self.bytes.len() <= CARRY_BYTES_MAX, "the server began something of more than {CARRY_BYTES_MAX} bytes");
        Ok(())
    }
}

const CARRY_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
pub(crate) mod transcript {
    //! Feeds a server's bytes to a talk, whole and in pieces of every size, and writes down what was heard.

    use super::*;

    pub(crate) fn heard(transport: Transport, purpose: &Purpose, server: &[u8], piece: usize) -> Result<(Vec<String>, String)> {
        let mut send = Vec::new();
        let mut talk = Talk::open(transport, "localhost", purpose.clone(), &mut send);
        let mut lines = Vec::new();
        for bytes in server.chunks(piece) {
            talk.feed(bytes, &mut send, &mut |heard| {
                lines.push(match heard {
                    Heard::Subscribed => "subscribed".to_owned(),
                    Heard::Gap => "gap".to_owned(),
                    Heard::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
                    Heard::Mark(mark) => format!("mark {}", String::from_utf8_lossy(mark)),
                });
                Ok(())
            })?;
        }
        Ok((lines, String::from_utf8_lossy(&send).into_owned()))
    }

    #[track_caller]
    pub(crate) fn check(transport: Transport, purpose: &Purpose, server: &[u8], expected: &[&str]) {
        for piece in [1, 2, 3, 7, 16, 61, server.len()] {
            let (lines, _) = heard(transport, purpose, server, piece).expect("a sound server");
            assert_eq!(lines, expected, "in pieces of {piece} bytes");
        }
    }

    #[track_caller]
    pub(crate) fn check_refused(transport: Transport, purpose: &Purpose, server: &[u8], why: &str) {
        for piece in [1, server.len()] {
            let error = heard(transport, purpose, server, piece).expect_err("a refusal");
            let text = format!("{error:#}");
            assert!(text.contains(why), "`{text}` does not say `{why}`");
        }
    }

    pub(crate) fn listen(channel: &str, since: Option<&str>) -> Purpose {
        Purpose::Subscribe { channel: channel.to_owned(), since: since.map(|mark| mark.as_bytes().to_vec()) }
    }
}
