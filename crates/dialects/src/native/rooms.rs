//! Rooms as native clients see them: the answer to a seat, and servers for peer connections in the forms that clients already know.
//!
//! ```text
//! {"type":"entered","channel":"room","member":"~018f…","peers":[{"member":"~018a…","polite":true,…}],"iceServers":[…],"ttl":3600}
//! ```
//!
//! Invariant: credentials for a relay leave here only in an answer that no cache keeps.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use omnivox_core::room::{IceServers, Peer, Seated};
use omnivox_core::{ChannelName, Command, Response};

use super::codes::Refusal;
use super::message::Origin;
use super::render::{self, Object};

/// The key of a seat on lease, and when to show it again: three times in the time for which the seat is kept.
pub(super) struct Keeping {
    /// The key.
    pub(super) key: Box<str>,
    /// When it is due; not while an answer is awaited.
    pub(super) next: Option<Instant>,
}

impl Keeping {
    /// A key that is shown now.
    pub(super) fn new(key: Box<str>) -> Self {
        Self { key, next: None }
    }

    /// The seat is kept.
    pub(super) fn shown(&mut self, now: Instant, kept_ms: u64) {
        self.next = now.checked_add(Duration::from_millis(kept_ms) / 3);
    }

    /// The command that shows the key, when it is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Command> {
        self.next.take_if(|next| *next <= now).map(|_| Command::Keep(self.key.clone()))
    }
}

/// In whose form the servers are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum IceFormat {
    /// That of browsers, with the time that is left.
    #[default]
    Browser,
    /// Twilio's network traversal tokens.
    Twilio,
    /// Cloudflare's TURN service.
    Cloudflare,
    /// Metered's: the bare list.
    Metered,
    /// Matrix's client-server API.
    Matrix,
    /// The draft of a REST API for TURN.
    TurnRest,
}

impl IceFormat {
    /// The form with that name.
    pub(super) fn parse(name: Option<&str>) -> Result<Self, Refusal> {
        Ok(match name {
            None | Some("browser") => Self::Browser,
            Some("twilio") => Self::Twilio,
            Some("cloudflare") => Self::Cloudflare,
            Some("metered") => Self::Metered,
            Some("matrix") => Self::Matrix,
            Some("turnrest") => Self::TurnRest,
            Some(_) => {
                return Err(Refusal::message("`format` is none of `browser`, `twilio`, `cloudflare`, `metered`, `matrix`, `turnrest`"));
            }
        })
    }
}

/// The answer to `GET /v1/ice`.
pub(super) fn ice_answer(servers: &IceServers, format: IceFormat) -> Response {
    // The two services whose forms these are answer a created credential.
    let status = if matches!(format, IceFormat::Twilio | IceFormat::Cloudflare) { 201 } else { 200 };
    render::json(status, |into| ice_body(servers, format, into))
}

fn ice_body(servers: &IceServers, format: IceFormat, into: &mut BytesMut) {
    if format == IceFormat::Metered {
        return list(servers, format, into);
    }
    let mut object = Object::begin(into);
    match format {
        IceFormat::Browser | IceFormat::Metered => ice_members(servers, &mut object),
        IceFormat::Cloudflare => {
            let into = object.name("iceServers");
            let mut one = Object::begin(into);
            one.list("urls", servers.stun.iter().chain(&servers.turn), |url, into| render::string(url, into));
            one.text("username", &servers.username);
            one.text("credential", &servers.credential);
            one.end();
        }
        IceFormat::Twilio => {
            object.text("username", &servers.username);
            object.text("password", &servers.credential);
            object.text("ttl", &servers.ttl_s.to_string());
            list(servers, format, object.name("ice_servers"));
        }
        IceFormat::Matrix | IceFormat::TurnRest => {
            object.text("username", &servers.username);
            object.text("password", &servers.credential);
            object.list("uris", &servers.turn, |url, into| render::string(url, into));
            object.number("ttl", usize::try_from(servers.ttl_s).unwrap_or(usize::MAX));
        }
    }
    object.end();
}

/// Appends `iceServers`, `ttl` and `expires_at`.
fn ice_members(servers: &IceServers, object: &mut Object<'_>) {
    list(servers, IceFormat::Browser, object.name("iceServers"));
    object.number("ttl", usize::try_from(servers.ttl_s).unwrap_or(usize::MAX));
    object.number("expires_at", usize::try_from(servers.expires_s).unwrap_or(usize::MAX));
}

/// Appends the list that a browser takes; some services put each address into an entry of its own.
fn list(servers: &IceServers, format: IceFormat, into: &mut BytesMut) {
    use bytes::BufMut as _;
    let apart = matches!(format, IceFormat::Twilio | IceFormat::Metered);
    let mut first = true;
    let mut entry = |urls: &[std::sync::Arc<str>], relay: bool, into: &mut BytesMut| {
        if !std::mem::take(&mut first) {
            into.put_u8(b',');
        }
        let mut object = Object::begin(into);
        match urls {
            [url] if apart => {
                if format == IceFormat::Twilio {
                    object.text("url", url);
                }
                object.text("urls", url);
            }
            urls => object.list("urls", urls, |url, into| render::string(url, into)),
        }
        if relay {
            object.text("username", &servers.username);
            object.text("credential", &servers.credential);
        }
        object.end();
    };
    into.put_u8(b'[');
    for (urls, relay) in [(&servers.stun, false), (&servers.turn, true)] {
        match urls.as_slice() {
            [] => {}
            urls if apart => urls.iter().for_each(|url| entry(std::slice::from_ref(url), relay, into)),
            urls => entry(urls, relay, into),
        }
    }
    into.put_u8(b']');
}

/// Appends the answer to a seat.
pub(super) fn seated_message(channel: &ChannelName, seated: &Seated, origin: &Origin, into: &mut BytesMut) {
    let mut object = Object::message("entered", into);
    object.text("channel", channel.as_str());
    object.text("member", &seated.member);
    object.list("peers", &seated.peers, peer);
    if let Some(servers) = &seated.ice {
        ice_members(servers, &mut object);
    }
    if let Some(inbox) = &seated.inbox {
        object.text("inbox", &inbox.key);
        object.mark("last", inbox.since);
        object.number("kept_ms", usize::try_from(inbox.kept_ms).unwrap_or(usize::MAX));
    }
    object.reference(origin);
    object.end();
}

fn peer(peer: &Peer, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.text("member", &peer.member.key);
    object.flag("polite", peer.polite);
    object.mark("session", peer.member.session);
    match &peer.member.user {
        Some(user) => object.text("user", user.as_str()),
        None => object.raw("user", b"null"),
    }
    object.raw("data", peer.member.data.as_deref().unwrap_or(b"null"));
    object.end();
}
