//! What a subscriber prints: one line for each message, whatever transport brought it.

use serde::Deserialize;
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

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    channel: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// `null` is a payload like any other; only a key that is not there is none.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl Message {
    /// Reads a JSON text of a WebSocket or an entry of a poll's answer.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
        let wrapped = envelope.kind.as_deref().is_none_or(|kind| kind == "message");
        let data = envelope.data.filter(|_| wrapped).map_or(text, RawValue::get);
        Some(Self {
            channel: envelope.channel.map(Into::into),
            id: envelope.id.map(|id| id.get().trim_matches('"').to_owned()),
            cursor: envelope.cursor.map(|cursor| cursor.get().trim_matches('"').to_owned()),
            data: one_line(data),
            envelope: one_line(text),
        })
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
        assert_eq!(Message::parse("not json"), None);
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
