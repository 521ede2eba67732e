//! Starting and stopping a server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use omnivox_core::engine::ShardSet;
use omnivox_hub::outgoing::Outgoing;
use omnivox_hub::{Hub, Inbox, Inboxes, MemoryEngine, Webhooks};
use omnivox_wire::http1::HeadLimits;
use tokio::sync::{mpsc, watch};

use crate::acme::{Acme, AcmeError};
use crate::admission::Admission;
use crate::background::Background;
use crate::bridge::{self, BridgeBody};
use crate::config::{Live, ServerConfig};
use crate::listener;
use crate::listener::{Bound, Endpoint, Intake, Listener};
use crate::metrics::ShardMetrics;
use crate::relay::Office;
use crate::roster::Doors;
use crate::router::{Clash, Router};
use crate::shard::{self, Common, Peer, Stream, Visit};
use crate::status::{Health, Status};
use crate::traces::Tracer;

/// How many more connections than others a shard may have, beside an eighth of theirs, and still take one.
const AHEAD_MAX: u64 = 8;
/// How often old history and unused channels are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often the log is probed for readiness.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// A server.
pub struct Server;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("cannot listen on {address}: {error}; choose another address or port (`server.listen`, `--port`), or stop what uses it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A Unix socket can't be made.
    #[error("cannot listen on {}: {error} (see `unix.listen`, `unix.owner` and `unix.group`)", path.display())]
    ListenUnix {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Two dialects want the same path.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// A number is out of its range.
    #[error("{0}")]
    Setting(&'static str),
    /// The relay does not start.
    #[error("the relay does not start: {0} (see [turn])")]
    Relay(String),
    /// The account or the certificates of an authority can't be kept.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// What waits for webhooks can't be stored.
    #[error("the outboxes of webhooks can't be opened: {0} (see `webhooks.folder`)")]
    Webhooks(io::Error),
    /// The system gives no threads or no randomness.
    #[error("the system refused: {0}")]
    System(io::Error),
}

/// A server that runs.
pub struct Handle {
    addresses: Vec<SocketAddr>,
    endpoints: Vec<Endpoint>,
    common: Arc<Common>,
    stop_listening: watch::Sender<bool>,
    health: Arc<Health>,
    shards: Vec<JoinHandle<()>>,
    door: Option<JoinHandle<()>>,
    /// Ends behind the shards.
    background: Background,
}

impl Server {
    /// Starts a server; it runs on threads of its own until it is drained or stopped.
    pub fn start(mut config: ServerConfig) -> Result<Handle, StartError> {
        let listeners = Listeners::open(&mut config)?;
        let endpoints = listeners.endpoints;
        let addresses = endpoints.iter().filter_map(Endpoint::address).collect();
        let user_timeout = config.tcp_user_timeout;
        let background = Background::start().map_err(StartError::System)?;
        let Parts { common, engine, health, shards } = Parts::build(config, background.runtime())?;
        // An engine that answers at once is ready before anybody can ask.
        let probe = common.hub.log().probe().as_mut().poll(&mut Context::from_waker(Waker::noop()));
        health.probed(matches!(probe, Poll::Ready(Ok(_))));
        let (stop_listening, stop) = watch::channel(false);
        let intake = |listeners| Intake { listeners, user_timeout, stop: stop.clone() };
        let threads = shards
            .into_iter()
            .zip(listeners.shards)
            .map(|((id, inbox, visits), listeners)| {
                let (common, intake) = (common.clone(), intake(listeners));
                std::thread::Builder::new().name(format!("shard-{id}")).spawn(move || shard::run(id, common, inbox, visits, intake))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::System)?;
        let (intake, door_common, door_health) = (intake(listeners.door), common.clone(), health.clone());
        let door = std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || door(intake, &door_common, engine, door_health))
            .map_err(StartError::System)?;
        Ok(Handle { addresses, endpoints, common, stop_listening, health, shards: threads, door: Some(door), background })
    }

    /// Runs the shards as tasks of the calling `LocalSet`, without listening: for tests that turn the clock themselves.
    #[doc(hidden)]
    pub fn simulate(config: ServerConfig) -> Result<Simulated, StartError> {
        let Parts { common, engine, health, shards } = Parts::build(config, &tokio::runtime::Handle::current())?;
        health.probed(true);
        for (id, inbox, visits) in shards {
            tokio::task::spawn_local(shard::serve(id, common.clone(), inbox, visits));
        }
        Ok(Simulated { common, engine })
    }
}

/// How many shards there are to be.
fn shards(config: &ServerConfig) -> Result<u16, StartError> {
    let cores = || std::thread::available_parallelism().map_or(1, |count| count.get() as u16);
    match config.shards.unwrap_or_else(cores).min(ShardSet::MAX) {
        0 => Err(StartError::Setting("`server.shards` must be at least 1")),
        shards => Ok(shards),
    }
}

/// What is listened on, by who takes the connections.
struct Listeners {
    /// Of each shard: addresses that the server has bound itself.
    shards: Vec<Vec<Listener>>,
    /// Of the door: sockets that somebody else has bound, and files.
    door: Vec<Listener>,
    endpoints: Vec<Endpoint>,
}

impl Listeners {
    /// Binds everything that the settings name, and takes over what listens already.
    fn open(config: &mut ServerConfig) -> Result<Self, StartError> {
        let inherited: Vec<Listener> = std::mem::take(&mut config.inherited)
            .into_iter()
            .map(Listener::inherited)
            .collect::<Result<_, _>>()
            .map_err(StartError::System)?;
        let known = inherited.iter().filter_map(|listener| listener.endpoint().ok()?.address()).collect::<Vec<_>>();
        let listens = |address: &SocketAddr| [&config.listen, &config.listen_tls, &known].iter().any(|list| list.contains(address));
        if !config.proxy_protocol.iter().all(listens) {
            return Err(StartError::Setting("`server.proxy_protocol` names an address that neither `server.listen` nor `tls.listen` has"));
        }
        if !config.proxy_protocol.is_empty() && config.proxies.trusted.is_empty() {
            return Err(StartError::Setting("`server.proxy_protocol` believes no proxy: set `server.trusted_proxies`"));
        }
        if config.tls.is_none() && (!config.listen_tls.is_empty() || inherited.iter().any(|listener| listener.tls)) {
            return Err(StartError::Setting("`tls.listen` needs a certificate: set `tls.certificate_file` and `tls.private_key_file`"));
        }
        let shards = usize::from(shards(config)?);
        let mut listeners = Self { shards: (0..shards).map(|_| Vec::new()).collect(), door: Vec::new(), endpoints: Vec::new() };
        let plain = config.listen.iter().map(|address| (*address, false));
        for (address, tls) in plain.chain(config.listen_tls.iter().map(|address| (*address, true))) {
            let sockets = listener::bind(address, shards).map_err(|error| StartError::Listen { address, error })?;
            let bound = sockets[0].local_addr().map_err(StartError::System)?;
            listeners.endpoints.push(Endpoint::Tcp { address: bound, tls });
            for (socket, shard) in sockets.into_iter().zip(&mut listeners.shards) {
                shard.push(Listener { socket: Bound::Tcp(socket), tls, proxied: config.proxy_protocol.contains(&address) });
            }
        }
        for mut listener in inherited {
            let address = listener.endpoint().ok().and_then(|endpoint| endpoint.address());
            listener.proxied = address.is_some_and(|address| config.proxy_protocol.contains(&address));
            listeners.door.push(listener);
        }
        for path in &config.unix.paths {
            let refuse = |error| StartError::ListenUnix { path: path.clone(), error };
            let file = config.unix.bind(path).map_err(refuse)?;
            listeners.door.push(Listener { socket: Bound::Unix(file), tls: false, proxied: false });
        }
        for listener in &listeners.door {
            listeners.endpoints.push(listener.endpoint().map_err(StartError::System)?);
        }
        Ok(listeners)
    }
}

/// What a server consists of before it runs.
struct Parts {
    common: Arc<Common>,
    engine: Arc<MemoryEngine>,
    health: Arc<Health>,
    shards: Vec<(u16, Inbox, mpsc::UnboundedReceiver<Visit>)>,
}

impl Parts {
    fn build(config: ServerConfig, background: &tokio::runtime::Handle) -> Result<Self, StartError> {
        let shards = shards(&config)?;
        if config.apps.is_empty() {
            return Err(StartError::Setting("a server needs at least one [[app]]"));
        }
        let limits = Arc::new(config.limits);
        let (inboxes, inbox_ends) = Inboxes::new(shards, limits.shard_queue_max);
        let random = randomness().map_err(StartError::System)?;
        let outgoing = Outgoing::new(config.outgoing, background.clone());
        let webhooks = Webhooks::open(config.webhooks, Arc::new(outgoing.clone()), config.clock.clone()).map_err(StartError::Webhooks)?;
        let engine = MemoryEngine::new(inboxes.clone(), limits.clone(), config.clock.clone(), random[0]);
        let engine = Arc::new(engine.witnessed_by(webhooks.clone()));
        let hub = Arc::new(Hub::new(config.apps, engine.clone(), engine.clone(), limits.clone(), config.clock.clone()));
        webhooks.start(background);
        hub.set_webhooks(webhooks);
        let relay = config.relay.map(|relay| Office::open(relay, config.clock)).transpose().map_err(StartError::Relay)?;
        relay.iter().for_each(|relay| hub.set_relay(relay.clone()));
        hub.set_outgoing(outgoing.clone());
        hub.replace_hooks(config.hooks);
        background.spawn(omnivox_hub::key_sets::keep_fresh(Arc::downgrade(&hub)));
        let tracer = config.traces.map(|settings| Tracer::start(settings, outgoing.clone(), random[0] ^ random[1].rotate_left(32)));
        let metrics: Vec<Arc<ShardMetrics>> = (0..shards).map(|_| Arc::default()).collect();
        let health =
            Arc::new(Health::new(metrics.clone(), inboxes.clone(), engine.clone(), relay, hub.clone(), config.tls.clone(), tracer.clone()));
        let mut dialects = config.dialects;
        let admin = Arc::new(ArcSwap::from_pointee(config.admin));
        dialects.push(Arc::new(Status::new(health.clone(), admin.clone())));
        let acme = match (config.acme, &config.tls) {
            (Some(settings), Some(tls)) => Some(Acme::new(settings, tls.resolver().clone(), outgoing)?),
            _ => None,
        };
        if let Some(acme) = acme {
            dialects.push(Arc::new(acme.http_proofs()));
            background.spawn(acme.run());
        }
        let (doors, visits): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        hub.set_roster(Arc::new(Doors(doors.clone())));
        let head_limits = HeadLimits {
            head_bytes_max: limits.head_bytes_max,
            target_bytes_max: limits.head_bytes_max / 2,
            headers_max: limits.headers_max,
        };
        let router = Router::new(dialects)?;
        router.tell_of_application(&hub.apps_with_events());
        let common = Arc::new(Common {
            admission: Arc::new(Admission::new(limits.clone(), tokio::time::Instant::now().into_std())),
            turned_away: AtomicU64::new(0),
            admin,
            live: ArcSwap::from_pointee(Live { proxies: config.proxies, gate: config.gate, drain: config.drain }),
            hub,
            origins: config.origins,
            inboxes,
            router,
            outbox_limits: limits.outbox(),
            head_limits,
            tls: config.tls,
            deflate: config.deflate,
            tracer,
            node: random[1] as u32,
            doors,
            placed: metrics.iter().map(|_| AtomicU64::new(0)).collect(),
            metrics,
        });
        let shards = visits.into_iter().zip(inbox_ends).enumerate().map(|(id, (visits, inbox))| (id as u16, inbox, visits)).collect();
        Ok(Self { common, engine, health, shards })
    }
}

/// A server whose shards are tasks of a test.
#[doc(hidden)]
pub struct Simulated {
    common: Arc<Common>,
    engine: Arc<MemoryEngine>,
}

impl Simulated {
    /// Gives a stream of bytes to a shard, as if somebody had connected.
    pub fn connect(&self, shard: u16, stream: impl Stream + 'static) {
        let _ = self.common.doors[usize::from(shard)]
            .send(Visit::Stream(Box::new(stream), Peer { ip: std::net::IpAddr::from([127, 0, 0, 1]), secure: false }));
    }

    /// Forgets what is old, as the server does every few seconds.
    pub fn sweep(&self) {
        self.engine.sweep();
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.common.hub
    }

    /// Sends everyone away.
    pub fn drain(&self) {
        self.common.doors.iter().for_each(|door| drop(door.send(Visit::Drain)));
    }
}

/// The thread that takes the connections which no shard takes, forgets what is old and proves that the log works.
fn door(intake: Intake, common: &Arc<Common>, engine: Arc<MemoryEngine>, health: Arc<Health>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().expect("a runtime needs only a thread and epoll");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut stop = intake.stop.clone();
        intake.begin(common, None);
        let (admission, hub) = (common.admission.clone(), common.hub.clone());
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                engine.sweep();
                admission.sweep(tokio::time::Instant::now().into_std());
                hub.quotas().sweep(hub.now_ms());
            }
        });
        let log = common.hub.log().clone();
        tokio::task::spawn_local(async move {
            loop {
                health.probed(log.probe().await.is_ok());
                tokio::time::sleep(PROBE_EVERY).await;
            }
        });
        let _ = stop.wait_for(|stop| *stop).await;
    });
}

