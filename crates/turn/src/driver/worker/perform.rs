//! Carries out what the machine wants.

use std::net::SocketAddr;
use std::ops::Range;

use super::Worker;
use crate::driver::outbox::{Parcel, Piece};
use crate::proto::machine::{Action, FiveTuple, Head, RelayId};

/// Where the payloads are that the actions name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// There is none.
    Nothing,
    /// A datagram in the arena: start and length.
    Arena(usize, usize),
    /// A frame of a stream or of a letter; it is copied, because it doesn't stay.
    Bytes(&'a [u8]),
}

impl Worker {
    /// Carries out and clears the list of actions.
    pub(super) fn perform(&mut self, origin: Origin<'_>) {
        if self.actions.list.is_empty() {
            return;
        }
        let mut list = std::mem::take(&mut self.actions.list);
        for action in list.drain(..) {
            self.perform_one(action, origin);
        }
        self.actions.list = list;
        self.actions.bytes.clear();
    }

    fn perform_one(&mut self, action: Action, origin: Origin<'_>) {
        match action {
            Action::ToPeer { relay, peer, payload, dont_fragment } => self.send_to_peer(relay, peer, payload, dont_fragment, origin),
            Action::ToClient { to, head, payload, padding } => self.send_to_client(to, head, payload, padding, origin),
            Action::Across { worker, to, from, payload } => self.send_to_worker(worker, to, from, payload, origin),
            Action::Reply { to, bytes } => self.reply(&to, bytes),
            Action::ReplyFrom { server, to, bytes } => self.reply_from(server, to, bytes),
            Action::HandOver { worker, client } => match origin {
                Origin::Arena(start, length) => {
                    let bytes: Box<[u8]> = self.arena.bytes()[start..start + length].into();
                    self.hand_over_datagram(worker, client, &bytes);
                }
                // A datagram that came by letter already is handed on in the same way.
                Origin::Bytes(bytes) if !client.transport.is_stream() => self.hand_over_datagram(worker, client, bytes),
                Origin::Bytes(bytes) => self.hand_over_stream(worker, client, bytes),
                Origin::Nothing => {}
            },
            Action::CloseRelay(relay) => {
                // What was relayed before the end still leaves.
                if !self.up.is_empty() {
                    self.flush_datagrams_keeping_slots();
                }
                self.relays.close(relay);
            }
            Action::CloseClient(client) => self.close_client(&client),
            Action::Connect { relay, connection, peer } => self.connect_peer(relay, connection, peer),
            Action::Join { connection, client } => self.join(connection, &client),
            Action::Disconnect(connection) => self.disconnect_peer(connection),
            Action::Ended(usage) => {
                if let Some(on_end) = &self.config.on_end {
                    on_end(&usage);
                }
            }
        }
    }

    /// The arena's slots stay taken: packets of this round may still name them.
    fn flush_datagrams_keeping_slots(&mut self) {
        let slots = self.used_slots;
        self.flush_datagrams();
        self.used_slots = slots;
    }

    fn send_to_peer(&mut self, relay: RelayId, peer: SocketAddr, payload: Range<usize>, dont_fragment: bool, origin: Origin<'_>) {
        let piece = match origin {
            Origin::Arena(start, _) => Piece::Arena(start + payload.start, payload.len()),
            Origin::Bytes(bytes) => self.up.copy(&bytes[payload]),
            Origin::Nothing => return,
        };
        self.up.push(Parcel { to: peer, source: None, socket: relay.0, head: None, piece, padding: 0, dont_fragment });
        if self.up.is_full() {
            self.flush_datagrams_keeping_slots();
        }
    }

    fn send_to_client(&mut self, to: FiveTuple, head: Head, payload: Range<usize>, padding: u8, origin: Origin<'_>) {
        if to.transport.is_stream() {
            return self.send_to_stream(&to, head, payload, padding, origin);
        }
        let Some(listener) = self.udp.get_mut(to.path as usize) else { return };
        let piece = match origin {
            Origin::Arena(start, _) => Piece::Arena(start + payload.start, payload.len()),
            Origin::Bytes(bytes) => listener.outbox.copy(&bytes[payload]),
            Origin::Nothing => return,
        };
        let source = listener.address.ip().is_unspecified().then(|| to.server.ip());
        let parcel = Parcel { to: to.client, source, socket: 0, head: Some(head), piece, padding, dont_fragment: false };
        listener.outbox.push(parcel);
        if listener.outbox.is_full() {
            self.flush_datagrams_keeping_slots();
        }
    }

    fn send_to_stream(&mut self, to: &FiveTuple, head: Head, payload: Range<usize>, padding: u8, origin: Origin<'_>) {
        let Some(stream) = self.streams.get_mut(to.path as usize).filter(|stream| stream.tuple == *to) else { return };
        let payload = match origin {
            Origin::Arena(start, length) => &self.arena.bytes()[start..start + length][payload],
            Origin::Bytes(bytes) => &bytes[payload],
            Origin::Nothing => return,
        };
        if stream.backlog() > self.config.streams.output_bytes_max {
            self.machine.counters.dropped_slow_client += 1;
            return;
        }
        stream.push(head.bytes());
        stream.push(payload);
        stream.push(&[0; 3][..usize::from(padding)]);
        self.dirty.push(to.path);
    }

    fn send_to_worker(&mut self, worker: u8, to: SocketAddr, from: SocketAddr, payload: Range<usize>, origin: Origin<'_>) {
        let payload = match origin {
            Origin::Arena(start, length) => &self.arena.bytes()[start..start + length][payload],
            Origin::Bytes(bytes) => &bytes[payload],
            Origin::Nothing => return,
        };
        let Some(across) = self.across.get_mut(usize::from(worker)) else { return };
        across.bytes.extend_from_slice(payload);
        across.packets.push((to, from, payload.len()));
    }

    fn reply(&mut self, to: &FiveTuple, bytes: Range<usize>) {
        let bytes = &self.actions.bytes[bytes];
        if to.transport.is_stream() {
            if let Some(stream) = self.streams.get_mut(to.path as usize).filter(|stream| stream.tuple == *to) {
                stream.push(bytes);
                self.dirty.push(to.path);
            }
            return;
        }
        let Some(listener) = self.udp.get_mut(to.path as usize) else { return };
        let piece = listener.outbox.copy(bytes);
        let source = listener.address.ip().is_unspecified().then(|| to.server.ip());
        listener.outbox.push(Parcel { to: to.client, source, socket: 0, head: None, piece, padding: 0, dont_fragment: false });
    }

    fn reply_from(&mut self, server: SocketAddr, to: SocketAddr, bytes: Range<usize>) {
        let Some(listener) = self.udp.iter_mut().find(|listener| listener.address == server) else { return };
        let piece = listener.outbox.copy(&self.actions.bytes[bytes]);
        listener.outbox.push(Parcel { to, source: None, socket: 0, head: None, piece, padding: 0, dont_fragment: false });
    }
}
