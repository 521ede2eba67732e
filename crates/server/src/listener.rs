//! The front door: takes connections and places each on a shard.
//!
//! Every shard takes connections itself at the addresses that the server has bound, and keeps them while it has about as few as the others
//! (decision 012). What comes in elsewhere, by Unix sockets and sockets that somebody else has bound, goes to the shard that has the fewest.
//!
//! - [`endpoint`]: what is listened on, and binding it; [`unix`]: sockets that are files.
//!
//! A connection over a Unix socket comes from this machine, so it counts as 127.0.0.1.

mod endpoint;
mod unix;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use omnivox_core::http::Response;
use omnivox_core::origin::Reader;
use omnivox_wire::http1::RequestHead;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::admission::Refused;
use crate::metrics::add_shared;
use crate::shard::{self, Arrival, Common, Peer, Stream, Visit};

pub(crate) use self::endpoint::{Bound, Listener, bind};
pub use self::endpoint::{Endpoint, Inherited, InheritedSocket};
pub use self::unix::{Identity, UnixSockets};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;
/// How long we wait when the system gives us no more connections.
const BREATH: Duration = Duration::from_millis(50);
/// Connections that are taken before everybody else on the thread has a turn.
const TAKEN_TOGETHER: u32 = 32;

/// A connection as it was accepted.
pub(crate) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The connections that one thread takes.
pub(crate) struct Intake {
    /// What it listens on.
    pub listeners: Vec<Listener>,
    /// How long what was sent may stay unacknowledged.
    pub user_timeout: Duration,
    /// Becomes true when no more are to be taken.
    pub stop: watch::Receiver<bool>,
}

impl Intake {
    /// Takes connections on the calling thread, which may be a shard's.
    pub(crate) fn begin(self, common: &Arc<Common>, own: Option<u16>) {
        for Listener { socket, tls, proxied } in self.listeners {
            let (way, mut stop) = (Way { tls, proxied, own: own.map(usize::from), common: common.clone() }, self.stop.clone());
            let taking = async move {
                match socket {
                    Bound::Tcp(socket) => way.take_tcp(socket, self.user_timeout).await,
                    Bound::Unix(file) => way.take_unix(&UnixListener::from_std(file.listener()?)?).await,
                }
            };
            tokio::task::spawn_local(async move {
                let outcome: io::Result<()> = tokio::select! {
                    outcome = taking => outcome,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                if let Err(error) = outcome {
                    tracing::error!(%error, "an address could not be listened on");
                }
            });
        }
    }
}

/// The way in that a listener is.
struct Way {
    tls: bool,
    proxied: bool,
    /// The shard whose thread takes the connections.
    own: Option<usize>,
    common: Arc<Common>,
}

impl Way {
    async fn take_tcp(&self, socket: std::net::TcpListener, user_timeout: Duration) -> io::Result<()> {
        // Linux gives a connection what the listening socket has, so that no connection costs a call for it.
        let options = socket2::SockRef::from(&socket);
        let _ = options.set_tcp_user_timeout(Some(user_timeout));
        let _ = options.set_tcp_nodelay(true);
        #[expect(deprecated, reason = "what replaces it is unsafe, and a listener of the standard library is all that it asks for")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        let mut taken: u32 = 0;
        loop {
            // Taken without the runtime's own way, which would watch each connection here before its shard does.
            match socket.async_io(Interest::READABLE, std::net::TcpListener::accept).await {
                Ok((stream, peer)) => self.place(stream, Peer { ip: peer.ip().to_canonical(), secure: self.tls }),
                Err(error) => out_of_breath(&error).await,
            }
            taken = taken.wrapping_add(1);
            if taken.is_multiple_of(TAKEN_TOGETHER) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn take_unix(&self, socket: &UnixListener) -> io::Result<()> {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => self.place(stream, Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: false }),
                Err(error) => out_of_breath(&error).await,
            }
        }
    }

    /// Gives a connection to a shard, or turns it away.
    fn place(&self, stream: impl Taken, peer: Peer) {
        let Self { tls, proxied, ref common, .. } = *self;
        let limits = common.hub.quotas().limits();
        let trusted = common.live.load().proxies.trusts(peer.ip);
        // Those that are still on their way to a shard count too: a storm comes faster than a shard wakes.
        let underway = common.underway();
        let full = common.connected() + underway >= limits.connections_max as u64;
        let too_many = full || tls && underway >= limits.handshakes_max as u64;
        if too_many || proxied && !trusted {
            // No words: whoever floods us would get them for every try, and who is no proxy of ours has no business here.
            return add_shared(&common.metrics[0].refused_connections_total, 1);
        }
        let now = tokio::time::Instant::now().into_std();
        // A trusted proxy has many clients; they are counted when it has said who they are.
        let share = match common.admission.let_in((!trusted).then_some(peer.ip), now) {
            Ok(share) => share,
            Err(refused) => return stream.into_stream().into_iter().for_each(|stream| turn_away(stream, tls, refused, common)),
        };
        let shard = self.shard();
        match stream.into_socket() {
            Ok(socket) => {
                common.place_on(shard);
                let _ = common.doors[shard].send(Visit::Socket(Arrival { socket, peer, tls, proxied, share }));
            }
            Err(error) => tracing::warn!(%error, "a connection could not be placed"),
        }
    }

