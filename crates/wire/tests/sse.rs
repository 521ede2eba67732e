//! The event stream: what the encoder writes, what the parser reads by the rules of the standard, and both against each other.

use bytes::BytesMut;
use omnivox_wire::sse::{Event, EventTooLarge, FieldError, Parser, Received, comment, retry};
use proptest::prelude::*;

fn check_encode(event: Event<'_>, expected: Result<&str, FieldError>) {
    let mut stream = BytesMut::from("before");
    let result = event.encode(&mut stream);
    assert_eq!(result.map(|()| str::from_utf8(&stream[6..]).unwrap()), expected, "{event:?}");
    assert!(result.is_ok() || &stream[..] == b"before", "a refused event leaves nothing behind");
}

#[test]
fn events_out() {
    let none = Event::default();
    let data = |data| Event { data: Some(data), ..none };
    check_encode(data("x"), Ok("data: x\n\n"));
    check_encode(data(""), Ok("data: \n\n"));
    check_encode(data(" x"), Ok("data:  x\n\n"));
    check_encode(data("a\nb\r\nc\rd"), Ok("data: a\ndata: b\ndata: c\ndata: d\n\n"));
    check_encode(data("a\n\nid: 9\r\r\n"), Ok("data: a\ndata: \ndata: id: 9\ndata: \ndata: \n\n"));
    check_encode(
        Event { id: Some("7-1"), event: Some("chat"), retry_ms: Some(3000), data: Some("{}") },
        Ok("id: 7-1\nevent: chat\nretry: 3000\ndata: {}\n\n"),
    );
    check_encode(Event { id: Some("7"), ..none }, Ok("id: 7\n\n"));
    check_encode(Event { id: Some(""), ..data("x") }, Ok("id: \ndata: x\n\n"));
    for bad in ["a\nb", "a\rb", "a\0b", "\r\n"] {
        check_encode(Event { id: Some(bad), ..data("x") }, Err(FieldError::Id));
        check_encode(Event { event: Some(bad), ..data("x") }, Err(FieldError::Event));
    }
}

#[test]
fn comments_and_retry() {
    let mut stream = BytesMut::new();
    comment("", &mut stream);
    comment("ok", &mut stream);
    comment("a\ndata: x\r\n\rb", &mut stream);
    retry(250, &mut stream);
    assert_eq!(str::from_utf8(&stream), Ok(":\n\n:ok\n\n:a\n:data: x\n:\n:b\n\nretry: 250\n\n"));
    let mut parser = Parser::new(1024);
    parser.feed(&stream, |event| panic!("{event:?}")).unwrap();
    assert_eq!(parser.retry_ms(), Some(250));
}

