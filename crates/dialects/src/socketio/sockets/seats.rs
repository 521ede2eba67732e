//! Seats and signals of rooms whose members call each other (`docs/webrtc.md`).
//!
//! | event | argument | acknowledgement |
//! | --- | --- | --- |
//! | `room:enter` | `{room, seat, member?, data?}` | `{ok, room, member, peers, iceServers?, ttl?, expires_at?}` |
//! | `room:signal` | `{room, to, data}` | `{ok}` |
//! | `room:leave` | `{room, member}` | `{ok}` |
//!
//! What others say comes as the event `signal` with `{channel, from, data}`.

use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::room::{Claim, Seat, Seated, Signal};
use omnivox_core::{ChannelName, Command, Denied};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::channel::channel_of;
use super::super::delivery::Argument;
use super::super::line::Line;
use super::super::packet::Call;
use super::handlers::Asker;
use super::{Outline, Pending, Sockets};

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(alias = "channel")]
    room: String,
    seat: Option<String>,
    member: Option<String>,
    to: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct SeatAnswer<'a> {
    ok: bool,
    room: &'a str,
    member: &'a str,
    peers: Vec<PeerShown<'a>>,
    #[serde(rename = "iceServers", skip_serializing_if = "Option::is_none")]
    ice_servers: Option<Vec<IceServer<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

#[derive(Serialize)]
struct PeerShown<'a> {
    member: &'a str,
    polite: bool,
    session: String,
    user: Option<&'a str>,
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct IceServer<'a> {
    urls: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

impl Sockets {
    /// One of the events about seats.
    pub(super) fn seat_event(&mut self, asker: Asker, call: &Call<'_>, line: &mut Line<'_>) -> Result<(), (Asker, Denied)> {
        let command = match command(&asker.record.namespace, &call.name, call.arguments.first().map(|argument| &**argument)) {
            Ok(command) => command,
            Err(denied) => return Err((asker, denied)),
        };
        let pending = match &command {
            Command::Seat(seat) => Pending::Seat(asker, seat.channel.clone()),
            _ => Pending::Leave(asker),
        };
        let ticket = self.ticket(pending);
        line.run(ticket, command);
        Ok(())
    }

    /// The hub gave the seat.
    pub(super) fn seated(&self, asker: &Asker, channel: &ChannelName, seated: &Seated, line: &mut Line<'_>) {
        let ice = seated.ice.as_deref();
        let (_, room) = super::super::channel::room_of(channel.as_str());
        let answer = SeatAnswer {
            ok: true,
            room: &room,
            member: &seated.member,
            peers: seated.peers.iter().map(shown).collect(),
            ice_servers: ice.map(|ice| {
                let stun = IceServer { urls: ice.stun.iter().map(|url| &**url).collect(), username: None, credential: None };
                let turn = ice.turn.iter().map(|url| &**url).collect();
                let turn = IceServer { urls: turn, username: Some(&ice.username), credential: Some(&ice.credential) };
                [stun, turn].into_iter().filter(|server| !server.urls.is_empty()).collect()
            }),
            ttl: ice.map(|ice| ice.ttl_s),
            expires_at: ice.map(|ice| ice.expires_s),
        };
        if let Some(id) = asker.waits_under().filter(|_| self.is_connected(&asker.record)) {
            let outline = Outline { namespace: &asker.record.namespace, name: None, id: Some(id) };
            self.send(outline, &[Argument::Json(serde_json::to_string(&answer).unwrap_or_default().into())], line);
        }
    }
}

fn shown(peer: &omnivox_core::room::Peer) -> PeerShown<'_> {
    PeerShown {
        member: &peer.member.key,
        polite: peer.polite,
        session: peer.member.session.to_string(),
        user: peer.member.user.as_ref().map(omnivox_core::UserId::as_str),
        data: peer.member.data.as_deref().and_then(|data| serde_json::from_slice(data).ok()),
    }
}

/// What an event means.
fn command(namespace: &str, name: &str, argument: Option<&str>) -> Result<Command, Denied> {
    let invalid = |words: String| Denied::Invalid(words.into());
    let wish: Wish<'_> = serde_json::from_str(argument.unwrap_or("null"))
        .map_err(|error| invalid(format!("`{name}` takes one object with the members of docs/webrtc.md: {error}")))?;
    let missing = |member: &str| invalid(format!("`{member}` is missing in `{name}`"));
    let channel = channel_of(namespace, &wish.room).map_err(|error| invalid(error.to_string()))?;
    let data = wish.data.map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
    Ok(match name {
        "room:enter" => {
            let secret = wish.seat.ok_or_else(|| missing("seat"))?.into();
            let claim = Claim::Secret { secret, member: wish.member.map(Into::into) };
            Command::Seat(Box::new(Seat { channel, claim, data, leased: false }))
        }
        "room:signal" => {
            let to = Arc::from(wish.to.ok_or_else(|| missing("to"))?);
            let data = data.unwrap_or_else(|| Bytes::from_static(b"null"));
            Command::Signal(Box::new(Signal { channel, from: None, to, data }))
        }
        _ => Command::Leave(channel, Arc::from(wish.member.ok_or_else(|| missing("member"))?)),
    })
}
