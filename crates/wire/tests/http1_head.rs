//! Request and response heads: what is taken, and everything that is refused because two parsers could read it differently.

use omnivox_wire::http1::{Framing, HeadError, HeadLimits, RequestHead, ResponseBody, ResponseHead, Version};
use proptest::prelude::*;

/// Small limits, so that the cases about them stay readable.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 512, target_bytes_max: 64, headers_max: 8 };

fn parse(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    Ok(RequestHead::parse(bytes, &LIMITS)?.map(|(head, _)| head))
}

/// The error of a request; for every prefix of it the answer must be "incomplete" or that same error.
fn check_refused(bytes: &[u8], expected: HeadError) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    match parse(bytes) {
        Err(error) => assert_eq!(error, expected, "{text:?}"),
        other => panic!("{text:?} gives {other:?}, not {expected:?}"),
    }
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Ok(None) => {}
            Err(error) => assert_eq!(error, expected, "{:?}", &text[..text.floor_char_boundary(end)]),
            Ok(Some(head)) => panic!("{head:?} from a prefix of {text:?}"),
        }
    }
}

/// The table of the sins: a request (`_` stands for nothing, only to show where) and its error.
#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    use HeadError::*;
    let get = "GET / HTTP/1.1\r\nHost: h\r\n";
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    let cases: &[(&str, &str, HeadError)] = &[
        // Framing: the ways to smuggle a request.
        (post, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", LengthAndEncoding),
        (post, "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", LengthAndEncoding),
        (post, "transfer-encoding: identity\r\ncontent-length: 3\r\n\r\n", LengthAndEncoding),
        (post, "Content-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", LengthAndEncoding),
        (post, "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", RepeatedLength),
        (post, "Content-Length: 3\r\ncontent-length: 3\r\n\r\n", RepeatedLength),
        (post, "Content-Length: 3, 3\r\n\r\n", InvalidLength),
        (post, "Content-Length: 3,4\r\n\r\n", InvalidLength),
        (post, "Content-Length: +3\r\n\r\n", InvalidLength),
        (post, "Content-Length: -3\r\n\r\n", InvalidLength),
        (post, "Content-Length: 0x3\r\n\r\n", InvalidLength),
        (post, "Content-Length: 3 4\r\n\r\n", InvalidLength),
        (post, "Content-Length: 3.0\r\n\r\n", InvalidLength),
        (post, "Content-Length: ٣\r\n\r\n", InvalidLength),
        (post, "Content-Length:\r\n\r\n", InvalidLength),
        (post, "Content-Length: 99999999999999999999\r\n\r\n", LengthTooLarge),
        (post, "Transfer-Encoding: gzip, chunked\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: chunked, gzip\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: chunked, chunked\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: identity\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: xchunked\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: \"chunked\"\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: chunked;q=1\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding:\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: ,chunked\r\n\r\n", TransferEncoding),
        (post, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", RepeatedEncoding),
        (post, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", RepeatedEncoding),
        ("", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", EncodingInHttp10),
        // Field lines.
        (post, "Content-Length : 3\r\n\r\n", SpaceInName),
        (post, "Transfer-Encoding\t: chunked\r\n\r\n", SpaceInName),
        (post, "Content Length: 3\r\n\r\n", SpaceInName),
        (get, " X: folded first\r\n\r\n", Folding),
        (get, "X: a\r\n b\r\n\r\n", Folding),
        (get, "X: a\r\n\tb\r\n\r\n", Folding),
        ("", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", Folding),
        (get, "no colon\r\n\r\n", HeaderName),
        (get, ": no name\r\n\r\n", HeaderName),
        (get, "X(y): z\r\n\r\n", HeaderName),
        (get, "Xé: z\r\n\r\n", HeaderName),
        // Bytes that end lines for some and not for others.
        (get, "X: a\nTransfer-Encoding: chunked\r\n\r\n", BareLf),
        (get, "X: a\n\n", BareLf),
        ("", "GET / HTTP/1.1\nHost: h\n\n", BareLf),
        (get, "X: a\rb\r\n\r\n", BareCr),
        (get, "X: a\r\r\n\r\n", BareCr),
        ("", "GET / HTTP/1.1\rHost: h\r\r", BareCr),
        (get, "X: a\0b\r\n\r\n", ControlByte),
        (get, "X\0: a\r\n\r\n", ControlByte),
        (get, "X: a\x0bb\r\n\r\n", ControlByte),
        (get, "X: a\x7f\r\n\r\n", ControlByte),
        ("", "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", ControlByte),
        ("", "\x16\x03\x01\x02\0\x01", ControlByte),
        ("", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", LeadingEmptyLine),
        // Host.
        ("", "GET / HTTP/1.1\r\n\r\n", MissingHost),
        ("", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", RepeatedHost),
        ("", "GET / HTTP/1.1\r\nhost: a\r\nHOST: b\r\n\r\n", RepeatedHost),
        ("", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", RepeatedHost),
        ("", "GET / HTTP/1.1\r\nHost:\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: [x]\r\n\r\n", InvalidHost),
        ("", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", InvalidHost),
        ("", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HostMismatch),
        // The request line.
        ("", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET /\r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET / FTP/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET / http/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", RequestLine),
        ("", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", Method),
        ("", "GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: h\r\n\r\n", Method),
        ("", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", ConnectMethod),
        ("", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", Version),
        ("", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", Version),
        ("", "GET / HTTP/0.9\r\n\r\n", Version),
        ("", "GET / HTTP/1.11\r\nHost: h\r\n\r\n", Version),
        ("", "PRI * HTTP/2.0\r\n\r\n", Version),
        ("", "GET path HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET ?x HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n", Target),
        ("", "GET /#fragment HTTP/1.1\r\nHost: h\r\n\r\n", TargetByte),
        ("", "GET /é HTTP/1.1\r\nHost: h\r\n\r\n", TargetByte),
    ];
    for (start, rest, error) in cases {
        check_refused(format!("{start}{rest}").as_bytes(), *error);
    }
}

#[test]
fn limits_end_a_head_as_soon_as_they_are_passed() {
    let target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(64));
    check_refused(target.as_bytes(), HeadError::TargetTooLong);
    check_refused(&[b"GET /".as_slice(), &[b'x'; 600]].concat(), HeadError::TargetTooLong);

    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(8));
    check_refused(many.as_bytes(), HeadError::TooManyHeaders);

    // Exactly the limit passes; one byte more does not, whether or not the empty line has come.
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(bytes - start.len() - 4))
    };
    assert!(matches!(parse(head(512).as_bytes()), Ok(Some(_))));
    check_refused(head(513).as_bytes(), HeadError::TooLarge);
    check_refused(&head(600).as_bytes()[..550], HeadError::TooLarge);

    // No limit goes beyond what a head can address.
    let limits = HeadLimits { head_bytes_max: usize::MAX, target_bytes_max: usize::MAX, headers_max: usize::MAX };
    let huge = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    assert_eq!(RequestHead::parse(huge.as_bytes(), &limits).unwrap_err(), HeadError::TooLarge);
}

/// Each error has a status of the list that the front door knows and a code of its own.
#[test]
fn errors_have_statuses_and_codes() {
    use HeadError::*;
    let all = [
        BareCr,
        BareLf,
        ControlByte,
        LeadingEmptyLine,
        RequestLine,
        StatusLine,
        Method,
        ConnectMethod,
        Target,
        TargetByte,
        TargetTooLong,
        Version,
        TooLarge,
        TooManyHeaders,
        HeaderName,
        SpaceInName,
        Folding,
        MissingHost,
        RepeatedHost,
        InvalidHost,
        HostMismatch,
        LengthAndEncoding,
        RepeatedLength,
        InvalidLength,
        LengthTooLarge,
        TransferEncoding,
        RepeatedEncoding,
        EncodingInHttp10,
    ];
    let mut codes: Vec<_> = all.map(HeadError::code).into();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all.len());
    let status = |error: HeadError| error.status();
    assert!(all.iter().all(|error| matches!(error.status(), 400 | 413 | 414 | 431 | 501 | 505)));
    assert!([TooLarge, TooManyHeaders, TargetTooLong, LengthTooLarge].iter().all(|error| error.message().contains("(limits.")));
    assert_eq!([TooLarge, TooManyHeaders, TargetTooLong].map(status), [431, 431, 414]);
    assert_eq!([LengthTooLarge, TransferEncoding, ConnectMethod, Version].map(status), [413, 501, 501, 505]);
}

#[test]
fn a_head_says_what_it_holds() {
    let bytes = b"\r\nPUT /a%20b/c?x=1&y=%26?z HTTP/1.1\r\nhost: Example.org:8080\r\nX-Many: one\r\nx-many:\t two \t\r\n\
                  Empty:\r\nLatin: \xe9\r\nCONNECTION: keep-alive , Upgrade\r\n\r\nrest";
    let (head, end) = RequestHead::parse(bytes, &LIMITS).unwrap().unwrap();
    assert_eq!(&bytes[end..], b"rest");
    assert_eq!((head.method(), head.path(), head.query()), ("PUT", "/a%20b/c", Some("x=1&y=%26?z")));
    assert_eq!((head.version(), head.host(), head.keep_alive()), (Version::Http11, Some("Example.org:8080"), true));
    assert_eq!(head.header("X-MANY"), Some(&b"one"[..]));
    assert_eq!(head.headers("x-many").collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    assert_eq!((head.header("empty"), head.header("latin")), (Some(&b""[..]), Some(&b"\xe9"[..])));
    assert_eq!((head.header_text("latin"), head.header("missing")), (None, None));
    assert!(head.connection_has("upgrade") && !head.connection_has("grade"));
    assert_eq!(head.iter().map(|(name, _)| name).collect::<Vec<_>>()[..3], ["host", "x-many", "x-many"]);
    assert_eq!(format!("{head:?}"), "RequestHead(PUT /a%20b/c)", "no query, no fields: they may hold secrets");
}

#[test]
fn targets_hosts_and_connections() {
    // The request, then path, query, host and whether another request may follow.
    let cases = [
        ("GET / HTTP/1.1\r\nHost: h", "/", None, Some("h"), true),
        ("GET /? HTTP/1.1\r\nHost: h", "/", Some(""), Some("h"), true),
        ("GET //x HTTP/1.1\r\nHost: [::1]:80", "//x", None, Some("[::1]:80"), true),
        ("OPTIONS * HTTP/1.1\r\nHost: h", "*", None, Some("h"), true),
        ("GET http://h:80/p?q HTTP/1.1\r\nHost: H:80", "/p", Some("q"), Some("h:80"), true),
        ("GET http://h HTTP/1.1\r\nHost: h", "/", None, Some("h"), true),
        ("GET HTTPS://h?q HTTP/1.1\r\nHost: h", "/", Some("q"), Some("h"), true),
        ("GET /{|}\"<>^` HTTP/1.1\r\nHost: h", "/{|}\"<>^`", None, Some("h"), true),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close", "/", None, Some("h"), false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: x, Close", "/", None, Some("h"), false),
        ("GET / HTTP/1.0", "/", None, None, false),
        ("GET / HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive", "/", None, Some("h"), true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close", "/", None, None, false),
    ];
    for (request, path, query, host, keep_alive) in cases {
        let head = parse(format!("{request}\r\n\r\n").as_bytes()).expect(request).expect(request);
        assert_eq!((head.path(), head.query(), head.host()), (path, query, host), "{request}");
        assert_eq!(head.keep_alive(), keep_alive, "{request}");
        check_against_httparse(format!("{request}\r\n\r\n").as_bytes());
    }
}

#[test]
fn bodies_and_continue() {
    let cases = [
        ("", Framing::None, false),
        ("Expect: 100-continue\r\n", Framing::None, false),
        ("Content-Length: 0\r\n", Framing::Length(0), false),
        ("Content-Length: 007\r\nExpect: 100-Continue\r\n", Framing::Length(7), true),
        ("Content-Length: 18446744073709551615\r\n", Framing::Length(u64::MAX), false),
        ("Transfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\n", Framing::Chunked, true),
        ("Transfer-Encoding:chunked \r\nExpect: something-else\r\n", Framing::Chunked, false),
    ];
    for (fields, framing, expects_continue) in cases {
        let head = parse(format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).expect(fields).expect(fields);
        assert_eq!((head.framing(), head.expects_continue()), (framing, expects_continue), "{fields}");
    }
    let old = parse(b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n").unwrap().unwrap();
    assert!(!old.expects_continue(), "HTTP/1.0 knows no 100");
}

#[test]
fn response_heads() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((200, "OK", ResponseBody::Length(3), true))),
        ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((200, "", ResponseBody::Chunked, true))),
        ("HTTP/1.1 200 \r\n\r\n", Ok((200, "", ResponseBody::UntilClose, false))),
        ("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n", Ok((404, "Not Found", ResponseBody::Length(0), false))),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "No Content", ResponseBody::None, true))),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Ok((101, "Switching Protocols", ResponseBody::None, true))),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nConnection: close\r\n\r\n",
            Ok((304, "Not Modified", ResponseBody::None, false)),
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", Err(HeadError::StatusLine)),
        ("HTTP/1.1 2000 OK\r\n\r\n", Err(HeadError::StatusLine)),
        ("HTTP/1.1 099 OK\r\n\r\n", Err(HeadError::StatusLine)),
        ("HTTP/2 200 OK\r\n\r\n", Err(HeadError::StatusLine)),
        ("HTTP/1.1  200 OK\r\n\r\n", Err(HeadError::StatusLine)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Err(HeadError::RepeatedLength)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::LengthAndEncoding)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Err(HeadError::TransferEncoding)),
        ("HTTP/1.1 200 OK\nX: y\n\n", Err(HeadError::BareLf)),
    ];
    for (text, expected) in cases {
        let parsed = ResponseHead::parse(text.as_bytes(), &LIMITS);
        let seen = parsed.as_ref().map(|parsed| {
            let (head, end) = parsed.as_ref().expect("complete");
            assert_eq!(*end, text.len());
            (head.status(), head.reason(), head.body(), head.keep_alive())
        });
        assert_eq!(seen.map_err(|error| *error), expected, "{text:?}");
    }
}

/// A second opinion on one field line, by the rules of RFC 9110 §5 written as plainly as can be.
fn is_plain_field(name: &str, value: &[u8]) -> bool {
    let name_is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let value_is_clean = value.iter().all(|byte| *byte == b'\t' || (0x20..0x7f).contains(byte) || *byte >= 0x80);
    let value_is_trimmed =
        value.first().is_none_or(|byte| !b" \t".contains(byte)) && value.last().is_none_or(|byte| !b" \t".contains(byte));
    name_is_token && value_is_clean && value_is_trimmed
}

/// Whatever we take, `httparse` takes too, with the same parts; and it keeps the rules by which hyper frames a body.
fn check_against_httparse(bytes: &[u8]) {
    let Ok(Some((head, end))) = RequestHead::parse(bytes, &LIMITS) else { return };
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(end)));
    assert_eq!(other.method, Some(head.method()));
    assert_eq!(other.version, Some(u8::from(head.version() == Version::Http11)));
    let target = other.path.unwrap();
    let own = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    assert!(target == own || target.contains("://") && (target.ends_with(&own) || own.starts_with('/')), "{target} and {own}");
    let names: Vec<String> = other.headers.iter().map(|field| field.name.to_ascii_lowercase()).collect();
    assert!(head.iter().eq(names.iter().map(String::as_str).zip(other.headers.iter().map(|field| field.value))));
    assert!(head.iter().all(|(name, value)| is_plain_field(name, value)));

    let all = |name: &str| -> Vec<&[u8]> {
        other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    let framing = match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Framing::None,
        ([length], []) => Framing::Length(str::from_utf8(length).unwrap().parse().unwrap()),
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        other => panic!("{other:?} has two readings"),
    };
    assert_eq!(head.framing(), framing);
    assert!(all("host").len() == 1 || head.version() == Version::Http10);
}

