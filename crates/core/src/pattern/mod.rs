//! Patterns over channel names: one name, those with a beginning, all, those of a URI template, those of a URL pattern.
//!
//! ```
//! use omnivox_core::Pattern;
//! use omnivox_core::pattern::Base;
//! assert!(Pattern::parse("chat:*").unwrap().matches("chat:lobby"));
//! assert!(!Pattern::parse("chat:lobby").unwrap().matches("chat:lobby2"));
//! assert!(Pattern::template("https://example.com/books/{id}").unwrap().matches("https://example.com/books/1"));
//! assert!(Pattern::url("https://example.com/books/:id", &Base::default()).unwrap().matches("https://example.com/books/1"));
//! ```
//!
//! A pattern is compiled when it is made and cloning it copies a pointer. A [`PatternIndex`] finds those of many that match a name.
//!
//! Invariant: matching is linear in the length of the name, and what a pattern may cost is bounded when it is made.

mod automaton;
pub mod fuzzing;
mod index;
mod template;
#[cfg(test)]
mod tests;
mod url;
mod url_pattern;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use automaton::Automaton;
pub use index::PatternIndex;
pub use url::Base;

use crate::name::{ChannelName, InvalidName};

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// Which channels a grant, a namespace or a subscription means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Pattern {
    /// Every channel: `*`.
    All,
    /// The channels whose names begin with the text: `chat:*`.
    Prefix(Box<str>),
    /// One channel.
    Exact(ChannelName),
    /// The channels whose names are expansions of a URI template (RFC 6570), and the one that is named as the template is written.
    Template(Arc<Compiled>),
    /// The channels whose names are URLs that a URL pattern matches.
    Url(Arc<Compiled>),
}

/// A template or a URL pattern, ready to match.
pub struct Compiled {
    source: Box<str>,
    /// Of a URL pattern: what relative names stand below.
    base: Option<Base>,
    automaton: Automaton,
    /// The literal end by which an index finds it: of the name, or of the URL's path.
    end: Box<[u8]>,
}

/// Why a text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPattern {
    /// The pattern is too long.
    #[error("the pattern has {0} bytes; a pattern has at most 4096")]
    TooLong(usize),
    /// It breaks the rules of its kind.
    #[error("the pattern can't be read: {0}")]
    Syntax(&'static str),
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

    /// Compiles a URI template.
    pub fn template(text: &str) -> Result<Self, InvalidPattern> {
        let nodes = bounded(text).and_then(|text| template::parse(text).map_err(InvalidPattern::Syntax))?;
        Ok(Self::Template(Arc::new(Compiled::new(text, None, nodes, None)?)))
    }

    /// Compiles a URL pattern. Relative patterns, and relative names, stand below the base.
    pub fn url(text: &str, base: &Base) -> Result<Self, InvalidPattern> {
        let (nodes, end) = bounded(text).and_then(|text| url_pattern::parse(text, base).map_err(InvalidPattern::Syntax))?;
        Ok(Self::Url(Arc::new(Compiled::new(text, Some(base.clone()), nodes, Some(end))?)))
    }

    /// Whether the channel is meant.
    pub fn matches(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => channel.starts_with(&**prefix),
            Self::Exact(name) => name.as_str() == channel,
            Self::Template(template) => template.automaton.matches(channel.as_bytes()) || *template.source == *channel,
            Self::Url(pattern) => {
                let subject = pattern.base.as_ref().and_then(|base| base.subject(channel));
                subject.is_some_and(|subject| pattern.automaton.matches(&subject))
            }
        }
    }

    /// The text that every matching name begins with. For a URL pattern that is nothing: a URL can be written in several ways.
    pub fn literal_prefix(&self) -> &str {
        match self {
            Self::All | Self::Url(_) => "",
            Self::Prefix(prefix) => prefix,
            Self::Exact(name) => name.as_str(),
            Self::Template(template) => &template.source[..template.source.find('{').unwrap_or(template.source.len())],
        }
    }

    /// A channel name to call the pattern by where only names are spoken of: its text, cut if need be.
    pub fn label(&self) -> ChannelName {
        let text = self.to_string();
        let end = (0..=text.len().min(crate::name::CHANNEL_NAME_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
        ChannelName::parse(&text[..end.unwrap_or(0)]).unwrap_or_else(|_| ChannelName::parse("*").expect("a star is a name"))
    }
}

fn bounded(text: &str) -> Result<&str, InvalidPattern> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(InvalidPattern::TooLong(text.len()));
    }
    match text.chars().any(char::is_control) {
        true => Err(InvalidPattern::Syntax("it has a control character")),
        false => Ok(text),
    }
}

impl Compiled {
    fn new(source: &str, base: Option<Base>, nodes: Vec<automaton::Node>, end: Option<Box<[u8]>>) -> Result<Self, InvalidPattern> {
        let automaton = Automaton::new(nodes).map_err(|_| InvalidPattern::Syntax(url_pattern::TOO_LARGE))?;
        let end = end.unwrap_or_else(|| automaton.suffix.clone());
        Ok(Self { source: source.into(), base, automaton, end })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.base == other.base
    }
}

impl Eq for Compiled {}

impl Hash for Compiled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => name.fmt(f),
            Self::Template(compiled) | Self::Url(compiled) => f.write_str(&compiled.source),
        }
    }
}
