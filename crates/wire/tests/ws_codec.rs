//! Frames and the decoder beside the Autobahn cases: limits, memory, hostile input, masks, compression details.

use bytes::BytesMut;
use omnivox_wire::ws::deflate::{self, Agreement, Offers};
use omnivox_wire::ws::{
    DataKind, Decoder, Header, Message, Opcode, Role, Violation, apply_mask, close, close_masked, continuation, encode, encode_masked,
    header, masked, ping, pong,
};
use proptest::prelude::*;

const KEY: [u8; 4] = [0xa1, 0x02, 0xb3, 0x04];

fn frame(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    write(&mut bytes);
    bytes.to_vec()
}

fn client(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    frame(|into| masked(opcode, fin, false, payload, KEY, into))
}

fn agreement() -> Agreement {
    Offers::parse(["permessage-deflate"]).unwrap().accept().unwrap()
}

/// Decodes everything; messages as text for the eye.
fn decode(decoder: &mut Decoder, input: &mut [u8]) -> Result<Vec<String>, Violation> {
    let (mut messages, mut at) = (Vec::new(), 0);
    loop {
        let step = decoder.step(&mut input[at..])?;
        at += step.consumed;
        match step.message {
            Some(message) => messages.push(format!("{message:?}")),
            None => {
                assert_eq!(at, input.len());
                return Ok(messages);
            }
        }
    }
}

fn check(limit: usize, deflate: Option<Agreement>, input: &[Vec<u8>], expected: Result<&[&str], Violation>) {
    let input = input.concat();
    for piece in [input.len().max(1), 1, 2, 5] {
        let mut decoder = Decoder::new(Role::Server, limit, deflate);
        let mut bytes = input.clone();
        let seen: Result<Vec<_>, _> = bytes.chunks_mut(piece).map(|part| decode(&mut decoder, part)).collect();
        let seen = seen.map(|messages| messages.concat());
        let expected = expected.map(|messages| messages.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(seen, expected, "in pieces of {piece}");
    }
}

#[test]
fn an_idle_decoder_is_small_and_owns_nothing() {
    assert!(size_of::<Decoder>() <= 48, "{} bytes", size_of::<Decoder>());
    assert!(size_of::<Header>() <= 12);
    let mut decoder = Decoder::new(Role::Server, 1024, None);
    let bytes = [client(Opcode::Text, false, b"he"), client(Opcode::Ping, true, b"p"), client(Opcode::Continuation, true, b"llo")].concat();
    for end in 1..bytes.len() {
        decode(&mut decoder, &mut bytes[end - 1..end].to_vec()).unwrap();
        assert!(decoder.buffered() > 0, "after byte {end} something is incomplete");
    }
    assert_eq!(decode(&mut decoder, &mut bytes[bytes.len() - 1..].to_vec()).unwrap(), ["Text(\"hello\")"]);
    assert_eq!(decoder.buffered(), 0);
}

/// A message that lies in the input is handed out from there, unmasked in place.
#[test]
fn whole_messages_are_not_copied() {
    let mut bytes = [client(Opcode::Binary, true, &[7; 100]), client(Opcode::Text, true, b"second")].concat();
    let range = bytes.as_ptr_range();
    let mut decoder = Decoder::new(Role::Server, 1024, None);
    let step = decoder.step(&mut bytes).unwrap();
    let Some(Message::Binary(payload)) = step.message else { panic!("{step:?}") };
    assert!(range.contains(&payload.as_ptr()));
    assert_eq!((payload, step.consumed), (&[7; 100][..], 106));

    // The same when only the header came before.
    let mut bytes = client(Opcode::Text, true, b"hello");
    let range = bytes.as_ptr_range();
    let (header, payload) = bytes.split_at_mut(6);
    assert_eq!(decoder.step(header).unwrap().message, None);
    let Some(Message::Text(text)) = decoder.step(payload).unwrap().message else { panic!("no text") };
    assert!(text == "hello" && range.contains(&text.as_ptr()));
    assert_eq!(decoder.step(&mut []).unwrap().message, None);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn limits() {
    let text = |payload: &[u8]| client(Opcode::Text, true, payload);
    check(5, None, &[text(b"hello"), text(b"")], Ok(&["Text(\"hello\")", "Text(\"\")"]));
    check(5, None, &[text(b"hello!")], Err(Violation::MessageTooBig));
    // The header alone decides, before any payload.
    check(5, None, &[text(b"hello!")[..6].to_vec()], Err(Violation::MessageTooBig));
    check(1 << 20, None, &[vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]], Err(Violation::MessageTooBig));
    check(usize::MAX, None, &[vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]], Err(Violation::LengthOverflow));
    // Fragments are counted together; a control frame between them is not part of the message.
    let first = client(Opcode::Binary, false, b"123");
    check(
        5,
        None,
        &[first.clone(), client(Opcode::Ping, true, &[b'p'; 9]), client(Opcode::Continuation, true, b"45")],
        Ok(&["Ping([112, 112, 112, 112, 112, 112, 112, 112, 112])", "Binary([49, 50, 51, 52, 53])"]),
    );
    check(5, None, &[first, client(Opcode::Continuation, true, b"456")], Err(Violation::MessageTooBig));
    // A compressed message is limited by what comes out, and going in by little more.
    let bomb = deflate::compress(&vec![0; 4 << 20], 15);
    assert!(bomb.len() < 8192);
    let compressed = |payload: &[u8]| frame(|into| masked(Opcode::Text, true, true, payload, KEY, into));
    check(1 << 20, Some(agreement()), &[compressed(&bomb)], Err(Violation::MessageTooBig));
    check(100, Some(agreement()), &[compressed(&[b'x'; 166])], Err(Violation::MessageTooBig));
    check(100, Some(agreement()), &[compressed(&deflate::compress(&[b'x'; 100], 15))], Ok(&[&format!("Text({:?})", "x".repeat(100))]));
    check(99, Some(agreement()), &[compressed(&deflate::compress(&[b'x'; 100], 15))], Err(Violation::MessageTooBig));
}

