//! The front door: takes connections and places each on the shard that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::add;
use crate::shard::{Common, Peer, Visit};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;

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

/// Takes connections until the server stops taking them.
pub(crate) async fn run(
    listener: std::net::TcpListener,
    secure: bool,
    common: Arc<Common>,
    user_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "an address could not be listened on"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => place(stream, peer, secure, &common, user_timeout),
            Err(error) => {
                // Out of descriptors, most likely: waiting lets some come back.
                tracing::warn!(%error, "a connection could not be taken; raise the limit of open files if it is that");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn place(stream: tokio::net::TcpStream, peer: SocketAddr, secure: bool, common: &Common, user_timeout: Duration) {
    let loads: Vec<u64> = common.metrics.iter().map(|metrics| metrics.connections.load(Ordering::Relaxed)).collect();
    let most = common.hub.limits().connections_max as u64;
    if loads.iter().sum::<u64>() >= most {
        // No words: whoever floods us would get them for every try.
        return add(&common.metrics[0].refused_connections_total, 1);
    }
    let Some(shard) = (0..loads.len()).min_by_key(|shard| loads[*shard] + common.placed(*shard)) else { return };
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(&stream);
    let _ = socket.set_tcp_user_timeout(Some(user_timeout));
    match stream.into_std() {
        Ok(socket) => {
            common.place_on(shard);
            let _ = common.doors[shard].send(Visit::Socket(socket, Peer { ip: peer.ip().to_canonical(), secure }));
        }
        Err(error) => tracing::warn!(%error, "a connection could not be placed"),
    }
}
