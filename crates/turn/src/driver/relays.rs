//! Relay sockets: finding a free port, opening UDP and TCP relays, and keeping them by number.
//!
//! Invariant: a relay's port is drawn by chance from the whole range, so that nobody can guess it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{self, Datagrams, Interest, Poll, Sent};
use super::worker::Token;
use crate::config::{Config, RelayAddress};
use crate::proto::address::Family;
use crate::proto::machine::{Directory, Host, OpenedRelay, RelayId, RelayRefusal, RelayWish, Shared};

/// Ports that are tried by chance before the range is walked through.
const RANDOM_TRIES: usize = 32;

/// An open relay.
#[derive(Debug)]
pub(super) enum RelaySocket {
    Udp {
        socket: UdpSocket,
        v6: bool,
        dont_fragment: bool,
        appetite: Appetite,
    },
    /// RFC 6062: takes peers' connections; our own leave from the same address.
    Tcp {
        listener: TcpListener,
        bind: SocketAddr,
    },
}

impl RelaySocket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp { socket, .. } => socket.as_fd(),
            Self::Tcp { listener, .. } => listener.as_fd(),
        }
    }
}

/// How many packets to ask a relay's socket for: one, which spares the kernel a look into an empty queue, unless it had more
/// at a time lately. Now and then it is asked for more to find out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Appetite {
    reads: u8,
    hungry: bool,
}

impl Appetite {
    /// The most packets of one read.
    pub(super) const MOST: usize = 16;

    pub(super) const fn next(&mut self) -> usize {
        self.reads = self.reads.wrapping_add(1);
        if self.hungry || self.reads.is_multiple_of(8) { Self::MOST } else { 1 }
    }

    pub(super) const fn learn(&mut self, asked: usize, got: usize) {
        if asked > 1 {
            self.hungry = got > 1;
        }
    }
}

/// All relays of one worker.
pub(super) struct Relays {
    sockets: Slab<RelaySocket>,
    poll: Rc<Poll>,
    addresses: Vec<RelayAddress>,
    ports: RangeInclusive<u16>,
    shared: Arc<Shared>,
    receive_buffer_bytes: usize,
    send_buffer_bytes: usize,
}

impl Relays {
    pub(super) fn new(config: &Config, shared: Arc<Shared>, poll: Rc<Poll>) -> Self {
        Self {
            sockets: Slab::new(),
            poll,
            addresses: config.relays.clone(),
            ports: config.ports.clone(),
            shared,
            receive_buffer_bytes: config.receive_buffer_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
        }
    }

    pub(super) fn of(&mut self, relay: RelayId) -> Option<&mut RelaySocket> {
        self.sockets.get_mut(relay.0 as usize)
    }

    /// Sends through a relay, switched to the wanted don't-fragment state.
    pub(super) fn send(&mut self, relay: RelayId, wanted: bool, datagrams: &Datagrams<'_>) -> Sent {
        let Some(RelaySocket::Udp { socket, v6, dont_fragment, .. }) = self.of(relay) else { return Sent::default() };
        if *dont_fragment != wanted && socket::dont_fragment(socket.as_fd(), *v6, wanted).is_ok() {
            *dont_fragment = wanted;
        }
        datagrams.send(socket.as_fd())
    }

    pub(super) fn close(&mut self, relay: RelayId) {
        if let Some(socket) = self.sockets.try_remove(relay.0 as usize) {
            // Closing takes it out of the poll as well; the error of a descriptor that is gone already tells nothing.
            let _ = self.poll.remove(socket.fd());
        }
    }

    fn open(&self, address: RelayAddress, port: u16, tcp: bool) -> Option<RelaySocket> {
        let v6 = address.bind.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let (kind, protocol) = if tcp { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
        let socket = Socket::new(domain, kind.nonblocking(), Some(protocol)).ok()?;
        if v6 {
            socket.set_only_v6(true).ok()?;
        }
        let bind = SocketAddr::new(address.bind, port);
        if tcp {
            socket.set_reuse_address(true).ok()?;
            socket.set_reuse_port(true).ok()?;
            socket.bind(&bind.into()).ok()?;
            socket.listen(16).ok()?;
            return Some(RelaySocket::Tcp { listener: socket.into(), bind });
        }
        socket.bind(&bind.into()).ok()?;
        socket::set_buffers(socket.as_fd(), self.receive_buffer_bytes, self.send_buffer_bytes);
        let _ = socket::receive_errors(socket.as_fd(), v6);
        socket::receive_segments(socket.as_fd());
        Some(RelaySocket::Udp { socket: socket.into(), v6, dont_fragment: false, appetite: Appetite::default() })
    }

    fn keep(&mut self, address: RelayAddress, port: u16, socket: RelaySocket) -> Option<OpenedRelay> {
        let entry = self.sockets.vacant_entry();
        let id = RelayId(u32::try_from(entry.key()).ok()?);
        self.poll.add(socket.fd(), Token::Relay(id).into(), Interest::READ).ok()?;
        entry.insert(socket);
        Some(OpenedRelay { id, address: SocketAddr::new(address.external, port) })
    }

    /// Opens one port, and the next one for a pair.
    fn try_port(&mut self, address: RelayAddress, port: u16, wish: RelayWish) -> Option<(OpenedRelay, Option<OpenedRelay>)> {
        let directory = &self.shared.directory;
        if !self.ports.contains(&port) || taken(directory, address.external, port) {
            return None;
        }
        let first = self.open(address, port, wish.tcp)?;
        if !wish.pair {
            return Some((self.keep(address, port, first)?, None));
        }
        let next = port.checked_add(1).filter(|next| self.ports.contains(next))?;
        let second = self.open(address, next, wish.tcp)?;
        let first = self.keep(address, port, first)?;
        let Some(second) = self.keep(address, next, second) else {
            self.close(first.id);
            return None;
        };
        Some((first, Some(second)))
    }
}

fn taken(directory: &Directory, ip: IpAddr, port: u16) -> bool {
    directory.owner(SocketAddr::new(ip, port)).is_some()
}

impl Host for Relays {
    fn open_relay(&mut self, wish: RelayWish) -> Result<(OpenedRelay, Option<OpenedRelay>), RelayRefusal> {
        let of_family: Vec<_> = self.addresses.iter().copied().filter(|address| Family::of(address.external) == wish.family).collect();
        if of_family.is_empty() {
            return Err(RelayRefusal::Family);
        }
        let (low, high) = (*self.ports.start(), *self.ports.end());
        let width = usize::from(high.saturating_sub(low)) + 1;
        let mut random = [0; 2 * RANDOM_TRIES + 2];
        self.random(&mut random);
        let chosen = usize::from(u16::from_be_bytes([random[0], random[1]]));
        let address = of_family[chosen % of_family.len()];
        let step = usize::from(wish.even) + 1;
        let at = |offset: usize| {
            let port = low + u16::try_from(offset % width).expect("the width is at most 65,536");
            if wish.even { port & !1 } else { port }
        };
        let by_chance = random[2..].chunks_exact(2).map(|pair| at(usize::from(u16::from_be_bytes([pair[0], pair[1]]))));
        let start = chosen;
        let in_order = (0..width).step_by(step).map(|offset| at(start + offset));
        for port in by_chance.chain(in_order) {
            if let Some(opened) = self.try_port(address, port, wish) {
                return Ok(opened);
            }
        }
        Err(RelayRefusal::Capacity)
    }

    fn random(&mut self, into: &mut [u8]) {
        // Without the system's randomness nothing here can be trusted: tokens and ports would be guessable.
        getrandom::fill(into).expect("the system has random numbers");
    }
}
