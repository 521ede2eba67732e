//! What a subscriber prints: one line for each message, whatever transport brought it.
//!
//! Payloads belong to their publishers, so nothing is understood of them: JSON has numbers, escapes and depths that the server passes on
//! and few readers hold (`1e999`, `"\ud800"`). Invariant: what a publisher sends changes what is printed, never whether it goes on.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A message as it came, and what a resume needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where it was published, when the transport says so.
    pub(crate) channel: Option<String>,
    /// Its mark.
    pub(crate) id: Option<String>,
    /// The mark of all channels, when it came by a pattern.
    pub(crate) cursor: Option<String>,
    /// Its payload: the `data` of an envelope, or the whole of an application message.
    data: String,
    /// All that came, on one line.
    envelope: String,
}

/// The members of one object by which a client goes on; their values are slices of the text, and none is looked into before it is asked
/// for. As everywhere in the protocol, the last one of a name counts.
#[derive(Default)]
pub(super) struct Members<'a> {
    kind: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    cursor: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    gap: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    /// Those of a text that is one JSON object.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn kind(&self) -> Option<String> {
        words(self.kind)
    }

    pub(super) fn channel(&self) -> Option<String> {
        words(self.channel)
    }

    pub(super) fn id(&self) -> Option<String> {
        mark(self.id)
    }

    pub(super) fn is_gap(&self) -> bool {
        self.gap.is_some_and(|gap| gap.get() == "true")
    }

    pub(super) fn code(&self) -> String {
        words(self.code).unwrap_or_default()
    }

    pub(super) fn message(&self) -> String {
        words(self.message).unwrap_or_default()
    }

    fn place(&mut self, name: Name) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            Name::Kind => &mut self.kind,
            Name::Channel => &mut self.channel,
            Name::Id => &mut self.id,
            Name::Cursor => &mut self.cursor,
            Name::Data => &mut self.data,
            Name::Gap => &mut self.gap,
            Name::Code => &mut self.code,
            Name::Message => &mut self.message,
            Name::Other => return None,
        })
    }
}

fn words(value: Option<&RawValue>) -> Option<String> {
    value.and_then(|value| serde_json::from_str(value.get()).ok())
}

/// A mark is text or a number.
fn mark(value: Option<&RawValue>) -> Option<String> {
    let mark = value?.get().trim_matches('"');
    (!mark.is_empty() && mark != "null").then(|| mark.to_owned())
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key()? {
                    // Raw values are skipped without recursion, so there is no depth that is too deep.
                    let value: &'de RawValue = map.next_value()?;
                    if let Some(place) = members.place(name) {
                        *place = Some(value);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

enum Name {
    Kind,
    Channel,
    Id,
    Cursor,
    Data,
    Gap,
    Code,
    Message,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
                Ok(match name {
                    b"type" => Name::Kind,
                    b"channel" => Name::Channel,
                    b"id" => Name::Id,
                    b"cursor" => Name::Cursor,
                    b"data" => Name::Data,
                    b"gap" => Name::Gap,
                    b"code" => Name::Code,
                    b"message" => Name::Message,
                    _ => Name::Other,
                })
            }
        }
        // As bytes, because a name may have half of a surrogate pair, which no text can hold.
        deserializer.deserialize_bytes(Bytes)
    }
}

impl Message {
    /// Reads a JSON text of a WebSocket or an entry of a poll's answer.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Members::of(text).map(|members| Self::of(&members, text))
    }

    /// The message whose members these are.
    pub(super) fn of(members: &Members<'_>, text: &str) -> Self {
        let wrapped = members.kind().is_none_or(|kind| kind == "message");
        let data = members.data.filter(|_| wrapped).map_or(text, RawValue::get);
        Self { channel: members.channel(), id: members.id(), cursor: mark(members.cursor), data: one_line(data), envelope: one_line(text) }
    }

    /// Reads an event of a stream, whose id is the mark of the stream and whose data may be anything.
    pub(crate) fn of_stream(event: &str, id: &str, data: &str) -> Self {
        let id = (!id.is_empty()).then(|| id.to_owned());
        match Self::parse(data).filter(|message| message.channel.is_some()) {
            Some(message) => Self { id, ..message },
            None => {
                let payload = match serde_json::from_str::<&RawValue>(data) {
                    Ok(json) => json.get().to_owned(),
                    Err(_) => serde_json::Value::from(data).to_string(),
                };
                let envelope = format!(
                    r#"{{"type":"message","id":{},"event":{},"data":{payload}}}"#,
                    serde_json::Value::from(id.clone()),
                    serde_json::Value::from(event),
                );
                Self { channel: None, id, cursor: None, data: one_line(data), envelope: one_line(&envelope) }
            }
        }
    }

    /// The line to print.
    pub(crate) fn line(&self, json: bool) -> &str {
        if json { &self.envelope } else { &self.data }
    }
}

