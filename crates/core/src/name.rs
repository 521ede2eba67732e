//! Names: apps, channels, users and sessions, parsed once at the edge and never checked again.
//!
//! ```
//! use omnivox_core::name::{ChannelName, InvalidName};
//! assert_eq!(ChannelName::parse("chat").unwrap().as_str(), "chat");
//! assert_eq!(ChannelName::parse(""), Err(InvalidName::Empty));
//! ```

use std::fmt;
use std::sync::Arc;

/// The longest channel name, in bytes of UTF-8.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name has no characters.
    #[error("the name is empty; give it 1 to 255 bytes of UTF-8")]
    Empty,
    /// The name is too long.
    #[error("the name has {0} bytes; a name has at most 255 bytes of UTF-8")]
    TooLong(usize),
    /// The name contains a control character.
    #[error("the name has a control character at byte {0}; names are printable text")]
    Control(usize),
}

fn check(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > CHANNEL_NAME_BYTES_MAX {
        return Err(InvalidName::TooLong(text.len()));
    }
    // Without an early return, so that it becomes vector instructions: most names are printable ASCII.
    if text.bytes().fold(0, |found, byte| found | u8::from(!matches!(byte, b' '..=b'~'))) == 0 {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(InvalidName::Control(at)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text: 1 to 255 bytes of UTF-8 without control characters.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// The name of one app: a tenant whose channels, users and secrets no other app sees.
    AppId
}
name! {
    /// The name of a channel inside its app.
    ChannelName
}
name! {
    /// The name of a user inside its app, as its credential gives it.
    UserId
}

/// What the names of inboxes begin with; no name that comes from outside has it.
const INBOX_MARK: char = '\u{1}';

impl ChannelName {
    /// The inbox of a seat on lease. No client can name it, so only who shows the key of the seat is let in.
    pub fn inbox(member: &str) -> Self {
        Self(format!("{INBOX_MARK}{member}").into())
    }

    /// Whether it is an inbox.
    pub fn is_inbox(&self) -> bool {
        self.0.starts_with(INBOX_MARK)
    }
}

/// A channel of an app: the key of every table that the hub and the engines keep.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ChannelKey {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
}

impl ChannelKey {
    /// The key of `channel` in `app`.
    pub fn new(app: &AppId, channel: &ChannelName) -> Self {
        Self { app: app.clone(), channel: channel.clone() }
    }
}

/// A [`ChannelKey`] that borrows its names: tables are asked with it, so that a lookup counts no references. Shards that count those of the same
/// name take its cache line from each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChannelRef<'a> {
    /// The app.
    pub app: &'a AppId,
    /// The channel.
    pub channel: &'a ChannelName,
}

impl<'a> ChannelRef<'a> {
    /// The key of `channel` in `app`.
    pub fn new(app: &'a AppId, channel: &'a ChannelName) -> Self {
        Self { app, channel }
    }
}

impl hashbrown::Equivalent<ChannelKey> for ChannelRef<'_> {
    fn equivalent(&self, key: &ChannelKey) -> bool {
        *self.channel == key.channel && *self.app == key.app
    }
}

impl<'a> From<&'a ChannelKey> for ChannelRef<'a> {
    fn from(key: &'a ChannelKey) -> Self {
        Self { app: &key.app, channel: &key.channel }
    }
}

/// A table keeps the key itself when it does not know it yet.
impl From<ChannelRef<'_>> for ChannelKey {
    fn from(key: ChannelRef<'_>) -> Self {
        Self::new(key.app, key.channel)
    }
}

/// One client's conversation, unique among all nodes: the random number of the node and the place on it.
///
/// It is not a secret and no client can present it; ids that clients hold are made by their dialect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// Drawn at random when the node starts.
    pub node: u32,
    /// The shard that owns the session.
    pub shard: u16,
    /// The slot in the shard's table.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

impl SessionId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = || parts.next().filter(|part| part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let (node, shard, slot, generation) = (part()?, part()?, part()?, part()?);
        let id = Self {
            node: u32::from_str_radix(node, 16).ok()?,
            shard: u16::from_str_radix(shard, 16).ok()?,
            slot: u32::from_str_radix(slot, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        };
        parts.next().is_none().then_some(id)
    }

    /// What stands on that node for the client of a seat on lease, who has no session: always the same for the same seat, on no shard.
    pub fn of_lease(node: u32, member: &str) -> Self {
        // FNV-1a; names of seats are 128 bits of SHA-256 already, and only those of one room must differ.
        let mixed = member.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { node, shard: u16::MAX, slot: (mixed >> 32) as u32, generation: mixed as u32 }
    }

    /// Whether it stands for the client of a seat on lease.
    pub fn is_of_lease(self) -> bool {
        self.shard == u16::MAX
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}-{:x}-{:x}", self.node, self.shard, self.slot, self.generation)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        for (text, expected) in [
            ("a", Ok(())),
            ("private-müller", Ok(())),
            (&"x".repeat(255), Ok(())),
            ("", Err(InvalidName::Empty)),
            (&"x".repeat(256), Err(InvalidName::TooLong(256))),
            ("a\nb", Err(InvalidName::Control(1))),
            ("ab\u{85}", Err(InvalidName::Control(2))),
        ] {
            assert_eq!(ChannelName::parse(text).map(|_| ()), expected, "{text:?}");
        }
        let inbox = ChannelName::inbox("~a");
        assert!(inbox.is_inbox() && ChannelName::parse(inbox.as_str()).is_err(), "no client can name an inbox");
    }

    #[test]
    fn a_seat_on_lease_has_a_session_of_its_own() {
        let of = |node, member| SessionId::of_lease(node, member);
        assert_eq!(of(1, "~a"), of(1, "~a"));
        assert!(of(1, "~a").is_of_lease() && of(1, "~a") != of(1, "~b") && of(1, "~a") != of(2, "~a"));
    }

    #[test]
    fn a_session_id_is_read_as_it_is_written() {
        let id = SessionId { node: 0x1a, shard: 2, slot: 30, generation: u32::MAX };
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for wrong in ["", "0-0-0", "0-0-0-0-0", "0-0-0-x", "0-fffff-0-0", "+1-0-0-0", "000000001-0-0-0"] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
