//! Rooms: members of a channel who talk to each other one to one, such as browsers that set up a call.
//!
//! A *seat* is an entry of the channel's presence set whose name nobody else can take: the hub makes it from a secret of the client, or
//! keeps a chosen name for whoever shows the same token. A *signal* goes from one seat to another and to nobody else.
//!
//! ```text
//!   Seat{room, secret}  ──▶  Seated{member ~018f…-Qm9…, peers: [{~018a…, polite}]}     others: presence enter ~018f…
//!   Signal{to ~018a…}   ──▶  the session in that seat alone gets {from ~018f…, data}
//! ```
//!
//! A client whose connection is lost comes back with the same secret and has the same seat; until then the seat is kept for a while.
//!
//! A client without a connection (requests, an event stream, polls) has its seat on *lease*: it stays as long as the client shows up now and
//! then. What the others say to it, and who comes and goes, is published in its *inbox*, a channel that only the key of the seat opens.
//!
//! Invariant: names of seats begin with [`SEAT_MARK`], and no other entry's name does, so that `from` can't be forged.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::event::Member;
use crate::mark::Cursor;
use crate::name::{ChannelName, SessionId};
use crate::payload::Payload;
use crate::publication::{Draft, Form};

/// What the name of every seat begins with.
pub const SEAT_MARK: char = '~';

/// The shortest secret of a seat, in bytes: a seat is as safe as its secret is hard to guess.
pub const SEAT_SECRET_BYTES_MIN: usize = 16;

/// The longest secret or token of a seat, and the longest chosen name, in bytes.
pub const SEAT_TEXT_BYTES_MAX: usize = 128;

/// The event under which clients see a signal.
pub const SIGNAL_EVENT: &str = "signal";

/// The event under which an inbox tells who came and went.
pub const PRESENCE_EVENT: &str = "presence";

/// A wish to have a seat in a room.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The room's channel.
    pub channel: ChannelName,
    /// Which seat, and what proves that it is one's own.
    pub claim: Claim,
    /// What the member says of itself: JSON.
    pub data: Option<Bytes>,
    /// Whether it is kept by showing up now and then, and not by the session that asks.
    pub leased: bool,
}

/// Which seat somebody claims. Its secrets never appear in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Claim {
    /// The seat that follows from a secret of the client.
    Secret {
        /// The secret.
        secret: Box<str>,
        /// The seat that it had before; it is given again if the secret fits.
        member: Option<Box<str>>,
    },
    /// A name of the client's choice, which is its own as long as it has the seat.
    Name {
        /// The name, without the mark.
        name: Box<str>,
        /// What tells the owner from others who want the name.
        token: Box<str>,
    },
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { member, .. } => f.debug_struct("Secret").field("member", member).finish_non_exhaustive(),
            Self::Name { name, .. } => f.debug_struct("Name").field("name", name).finish_non_exhaustive(),
        }
    }
}

/// A seat that was given.
#[derive(Clone, PartialEq, Debug)]
pub struct Seated {
    /// Its name.
    pub member: Arc<str>,
    /// The others in the room.
    pub peers: Vec<Peer>,
    /// Servers that help to connect, when the server has a relay.
    pub ice: Option<Box<IceServers>>,
    /// Where the messages for a seat on lease are.
    pub inbox: Option<Box<Inbox>>,
}

/// Where the messages for a seat on lease are. Its key never appears in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Inbox {
    /// What opens it: `MEMBER.KEY`.
    pub key: Box<str>,
    /// Everything for the seat lies behind this mark.
    pub since: Cursor,
    /// For how long the seat is kept without a sign of its client, in milliseconds.
    pub kept_ms: u64,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("since", &self.since).finish_non_exhaustive()
    }
}

/// The end of a seat on lease, by whoever knows its secret.
#[derive(Clone, Debug)]
pub struct Vacate {
    /// The room's channel.
    pub channel: ChannelName,
    /// The seat and its proof.
    pub claim: Claim,
}

/// Another member of the room.
#[derive(Clone, PartialEq, Debug)]
pub struct Peer {
    /// The member.
    pub member: Member,
    /// Whether the one who asked is the polite one of the two: it takes its own offer back when both offer at once.
    pub polite: bool,
}

/// Whether `own` is the polite one towards `other`. Names of seats begin with the time of the first coming, so that the later one is; both
/// sides come to opposite answers whatever the names are, and a seat that is taken again keeps its role.
pub fn is_polite(own: &str, other: &str) -> bool {
    own > other
}

/// Something for one member of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signal {
    /// The room's channel; the sender has a seat in it.
    pub channel: ChannelName,
    /// The sender's seat and its proof, when it is one on lease; a session signals from the seat that it has.
    pub from: Option<Claim>,
    /// The seat that it is for.
    pub to: Arc<str>,
    /// What is said: JSON.
    pub data: Bytes,
}

impl Signal {
    /// The message that the sessions in the seat get. `from` is the sender's seat.
    pub fn draft(&self, from: &str, to: impl IntoIterator<Item = SessionId>) -> Draft {
        let mut draft = self.message(self.channel.clone(), from);
        draft.audience.sessions = to.into_iter().collect::<SmallVec<_>>();
        draft
    }

    /// The same for the inbox of a seat on lease.
    pub fn letter(&self, from: &str) -> Draft {
        self.message(ChannelName::inbox(&self.to), from)
    }

