//! Properties of what is rendered: valid JSON, nothing forged, nothing lost.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use omnivox_core::publication::Place;
use omnivox_core::{AppId, ChannelName, Cursor, Dialect, Draft, EncodingKey, Epoch, Event, Framing, Payload, Position, Publication};
use omnivox_wire::sse::Parser;
use omnivox_wire::ws::{Decoder, Message, Role, deflate};
use proptest::prelude::*;

use super::native;
use crate::native::{NativeSettings, formats, render};

fn published(channel: &str, event: Option<&str>, payload: Payload) -> Event {
    published_at(7, channel, event, payload)
}

fn published_at(offset: u64, channel: &str, event: Option<&str>, payload: Payload) -> Event {
    let channel = ChannelName::parse(channel).unwrap();
    let mut draft = Draft::new(channel.clone(), payload);
    draft.event = event.map(Arc::from);
    let place = Place { channel, position: Position { epoch: Epoch(35), offset }, previous: offset - 1 };
    let publication = Publication {
        app: AppId::parse("demo").unwrap(),
        draft,
        places: std::iter::once(place).collect(),
        cursor: Cursor { epoch: Epoch(35), stamp: offset + 2 },
        at_ms: 0,
    };
    Event::publication(&Arc::new(publication), 0)
}

/// Who waits for a channel gets all that was published at once in one answer, as far as an answer goes; who set a limit gets one event.
#[test]
fn a_run_is_one_answer() {
    let at = |offset: u64| published_at(offset, "a", None, Payload::Json(Bytes::from(offset.to_string())));
    let answer = |run: &[Event], format| {
        let key = EncodingKey { dialect: 0, format, framing: Framing::Answer, qualifier: None };
        let (frame, count) = native().encode_run(&key, run, &mut BytesMut::new())?;
        let text = String::from_utf8(frame.wire().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let data: Vec<u64> = body["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect();
        assert_eq!(data.len(), count);
        Some((data, body["last"].as_str().unwrap().to_owned(), body["more"].as_bool().unwrap()))
    };
    let run: Vec<Event> = (1..=3).map(at).collect();
    assert_eq!(answer(&run, formats::POLL_POSITIONS), Some((vec![1, 2, 3], "z-3".to_owned(), false)));
    assert_eq!(answer(&run[1..], formats::POLL_CURSORS), Some((vec![2, 3], "z.5".to_owned(), false)));
    for format in [formats::POLL_POSITION, formats::POLL_CURSOR, formats::MESSAGES, formats::STREAM_ENVELOPE] {
        assert_eq!(answer(&run, format), None, "{format}");
    }
    let page = NativeSettings::default().limits.history_page_max as u64;
    let (data, last, more) = answer(&(1..=page + 1).map(at).collect::<Vec<_>>(), formats::POLL_POSITIONS).unwrap();
    assert_eq!((data.len() as u64, last, more), (page, format!("z-{page}"), true));
}

/// What an `EventSource` makes of the event: id, type, data.
fn heard(event: &Event, format: u8) -> Option<(String, String, String)> {
    let key = EncodingKey { dialect: 0, format, framing: Framing::Bare, qualifier: None };
    let frame = native().encode(&key, event, &mut BytesMut::new())?;
    let mut parser = Parser::new(1 << 20);
    let mut heard = Vec::new();
    parser.feed(frame.wire(), |event| heard.push((event.id, event.event, event.data))).unwrap();
    assert_eq!(heard.len(), 1, "one frame is one event: {heard:?}");
    heard.pop()
}

proptest! {
    #[test]
    fn any_text_is_a_json_string(text: String) {
        let mut rendered = BytesMut::new();
        render::string(&text, &mut rendered);
        prop_assert_eq!(serde_json::from_slice::<String>(&rendered).unwrap(), text);
    }

    /// Whatever channel, event and text are, the envelope is one JSON object that says so.
    #[test]
    fn an_envelope_survives_the_stream(channel in "\\PC{1,20}", event in any::<Option<String>>(), text: String) {
        let publication = published(&channel, event.as_deref(), Payload::Text(Bytes::from(text.clone().into_bytes())));
        let (id, kind, data) = heard(&publication, formats::STREAM_ENVELOPE).unwrap();
        prop_assert_eq!((id.as_str(), kind.as_str()), ("z.9", "message"));
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        prop_assert_eq!(data["channel"].as_str(), Some(channel.as_str()));
        prop_assert_eq!(data["id"].as_str(), Some("z-7"));
        prop_assert_eq!(data["event"].as_str(), Some(event.as_deref().unwrap_or("message")));
        prop_assert_eq!(data["data"].as_str(), Some(text.as_str()));
    }

    /// A payload alone keeps its lines; the three line ends of the format become one.
    #[test]
    fn a_payload_survives_the_stream(event in "[a-z ]{1,8}", text in "[a-z\\r\\n: ]{0,40}") {
        let publication = published("a", Some(&event), Payload::Text(Bytes::from(text.clone().into_bytes())));
        let (id, kind, data) = heard(&publication, formats::STREAM_DATA).unwrap();
        prop_assert_eq!((id.as_str(), kind.as_str()), ("z.9", event.as_str()));
        prop_assert_eq!(data, text.replace("\r\n", "\n").replace('\r', "\n"));
    }
}

/// JSON with line ends between its parts is still the same JSON behind them.
#[test]
fn pretty_json_survives_the_stream() {
    let pretty = "{\r\n  \"a\": [\r\n    1\n  ]\r}";
    for format in [formats::STREAM_ENVELOPE, formats::STREAM_DATA] {
        let (_, _, data) = heard(&published("a", None, Payload::Json(Bytes::from_static(pretty.as_bytes()))), format).unwrap();
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data.get("data").unwrap_or(&data), &serde_json::json!({"a": [1]}));
    }
}

/// A frame that is kept holds its own bytes and nothing else: no scratch buffer stays behind it.
#[test]
fn frames_are_exact() {
    let event = published("a", Some("e"), Payload::Json(Bytes::from_static(b"1")));
    let mut scratch = BytesMut::with_capacity(1 << 16);
    for (format, framing, header) in [
        (formats::MESSAGES, Framing::WebSocket, 2),
        (formats::STREAM_ENVELOPE, Framing::Chunk, 4),
        (formats::STREAM_ENVELOPE, Framing::Bare, 0),
    ] {
        let key = EncodingKey { dialect: 0, format, framing, qualifier: None };
        let frame = native().encode(&key, &event, &mut scratch).unwrap();
        let trailer = if framing == Framing::Chunk { 2 } else { 0 };
        assert_eq!(frame.len(), header + frame.payload().len() + trailer, "{framing:?}");
        assert_eq!(scratch.capacity(), 1 << 16, "the scratch buffer is used again");
    }
}

/// The messages of a frame, as a client sees them that agreed on compression, and whether one was compressed.
fn seen(event: &Event, framing: Framing) -> (Vec<Vec<u8>>, bool) {
    let key = EncodingKey { dialect: 0, format: formats::MESSAGES, framing, qualifier: None };
    let frame = native().encode(&key, event, &mut BytesMut::new()).unwrap();
    let agreement = deflate::Offers::parse([deflate::OFFER]).unwrap().accept();
    let mut client = Decoder::new(Role::Client, 1 << 20, agreement);
    let mut messages = Vec::new();
    let mut bytes = &mut frame.wire().to_vec()[..];
    let mut compressed = false;
    while !bytes.is_empty() {
        compressed |= bytes[0] & 0x40 != 0;
        let step = client.step(bytes).unwrap();
        match step.message.expect("a frame holds whole messages") {
            Message::Text(text) => messages.push(text.as_bytes().to_vec()),
            Message::Binary(data) => messages.push(data.to_vec()),
            other => panic!("{other:?}"),
        }
        let consumed = step.consumed;
        bytes = &mut bytes[consumed..];
    }
    (messages, compressed)
}

/// Who agreed on compression gets the same messages; only those worth it are compressed.
#[test]
fn compressed_messages_are_the_same_messages() {
    let check = |payload: Payload, worth: bool| {
        let event = published("a", Some("e"), payload);
        let ((plain, never), (shared, compressed)) = (seen(&event, Framing::WebSocket), seen(&event, Framing::WebSocketDeflate));
        assert_eq!(shared, plain);
        assert_eq!((never, compressed), (false, worth), "{event:?}");
    };
    check(Payload::Json(Bytes::from_static(b"1")), false);
    check(Payload::Json(Bytes::from(format!("[{}]", "1,".repeat(600) + "1"))), true);
    check(Payload::Text(Bytes::from("ä".repeat(500))), true);
    check(Payload::Binary(Bytes::from_static(&[0; 511])), false);
    check(Payload::Binary(Bytes::from_static(&[0; 512])), true);
}
