//! One worker: a thread with its own poll, sockets, machine and allocations. It shares nothing that a packet has to lock.
//!
//! A round is: wait, handle every ready socket, send what has gathered, publish the counters. Packets are read in batches into the
//! arena, the machine names which part of them goes where, and the outboxes send them on from there.

mod orders;
mod perform;
mod pipes;
mod tcp;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;
use slab::Slab;

use self::pipes::Peer;
use super::mailbox::{Across, Mailbox, Post};
use super::outbox::Outbox;
use super::relays::Relays;
use super::socket::{Arena, BATCH, Interest, Poll, Ready, Received};
use super::streams::{Guests, Stream};
use crate::config::Config;
use crate::proto::machine::{Actions, Connection, Counters, FiveTuple, Machine, Moment, RelayId, Shared};

type Fast = foldhash::fast::RandomState;

/// Between two sweeps.
const SWEEP_MILLIS: u64 = 1000;
/// A busy worker rests this long between two rounds (the kernel adds about 50), so that each round finds several packets
/// and not one: waking up costs more than relaying. A network card does the same with its interrupts.
const NAP: Duration = Duration::from_micros(200);
/// Packets per millisecond from which a worker counts as busy.
const BUSY_PACKETS: u64 = 8;
/// Clients that were handed over and whose datagrams still arrive here.
const FOREIGN_MAX: usize = 4096;

/// What a descriptor in the poll is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Mailbox,
    Udp(u32),
    Listener(u32),
    Relay(RelayId),
    Stream(u32),
    Peer(Connection),
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        let (kind, value) = match token {
            Token::Mailbox => (0, 0),
            Token::Udp(index) => (1, index),
            Token::Listener(index) => (2, index),
            Token::Relay(relay) => (3, relay.0),
            Token::Stream(index) => (4, index),
            Token::Peer(connection) => (5, connection.0),
        };
        (kind << 32) | Self::from(value)
    }
}

impl From<u64> for Token {
    fn from(number: u64) -> Self {
        let [_, _, _, kind, a, b, c, d] = number.to_be_bytes();
        let value = u32::from_be_bytes([a, b, c, d]);
        match kind {
            1 => Self::Udp(value),
            2 => Self::Listener(value),
            3 => Self::Relay(RelayId(value)),
            4 => Self::Stream(value),
            5 => Self::Peer(Connection(value)),
            _ => Self::Mailbox,
        }
    }
}

/// Both clocks; all workers count milliseconds from the same start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(pub(super) Instant);

impl Clock {
    pub(super) fn now(self) -> Moment {
        // The first second is left out so that no time in the machine is before zero.
        let millis = self.0.elapsed() + Duration::from_secs(1);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Moment { millis: u64::try_from(millis.as_millis()).unwrap_or(u64::MAX), unix }
    }
}

/// What a worker shows to the world.
#[derive(Debug)]
pub(super) struct Board {
    counters: [AtomicU64; Counters::COUNT],
    allocations: AtomicU64,
}

impl Default for Board {
    fn default() -> Self {
        Self { counters: [const { AtomicU64::new(0) }; Counters::COUNT], allocations: AtomicU64::new(0) }
    }
}

impl Board {
    pub(super) fn counters(&self) -> Counters {
        Counters::from_values(std::array::from_fn(|at| self.counters[at].load(Ordering::Relaxed)))
    }

    pub(super) fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }
}

/// Whether there is so much to do that gathering packets is worth a short wait.
#[derive(Debug, Default)]
struct Pace {
    busy: bool,
    since: u64,
    packets: u64,
}

impl Pace {
    /// Takes the total of packets into account; true when the worker is busy no more.
    const fn calms_down(&mut self, millis: u64, packets: u64) -> bool {
        let passed = millis - self.since;
        if passed == 0 {
            return false;
        }
        let was_busy = self.busy;
        self.busy = (packets - self.packets) / passed >= BUSY_PACKETS;
        (self.since, self.packets) = (millis, packets);
        was_busy && !self.busy
    }
}

/// A UDP listener with what waits to leave through it.
struct UdpListener {
    socket: UdpSocket,
    address: SocketAddr,
    outbox: Outbox,
}

