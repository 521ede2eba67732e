//! Rooms: seats that nobody else can take, and signals from one seat to another.
//!
//! Everything rests on the presence set of the room's channel, so rooms work on every engine and every node sees the same members. The
//! commands and their meaning are in `omnivox_core::room`.
//!
//! Invariant: a session has at most one seat in a room, and a seat is at most one session's: taking it again takes it from the session before.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use omnivox_auth::seat;
use omnivox_core::command::{Denied, Reply};
use omnivox_core::engine::{Log, Presence, Task, Whom};
use omnivox_core::event::Member;
use omnivox_core::grants::{Permissions, Principal};
use omnivox_core::mark::{Cursor, Epoch};
use omnivox_core::name::{AppId, ChannelKey, ChannelName, SessionId, UserId};
use omnivox_core::room::{IceServers, IceWish, Inbox, Peer, SEAT_MARK, Seat, Seated, Signal, is_polite};

use crate::hub::{Door, Hub, Outcome, Running, denied};
use crate::leases;

/// Gives out credentials for a relay, and takes them back.
pub trait Relay: Send + Sync {
    /// Servers, and a credential for whoever holds that name.
    fn issue(&self, holder: &Holder, ttl_s: Option<u64>, now_ms: u64) -> Result<IceServers, Denied>;

    /// The holder is gone: what was given to it is worth nothing from now on, and what it relays ends.
    fn cut_off(&self, holder: &Holder);

    /// The same for all that a user holds in whatever room.
    fn cut_off_user(&self, app: &AppId, user: &UserId);
}

/// For whom a relay credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The app.
    pub app: AppId,
    /// The user, when there is one.
    pub user: Option<UserId>,
    /// The room, when it is for one.
    pub room: Option<ChannelName>,
    /// The seat in the room, when it was given with one.
    pub seat: Option<Arc<str>>,
}

impl Hub {
    /// Takes a seat away whose session is gone, unless another session has it by now.
    pub fn unseat(&self, principal: &Principal, channel: &ChannelName, session: SessionId, member: &Arc<str>) -> Task<()> {
        let (presence, log, relay) = (self.presence().clone(), self.log().clone(), self.relay().cloned());
        let key = ChannelKey::new(&principal.app, channel);
        let holder =
            Holder { app: principal.app.clone(), user: principal.user.clone(), room: Some(channel.clone()), seat: Some(member.clone()) };
        let member = member.clone();
        Box::pin(async move {
            let members = presence.members(&key).await?;
            let Some(own) = members.iter().find(|own| own.session == session && own.key == member) else { return Ok(()) };
            presence.leave(&key, session, &member).await?;
            let taken_again = presence.find(&key, session, member).await?;
            if !taken_again.is_empty() {
                return Ok(());
            }
            if let Some(relay) = relay {
                relay.cut_off(&holder);
            }
            leases::tell(&*log, &key, &members, own, false).await
        })
    }
}

