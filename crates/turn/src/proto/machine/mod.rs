//! The allocation machine: datagrams and times in, [`Actions`] out.
//!
//! One machine is one worker's; what all workers share (credentials, quotas, budgets, which relayed address is whose) is in
//! [`Shared`]. A driver calls [`Machine::handle`] for what a client sent, [`Machine::peer_datagram`] for what arrived on a relay,
//! [`Machine::sweep`] about once a second, and carries the actions out.
//!
//! ```text
//! client ── handle ──▶ ToPeer ─▶ peer            peer ── peer_datagram ──▶ ToClient ─▶ client
//!                └──▶ ToClient (hairpin: the peer is another relay of this worker)
//!                └──▶ Across   (hairpin: of another worker, which calls across_datagram)
//! ```
//!
//! Invariant: before a request's integrity is verified the machine changes nothing but counters and budgets.

mod actions;
mod allocate;
mod auth;
mod binding;
mod counters;
mod mobility;
mod peers;
mod refresh;
mod relay;
mod settings;
mod state;
mod tcp;

#[cfg(test)]
pub(crate) mod tests;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;

pub use self::actions::{Action, Actions, Head};
pub use self::counters::Counters;
pub use self::settings::{Directory, Discovery, Settings, Shared};
use self::state::{Allocation, PeerConnection, Reservation};
pub use self::state::{SessionInfo, Usage};
use super::address::Family;
use super::attribute;
use super::credentials::Revoked;
use super::integrity::{Integrity, Key};
use super::message::{Class, Malformed, Message, Method, Writer};
use super::nonce::NonceKeys;

type Fast = foldhash::fast::RandomState;

/// A point in time, on both clocks: one that never jumps and one that people share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of a clock that never jumps.
    pub millis: u64,
    /// Seconds since 1970.
    pub unix: u64,
}

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection.
    Tls,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

impl Transport {
    /// Whether it is a stream, where ChannelData is padded and sources can't be forged.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// One client's path to the server; an allocation belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// The transport.
    pub transport: Transport,
    /// The driver's number for the socket: a listener for UDP, a connection otherwise.
    pub path: u32,
    /// The client's address as the server sees it.
    pub client: SocketAddr,
    /// The server's address as the client sees it.
    pub server: SocketAddr,
}

impl Hash for FiveTuple {
    /// The client's address tells almost all tuples apart; equality compares the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.client.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(u32::from(ip))),
            IpAddr::V6(ip) => state.write_u128(ip.into()),
        }
        state.write_u64((u64::from(self.path) << 16) | u64::from(self.client.port()));
    }
}

/// The driver's number for a relay's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

/// RFC 6062: CONNECTION-ID. The top byte names the worker, so that any worker can find the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection(pub u32);

impl Connection {
    /// The worker whose machine knows it.
    #[must_use]
    pub const fn worker(self) -> u8 {
        self.0.to_be_bytes()[0]
    }
}

/// What kind of relay an Allocate wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayWish {
    /// IPv4 or IPv6.
    pub family: Family,
    /// RFC 6062: TCP between relay and peers.
    pub tcp: bool,
    /// The port must be even.
    pub even: bool,
    /// The next higher port is wanted as well, for later.
    pub pair: bool,
}

/// A relay that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedRelay {
    /// Its number.
    pub id: RelayId,
    /// The address that peers see (the external one, where there is a mapping).
    pub address: SocketAddr,
}

/// Why no relay was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayRefusal {
    /// No relay address of this family is configured: 440.
    Family,
    /// No port is free, or not such a one: 508.
    Capacity,
}

/// What the machine needs at once from whatever it runs on.
pub trait Host {
    /// Opens a relay; with [`RelayWish::pair`] also the next port.
    fn open_relay(&mut self, wish: RelayWish) -> Result<(OpenedRelay, Option<OpenedRelay>), RelayRefusal>;

    /// Fills a buffer with numbers that nobody can guess.
    fn random(&mut self, into: &mut [u8]);
}

/// An ICMP error that a relay's socket reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The MTU of "too big", otherwise zero.
    pub data: u32,
}

