//! Groups 12 and 13: permessage-deflate with five kinds of data, eighteen sizes and seven sets of parameters.
//!
//! The suite's own data files are not ours to ship: each kind is made here with the same character. Four messages per case
//! stand for its thousand, for a message leaves no state behind in either direction.

use omnivox_wire::ws::Role;
use omnivox_wire::ws::deflate::{self, Agreement, Offers};

use crate::echo::{Echo, Frame, Heard, Tester};

/// Message size, and fragment size (0 means one frame), in the suite's order.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1024, 0),
    (4096, 0),
    (8192, 0),
    (16384, 0),
    (32768, 0),
    (65536, 0),
    (131_072, 0),
    (8192, 256),
    (16384, 256),
    (32768, 256),
    (65536, 256),
    (131_072, 256),
    (131_072, 1024),
    (131_072, 4096),
    (131_072, 32768),
];

/// The offers of 13.1 to 13.7, and the window that we agree on.
const OFFERS: [(&str, u8); 7] = [
    ("permessage-deflate; client_no_context_takeover; client_max_window_bits", 15),
    ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover", 15),
    ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=9", 9),
    ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=15", 15),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; \
         server_max_window_bits=9",
        9,
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; \
         server_max_window_bits=15",
        15,
    ),
    (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, \
         permessage-deflate; server_no_context_takeover, permessage-deflate",
        9,
    ),
];

/// JSON, bitmap, prose, HTML, and something already compressed.
fn data(kind: usize, len: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        let number = random();
        match kind {
            0 => bytes.extend_from_slice(format!("{{\"id\":{},\"näme\":\"user\"}},", number % 9999).as_bytes()),
            1 => bytes.extend_from_slice(&[(number % 7) as u8 + 120; 3]),
            2 => bytes.extend_from_slice(["Habe ", "nun, ", "ach! ", "Philosophie "][number as usize % 4].as_bytes()),
            3 => bytes.extend_from_slice(format!("<td class=\"c{}\">x</td>\n", number % 5).as_bytes()),
            _ => bytes.extend_from_slice(&number.to_le_bytes()),
        }
    }
    bytes.truncate(len);
    if kind == 0 && str::from_utf8(&bytes).is_err() {
        // A character was cut at the end: the kind is text.
        bytes.pop();
        bytes.push(b'.');
    }
    bytes
}

fn check(id: &str, kind: usize, size: (usize, usize), agreement: Agreement) {
    let (len, fragment_bytes) = size;
    let mut echo = Echo::new(Role::Server, 1 << 20, Some(agreement));
    let mut tester = Tester::new(Role::Server, Some(agreement));
    let opcode = if matches!(kind, 0 | 3) { 1 } else { 2 };
    for seed in 0..MESSAGES {
        let payload = data(kind, len, seed + 1);
        let compressed = deflate::compress(&payload, 15);
        let fragment_bytes = if fragment_bytes == 0 { compressed.len() } else { fragment_bytes };
        let mut bytes = Vec::new();
        let mut fragments = compressed.chunks(fragment_bytes).enumerate().peekable();
        while let Some((index, fragment)) = fragments.next() {
            let (opcode, rsv) = if index == 0 { (opcode, 4) } else { (0, 0) };
            let frame = Frame { opcode, fin: fragments.peek().is_none(), rsv, payload: fragment.to_vec() };
            tester.write(&frame, &mut bytes);
        }
        tester.exchange(&mut echo, &mut bytes, if seed % 2 == 0 { usize::MAX } else { 1000 });
        match tester.heard.pop() {
            Some(Heard::Text(text)) => assert!(opcode == 1 && text.as_bytes() == payload, "{id}"),
            Some(Heard::Binary(bytes)) => assert!(opcode == 2 && bytes == payload, "{id}"),
            other => panic!("case {id}: heard {other:?}, violation {:?}", echo.violation),
        }
        assert_eq!(echo.buffered(), 0, "case {id}: nothing is kept between messages");
    }
    assert!(tester.heard.is_empty());
}

#[test]
fn compression_cases() {
    let agreement = Offers::parse(["permessage-deflate; client_no_context_takeover; client_max_window_bits"]).unwrap().accept().unwrap();
    for kind in 0..5 {
        for (index, size) in SIZES.into_iter().enumerate() {
            check(&format!("12.{}.{}", kind + 1, index + 1), kind, size, agreement);
        }
    }
}

#[test]
fn parameter_cases() {
    for (group, (offer, window_bits)) in OFFERS.into_iter().enumerate() {
        let agreement = Offers::parse([offer]).unwrap().accept().expect(offer);
        assert_eq!(agreement.server_window_bits(), window_bits, "{offer}");
        // A client reads our answer as agreement too.
        let answer = agreement.to_string();
        assert_eq!(Offers::parse([&answer]).unwrap().read_answer(), Ok(Some(agreement)));
        for (index, size) in SIZES.into_iter().enumerate() {
            check(&format!("13.{}.{}", group + 1, index + 1), 0, size, agreement);
        }
    }
}

const MESSAGES: usize = 4;
