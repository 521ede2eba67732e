//! A client of Socket.IO, on a WebSocket or on held polls: what `socket.io-client` says when it connects, joins a room and listens.
//!
//! ```text
//! < 0{"sid":…}   > 40   < 40{…}   > 420["join","bench-0"]   < 430[…]   then   < 42["bench",{"seq":1,…}]   and   < 2   > 3
//! ```
//!
//! Servers that are measured beside omnivox need two handlers: `join` with a room, acknowledged, and `publish` with a room, an event and its data.
//! On polls everything goes over one connection, one request behind the other: what is to be said is posted before the next poll.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};

use super::http::Head;
use super::ws::{ACCEPT, KEY, Opcode, close, next_frame, write_masked};
use super::{Carry, Hear, Heard, Purpose};
use crate::payload::{excerpt, is_message, string_member};

/// One client.
#[derive(Debug)]
pub(crate) struct SocketIoTalk {
    carrier: Carrier,
    phase: Phase,
    /// The packet that joins the room.
    join: Option<Vec<u8>>,
    carry: Carry,
}

#[derive(Debug)]
enum Carrier {
    WebSocket {
        shaken: bool,
    },
    Polling {
        host: String,
        sid: String,
        /// The request on its way is a POST.
        posted: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Connecting,
    Joining,
    Open,
}

impl SocketIoTalk {
    /// Opens a session; `polling` says over what.
    pub(crate) fn open(host: &str, polling: bool, purpose: &Purpose, send: &mut Vec<u8>) -> Self {
        let join = match purpose {
            Purpose::Subscribe { channel, since: None } => Some(serde_json::json!(["join", channel])),
            Purpose::Subscribe { channel, since: Some(mark) } => {
                Some(serde_json::json!(["join", { "room": channel, "since": String::from_utf8_lossy(mark) }]))
            }
            Purpose::Publish | Purpose::Echo | Purpose::Follow { .. } => None,
        };
        let join = join.map(|arguments| format!("420{arguments}").into_bytes());
        let carrier = if polling {
            send.extend_from_slice(format!("GET {PATH}&transport=polling HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
            Carrier::Polling { host: host.to_owned(), sid: String::new(), posted: false }
        } else {
            let head = format!(
                "GET {PATH}&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
            );
            send.extend_from_slice(head.as_bytes());
            Carrier::WebSocket { shaken: false }
        };
        Self { carrier, phase: Phase::Opening, join, carry: Carry::default() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<()> {
        let mut carry = std::mem::take(&mut self.carry);
        let outcome = carry.feed(bytes, |bytes| match self.carrier {
            Carrier::WebSocket { .. } => self.take_frames(bytes, send, hear),
            Carrier::Polling { .. } => self.take_answers(bytes, send, hear),
        });
        self.carry = carry;
        outcome
    }

    fn take_frames(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<usize> {
        let mut used = 0;
        if let Carrier::WebSocket { shaken: shaken @ false } = &mut self.carrier {
            let Some(head) = Head::parse(bytes)? else {
                return Ok(0);
            };
            head.expect(101, PATH, bytes)?;
            ensure!(head.websocket_accept.as_deref() == Some(ACCEPT), "the server's Sec-WebSocket-Accept is {:?}", head.websocket_accept);
            *shaken = true;
            used = head.bytes;
        }
        while let Some((frame, length)) = next_frame(&bytes[used..])? {
            match frame.opcode {
                Opcode::Text => {
                    if let Some(answer) = self.take_packet(frame.payload, hear)? {
                        write_masked(send, Opcode::Text, &answer);
                    }
                }
                Opcode::Ping => write_masked(send, Opcode::Pong, frame.payload),
                Opcode::Pong => {}
                Opcode::Close => bail!("the server closed the connection: {}", close(frame.payload)),
            }
            used += length;
        }
        Ok(used)
    }

    /// Takes every whole answer from the start of `bytes`, and asks on.
    fn take_answers(&mut self, bytes: &[u8], send: &mut Vec<u8>, hear: Hear<'_>) -> Result<usize> {
        let mut used = 0;
        while let Some(head) = Head::parse(&bytes[used..])? {
            let rest = &bytes[used..];
            head.expect(200, PATH, rest)?;
            let length = head.content_length.context("a poll's answer must have a content-length")?;
            let Some(body) = rest.get(head.bytes..head.bytes + length) else {
                break;
            };
            let mut say = Vec::new();
            let is_poll = matches!(self.carrier, Carrier::Polling { posted: false, .. });
            for packet in body.split(|byte| *byte == SEPARATOR).filter(|_| is_poll) {
                if let Some(answer) = self.take_packet(packet, hear)? {
                    if !say.is_empty() {
                        say.push(SEPARATOR);
                    }
                    say.extend_from_slice(&answer);
                }
            }
            self.ask(&say, send);
            used += head.bytes + length;
        }
        Ok(used)
    }

    /// Posts what is to be said, or polls.
    fn ask(&mut self, say: &[u8], send: &mut Vec<u8>) {
        let Carrier::Polling { host, sid, posted } = &mut self.carrier else { return };
        *posted = !say.is_empty();
        send.extend_from_slice(if *posted { b"POST " } else { b"GET " });
        send.extend_from_slice(PATH.as_bytes());
        send.extend_from_slice(b"&transport=polling&sid=");
        send.extend_from_slice(sid.as_bytes());
        send.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        send.extend_from_slice(host.as_bytes());
        if *posted {
            send.extend_from_slice(b"\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: ");
            send.extend_from_slice(say.len().to_string().as_bytes());
        }
        send.extend_from_slice(b"\r\n\r\n");
        send.extend_from_slice(say);
    }

    /// Takes a packet; what is to be answered to it.
    fn take_packet(&mut self, packet: &[u8], hear: Hear<'_>) -> Result<Option<Cow<'static, [u8]>>> {
        match packet {
            b"2" => Ok(Some(Cow::Borrowed(b"3"))),
            b"6" => Ok(None),
            [b'0', handshake @ ..] if self.phase == Phase::Opening => {
                if let Carrier::Polling { sid, .. } = &mut self.carrier {
                    let id = string_member(handshake, br#""sid":""#).context("a handshake must have a \"sid\"")?;
                    *sid = String::from_utf8(id.to_vec()).context("a session id is text")?;
                }
                self.phase = Phase::Connecting;
                Ok(Some(Cow::Borrowed(b"40")))
            }
            [b'4', b'0', ..] if self.phase == Phase::Connecting => {
                self.phase = if self.join.is_some() { Phase::Joining } else { Phase::Open };
                if self.phase == Phase::Open {
                    hear(Heard::Subscribed)?;
                }
                Ok(self.join.take().map(Cow::Owned))
            }
            [b'4', b'2', ..] if is_message(packet) => {
                if let Some(mark) = mark(packet) {
                    hear(Heard::Mark(mark))?;
                }
                hear(Heard::Text(packet))?;
                Ok(None)
            }
            [b'4', b'3', ..] if self.phase == Phase::Joining => {
                ensure!(memchr::memmem::find(packet, br#""ok":false"#).is_none(), "the server refused: {}", excerpt(packet));
                self.phase = Phase::Open;
                hear(Heard::Subscribed)?;
                if memchr::memmem::find(packet, br#""gap":true"#).is_some() {
                    hear(Heard::Gap)?;
                }
                Ok(None)
            }
            _ => bail!("the server sent {}", excerpt(packet)),
        }
    }
}

/// Appends a packet that publishes, as a client on a WebSocket sends it.
pub(crate) fn write_emit(into: &mut Vec<u8>, channel: &str, data: &[u8]) {
    let packet = [br#"42["publish",""#, channel.as_bytes(), br#"","bench","#, data, b"]"].concat();
    write_masked(into, Opcode::Text, &packet);
}

/// The offset that a server with recovery puts behind the arguments.
fn mark(packet: &[u8]) -> Option<&[u8]> {
    let rest = packet.strip_suffix(br#""]"#)?;
    let at = memchr::memrchr(b'"', rest)?;
    Some(&rest[at + 1..])
}

const PATH: &str = "/socket.io/?EIO=4";
const SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::super::Transport::{SocketIo, SocketIoPoll};
    use super::super::transcript::{check, check_refused, heard, listen};
    use super::super::ws::{next_frame, write_frame};
    use super::*;

    const HANDSHAKE: &str = r#"0{"sid":"s-1","upgrades":["websocket"]}"#;
    const CONNECTED: &str = r#"40{"sid":"x"}"#;
    const JOINED: &str = r#"430[{"ok":true,"rooms":["c"]}]"#;
    const MESSAGE: &str = r#"42["bench",{"seq":1,"sent_ns":2,"pad":"x"},"e.7"]"#;
    const WITHOUT_OFFSET: &str = r#"42["bench",{"seq":2,"sent_ns":2,"pad":"x"}]"#;

    fn socket(packets: &[&str]) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n").into_bytes();
        for packet in packets {
            write_frame(&mut bytes, Opcode::Text, packet.as_bytes());
        }
        bytes
    }

    fn polls(bodies: &[&str]) -> Vec<u8> {
        let answer = |body: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        bodies.iter().map(answer).collect::<String>().into_bytes()
    }

    fn expected() -> [String; 4] {
        ["subscribed".to_owned(), "mark e.7".to_owned(), format!("text {MESSAGE}"), format!("text {WITHOUT_OFFSET}")]
    }

    #[test]
    fn a_client_on_a_websocket() {
        let bytes = socket(&[HANDSHAKE, CONNECTED, "2", JOINED, MESSAGE, WITHOUT_OFFSET]);
        check(SocketIo, &listen("c", None), &bytes, &expected().each_ref().map(String::as_str));

        let mut send = Vec::new();
        let mut talk = SocketIoTalk::open("h", false, &listen("c", Some("e.1")), &mut send);
        send.clear();
        talk.feed(&bytes, &mut send, &mut |_| Ok(())).unwrap();
        let mut said = Vec::new();
        while let Some((frame, used)) = next_frame(&send).unwrap() {
            said.push(String::from_utf8(frame.clear()).unwrap());
            send.drain(..used);
        }
        assert_eq!(said, ["40", r#"420["join",{"room":"c","since":"e.1"}]"#, "3"]);
    }

    #[test]
    fn a_client_on_polls() {
        let together = [MESSAGE, "6", "2", WITHOUT_OFFSET].join("\u{1e}");
        let bytes = polls(&[HANDSHAKE, "ok", CONNECTED, "ok", JOINED, &together, "ok", "6"]);
        check(SocketIoPoll, &listen("c", None), &bytes, &expected().each_ref().map(String::as_str));

        let (_, sent) = heard(SocketIoPoll, &listen("c", None), &bytes, 7).unwrap();
        let asked: Vec<&str> = sent.lines().filter(|line| line.starts_with(['G', 'P', '4', '3'])).collect();
        let at = |method: &str| format!("{method} /socket.io/?EIO=4&transport=polling&sid=s-1 HTTP/1.1");
        let (get, post) = (at("GET"), at("POST"));
        // A body has no line end: the next request stands behind it.
        let expected = [
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1",
            &post,
            &format!("40{get}"),
            &post,
            &format!(r#"420["join","c"]{get}"#),
            &get,
            &post,
            &format!("3{get}"),
            &get,
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_resume_may_hear_of_a_gap() {
        let joined = r#"430[{"ok":true,"gap":true}]"#;
        check(SocketIo, &listen("c", Some("e.1")), &socket(&[HANDSHAKE, CONNECTED, joined]), &["subscribed", "gap"]);
    }

    #[test]
    fn a_publisher_says_what_it_publishes() {
        let mut bytes = Vec::new();
        write_emit(&mut bytes, "c", b"{}");
        assert_eq!(next_frame(&bytes).unwrap().unwrap().0.clear(), br#"42["publish","c","bench",{}]"#);
        check(SocketIo, &Purpose::Publish, &socket(&[HANDSHAKE, CONNECTED]), &["subscribed"]);
    }

    #[test]
    fn refusals() {
        let told = r#"42["error",{"code":"forbidden"}]"#;
        check_refused(SocketIo, &Purpose::Publish, &socket(&[HANDSHAKE, CONNECTED, told]), "forbidden");
        let refused = r#"430[{"ok":false,"error":{"code":"forbidden"}}]"#;
        check_refused(SocketIo, &listen("c", None), &socket(&[HANDSHAKE, CONNECTED, refused]), "refused");
        check_refused(SocketIo, &listen("c", None), &socket(&[HANDSHAKE, r#"44{"message":"no"}"#]), "44{");
        check_refused(SocketIoPoll, &listen("c", None), b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\nno", "answered 400");
        check_refused(SocketIoPoll, &listen("c", None), &polls(&["0{}"]), "sid");
    }
}