impl Door<'_> {
    /// Gives the caller a seat and tells it of the others.
    pub(crate) fn seat(&self, wish: Seat) -> Result<Running, Denied> {
        self.check_presence(&wish.channel, wish.data.as_ref())?;
        let limits = self.hub.limits();
        let name = seat::seat(&self.app.id, &wish.channel, &wish.claim, self.hub.seat_ms())?;
        let member: Arc<str> = name.member.into();
        let data = match &name.proof {
            Some(proof) => Some(Bytes::from(format!("{{\"proof\":\"{proof}\"}}"))),
            None => wish.data,
        };
        let holder = Holder {
            app: self.app.id.clone(),
            user: self.principal.user.clone(),
            room: Some(wish.channel.clone()),
            seat: Some(member.clone()),
        };
        let ice = match self.hub.relay() {
            Some(relay) if name.proof.is_none() => Some(Box::new(relay.issue(&holder, None, self.hub.now_ms())?)),
            _ => None,
        };
        let own = self.caller.session;
        let session = if wish.leased { SessionId::of_lease(own.node, &member) } else { own };
        let taking = Taking {
            presence: self.hub.presence().clone(),
            log: self.hub.log().clone(),
            key: self.key(&wish.channel),
            own: Member { session, key: member.clone(), user: self.principal.user.clone(), data },
            named: name.proof.is_some(),
            seats_max: self.hub.quotas().limits().seats_per_room_max,
            members_max: limits.members_per_channel_max,
        };
        let leases = self.hub.leases.clone();
        let locating = self.hub.log().locate(&self.app.id, "");
        let beginning = if wish.leased { Some(self.beginning(&wish.channel, &member, name.key, session)?) } else { None };
        Ok(Box::pin(async move {
            let Some(beginning) = beginning else {
                let peers = taking.take().await?;
                leases.end(&taking.key.app, &taking.own.key);
                return Ok(taking.seated(peers, ice, None));
            };
            // Where the inbox begins is read before the seat is taken, so that nothing that is said to it is missed.
            let inbox = Inbox { since: locating.await.map_err(denied)?.1, ..beginning.inbox.clone() };
            let peers = taking.take().await?;
            if peers.is_some()
                && let Err(full) = leases.begin(&taking.own.key, beginning)
            {
                taking.withdraw().await?;
                return Err(full);
            }
            Ok(taking.seated(peers, ice, Some(Box::new(inbox))))
        }))
    }

    /// The lease of a seat to be; where its inbox begins is known later.
    fn beginning(
        &self,
        channel: &ChannelName,
        member: &Arc<str>,
        key: Option<String>,
        session: SessionId,
    ) -> Result<leases::Beginning, Denied> {
        let key = key.ok_or_else(|| Denied::Invalid("a chosen name can't be had without a connection; use a WebSocket".into()))?;
        let principal = self.caller.principal.clone().ok_or_else(|| Denied::Unauthorized("connect first".into()))?;
        let since = Cursor { epoch: Epoch(0), stamp: 0 };
        let inbox = Inbox { key: format!("{member}.{key}").into(), since, kept_ms: self.hub.kept_ms() };
        let (until_ms, most) = (self.hub.leased_until_ms(), self.hub.quotas().limits().seats_leased_max);
        Ok(leases::Beginning { channel: channel.clone(), principal, session, until_ms, most, inbox })
    }

    /// Takes what the caller says to the session in one seat.
    pub(crate) fn signal(&self, signal: Signal) -> Result<Running, Denied> {
        let limits = self.hub.limits();
        self.check(&signal.channel, Permissions::PRESENCE.with(Permissions::PUBLISH))?;
        if signal.data.len() > limits.message_bytes_max {
            let words = format!("the signal has {} bytes; at most {} are taken", signal.data.len(), limits.message_bytes_max);
            return Err(Denied::Limit { setting: "message_bytes_max", words: words.into() });
        }
        let session = match &signal.from {
            Some(claim) => self.leased(&signal.channel, claim)?.1.session,
            None => self.caller.session,
        };
        if !self.hub.may_signal(session) {
            let words = format!("more than {} signals a second; put several candidates into one", limits.signals_per_second_max);
            return Err(Denied::Limit { setting: "signals_per_second_max", words: words.into() });
        }
        let (presence, log) = (self.hub.presence().clone(), self.hub.log().clone());
        let (app, key) = (self.app.id.clone(), self.key(&signal.channel));
        Ok(Box::pin(async move {
            let found = presence.find(&key, session, signal.to.clone()).await.map_err(denied)?;
            let own = found.iter().find(|member| member.session == session && is_seat(member));
            let from = own.ok_or_else(|| Denied::Forbidden("only a member with a seat in the room may signal; take one first".into()))?;
            let seated = found.iter().filter(|member| member.key == signal.to).map(|member| member.session);
            let (leased, to): (Vec<SessionId>, Vec<SessionId>) = seated.partition(|session| session.is_of_lease());
            if (to.is_empty() && leased.is_empty()) || !signal.to.starts_with(SEAT_MARK) {
                return Err(Denied::NotFound("that member is not in the room, or no longer".into()));
            }
            if !leased.is_empty() {
                log.publish(&app, signal.letter(&from.key), leases::KEPT.into()).await.map_err(denied)?;
            }
            if !to.is_empty() {
                log.direct(&app, signal.draft(&from.key, to)).await.map_err(denied)?;
            }
            Ok(Outcome::Reply(Reply::Signalled))
        }))
    }

    /// Gives the caller servers that help two peers to connect.
    pub(crate) fn ice(&self, wish: IceWish) -> Result<Running, Denied> {
        match &wish.channel {
            Some(channel) => self.check(channel, Permissions::PRESENCE)?,
            None if self.principal.authenticated => {}
            None => {
                return Err(Denied::Invalid("name the room that the servers are for; without a credential they are for one room".into()));
            }
        }
        let relay = self.hub.relay().ok_or_else(|| {
            Denied::NotFound("this server has no relay; set `turn.udp` (or `turn.urls` and `turn.secrets` for relays elsewhere)".into())
        })?;
        let holder = Holder { app: self.app.id.clone(), user: self.principal.user.clone(), room: wish.channel, seat: None };
        let servers = relay.issue(&holder, wish.ttl_s, self.hub.now_ms())?;
        Ok(Box::pin(std::future::ready(Ok(Outcome::Reply(Reply::Ice(Box::new(servers)))))))
    }
}

