//! Messages of Engine.IO become packets of Socket.IO: text with the attachments that follow it, or MessagePack.

use std::borrow::Cow;

use bytes::Bytes;

use super::delivery::Parser;
use super::engine::packet::Message;
use super::msgpack;
use super::packet::{Acknowledgement, Broken, Call, Kind, Packet, Wish, event_name};
use super::settings::SocketIoSettings;
use super::value::Value;

/// What a client wants, and in which namespace.
#[derive(Debug, PartialEq)]
pub(super) struct Incoming<'a> {
    pub(super) namespace: Cow<'a, str>,
    pub(super) wish: Wish<'a>,
}

/// Takes messages until they are a packet.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The first message decides.
    parser: Option<Parser>,
    assembly: Option<Box<Assembly>>,
}

/// A packet whose attachments have not all come.
#[derive(Debug)]
struct Assembly {
    text: Box<str>,
    wanted: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Reader {
    /// The parser of this client; the default one until it has said anything.
    pub(super) fn parser(&self) -> Parser {
        self.parser.unwrap_or(Parser::Text)
    }

    /// Takes one message; nothing while attachments are missing.
    pub(super) fn take<'a>(&mut self, message: Message<'a>, settings: &SocketIoSettings) -> Result<Option<Incoming<'a>>, Broken> {
        let parser = *self.parser.get_or_insert(match message {
            Message::Text(_) => Parser::Text,
            Message::Binary(_) => Parser::Msgpack,
        });
        match (parser, message) {
            (Parser::Text, Message::Text(_)) if self.assembly.is_some() => Err(Broken("text while attachments are missing")),
            (Parser::Text, Message::Text(Cow::Borrowed(text))) => self.text(text, settings),
            // The old browsers' form of polling: the text does not live as long as the request.
            (Parser::Text, Message::Text(Cow::Owned(text))) => {
                self.text(&text, settings).map(|incoming| incoming.map(Incoming::into_owned))
            }
            (Parser::Text, Message::Binary(data)) => self.attach(&data, settings),
            (Parser::Msgpack, Message::Binary(data)) => from_msgpack(&data).map(Some),
            (Parser::Msgpack, Message::Text(_)) => Err(Broken("text from a client that speaks MessagePack")),
        }
    }

    fn text<'a>(&mut self, text: &'a str, settings: &SocketIoSettings) -> Result<Option<Incoming<'a>>, Broken> {
        let packet = Packet::parse(text, settings.attachments_max)?;
        if packet.attachments == 0 {
            return Ok(Some(Incoming { namespace: Cow::Borrowed(packet.namespace), wish: packet.wish()? }));
        }
        // What can't be right is not waited for.
        packet.wish()?;
        self.assembly =
            Some(Box::new(Assembly { text: text.into(), wanted: packet.attachments, attachments: Vec::new(), bytes: text.len() }));
        Ok(None)
    }

    fn attach<'a>(&mut self, data: &[u8], settings: &SocketIoSettings) -> Result<Option<Incoming<'a>>, Broken> {
        let assembly = self.assembly.as_mut().ok_or(Broken("binary data that belongs to no packet"))?;
        assembly.bytes += data.len();
        if assembly.bytes > settings.max_payload {
            return Err(Broken("the packet with its attachments is too large"));
        }
        assembly.attachments.push(Bytes::copy_from_slice(data));
        if assembly.attachments.len() < assembly.wanted {
            return Ok(None);
        }
        self.assembly.take().map(|assembly| assembly.finish(settings)).transpose()
    }
}

impl Assembly {
    fn finish<'a>(&self, settings: &SocketIoSettings) -> Result<Incoming<'a>, Broken> {
        let packet = Packet::parse(&self.text, settings.attachments_max)?;
        let mut data = Value::parse(packet.data).map_err(|_| Broken("invalid payload"))?;
        data.attach(&self.attachments).map_err(|_| Broken("illegal attachments"))?;
        let namespace = Cow::Owned(packet.namespace.to_owned());
        let wish = if packet.kind == Kind::BinaryAck { acknowledgement(data, packet.id)? } else { Wish::Event(call(data, packet.id)?) };
        Ok(Incoming { namespace, wish })
    }
}

