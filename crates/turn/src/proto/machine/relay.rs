//! The data paths: ChannelData and Send from clients, datagrams and ICMP errors from peers, hairpins between relays.
//!
//! Nothing here allocates memory or copies a payload. A packet costs one look-up of its path, a short scan of the
//! allocation's channels, and one atomic load that tells our own relayed addresses from the world.

use std::net::SocketAddr;
use std::ops::Range;

use super::{Action, Actions, Call, FiveTuple, Head, Icmp, Machine, Moment, RelayId};
use crate::proto::address::{self, Family};
use crate::proto::attribute;
use crate::proto::message::{COOKIE, Class, Method, TransactionId, Writer};
use crate::proto::rate::Rate;

/// Longest payload of a Data indication: the message's length field has 16 bits.
const INDICATION_PAYLOAD_MAX: usize = 65_535 - 36;

impl Machine {
    pub(super) fn channel_data(&mut self, now: Moment, from: &FiveTuple, datagram: &[u8], actions: &mut Actions) {
        let Some((head, payload)) = datagram.split_first_chunk::<4>() else {
            self.counters.dropped_malformed += 1;
            return;
        };
        let number = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > payload.len() {
            self.counters.dropped_malformed += 1;
            return;
        }
        let Some(&index) = self.by_tuple.get(from) else {
            self.counters.dropped_no_allocation += 1;
            return;
        };
        self.confirm_path(index, from);
        let channels = &self.allocations[index].channels;
        let Some(channel) = channels.iter().find(|channel| channel.number == number && channel.until > now.millis) else {
            self.counters.dropped_no_channel += 1;
            return;
        };
        let (peer, outside) = (channel.peer, channel.outside);
        self.up(now, index, peer, outside, 4..4 + length, false, actions);
    }

