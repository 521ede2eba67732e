//! Bodies, answers, query strings and paths.

use std::borrow::Cow;

use bytes::BytesMut;
use omnivox_wire::http1::path::{self, PathError};
use omnivox_wire::http1::{
    Body, ChunkedDecoder, ChunkedError, ChunkedPiece, HeadLimits, Query, QueryError, ResponseBody, ResponseHead, chunk, chunk_header,
    last_chunk, percent_decode, reason_phrase, write_head,
};
use proptest::prelude::*;

const BODY_BYTES_MAX: u64 = 32;

/// The body and what is left after it; `None` while it is incomplete.
fn read(input: &[u8], piece: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), ChunkedError> {
    let mut decoder = ChunkedDecoder::new(BODY_BYTES_MAX);
    let (mut body, mut at) = (Vec::new(), 0);
    let mut end = piece.min(input.len());
    loop {
        let (consumed, found) = decoder.step(&input[at..end])?;
        at += consumed;
        match found {
            ChunkedPiece::Data(data) => body.extend_from_slice(data),
            ChunkedPiece::End => return Ok((body, Some(input[at..].to_vec()))),
            ChunkedPiece::More if end == input.len() => return Ok((body, None)),
            ChunkedPiece::More => end = (end + piece).min(input.len()),
        }
    }
}

fn check_chunked(input: &str, expected: Result<(&str, Option<&str>), ChunkedError>) {
    let expected = expected.map(|(body, rest)| (body.as_bytes().to_vec(), rest.map(|rest| rest.as_bytes().to_vec())));
    for piece in [1, 2, 3, input.len().max(1)] {
        assert_eq!(read(input.as_bytes(), piece), expected, "{input:?} in pieces of {piece}");
    }
}

