//! UDP on both sides: clients' listeners and relays.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use super::perform::Origin;
use super::{FOREIGN_MAX, Worker};
use crate::driver::mailbox::Letter;
use crate::driver::relays::{Appetite, RelaySocket};
use crate::driver::socket::{self, BATCH, Ready};
use crate::proto::machine::{FiveTuple, RelayId, Transport};

/// Batches that one listener may take before the other sockets have their turn.
const ROUNDS: usize = 4;

impl Worker {
    pub(super) fn udp_ready(&mut self, listener: u32) {
        let Some(index) = self.udp.get(listener as usize).map(|_| listener as usize) else { return };
        for _ in 0..ROUNDS {
            self.flush_datagrams();
            let mut received = std::mem::take(&mut self.received);
            received.clear();
            let fd = self.udp[index].socket.as_fd();
            let got = socket::receive(fd, &mut self.arena, 0, BATCH, &mut received).unwrap_or(0);
            self.used_slots = got;
            let bound = self.udp[index].address;
            for one in &received {
                let server = one.to.map_or(bound, |ip| SocketAddr::new(ip, bound.port()));
                let from = FiveTuple { transport: Transport::Udp, path: listener, client: one.from, server };
                let mut start = one.start;
                let end = one.start + one.length;
                // An empty datagram is one too, if only to be counted.
                loop {
                    let length = one.segment.clamp(1, SLOT).min(end - start);
                    self.client_datagram(&from, start, length);
                    start += length;
                    if start >= end {
                        break;
                    }
                }
            }
            self.received = received;
            if got < BATCH {
                return;
            }
        }
    }

    /// One datagram of a client, in the arena.
    fn client_datagram(&mut self, from: &FiveTuple, start: usize, length: usize) {
        if !self.foreign.is_empty()
            && let Some((worker, seen)) = self.foreign.get_mut(from)
        {
            *seen = self.now.millis;
            let letter = Letter::Datagram(*from, self.arena.bytes()[start..start + length].into());
            let lost = self.posts[usize::from(*worker)].send(letter).is_err();
            self.machine.counters.dropped_hairpin += u64::from(lost);
            return;
        }
        let datagram = &self.arena.bytes()[start..start + length];
        self.machine.handle(self.now, from, datagram, &mut self.relays, &mut self.actions);
        self.perform(Origin::Arena(start, length));
    }

    /// Remembers whose client this is and passes the datagram on.
    pub(super) fn hand_over_datagram(&mut self, worker: u8, client: FiveTuple, bytes: &[u8]) {
        if self.foreign.len() >= FOREIGN_MAX {
            let oldest = self.foreign.iter().min_by_key(|(_, (_, seen))| *seen).map(|(tuple, _)| *tuple);
            if let Some(oldest) = oldest {
                self.foreign.remove(&oldest);
            }
        }
        self.foreign.insert(client, (worker, self.now.millis));
        let lost = self.posts[usize::from(worker)].send(Letter::Datagram(client, bytes.into())).is_err();
        self.machine.counters.dropped_hairpin += u64::from(lost);
    }

    pub(super) fn relay_ready(&mut self, relay: RelayId, ready: Ready) {
        if BATCH - self.used_slots < Appetite::MOST {
            self.flush_datagrams();
        }
        let (socket, appetite) = match self.relays.of(relay) {
            Some(RelaySocket::Udp { socket, appetite, .. }) => (socket, appetite),
            Some(RelaySocket::Tcp { .. }) => return self.relay_accept(relay),
            None => return,
        };
        let mut errors = Vec::new();
        if ready.error {
            while let Ok(error) = socket::take_error(socket.as_fd()) {
                errors.extend(error);
            }
        }
        let mut received = std::mem::take(&mut self.received);
        received.clear();
        let asked = appetite.next();
        let got = socket::receive(socket.as_fd(), &mut self.arena, self.used_slots, asked, &mut received).unwrap_or(0);
        appetite.learn(asked, got);
        self.used_slots += got;
        for (peer, icmp) in errors {
            self.machine.icmp(self.now, relay, peer, icmp, &mut self.actions);
            self.perform(Origin::Nothing);
        }
        for one in &received {
            let (mut start, end) = (one.start, one.start + one.length);
            loop {
                let length = one.segment.clamp(1, SLOT).min(end - start);
                self.machine.peer_datagram(self.now, relay, one.from, length, &mut self.actions);
                self.perform(Origin::Arena(start, length));
                start += length;
                if start >= end {
                    break;
                }
            }
        }
        self.received = received;
    }
}

const SLOT: usize = socket::SLOT_BYTES;
