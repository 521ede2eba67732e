//! The Linux half: sockets, threads, and the handle that an embedder holds.
//!
//! ```text
//! listener (SO_REUSEPORT, one per worker) ─▶ worker 0: poll, machine, relays ─▶ peers
//!                                         ─▶ worker 1: …            ▲ hairpins, hand-overs: letters
//! ```
//!
//! Invariant: workers share no lock that a relayed packet would take.

mod mailbox;
mod outbox;
mod relays;
mod socket;
mod streams;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustls::ServerConnection;
use socket2::{Domain, Protocol, Socket, Type};

use self::mailbox::{Order, Post, mailbox};
use self::streams::{Guests, Stream};
use self::worker::{Board, Clock, Parts, Worker};
use crate::config::{Config, RelayAddress};
use crate::credentials::Revoked;
use crate::proto::machine::{Counters, FiveTuple, SessionInfo, Shared, Transport};

/// Why a relay didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to listen on.
    #[error("the relay has no listener: set an address for udp, tcp or tls")]
    NoListener,
    /// TLS without certificates.
    #[error("a TLS listener needs certificates: set a TLS configuration or remove {0} from tls")]
    NoCertificates(SocketAddr),
    /// No ports for relays.
    #[error("the relay's port range {0}-{1} is empty or starts at 0: set ports to something like 49152-65535")]
    NoPorts(u16, u16),
    /// A listener can't be bound.
    #[error("{transport} {address} can't be bound: {source}; is another server running there, or the address not this machine's?")]
    Bind {
        /// Which kind.
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// RFC 5780 needs two addresses and two ports.
    #[error("behaviour discovery needs two different IP addresses and two different ports, got {0} and {1}")]
    Discovery(SocketAddr, SocketAddr),
    /// A thread or a poll can't be made.
    #[error("the relay's workers can't be started: {0}")]
    Worker(#[from] io::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// An address that the relay listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// UDP, TCP, or TLS only.
    pub transport: Transport,
    /// With the port that the system chose, if it was asked to.
    pub address: SocketAddr,
}

/// What the relay has done and has now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Totals over all workers.
    pub counters: Counters,
    /// Allocations now.
    pub allocations: u64,
    /// TCP and TLS connections now.
    pub connections: u64,
    /// Allocations of each worker.
    pub by_worker: Vec<u64>,
}

/// The relay as a whole; see [`start`](Self::start).
#[derive(Debug)]
pub struct TurnServer;

/// A running relay. Dropping it stops the relay without waiting.
pub struct Handle {
    bound: Vec<Bound>,
    relays: Vec<RelayAddress>,
    posts: Vec<Post>,
    boards: Vec<Arc<Board>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    guests: Arc<Guests>,
    config: Arc<Config>,
    clock: Clock,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Handle").field("bound", &self.bound).field("relays", &self.relays).finish_non_exhaustive()
    }
}

impl TurnServer {
    /// Binds everything and starts the workers. When it returns, clients are served.
    pub fn start(mut config: Config) -> Result<Handle, StartError> {
        socket::raise_file_limit();
        check(&mut config)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Half of the cores: the kernel's side of the work needs the others, and fewer, busier workers find larger batches.
        let workers = if config.workers == 0 { u8::try_from(cores / 2).unwrap_or(64).clamp(1, 64) } else { config.workers };
        let (sockets, bound) = bind_all(&config, workers)?;
        if config.relays.is_empty() {
            config.relays = own_addresses(&bound);
        }
        deny_own_doors(&mut config, &bound);
        let mut random = [0; 32 + 8];
        getrandom::fill(&mut random).map_err(|error| StartError::Random(error.to_string()))?;
        let (drawn_key, seed) = random.split_first_chunk::<32>().expect("forty bytes");
        let nonce_key = config.nonce_key.unwrap_or(*drawn_key);
        let seed = u64::from_be_bytes(seed.try_into().expect("eight bytes"));
        let external = config.relays.iter().map(|relay| relay.external).collect();
        let shared = Arc::new(Shared::new(&config.settings, Arc::clone(&config.authorize), external, workers, seed));
        let config = Arc::new(config);
        let (guests, clock) = (Arc::new(Guests::default()), Clock(Instant::now()));
        let (posts, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mailbox()).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let mut handle =
            Handle { bound, relays: config.relays.clone(), posts, boards: Vec::new(), threads: Vec::new(), shared, guests, config, clock };
        for ((index, sockets), mailbox) in (0..workers).zip(sockets).zip(mailboxes) {
            let mut seed = [0; 12];
            getrandom::fill(&mut seed).map_err(|error| StartError::Random(error.to_string()))?;
            handle.start_worker(Parts {
                index,
                config: Arc::clone(&handle.config),
                shared: Arc::clone(&handle.shared),
                guests: Arc::clone(&handle.guests),
                board: Arc::default(),
                clock,
                nonce_key,
                seed,
                udp: sockets.udp,
                streams: sockets.streams,
                posts: handle.posts.clone(),
                mailbox,
            })?;
        }
        // Where it listens is for the program to say, which knows its readers.
        tracing::debug!(
            workers,
            bound = list(handle.bound.iter().map(|bound| format!("{} {}", bound.transport, bound.address))),
            relays = list(handle.relays.iter().map(|relay| relay.external.to_string())),
            "the relay serves"
        );
        Ok(handle)
    }
}

