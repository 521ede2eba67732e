//! Socket.IO packets in their text form: `<type>[<attachments>-][<namespace>,][<id>][<JSON>]`.
//!
//! `42/admin,12["foo"]` is an Engine.IO message (`4`) with an event (`2`) of the namespace `/admin` that wants acknowledgement 12.
//! Invalid packets have no answer: the reference closes the connection, and so does this.

use std::borrow::Cow;

use serde_json::value::RawValue;
use smallvec::SmallVec;

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// The head of a packet and its JSON, not looked into yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// How many binary messages follow.
    pub(super) attachments: usize,
    pub(super) namespace: &'a str,
    pub(super) id: Option<u64>,
    pub(super) data: &'a str,
}

/// What a client wants.
#[derive(PartialEq, Debug)]
pub(super) enum Wish<'a> {
    /// Be let into the namespace; the object that it shows, as JSON.
    Connect(Option<Cow<'a, str>>),
    /// Leave the namespace.
    Disconnect,
    Event(Call<'a>),
    /// The answer to an event of the server.
    Ack(Acknowledgement<'a>),
}

/// What a client answers.
#[derive(PartialEq, Debug)]
pub(super) struct Acknowledgement<'a> {
    /// The number under which it was asked.
    pub(super) id: Option<u64>,
    /// Each as JSON of the hub.
    pub(super) arguments: Arguments<'a>,
}

/// An event with its arguments.
#[derive(PartialEq, Debug)]
pub(super) struct Call<'a> {
    pub(super) name: Cow<'a, str>,
    /// Each as JSON of the hub, see [`value`](super::value).
    pub(super) arguments: Arguments<'a>,
    /// How many binary values are inlined in the arguments.
    pub(super) binaries: usize,
    /// The acknowledgement that the client waits for.
    pub(super) id: Option<u64>,
}

pub(super) type Arguments<'a> = SmallVec<[Cow<'a, str>; 2]>;

/// A packet that breaks the protocol: the connection ends. The text says which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken(pub(super) &'static str);

/// Names that the client library keeps for itself; a packet with one would end the connection of whoever receives it.
const RESERVED: [&str; 6] = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether no application may use the event name.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

impl<'a> Packet<'a> {
    /// Parses the head.
    pub(super) fn parse(text: &'a str, attachments_max: usize) -> Result<Self, Broken> {
        let kind = match text.as_bytes().first() {
            Some(b'0') => Kind::Connect,
            Some(b'1') => Kind::Disconnect,
            Some(b'2') => Kind::Event,
            Some(b'3') => Kind::Ack,
            Some(b'4') => Kind::ConnectError,
            Some(b'5') => Kind::BinaryEvent,
            Some(b'6') => Kind::BinaryAck,
            Some(_) | None => return Err(Broken("unknown packet type")),
        };
        let mut rest = &text[1..];
        let mut attachments = 0;
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            let (count, behind) = rest.split_once('-').ok_or(Broken("number of attachments missing"))?;
            attachments = number(count).and_then(|count| usize::try_from(count).ok()).ok_or(Broken("illegal attachments"))?;
            if attachments > attachments_max {
                return Err(Broken("too many attachments"));
            }
            rest = behind;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        let id = if id.is_empty() { None } else { Some(number(id).ok_or(Broken("illegal packet id"))?) };
        Ok(Self { kind, attachments, namespace, id, data })
    }

