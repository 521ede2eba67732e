//! TCP relays (RFC 6062), off by default: a relay that connects anywhere is a port scanner for whoever has a password.
//!
//! ```text
//! Connect ──▶ Action::Connect ──▶ connected() ──▶ CONNECTION-ID      peer dials ──▶ incoming() ──▶ ConnectionAttempt
//!                      ConnectionBind on a new client connection ──▶ Action::Join: one pipe
//! ```

use std::net::SocketAddr;

use super::auth::Who;
use super::state::{PeerConnection, PendingConnect, Stage};
use super::{Action, Actions, Call, Connection, FiveTuple, Host, Machine, Moment, RelayId};
use crate::proto::address::Family;
use crate::proto::attribute;
use crate::proto::message::{Class, Method, Writer};

/// A connection attempt, and a connection that no client binds, last this long.
const PATIENCE_MILLIS: u64 = 30_000;

impl Machine {
    pub(super) fn connect(&mut self, call: Call<'_>, host: &mut dyn Host, actions: &mut Actions) {
        let Some((index, signature)) = self.owned(call, actions) else { return };
        if self.refuse_unknown(call, &attribute::PEER, &signature, actions) {
            return;
        }
        let (peer, relay) = match self.connectable(call, index) {
            Ok(target) => target,
            Err(code) => return self.refuse(call, code, &signature, actions),
        };
        let pending = PendingConnect { transaction: call.message.transaction(), signature, fingerprint: call.message.has_fingerprint() };
        let connection = self.add_connection(call.now, index, peer, Stage::Connecting(Box::new(pending)), host);
        actions.list.push(Action::Connect { relay, connection, peer });
    }

    fn connectable(&mut self, call: Call<'_>, index: usize) -> Result<(SocketAddr, RelayId), u16> {
        let peer = call.message.address(attribute::XOR_PEER_ADDRESS).ok_or(400_u16)?;
        let allocation = &self.allocations[index];
        if !allocation.tcp {
            return Err(400);
        }
        let relay = allocation.relay_of(Family::of(peer.ip())).ok_or(443_u16)?.id;
        if !self.settings.peers.permits(peer) {
            self.counters.permissions_denied += 1;
            return Err(403);
        }
        let mut own = self.connections.values().filter(|connection| connection.allocation == index);
        if own.clone().count() >= self.settings.connections_max {
            return Err(508);
        }
        if own.any(|connection| connection.peer == peer) {
            return Err(446);
        }
        Ok((peer, relay))
    }

    fn add_connection(&mut self, now: Moment, allocation: usize, peer: SocketAddr, stage: Stage, host: &mut dyn Host) -> Connection {
        let connection = loop {
            let mut number = [0; 4];
            host.random(&mut number);
            number[0] = self.worker;
            let connection = Connection(u32::from_be_bytes(number));
            if !self.connections.contains_key(&connection) {
                break connection;
            }
        };
        let until = now.millis + PATIENCE_MILLIS;
        self.connections.insert(connection, PeerConnection { allocation, peer, stage, until });
        connection
    }

    /// The outcome of [`Action::Connect`].
    pub fn connected(&mut self, now: Moment, connection: Connection, success: bool, actions: &mut Actions) {
        let Some(entry) = self.connections.get_mut(&connection) else { return };
        let Stage::Connecting(pending) = std::mem::replace(&mut entry.stage, Stage::Waiting) else { return };
        entry.until = now.millis + PATIENCE_MILLIS;
        let to = self.allocations[entry.allocation].tuple;
        if !success {
            self.connections.remove(&connection);
            self.counters.count_error(447);
        }
        let class = if success { Class::Success } else { Class::Error };
        let start = actions.bytes.len();
        let mut writer = Writer::new(&mut actions.bytes, class, Method::Connect, pending.transaction);
        match success {
            true => writer.number(attribute::CONNECTION_ID, connection.0),
            false => writer.error(447),
        };
        writer.sign(pending.signature.integrity, &pending.signature.key);
        if pending.fingerprint {
            writer.fingerprint();
        }
        let bytes = start..actions.bytes.len();
        actions.list.push(Action::Reply { to, bytes });
    }