impl Handle {
    /// The addresses that it listens on: the plain ones, then those with TLS.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Everything that it listens on.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The hub, for publishing from the same process.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.common.hub
    }

    /// Takes over what can change while clients are connected: apps, the pages that may read, hooks, webhooks, trusted proxies, hosts, who
    /// may see the metrics, the pace of a drain, the limits of addresses, the quotas of those who come from now on, how many connections, handshakes
    /// and seats there may be, and the certificate.
    pub fn take_over(&self, config: ServerConfig) {
        let common = &self.common;
        common.hub.replace_apps(config.apps);
        common.hub.replace_hooks(config.hooks);
        common.router.tell_of_application(&common.hub.apps_with_events());
        common.origins.replace(config.origins.list().to_vec());
        common.hub.quotas().replace(Arc::new(config.limits.clone()));
        common.admission.replace(config.limits);
        common.admin.store(Arc::new(config.admin));
        common.live.store(Arc::new(Live { proxies: config.proxies, gate: config.gate, drain: config.drain }));
        if let Some(Err(error)) = common.hub.webhooks().map(|webhooks| webhooks.replace(config.webhooks.webhooks)) {
            tracing::error!(%error, "the webhooks were not taken over: an outbox can't be opened");
        }
        if let (Some(tls), Some(new)) = (&common.tls, &config.tls) {
            tls.adopt(new);
        }
    }

    /// Where the relay listens: `udp`, `tcp` or `tls`, and the address.
    pub fn relay_addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.health.relay().map(|relay| relay.bound()).unwrap_or_default()
    }

    /// Serves a stream of bytes that somebody else accepted: a Unix socket, an embedder's upgrade.
    pub fn serve(&self, stream: impl Stream + 'static, peer: Peer) {
        self.common.serve(Box::new(stream), peer);
    }

    /// The server as a part of somebody else's HTTP server.
    pub fn embedded(&self) -> Embedded {
        Embedded { common: self.common.clone() }
    }

    /// All metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.health.metrics()
    }

    /// Takes no more connections, tells every client to come back somewhere else, and waits until they are gone or the deadline has passed.
    ///
    /// Blocks the calling thread.
    pub fn drain(mut self) {
        let (begin, patience) = (Instant::now(), self.common.live.load().drain.deadline);
        self.health.draining();
        let _ = self.stop_listening.send(true);
        self.common.doors.iter().for_each(|door| drop(door.send(Visit::Drain)));
        self.join();
        self.settle_webhooks(patience.saturating_sub(begin.elapsed()).max(Duration::from_secs(1)));
    }

    /// Ends at once.
    pub fn stop(mut self) {
        let _ = self.stop_listening.send(true);
        self.common.doors.iter().for_each(|door| drop(door.send(Visit::Stop)));
        self.join();
        self.settle_webhooks(Duration::ZERO);
    }

    /// Lets webhooks tell that everybody is gone, or write it down for the next start.
    fn settle_webhooks(&self, patience: Duration) {
        let Some(webhooks) = self.common.hub.webhooks().cloned() else { return };
        let (done, settled) = std::sync::mpsc::channel();
        self.background.runtime().spawn(async move {
            webhooks.settle(patience).await;
            let _ = done.send(());
        });
        let _ = settled.recv();
    }

    fn join(&mut self) {
        self.health.relay().into_iter().for_each(|relay| relay.close());
        for thread in self.shards.drain(..).chain(self.door.take()) {
            if thread.join().is_err() {
                tracing::error!("a thread of the server ended by a panic");
            }
        }
        // Every span has ended by now.
        self.common.tracer.iter().for_each(|tracer| tracer.close());
    }
}

