//! Every fuzz body on seeded random input: valid samples that are cut, spliced, repeated and flipped.
//!
//! A fixed number of rounds, about a second in all, so that `cargo test` always runs what `cargo fuzz` runs for longer.

use bytes::BytesMut;
use omnivox_wire::fuzzing;
use omnivox_wire::ws::{DataKind, Opcode, deflate, encode, encode_masked, masked};

/// SplitMix64: the input depends on the seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Joins samples and damages them a little; one time in sixteen it is noise.
fn input(random: &mut Random, samples: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    if random.below(16) == 0 {
        return (0..random.below(64)).map(|_| random.next() as u8).collect();
    }
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        bytes.extend_from_slice(&samples[random.below(samples.len())]);
    }
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        let end = at + random.below((bytes.len() - at).min(16));
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            3 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            4 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => drop(bytes.splice(at..at, words[random.below(words.len())].iter().copied())),
        }
    }
    bytes
}

/// Runs one body on `rounds` inputs.
fn check(body: fn(&[u8]), rounds: usize, prefix_bytes: usize, samples: &[Vec<u8>], words: &[&[u8]]) {
    let mut random = Random(rounds as u64);
    for _ in 0..rounds {
        let mut bytes: Vec<u8> = (0..prefix_bytes).map(|_| random.next() as u8 % 48).collect();
        bytes.extend(input(&mut random, samples, words));
        body(&bytes);
    }
}

#[test]
fn ws_decoder() {
    let mut samples = Vec::new();
    let mut sample = |write: &dyn Fn(&mut BytesMut)| {
        let mut frame = BytesMut::new();
        write(&mut frame);
        samples.push(frame.to_vec());
    };
    for key in [[0; 4], [1, 2, 3, 4]] {
        sample(&|into| encode_masked(DataKind::Text, "héllo".as_bytes(), key, into));
        sample(&|into| masked(Opcode::Text, false, false, "frag €".as_bytes(), key, into));
        sample(&|into| masked(Opcode::Continuation, false, false, b"", key, into));
        sample(&|into| masked(Opcode::Continuation, true, false, b"end", key, into));
        sample(&|into| masked(Opcode::Ping, true, false, b"ping", key, into));
        sample(&|into| masked(Opcode::Binary, true, true, &deflate::compress(&[7; 300], 15), key, into));
        sample(&|into| masked(Opcode::Close, true, false, b"\x03\xe8bye", key, into));
    }
    sample(&|into| encode(DataKind::Binary, &[9; 200], into));
    sample(&|into| encode(DataKind::Text, &[b'x'; 4096], into));
    sample(&|into| into.extend_from_slice(&deflate::message(DataKind::Text, &[b'y'; 900], 9)));
    check(fuzzing::ws_decoder, 60_000, 2, &samples, &[&[0x81, 0xfe], &[0xff; 8], &[0xc3], &[0x80, 0x80, 0, 0, 0, 0]]);
}

#[test]
fn inflate() {
    let text = b"to be or not to be, that is the question ".repeat(20);
    let mut samples: Vec<_> = (9..=15).map(|bits| deflate::compress(&text, bits)).collect();
    samples.push(deflate::compress(&vec![0; 1 << 20], 15));
    samples.push(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00".to_vec());
    samples.push(text);
    check(fuzzing::inflate, 1_500, 0, &samples, &[&[0, 0, 0xff, 0xff], &[3, 0], &[0xff; 4]]);
}

#[test]
fn http_head() {
    let samples = [
        "GET /ws?a=1 HTTP/1.1\r\nHost: h:80\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Protocol: a, b\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        "POST /a%2Fb HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost:h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    let words: [&[u8]; 10] = [b"\r", b"\n", b"\r\n", b" ", b":", b"\0", b"Host: x\r\n", b"\r\n ", b"\xff", b"Content-Length: 1\r\n"];
    check(fuzzing::http_head, 30_000, 0, &samples, &words);
}

#[test]
fn chunked() {
    let samples = ["5\r\nhello\r\n", "a;x=y\r\n0123456789\r\n", "0\r\n\r\n", "0\r\nTrailer: x\r\n\r\n", "FFFF\r\n"];
    let samples = samples.map(|text| text.as_bytes().to_vec());
    check(fuzzing::chunked, 100_000, 1, &samples, &[b"\r", b"\n", b"\r\n", b"0", b"ffffffffffffffff", b"-1", b";"]);
}

#[test]
fn sse() {
    let samples = ["data: x\n\n", "id: 1\nevent: e\ndata: a\ndata: b\n\n", ":c\r\n", "retry: 5\r\r", "\u{feff}data:é\n\n"];
    let samples = samples.map(|text| text.as_bytes().to_vec());
    check(fuzzing::sse, 60_000, 1, &samples, &[b"\r", b"\n", b"\0", b": ", b"\xff", b"data", b"\xef\xbb\xbf"]);
}

#[test]
fn query() {
    let samples = ["a=1&b=2", "channel=n%C3%A9ws+x", "/v1/a%2Fb/c", "/%2e%2E/..", "&&=", "flag"];
    let samples = samples.map(|text| text.as_bytes().to_vec());
    check(fuzzing::query, 100_000, 0, &samples, &[b"%", b"%2", b"%ff", b"%00", b"+", b"=", b"&", b"/", b"\\", b"%5c", b".."]);
}

#[test]
fn proxy_header() {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let binary = |rest: &[u8]| [&signature[..], rest].concat();
    let samples = [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
        b"PROXY UNKNOWN whatever\r\n".to_vec(),
        binary(b"\x20\0\0\0"),
        binary(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb"),
        binary(b"\x21\x11\0\x14\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb\x20\0\x05\x01\0\0\0\0"),
        binary(&[&[0x21, 0x21, 0, 36][..], &[0x20; 36]].concat()),
    ];
    check(fuzzing::proxy_header, 100_000, 0, &samples, &[b"\r\n", b" ", b"PROXY ", b"\0", b"\xff\xff", signature]);
}
