//! Bodies of the fuzz targets: each takes any bytes and must neither panic nor grow without bound.

use std::borrow::Cow;

use super::engine::Revision;
use super::engine::packet::{Message, Packet};
use super::engine::payload;
use super::incoming::Reader;
use super::msgpack;
use super::settings::SocketIoSettings;

/// Bodies of polls: both revisions, text, binary and JSONP.
pub fn payloads(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for revision in [Revision::Three, Revision::Four] {
            assert!(payload::decode_text(text, revision).len() <= text.len() + 1, "a packet has a byte");
        }
    }
    assert!(payload::decode_binary(bytes).len() <= bytes.len(), "a packet has a byte");
    let _ = payload::from_jsonp(bytes);
}

/// A client's messages: the first byte of each chunk tells text from binary.
pub fn messages(bytes: &[u8]) {
    let settings = SocketIoSettings::default();
    let mut reader = Reader::default();
    for chunk in bytes.split(|byte| *byte == 0xfe) {
        let message = match (chunk.split_first(), std::str::from_utf8(chunk)) {
            (Some((b'b', data)), _) => Message::Binary(Cow::Borrowed(data)),
            (_, Ok(text)) => Message::Text(Cow::Borrowed(text)),
            (_, Err(_)) => Message::Binary(Cow::Borrowed(chunk)),
        };
        if reader.take(message, &settings).is_err() {
            return;
        }
    }
}

/// MessagePack: what was decoded comes back from what it is encoded as.
pub fn messagepack(bytes: &[u8]) {
    if let Ok(value) = msgpack::decode(bytes) {
        let mut again = Vec::new();
        msgpack::encode(&value, &mut again);
        // A number that is none equals nothing, not even itself.
        let same = msgpack::decode(&again).is_ok_and(|decoded| format!("{decoded:?}") == format!("{value:?}"));
        assert!(same, "the codec agrees with itself");
        let _ = value.to_json_inline(&mut 0);
    }
}

/// One WebSocket message.
pub fn packets(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Packet::from_text(text, Revision::Four);
        let _ = Packet::from_text(text, Revision::Three);
    }
    let _ = Packet::from_binary(bytes, Revision::Three);
}