/// The server as a part of somebody else's HTTP server: give it the requests that are meant for it.
///
/// ```no_run
/// # async fn example(handle: &omnivox_server::Handle, request: http::Request<http_body_util::Full<bytes::Bytes>>) {
/// let peer = omnivox_server::Peer { ip: [127, 0, 0, 1].into(), secure: false };
/// let response = handle.embedded().call(request, peer).await;
/// # }
/// ```
///
/// A WebSocket upgrade is taken from the request's extensions, where hyper and axum put it; a stream or a held poll is a body that goes on.
#[derive(Clone)]
pub struct Embedded {
    common: Arc<Common>,
}

impl Embedded {
    /// Answers a request. The runtime needs its timers (`enable_time`): a body may take so long as `limits.body_time_max_ms` says.
    pub async fn call<B>(&self, request: http::Request<B>, peer: Peer) -> http::Response<BridgeBody>
    where
        B: hyper::body::Body<Data: bytes::Buf, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        bridge::answer(&EmbeddedDoor { common: &self.common, peer }, request).await
    }
}

struct EmbeddedDoor<'a> {
    common: &'a Common,
    peer: Peer,
}

impl bridge::Connect for EmbeddedDoor<'_> {
    fn connect(&self, stream: tokio::io::DuplexStream) {
        self.common.serve(Box::new(stream), self.peer);
    }

    fn body_bytes_max(&self) -> usize {
        self.common.hub.limits().body_bytes_max
    }

    fn body_time_max(&self) -> Duration {
        self.common.hub.limits().body_time_max
    }
}