    /// Looks into a packet without attachments.
    pub(super) fn wish(&self) -> Result<Wish<'a>, Broken> {
        match self.kind {
            Kind::Connect => self.object().map(Wish::Connect),
            Kind::Disconnect if self.data.is_empty() => Ok(Wish::Disconnect),
            Kind::Disconnect => Err(Broken("a disconnect packet has no payload")),
            Kind::Event | Kind::BinaryEvent => self.call().map(Wish::Event),
            Kind::Ack | Kind::BinaryAck => self.list().map(|items| {
                let arguments = items.iter().map(|argument| Cow::Borrowed(argument.get())).collect();
                Wish::Ack(Acknowledgement { id: self.id, arguments })
            }),
            Kind::ConnectError => Err(Broken("clients send no connect errors")),
        }
    }

    fn object(&self) -> Result<Option<Cow<'a, str>>, Broken> {
        if self.data.is_empty() {
            return Ok(None);
        }
        let raw: &RawValue = serde_json::from_str(self.data).map_err(|_| Broken("invalid payload"))?;
        if raw.get().starts_with('{') { Ok(Some(Cow::Borrowed(raw.get()))) } else { Err(Broken("a connect payload is an object")) }
    }

    fn list(&self) -> Result<SmallVec<[&'a RawValue; 3]>, Broken> {
        serde_json::from_str(self.data).map(|List(items)| items).map_err(|_| Broken("invalid payload"))
    }

    fn call(&self) -> Result<Call<'a>, Broken> {
        let items = self.list()?;
        let (name, arguments) = items.split_first().ok_or(Broken("an event has a name"))?;
        let arguments = arguments.iter().map(|argument| Cow::Borrowed(argument.get())).collect();
        Ok(Call { name: event_name(name.get())?, arguments, binaries: 0, id: self.id })
    }
}

/// The name of an event from its JSON: a string, or a number that stands for one.
pub(super) fn event_name(json: &str) -> Result<Cow<'_, str>, Broken> {
    let name = match json.as_bytes().first() {
        Some(b'"') => match json[1..json.len() - 1].contains('\\') {
            true => Cow::Owned(serde_json::from_str(json).map_err(|_| Broken("invalid event name"))?),
            false => Cow::Borrowed(&json[1..json.len() - 1]),
        },
        Some(b'-' | b'0'..=b'9') => Cow::Borrowed(json),
        Some(_) | None => return Err(Broken("an event name is a string or a number")),
    };
    if is_reserved(&name) { Err(Broken("the event name is reserved")) } else { Ok(name) }
}

/// A list of JSON values that keeps short ones without an allocation.
struct List<'a>(SmallVec<[&'a RawValue; 3]>);

impl<'de> serde::Deserialize<'de> for List<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> serde::de::Visitor<'de> for Items {
            type Value = List<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut items = SmallVec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// A number that JavaScript can hold exactly.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Appends the head of an outgoing packet: everything before the JSON.
