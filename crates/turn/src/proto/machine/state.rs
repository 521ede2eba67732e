//! What the machine remembers of an allocation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Action, Actions};
use super::{Connection, FiveTuple, Machine, Moment, RelayId, Transport};
use crate::proto::address::Family;
use crate::proto::integrity::{Algorithm, Key};
use crate::proto::ledger::{Charge, Meters};
use crate::proto::message::TransactionId;
use crate::proto::rate::Bucket;

/// One relayed address of an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) address: SocketAddr,
    pub(super) expires: u64,
}

/// A peer's IP address that may send, and be sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub(super) ip: IpAddr,
    pub(super) until: u64,
    /// The policy lets packets out to this address. Otherwise it is one of our own relays' and only live relayed
    /// addresses there can be reached, in memory.
    pub(super) outside: bool,
}

/// A channel; it carries the permission's end so that the fast path looks at one entry only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    pub(super) peer: SocketAddr,
    pub(super) until: u64,
    pub(super) permitted_until: u64,
    pub(super) outside: bool,
}

/// A port that was put aside with EVEN-PORT.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) relay: super::OpenedRelay,
    pub(super) user: (Option<Arc<str>>, Arc<str>),
    pub(super) until: u64,
}

/// RFC 6062: how far a peer connection is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Being connected for this request, which is answered when the outcome is known.
    Connecting(Box<PendingConnect>),
    /// Waits for the client's ConnectionBind.
    Waiting,
    /// A pipe to this client connection.
    Joined(FiveTuple),
}

/// RFC 6062: the Connect request that waits for its outcome.
#[derive(Clone, Debug)]
pub(super) struct PendingConnect {
    pub(super) transaction: TransactionId,
    pub(super) signature: super::Signature,
    pub(super) fingerprint: bool,
}

/// RFC 6062: a connection between a relay and a peer.
#[derive(Debug)]
pub(super) struct PeerConnection {
    pub(super) allocation: usize,
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
    pub(super) until: u64,
}

/// One allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) tuple: FiveTuple,
    pub(super) relays: SmallVec<[Relay; 2]>,
    pub(super) permissions: SmallVec<[Permission; 2]>,
    pub(super) channels: SmallVec<[Channel; 2]>,
    pub(super) key: Key,
    pub(super) algorithm: Algorithm,
    pub(super) credential: Arc<str>,
    pub(super) holder: Arc<str>,
    pub(super) user: Arc<str>,
    pub(super) app: Option<Arc<str>>,
    pub(super) room: Option<Arc<str>>,
    pub(super) transaction: TransactionId,
    /// ADDRESS-ERROR-CODE of the answer, for the case that it has to be repeated.
    pub(super) family_error: Option<(Family, u16)>,
    pub(super) token: Option<[u8; 8]>,
    pub(super) tcp: bool,
    /// RFC 8016: the current ticket, and the path that a Refresh announced but no packet has confirmed yet.
    pub(super) ticket: Option<super::mobility::Ticket>,
    pub(super) next_path: Option<(FiveTuple, u64)>,
    pub(super) bucket: Bucket,
    pub(super) meters: Meters,
    pub(super) charge: Charge,
    /// No refresh lasts longer.
    pub(super) ends: u64,
    pub(super) began: Moment,
    pub(super) traffic: Traffic,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) packets_up: u64,
    pub(super) bytes_up: u64,
    pub(super) packets_down: u64,
    pub(super) bytes_down: u64,
}

/// What an ended allocation had used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The credential's name.
    pub credential: Arc<str>,
    /// The user.
    pub user: Arc<str>,
    /// The app.
    pub app: Option<Arc<str>>,
    /// The room.
    pub room: Option<Arc<str>>,
    /// The client's address.
    pub client: SocketAddr,
    /// The client's transport.
    pub transport: Transport,
    /// Milliseconds from beginning to end.
    pub lasted_millis: u64,
    /// Packets from the client.
    pub packets_up: u64,
    /// Bytes from the client.
    pub bytes_up: u64,
    /// Packets to the client.
    pub packets_down: u64,
    /// Bytes to the client.
    pub bytes_down: u64,
}

/// A living allocation, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Who, for how long, and how much so far.
    pub usage: Usage,
    /// Its relayed addresses.
    pub relayed: Vec<SocketAddr>,
    /// Permissions that it holds.
    pub permissions: usize,
    /// Channels that it holds.
    pub channels: usize,
    /// Milliseconds until it ends unless it is refreshed.
    pub expires_in_millis: u64,
}

impl Allocation {
    pub(super) fn relay_of(&self, family: Family) -> Option<&Relay> {
        self.relays.iter().find(|relay| Family::of(relay.address.ip()) == family)
    }

    pub(super) fn permission(&self, now: Moment, ip: IpAddr) -> Option<&Permission> {
        self.permissions.iter().find(|permission| permission.ip == ip && permission.until > now.millis)
    }

    pub(super) fn usage(&self, now: Moment) -> Usage {
        Usage {
            credential: Arc::clone(&self.credential),
            user: Arc::clone(&self.user),
            app: self.app.clone(),
            room: self.room.clone(),
            client: self.tuple.client,
            transport: self.tuple.transport,
            lasted_millis: now.millis.saturating_sub(self.began.millis),
            packets_up: self.traffic.packets_up,
            bytes_up: self.traffic.bytes_up,
            packets_down: self.traffic.packets_down,
            bytes_down: self.traffic.bytes_down,
        }
    }

    pub(super) fn info(&self, now: Moment) -> SessionInfo {
        let expires = self.relays.iter().map(|relay| relay.expires).max().unwrap_or(0);
        SessionInfo {
            usage: self.usage(now),
            relayed: self.relays.iter().map(|relay| relay.address).collect(),
            permissions: self.permissions.len(),
            channels: self.channels.len(),
            expires_in_millis: expires.saturating_sub(now.millis),
        }
    }
}

impl Machine {
    /// Closes a relay of an allocation and forgets its addresses.
    pub(super) fn close_relay(&mut self, relay: Relay, actions: &mut Actions) {
        self.by_relay.remove(&relay.id);
        self.by_relayed.remove(&relay.address);
        self.shared.directory.leave(relay.address);
        actions.list.push(Action::CloseRelay(relay.id));
    }

    /// Ends an allocation with everything that hangs on it.
    pub(super) fn end(&mut self, now: Moment, index: usize, actions: &mut Actions) {
        let Some(allocation) = self.allocations.try_remove(index) else { return };
        self.by_tuple.remove(&allocation.tuple);
        if let Some((path, _)) = allocation.next_path {
            self.by_tuple.remove(&path);
        }
        if let Some(ticket) = allocation.ticket {
            self.by_ticket.remove(&ticket);
        }
        let usage = allocation.usage(now);
        let gone: Vec<Connection> = self.connections.iter().filter(|(_, peer)| peer.allocation == index).map(|(id, _)| *id).collect();
        for connection in gone {
            self.disconnect(connection, actions);
        }
        for relay in &allocation.relays {
            self.close_relay(*relay, actions);
        }
        self.shared.ledger.close(now.millis, allocation.charge);
        self.counters.allocations_ended += 1;
        actions.list.push(Action::Ended(Box::new(usage)));
    }
}
