//! Payloads: several packets in one HTTP body.
//!
//! Revision 4 separates packets by 0x1E. Revision 3 counts them: `6:4hello` in UTF-16 code units, or, when binary data is among them and the
//! client can take it, a byte for the kind, the decimal digits of the length as bytes of value 0 to 9, 0xFF and the data.

use super::Revision;
use super::packet::{BadPacket, Packet};

/// Between two packets of revision 4.
pub(in super::super) const SEPARATOR: char = '\x1e';

/// The digits of a length that is taken seriously.
const LENGTH_DIGITS_MAX: usize = 10;

/// Takes a text payload apart.
pub(in super::super) fn decode_text(body: &str, revision: Revision) -> Vec<Result<Packet<'_>, BadPacket>> {
    match revision {
        Revision::Four => body.split(SEPARATOR).map(|text| Packet::from_text(text, revision)).collect(),
        Revision::Three => decode_counted(body),
    }
}

/// `<length>:<packet>` again and again. What comes before the first error is still good.
fn decode_counted(mut rest: &str) -> Vec<Result<Packet<'_>, BadPacket>> {
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let Some((text, behind)) = counted(rest) else {
            packets.push(Err(BadPacket));
            break;
        };
        rest = behind;
        packets.push(Packet::from_text(text, Revision::Three));
    }
    packets
}

fn counted(rest: &str) -> Option<(&str, &str)> {
    let colon = rest.as_bytes().iter().take(LENGTH_DIGITS_MAX + 1).position(|byte| *byte == b':')?;
    let digits = &rest[..colon];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let packet = &rest[colon + 1..];
    let end = utf16_end(packet, length)?;
    (length > 0).then(|| packet.split_at(end))
}

/// Where the first `units` UTF-16 code units of `text` end, if it has so many.
fn utf16_end(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// Takes a binary payload of revision 3 apart.
pub(in super::super) fn decode_binary(mut rest: &[u8]) -> Vec<Result<Packet<'_>, BadPacket>> {
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let Some((kind, data, behind)) = counted_bytes(rest) else {
            packets.push(Err(BadPacket));
            break;
        };
        rest = behind;
        packets.push(match kind {
            0 => std::str::from_utf8(data).map_err(|_| BadPacket).and_then(|text| Packet::from_text(text, Revision::Three)),
            1 => Packet::from_binary(data, Revision::Three),
            _ => Err(BadPacket),
        });
    }
    packets
}

fn counted_bytes(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let end = rest.iter().take(LENGTH_DIGITS_MAX + 1).position(|byte| *byte == 0xff)?;
    let mut length = 0usize;
    for digit in &rest[..end] {
        length = length.checked_mul(10)?.checked_add(usize::from(*digit).min(9))?;
    }
    let (data, behind) = rest[end + 1..].split_at_checked(length)?;
    (end > 0).then_some((*kind, data, behind))
}

/// Appends one text packet to a counted text payload.
pub(super) fn encode_counted(packet: &str, into: &mut String) {
    into.push_str(itoa::Buffer::new().format(packet.encode_utf16().count()));
    into.push(':');
    into.push_str(packet);
}

/// Appends one packet to a binary payload: text, or the data of a binary message.
pub(super) fn encode_binary(packet: PacketBytes<'_>, into: &mut Vec<u8>) {
    let (kind, prefix, data): (u8, &[u8], &[u8]) = match packet {
        PacketBytes::Text(text) => (0, &[], text.as_bytes()),
        PacketBytes::Binary(data) => (1, &[4], data),
    };
    into.push(kind);
    into.extend(itoa::Buffer::new().format(prefix.len() + data.len()).bytes().map(|digit| digit - b'0'));
    into.push(0xff);
    into.extend_from_slice(prefix);
    into.extend_from_slice(data);
}

