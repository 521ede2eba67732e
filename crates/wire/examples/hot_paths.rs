//! The codecs' hot paths, each run as often as asked: for instruction counts and profiles.
//!
//! ```text
//! cargo run --release -p omnivox-wire --example hot_paths -- PATH [TIMES] [BYTES]
//! valgrind --tool=callgrind --toggle-collect='*hot*' target/release/examples/hot_paths decode 1000
//! ```
//!
//! Each path is its own function that is never inlined and whose name starts with `hot_`, so that a count can be cut to it. The
//! checksum that is printed keeps the work from being optimised away, and shows that two runs did the same.

#![expect(clippy::disallowed_methods, reason = "a program, not part of the pure crate: it reads its arguments")]

use std::hint::black_box;
use std::process::ExitCode;

use bytes::{Bytes, BytesMut};
use omnivox_wire::http1::{HeadLimits, Query, RequestHead};
use omnivox_wire::sse::Event;
use omnivox_wire::ws::{DataKind, Decoder, Message, Role, deflate, encode, encode_masked, handshake, header};

type Path = (&'static str, &'static str, fn(times: usize, bytes: usize) -> u64);

const PATHS: [Path; 9] = [
    ("decode", "whole masked text frames, sixteen in one read", decode),
    ("decode-cut", "masked text frames that come in two reads", decode_cut),
    ("encode", "server text frames into one buffer", hot_encode),
    ("header", "frame headers for vectored writes", hot_header),
    ("deflate", "one compressed frame for all subscribers", hot_deflate),
    ("inflate", "compressed messages of a client", inflate),
    ("sse", "events with id and name", hot_sse),
    ("head", "a browser's WebSocket request head, parsed and accepted", hot_head),
    ("query", "a query string with escapes", hot_query),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| arguments.get(index).map_or(Some(default), |text| text.parse().ok());
    let path = arguments.first().and_then(|name| PATHS.iter().find(|(other, ..)| other == name));
    let (Some((name, _, run)), Some(times), Some(bytes)) = (path, number(1, 100_000), number(2, 120)) else {
        eprintln!("hot_paths PATH [TIMES=100000] [BYTES=120]");
        for (name, what, _) in PATHS {
            eprintln!("  {name:<11} {what}");
        }
        return ExitCode::from(2);
    };
    println!("{name} times={times} bytes={bytes} checksum={}", run(times, bytes));
    ExitCode::SUCCESS
}

/// JSON-like text of about `bytes`.
fn text(bytes: usize) -> String {
    let unit = r#"{"type":"message","channel":"general","id":"1-42","data":{"text":"hello"}}"#;
    let mut text = unit.repeat(bytes / unit.len() + 1);
    text.truncate(bytes);
    text
}

fn masked_text(bytes: usize) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_masked(DataKind::Text, text(bytes).as_bytes(), [0x37, 0xfa, 0x21, 0x3d], &mut frame);
    frame
}

/// Decodes everything in `input` and counts payload bytes.
#[inline(never)]
fn hot_drain(decoder: &mut Decoder, input: &mut [u8]) -> u64 {
    let (mut at, mut count) = (0, 0);
    while let Ok(step) = decoder.step(&mut input[at..]) {
        at += step.consumed;
        match step.message {
            Some(Message::Text(text)) => count += black_box(text).len() as u64,
            Some(_) => {}
            None => break,
        }
    }
    count
}

fn decode(times: usize, bytes: usize) -> u64 {
    let reads = BytesMut::from(&masked_text(bytes).repeat(16)[..]);
    let mut input = reads.clone();
    let mut decoder = Decoder::new(Role::Server, 1 << 20, None);
    (0..times.div_ceil(16))
        .map(|_| {
            input.copy_from_slice(&reads);
            hot_drain(&mut decoder, &mut input)
        })
        .sum()
}

fn decode_cut(times: usize, bytes: usize) -> u64 {
    let read = masked_text(bytes);
    let mut input = read.clone();
    let mut decoder = Decoder::new(Role::Server, 1 << 20, None);
    (0..times)
        .map(|_| {
            input.copy_from_slice(&read);
            let (first, second) = input.split_at_mut(read.len() / 2);
            hot_drain(&mut decoder, first) + hot_drain(&mut decoder, second)
        })
        .sum()
}

fn inflate(times: usize, bytes: usize) -> u64 {
    let agreement = deflate::Offers::parse(["permessage-deflate"]).ok().and_then(|offers| offers.accept());
    // A server's frame read in the role of the client: the same path without the mask.
    let frame = deflate::message(DataKind::Text, text(bytes).as_bytes(), 15);
    let mut input = frame.to_vec();
    let mut decoder = Decoder::new(Role::Client, 1 << 20, agreement);
    (0..times)
        .map(|_| {
            input.copy_from_slice(&frame);
            hot_drain(&mut decoder, &mut input)
        })
        .sum()
}

#[inline(never)]
fn hot_encode(times: usize, bytes: usize) -> u64 {
    let payload = text(bytes);
    let mut into = BytesMut::new();
    let mut count = 0;
    for _ in 0..times {
        into.clear();
        encode(DataKind::Text, black_box(payload.as_bytes()), &mut into);
        count += into.len() as u64;
    }
    count
}

#[inline(never)]
fn hot_header(times: usize, bytes: usize) -> u64 {
    (0..times).map(|_| black_box(header(DataKind::Text, true, false, black_box(bytes))).len() as u64).sum()
}

#[inline(never)]
fn hot_deflate(times: usize, bytes: usize) -> u64 {
    let payload = Bytes::from(text(bytes));
    (0..times).map(|_| deflate::message(DataKind::Text, black_box(&payload), 15).len() as u64).sum()
}

#[inline(never)]
fn hot_sse(times: usize, bytes: usize) -> u64 {
    let payload = text(bytes);
    let mut into = BytesMut::new();
    let mut count = 0;
    for _ in 0..times {
        into.clear();
        let event = Event { id: Some("1abc-42"), event: Some("chat"), retry_ms: None, data: Some(black_box(&payload)) };
        if event.encode(&mut into).is_ok() {
            count += into.len() as u64;
        }
    }
    count
}

#[inline(never)]
fn hot_head(times: usize, _bytes: usize) -> u64 {
    let limits = HeadLimits::default();
    let mut count = 0;
    for _ in 0..times {
        if let Ok(Some((head, end))) = RequestHead::parse(black_box(BROWSER_REQUEST.as_bytes()), &limits)
            && let Ok(accept) = handshake::check(&head)
        {
            count += (end + black_box(accept).protocols.len()) as u64;
        }
    }
    count
}

#[inline(never)]
fn hot_query(times: usize, _bytes: usize) -> u64 {
    let query = "channel=general&channel=n%C3%A9ws&last=1abc-42&timeout=30";
    (0..times).map(|_| Query::new(black_box(query)).flatten().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>()).sum()
}

const BROWSER_REQUEST: &str = "GET /ws?channel=general HTTP/1.1\r\n\
Host: localhost:8080\r\n\
Connection: Upgrade\r\n\
Pragma: no-cache\r\n\
Cache-Control: no-cache\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
Upgrade: websocket\r\n\
Origin: http://localhost:8080\r\n\
Sec-WebSocket-Version: 13\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