    /// Who gets the next connection: the thread's own shard, which then needs not be woken, unless it has many more than another one.
    fn shard(&self) -> usize {
        self.own.filter(|own| self.common.is_fair(*own)).unwrap_or_else(|| self.common.least_loaded())
    }
}

/// A connection that was just taken.
trait Taken {
    /// As a shard takes it over.
    fn into_socket(self) -> io::Result<Socket>;

    /// As the front door itself speaks over it.
    fn into_stream(self) -> io::Result<impl Stream + 'static>;
}

impl Taken for std::net::TcpStream {
    fn into_socket(self) -> io::Result<Socket> {
        self.set_nonblocking(true)?;
        Ok(Socket::Tcp(self))
    }

    fn into_stream(self) -> io::Result<impl Stream + 'static> {
        self.set_nonblocking(true)?;
        TcpStream::from_std(self)
    }
}

impl Taken for UnixStream {
    fn into_socket(self) -> io::Result<Socket> {
        self.into_std().map(Socket::Unix)
    }

    fn into_stream(self) -> io::Result<impl Stream + 'static> {
        Ok(self)
    }
}

/// Out of descriptors, most likely: waiting lets some come back.
async fn out_of_breath(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be taken; raise the limit of open files if it is that");
    tokio::time::sleep(BREATH).await;
}

/// Tells a client why it is not let in, unless it awaits TLS or many are being told already.
pub(crate) fn turn_away(stream: impl Stream + 'static, tls: bool, refused: Refused, common: &Arc<Common>) {
    add_shared(&common.metrics[0].throttled_connections_total, 1);
    if tls || common.turned_away.load(Ordering::Relaxed) >= TURNED_AWAY_MAX {
        return;
    }
    common.turned_away.fetch_add(1, Ordering::Relaxed);
    let common = common.clone();
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(TURNED_AWAY_TIME_MAX, last_words(stream, refused, &common)).await;
        common.turned_away.fetch_sub(1, Ordering::Relaxed);
    });
}

async fn last_words(mut stream: impl Stream, refused: Refused, common: &Common) -> io::Result<()> {
    let answer = match read_head(&mut stream, common).await {
        Some(head) => told(refused, &head, common),
        None => shard::throttled(refused),
    };
    stream.write_all(&shard::last_answer(&answer)).await?;
    stream.shutdown().await?;
    // Bytes that nobody reads would turn the answer into a reset.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What a client is told whose address asks for too much: a status, or a stream where that alone would bring it back.
pub(crate) fn told(refused: Refused, head: &RequestHead, common: &Common) -> Response {
    let streams = head.headers("accept").any(|value| value.windows(EVENT_STREAM.len()).any(|part| part == EVENT_STREAM));
    readable(if streams { shard::throttled_stream(refused) } else { shard::throttled(refused) }, head, common)
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The head of the request that is turned away, if it is one.
async fn read_head(stream: &mut impl Stream, common: &Common) -> Option<RequestHead> {
    let mut bytes = Vec::new();
    loop {
        // The reader of heads says when there are too many bytes.
        if let Some((head, _)) = RequestHead::parse(&bytes, &common.head_limits).ok()? {
            return Some(head);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Lets the page that asks read the answer, if it may.
fn readable(response: Response, head: &RequestHead, common: &Common) -> Response {
    let origin = head.headers("origin").next().and_then(|origin| std::str::from_utf8(origin).ok());
    let response = response.header("vary", "Origin");
    let Some((origin, reader)) = origin.and_then(|origin| Some((origin, common.origins.reader(origin)?))) else { return response };
    match reader {
        Reader::Anyone => response.header("access-control-allow-origin", "*"),
        Reader::Page => {
            response.header("access-control-allow-origin", origin.to_owned()).header("access-control-allow-credentials", "true")
        }
    }
}

/// Clients that are told at the same time why they are not let in.
const TURNED_AWAY_MAX: u64 = 1_000;
/// How long that may take.
const TURNED_AWAY_TIME_MAX: Duration = Duration::from_secs(1);