    /// A peer has connected to a relay; `None` means: close it at once.
    pub fn incoming(
        &mut self,
        now: Moment,
        relay: RelayId,
        peer: SocketAddr,
        host: &mut dyn Host,
        actions: &mut Actions,
    ) -> Option<Connection> {
        let index = *self.by_relay.get(&relay)?;
        if self.allocations[index].permission(now, peer.ip()).is_none() {
            self.counters.dropped_no_permission += 1;
            return None;
        }
        let own = self.connections.values().filter(|connection| connection.allocation == index).count();
        if own >= self.settings.connections_max {
            return None;
        }
        let connection = self.add_connection(now, index, peer, Stage::Waiting, host);
        let transaction = self.next_indication();
        let start = actions.bytes.len();
        Writer::new(&mut actions.bytes, Class::Indication, Method::ConnectionAttempt, transaction)
            .number(attribute::CONNECTION_ID, connection.0)
            .xor_address(attribute::XOR_PEER_ADDRESS, peer);
        let bytes = start..actions.bytes.len();
        actions.list.push(Action::Reply { to: self.allocations[index].tuple, bytes });
        Some(connection)
    }

    pub(super) fn connection_bind(&mut self, call: Call<'_>, actions: &mut Actions) {
        let connection = call.message.number(attribute::CONNECTION_ID).map(Connection);
        let entry = connection.and_then(|connection| self.connections.get(&connection));
        let waiting = entry.filter(|entry| matches!(entry.stage, Stage::Waiting)).map(|entry| entry.allocation);
        let Some(caller) = self.authenticate(call, waiting, actions) else { return };
        if self.refuse_unknown(call, &attribute::CONNECTION_BIND, &caller.signature, actions) {
            return;
        }
        let usable = call.from.transport.is_stream() && !self.by_tuple.contains_key(call.from);
        let (Some(connection), true) = (connection, usable) else {
            return self.refuse(call, 400, &caller.signature, actions);
        };
        if self.hand_over(connection.worker(), call, actions) {
            return;
        }
        match (waiting, &caller.who) {
            (Some(_), Who::Owner) => {}
            (Some(_), Who::Other(_)) => return self.refuse(call, 441, &caller.signature, actions),
            (None, _) => return self.refuse(call, 400, &caller.signature, actions),
        }
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.stage = Stage::Joined(*call.from);
        }
        Self::succeed(call, &caller.signature, actions, |writer| {
            writer.number(attribute::CONNECTION_ID, connection.0);
        });
        actions.list.push(Action::Join { connection, client: *call.from });
    }

    /// The peer's side of a connection is gone.
    pub fn peer_gone(&mut self, connection: Connection, actions: &mut Actions) {
        if let Some(PeerConnection { stage: Stage::Joined(client), .. }) = self.connections.remove(&connection) {
            actions.list.push(Action::CloseClient(client));
        }
    }

    pub(super) fn data_client_gone(&mut self, client: &FiveTuple, actions: &mut Actions) {
        let joined = |entry: &PeerConnection| matches!(entry.stage, Stage::Joined(path) if path == *client);
        let connection = self.connections.iter().find(|(_, entry)| joined(entry)).map(|(connection, _)| *connection);
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            actions.list.push(Action::Disconnect(connection));
        }
    }

    pub(super) fn disconnect(&mut self, connection: Connection, actions: &mut Actions) {
        actions.list.push(Action::Disconnect(connection));
        self.peer_gone(connection, actions);
    }

    pub(super) fn sweep_connections(&mut self, now: Moment, actions: &mut Actions) {
        let late = |entry: &PeerConnection| entry.until <= now.millis && !matches!(entry.stage, Stage::Joined(_));
        let over: Vec<Connection> = self.connections.iter().filter(|(_, entry)| late(entry)).map(|(connection, _)| *connection).collect();
        for connection in over {
            self.connected(now, connection, false, actions);
            self.disconnect(connection, actions);
        }
    }
}
