//! The opening handshake: the order of refusals, answers, negotiation of compression, and the client's side.

use bytes::BytesMut;
use omnivox_wire::http1::{HeadLimits, RequestHead, ResponseHead};
use omnivox_wire::ws::deflate::{AnswerError, Offers};
use omnivox_wire::ws::handshake::{self, AcceptKey, AnswerRefused, ClientHandshake, Opened, Refusal};

fn head(text: &str) -> RequestHead {
    RequestHead::parse(text.as_bytes(), &HeadLimits::default()).expect(text).expect(text).0
}

/// A good request with some fields replaced (or removed, by an empty value) and more added.
fn request(line: &str, changes: &[(&str, &str)]) -> RequestHead {
    let mut fields = vec![
        ("Host", "h"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    for (name, value) in changes {
        fields.retain(|(other, _)| name.trim_start_matches('+') != *other || name.starts_with('+'));
        if !value.is_empty() {
            fields.push((name.trim_start_matches('+'), value));
        }
    }
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    head(&format!("{line}\r\n{fields}\r\n"))
}

fn check(line: &str, changes: &[(&str, &str)], expected: Result<&[&str], Refusal>) {
    let request = request(line, changes);
    let seen = handshake::check(&request);
    assert_eq!(seen.as_ref().map(|accept| &accept.protocols[..]).map_err(|refusal| *refusal), expected, "{line} {changes:?}");
    if let Ok(accept) = &seen {
        assert_eq!(accept.key.as_str(), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    }
}

#[test]
fn requests() {
    use Refusal::*;
    let get = "GET /ws HTTP/1.1";
    check(get, &[], Ok(&[]));
    check(get, &[("Upgrade", "WebSocket"), ("Connection", "keep-alive, upGRADE")], Ok(&[]));
    check(get, &[("Connection", "keep-alive"), ("+Connection", "Upgrade")], Ok(&[]));
    check(get, &[("Upgrade", "h2c, websocket")], Ok(&[]));
    check(get, &[("Sec-WebSocket-Protocol", "graphql-ws, a.b ,\tc")], Ok(&["graphql-ws", "a.b", "c"]));
    check(get, &[("Sec-WebSocket-Protocol", "a"), ("+Sec-WebSocket-Protocol", "b")], Ok(&["a", "b"]));
    check(get, &[("Sec-WebSocket-Extensions", "x-unknown; a=b; c=\"d\", permessage-deflate")], Ok(&[]));

    check("POST /ws HTTP/1.1", &[], Err(Method));
    check(get, &[("Upgrade", "")], Err(Upgrade));
    check(get, &[("Upgrade", "h2c")], Err(Upgrade));
    check(get, &[("Upgrade", "websocket2")], Err(Upgrade));
    check(get, &[("Connection", "")], Err(Connection));
    check(get, &[("Connection", "keep-alive")], Err(Connection));
    check(get, &[("Sec-WebSocket-Key", "")], Err(Key));
    check(get, &[("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw=")], Err(Key));
    check(get, &[("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDwA==")], Err(Key));
    check(get, &[("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhX!w==")], Err(Key));
    check(get, &[("+Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")], Err(Key));
    check(get, &[("Sec-WebSocket-Version", "")], Err(Version));
    check(get, &[("Sec-WebSocket-Version", "8")], Err(Version));
    check(get, &[("Sec-WebSocket-Version", "13, 8")], Err(Version));
    check(get, &[("+Sec-WebSocket-Version", "8")], Err(Version));
    check("GET /ws HTTP/1.0", &[], Err(HttpVersion));
    check(get, &[("Content-Length", "0")], Ok(&[]));
    check(get, &[("Content-Length", "4")], Err(Body));
    check(get, &[("Transfer-Encoding", "chunked")], Err(Body));
    for bad in ["a,,b", "a b", "a,", ",", "a, a", "\"a\"", "é"] {
        check(get, &[("Sec-WebSocket-Protocol", bad)], Err(Protocols));
    }
    for bad in [",", "a,", "; x", "a;", "a; b=", "a; =b", "a; b=\"c", "a b", "a; b=c d", "é"] {
        check(get, &[("Sec-WebSocket-Extensions", bad)], Err(Extensions));
    }
    check(get, &[("Sec-WebSocket-Extensions", &vec!["x"; 65].join(","))], Err(Extensions));
    let many: Vec<_> = (0..65).map(|number| format!("p{number}")).collect();
    check(get, &[("Sec-WebSocket-Protocol", &many.join(","))], Err(Protocols));
}

/// Each rule is broken by all that come before it in the list: the first one answers.
#[test]
fn the_first_broken_rule_answers() {
    use Refusal::*;
    let sins: [(&str, &str, Refusal); 7] = [
        ("Upgrade", "", Upgrade),
        ("Connection", "close", Connection),
        ("Sec-WebSocket-Key", "short", Key),
        ("Sec-WebSocket-Version", "8", Version),
        ("Content-Length", "4", Body),
        ("Sec-WebSocket-Protocol", ",", Protocols),
        ("Sec-WebSocket-Extensions", ",", Extensions),
    ];
    let all: Vec<_> = sins.iter().map(|(name, value, _)| (*name, *value)).collect();
    check("PUT /ws HTTP/1.1", &all, Err(Method));
    for (index, (.., refusal)) in sins.iter().enumerate() {
        check("GET /ws HTTP/1.1", &all[index..], Err(*refusal));
    }
    check("GET /ws HTTP/1.0", &all[4..], Err(HttpVersion));
    let refusals = [Method, Upgrade, Connection, Key, Version, HttpVersion, Body, Protocols, Extensions];
    assert_eq!(refusals.map(Refusal::status), [405, 400, 400, 400, 426, 400, 400, 400, 400]);
    assert_eq!(refusals.map(|refusal| refusal.header().is_some()), [true, false, false, false, true, false, false, false, false]);
}

#[test]
fn extended_connect() {
    let check = |version: Option<&'static [u8]>, protocols: &[&'static [u8]]| {
        handshake::check_connect(version, protocols.iter().copied(), [&b"permessage-deflate"[..]]).map(|(protocols, offers)| {
            assert!(offers.accept().is_some());
            protocols
        })
    };
    assert_eq!(check(Some(b"13"), &[b"a, b"]), Ok(vec!["a", "b"]));
    assert_eq!(check(Some(b"8"), &[]), Err(Refusal::Version));
    assert_eq!(check(None, &[]), Err(Refusal::Version));
    assert_eq!(check(Some(b"13"), &[b"a b"]), Err(Refusal::Protocols));
}

/// What is answered to a list of offers, without the two parameters that every answer has.
fn check_offer(offer: &str, expected: Option<&str>) {
    let answer = Offers::parse([offer]).expect(offer).accept().map(|agreement| agreement.to_string());
    let full = expected.map(|more| format!("permessage-deflate; server_no_context_takeover; client_no_context_takeover{more}"));
    assert_eq!(answer, full, "{offer}");
    if let Some(answer) = answer {
        // Our own client would take it.
        assert!(Offers::parse([&answer]).unwrap().read_answer().unwrap().is_some());
    }
}

#[test]
fn compression_offers() {
    check_offer("permessage-deflate", Some(""));
    check_offer("Permessage-Deflate; client_max_window_bits", Some(""));
    check_offer("permessage-deflate; client_max_window_bits=8; client_no_context_takeover", Some(""));
    check_offer("permessage-deflate; server_max_window_bits=10", Some("; server_max_window_bits=10"));
    check_offer("permessage-deflate; server_max_window_bits=\"15\"", Some("; server_max_window_bits=15"));
    check_offer("x-webkit-deflate-frame, permessage-deflate", Some(""));
    // A bad offer is passed over, never an error; the next one may do.
    for bad in [
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        "permessage-deflate; unknown",
        "permessage-deflate2",
    ] {
        check_offer(bad, None);
        check_offer(&format!("{bad}, permessage-deflate; server_max_window_bits=9"), Some("; server_max_window_bits=9"));
    }
}

#[test]
fn answers_to_our_offer() {
    let read = |answer: &str| Offers::parse([answer]).unwrap().read_answer().map(|agreement| agreement.is_some());
    assert_eq!(Offers::default().read_answer(), Ok(None));
    assert_eq!(read("permessage-deflate; server_no_context_takeover"), Ok(true));
    assert_eq!(read("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"), Ok(true));
    for refused in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover; unknown",
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
        "x-other",
    ] {
        assert_eq!(read(refused), Err(AnswerError), "{refused}");
    }
}

const CLIENT: ClientHandshake<'_> =
    ClientHandshake { host: "h:1", target: "/ws?a=1", nonce: [7; 16], protocols: &["a", "b"], deflate: true };

#[test]
fn client_and_server_agree() {
    let mut request = BytesMut::new();
    CLIENT.request([("Origin", "http://h:1")], &mut request);
    let (head, end) = RequestHead::parse(&request, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!((end, head.path(), head.host(), head.header("origin")), (request.len(), "/ws", Some("h:1"), Some(&b"http://h:1"[..])));
    assert!(handshake::is_upgrade(&head));
    let accept = handshake::check(&head).unwrap();
    let agreement = accept.extensions.accept();

    let mut response = BytesMut::new();
    handshake::respond(&accept, Some("b"), agreement, [("Set-Cookie", "c=d")], &mut response);
    let (answer, _) = ResponseHead::parse(&response, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!(CLIENT.check(&answer), Ok(Opened { protocol: Some("b".into()), deflate: agreement }));
    assert_eq!(answer.header("set-cookie"), Some(&b"c=d"[..]));
    assert!(answer.header("content-length").is_none() && agreement.is_some());
}

#[test]
fn client_refuses_false_answers() {
    let key = AcceptKey::answer(b"BwcHBwcHBwcHBwcHBwcHBw==");
    let good = format!("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n", key.as_str());
    let check = |text: &str| {
        let (head, _) = ResponseHead::parse(format!("{text}\r\n").as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        CLIENT.check(&head).map(|_| ())
    };
    assert_eq!(check(&good), Ok(()));
    assert_eq!(check("HTTP/1.1 403 Forbidden\r\n"), Err(AnswerRefused::Status(403)));
    assert_eq!(check(&good.replace("Upgrade: websocket", "Upgrade: h2c")), Err(AnswerRefused::NotUpgraded));
    assert_eq!(check(&good.replace("upgrade\r\n", "close\r\n")), Err(AnswerRefused::NotUpgraded));
    assert_eq!(check(&good.replace(key.as_str(), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=")), Err(AnswerRefused::WrongAccept));
    assert_eq!(check(&format!("{good}Sec-WebSocket-Protocol: c\r\n")), Err(AnswerRefused::Protocol));
    assert_eq!(check(&format!("{good}Sec-WebSocket-Extensions: x\r\n")), Err(AnswerRefused::Extension));
}
