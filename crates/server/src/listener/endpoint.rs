//! What a server listens on: addresses that it binds itself, files, and sockets that somebody else has bound for it.
//!
//! ```text
//!   http://127.0.0.1:8080     https://[::]:8443     unix:/run/omnivox/omnivox.sock
//! ```

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};

use super::BACKLOG;
use super::unix::SocketFile;

/// Where clients reach a server, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Whether TLS is spoken there.
        tls: bool,
    },
    /// A Unix socket; the path is empty when the socket has none.
    Unix(PathBuf),
}

impl Endpoint {
    /// Its address, when it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { address, .. } => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, tls: false } => write!(f, "http://{address}"),
            Self::Tcp { address, tls: true } => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens already: systemd or another parent has bound it.
#[derive(Debug)]
pub struct Inherited {
    /// The socket.
    pub socket: InheritedSocket,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// What kind of socket it is.
#[derive(Debug)]
pub enum InheritedSocket {
    /// TCP, IPv4 or IPv6.
    Tcp(std::net::TcpListener),
    /// A Unix socket; its file stays when the server ends, because it is not ours.
    Unix(UnixListener),
}

/// Something that is listened on, and what its connections begin with.
pub(crate) struct Listener {
    pub socket: Bound,
    /// TLS.
    pub tls: bool,
    /// A PROXY protocol header.
    pub proxied: bool,
}

/// A socket that listens.
pub(crate) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(SocketFile),
}

impl Listener {
    /// Takes over a socket that listens already.
    pub(crate) fn inherited(inherited: Inherited) -> io::Result<Self> {
        let socket = match inherited.socket {
            InheritedSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Bound::Tcp(socket)
            }
            InheritedSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Bound::Unix(SocketFile::inherited(socket)?)
            }
        };
        Ok(Self { socket, tls: inherited.tls, proxied: false })
    }

    /// Where clients reach it.
    pub(crate) fn endpoint(&self) -> io::Result<Endpoint> {
        Ok(match &self.socket {
            Bound::Tcp(socket) => Endpoint::Tcp { address: socket.local_addr()?, tls: self.tls },
            Bound::Unix(file) => Endpoint::Unix(file.path().to_owned()),
        })
    }
}

/// Binds an address for so many shards, each with a socket of its own: Linux gives each new connection to one of them (`SO_REUSEPORT`). Where it
/// lets the first have no siblings, there is only that one.
///
/// The first is bound and listens as if it were to be alone, so that nobody has the address already and nobody can take it later. IPv6 addresses take
/// IPv6 alone, so that `0.0.0.0` and `[::]` can both be listed.
pub(crate) fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = listening(address, false)?;
    let bound = std::net::TcpListener::from(first.try_clone()?).local_addr()?;
    let mut sockets = vec![first.into()];
    if shards > 1 && socket2::SockRef::from(&sockets[0]).set_reuse_port(true).is_ok() {
        let siblings = (1..shards).map_while(|_| listening(bound, true).ok());
        sockets.extend(siblings.map(std::net::TcpListener::from));
    }
    Ok(sockets)
}

fn listening(address: SocketAddr, beside_others: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(beside_others)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn shards_share_an_address_that_nobody_else_can_take() {
        let sockets = bind((Ipv4Addr::LOCALHOST, 0).into(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert_eq!(sockets.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), [address; 3]);
        for shards in [1, 3] {
            assert_eq!(bind(address, shards).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        let clients: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        let taken: Vec<usize> = sockets.iter().map(|socket| std::iter::from_fn(|| socket.accept().ok()).count()).collect();
        assert_eq!(taken.iter().sum::<usize>(), clients.len());
        assert!(taken.iter().all(|taken| *taken > 0), "each takes some: {taken:?}");
        drop(sockets);
        assert_eq!(bind(address, 1).unwrap().len(), 1, "it is free again");
    }
}
