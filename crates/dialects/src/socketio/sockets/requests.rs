//! What the arguments of the default events mean: rooms to join, a publication.

use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::{ChannelName, Denied, Mark, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::super::channel::channel_of;
use super::super::directory::Presence;
use super::super::packet::is_reserved;
use super::super::tags;
use super::super::value::Value;

/// A wish to be in some rooms.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) channels: SmallVec<[ChannelName; 1]>,
    pub(super) since: Option<Mark>,
    /// The entry in the rooms' presence sets.
    pub(super) presence: Option<Box<Presence>>,
    /// The server lets the socket in, whatever its grants are.
    pub(super) admitted: bool,
}

/// Rooms as clients name them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rooms {
    One(Name),
    Many(Vec<Name>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(serde_json::Number),
}

#[derive(Deserialize)]
struct JoinObject {
    #[serde(alias = "rooms", alias = "channel", alias = "channels")]
    room: Rooms,
    since: Option<Name>,
    presence: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct PublishObject {
    #[serde(alias = "rooms", alias = "channel", alias = "channels")]
    room: Rooms,
    event: Option<String>,
    data: Option<Box<RawValue>>,
    id: Option<String>,
}

impl Rooms {
    /// The channels, each once.
    fn channels(self, namespace: &str) -> Result<SmallVec<[ChannelName; 1]>, Denied> {
        let names = match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        };
        let mut channels = SmallVec::new();
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let channel = channel_of(namespace, &name.text()).map_err(|error| Denied::Invalid(error.to_string().into()))?;
            if seen.insert(channel.clone()) {
                channels.push(channel);
            }
        }
        if channels.is_empty() { Err(Denied::Invalid("name at least one room".into())) } else { Ok(channels) }
    }
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Reads `"room"`, `["a","b"]` or `{"room":…,"since":…,"presence":…}`.
pub(super) fn joining(namespace: &str, argument: Option<&str>) -> Result<Joining, Denied> {
    let words = "the first argument is a room, a list of rooms, or {room, since?, presence?}";
    let argument = argument.ok_or_else(|| Denied::Invalid(words.into()))?;
    if !argument.starts_with('{') {
        return Ok(Joining { channels: rooms(namespace, argument, words)?, since: None, presence: None, admitted: false });
    }
    let object: JoinObject = serde_json::from_str(argument).map_err(|_| Denied::Invalid(words.into()))?;
    let since = object.since.map(|since| Mark::parse(&since.text()));
    let since = since.transpose().map_err(|error| Denied::Invalid(error.to_string().into()))?;
    let presence = match object.presence.as_deref().map(RawValue::get) {
        None | Some("false") => None,
        Some("true") => Some(Box::new(Presence { data: None })),
        Some(data) => Some(Box::new(Presence { data: Some(Bytes::copy_from_slice(data.as_bytes())) })),
    };
    Ok(Joining { channels: object.room.channels(namespace)?, since, presence, admitted: false })
}

fn rooms(namespace: &str, argument: &str, words: &str) -> Result<SmallVec<[ChannelName; 1]>, Denied> {
    let rooms: Rooms = serde_json::from_str(argument).map_err(|_| Denied::Invalid(words.into()))?;
    rooms.channels(namespace)
}

/// What `publish` asks for.
pub(super) struct Publishing {
    pub(super) channels: SmallVec<[ChannelName; 1]>,
    pub(super) event: Option<Arc<str>>,
    pub(super) id: Option<Arc<str>>,
    pub(super) content: Content,
}