/// Items on one line, the same in text and in JSON.
fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// One worker's share of every listener.
#[derive(Default)]
struct Listeners {
    udp: Vec<UdpSocket>,
    streams: Vec<(TcpListener, bool)>,
}

fn check(config: &mut Config) -> Result<(), StartError> {
    if let Some(discovery) = config.settings.discovery {
        let (one, other) = (discovery.primary, discovery.other);
        if one.ip() == other.ip() || one.port() == other.port() || one.is_ipv4() != other.is_ipv4() {
            return Err(StartError::Discovery(one, other));
        }
        for address in discovery.addresses() {
            if !config.udp.contains(&address) {
                config.udp.push(address);
            }
        }
    }
    if config.udp.is_empty() && config.tcp.is_empty() && config.tls.is_empty() {
        return Err(StartError::NoListener);
    }
    if let (Some(address), None) = (config.tls.first(), &config.tls_config) {
        return Err(StartError::NoCertificates(*address));
    }
    let (low, high) = (*config.ports.start(), *config.ports.end());
    if low == 0 || low > high {
        return Err(StartError::NoPorts(low, high));
    }
    Ok(())
}

/// Binds each listener once per worker. A port 0 is chosen by the first and then shared.
fn bind_all(config: &Config, workers: u8) -> Result<(Vec<Listeners>, Vec<Bound>), StartError> {
    let mut all: Vec<Listeners> = (0..workers).map(|_| Listeners::default()).collect();
    let mut bound = Vec::new();
    for wanted in &config.udp {
        let failed = |source| StartError::Bind { transport: "UDP", address: *wanted, source };
        let mut address = *wanted;
        for listeners in &mut all {
            let socket = bind_udp(address, config).map_err(failed)?;
            address = socket.local_addr().map_err(failed)?;
            listeners.udp.push(socket);
        }
        bound.push(Bound { transport: Transport::Udp, address });
    }
    let streams = config.tcp.iter().map(|address| (*address, false)).chain(config.tls.iter().map(|address| (*address, true)));
    for (wanted, tls_only) in streams {
        let transport = if tls_only { "TLS" } else { "TCP" };
        let failed = |source| StartError::Bind { transport, address: wanted, source };
        let mut address = wanted;
        for listeners in &mut all {
            let socket = bind_tcp(address).map_err(failed)?;
            address = socket.local_addr().map_err(failed)?;
            listeners.streams.push((socket, tls_only));
        }
        bound.push(Bound { transport: if tls_only { Transport::Tls } else { Transport::Tcp }, address });
    }
    Ok((all, bound))
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind_udp(address: SocketAddr, config: &Config) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    // All clients of a worker share it, so it is given four times what a relay has.
    socket::set_buffers(socket.as_fd(), config.receive_buffer_bytes.saturating_mul(4), config.send_buffer_bytes.saturating_mul(4));
    if address.ip().is_unspecified() {
        socket::receive_destination(socket.as_fd(), address.is_ipv6())?;
    }
    socket::receive_segments(socket.as_fd());
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// The addresses that clients already use; a wildcard stands for the address of the default route.
fn own_addresses(bound: &[Bound]) -> Vec<RelayAddress> {
    let mut relays = Vec::new();
    for ip in bound.iter().map(|bound| bound.address.ip()) {
        let relay = if ip.is_unspecified() { default_route(ip).map(RelayAddress::direct) } else { Some(RelayAddress::direct(ip)) };
        relays.extend(relay.filter(|relay| !relays.contains(relay)));
    }
    relays
}

/// Connecting a UDP socket sends nothing; it only asks the routing table.
fn default_route(unspecified: IpAddr) -> Option<IpAddr> {
    let far: SocketAddr = if unspecified.is_ipv4() { "192.0.2.1:9".parse().ok()? } else { "[2001:db8::1]:9".parse().ok()? };
    let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// No client reaches the relay's own listeners through the relay, neither inside nor outside of an address mapping.
fn deny_own_doors(config: &mut Config, bound: &[Bound]) {
    for Bound { address, .. } in bound {
        config.settings.peers.deny_own(*address);
        for relay in &config.relays {
            config.settings.peers.deny_own(SocketAddr::new(relay.external, address.port()));
        }
    }
}

impl Handle {
    fn start_worker(&mut self, parts: Parts) -> Result<(), StartError> {
        self.boards.push(Arc::clone(&parts.board));
        let (ready, started) = mpsc::channel();
        // The worker is made on its own thread: its poll and its relays never leave it.
        let thread = std::thread::Builder::new().name(format!("turn-{}", parts.index)).spawn(move || match Worker::new(parts) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                worker.run();
            }
            Err(error) => drop(ready.send(Err(error))),
        })?;
        self.threads.push(thread);
        let gone = || io::Error::other("the worker's thread ended");
        started.recv().map_err(|_| gone())??;
        Ok(())
    }

    /// Where the relay listens.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// The first listener of a transport.
    #[must_use]
    pub fn address(&self, transport: Transport) -> Option<SocketAddr> {
        self.bound.iter().find(|bound| bound.transport == transport).map(|bound| bound.address)
    }

    /// Addresses that relays are opened on.
    #[must_use]
    pub fn relays(&self) -> &[RelayAddress] {
        &self.relays
    }

    /// What the relay has done and has now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut totals = [0; Counters::COUNT];
        for board in &self.boards {
            for (total, value) in totals.iter_mut().zip(board.counters().values()) {
                *total += value;
            }
        }
        let by_worker: Vec<u64> = self.boards.iter().map(|board| board.allocations()).collect();
        Stats {
            counters: Counters::from_values(totals),
            allocations: by_worker.iter().sum(),
            connections: self.guests.total() as u64,
            by_worker,
        }
    }

    /// Every allocation, for people to look at.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let (answer, answers) = mpsc::channel();
        for post in &self.posts {
            post.order(Order::Sessions(answer.clone()));
        }
        drop(answer);
        answers.iter().flatten().collect()
    }

    /// Ends the allocations that the revocation covers, and refuses such credentials until a time (seconds since 1970).
    /// Take the moment at which the last credential of that kind expires.
    pub fn revoke(&self, what: Revoked, until_unix: u64) {
        self.shared.ledger.revoke(what.clone(), until_unix);
        self.end(what);
    }

    /// Ends the allocations that are covered now, and refuses nothing.
    pub fn end(&self, what: Revoked) {
        for post in &self.posts {
            post.order(Order::Revoke(what.clone()));
        }
    }

    /// Refuses new allocations from now on, with 300 and another server's address, or with 508. Those that exist stay.
    pub fn drain(&self, alternate: Option<SocketAddr>) {
        for post in &self.posts {
            post.order(Order::Drain(alternate));
        }
    }

    /// Signs nonces with another key; nonces of the key before stay good.
    pub fn rotate_nonce_key(&self, key: [u8; 32]) {
        for post in &self.posts {
            post.order(Order::NonceKey(Box::new(key)));
        }
    }

    /// Takes in a client's connection that someone else has accepted, such as a front door that shares port 443: the socket, its
    /// TLS session if it has one, and what was read (and decrypted) already. The error gives the reason why not.
    pub fn adopt(&self, socket: TcpStream, tls: Option<Box<ServerConnection>>, read: Vec<u8>) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let (client, server) = (socket.peer_addr()?, socket.local_addr()?);
        let full = || io::Error::other("the relay has as many connections as streams.connections_max or source_connections_max allow");
        let guest = self.guests.admit(client.ip(), &self.config.streams).ok_or_else(full)?;
        let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let tuple = FiveTuple { transport, path: 0, client, server };
        let stream = Stream::adopted(socket, tls, tuple, guest, self.clock.now().millis);
        let worker = usize::from(client.port()) % self.posts.len().max(1);
        self.posts[worker].order(Order::Adopt(Box::new(stream), read));
        Ok(())
    }

    /// Tells the workers to stop. Allocations end without a word: TURN has none for it.
    pub fn stop(&self) {
        for post in &self.posts {
            post.order(Order::Stop);
        }
    }

    /// Stops the relay and waits until all its threads have ended.
    pub fn join(mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so; there is nothing left to clean up.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
