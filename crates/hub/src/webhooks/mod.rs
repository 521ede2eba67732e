//! Webhooks: back ends are told what happens in their app, by signed requests.
//!
//! - [`occurrence`]: what happens; [`format`](mod@format): how a receiver is told of it; [`settings`]: what a webhook is.
//! - `line`: one webhook at work; `held`: ends that may be taken back; `queue`: what waits, and in which order it goes out.
//! - `outbox`: what waits, on the disk; `journal`: what deliveries came to.
//!
//! An engine tells [`Webhooks`] what happens, as its [`Witness`], in the middle of its own work. Where nobody listens that costs one load of a
//! flag; where somebody does, a look at the app's webhooks and a place in one bounded queue. Everything else happens on the runtime beside the
//! shards.
//!
//! *Occupied* means occupied as the engine sees it. The memory engine knows one node, so there it is this node's subscribers; an engine that
//! spans nodes tells the same things for all of them, and tells each to one node only, so nothing here changes.
//!
//! Invariant: the engine never waits for a webhook; what there is no room for is dropped and counted.

mod door;
pub mod format;
mod held;
mod journal;
mod line;
pub mod occurrence;
mod outbox;
mod queue;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use omnivox_core::engine::Witness;
use omnivox_core::event::{MemberAction, PresenceEvent};
use omnivox_core::name::{AppId, ChannelKey, ChannelName};
use omnivox_core::pattern::Pattern;
use omnivox_core::publication::{Place, Publication};
use omnivox_core::webhook::{Attempt, AttemptQuery};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use self::format::{BodyFormat, Signing, Standard};
use self::journal::Journal;
pub use self::journal::WebhookCounters;
use self::line::Line;
pub use self::occurrence::{Kind, Kinds, Occurrence, What};
use self::outbox::Outbox;
pub use self::settings::{WebhookSettings, WebhooksConfig};
use crate::memory::Clock;
use crate::outgoing::{Outgoing, OutgoingError, Request, Response};

/// How many occurrences are taken in before the outboxes are written.
const GROUP_MAX: usize = 1_024;
/// How long the end of a server waits for webhooks whose events are stored: they are not lost, so it need not be long.
const STORED_PATIENCE: Duration = Duration::from_secs(2);

/// What brings a request to a receiver.
pub trait Sender: Send + Sync + 'static {
    /// Asks, and waits for the whole answer.
    fn send(&self, request: Request) -> Sending;
}

/// The way to an answer.
pub type Sending = Pin<Box<dyn Future<Output = Result<Response, OutgoingError>> + Send>>;

impl Sender for Outgoing {
    fn send(&self, request: Request) -> Sending {
        let outgoing = self.clone();
        Box::pin(async move { outgoing.fetch(request).await })
    }
}

/// What all lines share.
struct Tools {
    sender: Arc<dyn Sender>,
    clock: Clock,
    counters: WebhookCounters,
    journal: Journal,
    outbox_bytes_max: usize,
    /// Changes whenever a batch is through.
    progress: watch::Sender<u64>,
}

/// The webhooks of a node.
pub struct Webhooks {
    any: AtomicBool,
    listening: ArcSwap<Listening>,
    orders: mpsc::Sender<Order>,
    incoming: Mutex<Option<mpsc::Receiver<Order>>>,
    lines: ArcSwap<Vec<Arc<Line>>>,
    tools: Arc<Tools>,
    runtime: OnceLock<Handle>,
    folder: Option<Folder>,
}

/// Who wants to hear of what, by app.
type Listening = HashMap<AppId, Vec<(Kinds, Vec<Pattern>)>, foldhash::fast::RandomState>;

enum Order {
    Take(Occurrence),
    /// For one webhook, and who wants to know whether it is there.
    Test(Arc<str>, Occurrence, oneshot::Sender<Option<Arc<str>>>),
    /// The lines are others.
    Renew,
    /// Everything before this is taken in; what is held back and not stored is held no longer.
    Settle(oneshot::Sender<()>),
}