    fn message(&self, channel: ChannelName, from: &str) -> Draft {
        let mut body = BytesMut::with_capacity(self.data.len() + from.len() + self.channel.as_str().len() + 40);
        body.put_slice(b"{\"channel\":");
        json_text(self.channel.as_str(), &mut body);
        body.put_slice(b",\"from\":");
        json_text(from, &mut body);
        body.put_slice(b",\"data\":");
        body.put_slice(&self.data);
        body.put_u8(b'}');
        flat(channel, SIGNAL_EVENT, body)
    }
}

/// The message to the inbox of the seat `to` that somebody came to the room or went, in the words of the native protocol.
pub fn news(room: &ChannelName, member: &Member, came: bool, to: &str) -> Draft {
    let mut body = BytesMut::with_capacity(200);
    body.put_slice(b"{\"channel\":");
    json_text(room.as_str(), &mut body);
    body.put_slice(if came {
        b",\"action\":\"enter\",\"member\":{\"session\":\""
    } else {
        b",\"action\":\"leave\",\"member\":{\"session\":\""
    });
    body.put_slice(member.session.to_string().as_bytes());
    body.put_slice(b"\",\"key\":");
    json_text(&member.key, &mut body);
    body.put_slice(b",\"user\":");
    match &member.user {
        Some(user) => json_text(user.as_str(), &mut body),
        None => body.put_slice(b"null"),
    }
    body.put_slice(b",\"data\":");
    body.put_slice(member.data.as_deref().unwrap_or(b"null"));
    body.put_slice(b"}}");
    flat(ChannelName::inbox(to), PRESENCE_EVENT, body)
}

fn flat(channel: ChannelName, event: &str, body: BytesMut) -> Draft {
    let mut draft = Draft::new(channel, Payload::Json(body.freeze()));
    draft.event = Some(Arc::from(event));
    draft.form = Form::Flat;
    draft
}

/// Appends a JSON string. Channel names have no control characters, and neither have the names of seats.
fn json_text(text: &str, into: &mut BytesMut) {
    into.put_u8(b'"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            into.put_u8(b'\\');
        }
        into.put_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    into.put_u8(b'"');
}

/// A wish for servers that help two peers to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IceWish {
    /// The room that they are for.
    pub channel: Option<ChannelName>,
    /// For how many seconds, if not for as long as the server likes.
    pub ttl_s: Option<u64>,
}

/// Servers that help two peers to connect, with a credential for a while. It never appears in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServers {
    /// Servers that tell a client its address, as URLs.
    pub stun: Vec<Arc<str>>,
    /// Relays, as URLs, the best first.
    pub turn: Vec<Arc<str>>,
    /// The name for the relays.
    pub username: Box<str>,
    /// Its password.
    pub credential: Box<str>,
    /// For how many seconds they are good.
    pub ttl_s: u64,
    /// When they end, in seconds since the Unix epoch.
    pub expires_s: u64,
}

impl fmt::Debug for IceServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServers").field("turn", &self.turn).field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_two_is_polite() {
        for (early, late) in [("~018f00000001-z", "~018f00000002-a"), ("~ana", "~bob"), ("~a", "~aa")] {
            assert!(is_polite(late, early) && !is_polite(early, late));
        }
    }

    #[test]
    fn a_signal_is_for_one_member_and_says_who_sent_it() {
        let session = SessionId { node: 1, shard: 2, slot: 3, generation: 4 };
        let signal =
            Signal { channel: ChannelName::parse("a\"b\\").unwrap(), from: None, to: "~x".into(), data: Bytes::from_static(b"[1, 2]") };
        let draft = signal.draft("~m", [session]);
        assert_eq!(draft.payload.bytes(), br#"{"channel":"a\"b\\","from":"~m","data":[1, 2]}"#.as_slice());
        assert!(draft.audience.admits(session, None));
        assert!(!draft.audience.admits(SessionId { slot: 9, ..session }, None));
        let letter = signal.letter("~m");
        assert_eq!((letter.payload.bytes(), letter.channels[0].is_inbox()), (draft.payload.bytes(), true));
    }

    #[test]
    fn an_inbox_hears_who_comes_and_goes() {
        let session = SessionId { node: 1, shard: 2, slot: 3, generation: 4 };
        let member = Member { session, key: "~x".into(), user: None, data: Some(Bytes::from_static(b"{}")) };
        let draft = news(&ChannelName::parse("room").unwrap(), &member, true, "~m");
        let says = r#"{"channel":"room","action":"enter","member":{"session":"00000001-2-3-4","key":"~x","user":null,"data":{}}}"#;
        assert_eq!((&draft.payload.bytes()[..], draft.event.as_deref()), (says.as_bytes(), Some("presence")));
        assert_eq!(draft.channels[0], ChannelName::inbox("~m"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Claim::Secret { secret: "hush-hush".into(), member: None };
        let name = Claim::Name { name: "bob".into(), token: "hush-hush".into() };
        let ice =
            IceServers { stun: Vec::new(), turn: Vec::new(), username: "u".into(), credential: "hush-hush".into(), ttl_s: 1, expires_s: 2 };
        let since = Cursor { epoch: crate::Epoch(1), stamp: 1 };
        let inbox = Inbox { key: "~m.hush-hush".into(), since, kept_ms: 1 };
        assert!(!format!("{secret:?}{name:?}{ice:?}{inbox:?}").contains("hush"));
    }
}
