//! Moves: a WebSocket that has asked for nothing yet goes to the shard where the others of its first channel are.
//!
//! What few want costs mostly the threads that it wakes, so the subscribers of a small channel had better be on one shard (decision 013). Where both
//! shards have subscribers of a channel already nobody moves, and no shard gets many more connections than another.
//!
//! Invariant: a session moves at most once, and before anybody else can have learned of its id.

use omnivox_core::command::{CloseReason, Command, Ticket};
use omnivox_core::name::ChannelRef;
use omnivox_core::{Frame, Outbox};
use omnivox_wire::ws;

use super::conn::{Conn, Mode, SlotRef};
use super::io::{Detached, Io};
use super::slot::{ANSWERED, Slot};
use super::{Peer, Shard, Shared, Visit, attend, turn};
use crate::admission::Share;
use crate::metrics::{add, sub};

/// A session that is to move when the turn ends, and the command with which it begins there.
pub(super) struct Moving {
    at: SlotRef,
    shard: u16,
    ticket: Ticket,
    command: Command,
}

/// A session on its way to another shard.
pub(crate) struct Mover {
    io: Detached,
    peer: Peer,
    share: Share,
    decoder: ws::Decoder,
    unread: Vec<u8>,
    direct: Option<Box<Outbox>>,
    pong: Option<Box<Frame>>,
    slot: Slot,
    ticket: Ticket,
    command: Command,
}

impl Shard {
    /// The shard that a session had better be on for its first command, when that is not this one.
    pub(super) fn better_shard(&self, at: SlotRef, command: &Command) -> Option<u16> {
        let Command::Subscribe(subscribe) = command else { return None };
        let ([channel], []) = (&subscribe.channels[..], &subscribe.patterns[..]) else { return None };
        self.movable(at)?;
        let app = &self.sessions.get(at.slot as usize)?.principal.as_ref()?.app;
        let key = ChannelRef::new(app, channel);
        // A back end that was asked may have kept the id.
        if self.common.doors.len() == 1 || self.table.find(&key).is_some() || self.common.hub.has_hooks(app) {
            return None;
        }
        let shard = self.common.hub.log().shards(key).only().filter(|shard| *shard != self.id)?;
        self.common.is_fair(usize::from(shard)).then_some(shard)
    }

    /// Lets a session move when the turn ends; what it asks until then waits behind the command.
    pub(super) fn prepare_to_move(&mut self, at: SlotRef, shard: u16, ticket: Ticket, command: Command) {
        if let Some(slot) = self.slot(at) {
            slot.commands.get_or_insert_default().running = true;
            self.moves.push(Moving { at, shard, ticket, command });
        }
    }

    /// Sends those away who are to move; what can't move any more goes on here.
    pub(super) fn move_away(&mut self) {
        for Moving { at, shard, ticket, command } in std::mem::take(&mut self.moves) {
            match self.movable(at) {
                Some(key) => self.move_to(shard, at, key, ticket, command),
                None => self.begin_with(at, ticket, command),
            }
        }
    }

    /// The connection of a session that has one and no more, if it can move.
    fn movable(&self, at: SlotRef) -> Option<u32> {
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation && !slot.ending)?;
        let [key] = slot.carriers[..] else { return None };
        let conn = self.conns.get(key as usize)?;
        let alone = slot.exchanges.is_empty() && slot.promoted == Some(key) && matches!(conn.mode, Mode::WebSocket(_));
        // The reactor of another thread would go on watching what lies below TLS.
        (alone && !self.draining && matches!(conn.io, Io::Tcp(_) | Io::Unix(_))).then_some(key)
    }

    fn move_to(&mut self, shard: u16, at: SlotRef, key: u32, ticket: Ticket, command: Command) {
        let (conn, slot) = (self.conns.remove(key as usize), self.sessions.remove(at.slot as usize));
        let metrics = self.metrics();
        sub(&metrics.connections, 1);
        sub(&metrics.websocket_connections, 1);
        sub(&metrics.sessions, 1);
        let Conn { io, mode, unread, direct, pong, peer, share, waker, .. } = conn;
        if let (Ok(io), Mode::WebSocket(decoder)) = (io.detach(), mode) {
            let mover = Mover { io, peer, share, decoder, unread, direct, pong, slot, ticket, command };
            self.common.place_on(usize::from(shard));
            let _ = self.common.doors[usize::from(shard)].send(Visit::Mover(Box::new(mover)));
        }
        waker.into_iter().for_each(std::task::Waker::wake);
    }

    /// Takes a session over: it has another id and another connection's number, and is as new as it was.
    fn take_over(&mut self, mover: Mover) -> Option<u32> {
        self.common.arrived_on(usize::from(self.id));
        let Mover { io, peer, share, decoder, unread, direct, pong, mut slot, ticket, command } = mover;
        let io = Io::attach(io).ok()?;
        let generation = self.next_generation();
        let at = SlotRef { slot: self.sessions.vacant_key() as u32, generation: self.next_generation() };
        let fresh = Conn::new(generation, io, peer, share, self.now_ms());
        let conn = Conn { mode: Mode::WebSocket(decoder), session: Some(at), unread, direct, pong, ..fresh };
        let key = self.conns.insert(conn) as u32;
        slot.generation = at.generation;
        slot.carriers[0] = key;
        slot.promoted = Some(key);
        slot.opened_by = Some(ANSWERED);
        slot.expiry_watched = false;
        slot.dirty = false;
        self.sessions.insert(slot);
        let metrics = self.metrics();
        add(&metrics.connections, 1);
        add(&metrics.websocket_connections, 1);
        add(&metrics.sessions, 1);
        self.mark_dirty(at);
        self.schedule_conn_deadline(key);
        self.schedule_session(at);
        self.schedule_expiry(at);
        // Nobody told it on its way when the rules changed, its credential was revoked, or everyone was sent away.
        self.review(at);
        if self.draining {
            self.close_session(at, CloseReason::Drain);
        }
        self.begin_with(at, ticket, command);
        Some(key)
    }
}

/// Lets a session in that comes from another shard.
pub(super) fn settle_in(shard: &Shared, mover: Mover) {
    let key = {
        let mut shard = turn(shard);
        let key = shard.take_over(mover);
        shard.settle();
        key
    };
    if let Some(key) = key {
        tokio::task::spawn_local(attend(shard.clone(), key));
    }
}