impl Webhooks {
    /// The webhooks of the settings, with what still waits for them. Nothing is sent before [`start`](Self::start).
    pub fn open(config: WebhooksConfig, sender: Arc<dyn Sender>, clock: Clock) -> io::Result<Arc<Self>> {
        let (orders, incoming) = mpsc::channel(config.queue_max.max(1));
        let folder = config.folder.as_deref().map(Folder::open).transpose()?;
        let tools = Tools {
            sender,
            clock,
            counters: WebhookCounters::default(),
            journal: Journal::new(config.log_max),
            outbox_bytes_max: config.outbox_bytes_max,
            progress: watch::Sender::new(0),
        };
        let webhooks = Self {
            any: AtomicBool::new(false),
            listening: ArcSwap::default(),
            orders,
            incoming: Mutex::new(Some(incoming)),
            lines: ArcSwap::default(),
            tools: Arc::new(tools),
            runtime: OnceLock::new(),
            folder,
        };
        webhooks.replace(config.webhooks)?;
        Ok(Arc::new(webhooks))
    }

    /// Begins to work on the runtime. Only the first call counts.
    pub fn start(self: &Arc<Self>, runtime: &Handle) {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(incoming) = incoming {
            let _ = self.runtime.set(runtime.clone());
            self.lines.load().iter().for_each(|line| self.set_to_work(line));
            runtime.spawn(self.clone().take_in(incoming));
        }
    }

    /// Takes over other webhooks. One that stays keeps what waits for it; what waits for one that is gone is delivered as it was to be.
    pub fn replace(&self, webhooks: Vec<WebhookSettings>) -> io::Result<()> {
        let known = self.lines.load_full();
        let mut lines: Vec<Arc<Line>> = Vec::with_capacity(webhooks.len());
        let listening = listening(&webhooks);
        for settings in webhooks {
            let same = |line: &&Arc<Line>| {
                let known = line.settings();
                known.id == settings.id && known.app == settings.app
            };
            match known.iter().find(same) {
                Some(line) => {
                    line.replace(settings);
                    self.set_to_work(line);
                    lines.push(line.clone());
                }
                None => lines.push(self.line(settings)?),
            }
        }
        for line in known.iter().filter(|line| !lines.iter().any(|kept| Arc::ptr_eq(kept, line))).cloned().collect::<Vec<_>>() {
            line.retire();
            lines.push(line);
        }
        self.any.store(!listening.is_empty(), Ordering::Relaxed);
        self.listening.store(Arc::new(listening));
        self.lines.store(Arc::new(lines));
        if self.runtime.get().is_some() {
            // When the queue is full somebody looks at the lines soon anyhow.
            let _ = self.orders.try_send(Order::Renew);
        }
        Ok(())
    }

    fn line(&self, settings: WebhookSettings) -> io::Result<Arc<Line>> {
        let stored = self.folder.as_ref().map(|folder| folder.outbox(&settings)).transpose()?;
        let line = Arc::new(Line::new(settings, self.tools.clone(), stored));
        self.set_to_work(&line);
        Ok(line)
    }

    /// Unless it is at work, or nobody is yet.
    fn set_to_work(&self, line: &Arc<Line>) {
        if let Some(runtime) = self.runtime.get()
            && line.begins()
        {
            runtime.spawn(line.clone().work());
        }
    }

