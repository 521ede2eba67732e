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

/// Binds an address. IPv6 addresses take IPv6 alone, so that `0.0.0.0` and `[::]` can both be listed.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
