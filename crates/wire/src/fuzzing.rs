//! The bodies of the fuzz targets: each takes any bytes and panics when a rule of its codec does not hold.
//!
//! They live here so that they compile with the crate and run in `cargo test` on seeded random input; `fuzz/` holds only the
//! thin targets. Not part of the public interface.
//!
//! ```
//! omnivox_wire::fuzzing::query(b"a=%41&b=+&c=%zz");
//! ```

use std::borrow::Cow;

use bytes::BytesMut;

use crate::http1::{ChunkedDecoder, ChunkedError, ChunkedPiece, HeadLimits, Query, RequestHead, ResponseHead};
use crate::http1::{chunk, last_chunk, path, percent_decode};
use crate::proxy;
use crate::sse::{Event, Parser, Received};
use crate::ws::deflate::{self, Offers};
use crate::ws::{self, DataKind, Decoder, Message, Role, Violation, handshake};

/// A PROXY header is found as soon as it is whole, never before, and means the same whatever stands behind it.
pub fn proxy_header(data: &[u8]) {
    let Ok(Some((header, length))) = proxy::parse(data) else { return };
    assert!(length <= data.len(), "{length} of {}", data.len());
    assert_eq!(proxy::parse(&data[..length]), Ok(Some((header, length))), "what stands behind it changes it");
    for cut in 0..length {
        assert_eq!(proxy::parse(&data[..cut]), Ok(None), "{cut} of {length} bytes");
    }
}

/// However the bytes are cut, the decoder finds the same messages and the same end; what it finds survives a round trip.
///
/// The first two bytes choose the role, compression and the size of the pieces.
pub fn ws_decoder(data: &[u8]) {
    let &[mode, piece, ref frames @ ..] = data else { return };
    let role = if mode & 1 == 0 { Role::Server } else { Role::Client };
    let agreement = (mode & 2 != 0).then(|| Offers::parse(["permessage-deflate"]).ok()?.accept()).flatten();
    let decode = |piece: usize| {
        let mut decoder = Decoder::new(role, WS_MESSAGE_BYTES_MAX, agreement);
        let mut transcript = Vec::new();
        for part in frames.to_vec().chunks_mut(piece.max(1)) {
            if let Err(violation) = drain(&mut decoder, part, &mut transcript) {
                return (transcript, Some(violation));
            }
            assert!(decoder.buffered() <= WS_MESSAGE_BYTES_MAX + 1024, "{} bytes are stored", decoder.buffered());
        }
        (transcript, None)
    };
    let whole = decode(usize::MAX);
    assert_eq!(whole, decode(usize::from(piece)), "pieces of {piece}");
    for heard in &whole.0 {
        round_trip(heard);
    }
}

#[derive(Debug, PartialEq)]
enum Heard {
    Data(DataKind, Vec<u8>),
    Control(u8, Vec<u8>),
    Close(Option<(u16, String)>),
}

fn drain(decoder: &mut Decoder, input: &mut [u8], into: &mut Vec<Heard>) -> Result<(), Violation> {
    let mut at = 0;
    loop {
        let step = decoder.step(&mut input[at..])?;
        at += step.consumed;
        into.push(match step.message {
            Some(Message::Text(text)) => Heard::Data(DataKind::Text, text.into()),
            Some(Message::Binary(bytes)) => Heard::Data(DataKind::Binary, bytes.into()),
            Some(Message::Ping(bytes)) => Heard::Control(9, bytes.into()),
            Some(Message::Pong(bytes)) => Heard::Control(10, bytes.into()),
            Some(Message::Close(reason)) => Heard::Close(reason.map(|(code, reason)| (code, reason.into()))),
            None => {
                assert_eq!(at, input.len(), "without a message all input is consumed");
                return Ok(());
            }
        });
    }
}