#[test]
fn chunked_bodies() {
    use ChunkedError::*;
    check_chunked("5\r\nhello\r\n0\r\n\r\nGET", Ok(("hello", Some("GET"))));
    check_chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Ok(("hello world", Some(""))));
    check_chunked("0\r\n\r\n", Ok(("", Some(""))));
    check_chunked("000\r\n\r\n", Ok(("", Some(""))));
    check_chunked("0000000000000005\r\nhello\r\n0\r\n\r\n", Ok(("hello", Some(""))));
    check_chunked("A;name=\"val\"\r\n0123456789\r\n0;x\r\nDigest: y\r\n\r\nrest", Ok(("0123456789", Some("rest"))));
    check_chunked("a\r\n01234", Ok(("01234", None)));
    check_chunked("5\r\nhello\r\n0\r\n", Ok(("hello", None)));
    // The limit counts the chunks' data and is known from a size line.
    check_chunked("20\r\n01234567890123456789012345678901\r\n0\r\n\r\n", Ok(("01234567890123456789012345678901", Some(""))));
    check_chunked("21\r\n", Err(TooLarge));
    check_chunked("1f\r\n0123456789012345678901234567890\r\n2\r\n", Err(TooLarge));
    check_chunked("ffffffffffffffff\r\n", Err(TooLarge));

    let refused = [
        ("\r\n", Size),
        (";x\r\n", Size),
        ("g\r\n", Size),
        ("-1\r\n", Size),
        ("+1\r\n", Size),
        ("0x5\r\nhello", Size),
        (" 5\r\nhello", Size),
        ("5 \r\nhello", Size),
        ("5_0\r\n", Size),
        ("00000000000000005\r\nhello", Size),
        ("10000000000000000\r\n", Size),
        ("5\nhello\n0\n\n", LineEnd),
        ("5\r\rhello", LineEnd),
        ("5\rhello", LineEnd),
        ("5;x\nhello", LineEnd),
        ("5\r\nhello0\r\n\r\n", LineEnd),
        ("5\r\nhello\n0\r\n\r\n", LineEnd),
        ("5\r\nhello\rX", LineEnd),
        ("0\r\n\n", LineEnd),
        ("0\r\nA: b\n\r\n", LineEnd),
        ("0\r\nA: b\rC", LineEnd),
        ("0\r\n\rX", LineEnd),
        ("5;\0\r\nhello", ControlByte),
        ("0\r\nA: \x0b\r\n\r\n", ControlByte),
        ("0\r\nA: \x7f\r\n\r\n", ControlByte),
    ];
    for (input, error) in refused {
        check_chunked(input, Err(error));
    }
    for input in [format!("1;{}", "x".repeat(5000)), format!("0\r\n{}", "A: b\r\n".repeat(2000)), "1;xxxxxxxxx\r\na\r\n".repeat(500)] {
        let mut decoder = ChunkedDecoder::new(u64::MAX);
        let mut rest = input.as_bytes();
        let error = loop {
            match decoder.step(rest) {
                Ok((consumed, ChunkedPiece::Data(_))) => rest = &rest[consumed..],
                Ok((_, piece)) => panic!("{piece:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Overhead);
    }
    assert_eq!([Size, LineEnd, ControlByte, Overhead, TooLarge].map(ChunkedError::status), [400, 400, 400, 400, 413]);
}

#[test]
fn answers() {
    let check = |status, body, expected: &str, read_as| {
        let mut bytes = BytesMut::new();
        write_head(&mut bytes, status, [("Content-Type", "text/plain"), ("X", "a\r\nB: c\0")], body);
        assert_eq!(str::from_utf8(&bytes), Ok(expected));
        let (head, end) = ResponseHead::parse(&bytes, &HeadLimits::default()).unwrap().unwrap();
        assert_eq!((head.status(), head.body(), end), (status, read_as, bytes.len()));
        assert_eq!(head.iter().filter(|(name, _)| *name == "B").count(), 0, "a value adds no field");
    };
    let fields = "Content-Type: text/plain\r\nX: a  B: c \r\n";
    check(200, Body::Length(12), &format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 12\r\n\r\n"), ResponseBody::Length(12));
    check(200, Body::Chunked, &format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"), ResponseBody::Chunked);
    check(200, Body::UntilClose, &format!("HTTP/1.1 200 OK\r\n{fields}Connection: close\r\n\r\n"), ResponseBody::UntilClose);
    check(204, Body::None, &format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"), ResponseBody::None);
    check(599, Body::Length(0), &format!("HTTP/1.1 599 Status\r\n{fields}Content-Length: 0\r\n\r\n"), ResponseBody::Length(0));
    for status in 100..600 {
        assert!(reason_phrase(status).bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }
}

#[test]
fn chunks() {
    for (len, expected) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabc, "abc\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        assert_eq!(&*chunk_header(len), expected.as_bytes());
    }
    let mut bytes = BytesMut::new();
    chunk(b"hello", &mut bytes);
    chunk(b"", &mut bytes);
    last_chunk(&mut bytes);
    assert_eq!(&bytes[..], b"5\r\nhello\r\n0\r\n\r\n", "empty data writes nothing, for it would end the body");
}

fn check_query(text: &str, expected: &[Result<(&str, &str), QueryError>]) {
    let pairs: Vec<_> = Query::new(text).collect();
    let seen: Vec<_> = pairs
        .iter()
        .map(|pair| match pair {
            Ok((name, value)) => Ok((name.as_ref(), value.as_ref())),
            Err(error) => Err(*error),
        })
        .collect();
    assert_eq!(seen, expected, "{text:?}");
}

#[test]
fn queries() {
    check_query("", &[]);
    check_query("a=1&b=2", &[Ok(("a", "1")), Ok(("b", "2"))]);
    check_query("&&a&=b&c=&=&", &[Ok(("a", "")), Ok(("", "b")), Ok(("c", "")), Ok(("", ""))]);
    check_query("a=b=c&d=e?f/g", &[Ok(("a", "b=c")), Ok(("d", "e?f/g"))]);
    check_query("n%C3%A9+w%2B=%26%3D%25+", &[Ok(("né w+", "&=% "))]);
    check_query("a=%00", &[Ok(("a", "\0"))]);
    check_query("a=%", &[Err(QueryError::Escape)]);
    check_query("a=%1&b=2", &[Err(QueryError::Escape), Ok(("b", "2"))]);
    check_query("%zz=1&b=%+1", &[Err(QueryError::Escape), Err(QueryError::Escape)]);
    check_query("a=%c3&b=%ff&c=%ed%a0%80", &[Err(QueryError::NotUtf8); 3]);

    let query = Query::new("a=1&x=%zz&b=2&a=3");
    assert_eq!(query.first("a").unwrap().as_deref(), Some("1"));
    assert_eq!(query.first("b"), Err(QueryError::Escape), "the broken pair before it may have been the one");
    assert_eq!(query.all("a").filter_map(Result::ok).collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(Query::new("a=1").first("c"), Ok(None));
    assert_eq!(percent_decode(b"a+b%20c").as_deref(), Ok("a+b c"), "a plus is a plus outside of queries");
    assert_eq!(percent_decode(b"\xff"), Err(QueryError::NotUtf8));
    assert!(matches!(percent_decode(b"a+b"), Ok(Cow::Borrowed("a+b"))), "nothing is copied without need");
}

fn check_path(path: &str, expected: Result<&[&str], PathError>) {
    let segments = path::segments(path).map(|segments| segments.collect::<Vec<_>>());
    assert_eq!(segments, expected.map(|segments| segments.iter().map(|segment| (*segment).into()).collect::<Vec<_>>()), "{path:?}");
    assert_eq!(path::check(path), expected.map(drop));
}

#[test]
fn paths() {
    use PathError::*;
    check_path("/", Ok(&[]));
    check_path("/v1/publish", Ok(&["v1", "publish"]));
    check_path("/v1/publish/", Ok(&["v1", "publish"]));
    check_path("/socket.io/", Ok(&["socket.io"]));
    check_path("/.well-known/mercure", Ok(&[".well-known", "mercure"]));
    check_path("/channels/a%2Fb%20c/...", Ok(&["channels", "a/b c", "..."]));
    check_path("/n%C3%A9ws+x", Ok(&["néws+x"]));
    let refused = [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("v1", NotAbsolute),
        ("//", EmptySegment),
        ("//v1", EmptySegment),
        ("/v1//x", EmptySegment),
        ("/v1//", EmptySegment),
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/v1/../admin", DotSegment),
        ("/v1/./x", DotSegment),
        ("/v1/%2e%2E/admin", DotSegment),
        ("/v1/.%2e/admin", DotSegment),
        ("/v1/..%2fadmin", DotSegment),
        ("/v1/x%2F..%2F..", DotSegment),
        ("/v1\\..\\admin", Backslash),
        ("/v1/%5C..", Backslash),
        ("/v1/%00", ControlByte),
        ("/v1/%0d%0aX:y", ControlByte),
        ("/v1/%7f", ControlByte),
        ("/v1/%2", Escape),
        ("/v1/%u002e", Escape),
        ("/v1/%c0%ae%c0%ae/", NotUtf8),
        ("/v1/%ff", NotUtf8),
    ];
    for (path, error) in refused {
        check_path(path, Err(error));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_are_read_again(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..4), piece in 1usize..9) {
        let mut bytes = BytesMut::new();
        for part in &parts {
            chunk(part, &mut bytes);
        }
        last_chunk(&mut bytes);
        bytes.extend_from_slice(b"next");
        let (body, rest) = read(&bytes, piece).unwrap();
        prop_assert_eq!(body, parts.concat());
        prop_assert!(rest.is_some_and(|rest| rest == b"next"));
    }

    #[test]
    fn what_is_percent_encoded_is_decoded(pairs in proptest::collection::vec((".{0,6}", ".{0,6}"), 1..4)) {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let text = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&");
        let seen: Vec<_> = Query::new(&text).map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned()))).collect();
        prop_assert_eq!(seen, pairs.into_iter().map(Ok).collect::<Vec<_>>());
    }
}
