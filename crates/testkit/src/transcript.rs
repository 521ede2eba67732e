//! Transcripts: a conversation with a dialect, written down, played against a model of the driver and the hub.
//!
//! ```text
//! # A comment. A label before `>` or `<` names one of several connections: `a> …`, `b< …`.
//! > WS /v1/ws                             a WebSocket handshake (GET, POST, … make ordinary requests)
//!     origin: https://example.org         a header of the request: indented, below it
//!     | {"body":1}                        its body; several such lines are joined by line feeds
//! < 101                                   the handshake was taken; `    name: value` below asks for a header, `    !name` for none
//! > {"type":"subscribe","channel":"a"}    a text message of the client
//! > [binary] 00ff                         a binary one
//! < {"type":"subscribed",…}               what came back; `…` stands for anything
//! < [binary] 00ff                         a binary message that came back
//! < 200 application/json {"ok":true}      an answer: status, content type, body
//! < [close] 1001 words                    a close frame
//! < [closed]                              the connection was ended by the server
//! > [gone]                                the client went away
//! @ +25s                                  time passes (`ms`, `s`, `m`), timers go off on their way
//! ! publish a event=x {"text":1}          somebody else publishes ([`hub words`](#hub))
//! ? subscribe a                           the session ran this command (what came before it is skipped)
//! ? came to HOST from ORIGIN              and behind a `? connect …`, what the client said of itself
//! ```
//!
//! In what came back a line feed is shown as `⏎` and any other control character as `\x1e`; both may be written in what goes out.
//! Whatever a step sent must be expected before the next step, so silence is asserted by going on.
//!
//! # Hub
//! The model hub numbers publications in epoch `z` (`z-1`, cursor `z.1`), keeps all of them, allows everything, and answers at once.
//!
//! | words | meaning |
//! |---|---|
//! | `! user alice` | whoever connects with a credential from now on is this user |
//! | `! grant PERMISSION PATTERN` | … and its credential grants this too; a pattern with `{` is a URI template |
//! | `! deny KIND CODE words` | the next command of the kind (`connect`, `subscribe`, `publish`, … or `item`, one publication of a batch) is refused with the code of a [`Denied`](omnivox_core::Denied) |
//! | `! publish CHANNELS [event=E] [id=I] [user=U] [name=N] [granted] [flat] [text\|binary] BODY` | somebody else publishes; channels joined by `+` |
//! | `! enter CHANNEL USER [DATA]`, `! leave CHANNEL USER` | somebody else's presence |
//! | `! keep N` | history keeps N publications per channel from now on |
//! | `! gap CHANNEL` | subscribers are told of a loss |
//! | `! epoch E` | the log is lost; a new epoch begins |
//! | `! close REASON` | every session is told to close (`a! close …`: that of the label) |
//! | `! direct [event=E] BODY` | a message outside all channels, to every session |
//! | `! unsubscribed CHANNEL` | somebody else ended the subscription |
//! | `! hold`, `! release` | replies wait; replies go on |

mod commands;
mod connection;
mod hub;
mod notation;
mod stage;
mod words;

use std::fmt::Write as _;

use omnivox_core::Dialect;

pub use stage::Stage;

/// Plays the transcript against the dialect with default circumstances; panics where the two differ.
#[track_caller]
pub fn check(dialect: &dyn Dialect, text: &str) {
    Stage::new(dialect).play(text);
}

/// Something that a client saw.
#[derive(Debug)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
}

impl Seen {
    fn line(line: impl Into<String>) -> Self {
        Self { line: line.into(), headers: Vec::new() }
    }
}

/// Bytes as a transcript shows them: text where it is text, else `[binary] hex`.
fn shown(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return format!("[binary] {}", hex(bytes)) };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('⏎'),
            c if c.is_control() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// What a transcript writes, as bytes: `⏎` and `\x1e` become what they stand for.
