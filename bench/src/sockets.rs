//! The sockets of a run: client source addresses, closing by reset, and the open-files limit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Result, bail};
use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Begins to connect. On the loopback network each few thousand connections come from another of its addresses, because one address has fewer than 30,000
/// ports and a closed connection keeps its port for a minute.
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let IpAddr::V4(address) = to.ip()
        && address.is_loopback()
    {
        // A run that follows another begins at other addresses.
        let first = u64::from(std::process::id()) * CONNECTIONS_PER_ADDRESS;
        let serial = first + CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        socket.bind(&SocketAddr::from((source(serial), 0)).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Makes the closing of this connection a reset, as when a client's network is gone.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // Best effort: a connection that is gone already can't be reset.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

/// A port that is free at this moment, below those that the system gives to clients: between now and the server's `bind` nobody is to take it by chance.
/// Load tools that run side by side begin at different places.
pub(crate) fn free_port() -> Result<u16> {
    let first = std::process::id().wrapping_mul(PORTS_PER_PROCESS);
    for _ in 0..PORTS {
        let at = first.wrapping_add(PORTS_TRIED.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = PORT_FIRST + u16::try_from(at).expect("PORTS fits");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {PORT_FIRST} on is free")
}

/// Raises the soft limit of open files to the hard one, for this process and those that it starts; returns the limit.
pub(crate) fn raise_open_files() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum.unwrap_or(u64::MAX),
        Err(_) => limits.current.unwrap_or(u64::MAX),
    }
}

fn source(serial: u64) -> Ipv4Addr {
    let block = serial / CONNECTIONS_PER_ADDRESS % ADDRESSES;
    let last = u8::try_from(block).expect("fewer than 256 addresses") + 1;
    Ipv4Addr::new(127, 0, 0, last)
}

/// Connections that this process has opened.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Ports that this process has looked at.
static PORTS_TRIED: AtomicU32 = AtomicU32::new(0);

const PORT_FIRST: u16 = 18_000;
const PORTS: u32 = 12_000;
const PORTS_PER_PROCESS: u32 = 16;
const CONNECTIONS_PER_ADDRESS: u64 = 4_000;
const ADDRESSES: u64 = 250;
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_change_before_ports_run_out_and_stay_on_loopback() {
        for (serial, address) in [
            (0, [127, 0, 0, 1]),
            (3_999, [127, 0, 0, 1]),
            (4_000, [127, 0, 0, 2]),
            (20_000, [127, 0, 0, 6]),
            (999_999, [127, 0, 0, 250]),
            (1_000_000, [127, 0, 0, 1]),
        ] {
            assert_eq!(source(serial), Ipv4Addr::from(address), "{serial}");
        }
    }

    #[test]
    fn the_limit_is_the_hard_one_afterwards() {
        let limit = raise_open_files();
        assert!(limit >= 64);
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
    }
}
