//! Seats on lease: those of members who have no session, because they come by requests, an event stream or polls.
//!
//! Whoever shows up for a seat (enters, signals, reads its inbox) keeps it for `seat_grace` more. A shard watches each lease and gives the seat
//! back when it lapsed; a lease that another one replaced has another number, so that an old watcher harms nobody.
//!
//! Invariant: an inbox is read by the session that last showed its key, and by no other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use omnivox_auth::seat;
use omnivox_core::app::Retention;
use omnivox_core::command::{Denied, Reply};
use omnivox_core::engine::{EngineError, Log, Task, Whom};
use omnivox_core::event::Member;
use omnivox_core::grants::{Permissions, Principal};
use omnivox_core::name::{AppId, ChannelKey, ChannelName, SessionId};
use omnivox_core::room::{Claim, Inbox, Vacate, news};

use crate::hub::{Door, Hub, Outcome, Running, reply};

/// How much of an inbox is kept for a client that is between two polls, or comes back.
pub(crate) const KEPT: Retention = Retention { count_max: 256, age_max: Duration::from_secs(60), bytes_max: 1 << 20 };

/// The seats on lease of this node.
#[derive(Default)]
pub(crate) struct Leases(Mutex<Book>);

#[derive(Default)]
struct Book {
    seats: HashMap<(AppId, Arc<str>), Lease, foldhash::fast::RandomState>,
    numbers: u64,
}

/// A seat on lease.
#[derive(Clone)]
pub(crate) struct Lease {
    pub(crate) channel: ChannelName,
    pub(crate) principal: Arc<Principal>,
    /// What stands for the client in the presence set.
    pub(crate) session: SessionId,
    until_ms: u64,
    number: u64,
    watched: bool,
    reader: Option<SessionId>,
}

/// A lease to be.
pub(crate) struct Beginning {
    pub(crate) channel: ChannelName,
    pub(crate) principal: Arc<Principal>,
    pub(crate) session: SessionId,
    pub(crate) until_ms: u64,
    /// At most so many leases.
    pub(crate) most: usize,
    pub(crate) inbox: Inbox,
}

/// What a watcher finds.
pub enum Watched {
    /// The lease is not there any more, or another one.
    Gone,
    /// Look again then.
    Left(Duration),
    /// It lapsed; this gives the seat back.
    Lapsed(Task<()>),
}

impl Leases {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, app: &AppId, member: &str) -> Option<Lease> {
        self.book().seats.get(&(app.clone(), Arc::from(member))).cloned()
    }

    /// Begins a lease, or goes on with the one that there is.
    pub(crate) fn begin(&self, member: &Arc<str>, beginning: Beginning) -> Result<(), Denied> {
        let Beginning { channel, principal, session, until_ms, most, .. } = beginning;
        let app = principal.app.clone();
        let mut book = self.book();
        book.numbers += 1;
        let (number, taken) = (book.numbers, book.seats.len());
        match book.seats.entry((app, member.clone())) {
            hashbrown::hash_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.until_ms = until_ms;
                known.principal = principal;
            }
            hashbrown::hash_map::Entry::Vacant(_) if taken >= most => {
                let words =
                    format!("this server keeps {most} seats of members without a connection already; use a WebSocket, or come again");
                return Err(Denied::Limit { setting: "seats_leased_max", words: words.into() });
            }
            hashbrown::hash_map::Entry::Vacant(free) => {
                free.insert(Lease { channel, principal, session, until_ms, number, watched: false, reader: None });
            }
        }
        Ok(())
    }

    /// Its client showed up.
    fn keep(&self, app: &AppId, member: &str, until_ms: u64, reader: Option<SessionId>) {
        if let Some(lease) = self.book().seats.get_mut(&(app.clone(), Arc::from(member))) {
            lease.until_ms = until_ms;
            lease.reader = reader.or(lease.reader);
        }
    }

    /// The seat is a session's from now on, or nobody's.
    pub(crate) fn end(&self, app: &AppId, member: &Arc<str>) -> Option<Lease> {
        self.book().seats.remove(&(app.clone(), member.clone()))
    }

    /// Whether the session may read the inbox.
    pub(crate) fn is_reader(&self, app: &AppId, inbox: &ChannelName, session: SessionId) -> bool {
        let member = inbox.as_str().get(1..).unwrap_or_default();
        self.find(app, member).is_some_and(|lease| lease.reader == Some(session))
    }
}