struct StreamListener {
    socket: TcpListener,
    tls_only: bool,
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) index: u8,
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    pub(super) guests: Arc<Guests>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    pub(super) nonce_key: [u8; 32],
    pub(super) seed: [u8; 12],
    pub(super) udp: Vec<UdpSocket>,
    pub(super) streams: Vec<(TcpListener, bool)>,
    pub(super) posts: Vec<Post>,
    pub(super) mailbox: Mailbox,
}

pub(super) struct Worker {
    index: u8,
    config: Arc<Config>,
    guests: Arc<Guests>,
    board: Arc<Board>,
    clock: Clock,
    now: Moment,
    poll: Rc<Poll>,
    machine: Machine,
    relays: Relays,
    udp: Vec<UdpListener>,
    listeners: Vec<StreamListener>,
    streams: Slab<Stream>,
    peers: HashMap<Connection, Peer, Fast>,
    posts: Vec<Post>,
    mailbox: Mailbox,
    /// Clients that another worker has, and when a datagram of theirs last came here.
    foreign: HashMap<FiveTuple, (u8, u64), Fast>,
    arena: Arena,
    /// Slots of the arena whose packets wait in an outbox.
    used_slots: usize,
    received: Vec<Received>,
    actions: Actions,
    up: Outbox,
    across: Vec<Across>,
    /// Streams with something to write.
    dirty: Vec<u32>,
    /// Streams to close.
    doomed: Vec<u32>,
    /// RFC 6062 attempts that are decided.
    outcomes: Vec<(Connection, bool)>,
    scratch: Vec<u8>,
    pace: Pace,
    next_sweep: u64,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { index, config, shared, guests, board, clock, nonce_key, seed, udp, streams, posts, mailbox } = parts;
        let poll = Rc::new(Poll::new()?);
        poll.add(mailbox.fd(), Token::Mailbox.into(), Interest::READ)?;
        let mut udp_listeners = Vec::new();
        for socket in udp {
            let token = Token::Udp(u32::try_from(udp_listeners.len()).unwrap_or(u32::MAX));
            poll.add(socket.as_fd(), token.into(), Interest::READ)?;
            let address = socket.local_addr()?;
            udp_listeners.push(UdpListener { socket, address, outbox: Outbox::new() });
        }
        let mut listeners = Vec::new();
        for (socket, tls_only) in streams {
            let token = Token::Listener(u32::try_from(listeners.len()).unwrap_or(u32::MAX));
            poll.add(socket.as_fd(), token.into(), Interest::READ)?;
            listeners.push(StreamListener { socket, tls_only });
        }
        let settings = Arc::new(config.settings.clone());
        let now = clock.now();
        Ok(Self {
            index,
            guests,
            board,
            clock,
            now,
            relays: Relays::new(&config, Arc::clone(&shared), Rc::clone(&poll)),
            machine: Machine::new(settings, shared, index, &nonce_key, seed),
            config,
            poll,
            udp: udp_listeners,
            listeners,
            streams: Slab::new(),
            peers: HashMap::default(),
            across: posts.iter().map(|_| Across::default()).collect(),
            posts,
            mailbox,
            foreign: HashMap::default(),
            arena: Arena::new(),
            used_slots: 0,
            received: Vec::new(),
            actions: Actions::default(),
            up: Outbox::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            outcomes: Vec::new(),
            scratch: vec![0; super::streams::READ_BYTES],
            pace: Pace { since: now.millis, ..Pace::default() },
            next_sweep: now.millis + SWEEP_MILLIS,
            stopping: false,
        })
    }

    /// Waits for something to do. A busy worker doesn't wait but naps, and reads its letters without being rung.
    fn wait(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        if self.pace.busy {
            self.mailbox.expect();
            // After a full batch there is more already.
            if self.received.len() < BATCH / 2 {
                std::thread::sleep(NAP);
            }
            return self.poll.wait(ready, 0);
        }
        let wait = self.next_sweep.saturating_sub(self.now.millis).min(SWEEP_MILLIS);
        self.poll.wait(ready, i32::try_from(wait).unwrap_or(1000))
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        while !self.stopping {
            if let Err(error) = self.wait(&mut ready) {
                tracing::error!(%error, worker = self.index, "the relay's poll failed; this worker stops");
                return;
            }
            self.now = self.clock.now();
            for one in &ready {
                self.dispatch(*one);
            }
            if self.pace.busy {
                self.read_mail();
            }
            if self.now.millis >= self.next_sweep {
                self.next_sweep = self.now.millis + SWEEP_MILLIS;
                self.sweep();
            }
            self.flush();
            self.publish();
            let counters = &self.machine.counters;
            if self.pace.calms_down(self.now.millis, counters.packets_to_peers + counters.packets_to_clients) {
                // From now on the bell is needed again.
                self.mail_ready();
                self.flush();
            }
        }
    }

    fn dispatch(&mut self, ready: Ready) {
        match Token::from(ready.token) {
            Token::Udp(listener) => self.udp_ready(listener),
            Token::Relay(relay) => self.relay_ready(relay, ready),
            Token::Mailbox => self.mail_ready(),
            Token::Listener(listener) => self.listener_ready(listener),
            Token::Stream(stream) => self.stream_ready(stream, ready),
            Token::Peer(connection) => self.peer_ready(connection, ready),
        }
    }

    fn sweep(&mut self) {
        self.machine.sweep(self.now, &mut self.actions);
        self.perform(perform::Origin::Nothing);
        self.sweep_streams();
        let oldest = self.now.millis.saturating_sub(u64::from(self.config.settings.lifetime_max_seconds) * 1000);
        self.foreign.retain(|_, (_, seen)| *seen > oldest);
    }

    /// Sends everything that has gathered. Afterwards the arena's slots are free.
    fn flush(&mut self) {
        self.settle();
        self.flush_datagrams();
        for (worker, across) in self.across.iter_mut().enumerate() {
            if across.packets.is_empty() {
                continue;
            }
            let packets = across.packets.len() as u64;
            if self.posts[worker].send(super::mailbox::Letter::Across(std::mem::take(across))).is_err() {
                self.machine.counters.dropped_hairpin += packets;
            }
        }
    }

    fn flush_datagrams(&mut self) {
        let relays = &mut self.relays;
        let mut all =
            self.up.flush(self.arena.bytes(), |relay, dont_fragment, datagrams| relays.send(RelayId(relay), dont_fragment, datagrams));
        for listener in &mut self.udp {
            let fd = listener.socket.as_fd();
            let sent = listener.outbox.flush(self.arena.bytes(), |_, _, datagrams| datagrams.send(fd));
            all.send_buffer_full += sent.send_buffer_full;
            all.too_big += sent.too_big;
            all.unreachable += sent.unreachable;
        }
        let counters = &mut self.machine.counters;
        counters.dropped_send_buffer += all.send_buffer_full;
        counters.dropped_too_big += all.too_big;
        counters.dropped_unreachable += all.unreachable;
        self.used_slots = 0;
    }

    fn publish(&self) {
        for (slot, value) in self.board.counters.iter().zip(self.machine.counters.values()) {
            slot.store(value, Ordering::Relaxed);
        }
        self.board.allocations.store(self.machine.allocations() as u64, Ordering::Relaxed);
    }

    fn add_stream(&mut self, mut stream: Stream) -> Option<u32> {
        let entry = self.streams.vacant_entry();
        let index = u32::try_from(entry.key()).ok()?;
        stream.tuple.path = index;
        stream.interest = Interest::READ;
        self.poll.add(stream.fd(), Token::Stream(index).into(), Interest::READ).ok()?;
        entry.insert(stream);
        Some(index)
    }
}

/// Small packets leave at once.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_busy_by_what_it_relays() {
        let mut pace = Pace::default();
        let mut total = 0;
        for (millis, packets, busy, calmed) in [
            (1, 7, false, false),
            (2, 8, true, false),
            (2, 100, true, false),
            (4, 0, true, false),
            (9, 3, false, true),
            (10, 0, false, false),
        ] {
            total += packets;
            assert_eq!((pace.calms_down(millis, total), pace.busy), (calmed, busy), "at {millis}");
        }
    }
}