    /// Whether a webhook of the app wants to hear of publications.
    pub fn wants_publications(&self, app: &AppId) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.listening.load().get(app).is_some_and(|interests| {
                interests.iter().any(|(kinds, _)| kinds.contains(Kind::Message) || kinds.contains(Kind::ClientEvent))
            })
    }

    /// Sends a webhook of the app an event that means nothing; its id, when there is such a webhook.
    pub async fn test(&self, app: &AppId, webhook: &str) -> Option<Arc<str>> {
        let channel = ChannelName::parse("test").ok()?;
        let occurrence = Occurrence::now(app, &channel, (self.tools.clock)(), What::Test);
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Test(webhook.into(), occurrence, answer)).await.ok()?;
        answered.await.ok().flatten()
    }

    /// How deliveries of the app went.
    pub fn deliveries(&self, app: &AppId, query: &AttemptQuery) -> Vec<Attempt> {
        self.tools.journal.read(app, query)
    }

    /// Delivers what waits, for as long as that may take, and writes down what is left. Called when no client is left.
    pub async fn settle(&self, patience: Duration) {
        let stored = self.folder.is_some();
        let deadline = Instant::now() + if stored { patience.min(STORED_PATIENCE) } else { patience };
        let settling = async {
            let mut progress = self.tools.progress.subscribe();
            let (done, is_done) = oneshot::channel();
            if self.orders.send(Order::Settle(done)).await.is_err() || is_done.await.is_err() {
                return;
            }
            while self.lines.load().iter().any(|line| line.load().2.is_some()) && progress.changed().await.is_ok() {}
        };
        let settled = tokio::time::timeout_at(deadline, settling).await.is_ok();
        for line in self.lines.load().iter() {
            line.write().await;
            let (waiting, ..) = line.load();
            if !settled && waiting > 0 && !line.is_stored() {
                let webhook = &*line.settings().id;
                tracing::warn!(webhook, waiting, "events of a webhook are lost: they are not stored (`webhooks.folder`)");
            }
        }
        // The next server may have it before the last thread of this one is gone.
        let _ = self.folder.as_ref().map(|folder| folder.lock.unlock());
    }

    /// Name, help, kind and value of what is counted.
    pub fn entries(&self) -> [(&'static str, &'static str, &'static str, u64); 10] {
        let counters = &self.tools.counters;
        let (mut waiting, mut bytes, mut oldest) = (0, 0, None);
        for line in self.lines.load().iter() {
            let (count, held, since) = line.load();
            (waiting, bytes) = (waiting + count, bytes + held);
            oldest = oldest.into_iter().chain(since).min();
        }
        let age = oldest.map_or(0, |since: Instant| since.elapsed().as_secs());
        let counter = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("webhook_events_waiting", "Events that wait for receivers of webhooks.", "gauge", waiting as u64),
            ("webhook_outbox_bytes", "Bytes that they hold on to.", "gauge", bytes as u64),
            ("webhook_oldest_seconds", "How long the oldest of them waits.", "gauge", age),
            ("webhook_events_queued_total", "Events that were taken into outboxes.", "counter", counter(&counters.queued)),
            ("webhook_events_delivered_total", "Events that receivers took.", "counter", counter(&counters.delivered)),
            ("webhook_events_failed_total", "Events that were given up.", "counter", counter(&counters.failed)),
            ("webhook_events_dropped_total", "Events that there was no room for.", "counter", counter(&counters.dropped)),
            ("webhook_events_taken_back_total", "Ends that were taken back in time.", "counter", counter(&counters.taken_back)),
            ("webhook_attempts_total", "Requests to receivers of webhooks.", "counter", counter(&counters.attempts)),
            ("webhook_outbox_failures_total", "Times that an outbox could not be written.", "counter", counter(&counters.outbox_failures)),
        ]
    }

    /// Takes occurrences in as they come, and lets ends go when they are due.
    async fn take_in(self: Arc<Self>, mut incoming: mpsc::Receiver<Order>) {
        // What was held back before the start is due some time, also if nothing happens until then.
        let mut due = self.lines.load().iter().filter_map(|line| line.release(Instant::now(), false)).min();
        let mut orders = Vec::new();
        let mut ids = Ids::new();
        loop {
            let more = match due {
                Some(due) => tokio::time::timeout_at(due, incoming.recv_many(&mut orders, GROUP_MAX)).await,
                None => Ok(incoming.recv_many(&mut orders, GROUP_MAX).await),
            };
            if more == Ok(0) {
                return;
            }
            let (lines, now) = (self.lines.load_full(), Instant::now());
            let (mut tested, mut settled) = (Vec::new(), Vec::new());
            for order in orders.drain(..) {
                match order {
                    Order::Take(occurrence) => {
                        let id = ids.next();
                        lines.iter().for_each(|line| line.take(&id, &occurrence, now));
                    }
                    Order::Test(webhook, occurrence, answer) => {
                        let id = ids.next();
                        let named = |line: &&Arc<Line>| {
                            let settings = line.settings();
                            settings.id == webhook && settings.app == occurrence.app
                        };
                        let put = lines.iter().find(named).is_some_and(|line| line.put(&id, &occurrence, now));
                        tested.push((answer, put.then_some(id)));
                    }
                    Order::Renew => {}
                    Order::Settle(done) => settled.push(done),
                }
            }
            let releasing = |line: &Arc<Line>| line.release(now, !settled.is_empty() && !line.is_stored());
            due = lines.iter().filter_map(releasing).min();
            for line in lines.iter() {
                line.write().await;
                line.wake.notify_one();
            }
            // Whoever does not wait any more misses nothing.
            for (answer, id) in tested {
                let _ = answer.send(id);
            }
            for done in settled {
                let _ = done.send(());
            }
        }
    }

    /// Gives the occurrence on when somebody wants to hear of it.
    fn tell(&self, kind: Kind, key: (&AppId, &ChannelName), occurrence: impl FnOnce() -> Occurrence) {
        let (app, channel) = key;
        let listening = self.listening.load();
        let Some(interests) = listening.get(app).filter(|_| !channel.is_inbox()) else { return };
        let wanted = |(kinds, patterns): &(Kinds, Vec<Pattern>)| {
            kinds.contains(kind) && patterns.iter().any(|pattern| pattern.matches(channel.as_str()))
        };
        if interests.iter().any(wanted) && self.orders.try_send(Order::Take(occurrence())).is_err() {
            journal::add(&self.tools.counters.dropped, 1);
        }
    }
}

