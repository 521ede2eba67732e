//! The front door: takes connections and places each on the shard that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::admission::{Refused, Share};
use crate::metrics::add;
use crate::shard::{self, Arrival, Common, Peer, Visit};

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

/// An address that is listened on, and what its connections begin with.
pub(crate) struct Listener {
    pub socket: std::net::TcpListener,
    /// TLS.
    pub tls: bool,
    /// A PROXY protocol header.
    pub proxied: bool,
}

/// Takes connections until the server stops taking them.
pub(crate) async fn run(listener: Listener, common: Arc<Common>, user_timeout: Duration, mut stop: watch::Receiver<bool>) {
    let Listener { socket, tls, proxied } = listener;
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "an address could not be listened on"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let socket = socket2::SockRef::from(&stream);
                let _ = socket.set_tcp_user_timeout(Some(user_timeout));
                place(stream, Peer { ip: peer.ip().to_canonical(), secure: tls }, tls, proxied, &common);
            }
            Err(error) => {
                // Out of descriptors, most likely: waiting lets some come back.
                tracing::warn!(%error, "a connection could not be taken; raise the limit of open files if it is that");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Gives a connection to a shard, or turns it away.
fn place(stream: TcpStream, peer: Peer, tls: bool, proxied: bool, common: &Arc<Common>) {
    let loads: Vec<u64> = common.metrics.iter().map(|metrics| metrics.connections.load(Ordering::Relaxed)).collect();
    let most = common.hub.limits().connections_max as u64;
    let trusted = common.proxies.trusts(peer.ip);
    if loads.iter().sum::<u64>() >= most || proxied && !trusted {
        // No words: whoever floods us would get them for every try, and who is no proxy of ours has no business here.
        return add(&common.metrics[0].refused_connections_total, 1);
    }
    let now = tokio::time::Instant::now().into_std();
    // A trusted proxy has many clients; they are counted when it has said who they are.
    let share = || if trusted { Ok(Share::default()) } else { common.admission.connect(peer.ip, now) };
    let share = match common.admission.connect_any(now).and_then(|()| share()) {
        Ok(share) => share,
        Err(refused) => return turn_away(stream, tls, refused, common),
    };
    let Some(shard) = (0..loads.len()).min_by_key(|shard| loads[*shard] + common.placed(*shard)) else { return };
    let _ = stream.set_nodelay(true);
    match stream.into_std() {
        Ok(socket) => {
            common.place_on(shard);
            let _ = common.doors[shard].send(Visit::Socket(Arrival { socket, peer, tls, proxied, share }));
        }
        Err(error) => tracing::warn!(%error, "a connection could not be placed"),
    }
}

/// Tells a client why it is not let in, unless it awaits TLS or many are being told already.
pub(crate) fn turn_away(stream: TcpStream, tls: bool, refused: Refused, common: &Arc<Common>) {
    add(&common.metrics[0].throttled_connections_total, 1);
    if tls || common.turned_away.load(Ordering::Relaxed) >= TURNED_AWAY_MAX {
        return;
    }
    common.turned_away.fetch_add(1, Ordering::Relaxed);
    let common = common.clone();
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(TURNED_AWAY_TIME_MAX, last_words(stream, refused)).await;
        common.turned_away.fetch_sub(1, Ordering::Relaxed);
    });
}

async fn last_words(mut stream: TcpStream, refused: Refused) -> io::Result<()> {
    stream.write_all(&shard::last_answer(&shard::throttled(refused))).await?;
    stream.shutdown().await?;
    // Bytes that nobody reads would turn the answer into a reset.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Clients that are told at the same time why they are not let in.
const TURNED_AWAY_MAX: u64 = 1_000;
/// How long that may take.
const TURNED_AWAY_TIME_MAX: Duration = Duration::from_secs(1);
