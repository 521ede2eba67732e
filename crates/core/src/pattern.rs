//! Patterns over channel names.
//!
//! ```
//! use omnivox_core::Pattern;
//! assert!(Pattern::parse("chat:*").unwrap().matches("chat:lobby"));
//! assert!(!Pattern::parse("chat:lobby").unwrap().matches("chat:lobby2"));
//! ```

use crate::name::{ChannelName, InvalidName};

/// Which channels a grant, a namespace or a subscription means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Pattern {
    /// Every channel: `*`.
    All,
    /// The channels whose names begin with the text: `chat:*`.
    Prefix(Box<str>),
    /// One channel.
    Exact(ChannelName),
}

impl Pattern {
    /// Parses `*`, a name that ends with `*`, or a name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::All),
            Some(prefix) => ChannelName::parse(prefix).map(|name| Self::Prefix(name.as_str().into())),
            None => ChannelName::parse(text).map(Self::Exact),
        }
    }

    /// Whether the channel is meant.
    pub fn matches(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => channel.starts_with(&**prefix),
            Self::Exact(name) => name.as_str() == channel,
        }
    }

    /// The text that every matching name begins with.
    pub fn literal_prefix(&self) -> &str {
        match self {
            Self::All => "",
            Self::Prefix(prefix) => prefix,
            Self::Exact(name) => name.as_str(),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}