/// A packet on its way into a binary payload.
pub(super) enum PacketBytes<'a> {
    /// With its type digit.
    Text(&'a str),
    /// Without a type.
    Binary(&'a [u8]),
}

/// Reads the `d` field of a JSONP form: the payload in which old browsers' line breaks were written as `\n`.
pub(in super::super) fn from_jsonp(form: &[u8]) -> Option<String> {
    let field = omnivox_wire::http1::Query::new(form).first("d").ok().flatten()?;
    let mut text = String::with_capacity(field.len());
    let mut rest = &*field;
    // `\\n` is an escaped backslash before an `n`, `\n` is a line break; anything else stays.
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("\\\\n") {
            text.push_str("\\n");
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("\\n") {
            text.push('\n');
            rest = behind;
        } else {
            text.push('\\');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    Some(text)
}

/// A payload as a call of the page's function.
pub(super) fn to_jsonp(index: &str, payload: &str) -> String {
    let mut quoted = Vec::new();
    super::super::value::write_json_as(payload, &mut quoted);
    let quoted = String::from_utf8(quoted).expect("JSON is UTF-8").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("___eio[{index}]({quoted});")
}

#[cfg(test)]
mod tests {
    use super::super::packet::Message;
    use super::*;
    use proptest::prelude::*;

    fn show(packets: Vec<Result<Packet<'_>, BadPacket>>) -> String {
        let words: Vec<_> = packets
            .into_iter()
            .map(|packet| match packet {
                Ok(Packet::Message(Message::Text(text))) => format!("text {text}"),
                Ok(Packet::Message(Message::Binary(bytes))) => format!("binary {bytes:?}"),
                Ok(other) => format!("{other:?}").to_lowercase(),
                Err(BadPacket) => "bad".to_owned(),
            })
            .collect();
        words.join(" | ")
    }

    #[test]
    fn revision_4() {
        for (body, expected) in [
            ("4hello", "text hello"),
            ("4test1\x1e4test2\x1e4test3", "text test1 | text test2 | text test3"),
            ("3\x1e1", "pong | close"),
            ("bAQIDBA==", "binary [1, 2, 3, 4]"),
            ("bAQIDBA", "binary [1, 2, 3, 4]"),
            ("b", "binary []"),
            ("b!", "bad"),
            ("", "bad"),
            ("abc", "bad"),
            ("4a\x1e", "text a | bad"),
            ("7", "bad"),
            ("€", "bad"),
            ("2probe", r#"ping("probe")"#),
        ] {
            assert_eq!(show(decode_text(body, Revision::Four)), expected, "{body:?}");
        }
    }

    #[test]
    fn revision_3() {
        for (body, expected) in [
            ("6:4hello", "text hello"),
            ("6:4hello6:4world", "text hello | text world"),
            ("2:4€", "text €"),
            ("3:4😀", "text 😀"),
            ("2:4😀", "bad"),
            ("10:b4AQIDBA==", "binary [1, 2, 3, 4]"),
            ("9:bAQIDBA==", "bad"),
            ("1:2", r#"ping("")"#),
            ("0:", "bad"),
            (":4a", "bad"),
            ("abc", "bad"),
            ("99:4a", "bad"),
            ("2:4a5", "text a | bad"),
            ("99999999999:4", "bad"),
            ("1:2+1:2", r#"ping("") | bad"#),
        ] {
            assert_eq!(show(decode_text(body, Revision::Three)), expected, "{body:?}");
        }
    }

    #[test]
    fn revision_3_binary() {
        let mut payload = Vec::new();
        encode_binary(PacketBytes::Text("4€"), &mut payload);
        encode_binary(PacketBytes::Binary(&[1, 2, 3, 4]), &mut payload);
        assert_eq!(payload, b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04");
        assert_eq!(show(decode_binary(&payload)), "text € | binary [1, 2, 3, 4]");
        for bad in [
            &b"\x00"[..],
            b"\x00\xff",
            b"\x02\x01\xff4",
            b"\x00\x09\xff4",
            b"\x01\x01\xff\x03",
            b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff",
        ] {
            assert_eq!(show(decode_binary(bad)), "bad", "{bad:?}");
        }
    }

    #[test]
    fn jsonp() {
        assert_eq!(to_jsonp("3", "6:4a\u{2028}\"b"), "___eio[3](\"6:4a\\u2028\\\"b\");");
        assert_eq!(from_jsonp(b"d=6%3A4he%5Cnl%5C%5Cn%5Cx").as_deref(), Some("6:4he\nl\\n\\x"));
        assert_eq!(from_jsonp(b"e=1"), None);
    }

    proptest! {
        #[test]
        fn counted_payloads_survive_the_round_trip(texts in prop::collection::vec("\\PC{0,12}", 0..6)) {
            let mut body = String::new();
            for text in &texts {
                encode_counted(&format!("4{text}"), &mut body);
            }
            let expected: Vec<_> = texts.iter().map(|text| format!("text {text}")).collect();
            prop_assert_eq!(show(decode_text(&body, Revision::Three)), expected.join(" | "));
        }

        #[test]
        fn no_body_panics(body in "\\PC{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_text(&body, Revision::Three);
            let _ = decode_text(&body, Revision::Four);
            let _ = decode_binary(&bytes);
            let _ = from_jsonp(&bytes);
        }
    }
}