/// An event from the tree of its list.
fn call<'a>(data: Value, id: Option<u64>) -> Result<Call<'a>, Broken> {
    let Value::List(items) = data else { return Err(Broken("an event is a list")) };
    let mut items = items.into_iter();
    let mut binaries = 0;
    let name = match items.next() {
        Some(name @ (Value::Text(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_))) => name.to_json_inline(&mut binaries),
        Some(Value::Null | Value::Bool(_) | Value::Binary(_) | Value::List(_) | Value::Map(_)) | None => {
            return Err(Broken("an event name is a string or a number"));
        }
    };
    let name = Cow::Owned(event_name(&name)?.into_owned());
    let arguments = items.map(|item| Cow::Owned(item.to_json_inline(&mut binaries))).collect();
    Ok(Call { name, arguments, binaries, id })
}

/// An acknowledgement from the tree of its list.
fn acknowledgement<'a>(data: Value, id: Option<u64>) -> Result<Wish<'a>, Broken> {
    let Value::List(items) = data else { return Err(Broken("an acknowledgement is a list")) };
    let arguments = items.into_iter().map(|item| Cow::Owned(item.to_json_inline(&mut 0))).collect();
    Ok(Wish::Ack(Acknowledgement { id, arguments }))
}

/// A packet of `socket.io-msgpack-parser`: a map with `type`, `nsp`, and perhaps `data` and `id`.
fn from_msgpack<'a>(bytes: &[u8]) -> Result<Incoming<'a>, Broken> {
    let Ok(Value::Map(fields)) = msgpack::decode(bytes) else { return Err(Broken("a packet is a map")) };
    let (mut kind, mut namespace, mut data, mut id) = (None, None, Value::Null, None);
    for (key, value) in fields {
        match (&*key, value) {
            ("type", Value::Unsigned(number)) => kind = Some(number),
            ("nsp", Value::Text(name)) => namespace = Some(name),
            ("data", value) => data = value,
            ("id", Value::Unsigned(number)) => id = Some(number),
            ("id", Value::Null) => {}
            ("type" | "nsp" | "id", _) => return Err(Broken("a field of the packet has the wrong type")),
            // Clients add what concerns only them.
            _ => {}
        }
    }
    let namespace = namespace.ok_or(Broken("the packet names no namespace"))?;
    let wish = match (kind, data) {
        (Some(0), Value::Null) => Wish::Connect(None),
        (Some(0), data @ Value::Map(_)) => Wish::Connect(Some(Cow::Owned(data.to_json_inline(&mut 0)))),
        (Some(0), _) => return Err(Broken("a connect payload is an object")),
        (Some(1), Value::Null) => Wish::Disconnect,
        (Some(1), _) => return Err(Broken("a disconnect packet has no payload")),
        (Some(2), data) => Wish::Event(call(data, id)?),
        (Some(3), data) => acknowledgement(data, id)?,
        (Some(_) | None, _) => return Err(Broken("unknown packet type")),
    };
    Ok(Incoming { namespace: Cow::Owned(namespace.into()), wish })
}

