//! An echo peer in memory, as a carrier drives the codec, and the tester at the other end of it.

use bytes::BytesMut;
use omnivox_wire::ws::deflate::{self, Agreement};
use omnivox_wire::ws::{self, DataKind, Decoder, Message, Opcode, Role, Violation};

/// The peer under test: echoes text and binary, answers pings and close frames.
pub(crate) struct Echo {
    role: Role,
    decoder: Decoder,
    deflate: Option<Agreement>,
    pub(crate) violation: Option<Violation>,
    pub(crate) closed: bool,
    pub(crate) out: BytesMut,
}

impl Echo {
    pub(crate) fn new(role: Role, message_bytes_max: usize, deflate: Option<Agreement>) -> Self {
        let decoder = Decoder::new(role, message_bytes_max, deflate);
        Self { role, decoder, deflate, violation: None, closed: false, out: BytesMut::new() }
    }

    pub(crate) fn receive(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        loop {
            let step = match self.decoder.step(&mut bytes[at..]) {
                Ok(step) => step,
                Err(violation) => {
                    self.violation = Some(violation);
                    self.closed = true;
                    return write_close(self.role, violation.code(), violation.reason(), &mut self.out);
                }
            };
            at += step.consumed;
            let (role, out) = (self.role, &mut self.out);
            match step.message {
                Some(Message::Text(text)) => write(role, DataKind::Text, text.as_bytes(), self.deflate, out),
                Some(Message::Binary(bytes)) => write(role, DataKind::Binary, bytes, self.deflate, out),
                Some(Message::Ping(bytes)) => write_control(role, Opcode::Pong, bytes, out),
                Some(Message::Pong(_)) => {}
                Some(Message::Close(reason)) => {
                    self.closed = true;
                    match reason {
                        Some((code, reason)) => write_close(role, code, reason, out),
                        None => write_control(role, Opcode::Close, b"", out),
                    }
                }
                None => {
                    assert_eq!(at, bytes.len(), "without a message all input is consumed");
                    break;
                }
            }
        }
    }

    pub(crate) fn buffered(&self) -> usize {
        self.decoder.buffered()
    }
}

fn write(role: Role, kind: DataKind, payload: &[u8], deflate: Option<Agreement>, out: &mut BytesMut) {
    match (role, deflate) {
        (Role::Server, None) => ws::encode(kind, payload, out),
        (Role::Server, Some(agreement)) => {
            out.extend_from_slice(&deflate::message(kind, payload, agreement.server_window_bits()));
        }
        (Role::Client, None) => ws::encode_masked(kind, payload, KEY, out),
        (Role::Client, Some(_)) => {
            ws::masked(kind.into(), true, true, &deflate::compress(payload, 15), KEY, out);
        }
    }
}

fn write_control(role: Role, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
    match (role, opcode) {
        (Role::Client, _) => ws::masked(opcode, true, false, payload, KEY, out),
        (Role::Server, Opcode::Pong) => ws::pong(payload, out),
        (Role::Server, _) => ws::close(1005, "", out),
    }
}

fn write_close(role: Role, code: u16, reason: &str, out: &mut BytesMut) {
    match role {
        Role::Server => ws::close(code, reason, out),
        Role::Client => ws::close_masked(code, reason, KEY, out),
    }
}

/// A frame that the tester sends, legal or not.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) fin: bool,
    pub(crate) rsv: u8,
    pub(crate) payload: Vec<u8>,
}

/// What the tester got back.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// A close of the peer's own because a rule was broken.
    Fail(u16),
    /// The connection was still open at a `wait`.
    Wait,
}

/// The other end: writes frames by hand, so that none of our own encoder's care gets in the way of a bad one.
pub(crate) struct Tester {
    peer: Role,
    decoder: Decoder,
    pub(crate) heard: Vec<Heard>,
}

impl Tester {
    /// A tester of a peer in the role `peer`.
    pub(crate) fn new(peer: Role, deflate: Option<Agreement>) -> Self {
        let role = if peer == Role::Server { Role::Client } else { Role::Server };
        Self { peer, decoder: Decoder::new(role, usize::MAX, deflate), heard: Vec::new() }
    }

    /// Appends a frame, masked when the peer is a server.
    pub(crate) fn write(&self, frame: &Frame, into: &mut Vec<u8>) {
        let masked = if self.peer == Role::Server { 0x80 } else { 0 };
        into.push(u8::from(frame.fin) << 7 | frame.rsv << 4 | frame.opcode);
        match frame.payload.len() {
            len @ 0..=125 => into.push(masked | len as u8),
            len @ 126..=0xffff => {
                into.push(masked | 126);
                into.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                into.push(masked | 127);
                into.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        if masked != 0 {
            into.extend_from_slice(&KEY);
            into.extend(frame.payload.iter().enumerate().map(|(index, byte)| byte ^ KEY[index % 4]));
        } else {
            into.extend_from_slice(&frame.payload);
        }
    }

    /// Gives `bytes` to the peer, `chop` at a time, and reads what it answers.
    pub(crate) fn exchange(&mut self, echo: &mut Echo, bytes: &mut [u8], chop: usize) {
        for piece in bytes.chunks_mut(chop) {
            echo.receive(piece);
            self.read(echo);
        }
    }

    pub(crate) fn wait(&mut self, echo: &Echo) {
        if !echo.closed {
            self.heard.push(Heard::Wait);
        }
    }

    /// Closes with 1000.
    pub(crate) fn close(&mut self, echo: &mut Echo) {
        let mut bytes = Vec::new();
        let payload = 1000u16.to_be_bytes().to_vec();
        self.write(&Frame { opcode: 8, fin: true, rsv: 0, payload }, &mut bytes);
        self.exchange(echo, &mut bytes, usize::MAX);
    }

    fn read(&mut self, echo: &mut Echo) {
        let mut bytes = echo.out.split();
        let mut at = 0;
        loop {
            let step = self.decoder.step(&mut bytes[at..]).expect("the echo breaks no rule");
            at += step.consumed;
            self.heard.push(match step.message {
                Some(Message::Text(text)) => Heard::Text(text.to_owned()),
                Some(Message::Binary(bytes)) => Heard::Binary(bytes.to_owned()),
                Some(Message::Pong(bytes)) => Heard::Pong(bytes.to_owned()),
                Some(Message::Close(Some((code, _)))) if echo.violation.is_some() => Heard::Fail(code),
                Some(Message::Close(reason)) => Heard::Close(reason.map(|(code, reason)| (code, reason.to_owned()))),
                Some(Message::Ping(_)) => panic!("the echo sends no pings"),
                None => return,
            });
        }
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