fn round_trip(heard: &Heard) {
    let mut frame = BytesMut::new();
    match heard {
        Heard::Data(kind, payload) => ws::encode(*kind, payload, &mut frame),
        Heard::Control(9, payload) => ws::ping(payload, &mut frame),
        Heard::Control(_, payload) => ws::pong(payload, &mut frame),
        Heard::Close(None) => ws::close(1005, "", &mut frame),
        Heard::Close(Some((code, reason))) => ws::close(*code, reason, &mut frame),
    }
    let mut again = Vec::new();
    let mut client = Decoder::new(Role::Client, WS_MESSAGE_BYTES_MAX, None);
    assert_eq!(drain(&mut client, &mut frame, &mut again), Ok(()));
    assert_eq!(&again[..], std::slice::from_ref(heard));
}

/// Inflating stays within its limit, and deflating is undone by it, in every window.
pub fn inflate(data: &[u8]) {
    for limit in [0, 100, INFLATED_BYTES_MAX] {
        if let Ok(output) = deflate::inflate(data, limit) {
            assert!(output.len() <= limit);
        }
    }
    let window_bits = data.first().map_or(15, |byte| 9 + byte % 7);
    let compressed = deflate::compress(data, window_bits);
    assert_eq!(deflate::inflate(&compressed, data.len()).as_deref(), Ok(data));
    if !data.is_empty() {
        assert_eq!(deflate::inflate(&compressed, data.len() - 1), Err(Violation::MessageTooBig));
    }
}

