//! One TCP or TLS client: bytes to frames, frames to bytes, and how much of either may wait.
//!
//! A connection tells by its first byte whether it is TLS (0x16). Frames are STUN messages (their length is in the header)
//! and ChannelData rounded up to four bytes; anything else ends the connection.
//!
//! Invariant: nothing is ever written in part and then given up, so a slow client loses whole packets only.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use rustls::{ServerConfig, ServerConnection};

use super::socket::Interest;
use crate::config::StreamLimits;
use crate::proto::machine::{Connection, FiveTuple, Transport};
use crate::proto::message::HEADER_BYTES;

/// Read at once from one connection, so that one busy client doesn't starve the others.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Encrypted before the next write.
const ENCRYPT_BYTES: usize = 16 * 1024;
const TLS_HANDSHAKE: u8 = 0x16;

/// Counts connections, in all and by source, over all workers.
#[derive(Debug, Default)]
pub(super) struct Guests {
    total: AtomicUsize,
    sources: Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
}

/// One counted connection; dropping it counts down.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    source: IpAddr,
}

impl Guests {
    /// Lets one more in, if there is room.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr, limits: &StreamLimits) -> Option<Guest> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = sources.get(&source).copied().unwrap_or(0);
        if self.total.load(Ordering::Relaxed) >= limits.connections_max || of_source >= limits.source_connections_max {
            return None;
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        sources.insert(source, of_source + 1);
        Some(Guest { guests: Arc::clone(self), source })
    }

    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.total.fetch_sub(1, Ordering::Relaxed);
        let mut sources = self.guests.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// What the first byte decides.
enum Carrier {
    Unknown(Arc<ServerConfig>),
    Plain,
    Tls(Box<ServerConnection>),
}

/// One client's connection.
pub(super) struct Stream {
    socket: TcpStream,
    carrier: Carrier,
    tls_only: bool,
    pub(super) tuple: FiveTuple,
    /// Read and not handled.
    pub(super) input: Vec<u8>,
    /// To be written, before encryption.
    output: Vec<u8>,
    /// Since when it is without an allocation, in milliseconds.
    pub(super) since: u64,
    /// RFC 6062: one pipe with this peer connection.
    pub(super) joined: Option<Connection>,
    pub(super) interest: Interest,
    /// Close it as soon as everything is written.
    pub(super) closing: bool,
    _guest: Guest,
}

/// What a frame at the beginning of some bytes looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// More bytes are needed.
    Partial,
    /// The first frame has this length.
    Whole(usize),
    /// Neither STUN nor ChannelData.
    Alien,
}

