//! A shard: one thread that owns its connections, their sessions and its slice of every channel's subscribers.
//!
//! Everything that happens to a shard is a *turn*: a task of the shard's own runtime borrows the whole state, changes it, writes what the change
//! left in outboxes, and gives it back before it waits again. So nothing in here is locked, and nothing is borrowed across an await.
//!
//! - [`conn`]: a connection and what it is at the moment; [`read`] and [`http`]: bytes in; [`flush`]: bytes out.
//! - [`proxied`]: what a proxy says before a connection's own bytes; [`secure`]: TLS handshakes; [`http2`]: HTTP/2 by way of the bridge.
//! - [`driver`]: runs sessions: inputs in, actions done; [`commands`]: what they ask of the hub; [`slot`]: what is kept of each;
//!   [`review`]: what they may still do when the rules have changed.
//! - [`quota`]: what its client sends and is sent, counted.
//! - [`fanout`]: publications to outboxes; [`patterns`]: to those who asked by pattern; [`reread`]: what a full inbox dropped.
//! - [`timers`]: one wheel for heartbeats, deadlines and sessions' own timeouts.

mod commands;
mod conn;
mod driver;
mod entropy;
mod fanout;
mod flush;
mod http;
mod http2;
mod io;
mod moving;
mod patterns;
mod proxied;
mod quota;
mod read;
mod reread;
mod review;
mod secure;
mod slot;
mod timers;

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use hashbrown::HashMap;
use omnivox_core::channel::ChannelTable;
use omnivox_core::command::CloseReason;
use omnivox_core::engine::Announcement;
use omnivox_core::outbox::OutboxLimits;
use omnivox_core::pattern_table::PatternTable;
use omnivox_core::wheel::Wheel;
use omnivox_hub::{Hub, Inbox, Inboxes};
use omnivox_wire::http1::HeadRoom;
use slab::Slab;
use tokio::sync::{Notify, mpsc, watch};

use self::conn::{Conn, Mode, Reading, SlotRef};
use self::driver::Work;
pub(crate) use self::http::{error, last_answer, throttled, throttled_stream};
pub use self::io::Stream;
pub(crate) use self::io::{Detached, Io};
pub(crate) use self::review::Inquiry;
use self::slot::Slot;
use crate::admission::{Admission, Share};
use crate::config::{AdminGate, Live};
use crate::listener::{Intake, Socket};
use crate::metrics::{ShardMetrics, add, sub};
use crate::router::Router;
use crate::traces::Tracer;

/// How long a connection that is being closed may take.
const CLOSE_GRACE_MS: u64 = 5_000;
/// How long the rest that a closed peer sends is read away, so that it reads our last words before a reset.
const LINGER_MS: u64 = 1_000;
/// Room for one read.
const SCRATCH_BYTES: usize = 64 << 10;
/// Time between two steps of a drain.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// News taken from the inbox in one turn.
const NEWS_MAX: usize = 512;
/// TLS handshakes that begin before others have their turn.
const GREETED_MAX: u32 = 4;

/// What all shards share.
pub(crate) struct Common {
    pub hub: Arc<Hub>,
    /// The ways of news to the shards.
    pub inboxes: Arc<Inboxes>,
    pub router: Router,
    /// The pages that may read answers.
    pub origins: omnivox_core::origin::Origins,
    pub metrics: Vec<Arc<ShardMetrics>>,
    pub outbox_limits: OutboxLimits,
    pub head_limits: omnivox_wire::http1::HeadLimits,
    pub admission: Arc<Admission>,
    /// Clients that are being told why they are not let in.
    pub turned_away: std::sync::atomic::AtomicU64,
    pub live: ArcSwap<Live>,
    /// Who may see the metrics.
    pub admin: Arc<ArcSwap<AdminGate>>,
    pub tls: Option<Arc<crate::tls::Tls>>,
    pub deflate: bool,
    /// Makes spans, where traces are wanted.
    pub tracer: Option<Arc<Tracer>>,
    /// Drawn at random when the node starts.
    pub node: u32,
    /// The other shards' doors.
    pub doors: Vec<mpsc::UnboundedSender<Visit>>,
    /// Connections on their way to each shard.
    pub placed: Vec<std::sync::atomic::AtomicU64>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// Whether the bytes came over TLS.
    pub secure: bool,
}

/// Something that comes to a shard's door.
pub(crate) enum Visit {
    /// A fresh connection.
    Socket(Arrival),
    /// Another stream of bytes: an embedder's, a test's.
    Stream(Box<dyn Stream>, Peer),
    /// A connection whose request belongs to a session of this shard, with what was read of it.
    Handoff(Box<Handoff>),
    /// A session that had better be here.
    Mover(Box<moving::Mover>),
    /// A request of the session with this key broke off midway.
    BrokenOff(Box<str>),
    /// Somebody asks who is connected.
    Inquiry(Box<Inquiry>),
    /// Send everyone away.
    Drain,
    /// The end.
    Stop,
}

