//! The codecs' hot paths as a program whose instructions `cargo xtask counts` counts.
//!
//! `wire_hot_paths` lists them; `wire_hot_paths NAME ROUNDS` runs one. What a round costs is the difference between two runs of different
//! length, so that start-up cancels out.
#![expect(clippy::disallowed_methods, reason = "a program reads its arguments")]

use std::hint::black_box;

use bytes::BytesMut;
use omnivox_wire::http1::{HeadLimits, RequestHead};
use omnivox_wire::sse::Event;
use omnivox_wire::ws::{DataKind, Decoder, Role, encode, encode_masked};

type HotPath = (&'static str, fn(u32));

const PATHS: &[HotPath] = &[
    ("ws-encode-120-bytes", ws_encode),
    ("ws-decode-120-bytes", ws_decode),
    ("sse-encode-120-bytes", sse_encode),
    ("http-head-of-a-browser", http_head),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = arguments.as_slice() else {
        return PATHS.iter().for_each(|(name, _)| println!("{name}"));
    };
    let (_, path) = PATHS.iter().find(|(known, _)| known == name).expect("a name from the list");
    path(rounds.parse().expect("a number of rounds"));
}

/// What a small chat message looks like: 120 bytes.
fn payload() -> String {
    format!(r#"{{"type":"message","channel":"general","id":"1x2y3z-1","event":"chat","data":"{}"}}"#, "x".repeat(41))
}

fn ws_encode(rounds: u32) {
    let payload = payload();
    let mut frame = BytesMut::with_capacity(256);
    for _ in 0..rounds {
        frame.clear();
        encode(DataKind::Text, black_box(payload.as_bytes()), &mut frame);
        black_box(&frame);
    }
}

fn ws_decode(rounds: u32) {
    let mut masked = BytesMut::new();
    encode_masked(DataKind::Text, payload().as_bytes(), [1, 2, 3, 4], &mut masked);
    let mut decoder = Decoder::new(Role::Server, 65_536, None);
    let mut input = masked.to_vec();
    for _ in 0..rounds {
        input.copy_from_slice(&masked);
        black_box(decoder.step(black_box(&mut input)).expect("a good frame"));
    }
}

fn sse_encode(rounds: u32) {
    let payload = payload();
    let mut block = BytesMut::with_capacity(256);
    for _ in 0..rounds {
        block.clear();
        let event = Event { id: Some("1x2y3z.100"), data: Some(black_box(&payload)), ..Event::default() };
        event.encode(&mut block).expect("a good event");
        black_box(&block);
    }
}

fn http_head(rounds: u32) {
    let head = "GET /sse?channel=general HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: keep-alive\r\nAccept: text/event-stream\r\n\
        Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en\r\nReferer: http://127.0.0.1:8080/\r\n\r\n";
    let limits = HeadLimits::default();
    for _ in 0..rounds {
        black_box(RequestHead::parse(black_box(head.as_bytes()), &limits).expect("a good head"));
    }
}
