//! A subscription over a WebSocket: one `subscribe` for each channel, then messages as they come.

use std::collections::HashSet;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use omnivox_wire::ws::handshake::{AnswerRefused, ClientHandshake};
use omnivox_wire::ws::{DataKind, Decoder, Message as Frame, Opcode, Role, close_masked, encode_masked, masked};
use serde_json::json;

use super::connection::{ANSWER_TIME_MAX, Access, Connection};
use super::message::{Members, Message};
use super::subscription::{Heard, Marks, SILENCE_MAX, Wanted, random};
use super::trouble::Trouble;

/// An open WebSocket that has asked for its channels.
pub(crate) struct Feed {
    connection: Connection,
    decoder: Decoder,
    opening: Opening,
}

/// What the answers to our wishes are told by.
struct Opening {
    /// Channels whose `subscribed` has not come.
    awaited: usize,
    /// Where a gap was told before that; `subscribed` says it again.
    gaps: HashSet<String>,
}

impl Feed {
    /// Connects and asks for every channel, from its mark where there is one.
    pub(crate) async fn open(access: &Access, wanted: &Wanted, marks: &Marks) -> Result<Self, Trouble> {
        let mut connection = Connection::open(access).await?;
        let authority = access.target.authority();
        let path = access.target.path(PATH, &[]);
        let handshake = ClientHandshake { host: &authority, target: &path, nonce: random(), protocols: &[], deflate: false };
        let mut out = BytesMut::new();
        handshake.request(access.headers(), &mut out);
        connection.send(&out).await?;
        let head = connection.head(ANSWER_TIME_MAX).await?;
        match handshake.check(&head) {
            Ok(_) => {}
            Err(AnswerRefused::Status(status)) => {
                let body = connection.whole(&head).await?;
                return Err(Trouble::from_status(status, PATH, &body));
            }
            Err(refused) => return Err(Trouble::Protocol(refused.to_string())),
        }
        let mut out = BytesMut::new();
        let channels = wanted.channels.iter().map(|channel| ("channel", channel, marks.of(channel)));
        let patterns = wanted.patterns.iter().map(|pattern| ("pattern", pattern, marks.stream()));
        for (key, name, mark) in channels.chain(patterns) {
            let mut wish = json!({"type": "subscribe", key: name});
            if let Some(mark) = mark {
                wish["since"] = json!(mark);
            }
            encode_masked(DataKind::Text, wish.to_string().as_bytes(), random(), &mut out);
        }
        connection.send(&out).await?;
        Ok(Self {
            connection,
            decoder: Decoder::new(Role::Client, MESSAGE_BYTES_MAX, None),
            opening: Opening { awaited: wanted.channels.len() + wanted.patterns.len(), gaps: HashSet::new() },
        })
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<Heard, Trouble> {
        loop {
            let received = self.connection.received();
            let step = self.decoder.step(received).map_err(|violation| Trouble::Protocol(violation.reason().to_owned()))?;
            let used = step.consumed;
            let turn = match step.message {
                None => Turn::Wait,
                Some(Frame::Text(text)) => hear(text, &mut self.opening)?.map_or(Turn::Go, Turn::Hear),
                Some(Frame::Binary(bytes)) => Turn::Hear(Heard::Note(format!("a binary message of {} bytes is not shown", bytes.len()))),
                Some(Frame::Ping(payload)) => Turn::Pong(payload.to_vec()),
                Some(Frame::Pong(_)) => Turn::Go,
                Some(Frame::Close(farewell)) => Turn::Close(farewell.map(|(code, reason)| (code, reason.to_owned()))),
            };
            received.advance(used);
            match turn {
                Turn::Go => {}
                Turn::Wait => self.connection.receive(SILENCE_MAX).await?,
                Turn::Hear(heard) => return Ok(heard),
                Turn::Pong(payload) => {
                    let mut out = BytesMut::new();
                    masked(Opcode::Pong, true, false, &payload, random(), &mut out);
                    self.connection.send(&out).await?;
                }
                Turn::Close(farewell) => return Err(self.close(farewell).await),
            }
        }
    }

    /// Answers the server's close frame and says what it means.
    async fn close(&mut self, farewell: Option<(u16, String)>) -> Trouble {
        let (code, reason) = farewell.unwrap_or((1005, String::new()));
        let mut out = BytesMut::new();
        close_masked(code, "", random(), &mut out);
        // The server has said its last word; whether it hears ours changes nothing.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.send(&out)).await;
        let words = match reason.as_str() {
            "" => format!("the server closed the connection ({code})"),
            reason => format!("the server closed the connection: {reason} ({code})"),
        };
        match code {
            1000 | 1001 | 1005 | 1006 | 1011..=1014 | SILENT | SLOW => Trouble::Unreachable(words),
            1002 | 1003 | 1007 => Trouble::Protocol(words),
            _ => Trouble::Refused(words),
        }
    }
}

enum Turn {
    Go,
    Wait,
    Hear(Heard),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// What a text of the server means; `None` when it is nothing to tell.
fn hear(text: &str, opening: &mut Opening) -> Result<Option<Heard>, Trouble> {
    let Some((members, kind)) = Members::of(text).and_then(|members| members.kind().map(|kind| (members, kind))) else {
        let beginning: String = text.chars().take(80).collect();
        return Ok(Some(Heard::Note(format!("a text that is no message of this protocol is not shown: {beginning}"))));
    };
    let channel = || members.channel().unwrap_or_default();
    Ok(match kind.as_str() {
        "subscribed" => Some(opening.subscribed(&members)),
        "error" => {
            let trouble = format!("the server refused: {}", members.message());
            return Err(if members.code() == "unavailable" { Trouble::Busy(trouble) } else { Trouble::Refused(trouble) });
        }
        "gap" => {
            if opening.awaited > 0 {
                opening.gaps.insert(channel());
            }
            Some(Heard::Gap(channel()))
        }
        "unsubscribed" => return Err(Trouble::Refused(format!("the server ended the subscription to {}", channel()))),
        "connected" | "pong" | "presence" => None,
        _ => Some(Heard::Message(Message::of(&members, text))),
    })
}

impl Opening {
    fn subscribed(&mut self, members: &Members<'_>) -> Heard {
        self.awaited = self.awaited.saturating_sub(1);
        let channel = members.channel().unwrap_or_default();
        // A pattern comes alone, so that whatever gap was told is its own.
        let told = if channel.is_empty() { !self.gaps.is_empty() } else { self.gaps.contains(&channel) };
        if self.awaited == 0 {
            self.gaps = HashSet::new();
        }
        Heard::Subscribed { channel, mark: members.id(), gap: members.is_gap() && !told, last: self.awaited == 0 }
    }
}

const PATH: &str = "/v1/ws";
/// The server's close code when nothing came back for too long.
const SILENT: u16 = 4000;
/// The server's close code when too much was waiting for us.
const SLOW: u16 = 4008;
/// The largest message that is read.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
