//! A client on a WebSocket, and the few bytes of framing that it and the floor servers need.
//!
//! Deliberately not the codec of crate `wire`: a scan that reads three header bytes and hands on a slice is what a generator wants, and a mistake in the
//! server's codec must not be mirrored by its judge. Fragmented and compressed messages are refused by name; the load tool asks for neither.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::http::Head;
use super::{Carry, Hear, Heard, Purpose};
use crate::payload::{excerpt, is_message};

/// One WebSocket client.
#[derive(Debug)]
pub(crate) struct WsTalk {
    phase: Phase,
    purpose: Purpose,
    /// Subscriptions that do not stand yet.
    awaited: usize,
    carry: Carry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Joining,
    Open,
}

/// A message of the server that carries no publication.
#[derive(Debug, Deserialize)]
struct Notice {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    gap: bool,
}

impl WsTalk {
    pub(crate) fn open(host: &str, purpose: Purpose, send: &mut Vec<u8>) -> Self {
        let path = path(&purpose);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        send.extend_from_slice(head.as_bytes());
        Self { phase: Phase::Handshake, purpose, awaited: 0, carry: Carry::default() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<()> {
        let mut carry = std::mem::take(&mut self.carry);
        let outcome = carry.feed(bytes, |bytes| {
            let mut used = 0;
            if self.phase == Phase::Handshake {
                let Some(head) = self.take_head(bytes, send, hear)? else {
                    return Ok(0);
                };
                used = head;
            }
            while let Some((frame, length)) = next_frame(&bytes[used..])? {
                self.take_frame(&frame, send, hear)?;
                used += length;
            }
            Ok(used)
        });
        self.carry = carry;
        outcome
    }

    fn take_head(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>> {
        let Some(head) = Head::parse(bytes)? else {
            return Ok(None);
        };
        head.expect(101, path(&self.purpose), bytes)?;
        ensure!(head.websocket_accept.as_deref() == Some(ACCEPT), "the server's Sec-WebSocket-Accept is {:?}", head.websocket_accept);
        match &mut self.purpose {
            Purpose::Subscribe { channel, since } => {
                write_masked(send, Opcode::Text, &subscribe(channel, since.as_deref())?);
                self.awaited = 1;
            }
            Purpose::Follow { patterns } => {
                for pattern in patterns.iter() {
                    let wish = serde_json::json!({"type": "subscribe", "pattern": pattern}).to_string();
                    write_masked(send, Opcode::Text, wish.as_bytes());
                }
                self.awaited = std::mem::take(patterns).len();
            }
            Purpose::Echo | Purpose::Publish => {}
        }
        self.phase = if self.awaited > 0 { Phase::Joining } else { Phase::Open };
        if self.phase == Phase::Open {
            hear(Heard::Subscribed)?;
        }
        Ok(Some(head.bytes))
    }

    fn take_frame(&mut self, frame: &Frame<'_>, send: &mut Vec<u8>, hear: Hear<'_>) -> Result<()> {
        match frame.opcode {
            Opcode::Text => self.take_text(frame.payload, hear),
            Opcode::Ping => {
                write_masked(send, Opcode::Pong, frame.payload);
                Ok(())
            }
            Opcode::Pong => Ok(()),
            Opcode::Close => bail!("the server closed the connection: {}", close(frame.payload)),
        }
    }

    fn take_text(&mut self, text: &[u8], hear: Hear<'_>) -> Result<()> {
        if matches!(self.purpose, Purpose::Echo) {
            return hear(Heard::Text(text));
        }
        let message = is_message(text);
        if !message || self.phase == Phase::Joining {
            self.take_notice(text, hear)?;
        }
        if message {
            hear(Heard::Text(text))?;
        }
        Ok(())
    }

    fn take_notice(&mut self, text: &[u8], hear: Hear<'_>) -> Result<()> {
        let notice: Notice = serde_json::from_slice(text).with_context(|| format!("the server sent {}", excerpt(text)))?;
        match notice.kind.as_str() {
            "error" => bail!("the server refused: {}", excerpt(text)),
            "subscribed" if self.phase == Phase::Joining => {
                self.awaited -= 1;
                if self.awaited == 0 {
                    self.phase = Phase::Open;
                    hear(Heard::Subscribed)?;
                }
            }
            _ => {}
        }
        if notice.gap || notice.kind == "gap" {
            hear(Heard::Gap)?;
        }
        Ok(())
    }
}

fn path(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Echo => "/echo",
        Purpose::Subscribe { .. } | Purpose::Follow { .. } | Purpose::Publish => "/ws",
    }
}

fn subscribe(channel: &str, since: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut message = serde_json::json!({"type": "subscribe", "channel": channel});
    if let Some(mark) = since {
        message["since"] = std::str::from_utf8(mark).context("a mark is text")?.into();
    }
    Ok(message.to_string().into_bytes())
}

pub(super) fn close(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("{code} {}", excerpt(reason))
        }
        _ => "without a code".to_owned(),
    }
}

/// The kinds of frame that the load tool meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// One whole frame, still masked when it came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
    pub(crate) mask: Option<[u8; 4]>,
}

impl Frame<'_> {
    /// The payload in clear.
    pub(crate) fn clear(&self) -> Vec<u8> {
        let mut payload = self.payload.to_vec();
        if let Some(mask) = self.mask {
            apply(&mut payload, mask);
        }
        payload
    }
}

