//! The numbered message that every run publishes, and the scan that finds it again in whatever carried it.
//!
//! The data object of a message is `{"seq":7,"sent_ns":123456,"pad":"xxxx"}`. A subscriber doesn't parse JSON: it looks for `"seq":` and reads two
//! numbers, so that the generator stays cheaper than the server that it measures. Servers pass payloads byte for byte, hence this is sound;
//! one that writes the object anew (other key order, spaces) is refused by name instead of being counted as lossy.

use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use memchr::memmem::Finder;

/// Appends the data object, padded to `size` bytes when it is shorter.
pub(crate) fn write_data(into: &mut Vec<u8>, seq: u64, sent_ns: u64, size: usize) {
    let start = into.len();
    let mut digits = itoa::Buffer::new();
    into.extend_from_slice(SEQ);
    into.extend_from_slice(digits.format(seq).as_bytes());
    into.extend_from_slice(SENT);
    into.extend_from_slice(digits.format(sent_ns).as_bytes());
    into.extend_from_slice(PAD);
    let written = into.len() - start + END.len();
    into.resize(into.len() + size.saturating_sub(written), b'x');
    into.extend_from_slice(END);
}

/// Appends the native protocol's publish message.
pub(crate) fn write_publish(into: &mut Vec<u8>, channel: &str, seq: u64, sent_ns: u64, size: usize) {
    into.extend_from_slice(br#"{"type":"publish","channel":""#);
    into.extend_from_slice(channel.as_bytes());
    into.extend_from_slice(br#"","event":"bench","data":"#);
    write_data(into, seq, sent_ns, size);
    into.push(b'}');
}

/// Appends a Mercure update: one POST, which is answered by itself however many others are on their way.
pub(crate) fn write_update(into: &mut Vec<u8>, host: &str, token: Option<&str>, topic: &str, data: &[u8]) {
    let mut form = Vec::with_capacity(data.len() * 2);
    form.extend_from_slice(b"topic=");
    form.extend_from_slice(topic.as_bytes());
    form.extend_from_slice(b"&data=");
    for &byte in data {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            form.push(byte);
        } else {
            form.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = form.len();
    let head = format!(
        "POST /.well-known/mercure HTTP/1.1\r\nHost: {host}\r\n{authorization}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
    );
    into.extend_from_slice(head.as_bytes());
    into.extend_from_slice(&form);
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// What a subscriber reads of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) seq: u64,
    pub(crate) sent_ns: u64,
}

/// Calls `each` for every stamp in `text` (one in a WebSocket message or event, several in a poll's answer) and says how many there were.
pub(crate) fn stamps(text: &[u8], mut each: impl FnMut(Stamp)) -> Result<usize> {
    let mut rest = text;
    let mut count = 0;
    while let Some(at) = FINDER.find(rest) {
        let (seq, after) = number(&rest[at + KEY.len()..])?;
        let Some(after) = after.strip_prefix(SENT) else {
            bail!("the server wrote the data object anew: {}", excerpt(text));
        };
        let (sent_ns, after) = number(after)?;
        each(Stamp { seq, sent_ns });
        count += 1;
        rest = after;
    }
    Ok(count)
}

/// Whether there is a stamp in `text`.
pub(crate) fn is_message(text: &[u8]) -> bool {
    FINDER.find(text).is_some()
}

/// The value of the first string member `key` (given with quotes and colon: `"id":"`), as it stands in the text.
pub(crate) fn string_member<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let value = memchr::memmem::find(text, key)? + key.len();
    let end = memchr::memchr(b'"', &text[value..])?;
    Some(&text[value..value + end])
}

/// The beginning of a text from the network, fit for an error message.
pub(crate) fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned()
}

fn number(text: &[u8]) -> Result<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = std::str::from_utf8(&text[..digits])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("not a number where one belongs: {}", excerpt(text)))?;
    Ok((value, &text[digits..]))
}

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

const SEQ: &[u8] = br#"{"seq":"#;
const KEY: &[u8] = br#""seq":"#;
const SENT: &[u8] = br#","sent_ns":"#;
const PAD: &[u8] = br#","pad":""#;
const END: &[u8] = br#""}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_a_form() {
        let mut request = Vec::new();
        write_update(&mut request, "h", Some("t"), "a", br#"{"n":1}"#);
        let expected = "POST /.well-known/mercure HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\
            Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\ntopic=a&data=%7B%22n%22%3A1%7D";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    #[test]
    fn a_written_message_is_found_again_and_has_its_size() {
        for (seq, sent_ns, size) in [(1, 0, 120), (u64::MAX, u64::MAX, 200), (7, 9, 0)] {
            let mut text = Vec::new();
            write_data(&mut text, seq, sent_ns, size);
            assert!(text.len() >= size, "{}", excerpt(&text));
            if size > 100 {
                assert_eq!(text.len(), size);
            }
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(json["seq"], seq);

            let mut publish = Vec::new();
            write_publish(&mut publish, "c", seq, sent_ns, size);
            let json: serde_json::Value = serde_json::from_slice(&publish).unwrap();
            assert_eq!(json["type"], "publish");
            assert_eq!(json["channel"], "c");

            let both = [text, publish].concat();
            let mut found = Vec::new();
            let count = stamps(&both, |stamp| found.push(stamp));
            assert_eq!(count.unwrap(), 2);
            assert_eq!(found, [Stamp { seq, sent_ns }; 2]);
        }
    }

    #[test]
    fn what_is_no_message_and_what_was_rewritten() {
        assert!(!is_message(br#"{"type":"subscribed"}"#));
        for bad in [
            r#"{"seq": 1,"sent_ns":2}"#,
            r#"{"seq":1}"#,
            r#"{"seq":1,"pad":"","sent_ns":2}"#,
            r#"{"seq":99999999999999999999,"sent_ns":2}"#,
        ] {
            assert!(stamps(bad.as_bytes(), |_| {}).is_err(), "{bad}");
        }
    }

    #[test]
    fn string_members() {
        let text = br#"{"type":"message","id":"e1-7","data":{}}"#;
        assert_eq!(string_member(text, br#""id":""#), Some(&b"e1-7"[..]));
        assert_eq!(string_member(text, br#""last":""#), None);
        assert_eq!(string_member(br#"{"id":"cut"#, br#""id":""#), None);
    }
}