/// Events as `event|data|id`, then the last id and the retry time; the same in pieces of any size.
fn check_parse(stream: &[u8], expected: &[&str], last_id: &str, retry_ms: Option<u64>) {
    for piece in [1, 2, 3, stream.len().max(1)] {
        let mut parser = Parser::new(1024);
        let mut events = Vec::new();
        for part in stream.chunks(piece) {
            parser.feed(part, |Received { event, data, id }| events.push(format!("{event}|{data}|{id}"))).unwrap();
        }
        assert_eq!(events, expected, "{:?} in pieces of {piece}", String::from_utf8_lossy(stream));
        assert_eq!((parser.last_id(), parser.retry_ms()), (last_id, retry_ms), "{:?}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn events_in() {
    let check = |stream: &str, expected: &[&str], last_id: &str| check_parse(stream.as_bytes(), expected, last_id, None);
    check("data: x\n\n", &["message|x|"], "");
    check("data:x\r\rdata:  y\r\n\r\n", &["message|x|", "message| y|"], "");
    check("data\n\ndata\ndata\n\ndata:", &["message||", "message|\n|"], "");
    check("data: a\rdata: b\r\ndata: c\n\r\n", &["message|a\nb\nc|"], "");
    check("event: e\ndata: x\n\ndata: y\n\n", &["e|x|", "message|y|"], "");
    check("event: e\n\ndata: y\n\n", &["message|y|"], "");
    check("event: e\nevent:\ndata: y\n\n", &["message|y|"], "");
    check("id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n", &["message|x|1", "message|y|1", "message|z|"], "");
    check("id: 1\n\ndata: x\n\n", &["message|x|1"], "1");
    check("id: 1\n\nid: 2", &[], "1");
    check("id: 1\n\nid: a\0b\ndata: x\n\n", &["message|x|1"], "1");
    check(":comment\ndata: x\n:\n\n", &["message|x|"], "");
    check("data : x\nDATA: y\nunknown: z\n\n", &[], "");
    check("data: x: y\n\n", &["message|x: y|"], "");
    check("data: not dispatched", &[], "");
    check("data: not dispatched\n", &[], "");
    check("\u{feff}data: x\n\n", &["message|x|"], "");
    check("\n\u{feff}data: x\n\n", &[], "");
    check("\u{feff}\u{feff}data: x\n\n", &[], "");
    check("data: é\u{1f600}\n\n", &["message|é\u{1f600}|"], "");
    check_parse(b"data: \xff\n\n", &["message|\u{fffd}|"], "", None);
    for (field, expected) in [
        ("retry: 50", Some(50)),
        ("retry:0", Some(0)),
        ("retry: 1000x", None),
        ("retry: -1", None),
        ("retry", None),
        ("retry: +5", None),
        ("retry: 99999999999999999999", None),
    ] {
        check_parse(format!("{field}\n").as_bytes(), &[], "", expected);
    }
}

/// A carriage return and its line feed are one line end, even with an empty read between them.
#[test]
fn an_empty_piece_changes_nothing() {
    let mut parser = Parser::new(1024);
    let mut events = Vec::new();
    for piece in ["data: x\r", "", "\n", "data: y\r\n", "\r", "", "", "\n"] {
        parser.feed(piece.as_bytes(), |event| events.push(event.data)).unwrap();
    }
    assert_eq!(events, ["x\ny"]);
}

#[test]
fn a_parser_has_a_limit() {
    let feed = |stream: &str| {
        let mut parser = Parser::new(16);
        let mut events = 0;
        parser.feed(stream.as_bytes(), |_| events += 1).map(|()| events)
    };
    assert_eq!(feed(&"data: 0123456789\n\n".repeat(9)), Ok(9));
    assert_eq!(feed("data: 0123456789abc\n\n"), Err(EventTooLarge));
    assert_eq!(feed(&"x".repeat(17)), Err(EventTooLarge));
    assert_eq!(feed("data: 01234567\ndata: 01234567\n\n"), Err(EventTooLarge));
    assert_eq!(feed(&"data\n".repeat(17)), Err(EventTooLarge));
}

fn line() -> impl Strategy<Value = String> {
    "[^\\r\\n\\x00]{0,8}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        events in proptest::collection::vec((proptest::option::of(line()), proptest::option::of(line()), "([ -z\u{e9}\u{feff}]|\r\n|\r|\n){0,20}"), 1..5),
        piece in 1usize..40,
    ) {
        let mut stream = BytesMut::new();
        let (mut expected, mut last_id) = (Vec::new(), String::new());
        for (id, name, data) in &events {
            Event { id: id.as_deref(), event: name.as_deref(), retry_ms: None, data: Some(data) }.encode(&mut stream).unwrap();
            comment(data, &mut stream);
            last_id = id.clone().unwrap_or(last_id);
            let event = name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "message".into());
            expected.push(Received { event, data: data.replace("\r\n", "\n").replace('\r', "\n"), id: last_id.clone() });
        }
        let mut parser = Parser::new(4096);
        let mut seen = Vec::new();
        for part in stream.chunks(piece) {
            parser.feed(part, |event| seen.push(event)).unwrap();
        }
        prop_assert_eq!(seen, expected);
    }
}