impl Witness for Webhooks {
    fn published(&self, publication: &Arc<Publication>) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let kind = if publication.draft.author.is_some() { Kind::ClientEvent } else { Kind::Message };
        let Publication { app, at_ms, places, .. } = &**publication;
        for (place, Place { channel, .. }) in places.iter().enumerate() {
            let what = || What::Message(publication.clone(), place);
            self.tell(kind, (app, channel), || Occurrence::now(app, channel, *at_ms, what()));
        }
    }

    fn occupied(&self, key: &ChannelKey, occupied: bool) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let (kind, what) = if occupied { (Kind::Occupied, What::Occupied) } else { (Kind::Vacated, What::Vacated) };
        let ChannelKey { app, channel } = key;
        let at_ms = || (self.tools.clock)();
        self.tell(kind, (app, channel), || Occurrence::now(app, channel, at_ms(), what));
    }

    fn appeared(&self, app: &AppId, event: &Arc<PresenceEvent>) {
        if !event.only_of_user || !self.any.load(Ordering::Relaxed) {
            return;
        }
        let (kind, what) = match event.action {
            MemberAction::Enter => (Kind::MemberAdded, What::MemberAdded(event.clone())),
            MemberAction::Leave => (Kind::MemberRemoved, What::MemberRemoved(event.clone())),
            MemberAction::Update => return,
        };
        let (channel, at_ms) = (&event.channel, || (self.tools.clock)());
        self.tell(kind, (app, channel), || Occurrence::now(app, channel, at_ms(), what));
    }
}

fn listening(webhooks: &[WebhookSettings]) -> Listening {
    let mut listening = Listening::default();
    for webhook in webhooks {
        listening.entry(webhook.app.clone()).or_default().push((webhook.kinds.with_counterparts(), webhook.channels.clone()));
    }
    listening
}

/// The ids of events: unlike those of any other start, and of any other node.
struct Ids {
    start: String,
    next: u64,
}

impl Ids {
    fn new() -> Self {
        let mut random = [0; 12];
        // Two starts without randomness would be told apart by nothing; a system that has none does not get this far.
        let _ = getrandom::fill(&mut random);
        Self { start: random.iter().map(|byte| format!("{byte:02x}")).collect(), next: 0 }
    }

    fn next(&mut self) -> Arc<str> {
        self.next += 1;
        format!("{}-{}", self.start, self.next).into()
    }
}

/// Where outboxes are; no other process has it at the same time.
struct Folder {
    path: std::path::PathBuf,
    lock: File,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = File::options().write(true).create(true).truncate(false).open(path.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another server stores its webhooks there"))?;
        Ok(Self { path: path.to_owned(), lock })
    }

    fn outbox(&self, settings: &WebhookSettings) -> io::Result<(Outbox, Vec<outbox::Stored>)> {
        // The name of an app may be anything, that of a file may not.
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let escaped =
            settings.app.as_str().bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("_{byte:02x}") });
        let app = escaped.collect::<String>();
        let found = Outbox::open(&self.path.join(format!("{app}.{}.outbox", settings.id)))?;
        let (webhook, waiting) = (&*settings.id, found.waiting.len());
        if found.cut_bytes > 0 {
            tracing::warn!(webhook, cut_bytes = found.cut_bytes, "the end of the outbox was damaged and is cut off");
        }
        if waiting > 0 {
            tracing::info!(webhook, waiting, "events from before wait for a webhook");
        }
        Ok((found.outbox, found.waiting))
    }
}