/// One request on its way through the machine.
#[derive(Clone, Copy)]
struct Call<'a> {
    now: Moment,
    from: &'a FiveTuple,
    message: &'a Message<'a>,
}

/// How an answer is signed.
#[derive(Clone, Debug)]
struct Signature {
    integrity: Integrity,
    key: Key,
}

/// One worker's allocations.
#[derive(Debug)]
pub struct Machine {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    nonces: NonceKeys,
    worker: u8,
    allocations: Slab<Allocation>,
    by_tuple: HashMap<FiveTuple, usize, Fast>,
    by_relay: HashMap<RelayId, usize, Fast>,
    by_relayed: HashMap<SocketAddr, usize, Fast>,
    by_ticket: HashMap<mobility::Ticket, usize, Fast>,
    reservations: HashMap<[u8; 8], Reservation, Fast>,
    connections: HashMap<Connection, PeerConnection, Fast>,
    /// Where a draining server sends new clients.
    draining: Option<Option<SocketAddr>>,
    indications: u64,
    seed: [u8; 12],
    /// What happened so far.
    pub counters: Counters,
}

impl Machine {
    /// A machine without allocations. `nonce_key` is the same for all workers (and nodes behind one address).
    #[must_use]
    pub fn new(settings: Arc<Settings>, shared: Arc<Shared>, worker: u8, nonce_key: &[u8; 32], seed: [u8; 12]) -> Self {
        Self {
            settings,
            shared,
            nonces: NonceKeys::new(nonce_key),
            worker,
            allocations: Slab::new(),
            by_tuple: HashMap::default(),
            by_relay: HashMap::default(),
            by_relayed: HashMap::default(),
            by_ticket: HashMap::default(),
            reservations: HashMap::default(),
            connections: HashMap::default(),
            draining: None,
            indications: 0,
            seed,
            counters: Counters::default(),
        }
    }

    /// Handles one datagram, or one frame of a stream, from a client.
    pub fn handle(&mut self, now: Moment, from: &FiveTuple, datagram: &[u8], host: &mut dyn Host, actions: &mut Actions) {
        match datagram.first() {
            Some(0x40..=0x7F) => self.channel_data(now, from, datagram, actions),
            Some(0x00..=0x3F) => match Message::parse(datagram) {
                Ok(message) => self.message(Call { now, from, message: &message }, host, actions),
                Err(malformed) => self.malformed(malformed),
            },
            _ => self.counters.dropped_malformed += 1,
        }
    }

    const fn malformed(&mut self, _reason: Malformed) {
        self.counters.dropped_malformed += 1;
    }

    fn message(&mut self, call: Call<'_>, host: &mut dyn Host, actions: &mut Actions) {
        match (call.message.class(), call.message.method()) {
            (Class::Indication, Method::Send) => self.send_indication(call, actions),
            // A Binding indication keeps a NAT open and asks for nothing.
            (Class::Indication, Method::Binding) => {}
            (Class::Request, Method::Binding) => self.binding(call, actions),
            (Class::Request, Method::Allocate) => self.allocate(call, host, actions),
            (Class::Request, Method::Refresh) => self.refresh(call, host, actions),
            (Class::Request, Method::CreatePermission) => self.create_permission(call, actions),
            (Class::Request, Method::ChannelBind) => self.channel_bind(call, actions),
            (Class::Request, Method::Connect) if self.settings.tcp_relay => self.connect(call, host, actions),
            (Class::Request, Method::ConnectionBind) if self.settings.tcp_relay => self.connection_bind(call, actions),
            _ => self.counters.dropped_malformed += 1,
        }
    }

    /// Writes an answer.
    fn answer(call: Call<'_>, class: Class, signature: Option<&Signature>, actions: &mut Actions, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = actions.bytes.len();
        let mut writer = Writer::new(&mut actions.bytes, class, call.message.method(), call.message.transaction());
        fill(&mut writer);
        if let Some(signature) = signature {
            writer.sign(signature.integrity, &signature.key);
        }
        if call.message.has_fingerprint() {
            writer.fingerprint();
        }
        let bytes = start..actions.bytes.len();
        actions.list.push(Action::Reply { to: *call.from, bytes });
    }