/// A connection on its way from a listener to its shard.
pub(crate) struct Arrival {
    pub socket: Socket,
    pub peer: Peer,
    /// It begins with a TLS handshake.
    pub tls: bool,
    /// It begins with a PROXY protocol header.
    pub proxied: bool,
    pub share: Share,
}

/// A connection on its way from one shard to another.
pub(crate) struct Handoff {
    io: Detached,
    peer: Peer,
    share: Share,
    request: http::Parsed,
    unread: Vec<u8>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It does.
    Open,
    /// It does when its socket has room.
    Blocked,
    /// It does not.
    Gone,
}

/// The state of a shard.
pub(crate) struct Shard {
    id: u16,
    common: Arc<Common>,
    conns: Slab<Conn>,
    sessions: Slab<Slot>,
    table: ChannelTable,
    patterns: PatternTable,
    /// Sessions that later requests join, by their keys.
    keys: HashMap<Box<str>, SlotRef, foldhash::fast::RandomState>,
    /// Slots whose outboxes were filled in this turn.
    dirty: Vec<u32>,
    /// Sessions that take too little.
    slow: Vec<SlotRef>,
    /// Sessions that were sent more than a quota allows, and the goodbye that names it.
    over: Vec<(SlotRef, &'static str)>,
    /// Sessions that go to another shard when the turn ends.
    moves: Vec<moving::Moving>,
    /// What is still to be done in this turn.
    work: VecDeque<Work>,
    wheel: Wheel<timers::Timer>,
    /// For each slot of `sessions` the time of its earliest entry in the wheel; 0 for none.
    session_timers_ms: Vec<u64>,
    timer_target_ms: u64,
    timer_wake: Rc<Notify>,
    scratch: Box<[u8]>,
    /// Where the bytes of requests lie while they are understood, lent to one connection after the other, so that none keeps any.
    requests: Vec<u8>,
    /// Likewise for the head of a request.
    head_room: HeadRoom,
    entropy: entropy::Entropy,
    encoding: BytesMut,
    replays: fanout::ReplayCache,
    swept_ms: u64,
    generations: u32,
    start: Instant,
    /// When the turn began.
    now: Instant,
    /// The same in milliseconds since the shard started.
    now_ms: u64,
    /// The last reading of the calendar, and the `now_ms` at which it was read.
    calendar: (u64, u64),
    /// Whether everyone is being sent away.
    draining: bool,
    /// The same for tasks that wait for it.
    drains: watch::Sender<bool>,
    this: Weak<RefCell<Self>>,
}

/// A shard as its tasks hold it.
type Shared = Rc<RefCell<Shard>>;

/// The time, as the runtime counts it: a test's runtime may run ahead of the world.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A turn: the shard's state, borrowed. When it ends the other shards are woken for what was published in it.
struct Turn<'s>(RefMut<'s, Shard>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.common.inboxes.end_turn();
    }
}

impl Deref for Turn<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.0
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.0
    }
}

/// Begins a turn. All that happens in it happens at one time, so that the clock is read once and not for each step.
fn turn(shard: &Shared) -> Turn<'_> {
    let mut shard = shard.borrow_mut();
    shard.now = now();
    shard.now_ms = shard.now.saturating_duration_since(shard.start).as_millis() as u64;
    shard.common.inboxes.begin_turn();
    Turn(shard)
}

/// Runs a shard on the calling thread until it is told to stop.
pub(crate) fn run(id: u16, common: Arc<Common>, inbox: Inbox, visits: mpsc::UnboundedReceiver<Visit>, intake: Intake) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime needs only a thread and epoll").block_on(async {
        intake.begin(&common, Some(id));
        serve(id, common, inbox, visits).await;
    });
}

/// Runs a shard on the calling task's local runtime (or, in tests, `LocalSet`) until it is told to stop.
pub(crate) async fn serve(id: u16, common: Arc<Common>, inbox: Inbox, visits: mpsc::UnboundedReceiver<Visit>) {
    let shard = Rc::new_cyclic(|this| RefCell::new(Shard::new(id, common, this.clone())));
    let news = tokio::task::spawn_local(take_news(shard.clone(), inbox));
    let wheel = tokio::task::spawn_local(timers::run(shard.clone()));
    let reviews = tokio::task::spawn_local(review::run(shard.clone()));
    open_door(shard, visits).await;
    news.abort();
    wheel.abort();
    reviews.abort();
}

