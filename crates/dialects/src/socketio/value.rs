//! A payload taken apart: the tree that JSON with attachments and MessagePack have in common.
//!
//! Plain JSON events never come here, their bytes pass as they are. A tree is made only where binary data has to be put in or taken out.
//! Inside the hub binary data lies in the JSON as `{"_placeholder":true,"num":0,"base64":"AQID"}`: another dialect shows an object that it
//! can read, and no client can forge one, because a client's own placeholder is always replaced by the attachment that it means.
//!
//! Invariant: keys keep their order, and a tree is never deeper than the parser that made it allows (128 levels).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One value of JSON or MessagePack.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Box<str>),
    Binary(Bytes),
    List(Vec<Self>),
    Map(Vec<(Box<str>, Self)>),
}

/// How binary data is written into JSON.
pub(super) enum BinaryForm<'a> {
    /// As the hub keeps it: base64 inside a placeholder; counted.
    Inline(&'a mut usize),
    /// As Socket.IO sends it: a placeholder for an attachment that follows.
    Attached(&'a mut Vec<Bytes>),
}

/// A placeholder that means no attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPlaceholder;

impl Value {
    /// Parses JSON.
    pub(super) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Parses JSON of the hub in which binary data is inlined.
    pub(super) fn parse_inline(json: &str) -> Option<Self> {
        let mut value = Self::parse(json).ok()?;
        value.replace_placeholders(&mut inlined).ok()?;
        Some(value)
    }

    /// Puts attachments where their placeholders stand.
    pub(super) fn attach(&mut self, attachments: &[Bytes]) -> Result<(), BadPlaceholder> {
        self.replace_placeholders(&mut |fields| match field(fields, "num") {
            Some(Self::Unsigned(number)) => attachments.get(usize::try_from(*number).ok()?).cloned(),
            _ => None,
        })
    }

    fn replace_placeholders(&mut self, find: &mut impl FnMut(&[(Box<str>, Self)]) -> Option<Bytes>) -> Result<(), BadPlaceholder> {
        match self {
            Self::Map(fields) if field(fields, "_placeholder") == Some(&Self::Bool(true)) => {
                *self = Self::Binary(find(fields).ok_or(BadPlaceholder)?);
                Ok(())
            }
            Self::Map(fields) => fields.iter_mut().try_for_each(|(_, value)| value.replace_placeholders(find)),
            Self::List(items) => items.iter_mut().try_for_each(|item| item.replace_placeholders(find)),
            Self::Null | Self::Bool(_) | Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) | Self::Text(_) | Self::Binary(_) => Ok(()),
        }
    }

    /// Appends the value as JSON.
    pub(super) fn write_json(&self, form: &mut BinaryForm<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Null => into.extend_from_slice(b"null"),
            Self::Bool(true) => into.extend_from_slice(b"true"),
            Self::Bool(false) => into.extend_from_slice(b"false"),
            Self::Unsigned(number) => into.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Signed(number) => into.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Float(number) => write_json_as(number, into),
            Self::Text(text) => write_json_as(text, into),
            Self::Binary(bytes) => write_binary(bytes, form, into),
            Self::List(items) => {
                into.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        into.push(b',');
                    }
                    item.write_json(form, into);
                }
                into.push(b']');
            }
            Self::Map(fields) => {
                into.push(b'{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        into.push(b',');
                    }
                    write_json_as(key, into);
                    into.push(b':');
                    value.write_json(form, into);
                }
                into.push(b'}');
            }
        }
    }

    /// How many binary values are in it.
    pub(super) fn binaries(&self) -> usize {
        match self {
            Self::Binary(_) => 1,
            Self::List(items) => items.iter().map(Self::binaries).sum(),
            Self::Map(fields) => fields.iter().map(|(_, value)| value.binaries()).sum(),
            Self::Null | Self::Bool(_) | Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) | Self::Text(_) => 0,
        }
    }

    /// The value as JSON text of the hub; binary data is inlined and counted.
    pub(super) fn to_json_inline(&self, binaries: &mut usize) -> String {
        let mut json = Vec::new();
        self.write_json(&mut BinaryForm::Inline(binaries), &mut json);
        String::from_utf8(json).expect("the writer makes UTF-8")
    }
}