    fn succeed(call: Call<'_>, signature: &Signature, actions: &mut Actions, fill: impl FnOnce(&mut Writer<'_>)) {
        Self::answer(call, Class::Success, Some(signature), actions, fill);
    }

    /// Refuses an authenticated request.
    fn refuse(&mut self, call: Call<'_>, code: u16, signature: &Signature, actions: &mut Actions) {
        self.counters.count_error(code);
        Self::answer(call, Class::Error, Some(signature), actions, |writer| {
            writer.error(code);
        });
    }

    /// Answers 420 if the request has an attribute that must be understood and isn't.
    fn refuse_unknown(&mut self, call: Call<'_>, known: &[u16], signature: &Signature, actions: &mut Actions) -> bool {
        let unknown: Vec<u8> = call.message.unknown(known).flat_map(u16::to_be_bytes).collect();
        if unknown.is_empty() {
            return false;
        }
        self.counters.count_error(420);
        Self::answer(call, Class::Error, Some(signature), actions, |writer| {
            writer.error(420).attribute(attribute::UNKNOWN_ATTRIBUTES, &unknown);
        });
        true
    }

    /// Whether an unauthenticated answer may go to this client; a stream's source can't be forged.
    fn may_answer(&mut self, call: Call<'_>) -> bool {
        let source = call.from.client.ip();
        let allowed = call.from.transport.is_stream() || self.shared.unauthenticated.take(call.now.millis, source);
        self.counters.dropped_budget += u64::from(!allowed);
        allowed
    }

    /// From now on new allocations are refused, with the address of another server if there is one.
    pub const fn drain(&mut self, alternate: Option<SocketAddr>) {
        self.draining = Some(alternate);
    }

    /// Signs nonces with another key; those of the old one stay good.
    pub fn rotate_nonce_key(&mut self, key: &[u8; 32]) {
        self.nonces.rotate(key);
    }

    /// Ends every allocation that the revocation covers. New ones are refused by the ledger.
    pub fn revoke(&mut self, now: Moment, what: &Revoked, actions: &mut Actions) {
        let covered: Vec<usize> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| {
                let Allocation { credential, holder, user, app, room, .. } = allocation;
                what.covers(credential, holder, user, app.as_deref(), room.as_deref())
            })
            .map(|(index, _)| index)
            .collect();
        for index in covered {
            self.counters.revoked_allocations += 1;
            self.end(now, index, actions);
        }
    }

    /// A client's connection is gone, and with it its allocation.
    pub fn client_gone(&mut self, now: Moment, client: &FiveTuple, actions: &mut Actions) {
        if let Some(&index) = self.by_tuple.get(client) {
            if self.allocations[index].tuple == *client && self.allocations[index].ticket.is_none() {
                self.end(now, index, actions);
            } else {
                self.forget_path(index, client);
            }
        }
        self.data_client_gone(client, actions);
    }

    /// Ends what has run out. Call it about once a second.
    pub fn sweep(&mut self, now: Moment, actions: &mut Actions) {
        let mut over = Vec::new();
        let mut closed = Vec::new();
        for (index, allocation) in &mut self.allocations {
            allocation.relays.retain(|relay| {
                let lives = relay.expires > now.millis;
                if !lives {
                    closed.push(*relay);
                }
                lives
            });
            allocation.permissions.retain(|permission| permission.until > now.millis);
            allocation.channels.retain(|channel| channel.until > now.millis);
            if allocation.relays.is_empty() {
                over.push(index);
            }
        }
        for relay in closed {
            self.close_relay(relay, actions);
        }
        for index in over {
            self.counters.expired_allocations += 1;
            self.end(now, index, actions);
        }
        self.shared.ledger.sweep(now.millis);
        self.sweep_paths(now);
        self.sweep_reservations(now, actions);
        self.sweep_connections(now, actions);
    }

    /// Whether this path has an allocation.
    #[must_use]
    pub fn has_client(&self, client: &FiveTuple) -> bool {
        self.by_tuple.contains_key(client)
    }

    /// How many allocations there are.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// All allocations, for people to look at.
    pub fn sessions(&self, now: Moment) -> impl Iterator<Item = SessionInfo> + '_ {
        self.allocations.iter().map(move |(_, allocation)| allocation.info(now))
    }
}
