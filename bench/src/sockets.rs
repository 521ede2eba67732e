//! The sockets of a run: client source addresses, closing by reset, and the open-files limit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Begins to connect. `serial` counts the connections of a run: on the loopback network each few thousand come from another of its addresses, because one
/// address has fewer than 30,000 ports and a closed connection keeps its port for a minute.
pub(crate) fn connect(to: SocketAddr, serial: u64) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let IpAddr::V4(address) = to.ip()
        && address.is_loopback()
    {
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

/// A port that is free at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr()?.port())
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
