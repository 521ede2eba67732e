//! Sockets that systemd has bound and passes on (`LISTEN_FDS`), so that clients can connect while the server restarts, and so that it needs
//! no right to bind low ports.
//!
//! ```text
//!   [Socket]
//!   ListenStream=443
//!   FileDescriptorName=tls
//! ```

use listenfd::ListenFd;
use omnivox_server::{Inherited, InheritedSocket};

use crate::exit::{self, Code};

/// The name, in `LISTEN_FDNAMES`, of sockets where TLS is spoken.
const TLS: &str = "tls";

/// Takes the sockets that were passed to this process. It can be done once.
pub(super) fn take() -> anyhow::Result<Vec<Inherited>> {
    let mut passed = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    (0..passed.len())
        .map(|index| {
            let tls = names.next() == Some(TLS);
            let refuse = |error: std::io::Error| {
                let words = format!("socket {index} of LISTEN_FDS is neither a TCP nor a Unix stream socket: {error}");
                exit::error(Code::Usage, words)
            };
            let socket = match passed.take_unix_listener(index) {
                Ok(Some(socket)) if tls => {
                    let _ = socket;
                    return Err(exit::error(
                        Code::Usage,
                        "TLS is not spoken over Unix sockets; give the socket another FileDescriptorName",
                    ));
                }
                Ok(Some(socket)) => InheritedSocket::Unix(socket),
                Ok(None) | Err(_) => match passed.take_tcp_listener(index).map_err(refuse)? {
                    Some(socket) => InheritedSocket::Tcp(socket),
                    None => return Err(exit::error(Code::Failure, format!("socket {index} of LISTEN_FDS is not there"))),
                },
            };
            Ok(Inherited { socket, tls })
        })
        .collect()
}