/// Refuses names that only seats have.
pub(crate) fn check_entry_name(name: &str) -> Result<(), Denied> {
    if name.starts_with(SEAT_MARK) {
        return Err(Denied::Invalid(format!("names that begin with `{SEAT_MARK}` are those of seats; choose another `key`").into()));
    }
    Ok(())
}

fn is_seat(member: &Member) -> bool {
    member.key.starts_with(SEAT_MARK)
}

/// A seat on its way to its session.
struct Taking {
    presence: Arc<dyn Presence>,
    log: Arc<dyn Log>,
    key: ChannelKey,
    own: Member,
    named: bool,
    seats_max: usize,
    members_max: usize,
}

impl Taking {
    /// Takes the seat and gives the others; nothing when somebody else has it.
    ///
    /// Two may come at the same moment, on two nodes: so each looks again once it is in, and the same one of the two withdraws on both.
    async fn take(&self) -> Result<Option<Vec<Peer>>, Denied> {
        let before = self.seats().await?;
        if before.iter().any(|other| self.is_stranger(other)) {
            return Ok(None);
        }
        if before.iter().any(|other| other.session == self.own.session && other.key != self.own.key) {
            return Err(Denied::Invalid("this session has another seat in the room; leave that one first".into()));
        }
        self.check_room(&before, |_| true)?;
        self.presence.enter(&self.key, self.own.clone(), false, self.members_max).await.map_err(denied)?;
        let after = self.seats().await?;
        if after.iter().any(|other| self.is_stranger(other) && other.session < self.own.session) {
            self.withdraw().await?;
            return Ok(None);
        }
        if let Err(full) = self.check_room(&after, |other| *other.key < *self.own.key) {
            self.withdraw().await?;
            return Err(full);
        }
        for old in after.iter().filter(|other| other.key == self.own.key && other.session != self.own.session && !self.is_stranger(other)) {
            self.presence.leave(&self.key, old.session, &old.key).await.map_err(denied)?;
            if self.named {
                self.log.disconnect(&self.key.app, Whom::Session(old.session)).await.map_err(denied)?;
            }
        }
        let known = |member: &Member| member.session == self.own.session && member.key == self.own.key && member.data == self.own.data;
        if !before.iter().any(known) {
            leases::tell(&*self.log, &self.key, &after, &self.own, true).await.map_err(denied)?;
        }
        let mut peers: Vec<Peer> = after
            .into_iter()
            .filter(|other| other.key != self.own.key)
            .map(|member| Peer { polite: is_polite(&self.own.key, &member.key), member })
            .collect();
        peers.sort_by(|a, b| (&a.member.key, a.member.session).cmp(&(&b.member.key, b.member.session)));
        peers.dedup_by(|b, a| a.member.key == b.member.key);
        Ok(Some(peers))
    }

    async fn withdraw(&self) -> Result<(), Denied> {
        self.presence.leave(&self.key, self.own.session, &self.own.key).await.map_err(denied)
    }

    fn seated(self, peers: Option<Vec<Peer>>, ice: Option<Box<IceServers>>, inbox: Option<Box<Inbox>>) -> Outcome {
        Outcome::Reply(match peers {
            Some(peers) => Reply::Seated(Box::new(Seated { member: self.own.key, peers, ice, inbox })),
            None => Reply::Taken,
        })
    }

    async fn seats(&self) -> Result<Vec<Member>, Denied> {
        let mut members = self.presence.members(&self.key).await.map_err(denied)?;
        members.retain(is_seat);
        Ok(members)
    }

    /// Whether the other has the name that is wanted, with another token.
    fn is_stranger(&self, other: &Member) -> bool {
        self.named && other.key == self.own.key && other.session != self.own.session && other.data != self.own.data
    }

    /// Refuses when as many others as there are seats come first.
    fn check_room(&self, members: &[Member], comes_first: impl Fn(&Member) -> bool) -> Result<(), Denied> {
        let others: BTreeSet<&str> =
            members.iter().filter(|other| other.key != self.own.key && comes_first(other)).map(|other| &*other.key).collect();
        if others.len() < self.seats_max {
            return Ok(());
        }
        let words = format!("the room has {} members already", self.seats_max);
        Err(Denied::Limit { setting: "seats_per_room_max", words: words.into() })
    }
}

#[cfg(test)]
mod tests;