/// What `/health`, `/ready` and `/metrics` tell.
pub(crate) type Flag = AtomicBool;

fn randomness() -> io::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let (first, second) = bytes.split_at(8);
    let word = |half: &[u8]| u64::from_le_bytes(half.try_into().unwrap_or_default());
    Ok([word(first), word(second)])
}

impl Common {
    /// Gives a stream to the shard that has the fewest connections.
    fn serve(&self, stream: Box<dyn Stream>, peer: Peer) {
        let _ = self.doors[self.least_loaded()].send(Visit::Stream(stream, peer));
    }

    /// Connections that shards have; one of HTTP/2 counts, and each of its streams that is open.
    pub(crate) fn connected(&self) -> u64 {
        self.metrics.iter().map(|metrics| metrics.open()).sum()
    }

    /// TLS handshakes that are under way.
    pub(crate) fn handshakes(&self) -> u64 {
        self.metrics.iter().map(|metrics| metrics.tls_handshakes.load(Ordering::Relaxed)).sum()
    }

    /// Connections that are on their way to a shard, which does not count them yet, or in a TLS handshake.
    pub(crate) fn underway(&self) -> u64 {
        self.placed.iter().map(|placed| placed.load(Ordering::Relaxed)).sum::<u64>() + self.handshakes()
    }

    /// Connections of a shard, with those on their way to it.
    pub(crate) fn load(&self, shard: usize) -> u64 {
        self.metrics[shard].open() + self.placed[shard].load(Ordering::Relaxed)
    }

    /// The shard that has the fewest.
    pub(crate) fn least_loaded(&self) -> usize {
        (0..self.metrics.len()).min_by_key(|shard| self.load(*shard)).unwrap_or(0)
    }

    /// Whether a shard has not many more connections than another one.
    pub(crate) fn is_fair(&self, shard: usize) -> bool {
        let least = self.load(self.least_loaded());
        self.load(shard) <= least + least / 8 + AHEAD_MAX
    }

    /// Takes note of a connection that is on its way to a shard.
    pub(crate) fn place_on(&self, shard: usize) {
        self.placed[shard].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of a connection that has arrived.
    pub(crate) fn arrived_on(&self, shard: usize) {
        self.placed[shard].fetch_sub(1, Ordering::Relaxed);
    }
}
