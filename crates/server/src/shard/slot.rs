//! A session's slot: the session itself and what the driver keeps beside it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use omnivox_core::budget::Budget;
use omnivox_core::channel::Seating;
use omnivox_core::grants::Principal;
use omnivox_core::name::{ChannelName, SessionId};
use omnivox_core::session::{Actions, Drain, Heartbeat, Input, NewSession, Session};
use omnivox_core::{Draft, Outbox};
use omnivox_hub::hub::Caller;
use omnivox_hub::quotas::Share as Quota;
use smallvec::SmallVec;

use super::commands::Commands;
use super::conn::SlotRef;
use crate::traces::Context;

/// A session and what the driver knows of it.
pub(super) struct Slot {
    pub generation: u32,
    /// Its dialect's index.
    pub dialect: u8,
    /// Where its client is.
    pub remote: IpAddr,
    /// Out while it handles an input.
    session: Option<Box<dyn Session>>,
    pub principal: Option<Arc<Principal>>,
    pub heartbeat: Heartbeat,
    pub message_bytes_max: Option<usize>,
    /// Its carriers, as connections.
    pub carriers: SmallVec<[u32; 1]>,
    /// The carrier that drains the outbox.
    pub promoted: Option<u32>,
    /// The exchange that opened it: if that becomes a carrier it is promoted by itself. `ANSWERED` once it has been answered otherwise.
    pub opened_by: Option<u32>,
    /// Connections whose requests it has not answered.
    pub exchanges: SmallVec<[u32; 1]>,
    pub hold: Option<(u32, Arc<Drain>)>,
    pub outbox: Outbox,
    pub seats: SmallVec<[Seating; 1]>,
    /// Its seats at patterns.
    #[expect(clippy::box_collection, reason = "few sessions have any, and every session pays for the field")]
    pub pattern_seats: Option<Box<Vec<Seating>>>,
    /// Channels that the application let it into, whatever its grants say.
    #[expect(clippy::box_collection, reason = "few sessions have any, and every session pays for the field")]
    pub admitted: Option<Box<BTreeSet<ChannelName>>>,
    /// Its entries in presence sets.
    pub entries: Option<Box<Entries>>,
    pub commands: Option<Box<Commands>>,
    /// Whether the wheel has an entry for the end of its credential.
    pub expiry_watched: bool,
    pub key: Option<Box<str>>,
    /// The stamp of the last publication that it was given in one of several channels.
    pub last_stamp: u64,
    pub dirty: bool,
    pub ending: bool,
    /// What it draws on its address, user and app.
    pub quota: Quota,
    /// How many messages fan-out gave it since the last flush; counted whether or not somebody looks at it.
    pub deliveries: u32,
    /// What it may send of messages, where that is limited.
    pub messages: Budget,
    /// What the commands of its last request are a part of: the request's span, when its trace is made, or else the caller's.
    pub request_span: Option<Box<Context>>,
    /// Whether it may go to another shard still.
    pub movable: bool,
    /// Whether it lost the right to be here, so that nothing is kept for its return.
    pub sent_away: bool,
}

type Entries = Vec<Entry>;

/// An entry in a presence set.
pub(super) struct Entry {
    pub channel: ChannelName,
    pub key: Arc<str>,
    /// What is published when the session has ended.
    pub going: Option<Box<Draft>>,
}

/// No connection has this number.
pub(super) const ANSWERED: u32 = u32::MAX;

impl Slot {
    pub(super) fn new(generation: u32, dialect: u8, remote: IpAddr, new: NewSession) -> Self {
        Self {
            generation,
            dialect,
            remote,
            session: Some(new.session),
            principal: None,
            heartbeat: new.heartbeat,
            message_bytes_max: new.message_bytes_max,
            carriers: SmallVec::new(),
            promoted: None,
            opened_by: None,
            exchanges: SmallVec::new(),
            hold: None,
            outbox: Outbox::default(),
            seats: SmallVec::new(),
            pattern_seats: None,
            admitted: None,
            entries: None,
            commands: None,
            expiry_watched: false,
            key: new.key,
            last_stamp: 0,
            dirty: false,
            ending: false,
            quota: Quota::default(),
            deliveries: 0,
            messages: Budget::default(),
            request_span: None,
            movable: new.movable,
            sent_away: false,
        }
    }

    /// The reference to this slot, given its place.
    pub(super) fn at(&self, slot: usize) -> SlotRef {
        SlotRef { slot: slot as u32, generation: self.generation }
    }

    /// Gives the session an input; what it wants done is added to the actions.
    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        if let Input::Exchange(exchange, _) = &input
            && self.opened_by.is_none()
        {
            self.opened_by = Some(exchange.0);
        }
        if let Some(session) = &mut self.session {
            session.handle(now, input, actions);
        }
    }

    /// Who runs a command: the slot's own principal and share, lent for as long as the hub looks at them. Counting references would cost more, for
    /// all shards count those of the same few principals.
    pub(super) fn lend_caller(&mut self, session: SessionId, dialect: &'static str) -> Caller {
        Caller {
            session,
            subscriptions: self.subscriptions(),
            principal: self.principal.take(),
            quota: std::mem::take(&mut self.quota),
            dialect,
            remote: Some(self.remote),
        }
    }

    /// Ends what [`lend_caller`](Self::lend_caller) began.
    pub(super) fn take_back(&mut self, caller: Caller) {
        self.principal = caller.principal;
        self.quota = caller.quota;
    }

    /// How many channels and patterns it is subscribed to.
    pub(super) fn subscriptions(&self) -> usize {
        self.seats.len() + self.pattern_seats.as_ref().map_or(0, |seats| seats.len())
    }

    /// Takes note of an entry in a presence set.
    pub(super) fn keep_entry(&mut self, new: Entry) {
        let entries = self.entries.get_or_insert_default();
        if !entries.iter().any(|entry| entry.channel == new.channel && entry.key == new.key) {
            entries.push(new);
        }
    }

    /// When the session wants to be woken.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.session.as_ref().and_then(|session| session.next_timeout())
    }
}