pub(super) fn write_head(kind: Kind, attachments: usize, namespace: &str, id: Option<u64>, into: &mut Vec<u8>) {
    let (digit, binary) = match kind {
        Kind::Connect => (b'0', false),
        Kind::Disconnect => (b'1', false),
        Kind::Event => (b'2', false),
        Kind::Ack => (b'3', false),
        Kind::ConnectError => (b'4', false),
        Kind::BinaryEvent => (b'5', true),
        Kind::BinaryAck => (b'6', true),
    };
    into.extend_from_slice(&[b'4', digit]);
    if binary {
        into.extend_from_slice(itoa::Buffer::new().format(attachments).as_bytes());
        into.push(b'-');
    }
    if namespace != "/" {
        into.extend_from_slice(namespace.as_bytes());
        into.push(b',');
    }
    if let Some(id) = id {
        into.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> String {
        let packet = match Packet::parse(text, 10) {
            Ok(packet) => packet,
            Err(Broken(rule)) => return rule.to_owned(),
        };
        let id = packet.id.map_or(String::new(), |id| format!(" #{id}"));
        let attachments = if packet.attachments > 0 { format!(" +{}", packet.attachments) } else { String::new() };
        let wish = match packet.wish() {
            Ok(Wish::Connect(auth)) => format!("connect {}", auth.unwrap_or_default()),
            Ok(Wish::Disconnect) => "disconnect".to_owned(),
            Ok(Wish::Event(call)) => format!("event {}({})", call.name, call.arguments.join("; ")),
            Ok(Wish::Ack(ack)) => format!("ack({})", ack.arguments.join("; ")),
            Err(Broken(rule)) => rule.to_owned(),
        };
        format!("{}{id}{attachments} {wish}", packet.namespace)
    }

    #[test]
    fn packets() {
        for (text, expected) in [
            ("0", "/ connect "),
            (r#"0{"token":"123"}"#, r#"/ connect {"token":"123"}"#),
            ("0/custom", "/custom connect "),
            ("0/custom,", "/custom connect "),
            (r#"0/admin,{"a":1}"#, r#"/admin connect {"a":1}"#),
            ("0[]", "/ a connect payload is an object"),
            ("0\"x\"", "/ a connect payload is an object"),
            ("0{", "/ invalid payload"),
            ("1", "/ disconnect"),
            ("1/admin,", "/admin disconnect"),
            ("1{}", "/ a disconnect packet has no payload"),
            (r#"2["foo"]"#, "/ event foo()"),
            (r#"2["foo",1,{"a":[]},"x"]"#, r#"/ event foo(1; {"a":[]}; "x")"#),
            (r#"2/admin,12["foo"]"#, "/admin #12 event foo()"),
            (r#"2[1,"a"]"#, r#"/ event 1("a")"#),
            (r#"2["f\u006fo"]"#, "/ event foo()"),
            (r#"3/admin,13["bar"]"#, "/admin #13 ack(\"bar\")"),
            (r#"51-["baz",{"_placeholder":true,"num":0}]"#, r#"/ +1 event baz({"_placeholder":true,"num":0})"#),
            (r#"50-["baz"]"#, "/ event baz()"),
            (r#"61-/a,15["bar"]"#, "/a #15 +1 ack(\"bar\")"),
            ("2{}", "/ invalid payload"),
            ("2", "/ invalid payload"),
            ("2[]", "/ an event has a name"),
            ("2[{}]", "/ an event name is a string or a number"),
            ("2[null]", "/ an event name is a string or a number"),
            (r#"2["connect"]"#, "/ the event name is reserved"),
            (r#"2["disc\u006fnnecting"]"#, "/ the event name is reserved"),
            ("2abc[\"a\"]", "/ invalid payload"),
            ("3{}", "/ invalid payload"),
            (r#"4{"message":"x"}"#, "/ clients send no connect errors"),
            ("abc", "unknown packet type"),
            ("", "unknown packet type"),
            ("7", "unknown packet type"),
            (r#"5["a"]"#, "number of attachments missing"),
            (r#"5a-["a"]"#, "illegal attachments"),
            (r#"5-["a"]"#, "illegal attachments"),
            (r#"511-["a"]"#, "too many attachments"),
            (r#"510000-["a"]"#, "too many attachments"),
            (r#"510-["a"]"#, "/ +10 event a()"),
            (r#"21234567890123456["a"]"#, "illegal packet id"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn heads_survive_the_round_trip(kind in 0usize..7, attachments in 0usize..=10, namespace in "/[a-z/]{0,5}", id in prop::option::of(0u64..1 << 40)) {
            let kind = [Kind::Connect, Kind::Disconnect, Kind::Event, Kind::Ack, Kind::ConnectError, Kind::BinaryEvent, Kind::BinaryAck][kind];
            let attachments = if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) { attachments } else { 0 };
            let mut text = Vec::new();
            write_head(kind, attachments, &namespace, id, &mut text);
            text.extend_from_slice(b"[\"x\"]");
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(Packet::parse(&text[1..], 10), Ok(Packet { kind, attachments, namespace: &namespace, id, data: "[\"x\"]" }));
        }

        #[test]
        fn no_text_panics(text in "[0-9a/,\\-\\[\\]\"\\\\{}:€]{0,24}") {
            let _ = Packet::parse(&text, 10).map(|packet| packet.wish().is_ok());
        }
    }
}