/// Takes news from the engine and fans them out, as many as there are in one turn.
async fn take_news(shard: Shared, mut inbox: Inbox) {
    let mut news: Vec<Announcement> = Vec::new();
    while inbox.receive(&mut news, NEWS_MAX).await {
        {
            let mut shard = turn(&shard);
            let dropped = loop {
                shard.take_all(&mut news);
                let dropped = inbox.take_overflowed(&mut news);
                if news.is_empty() {
                    break dropped;
                }
            };
            shard.reread(&dropped);
            shard.settle();
        }
        // Let reads and timers have their turn even when news never end; when they have ended, yielding would only look at all sockets once more.
        if !inbox.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets connections in until the end.
async fn open_door(shard: Shared, mut visits: mpsc::UnboundedReceiver<Visit>) {
    let mut greeted = 0;
    while let Some(visit) = visits.recv().await {
        // A crowd of handshakes, which cost most, comes in small groups between everybody else's turns.
        greeted += u32::from(matches!(&visit, Visit::Socket(Arrival { tls: true, .. })));
        if greeted == GREETED_MAX {
            greeted = 0;
            tokio::task::yield_now().await;
        }
        match visit {
            Visit::Socket(Arrival { socket, peer, tls, proxied, share }) => match arrive(&shard, socket) {
                Ok(Io::Tcp(stream)) if proxied => proxied::introduce(&shard, stream, peer, tls),
                Ok(Io::Tcp(stream)) => welcome(&shard, stream, peer, tls, share),
                Ok(io) => admit(&shard, io, peer, share),
                Err(error) => tracing::warn!(%error, "a new connection could not be watched"),
            },
            Visit::Stream(stream, peer) => admit(&shard, Io::Other(stream), peer, Share::default()),
            Visit::Handoff(handoff) => adopt(&shard, *handoff),
            Visit::Mover(mover) => moving::settle_in(&shard, *mover),
            Visit::BrokenOff(session) => {
                let mut shard = turn(&shard);
                shard.lose_session(&session);
                shard.settle();
            }
            Visit::Inquiry(inquiry) => shard.borrow().answer_inquiry(*inquiry),
            Visit::Drain => {
                tokio::task::spawn_local(drain(shard.clone()));
            }
            Visit::Stop => break,
        }
    }
}

fn arrive(shard: &Shared, socket: Socket) -> std::io::Result<Io> {
    let shard = shard.borrow();
    shard.common.arrived_on(usize::from(shard.id));
    Io::from_socket(socket)
}

/// Begins with a connection's own bytes.
fn welcome(shard: &Shared, stream: tokio::net::TcpStream, peer: Peer, tls: bool, share: Share) {
    if tls { secure::greet(shard, stream, peer, share) } else { admit(shard, Io::Tcp(stream), peer, share) }
}

fn admit(shard: &Shared, io: Io, peer: Peer, share: Share) {
    let key = turn(shard).insert_conn(io, peer, share);
    tokio::task::spawn_local(attend(shard.clone(), key));
}

fn adopt(shard: &Shared, handoff: Handoff) {
    let Ok(io) = Io::attach(handoff.io) else { return };
    let key = {
        let mut shard = turn(shard);
        let key = shard.insert_conn(io, handoff.peer, handoff.share);
        shard.conns[key as usize].unread = handoff.unread;
        shard.dispatch(key, &handoff.request);
        shard.settle();
        key
    };
    tokio::task::spawn_local(attend(shard.clone(), key));
}

/// The task of one connection: it looks at the connection whenever its socket has something to tell.
///
/// Its number may be another connection's before the task hears of its end.
fn attend(shard: Shared, key: u32) -> impl Future<Output = ()> {
    let generation = shard.borrow().conns.get(key as usize).map(|conn| conn.generation);
    std::future::poll_fn(move |cx| turn(&shard).poll_conn(key, generation, cx))
}

/// Sends everyone away at the configured pace.
async fn drain(shard: Shared) {
    let pace = shard.borrow().common.live.load().drain;
    {
        let mut shard = shard.borrow_mut();
        shard.draining = true;
        shard.drains.send_replace(true);
    }
    let begun = tokio::time::Instant::now();
    let mut sent_away = 0;
    loop {
        let due = pace.due(begun.elapsed()).saturating_sub(sent_away).min(pace.step_max());
        sent_away += due;
        {
            let mut shard = turn(&shard);
            // A stream of HTTP/2 has asked already, and is answered.
            let asks_nothing = |conn: &Conn| matches!(conn.mode, Mode::Http(_)) && !conn.io.is_bridged();
            let idle: Vec<u32> = shard.conns.iter().filter(|(_, conn)| asks_nothing(conn)).map(|(key, _)| key as u32).collect();
            idle.into_iter().for_each(|key| shard.begin_close(key));
            let some: Vec<SlotRef> =
                shard.sessions.iter().filter(|(_, slot)| !slot.ending).take(due as usize).map(|(at, slot)| slot.at(at)).collect();
            some.into_iter().for_each(|at| shard.close_session(at, CloseReason::Drain));
            shard.settle();
            let http2 = shard.metrics().http2_connections.load(Ordering::Relaxed);
            if shard.conns.is_empty() && shard.sessions.is_empty() && http2 == 0 {
                break;
            }
        }
        if begun.elapsed() > pace.deadline {
            break;
        }
        tokio::time::sleep(DRAIN_STEP).await;
    }
    let shard = shard.borrow();
    let _ = shard.common.doors[usize::from(shard.id)].send(Visit::Stop);
}

impl Shard {
    fn new(id: u16, common: Arc<Common>, this: Weak<RefCell<Self>>) -> Self {
        Self {
            id,
            common,
            conns: Slab::new(),
            sessions: Slab::new(),
            table: ChannelTable::default(),
            patterns: PatternTable::default(),
            keys: HashMap::default(),
            dirty: Vec::new(),
            slow: Vec::new(),
            over: Vec::new(),
            moves: Vec::new(),
            work: VecDeque::new(),
            wheel: Wheel::new(timers::SLOTS),
            session_timers_ms: Vec::new(),
            timer_target_ms: u64::MAX,
            timer_wake: Rc::new(Notify::new()),
            scratch: vec![0; SCRATCH_BYTES].into(),
            requests: Vec::new(),
            head_room: HeadRoom::default(),
            entropy: entropy::Entropy::new(),
            encoding: BytesMut::new(),
            replays: fanout::ReplayCache::default(),
            swept_ms: 0,
            generations: 0,
            start: now(),
            now: now(),
            now_ms: 0,
            calendar: (u64::MAX, 0),
            draining: false,
            drains: watch::Sender::new(false),
            this,
        }
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.common.metrics[usize::from(self.id)]
    }

    /// When the turn began, in milliseconds since the shard started.
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Milliseconds since the Unix epoch, read at most once in each: a turn may have hundreds of requests.
    fn unix_ms(&mut self) -> u64 {
        if self.calendar.0 != self.now_ms {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            self.calendar = (self.now_ms, since.map_or(0, |since| since.as_millis() as u64));
        }
        self.calendar.1
    }

    fn next_generation(&mut self) -> u32 {
        self.generations = self.generations.wrapping_add(1);
        self.generations
    }

    fn insert_conn(&mut self, io: Io, peer: Peer, share: Share) -> u32 {
        let generation = self.next_generation();
        let (now_ms, asked) = (self.now_ms(), io.is_bridged());
        let key = self.conns.insert(Conn::new(generation, io, peer, share, now_ms)) as u32;
        add(&self.metrics().connections, 1);
        self.schedule_conn_deadline(key);
        if self.draining && !asked {
            self.begin_close(key);
        }
        key
    }

    /// Ends a turn: does what is left to do and writes what waits.
    fn settle(&mut self) {
        loop {
            self.run_work();
            self.flush_dirty();
            self.close_slow();
            self.close_over();
            self.move_away();
            if self.work.is_empty() && self.dirty.is_empty() && self.slow.is_empty() && self.over.is_empty() {
                return;
            }
        }
    }

    /// Looks at a connection: writes, reads, ends. Ready when it is gone.
    fn poll_conn(&mut self, key: u32, generation: Option<u32>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        match self.conns.get_mut(key as usize) {
            Some(conn) if Some(conn.generation) == generation => {
                if !conn.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    conn.waker = Some(cx.waker().clone());
                }
                conn.blocked = false;
            }
            Some(_) | None => return Poll::Ready(()),
        }
        let fate = self.progress(key, cx);
        if fate == Fate::Gone {
            self.remove_conn(key);
        }
        self.settle();
        if fate == Fate::Gone { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes a connection away and tells its session.
    fn remove_conn(&mut self, key: u32) {
        let Some(conn) = self.conns.try_remove(key as usize) else { return };
        let metrics = &self.common.metrics[usize::from(self.id)];
        sub(&metrics.connections, 1);
        match conn.mode {
            Mode::WebSocket(_) => sub(&metrics.websocket_connections, 1),
            Mode::Stream { .. } => sub(&metrics.stream_connections, 1),
            Mode::Waiting(waiting) if !waiting.answered => sub(&metrics.held_requests, 1),
            Mode::Http(Reading::Body(body)) => self.break_off(&body.head),
            Mode::Waiting(_) | Mode::Http(_) | Mode::Closing { .. } => {}
        }
        if let Some(at) = conn.session {
            self.detach(at, key);
        }
    }
}