impl Incoming<'_> {
    fn into_owned<'a>(self) -> Incoming<'a> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let wish = match self.wish {
            Wish::Connect(auth) => Wish::Connect(auth.map(owned)),
            Wish::Disconnect => Wish::Disconnect,
            Wish::Ack(ack) => Wish::Ack(Acknowledgement { id: ack.id, arguments: ack.arguments.into_iter().map(owned).collect() }),
            Wish::Event(call) => Wish::Event(Call {
                name: owned(call.name),
                arguments: call.arguments.into_iter().map(owned).collect(),
                binaries: call.binaries,
                id: call.id,
            }),
        };
        Incoming { namespace: owned(self.namespace), wish }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &[&str], expected: &str) {
        let settings = SocketIoSettings { max_payload: 100, ..SocketIoSettings::default() };
        let mut reader = Reader::default();
        let mut last = "nothing".to_owned();
        for message in messages {
            let taken = match message.strip_prefix("bin:") {
                Some(hex) => {
                    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
                    reader.take(Message::Binary(Cow::Owned(bytes)), &settings)
                }
                None => reader.take(Message::Text(Cow::Borrowed(message)), &settings),
            };
            last = match taken {
                Ok(None) => "more".to_owned(),
                Ok(Some(incoming)) => match incoming.wish {
                    Wish::Connect(auth) => format!("{} connect {}", incoming.namespace, auth.unwrap_or_default()),
                    Wish::Disconnect => format!("{} disconnect", incoming.namespace),
                    Wish::Ack(ack) => format!("{} ack({})", incoming.namespace, ack.arguments.join("; ")),
                    Wish::Event(call) => {
                        format!("{} {}({}) #{:?} +{}", incoming.namespace, call.name, call.arguments.join("; "), call.id, call.binaries)
                    }
                },
                Err(Broken(rule)) => rule.to_owned(),
            };
        }
        assert_eq!(last, expected, "{messages:?}");
    }

    #[test]
    fn attachments_join_their_packet() {
        let two = r#"52-/a,7["up",{"_placeholder":true,"num":1},{"x":{"_placeholder":true,"num":0}}]"#;
        check(&[two], "more");
        check(&[two, "bin:01"], "more");
        check(
            &[two, "bin:01", "bin:0203"],
            r#"/a up({"_placeholder":true,"num":0,"base64":"AgM="}; {"x":{"_placeholder":true,"num":1,"base64":"AQ=="}}) #Some(7) +2"#,
        );
        check(&[two, "2[\"x\"]"], "text while attachments are missing");
        check(&["2[\"x\"]", "bin:01"], "binary data that belongs to no packet");
        check(&[r#"51-["x",{"_placeholder":true,"num":1}]"#, "bin:01"], "illegal attachments");
        check(&[r#"51-{"_placeholder":true,"num":0}"#], "invalid payload");
        check(&[r#"51-["connect",1]"#], "the event name is reserved");
        check(&[r#"61-3[{"_placeholder":true,"num":0}]"#, "bin:01"], r#"/ ack({"_placeholder":true,"num":0,"base64":"AQ=="})"#);
        check(
            &[r#"51-["x",{"_placeholder":true,"num":0}]"#, &format!("bin:{}", "00".repeat(100))],
            "the packet with its attachments is too large",
        );
        check(&[r#"510000-["x"]"#], "too many attachments");
    }

    #[test]
    fn msgpack_is_recognised_by_the_first_message() {
        check(&["bin:82a47479706500a36e7370a12f"], "/ connect ");
        check(&["bin:83a47479706500a36e7370a22f61a46461746181a16101"], r#"/a connect {"a":1}"#);
        check(&["bin:85a47479706502a36e7370a12fa46461746192a2686901a2696403a76f7074696f6e7380"], "/ hi(1) #Some(3) +0");
        check(
            &["bin:83a47479706502a36e7370a12fa46461746192a26869c40101"],
            r#"/ hi({"_placeholder":true,"num":0,"base64":"AQ=="}) #None +1"#,
        );
        check(&["bin:82a47479706501a36e7370a12f"], "/ disconnect");
        check(&["bin:83a47479706503a36e7370a12fa46461746190"], "/ ack()");
        check(&["bin:82a47479706500a36e7370a12f", "2[\"x\"]"], "text from a client that speaks MessagePack");
        for (bad, rule) in [
            ("bin:90", "a packet is a map"),
            ("bin:81a47479706500", "the packet names no namespace"),
            ("bin:82a47479706505a36e7370a12f", "unknown packet type"),
            ("bin:82a474797065a130a36e7370a12f", "a field of the packet has the wrong type"),
            ("bin:82a47479706502a36e7370a12f", "an event is a list"),
            ("bin:83a47479706502a36e7370a12fa46461746191c0", "an event name is a string or a number"),
            ("bin:83a47479706500a36e7370a12fa46461746190", "a connect payload is an object"),
        ] {
            check(&[bad], rule);
        }
    }
}
