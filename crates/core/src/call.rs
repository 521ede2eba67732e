//! Calls: what a client asks of the application behind the hub, and what the application wants done in return.
//!
//! The program that embeds the server gets the [`Call`] and gives an [`Answer`]. The hub publishes what is for others,
//! with the application's authority; what concerns the caller itself comes back as [`Called`], for its dialect to do in its own words.
//!
//! Places are named as the dialect names them (a Socket.IO room of a namespace); its [`Words`] make channels and drafts of them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::name::{ChannelName, InvalidName, UserId};
use crate::payload::Payload;
use crate::publication::Draft;

/// JSON values: none, one, or the several that Socket.IO's events have.
pub type Arguments = SmallVec<[Bytes; 1]>;

/// Something that a client asks of the application.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it asks for: a method, an event's name.
    pub method: Arc<str>,
    /// With what.
    pub arguments: Arguments,
    /// Whether the client waits for an answer.
    pub wants_answer: bool,
    /// Where the call comes from, for dialects that have several places within one session.
    pub scope: Option<Box<Scope>>,
    /// How the dialect names channels.
    pub words: Words,
}

impl Call {
    /// A call whose places are channels, with one argument.
    pub fn new(method: Arc<str>, argument: Bytes) -> Self {
        Self { method, arguments: SmallVec::from_elem(argument, 1), wants_answer: true, scope: None, words: Words::default() }
    }
}

/// A place within a session: a socket of a Socket.IO namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The namespace.
    pub namespace: Box<str>,
    /// The socket's id, as the client knows it.
    pub socket: Box<str>,
    /// The rooms that it is in.
    pub rooms: Vec<Box<str>>,
}

/// How a dialect names channels and shows events.
#[derive(Clone, Copy)]
pub struct Words {
    /// The channel that a name means.
    pub channel: fn(&Call, &str) -> Result<ChannelName, InvalidName>,
    /// The draft of what is emitted to those channels; whether the caller receives it is the hub's to add.
    pub draft: fn(&Call, &Emit, SmallVec<[ChannelName; 1]>) -> Draft,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
    }
}

impl Default for Words {
    /// Names are channels, and several arguments are one array.
    fn default() -> Self {
        Self {
            channel: |_, name| ChannelName::parse(name),
            draft: |_, emit, channels| {
                let payload = Payload::Json(one_value(&emit.arguments));
                Draft { event: Some(emit.event.clone()), ..Draft::to(channels, payload) }
            },
        }
    }
}

/// The arguments as one JSON value: `null`, the only one, or an array of all.
pub fn one_value(arguments: &[Bytes]) -> Bytes {
    match arguments {
        [] => Bytes::from_static(b"null"),
        [one] => one.clone(),
        several => {
            let mut array = Vec::with_capacity(several.iter().map(|value| value.len() + 1).sum::<usize>() + 1);
            for (at, value) in several.iter().enumerate() {
                array.push(if at == 0 { b'[' } else { b',' });
                array.extend_from_slice(value);
            }
            array.push(b']');
            array.into()
        }
    }
}

/// What the application wants done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// What the caller gets; `None` when there is nothing to answer.
    pub arguments: Option<Arguments>,
    /// Events for others and for the caller, in order.
    pub emits: Vec<Emit>,
    /// Where the caller is to be from now on.
    pub join: Vec<Box<str>>,
    /// Where it is to be no longer.
    pub leave: Vec<Box<str>>,
    /// Whether its connection (its socket, where a session has several) ends.
    pub disconnect: bool,
}

impl Answer {
    /// One JSON value for the caller.
    pub fn value(json: impl Into<Bytes>) -> Self {
        Self { arguments: Some(SmallVec::from_elem(json.into(), 1)), ..Self::default() }
    }
}

/// An event that the application emits.
#[derive(Clone, PartialEq, Debug)]
pub struct Emit {
    /// The rooms or channels that it is for; with neither these nor users it is for the caller alone.
    pub to: Vec<Box<str>>,
    /// Only these users of them.
    pub users: Vec<UserId>,
    /// Not the caller.
    pub except_caller: bool,
    /// The event's name.
    pub event: Arc<str>,
    /// What it says.
    pub arguments: Arguments,
}

/// What of an answer is the caller's dialect's to do.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Called {
    /// Channels to subscribe to; the session may do so from now on.
    pub join: Vec<ChannelName>,
    /// Channels to leave.
    pub leave: Vec<ChannelName>,
    /// Events for the caller alone.
    pub emits: Vec<Emit>,
    /// What the caller gets.
    pub arguments: Option<Arguments>,
    /// Whether it is sent away.
    pub disconnect: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_value_where_only_one_is_possible() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        for (arguments, value) in [(vec![], "null"), (vec![bytes("{}")], "{}"), (vec![bytes("1"), bytes("[2]")], "[1,[2]]")] {
            assert_eq!(one_value(&arguments), value);
        }
    }
}
