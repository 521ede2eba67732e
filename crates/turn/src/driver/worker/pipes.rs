//! RFC 6062: connections to peers, and the pipes between them and client connections.
//!
//! Invariant: a side is read only while the other side has room, so a pipe holds little more than one read.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use socket2::{Domain, Protocol, Socket, Type};

use super::perform::Origin;
use super::{Worker, prepare};
use crate::driver::relays::RelaySocket;
use crate::driver::socket::{Interest, Ready};
use crate::driver::streams::flush_plain;
use crate::driver::worker::Token;
use crate::proto::machine::{Connection, FiveTuple, RelayId};

/// Bytes that may wait for one side before the other is read no more.
const PIPE_BYTES: usize = 128 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Waiting,
    Joined(u32),
}

/// A connection between a relay and a peer.
pub(super) struct Peer {
    socket: TcpStream,
    stage: Stage,
    output: Vec<u8>,
    interest: Interest,
    closing: bool,
}

impl Worker {
    pub(super) fn connect_peer(&mut self, relay: RelayId, connection: Connection, peer: SocketAddr) {
        let begun = self.begin_connect(relay, peer).and_then(|socket| {
            self.poll.add(socket.as_fd(), Token::Peer(connection).into(), Interest { read: false, write: true }).ok()?;
            Some(socket)
        });
        match begun {
            Some(socket) => self.add_peer(connection, socket, Stage::Connecting, Interest { read: false, write: true }),
            None => self.outcomes.push((connection, false)),
        }
    }

    fn add_peer(&mut self, connection: Connection, socket: TcpStream, stage: Stage, interest: Interest) {
        self.peers.insert(connection, Peer { socket, stage, output: Vec::new(), interest, closing: false });
    }

    fn begin_connect(&mut self, relay: RelayId, peer: SocketAddr) -> Option<TcpStream> {
        let Some(RelaySocket::Tcp { bind, .. }) = self.relays.of(relay) else { return None };
        let domain = if peer.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)).ok()?;
        socket.set_reuse_address(true).ok()?;
        socket.set_reuse_port(true).ok()?;
        socket.bind(&(*bind).into()).ok()?;
        socket.set_tcp_nodelay(true).ok()?;
        match socket.connect(&peer.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(_) => return None,
        }
        Some(socket.into())
    }

    /// A peer has connected to a TCP relay.
    pub(super) fn relay_accept(&mut self, relay: RelayId) {
        loop {
            let Some(RelaySocket::Tcp { listener, .. }) = self.relays.of(relay) else { return };
            let Ok((socket, peer)) = listener.accept() else { return };
            if prepare(&socket).is_err() {
                continue;
            }
            let connection = self.machine.incoming(self.now, relay, peer, &mut self.relays, &mut self.actions);
            if let Some(connection) = connection
                && self.poll.add(socket.as_fd(), Token::Peer(connection).into(), Interest::default()).is_ok()
            {
                self.add_peer(connection, socket, Stage::Waiting, Interest::default());
            }
            self.perform(Origin::Nothing);
        }
    }

    pub(super) fn join(&mut self, connection: Connection, client: &FiveTuple) {
        let stream = self.streams.get_mut(client.path as usize).filter(|stream| stream.tuple == *client);
        let (Some(peer), Some(stream)) = (self.peers.get_mut(&connection), stream) else { return };
        peer.stage = Stage::Joined(client.path);
        stream.joined = Some(connection);
        self.update_peer(connection);
    }

    pub(super) fn disconnect_peer(&mut self, connection: Connection) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.closing = true;
            self.flush_peer(connection);
        }
    }

    pub(super) fn peer_ready(&mut self, connection: Connection, ready: Ready) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        match peer.stage {
            Stage::Connecting => {
                let success = matches!(peer.socket.take_error(), Ok(None)) && peer.socket.peer_addr().is_ok();
                peer.stage = Stage::Waiting;
                self.outcomes.push((connection, success));
                if success {
                    self.update_peer(connection);
                } else {
                    self.drop_peer(connection);
                }
            }
            // Nobody reads yet: only the end of the connection wakes it.
            Stage::Waiting => self.lose_peer(connection),
            Stage::Joined(stream) => {
                if ready.writable {
                    self.flush_peer(connection);
                }
                if ready.readable {
                    self.pipe_to_client(connection, stream);
                }
            }
        }
    }

    fn pipe_to_client(&mut self, connection: Connection, index: u32) {
        let (Some(peer), Some(stream)) = (self.peers.get_mut(&connection), self.streams.get_mut(index as usize)) else { return };
        if !peer.interest.read {
            return;
        }
        match peer.socket.read(&mut self.scratch) {
            Ok(0) => self.lose_peer(connection),
            Ok(count) => {
                stream.push(&self.scratch[..count]);
                self.dirty.push(index);
                self.update_peer(connection);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(_) => self.lose_peer(connection),
        }
    }

    /// Gives the peer what its client has sent.
    pub(super) fn pipe_to_peer(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index as usize) else { return };
        let Some(connection) = stream.joined else { return };
        let input = std::mem::take(&mut stream.input);
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        peer.output.extend_from_slice(&input);
        self.flush_peer(connection);
    }

    fn flush_peer(&mut self, connection: Connection) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let result = flush_plain(&peer.socket, &mut peer.output);
        let stage = peer.stage;
        let over = peer.closing && peer.output.is_empty();
        match result {
            Ok(()) if over => self.drop_peer(connection),
            Ok(()) => self.update_peer(connection),
            Err(_) => self.lose_peer(connection),
        }
        if let Stage::Joined(stream) = stage {
            self.dirty.push(stream);
        }
    }

    /// The peer's side has ended: the client's side is closed when it has everything.
    fn lose_peer(&mut self, connection: Connection) {
        self.drop_peer(connection);
        self.machine.peer_gone(connection, &mut self.actions);
        self.perform(Origin::Nothing);
    }

    fn drop_peer(&mut self, connection: Connection) {
        if let Some(peer) = self.peers.remove(&connection) {
            let _ = self.poll.remove(peer.socket.as_fd());
        }
    }

    fn update_peer(&mut self, connection: Connection) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let room = match peer.stage {
            Stage::Joined(stream) => self.streams.get(stream as usize).is_some_and(|stream| stream.backlog() < PIPE_BYTES),
            Stage::Connecting | Stage::Waiting => false,
        };
        let wanted = Interest { read: room && !peer.closing, write: !peer.output.is_empty() };
        if peer.interest != wanted {
            peer.interest = wanted;
            let _ = self.poll.modify(peer.socket.as_fd(), Token::Peer(connection).into(), wanted);
        }
    }

    /// Whether the peer of this stream has enough to do.
    pub(super) fn peer_is_full(&self, index: u32) -> bool {
        let joined = self.streams.get(index as usize).and_then(|stream| stream.joined);
        joined.and_then(|connection| self.peers.get(&connection)).is_some_and(|peer| peer.output.len() >= PIPE_BYTES)
    }

    /// A stream has room again: its peer may be read.
    pub(super) fn resume_peer(&mut self, index: u32) {
        if let Some(connection) = self.streams.get(index as usize).and_then(|stream| stream.joined) {
            self.update_peer(connection);
        }
    }
}