/// Arguments as a payload, with the tags that make arguments of it again.
#[derive(Debug)]
pub(in super::super) struct Content {
    pub(in super::super) payload: Payload,
    pub(in super::super) tags: SmallVec<[(&'static str, Arc<str>); 3]>,
}

/// Reads `(room, event, …arguments)` or `({room, event?, data?, id?})`.
pub(super) fn publishing<T: AsRef<str>>(namespace: &str, arguments: &[T], binaries: usize) -> Result<Publishing, Denied> {
    let words = "the arguments are a room (or a list), an event name and its arguments, or {room, event?, data?, id?}";
    match arguments {
        [object] if object.as_ref().starts_with('{') => {
            let object: PublishObject = serde_json::from_str(object.as_ref()).map_err(|_| Denied::Invalid(words.into()))?;
            let data: SmallVec<[&str; 1]> = object.data.as_deref().map(RawValue::get).into_iter().collect();
            Ok(Publishing {
                channels: object.room.channels(namespace)?,
                event: object.event.as_deref().map_or(Ok(None), event)?,
                id: object.id.map(Arc::from),
                content: content(&data, binaries),
            })
        }
        [room, name, rest @ ..] => {
            let name: String = serde_json::from_str(name.as_ref()).map_err(|_| Denied::Invalid(words.into()))?;
            Ok(Publishing {
                channels: rooms(namespace, room.as_ref(), words)?,
                event: event(&name)?,
                id: None,
                content: content(rest, binaries),
            })
        }
        [] | [_] => Err(Denied::Invalid(words.into())),
    }
}

/// The hub's name of an event; `message` is what it calls an event without a name.
pub(in super::super) fn event(name: &str) -> Result<Option<Arc<str>>, Denied> {
    if is_reserved(name) {
        return Err(Denied::Invalid(format!("`{name}` is an event of the client library itself").into()));
    }
    Ok((name != "message").then(|| Arc::from(name)))
}

/// The arguments of an event as one payload.
pub(in super::super) fn content<T: AsRef<str>>(arguments: &[T], binaries: usize) -> Content {
    let mut tags = SmallVec::new();
    let json = match arguments {
        [] => {
            tags.push((tags::ARGUMENTS, Arc::from(tags::ARGUMENTS_NONE)));
            "null".to_owned()
        }
        [only] => match sole_binary(only.as_ref(), binaries) {
            Some(bytes) => return Content { payload: Payload::Binary(bytes), tags },
            None => only.as_ref().to_owned(),
        },
        [first, rest @ ..] => {
            tags.push((tags::ARGUMENTS, Arc::from(tags::ARGUMENTS_LIST)));
            let mut list = format!("[{}", first.as_ref());
            for argument in rest {
                list.push(',');
                list.push_str(argument.as_ref());
            }
            list.push(']');
            list
        }
    };
    if binaries > 0 {
        tags.push((tags::ATTACHMENTS, Arc::from(itoa::Buffer::new().format(binaries))));
    }
    Content { payload: Payload::Json(json.into()), tags }
}

/// The bytes, when binary data is all that the argument is.
fn sole_binary(argument: &str, binaries: usize) -> Option<Bytes> {
    if binaries != 1 || !argument.starts_with(r#"{"_placeholder":true"#) {
        return None;
    }
    match Value::parse_inline(argument) {
        Some(Value::Binary(bytes)) => Some(bytes),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(content: &Content) -> String {
        let payload = match &content.payload {
            Payload::Json(json) => String::from_utf8_lossy(json).into_owned(),
            Payload::Text(text) => format!("text {text:?}"),
            Payload::Binary(bytes) => format!("binary {bytes:?}"),
        };
        content.tags.iter().fold(payload, |shown, (key, value)| format!("{shown} {key}={value}"))
    }

    #[test]
    fn arguments_are_a_payload() {
        for (arguments, binaries, expected) in [
            (&[][..], 0, "null args=none"),
            (&["{\"a\":1}"], 0, "{\"a\":1}"),
            (&["1", "\"x\""], 0, "[1,\"x\"] args=list"),
            (&[r#"{"_placeholder":true,"num":0,"base64":"AQI="}"#], 1, r#"binary b"\x01\x02""#),
            (&[r#"{"_placeholder":true,"num":0,"base64":"AQI="}"#], 0, r#"{"_placeholder":true,"num":0,"base64":"AQI="}"#),
            (
                &[r#"{"b":{"_placeholder":true,"num":0,"base64":""}}"#],
                1,
                r#"{"b":{"_placeholder":true,"num":0,"base64":""}} attachments=1"#,
            ),
        ] {
            assert_eq!(show(&content(arguments, binaries)), expected);
        }
    }

    #[test]
    fn publications_are_read() {
        let check = |arguments: &[&str], expected: &str| {
            let shown = match publishing("/n", arguments, 0) {
                Ok(read) => {
                    let channels: Vec<_> = read.channels.iter().map(ChannelName::as_str).collect();
                    format!("{} {:?} {:?} {}", channels.join("+"), read.event, read.id, show(&read.content))
                }
                Err(denied) => denied.code().to_owned(),
            };
            assert_eq!(shown, expected, "{arguments:?}");
        };
        check(&["\"r\"", "\"e\"", "1"], r#"n/r Some("e") None 1"#);
        check(&["[\"r\",\"s\",\"r\",7]", "\"message\""], r#"n/r+n/s+n/7 None None null args=none"#);
        check(&[r#"{"room":"r","event":"e","data":[1],"id":"i"}"#], r#"n/r Some("e") Some("i") [1]"#);
        check(&[r#"{"channels":["r"]}"#], "n/r None None null args=none");
        for bad in [
            &[][..],
            &["\"r\""],
            &["1.5e400", "\"e\""],
            &["\"\"", "\"e\""],
            &["[]", "\"e\""],
            &["\"r\"", "2"],
            &["\"r\"", "\"connect\""],
            &["{}"],
        ] {
            check(bad, "invalid");
        }
    }

    #[test]
    fn joins_are_read() {
        let check = |argument: &str, expected: &str| {
            let shown = match joining("/", Some(argument)) {
                Ok(read) => format!(
                    "{:?} {:?} {:?}",
                    read.channels.to_vec(),
                    read.since.map(|mark| mark.to_string()),
                    read.presence.map(|presence| presence.data)
                ),
                Err(denied) => denied.code().to_owned(),
            };
            assert_eq!(shown, expected, "{argument}");
        };
        check("\"r\"", r#"["r"] None None"#);
        check("[\"r\",1]", r#"["r", "1"] None None"#);
        check(r#"{"room":"a/b","since":"z.4","presence":true}"#, r#"["a%2Fb"] Some("z.4") Some(None)"#);
        check(r#"{"rooms":["r"],"since":7,"presence":{"name":"x"}}"#, r#"["r"] Some("7") Some(Some(b"{\"name\":\"x\"}"))"#);
        check(r#"{"room":"r","presence":false}"#, r#"["r"] None None"#);
        for bad in ["null", "{}", "[]", "[[]]", r#"{"room":"r","since":"?"}"#, "\"\"", "true"] {
            check(bad, "invalid");
        }
    }
}