fn meant(text: &str) -> String {
    let mut meant = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let escape = rest.strip_prefix("\\x").and_then(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok());
        match (c, escape) {
            (_, Some(byte)) => {
                meant.push(char::from(byte));
                rest = &rest[4..];
            }
            ('⏎', None) => {
                meant.push('\n');
                rest = &rest['⏎'.len_utf8()..];
            }
            (c, None) => {
                meant.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    meant
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("two hex digits")).collect()
}

/// Whether `text` fits the pattern, in which `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_anything_between() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a…", "abc", true),
            ("…c", "abc", true),
            ("a…c", "ac", true),
            ("a…b…d", "axxbyyd", true),
            ("a…b…d", "axxd", false),
            ("ab…bc", "abc", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn control_characters_have_a_notation() {
        assert_eq!(shown(b"a\n\x1e\xc3\xbc"), "a⏎\\x1eü");
        assert_eq!(meant("a⏎\\x1eü\\n"), "a\n\x1eü\\n");
        assert_eq!(shown(&[0xff, 0]), "[binary] ff00");
        assert_eq!(unhex("ff 00"), [0xff, 0]);
    }
}

/// The notation itself, played against a dialect that only greets and repeats.
#[cfg(test)]
mod conversation {
    use std::time::{Duration, Instant};

    use bytes::BytesMut;
    use omnivox_core::command::{Connect, Delivery, Replay, Subscribe};
    use omnivox_core::session::{Heartbeat, NewSession, OpenContext, Route};
    use omnivox_core::{
        Action, Actions, CarrierId, ChannelName, Command, Control, Credential, EncodingKey, Event, Frame, FrameKind, Framing, Input,
        Opening, Reply, Request, Response, Session, Switch, Ticket,
    };
    use omnivox_wire::ws::{self, DataKind};

    use super::*;

    /// Greets, subscribes to `a`, repeats what it is sent, and says goodbye after a minute.
    struct Echo;

    struct EchoSession {
        until: Instant,
    }

    fn text(text: &str) -> Frame {
        let mut bytes = BytesMut::new();
        ws::encode(DataKind::Text, text.as_bytes(), &mut bytes);
        Frame::framed(FrameKind::Text, bytes.freeze(), 2, 0)
    }

    impl Dialect for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }

        fn routes(&self) -> Vec<Route> {
            vec![Route::exact("/echo")]
        }

        fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening {
            if !request.is_websocket() {
                return Opening::Respond(Response::json(200, request.body.to_vec()).header("x-query", request.query.to_owned()));
            }
            let session = Box::new(EchoSession { until: context.now + Duration::from_secs(60) });
            Opening::Session(NewSession { session, key: None, heartbeat: Heartbeat::Dialect, message_bytes_max: None, movable: false })
        }

        fn encode(&self, _: &EncodingKey, event: &Event, _: &mut BytesMut) -> Option<Frame> {
            let Event::Publication(publication, place) = event else { return None };
            Some(text(&format!("{} {}", publication.places[*place].position, shown(publication.draft.payload.bytes()))))
        }
    }

    impl Session for EchoSession {
        fn handle(&mut self, _: Instant, input: Input<'_>, actions: &mut Actions) {
            match input {
                Input::Exchange(exchange, _) => {
                    let connect = Connect { credential: Credential::Anonymous, host: None, origin: None };
                    actions.run(Ticket(0), Command::Connect(Box::new(connect)));
                    actions.push(Action::Upgrade(exchange, Switch::default()));
                }
                Input::Text(carrier, said) => actions.send(carrier, text(said)),
                Input::Reply(_, Ok(Reply::Connected(_))) => {
                    let key = EncodingKey { dialect: 0, format: 0, framing: Framing::WebSocket, qualifier: None };
                    let subscribe = Subscribe {
                        channels: [ChannelName::parse("a").unwrap()].into_iter().collect(),
                        patterns: Default::default(),
                        since: None,
                        delivery: Delivery::Shared(key),
                        presence: false,
                        replay: Replay::Deliver,
                    };
                    actions.run(Ticket(1), Command::Subscribe(Box::new(subscribe)));
                }
                Input::Reply(_, Err(denied)) => actions.push(Action::Push(text(denied.code()))),
                Input::Control(Control::Close(reason)) => actions.push(Action::Push(text(reason.label()))),
                Input::Timeout => {
                    actions.send(CarrierId(0), text("bye"));
                    actions.push(Action::End);
                }
                _ => {}
            }
        }

        fn next_timeout(&self) -> Option<Instant> {
            Some(self.until)
        }
    }

    #[test]
    fn a_conversation_is_played() {
        check(
            &Echo,
            r#"
            # Requests are answered with status, type and body.
            > POST /echo?x=1
                content-type: application/json
                | {"a":
                | 1}
            < 200 application/json {"a":⏎1}
                x-query: x=1
                !x-other
            # Two sockets hear of one publication; the clock says goodbye to both.
            a> WS /echo
            a< 101
            ? connect anonymous
            ? subscribe a
            b> WS /echo
            b< 101
            a> hello
            a< hello
            ! publish a event=x {"n":1}
            a< z-1 {"n":1}
            b< z-1 …
            a> [gone]
            @ +61s
            b< bye
            b< [closed]
            "#,
        );
    }

    #[test]
    fn refusals_and_goodbyes_are_played() {
        check(
            &Echo,
            r#"
            ! deny subscribe forbidden no
            > WS /echo
            < 101
            < forbidden
            ! hold
            ! close drain
            < drain
            < [closed]
            "#,
        );
    }

    #[test]
    #[should_panic(expected = "came unexpectedly\n  < hello")]
    fn what_was_not_expected_fails() {
        check(&Echo, "> WS /echo\n< 101\n> hello");
    }

    #[test]
    #[should_panic(expected = "came\n  < hello")]
    fn what_differs_fails() {
        check(&Echo, "> WS /echo\n< 101\n> hello\n< hallo");
    }
}