impl Hub {
    /// The number under which a new lease is to be watched; nothing when somebody does it already.
    pub fn watch_lease(&self, app: &AppId, member: &Arc<str>) -> Option<u64> {
        let mut book = self.leases.book();
        let lease = book.seats.get_mut(&(app.clone(), member.clone())).filter(|lease| !lease.watched)?;
        lease.watched = true;
        Some(lease.number)
    }

    /// How a lease stands.
    pub fn watched_lease(&self, app: &AppId, member: &Arc<str>, number: u64) -> Watched {
        let now_ms = self.now_ms();
        let lapsed = {
            let mut book = self.leases.book();
            let key = (app.clone(), member.clone());
            match book.seats.get(&key).filter(|lease| lease.number == number) {
                None => return Watched::Gone,
                Some(lease) if lease.until_ms > now_ms => return Watched::Left(Duration::from_millis(lease.until_ms - now_ms)),
                Some(_) => book.seats.remove(&key),
            }
        };
        match lapsed {
            Some(lease) => Watched::Lapsed(self.unseat(&lease.principal, &lease.channel, lease.session, member)),
            None => Watched::Gone,
        }
    }

    /// Ends the seats on lease of those whose sessions end.
    pub fn end_leases(&self, app: &AppId, whom: &Whom) -> Vec<Task<()>> {
        let concerned = |lease: &Lease| match whom {
            Whom::User(user) => lease.principal.user.as_ref() == Some(user),
            Whom::Session(session) => lease.session == *session,
            Whom::Token(token) => lease.principal.token_id.as_ref() == Some(token),
        };
        let ended: Vec<_> = self.leases.book().seats.extract_if(|(of, _), lease| of == app && concerned(lease)).collect();
        ended.into_iter().map(|((_, member), lease)| self.unseat(&lease.principal, &lease.channel, lease.session, &member)).collect()
    }

    /// Until when a lease is good whose client shows up now.
    pub(crate) fn leased_until_ms(&self) -> u64 {
        self.now_ms() + self.kept_ms()
    }

    /// For how long a lease is good.
    pub(crate) fn kept_ms(&self) -> u64 {
        u64::try_from(self.limits().seat_grace.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Door<'_> {
    /// The seat on lease that the claim proves, as its client shows up.
    pub(crate) fn leased(&self, channel: &ChannelName, claim: &Claim) -> Result<(Arc<str>, Lease), Denied> {
        let name = seat::seat(&self.app.id, channel, claim, self.hub.now_ms())?;
        let lease = self.hub.leases.find(&self.app.id, &name.member).filter(|lease| lease.channel == *channel).ok_or_else(no_lease)?;
        self.hub.leases.keep(&self.app.id, &name.member, self.hub.leased_until_ms(), None);
        Ok((name.member.into(), lease))
    }

    /// Keeps a seat whose inbox the caller has the key of; from now on the caller is the one who may read it.
    pub(crate) fn keep(&self, key: &str) -> Result<Running, Denied> {
        let (member, key) = key.rsplit_once('.').ok_or_else(|| Denied::Invalid("the `inbox` is not one that `enter` answered".into()))?;
        let lease = self.hub.leases.find(&self.app.id, member).ok_or_else(no_lease)?;
        if !seat::opens(&self.app.id, &lease.channel, member, key) {
            return Err(no_lease());
        }
        self.check(&lease.channel, Permissions::PRESENCE)?;
        self.hub.leases.keep(&self.app.id, member, self.hub.leased_until_ms(), Some(self.caller.session));
        let kept = Reply::Kept(ChannelName::inbox(member), self.hub.kept_ms());
        Ok(Box::pin(std::future::ready(Ok(Outcome::Reply(kept)))))
    }

    /// Gives a seat on lease back.
    pub(crate) fn vacate(&self, vacate: &Vacate) -> Result<Running, Denied> {
        let (member, _) = self.leased(&vacate.channel, &vacate.claim)?;
        let Some(lease) = self.hub.leases.end(&self.app.id, &member) else { return Err(no_lease()) };
        Ok(reply(self.hub.unseat(&lease.principal, &lease.channel, lease.session, &member), |()| Reply::Left))
    }
}

/// Tells the inboxes of a room that somebody came or went.
pub(crate) async fn tell(log: &dyn Log, key: &ChannelKey, members: &[Member], about: &Member, came: bool) -> Result<(), EngineError> {
    for other in members.iter().filter(|other| other.session.is_of_lease() && other.key != about.key) {
        log.publish(&key.app, news(&key.channel, about, came, &other.key), KEPT.into()).await?;
    }
    Ok(())
}

/// The same answer for a seat that never was, one that lapsed, and a wrong key.
fn no_lease() -> Denied {
    Denied::NotFound("this seat is not kept here, or no longer; enter the room again".into())
}