fn field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("Host"),
        Just("Content-Length"),
        Just("Transfer-Encoding"),
        Just("Connection"),
        Just("X"),
        Just("content-length"),
        Just("Ho st"),
    ];
    let separator = prop_oneof![8 => Just(": "), 1 => Just(":"), 1 => Just(" :"), 1 => Just(":\t "), 1 => Just("")];
    let value = prop_oneof![
        3 => Just("h".to_owned()), 3 => Just("5".to_owned()), 3 => Just("chunked".to_owned()), 1 => Just("close".to_owned()),
        1 => "[ -~]{0,8}", 1 => "[\\x00-\\xff]{0,6}",
    ];
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n "), 1 => Just("")];
    (name, separator, value, end).prop_map(|(name, separator, value, end)| format!("{name}{separator}{value}{end}"))
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method =
        prop_oneof![6 => Just("GET"), 2 => Just("POST"), 1 => Just("OPTIONS"), 1 => Just("x!"), 1 => Just("CONNECT"), 1 => Just("")];
    let target = prop_oneof![4 => Just("/".to_owned()), 2 => "/[a-z%2.]{0,9}\\?[a-z=&]{0,5}", 1 => Just("*".to_owned()),
        1 => Just("http://h/x".to_owned()), 1 => "[ -~]{1,9}"];
    let version = prop_oneof![9 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0")];
    let rest = proptest::collection::vec(field(), 0..4);
    (method, target, version, any::<bool>(), rest).prop_map(|(method, target, version, host, rest)| {
        let host = if host { "Host: h\r\n" } else { "" };
        format!("{method} {target} {version}\r\n{host}{}\r\n", rest.concat()).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_is_taken_by_httparse_too(bytes in request()) {
        check_against_httparse(&bytes);
    }

    /// A good request is taken, so the property above does not hold for want of requests.
    #[test]
    fn good_requests_are_taken(
        path in "/[a-zA-Z0-9/%._~-]{0,20}",
        query in proptest::option::of("[a-z0-9=&+.]{0,20}"),
        fields in proptest::collection::vec(("X-[A-Za-z0-9-]{1,8}", "[!-~]([ -~]{0,8}[!-~])?"), 0..6),
        length in proptest::option::of(any::<u64>()),
    ) {
        let target = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let mut text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in &fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        text.push_str("\r\n");
        let head = parse(text.as_bytes()).unwrap().unwrap();
        prop_assert_eq!((head.path(), head.query()), (path.as_str(), query.as_deref()));
        prop_assert_eq!(head.framing(), length.map_or(Framing::None, Framing::Length));
        let seen: Vec<_> = head.iter().filter(|(name, _)| name.starts_with("x-")).map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_owned()).unwrap())).collect();
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        prop_assert_eq!(seen, fields);
        check_against_httparse(text.as_bytes());
    }
}