/// A claim costs nothing: memory follows the bytes that came, never the length that a header promises.
#[test]
fn a_promised_length_reserves_nothing() {
    let mut decoder = Decoder::new(Role::Server, 1 << 30, None);
    let mut start = vec![0x82, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3];
    decode(&mut decoder, &mut start).unwrap();
    assert!(decoder.buffered() < 512, "{} bytes", decoder.buffered());
    decode(&mut decoder, &mut vec![9; 100_000]).unwrap();
    assert!(decoder.buffered() <= 2 * 100_003 + 512, "{} bytes", decoder.buffered());
    // Doubling stops at the limit.
    let mut decoder = Decoder::new(Role::Server, 100_000, None);
    for opcode in [Opcode::Binary, Opcode::Continuation] {
        decode(&mut decoder, &mut client(opcode, false, &[9; 49_000])).unwrap();
    }
    decode(&mut decoder, &mut client(Opcode::Continuation, false, &[9; 1_000])).unwrap();
    assert!(decoder.buffered() <= 100_000 + 512, "{} bytes", decoder.buffered());
}

#[test]
fn a_million_tiny_frames_cost_bounded_memory() {
    // Empty fragments never end, and nothing grows.
    let mut decoder = Decoder::new(Role::Server, 1024, None);
    decode(&mut decoder, &mut client(Opcode::Text, false, b"")).unwrap();
    let empty = client(Opcode::Continuation, false, b"").repeat(1000);
    for _ in 0..1000 {
        assert_eq!(decode(&mut decoder, &mut empty.clone()), Ok(vec![]));
    }
    assert!(decoder.buffered() < 512, "{} bytes", decoder.buffered());
    // Fragments of one byte end at the limit.
    let mut bytes = client(Opcode::Continuation, false, b"x").repeat(1025);
    assert_eq!(decode(&mut decoder, &mut bytes), Err(Violation::MessageTooBig));
    assert_eq!(decoder.buffered(), 0);
    // A million whole messages leave nothing behind.
    let mut decoder = Decoder::new(Role::Server, 1024, None);
    let tiny = client(Opcode::Binary, true, b"x").repeat(1000);
    for _ in 0..1000 {
        let mut bytes = tiny.clone();
        let (mut at, mut messages) = (0, 0);
        loop {
            let step = decoder.step(&mut bytes[at..]).unwrap();
            at += step.consumed;
            if step.message.is_none() {
                break;
            }
            messages += 1;
        }
        assert_eq!((messages, decoder.buffered()), (1000, 0));
    }
}