/// The frame at the start of `bytes` with its length, `None` while it is not complete.
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        other => bail!("a frame that begins with {other:#04x} is not understood here"),
    };
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (usize::try_from(u64::from_be_bytes(*length))?, rest),
            None => return Ok(None),
        },
        short => (usize::from(short), rest),
    };
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let (mask, rest) = if second & 0x80 == 0 {
        (None, rest)
    } else {
        match rest.split_first_chunk::<4>() {
            Some((mask, rest)) => (Some(*mask), rest),
            None => return Ok(None),
        }
    };
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let whole = bytes.len() - rest.len() + length;
    let frame = Frame { opcode, payload, mask };
    Ok(Some((frame, whole)))
}

/// Appends a frame as a server sends it.
pub(crate) fn write_frame(into: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(into, opcode, payload.len(), 0);
    into.extend_from_slice(payload);
}

/// Appends a frame as a client sends it.
pub(crate) fn write_masked(into: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(into, opcode, payload.len(), 0x80);
    into.extend_from_slice(&MASK);
    let start = into.len();
    into.extend_from_slice(payload);
    apply(&mut into[start..], MASK);
}

fn write_header(into: &mut Vec<u8>, opcode: Opcode, length: usize, masked: u8) {
    into.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => into.push(masked | short),
        (_, Ok(medium)) => {
            into.push(masked | 126);
            into.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            into.push(masked | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The handshake key of every connection of the load tool: the standard's own sample, so that nobody here needs SHA-1.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The only right answer to that key.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const MASK: [u8; 4] = [0x2a, 0x51, 0xc3, 0x0f];
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::Transport::Ws;
    use super::super::transcript::{check, check_refused, heard, listen};
    use super::*;

    fn server(texts: &[&str]) -> Vec<u8> {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        let mut bytes = format!("{head}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n").into_bytes();
        for text in texts {
            write_frame(&mut bytes, Opcode::Text, text.as_bytes());
        }
        bytes
    }

    const MESSAGE: &str = r#"{"type":"message","channel":"c","id":"e-1","data":{"seq":1,"sent_ns":2}}"#;
    const SUBSCRIBED: &str = r#"{"type":"subscribed","channel":"c"}"#;

    #[test]
    fn a_subscription_and_its_messages() {
        let text = format!("text {MESSAGE}");
        let bytes = server(&[r#"{"type":"connected"}"#, SUBSCRIBED, MESSAGE]);
        check(Ws, &listen("c", None), &bytes, &["subscribed", &text]);

        let (_, sent) = heard(Ws, &listen("c", None), &bytes, 9).unwrap();
        assert!(sent.starts_with("GET /ws HTTP/1.1\r\n"), "{sent}");
    }

    #[test]
    fn a_resume_with_the_missed_events_and_a_gap() {
        let text = format!("text {MESSAGE}");
        let missed = r#"{"type":"subscribed","channel":"c","events":[{"seq":3}],"gap":true}"#;
        let missed_text = format!("text {missed}");
        let expected = ["subscribed", "gap", &missed_text, &text];
        check(Ws, &listen("c", Some("e-0")), &server(&[missed, MESSAGE]), &expected);
        let told_later = server(&[SUBSCRIBED, r#"{"type":"gap","channel":"c"}"#]);
        check(Ws, &listen("c", Some("e-0")), &told_later, &["subscribed", "gap"]);
    }

    #[test]
    fn pings_are_answered() {
        let mut bytes = server(&[SUBSCRIBED]);
        write_frame(&mut bytes, Opcode::Ping, b"hi");
        let mut send = Vec::new();
        let mut talk = WsTalk::open("h", listen("c", None), &mut send);
        talk.feed(&bytes, &mut send, &mut |_| Ok(())).unwrap();
        let mut pong = Vec::new();
        write_masked(&mut pong, Opcode::Pong, b"hi");
        assert!(send.ends_with(&pong));
    }

    #[test]
    fn echo_hears_whatever_comes() {
        check(Ws, &Purpose::Echo, &server(&["x", MESSAGE]), &["subscribed", "text x", &format!("text {MESSAGE}")]);
    }

    #[test]
    fn refusals() {
        let error = r#"{"type":"error","code":"denied"}"#;
        check_refused(Ws, &listen("c", None), &server(&[error]), "denied");
        let mut closed = server(&[]);
        write_frame(&mut closed, Opcode::Close, b"\x03\xf0slow");
        check_refused(Ws, &listen("c", None), &closed, "1008 slow");
        let plain = b"HTTP/1.1 404 Not Found\r\n\r\nnothing here";
        check_refused(Ws, &listen("c", None), plain, "answered 404");
        let wrong = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: abc\r\n\r\n";
        check_refused(Ws, &listen("c", None), wrong, "Sec-WebSocket-Accept");
    }

    #[test]
    fn frames_of_all_lengths_go_there_and_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
            for masked in [false, true] {
                let mut bytes = Vec::new();
                if masked {
                    write_masked(&mut bytes, Opcode::Text, &payload);
                } else {
                    write_frame(&mut bytes, Opcode::Text, &payload);
                }
                for cut in [0, 1, 2, 5, 9, bytes.len() - 1] {
                    if cut < bytes.len() {
                        assert_eq!(next_frame(&bytes[..cut]).unwrap(), None, "{length} {cut}");
                    }
                }
                let (frame, used) = next_frame(&bytes).unwrap().unwrap();
                assert_eq!(frame.clear(), payload);
                assert_eq!(used, bytes.len());
                assert_eq!(frame.mask.is_some(), masked);
            }
        }
        assert!(next_frame(&[0x01, 0x00]).is_err(), "a fragment");
        assert!(next_frame(&[0xc1, 0x00]).is_err(), "a compressed message");
        assert!(next_frame(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