/// A head that is accepted is incomplete one byte earlier, and says the same when it is written again.
pub fn http_head(data: &[u8]) {
    let limits = HeadLimits { head_bytes_max: 2048, target_bytes_max: 512, headers_max: 16 };
    response_head(data, &limits);
    let Ok(Some((head, end))) = RequestHead::parse(data, &limits) else { return };
    for cut in 0..end {
        assert!(matches!(RequestHead::parse(&data[..cut], &limits), Ok(None)), "cut at {cut} of {end}");
    }
    let mut again = Vec::new();
    again.extend_from_slice(head.method().as_bytes());
    again.extend_from_slice(b" ");
    again.extend_from_slice(head.path().as_bytes());
    if let Some(query) = head.query() {
        again.extend_from_slice(b"?");
        again.extend_from_slice(query.as_bytes());
    }
    again.extend_from_slice(if head.version() == crate::http1::Version::Http11 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
    for (name, value) in head.iter() {
        assert!(head.headers(name).any(|found| found == value));
        again.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    // Written again the white space around values is one space each, which may pass the limit.
    let wide = HeadLimits { head_bytes_max: 8192, ..limits };
    let (second, _) = RequestHead::parse(&again, &wide).expect("still valid").expect("still complete");
    assert_eq!((head.method(), head.path(), head.query()), (second.method(), second.path(), second.query()));
    assert_eq!((head.framing(), head.keep_alive()), (second.framing(), second.keep_alive()));
    assert!(head.iter().eq(second.iter()));
    let _ = path::check(head.path());
    if let Ok(accept) = handshake::check(&head) {
        let mut response = BytesMut::new();
        handshake::respond(&accept, accept.protocols.first().copied(), accept.extensions.accept(), [("X", "y")], &mut response);
        let (answer, _) = ResponseHead::parse(&response, &wide).expect("our answer is valid").expect("and complete");
        assert_eq!(answer.status(), 101);
    }
}

fn response_head(data: &[u8], limits: &HeadLimits) {
    if let Ok(Some((head, end))) = ResponseHead::parse(data, limits) {
        assert!((100..1000).contains(&head.status()));
        let _ = (head.reason(), head.body(), head.keep_alive());
        for cut in 0..end {
            assert!(matches!(ResponseHead::parse(&data[..cut], limits), Ok(None)), "cut at {cut} of {end}");
        }
    }
}

/// However the bytes are cut, the same body comes out; what is written in chunks is read again.
pub fn chunked(data: &[u8]) {
    let Some((&piece, input)) = data.split_first() else { return };
    let whole = read_chunked(input, usize::MAX, BODY_BYTES_MAX);
    assert_eq!(whole, read_chunked(input, usize::from(piece).max(1), BODY_BYTES_MAX));
    if let Ok((body, _)) = &whole {
        assert!(body.len() as u64 <= BODY_BYTES_MAX);
    }
    let mut written = BytesMut::new();
    for part in input.chunks(usize::from(piece).max(1)) {
        chunk(part, &mut written);
    }
    last_chunk(&mut written);
    let left = written.len();
    written.extend_from_slice(b"GET");
    assert_eq!(read_chunked(&written, usize::MAX, input.len() as u64), Ok((input.to_vec(), Some(left))));
}

/// The body, and where it ended.
fn read_chunked(input: &[u8], piece: usize, limit: u64) -> Result<(Vec<u8>, Option<usize>), ChunkedError> {
    let mut decoder = ChunkedDecoder::new(limit);
    let (mut body, mut at) = (Vec::new(), 0);
    for part in input.chunks(piece) {
        let mut rest = part;
        loop {
            let (consumed, found) = decoder.step(rest)?;
            at += consumed;
            rest = &rest[consumed..];
            match found {
                ChunkedPiece::Data(data) => body.extend_from_slice(data),
                ChunkedPiece::More => break,
                ChunkedPiece::End => return Ok((body, Some(at))),
            }
        }
        assert!(rest.is_empty(), "all input is consumed when more must come");
    }
    Ok((body, None))
}

/// However the bytes are cut, the parser sees the same events; what is encoded is read again, with line ends made equal.
pub fn sse(data: &[u8]) {
    let Some((&piece, input)) = data.split_first() else { return };
    assert_eq!(read_events(input, usize::MAX), read_events(input, usize::from(piece).max(1)));

    let text = String::from_utf8_lossy(input);
    let (name, payload) = text.split_at(text.floor_char_boundary(usize::from(piece) % 32));
    let event = Event { id: Some(name), event: Some(name), retry_ms: Some(7), data: Some(payload) };
    let mut stream = BytesMut::new();
    match event.encode(&mut stream) {
        Err(_) => assert!(stream.is_empty() && name.contains(['\r', '\n', '\0'])),
        Ok(()) => {
            let expected = Received {
                event: if name.is_empty() { "message".into() } else { name.into() },
                data: payload.replace("\r\n", "\n").replace('\r', "\n"),
                id: name.into(),
            };
            assert_eq!(read_events(&stream, 3), Some(vec![expected]));
        }
    }
}

fn read_events(input: &[u8], piece: usize) -> Option<Vec<Received>> {
    let mut parser = Parser::new(EVENT_BYTES_MAX);
    let mut events = Vec::new();
    for part in input.chunks(piece) {
        parser.feed(part, |event| events.push(event)).ok()?;
    }
    Some(events)
}

/// Decoding is undone by encoding, and paths that pass have only honest segments.
pub fn query(data: &[u8]) {
    for (name, value) in Query::new(data).flatten() {
        let encoded = format!("{}={}", percent_encode(&name), percent_encode(&value));
        let decoded = Query::new(&encoded).next();
        assert_eq!(decoded, if encoded == "=" { Some(Ok((Cow::Borrowed(""), Cow::Borrowed("")))) } else { Some(Ok((name, value))) });
    }
    if let Ok(decoded) = percent_decode(data) {
        assert!(decoded.len() <= data.len());
        assert_eq!(percent_decode(percent_encode(&decoded).as_bytes()), Ok(Cow::Borrowed(decoded.as_ref())));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(segments) = path::segments(text) {
        for segment in segments {
            assert!(!segment.is_empty() && !segment.contains('\\') && !segment.contains('\0'));
            assert!(segment.split('/').all(|part| part != "." && part != ".."));
        }
    }
}

fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

const WS_MESSAGE_BYTES_MAX: usize = 4096;
const INFLATED_BYTES_MAX: usize = 1 << 20;
const BODY_BYTES_MAX: u64 = 4096;
const EVENT_BYTES_MAX: usize = 1 << 16;