/// The value of a key; the last one counts when there are several, as in JavaScript.
fn field<'a>(fields: &'a [(Box<str>, Value)], name: &str) -> Option<&'a Value> {
    fields.iter().rev().find(|(key, _)| **key == *name).map(|(_, value)| value)
}

fn inlined(fields: &[(Box<str>, Value)]) -> Option<Bytes> {
    let Some(Value::Text(text)) = field(fields, "base64") else { return None };
    STANDARD.decode(text.as_bytes()).ok().map(Bytes::from)
}

fn write_binary(bytes: &Bytes, form: &mut BinaryForm<'_>, into: &mut Vec<u8>) {
    let number = match form {
        BinaryForm::Inline(count) => {
            **count += 1;
            **count - 1
        }
        BinaryForm::Attached(attachments) => {
            attachments.push(bytes.clone());
            attachments.len() - 1
        }
    };
    into.extend_from_slice(br#"{"_placeholder":true,"num":"#);
    into.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    if let BinaryForm::Inline(_) = form {
        into.extend_from_slice(br#","base64":""#);
        into.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        into.push(b'"');
    }
    into.push(b'}');
}

/// Appends what serde knows to write as JSON; a number that JSON has no words for becomes `null`.
pub(super) fn write_json_as<T: serde::Serialize + ?Sized>(value: &T, into: &mut Vec<u8>) {
    serde_json::to_writer(into, value).expect("text and numbers can be written to memory");
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = access.next_entry::<String, Value>()? {
            fields.push((entry.0.into(), entry.1));
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_pass_through_the_hub_and_come_out_again() {
        let mut value = Value::parse(r#"{"b":{"_placeholder":true,"num":1},"a":[{"_placeholder":true,"num":0},1.5,-2]}"#).unwrap();
        value.attach(&[Bytes::from_static(b"\x01\x02\x03"), Bytes::from_static(b"hi")]).unwrap();
        let mut count = 0;
        let inline = value.to_json_inline(&mut count);
        assert_eq!(count, 2);
        assert_eq!(
            inline,
            r#"{"b":{"_placeholder":true,"num":0,"base64":"aGk="},"a":[{"_placeholder":true,"num":1,"base64":"AQID"},1.5,-2]}"#
        );
        let again = Value::parse_inline(&inline).unwrap();
        assert_eq!(again, value);
        let mut attachments = Vec::new();
        let mut json = Vec::new();
        again.write_json(&mut BinaryForm::Attached(&mut attachments), &mut json);
        assert_eq!(json, br#"{"b":{"_placeholder":true,"num":0},"a":[{"_placeholder":true,"num":1},1.5,-2]}"#);
        assert_eq!(attachments, [Bytes::from_static(b"hi"), Bytes::from_static(b"\x01\x02\x03")]);
    }

    #[test]
    fn a_placeholder_needs_its_attachment() {
        for json in [
            r#"[{"_placeholder":true,"num":1}]"#,
            r#"[{"_placeholder":true,"num":-1}]"#,
            r#"[{"_placeholder":true}]"#,
            r#"[{"_placeholder":true,"num":"0"}]"#,
            r#"[{"\u005fplaceholder":true,"num":7}]"#,
            r#"[{"num":0,"_placeholder":false,"_placeholder":true,"num":9}]"#,
        ] {
            assert_eq!(Value::parse(json).unwrap().attach(&[Bytes::new()]), Err(BadPlaceholder), "{json}");
        }
        assert_eq!(Value::parse(r#"{"_placeholder":1,"num":7}"#).unwrap().attach(&[]), Ok(()), "only `true` makes a placeholder");
    }
}