/// Finds the first frame.
pub(super) fn first_frame(bytes: &[u8]) -> Frame {
    let Some(&first) = bytes.first() else { return Frame::Partial };
    if !matches!(first, 0x00..=0x03 | 0x40..=0x7F) {
        return Frame::Alien;
    }
    let Some(head) = bytes.first_chunk::<4>() else { return Frame::Partial };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let whole = if first < 4 { HEADER_BYTES + length } else { 4 + length.next_multiple_of(4) };
    if bytes.len() < whole { Frame::Partial } else { Frame::Whole(whole) }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Stream {
    /// A connection that was just accepted; with a TLS configuration its first byte decides.
    pub(super) fn new(socket: TcpStream, tls: Option<Arc<ServerConfig>>, tls_only: bool, tuple: FiveTuple, guest: Guest, now: u64) -> Self {
        let carrier = tls.map_or(Carrier::Plain, Carrier::Unknown);
        Self::with(socket, carrier, tls_only, tuple, guest, now)
    }

    /// A connection whose first bytes someone else has read, with its TLS session if it has one.
    pub(super) fn adopted(socket: TcpStream, tls: Option<Box<ServerConnection>>, tuple: FiveTuple, guest: Guest, now: u64) -> Self {
        let carrier = tls.map_or(Carrier::Plain, |mut tls| {
            tls.set_buffer_limit(None);
            Carrier::Tls(tls)
        });
        Self::with(socket, carrier, false, tuple, guest, now)
    }

    fn with(socket: TcpStream, carrier: Carrier, tls_only: bool, tuple: FiveTuple, guest: Guest, now: u64) -> Self {
        Self {
            socket,
            carrier,
            tls_only,
            tuple,
            input: Vec::new(),
            output: Vec::new(),
            since: now,
            joined: None,
            interest: Interest::READ,
            closing: false,
            _guest: guest,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the TLS handshake, or even the first byte, is still awaited.
    pub(super) fn is_opening(&self) -> bool {
        match &self.carrier {
            Carrier::Unknown(_) => true,
            Carrier::Plain => false,
            Carrier::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Reads what is there into `input`. `Ok(false)` is the end of the stream.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    // More may wait; the poll will say so after the others had their turn.
                    return self.take_in(&scratch[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// `Ok(false)` when the client has closed its TLS session; some wait for the answer before they close the connection.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.decide(bytes[0])?;
        let Carrier::Tls(tls) = &mut self.carrier else {
            self.input.extend_from_slice(bytes);
            return Ok(true);
        };
        let mut rest = bytes;
        let mut open = true;
        while open && !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            open = !tls.process_new_packets().map_err(broken)?.peer_has_closed();
            match tls.reader().read_to_end(&mut self.input) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(open)
    }

    fn decide(&mut self, first: u8) -> io::Result<()> {
        let Carrier::Unknown(config) = &self.carrier else { return Ok(()) };
        if first == TLS_HANDSHAKE {
            let mut tls = ServerConnection::new(Arc::clone(config)).map_err(broken)?;
            // Our own queue is the bounded one; what is given to rustls is always written as a whole.
            tls.set_buffer_limit(None);
            self.carrier = Carrier::Tls(Box::new(tls));
            self.tuple.transport = Transport::Tls;
        } else if self.tls_only {
            return Err(io::ErrorKind::InvalidData.into());
        } else {
            self.carrier = Carrier::Plain;
        }
        Ok(())
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.output.len()
    }

    /// Queues bytes that must not be lost.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.carrier {
            Carrier::Tls(tls) => flush_tls(tls, &self.socket, &mut self.output, self.joined.is_none()),
            Carrier::Plain | Carrier::Unknown(_) => flush_plain(&self.socket, &mut self.output),
        }
    }

    /// Writes the last words, as far as the socket takes them.
    pub(super) fn farewell(&mut self) {
        let flushed = self.flush();
        if let (Ok(()), Carrier::Tls(tls)) = (flushed, &mut self.carrier) {
            tls.send_close_notify();
        }
        let _ = self.flush();
    }

    /// Whether everything was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !matches!(&self.carrier, Carrier::Tls(tls) if tls.wants_write())
    }
}

/// Writes what the socket takes; the rest stays.
pub(super) fn flush_plain(mut socket: &TcpStream, output: &mut Vec<u8>) -> io::Result<()> {
    let mut done = 0;
    let result = loop {
        if done == output.len() {
            break Ok(());
        }
        match socket.write(&output[done..]) {
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    output.drain(..done);
    shrink(output);
    result
}

/// Encrypts and writes. Every frame becomes a TLS record of its own: there are clients that look for one message per record.
fn flush_tls(tls: &mut ServerConnection, mut socket: &TcpStream, output: &mut Vec<u8>, framed: bool) -> io::Result<()> {
    loop {
        while tls.wants_write() {
            match tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if output.is_empty() || tls.is_handshaking() {
            shrink(output);
            return Ok(());
        }
        let mut done = 0;
        while done < output.len().min(ENCRYPT_BYTES) {
            let rest = &output[done..];
            let length = match first_frame(rest) {
                Frame::Whole(length) if framed => length,
                _ => rest.len(),
            };
            tls.writer().write_all(&rest[..length])?;
            done += length;
        }
        output.drain(..done);
    }
}

/// A burst's memory is given back when it has passed.
fn shrink(output: &mut Vec<u8>) {
    if output.is_empty() && output.capacity() > READ_BYTES {
        *output = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let cases: &[(&[u8], Frame)] = &[
            (&[], Frame::Partial),
            (&[0], Frame::Partial),
            (&[0, 1, 0, 0], Frame::Partial),
            (&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], Frame::Whole(20)),
            (&[0x40, 0, 0, 0], Frame::Whole(4)),
            (&[0x40, 0, 0, 1, 7], Frame::Partial),
            (&[0x40, 0, 0, 1, 7, 0, 0, 0, 0x40], Frame::Whole(8)),
            (&[0x4F, 0xFF, 0, 4, 1, 2, 3, 4], Frame::Whole(8)),
            (&[0x80, 0, 0, 0], Frame::Alien),
            (b"\xFFSMB", Frame::Alien),
            (&[0x16, 3, 1], Frame::Alien),
            (&[4], Frame::Alien),
        ];
        for (bytes, expected) in cases {
            assert_eq!(first_frame(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn guests_are_counted_by_source_and_in_all() {
        let guests = Arc::new(Guests::default());
        let limits = StreamLimits { connections_max: 3, source_connections_max: 2, ..StreamLimits::default() };
        let admit = |last: u8| guests.admit(IpAddr::from([192, 0, 2, last]), &limits);
        let (first, _second) = (admit(1).expect("room"), admit(1).expect("room"));
        assert!(admit(1).is_none(), "the source's");
        let _third = admit(2).expect("room");
        assert!(admit(3).is_none(), "the server's");
        drop(first);
        assert_eq!(guests.total(), 2);
        assert!(admit(1).is_some());
    }
}