    pub(super) fn send_indication(&mut self, call: Call<'_>, actions: &mut Actions) {
        let Some(&index) = self.by_tuple.get(call.from) else {
            self.counters.dropped_no_allocation += 1;
            return;
        };
        let message = call.message;
        let unknown = message.unknown(&attribute::SEND).next().is_some();
        let (Some(peer), Some(payload), false) = (message.address(attribute::XOR_PEER_ADDRESS), message.range(attribute::DATA), unknown)
        else {
            self.counters.dropped_malformed += 1;
            return;
        };
        self.confirm_path(index, call.from);
        let Some(permission) = self.allocations[index].permission(call.now, peer.ip()) else {
            self.counters.dropped_no_permission += 1;
            return;
        };
        let outside = permission.outside && self.settings.peers.permits_port(peer);
        let dont_fragment = message.find(attribute::DONT_FRAGMENT).is_some();
        self.up(call.now, index, peer, outside, payload, dont_fragment, actions);
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one packet")]
    fn up(
        &mut self,
        now: Moment,
        index: usize,
        peer: SocketAddr,
        outside: bool,
        payload: Range<usize>,
        dont_fragment: bool,
        actions: &mut Actions,
    ) {
        let bytes = payload.len() as u64;
        let rate = Rate::bytes(self.settings.bytes_per_second);
        let allocation = &mut self.allocations[index];
        let Some(relay) = allocation.relay_of(Family::of(peer.ip())).copied().filter(|_| !allocation.tcp) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        if !allocation.bucket.take(now.millis, bytes, rate) {
            self.counters.dropped_allocation_rate += 1;
            return;
        }
        if let Err(exceeded) = allocation.meters.take(now.millis, bytes) {
            return self.counters.count_exceeded(exceeded);
        }
        allocation.traffic.packets_up += 1;
        allocation.traffic.bytes_up += bytes;
        match self.shared.directory.owner(peer) {
            Some(worker) if worker == self.worker => self.hairpin(now, relay.address, peer, payload, actions),
            Some(worker) => actions.list.push(Action::Across { worker, to: peer, from: relay.address, payload }),
            None if outside => actions.list.push(Action::ToPeer { relay: relay.id, peer, payload, dont_fragment }),
            None => {
                self.counters.dropped_denied_peer += 1;
                return;
            }
        }
        self.counters.packets_to_peers += 1;
        self.counters.bytes_to_peers += bytes;
    }

    fn hairpin(&mut self, now: Moment, from: SocketAddr, to: SocketAddr, payload: Range<usize>, actions: &mut Actions) {
        let Some(&index) = self.by_relayed.get(&to) else {
            self.counters.dropped_hairpin += 1;
            return;
        };
        self.counters.packets_hairpinned += 1;
        self.down(now, index, from, payload, actions);
    }

    /// A payload that came over from another worker: `from` and `to` are relayed addresses.
    pub fn across_datagram(&mut self, now: Moment, from: SocketAddr, to: SocketAddr, payload: Range<usize>, actions: &mut Actions) {
        self.hairpin(now, from, to, payload, actions);
    }

    /// A datagram of this length arrived on a relay.
    pub fn peer_datagram(&mut self, now: Moment, relay: RelayId, peer: SocketAddr, length: usize, actions: &mut Actions) {
        match self.by_relay.get(&relay) {
            Some(&index) => self.down(now, index, peer, 0..length, actions),
            None => self.counters.dropped_no_allocation += 1,
        }
    }

    fn down(&mut self, now: Moment, index: usize, peer: SocketAddr, payload: Range<usize>, actions: &mut Actions) {
        let bytes = payload.len();
        let rate = Rate::bytes(self.settings.bytes_per_second);
        let allocation = &mut self.allocations[index];
        if allocation.tcp {
            self.counters.dropped_malformed += 1;
            return;
        }
        let channel = allocation.channels.iter().find(|channel| channel.peer == peer && channel.until > now.millis);
        let number = channel.filter(|channel| channel.permitted_until > now.millis).map(|channel| channel.number);
        if number.is_none() && allocation.permission(now, peer.ip()).is_none() {
            self.counters.dropped_no_permission += 1;
            return;
        }
        if bytes > INDICATION_PAYLOAD_MAX {
            self.counters.dropped_too_big += 1;
            return;
        }
        if !allocation.bucket.take(now.millis, bytes as u64, rate) {
            self.counters.dropped_allocation_rate += 1;
            return;
        }
        if let Err(exceeded) = allocation.meters.take(now.millis, bytes as u64) {
            return self.counters.count_exceeded(exceeded);
        }
        allocation.traffic.packets_down += 1;
        allocation.traffic.bytes_down += bytes as u64;
        self.counters.packets_to_clients += 1;
        self.counters.bytes_to_clients += bytes as u64;
        let to = allocation.tuple;
        let fill = u8::try_from(bytes.next_multiple_of(4) - bytes).expect("at most 3");
        let (head, padding) = match number {
            Some(number) => (channel_head(number, bytes), if to.transport.is_stream() { fill } else { 0 }),
            None => (self.data_head(peer, bytes), fill),
        };
        actions.list.push(Action::ToClient { to, head, payload, padding });
    }

    /// A Data indication up to its payload.
    fn data_head(&mut self, peer: SocketAddr, bytes: usize) -> Head {
        let transaction = self.next_indication();
        let mut address = [0; 20];
        let address_bytes = address::write_xor(&mut address, peer, &transaction);
        let length = 4 + address_bytes + 4 + bytes.next_multiple_of(4);
        // The caller has checked that the payload fits.
        let be = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes();
        let mut head = [0; Head::MAX];
        head[..2].copy_from_slice(&[0x00, 0x17]);
        head[2..4].copy_from_slice(&be(length));
        head[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        head[8..20].copy_from_slice(&transaction);
        head[20..22].copy_from_slice(&attribute::XOR_PEER_ADDRESS.to_be_bytes());
        head[22..24].copy_from_slice(&be(address_bytes));
        head[24..24 + address_bytes].copy_from_slice(&address[..address_bytes]);
        let data = 24 + address_bytes;
        head[data..data + 2].copy_from_slice(&attribute::DATA.to_be_bytes());
        head[data + 2..data + 4].copy_from_slice(&be(bytes));
        Head::new(&head[..data + 4])
    }

    /// Nobody answers an indication, so its transaction id need only differ from the others.
    pub(super) fn next_indication(&mut self) -> TransactionId {
        self.indications = self.indications.wrapping_add(1);
        let mut transaction = self.seed;
        for (byte, count) in transaction[4..].iter_mut().zip(self.indications.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()) {
            *byte ^= count;
        }
        transaction
    }

    /// An ICMP error came back for a packet that a relay had sent: the client is told, if it has the permission.
    pub fn icmp(&mut self, now: Moment, relay: RelayId, peer: SocketAddr, icmp: Icmp, actions: &mut Actions) {
        let Some(&index) = self.by_relay.get(&relay) else { return };
        let told = match peer {
            SocketAddr::V4(_) => matches!(icmp.kind, 3 | 11),
            SocketAddr::V6(_) => matches!(icmp.kind, 1..=3),
        };
        if !told || self.allocations[index].permission(now, peer.ip()).is_none() {
            return;
        }
        self.counters.icmp_relayed += 1;
        let transaction = self.next_indication();
        let start = actions.bytes.len();
        let [a, b, c, d] = icmp.data.to_be_bytes();
        Writer::new(&mut actions.bytes, Class::Indication, Method::Data, transaction)
            .xor_address(attribute::XOR_PEER_ADDRESS, peer)
            .attribute(attribute::ICMP, &[0, 0, icmp.kind, icmp.code, a, b, c, d]);
        let bytes = start..actions.bytes.len();
        actions.list.push(Action::Reply { to: self.allocations[index].tuple, bytes });
    }
}

fn channel_head(number: u16, bytes: usize) -> Head {
    let [a, b] = number.to_be_bytes();
    let [c, d] = u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    Head::new(&[a, b, c, d])
}