#[test]
fn nothing_is_read_after_the_end() {
    for end in [client(Opcode::Close, true, &[3, 232]), client(Opcode::Continuation, true, b"x"), client(Opcode::Close, true, &[3])] {
        let mut decoder = Decoder::new(Role::Server, 1024, None);
        let closed = decode(&mut decoder, &mut [end, client(Opcode::Text, true, b"late")].concat());
        assert!(matches!(closed.as_deref(), Ok([close]) if close == "Close(Some((1000, \"\")))") || closed.is_err(), "{closed:?}");
        assert_eq!(decode(&mut decoder, &mut client(Opcode::Text, true, b"later")), Ok(vec![]));
    }
    // Not even the memory of a message that was open is kept.
    let mut decoder = Decoder::new(Role::Server, 1024, None);
    let open = client(Opcode::Text, false, b"never completed");
    let closed = decode(&mut decoder, &mut [open, client(Opcode::Close, true, b"")].concat());
    assert_eq!(closed, Ok(vec!["Close(None)".to_owned()]));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn who_masks() {
    let refuse = |role, mut bytes: Vec<u8>| Decoder::new(role, 1024, None).step(&mut bytes).map(|step| step.message.is_some());
    assert_eq!(refuse(Role::Server, frame(|into| encode(DataKind::Text, b"x", into))), Err(Violation::Unmasked));
    assert_eq!(refuse(Role::Client, client(Opcode::Text, true, b"x")), Err(Violation::Masked));
    assert_eq!(refuse(Role::Client, frame(|into| encode(DataKind::Text, b"x", into))), Ok(true));
    // A length in a longer form than needed is read: some clients know one form only.
    assert_eq!(refuse(Role::Client, vec![0x81, 126, 0, 1, b'x']), Ok(true));
    assert_eq!(refuse(Role::Client, vec![0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'x']), Ok(true));
    // A control frame has no longer form.
    assert_eq!(refuse(Role::Client, vec![0x89, 126, 0, 1, b'x']), Err(Violation::LongControl));
}

#[test]
fn compression_needs_an_agreement_and_its_place() {
    let rsv1 = |opcode, fin| frame(|into| masked(opcode, fin, true, &deflate::compress(b"x", 15), KEY, into));
    check(99, None, &[rsv1(Opcode::Text, true)], Err(Violation::ReservedBit));
    check(99, Some(agreement()), &[rsv1(Opcode::Ping, true)], Err(Violation::ReservedBit));
    check(99, Some(agreement()), &[client(Opcode::Text, false, b"x"), rsv1(Opcode::Continuation, true)], Err(Violation::ReservedBit));
    check(99, Some(agreement()), &[client(Opcode::Text, true, b"plain")], Ok(&["Text(\"plain\")"]));
    let bad = frame(|into| masked(Opcode::Text, true, true, b"\xff\xff\xff", KEY, into));
    check(99, Some(agreement()), &[bad], Err(Violation::InvalidDeflate));
    let not_utf8 = frame(|into| masked(Opcode::Text, true, true, &deflate::compress(b"\xff", 15), KEY, into));
    check(99, Some(agreement()), &[not_utf8], Err(Violation::TextNotUtf8));
}

/// The examples of RFC 7692 §7.2.3 and what other senders make of them.
#[test]
fn deflate_by_other_senders() {
    let cases: &[(&str, &[u8], &[u8])] = &[
        ("one block", b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        ("not compressed", b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
        ("final block", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        ("two blocks", b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        ("final block without the byte after it", b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        ("two final blocks", b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00", b"HelloHello"),
        ("tail left in place", b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", b"Hello"),
        ("empty", b"\x00", b""),
        ("nothing at all", b"", b""),
    ];
    for (what, payload, expected) in cases {
        assert_eq!(deflate::inflate(payload, 64).as_deref(), Ok(*expected), "{what}");
    }
    assert_eq!(deflate::compress(b"", 15), b"\x00");
    assert_eq!(deflate::inflate(b"\x06", 64), Err(Violation::InvalidDeflate), "a reserved block type");
    assert_eq!(deflate::inflate(b"\x00\x05\x00\xfa\xfe", 64), Err(Violation::InvalidDeflate), "a length that contradicts itself");
}

/// With a small window agreed, nothing refers further back than it allows.
#[test]
fn the_window_is_kept() {
    let mut state = 1u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let noise: Vec<u8> = (0..700).map(|_| noise()).collect();
    let repeated = [&noise[..], &noise[..]].concat();
    let far = deflate::compress(&repeated, 15);
    let near = deflate::compress(&repeated, 9);
    assert!(far.len() < 900, "the repetition is found: {} bytes", far.len());
    assert!(near.len() > 1400, "700 bytes back is out of reach of 512: {} bytes", near.len());
    assert_eq!(deflate::inflate(&near, 4096), Ok(repeated));
}

#[test]
fn frames_out() {
    for (len, expected) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let header = header(DataKind::Binary, true, false, len);
        assert_eq!(header.len(), expected);
        let bytes = frame(|into| encode(DataKind::Binary, &vec![1; len], into));
        assert_eq!((&bytes[..expected], bytes.len()), (&header[..], expected + len));
    }
    assert_eq!(&header(DataKind::Text, false, true, 1)[..], [0x41, 1]);
    assert_eq!(&continuation(true, 300)[..], [0x80, 126, 1, 44]);
    assert_eq!(frame(|into| ping(&[1; 200], into))[..3], [0x89, 125, 1]);
    assert_eq!(frame(|into| pong(b"x", into)), [0x8a, 1, b'x']);
    assert_eq!(frame(|into| close(1001, "bye", into)), b"\x88\x05\x03\xe9bye");
    assert_eq!(frame(|into| close(1005, "ignored", into)), [0x88, 0], "a code that is not for the wire");
    let long = frame(|into| close(4000, &"é".repeat(100), into));
    assert_eq!((long.len(), str::from_utf8(&long[4..]).is_ok()), (2 + 2 + 122, true), "cut at a character");
    assert_eq!(frame(|into| close_masked(1000, "", KEY, into)), [0x88, 0x82, 0xa1, 2, 0xb3, 4, 0x03 ^ 0xa1, 0xe8 ^ 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_mask_is_the_plain_one(payload in proptest::collection::vec(any::<u8>(), 0..100), key: [u8; 4], offset in 0usize..9) {
        let mut fast = payload.clone();
        apply_mask(&mut fast, key, offset);
        let plain: Vec<u8> = payload.iter().enumerate().map(|(index, byte)| byte ^ key[(index + offset) % 4]).collect();
        prop_assert_eq!(fast, plain);
    }

    /// Messages cut into fragments, with pings between them, compressed or not, in pieces of any size.
    #[test]
    fn messages_survive_the_wire(
        messages in proptest::collection::vec((any::<bool>(), any::<bool>(), ".{0,300}", 1usize..200), 1..5),
        key: [u8; 4],
        piece in 1usize..400,
    ) {
        let mut bytes = BytesMut::new();
        let mut expected = Vec::new();
        for (text, compressed, payload, fragment_bytes) in &messages {
            let opcode = if *text { Opcode::Text } else { Opcode::Binary };
            let wire = if *compressed { deflate::compress(payload.as_bytes(), 15) } else { payload.as_bytes().to_vec() };
            let count = wire.len().div_ceil(*fragment_bytes).max(1);
            for index in 0..count {
                let part = &wire[index * fragment_bytes..wire.len().min((index + 1) * fragment_bytes)];
                let opcode = if index == 0 { opcode } else { Opcode::Continuation };
                masked(opcode, index + 1 == count, *compressed && index == 0, part, key, &mut bytes);
                if index + 1 < count {
                    masked(Opcode::Ping, true, false, &[index as u8], key, &mut bytes);
                    expected.push(format!("{:?}", Message::Ping(&[index as u8])));
                }
            }
            expected.push(match text {
                true => format!("{:?}", Message::Text(payload)),
                false => format!("{:?}", Message::Binary(payload.as_bytes())),
            });
        }
        let mut decoder = Decoder::new(Role::Server, 4096, Some(agreement()));
        let mut seen = Vec::new();
        for part in bytes.chunks_mut(piece) {
            seen.extend(decode(&mut decoder, part).unwrap());
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn server_frames_survive_the_wire(text in ".{0,200}", binary in proptest::collection::vec(any::<u8>(), 0..200), bits in 9u8..=15) {
        let mut bytes = frame(|into| {
            encode(DataKind::Text, text.as_bytes(), into);
            encode(DataKind::Binary, &binary, into);
            into.extend_from_slice(&deflate::message(DataKind::Text, text.as_bytes(), bits));
            pong(b"p", into);
        });
        let mut client = Decoder::new(Role::Client, 1 << 20, Some(agreement()));
        let text = format!("{:?}", Message::Text(&text));
        let expected = vec![text.clone(), format!("{:?}", Message::Binary(&binary)), text, format!("{:?}", Message::Pong(b"p"))];
        prop_assert_eq!(decode(&mut client, &mut bytes), Ok(expected));
    }

    /// A text is refused at the first byte that no text can have, wherever it is cut.
    #[test]
    fn bad_text_fails_at_once(prefix in "\\PC{0,10}", bad in proptest::sample::select(&BAD_TEXT[..])) {
        let payload = [prefix.as_bytes(), bad, &[b'x'; 50]].concat();
        let header = client(Opcode::Text, true, &payload);
        let start = header.len() - payload.len();
        let seen_at = start + prefix.len() + bad.len();
        let mut decoder = Decoder::new(Role::Server, 4096, None);
        for end in 1..=seen_at {
            let seen = decode(&mut decoder, &mut header[end - 1..end].to_vec());
            prop_assert_eq!(seen, if end == seen_at { Err(Violation::TextNotUtf8) } else { Ok(vec![]) });
        }
    }

    #[test]
    fn masked_frames_are_unmasked(payload in proptest::collection::vec(any::<u8>(), 0..70_000), key: [u8; 4]) {
        let mut bytes = frame(|into| encode_masked(DataKind::Binary, &payload, key, into));
        let mut decoder = Decoder::new(Role::Server, 1 << 20, None);
        let step = decoder.step(&mut bytes).unwrap();
        prop_assert_eq!(step.message, Some(Message::Binary(&payload)));
    }
}

/// Each can't be the start of any text at its last byte, and not before.
const BAD_TEXT: [&[u8]; 5] = [b"\xff", b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xe2\x28"];
