//! Rooms are channels: which channel a room of a namespace is, and back.
//!
//! A room of `/` is the channel of the same name, so that it is the same place as the `room` of a plain WebSocket. A room of another
//! namespace is `namespace/room`. A slash inside either part is escaped, so that no room name reaches into another namespace:
//!
//! | namespace | room | channel |
//! | --- | --- | --- |
//! | `/` | `chat` | `chat` |
//! | `/` | `a/b` | `a%2Fb` |
//! | `/admin` | `chat` | `admin/chat` |
//! | `/a/b` | `c` | `a%2Fb/c` |
//!
//! `%` is escaped only where it would be read as the beginning of an escape, so that names which merely contain one stay as they are.

use std::borrow::Cow;

use omnivox_core::ChannelName;
use omnivox_core::name::InvalidName;

/// The channel that is the room of the namespace.
pub(super) fn channel_of(namespace: &str, room: &str) -> Result<ChannelName, InvalidName> {
    if room.is_empty() {
        return Err(InvalidName::Empty);
    }
    let room = escape(room);
    match namespace.strip_prefix('/') {
        Some("") | None => ChannelName::parse(&room),
        Some(namespace) => ChannelName::parse(&format!("{}/{room}", escape(namespace))),
    }
}

/// The namespace and the room that the channel is. A channel that is no room of any namespace is shown as itself.
pub(super) fn room_of(channel: &str) -> (Cow<'static, str>, Cow<'_, str>) {
    match channel.split_once('/') {
        Some((namespace, room)) => (Cow::Owned(format!("/{}", unescape(namespace))), unescape(room)),
        None => (Cow::Borrowed("/"), unescape(channel)),
    }
}

/// What follows a `%` that begins an escape: of the slash, or of `%` itself.
const ESCAPES: [(&str, char); 2] = [("2F", '/'), ("25", '%')];

fn escape(part: &str) -> Cow<'_, str> {
    if !part.contains(['/', '%']) {
        return Cow::Borrowed(part);
    }
    let mut escaped = String::with_capacity(part.len() + 8);
    for (at, character) in part.char_indices() {
        match character {
            '/' => escaped.push_str("%2F"),
            '%' if ESCAPES.iter().any(|(code, _)| part[at + 1..].starts_with(code)) => escaped.push_str("%25"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn unescape(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return Cow::Borrowed(part);
    }
    let mut plain = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match ESCAPES.iter().find(|(code, _)| rest.starts_with(code)) {
            Some((code, character)) => {
                plain.push(*character);
                rest = &rest[code.len()..];
            }
            None => plain.push('%'),
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rooms_and_channels() {
        for (namespace, room, channel) in [
            ("/", "chat", "chat"),
            ("/", "a/b", "a%2Fb"),
            ("/", "100%", "100%"),
            ("/", "100%2F", "100%252F"),
            ("/", "%%25", "%%2525"),
            ("/admin", "chat", "admin/chat"),
            ("/a/b", "c/d", "a%2Fb/c%2Fd"),
            ("/a%2Fb", "c", "a%252Fb/c"),
        ] {
            assert_eq!(channel_of(namespace, room).unwrap().as_str(), channel);
            assert_eq!(room_of(channel), (Cow::Borrowed(namespace), Cow::Borrowed(room)));
        }
        assert_eq!(channel_of("/admin", ""), Err(InvalidName::Empty));
        assert!(channel_of("/", &"x".repeat(256)).is_err());
    }

    proptest! {
        /// Two rooms are one channel only when they are one room.
        #[test]
        fn names_are_never_mixed_up(namespace in "/[a%/25F]{0,5}", room in "[a%/25F]{1,5}") {
            let channel = channel_of(&namespace, &room).unwrap();
            prop_assert_eq!(room_of(channel.as_str()), (Cow::Borrowed(&*namespace), Cow::Borrowed(&*room)));
        }
    }
}