/// JSON and text on one line: outside of JSON strings line breaks are blanks, inside there are none.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_publisher_gave() {
        let check = |text: &str, data: &str, channel: Option<&str>, id: Option<&str>| {
            let message = Message::parse(text).unwrap_or_else(|| panic!("{text} is a message"));
            assert_eq!(message.line(false), data);
            assert_eq!((message.channel.as_deref(), message.id.as_deref()), (channel, id), "{text}");
        };
        check(
            r#"{"type":"message","channel":"c","id":"e-1","event":"chat","data":{"b":1, "a":2}}"#,
            r#"{"b":1, "a":2}"#,
            Some("c"),
            Some("e-1"),
        );
        check(r#"{"channel":"c","id":7,"data":null}"#, "null", Some("c"), Some("7"));
        let application = r#"{"type":"chat","user":"me","data":1,"channel":"c","id":"e-2"}"#;
        check(application, application, Some("c"), Some("e-2"));
        check("{\"data\":{\n\"a\":1}}", "{ \"a\":1}", None, None);
        check(
            r#"{"type":"chat","data":1,"data":2,"id":"e-3","id":"e-4"}"#,
            r#"{"type":"chat","data":1,"data":2,"id":"e-3","id":"e-4"}"#,
            None,
            Some("e-4"),
        );
        assert_eq!(Message::parse("not json"), None);
        assert_eq!(Message::parse("[1]"), None);
    }

    #[test]
    fn what_few_readers_hold_is_printed_as_it_came() {
        let check = |payload: &str| {
            let enveloped = format!(r#"{{"type":"message","channel":"c","id":"e-1","data":{payload}}}"#);
            let flat = format!(r#"{{"type":"chat","channel":"c","id":"e-1","x":{payload},"\ud800":1}}"#);
            for (text, line) in [(&enveloped, payload), (&flat, &*flat)] {
                let message = Message::parse(text).unwrap_or_else(|| panic!("{text} is a message"));
                assert_eq!((message.line(false), message.line(true)), (line, &**text));
                assert_eq!((message.channel.as_deref(), message.id.as_deref()), (Some("c"), Some("e-1")), "{text}");
                assert_eq!(Message::of_stream("", "e.9", text).line(false), line);
            }
        };
        check(r#""\ud800""#);
        check("1e999");
        check(&format!("{}{}", "[".repeat(128), "]".repeat(128)));
        check(&format!("{}1{}", r#"{"a":"#.repeat(128), "}".repeat(128)));
    }

    #[test]
    fn events_of_a_stream_carry_envelopes_or_bare_data() {
        let check = |data: &str, line: &str, json: &str| {
            let message = Message::of_stream("chat", "e.9", data);
            assert_eq!((message.line(false), message.line(true)), (line, json));
            assert_eq!(message.id.as_deref(), Some("e.9"));
        };
        let envelope = r#"{"type":"message","channel":"c","id":"e-1","data":[1]}"#;
        check(envelope, "[1]", envelope);
        check(r#"{"msg":"x"}"#, r#"{"msg":"x"}"#, r#"{"type":"message","id":"e.9","event":"chat","data":{"msg":"x"}}"#);
        check("a\nb", "a b", r#"{"type":"message","id":"e.9","event":"chat","data":"a\nb"}"#);
    }
}
