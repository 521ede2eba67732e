//! One connection of a floor server: reads requests, writes what is due, remembers what a full socket didn't take.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use serde::Deserialize;

use super::channel::{Channel, Draft, number};
use crate::talk::{ACCEPT, Opcode, next_frame, parse_request, write_frame};

/// What a client asks of the server as a whole.
#[derive(Debug)]
pub(super) enum Request {
    Listen {
        channel: String,
        /// The mark of a held poll.
        poll_after: Option<u64>,
    },
    Publish(Draft),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    role: Role,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    channel: Option<usize>,
    /// The last message that a poll has seen.
    after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Speaks HTTP; a poll stays one for ever.
    Http,
    Poll,
    WebSocket,
    Echo,
    Sse,
}

#[derive(Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    channel: String,
}

impl Client {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, role: Role::Http, inbox: Vec::new(), outbox: Vec::new(), channel: None, after: 0 }
    }

    pub(super) fn channel(&self) -> Option<usize> {
        self.channel
    }

    pub(super) fn is_poll(&self) -> bool {
        self.role == Role::Poll
    }

    /// Whether it is to be put among the subscribers. A poll that holds is; it leaves when it is answered.
    pub(super) fn wants_place(&self) -> bool {
        matches!(self.role, Role::Poll | Role::WebSocket | Role::Sse)
    }

    pub(super) fn listen(&mut self, at: usize, after: u64, channel: &mut Channel) {
        self.channel = Some(at);
        self.after = after;
        match self.role {
            Role::Poll => channel.forms.poll = true,
            Role::Sse => channel.forms.sse = true,
            _ => channel.forms.websocket = true,
        }
    }

    /// Writes what is due; false when the client leaves the subscribers.
    pub(super) fn deliver(&mut self, channel: &Channel) -> bool {
        match self.role {
            Role::Poll => {
                self.answer_poll(channel);
                false
            }
            Role::Sse => self.write(&channel.sse_due),
            _ => self.write(&channel.websocket_due),
        }
    }

    pub(super) fn answer_poll(&mut self, channel: &Channel) {
        let answer = channel.poll_answer(self.after);
        self.write(&answer);
    }

    /// Reads all that has arrived and takes the requests out of it.
    pub(super) fn receive(&mut self, scratch: &mut [u8], into: &mut Vec<Request>) -> Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => bail!("closed"),
                Ok(length) => {
                    self.inbox.extend_from_slice(&scratch[..length]);
                    if length < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading"),
            }
        }
        let inbox = std::mem::take(&mut self.inbox);
        let used = self.take_requests(&inbox, into)?;
        self.inbox = inbox[used..].to_vec();
        self.flush()
    }

    /// Sends what a full socket did not take before.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.outbox);
        if self.write(&pending) {
            return Ok(());
        }
        bail!("closed")
    }

    fn take_requests(&mut self, bytes: &[u8], into: &mut Vec<Request>) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let taken = match self.role {
                Role::Http | Role::Poll => self.take_head(rest, into)?,
                Role::WebSocket | Role::Echo => self.take_frame(rest, into)?,
                Role::Sse => return Ok(bytes.len()),
            };
            match taken {
                Some(length) => used += length,
                None => return Ok(used),
            }
        }
    }

    fn take_head(&mut self, bytes: &[u8], into: &mut Vec<Request>) -> Result<Option<usize>> {
        let Some((target, length)) = parse_request(bytes)? else {
            return Ok(None);
        };
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let member = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let channel = member("channel").unwrap_or_default();
        match path {
            "/ws" | "/echo" => {
                self.role = if path == "/ws" { Role::WebSocket } else { Role::Echo };
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                );
                self.outbox.extend_from_slice(head.as_bytes());
            }
            "/sse" => {
                self.role = Role::Sse;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                            Transfer-Encoding: chunked\r\n\r\n";
                self.outbox.extend_from_slice(head.as_bytes());
                into.push(Request::Listen { channel, poll_after: None });
            }
            "/poll" => {
                self.role = Role::Poll;
                into.push(Request::Listen { channel, poll_after: member("last").map(|last| number(&last)) });
            }
            _ => bail!("nothing is at {path}"),
        }
        Ok(Some(length))
    }

    fn take_frame(&mut self, bytes: &[u8], into: &mut Vec<Request>) -> Result<Option<usize>> {
        let Some((frame, length)) = next_frame(bytes)? else {
            return Ok(None);
        };
        match frame.opcode {
            Opcode::Text if self.role == Role::Echo => {
                write_frame(&mut self.outbox, Opcode::Text, &frame.clear());
            }
            Opcode::Text => self.take_message(&frame.clear(), into)?,
            Opcode::Ping => write_frame(&mut self.outbox, Opcode::Pong, &frame.clear()),
            Opcode::Pong => {}
            Opcode::Close => bail!("closed"),
        }
        Ok(Some(length))
    }

    fn take_message(&mut self, text: &[u8], into: &mut Vec<Request>) -> Result<()> {
        let incoming: Incoming = serde_json::from_slice(text)?;
        match incoming.kind.as_str() {
            "publish" => into.push(Request::Publish(Draft::parse(text)?)),
            "subscribe" => {
                let channel = incoming.channel;
                let answer = format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#);
                write_frame(&mut self.outbox, Opcode::Text, answer.as_bytes());
                into.push(Request::Listen { channel, poll_after: None });
            }
            other => bail!("a floor does not know `{other}`"),
        }
        Ok(())
    }

    /// Writes now what the socket takes and keeps the rest; false when the connection is gone.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        if !self.outbox.is_empty() {
            self.outbox.extend_from_slice(bytes);
            return true;
        }
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outbox.extend_from_slice(bytes);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
