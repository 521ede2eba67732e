//! What peers say and hear: JSON objects `{type, src, dst, payload}`.
//!
//! The payload is passed on as the bytes that came. Between the sessions a message travels as the data of a signal, `{"type","payload"}`.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::{Frame, FrameKind};
use omnivox_wire::ws;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A client's message.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    /// What it is.
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    /// The peer that it is for.
    #[serde(borrow, default)]
    pub(super) dst: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// What a signal that another session sent says.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    data: Said<'a>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// The messages that go from peer to peer.
const RELAYED: [&str; 5] = ["OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"];

impl<'a> Incoming<'a> {
    /// Parses a message; what is not one is ignored, as the client's authors do.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether it is for another peer.
    pub(super) fn is_relayed(&self) -> bool {
        RELAYED.contains(&&*self.kind)
    }

    /// Whether it waits when the other peer is not there.
    pub(super) fn waits(&self) -> bool {
        matches!(&*self.kind, "OFFER" | "ANSWER" | "CANDIDATE")
    }

    /// The data of the signal that carries it.
    pub(super) fn to_data(&self) -> Bytes {
        let payload = self.payload.map_or("", RawValue::get);
        let mut data = BytesMut::with_capacity(payload.len() + self.kind.len() + 24);
        data.put_slice(b"{\"type\":");
        string(&self.kind, &mut data);
        if !payload.is_empty() {
            data.put_slice(b",\"payload\":");
            data.put_slice(payload.as_bytes());
        }
        data.put_u8(b'}');
        data.freeze()
    }
}

/// The message that a signal is to the peer `own`; nothing when it is none of this protocol.
pub(super) fn from_signal(signal: &[u8], own: &str) -> Option<Frame> {
    let received: Received<'_> = serde_json::from_slice(signal).ok()?;
    if !RELAYED.contains(&&*received.data.kind) {
        return None;
    }
    let from = received.from.strip_prefix(omnivox_core::room::SEAT_MARK)?;
    Some(message(&received.data.kind, Some((from, own)), received.data.payload.map(RawValue::get)))
}

/// A message of the server.
pub(super) fn message(kind: &str, between: Option<(&str, &str)>, payload: Option<&str>) -> Frame {
    let mut text = BytesMut::with_capacity(payload.map_or(0, str::len) + 96);
    text.put_slice(b"{\"type\":");
    string(kind, &mut text);
    if let Some((src, dst)) = between {
        text.put_slice(b",\"src\":");
        string(src, &mut text);
        text.put_slice(b",\"dst\":");
        string(dst, &mut text);
    }
    if let Some(payload) = payload {
        text.put_slice(b",\"payload\":");
        text.put_slice(payload.as_bytes());
    }
    text.put_u8(b'}');
    let header = ws::header(ws::DataKind::Text, true, false, text.len());
    let mut wire = BytesMut::with_capacity(text.len() + header.len());
    wire.put_slice(&header);
    wire.put_slice(&text);
    Frame::framed(FrameKind::Text, wire.freeze(), header.len() as u16, 0)
}

/// A message that something is wrong.
pub(super) fn trouble(kind: &str, words: &str) -> Frame {
    let mut payload = BytesMut::with_capacity(words.len() + 10);
    payload.put_slice(b"{\"msg\":");
    string(words, &mut payload);
    payload.put_u8(b'}');
    message(kind, None, std::str::from_utf8(&payload).ok())
}

fn string(text: &str, into: &mut BytesMut) {
    // Writing text as JSON into memory can't fail.
    if let Ok(json) = serde_json::to_string(text) {
        into.put_slice(json.as_bytes());
    }
}
