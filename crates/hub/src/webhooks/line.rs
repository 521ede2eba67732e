//! One webhook at work: what happens is taken in, held back or queued, stored, and delivered.
//!
//! ```text
//! occurrence ── take ──> held 3 s ──> queue ──> batch ──> request, again until it is through or too old
//!                                       └── stored before and struck out afterwards
//! ```
//!
//! Invariant: no lock is held across an await, and none while a file is written but that of the file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use omnivox_core::webhook::{Attempt, AttemptStatus};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Tools;
use super::held::Held;
use super::journal::add;
use super::occurrence::{Occurrence, Stay};
use super::outbox::{End, Outbox, Record, Stored};
use super::queue::{Batch, Entry, Next, Queue, Rule};
use super::settings::WebhookSettings;
use crate::outgoing::{OutgoingError, Request, Response};
use crate::traces::{self, Going, Trace};

/// The pause before the first repetition; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, whatever the receiver asks for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A webhook at work.
pub(super) struct Line {
    settings: ArcSwap<WebhookSettings>,
    tools: Arc<Tools>,
    state: Mutex<State>,
    outbox: Option<Mutex<Outbox>>,
    /// There may be something to send.
    pub(super) wake: Notify,
    /// Counts how often the settings were replaced: what waits to be tried again is tried at once.
    renewed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    held: Held<Stay, Ending>,
    held_bytes: usize,
    numbers: u64,
    /// What is to be written to the outbox, in order.
    unwritten: Vec<Record>,
    /// The receiver is gone: it said so.
    gone: bool,
    /// The settings have no such webhook any more: what waits is delivered, nothing more is taken in.
    retired: bool,
    /// Whether [`Line::work`] runs.
    at_work: bool,
}

/// An end that is held back: none when the webhook did not ask for it, but for what it takes back.
type Ending = Option<Entry>;

impl State {
    /// Bytes that are held on to.
    fn bytes(&self) -> usize {
        self.queue.bytes() + self.held_bytes
    }

    /// Holds an end back; gives the one that was held for the same stay.
    fn hold(&mut self, stay: Stay, due: Instant, ending: Ending) -> Ending {
        self.held_bytes += bytes(&ending);
        let before = self.held.hold(stay, due, ending).flatten();
        self.held_bytes -= bytes(&before);
        before
    }

    /// Takes an end back, if one is held for the stay.
    fn take_back(&mut self, stay: &Stay) -> Option<Ending> {
        let ending = self.held.take_back(stay)?;
        self.held_bytes -= bytes(&ending);
        Some(ending)
    }
}

fn bytes(ending: &Ending) -> usize {
    ending.as_ref().map_or(0, Entry::bytes)
}

/// What an answer means.
enum Verdict {
    Delivered,
    Again(Option<Duration>),
    Never,
}

impl Line {
    /// A webhook, with what waits for it in its file.
    pub(super) fn new(settings: WebhookSettings, tools: Arc<Tools>, stored: Option<(Outbox, Vec<Stored>)>) -> Self {
        let now = Instant::now();
        let mut state = State::default();
        let (outbox, waiting) = stored.map_or((None, Vec::new()), |(outbox, waiting)| (Some(Mutex::new(outbox)), waiting));
        for stored in waiting {
            state.numbers = state.numbers.max(stored.number);
            let Stored { number, id, channel, event, .. } = &stored;
            let entry =
                Entry { number: *number, id: id.clone().into(), channel: channel.clone(), event: event.clone(), since: now, trace: None };
            // Whoever comes back after the restart was never gone.
            match stored.end {
                End::None => state.queue.push(entry),
                End::Channel => drop(state.hold(Stay::Channel(stored.channel), now + settings.debounce, Some(entry))),
                End::User(user) => drop(state.hold(Stay::User(stored.channel, user), now + settings.debounce, Some(entry))),
            }
        }
        Self {
            settings: ArcSwap::from_pointee(settings),
            tools,
            state: Mutex::new(state),
            outbox,
            wake: Notify::new(),
            renewed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its settings.
    pub(super) fn settings(&self) -> Arc<WebhookSettings> {
        self.settings.load_full()
    }

    /// Takes over new settings; a receiver that was gone gets another chance.
    pub(super) fn replace(&self, settings: WebhookSettings) {
        self.settings.store(Arc::new(settings));
        let mut state = self.state();
        (state.gone, state.retired) = (false, false);
        drop(state);
        self.renewed.send_modify(|times| *times += 1);
        self.wake.notify_one();
    }

    /// Takes nothing more in.
    pub(super) fn retire(&self) {
        self.state().retired = true;
        self.wake.notify_one();
    }

    /// Whether it was not at work; from now on it is.
    pub(super) fn begins(&self) -> bool {
        !std::mem::replace(&mut self.state().at_work, true)
    }

    /// Whether there is nothing left to do, ever; then it is no longer at work.
    fn is_over(&self) -> bool {
        let mut state = self.state();
        let over = state.retired && state.queue.count() == 0 && state.held.len() == 0;
        state.at_work &= !over;
        over
    }

    /// Events that wait, what they hold on to, and since when the oldest one waits.
    pub(super) fn load(&self) -> (usize, usize, Option<Instant>) {
        let state = self.state();
        (state.queue.count() + state.held.len(), state.bytes(), state.queue.oldest())
    }

    /// Takes an occurrence in, if the webhook is about it.
    pub(super) fn take(&self, id: &Arc<str>, occurrence: &Occurrence, now: Instant) {
        let settings = self.settings.load();
        if settings.app != occurrence.app || !settings.is_about(&occurrence.channel) {
            return;
        }
        let mut state = self.state();
        if state.retired {
            return;
        }
        let stay = occurrence.stay();
        if let Some(end) = stay.as_ref().filter(|_| !occurrence.is_end()).and_then(|stay| state.take_back(stay)) {
            add(&self.tools.counters.taken_back, 1);
            if let Some(entry) = end {
                self.strike_out(&mut state, vec![entry.number]);
            }
            return;
        }
        let wanted = settings.kinds.contains(occurrence.kind());
        let entry = wanted.then(|| self.entry(&mut state, &settings, id, occurrence, now)).flatten();
        match stay.filter(|_| occurrence.is_end() && !settings.debounce.is_zero()) {
            Some(stay) => {
                if let Some(entry) = &entry {
                    self.store(&mut state, entry, end_of(&stay));
                }
                if let Some(before) = state.hold(stay, now + settings.debounce, entry) {
                    self.strike_out(&mut state, vec![before.number]);
                }
            }
            None => {
                if let Some(entry) = entry {
                    self.store(&mut state, &entry, End::None);
                    state.queue.push(entry);
                }
            }
        }
    }

    /// Queues an occurrence for this webhook alone, whatever it asked for.
    pub(super) fn put(&self, id: &Arc<str>, occurrence: &Occurrence, now: Instant) -> bool {
        let settings = self.settings.load();
        let mut state = self.state();
        let entry = if state.retired { None } else { self.entry(&mut state, &settings, id, occurrence, now) };
        let Some(entry) = entry else { return false };
        self.store(&mut state, &entry, End::None);
        state.queue.push(entry);
        true
    }

    fn entry(&self, state: &mut State, settings: &WebhookSettings, id: &Arc<str>, occurrence: &Occurrence, now: Instant) -> Option<Entry> {
        let event = settings.format.event(id, occurrence)?;
        if state.gone || state.bytes() + event.len() > self.tools.outbox_bytes_max {
            add(&self.tools.counters.dropped, 1);
            return None;
        }
        state.numbers += 1;
        add(&self.tools.counters.queued, 1);
        let trace = occurrence.trace.clone().map(Box::new);
        Some(Entry { number: state.numbers, id: id.clone(), channel: occurrence.channel.clone(), event, since: now, trace })
    }

    fn store(&self, state: &mut State, entry: &Entry, end: End) {
        if self.outbox.is_some() {
            let Entry { number, id, channel, event, .. } = entry.clone();
            state.unwritten.push(Record::Waits(Stored { number, id: Box::from(&*id), channel, end, event }));
        }
    }

    fn strike_out(&self, state: &mut State, numbers: Vec<u64>) {
        if self.outbox.is_some() && !numbers.is_empty() {
            state.unwritten.push(Record::Done(numbers));
        }
    }

    /// Queues the ends whose time has come, or all of them. Gives when the next one is due.
    pub(super) fn release(&self, now: Instant, all: bool) -> Option<Instant> {
        let mut state = self.state();
        let due = if all { state.held.all() } else { state.held.due(now) };
        let next = state.held.next_due();
        // Its wait for company begins now, and so does the time for which it is tried.
        for entry in due.into_iter().flatten() {
            state.held_bytes -= entry.bytes();
            state.queue.push(Entry { since: now, ..entry });
        }
        next
    }

    /// Whether what is held back is stored, so that it may wait for the next start.
    pub(super) fn is_stored(&self) -> bool {
        self.outbox.is_some()
    }

    /// Writes down what changed.
    pub(super) async fn write(self: &Arc<Self>) {
        if self.outbox.is_none() || self.state().unwritten.is_empty() {
            return;
        }
        let line = self.clone();
        let writing = tokio::task::spawn_blocking(move || line.write_now());
        let _ = writing.await;
    }

    fn write_now(&self) {
        let Some(outbox) = &self.outbox else { return };
        let mut outbox = outbox.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken behind the lock of the file, so that records are written in the order in which they were made.
        let records = std::mem::take(&mut self.state().unwritten);
        if let Err(error) = outbox.append(&records) {
            add(&self.tools.counters.outbox_failures, 1);
            let webhook = &*self.settings.load().id;
            tracing::error!(webhook, %error, "the outbox can't be written; what waits is in memory alone");
        }
    }

    /// Sends what is due until the webhook is over.
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            let settings = self.settings();
            let rule = Rule { batch_max: settings.batch_max, batch_delay: settings.batch_delay, concurrency_max: settings.concurrency_max };
            let next = self.state().queue.next(&rule, Instant::now());
            match next {
                Next::Batch(batch) => {
                    tokio::spawn(self.clone().deliver(batch));
                }
                Next::At(due) => {
                    let _ = tokio::time::timeout_at(due, self.wake.notified()).await;
                }
                Next::Later if self.is_over() => return,
                Next::Later => self.wake.notified().await,
            }
        }
    }

    /// Brings a batch to the receiver, or gives it up.
    async fn deliver(self: Arc<Self>, batch: Batch) {
        let settings = self.settings();
        let events: Vec<Bytes> = batch.entries.iter().map(|entry| entry.event.clone()).collect();
        let body = settings.format.body(&settings.app, &settings.id, &events);
        let id = batch_id(&batch);
        let sending = sending(&settings.id, &batch);
        let mut renewed = self.renewed.subscribe();
        let mut delivered = false;
        for attempt in 1.. {
            let settings = self.settings();
            let give_up_at = batch.entries.first().map_or_else(Instant::now, |entry| entry.since + settings.retry_for);
            let verdict = self.attempt(&settings, &id, &body, (attempt, sending.as_ref()), (batch.entries.len(), give_up_at)).await;
            match verdict {
                Verdict::Delivered => delivered = true,
                Verdict::Again(Some(pause)) => {
                    let _ = tokio::time::timeout(pause, renewed.changed()).await;
                    continue;
                }
                Verdict::Again(None) | Verdict::Never => {}
            }
            break;
        }
        if let Some(mut sending) = sending.filter(|_| !delivered) {
            sending.going.failed("given_up");
        }
        let counters = &self.tools.counters;
        add(if delivered { &counters.delivered } else { &counters.failed }, batch.entries.len());
        self.finish(&batch);
        self.write().await;
        self.tools.progress.send_modify(|times| *times += 1);
        self.wake.notify_one();
    }

    /// Strikes a batch out, and everything else when the receiver is gone.
    fn finish(&self, batch: &Batch) {
        let mut state = self.state();
        state.queue.finish(batch);
        let mut done: Vec<u64> = batch.entries.iter().map(|entry| entry.number).collect();
        if state.gone {
            let given_up = state.queue.clear();
            add(&self.tools.counters.failed, given_up.len());
            done.extend(given_up.iter().map(|entry| entry.number));
        }
        self.strike_out(&mut state, done);
    }

    /// One request, and what is to be done after it.
    async fn attempt(
        &self,
        settings: &WebhookSettings,
        id: &Arc<str>,
        body: &Bytes,
        (attempt, sending): (u32, Option<&Sending>),
        (events, give_up_at): (usize, Instant),
    ) -> Verdict {
        let tools = &self.tools;
        let (at_ms, begin) = ((tools.clock)(), Instant::now());
        let signing = super::format::Signing { secrets: &settings.secrets, id, body, now_ms: at_ms };
        let mut request = Request::post_json(settings.url.clone(), body.clone());
        request.headers.extend(settings.headers.iter().cloned());
        request.headers.extend(settings.format.headers(&signing));
        request.deadline = settings.timeout;
        // The receiver tells repetitions by their id.
        request.repeatable = true;
        add(&tools.counters.attempts, 1);
        let going = sending.and_then(|sending| sending.trace.begin(&mut request, &settings.id, attempt - 1));
        let result = tools.sender.send(request).await;
        traces::end(going, &result);
        let mut verdict = judge(&result);
        if let Verdict::Again(asked) = verdict {
            let pause = pause(attempt).max(asked.unwrap_or_default());
            verdict = Verdict::Again(Some(pause).filter(|pause| Instant::now() + *pause <= give_up_at));
        }
        let next = match &verdict {
            Verdict::Again(pause) => *pause,
            Verdict::Delivered | Verdict::Never => None,
        };
        let status = match (&verdict, next) {
            (Verdict::Delivered, _) => AttemptStatus::Delivered,
            (_, Some(_)) => AttemptStatus::Retrying,
            (_, None) => AttemptStatus::Failed,
        };
        let answer = result.as_ref().ok().map(|response| response.status);
        let error = result.as_ref().err().map(|error| error.to_string().into_boxed_str());
        if status == AttemptStatus::Failed {
            let why = error.as_deref().unwrap_or("the answer is no success");
            tracing::warn!(webhook = &*settings.id, answer, events, why, "a webhook is given up");
        }
        if answer == Some(GONE) {
            self.state().gone = true;
            tracing::warn!(
                webhook = &*settings.id,
                "the receiver says it is gone (410): it gets nothing more until the settings are read again"
            );
        }
        let duration_ms = millis(begin.elapsed());
        let next_at_ms = next.map(|pause| (tools.clock)() + millis(pause));
        let webhook = settings.id.clone();
        let id = id.clone();
        tools.journal.write(&settings.app, Attempt { id, webhook, at_ms, attempt, events, status, answer, error, duration_ms, next_at_ms });
        verdict
    }
}

/// The span of a batch's way to the receiver, all attempts included.
struct Sending {
    trace: Trace,
    going: Box<dyn Going>,
}

/// Begins it, when something in the batch is a part of a trace: with links, as it may be several traces', and its own end comes much later.
fn sending(webhook: &str, batch: &Batch) -> Option<Sending> {
    let tracing = batch.entries.iter().find_map(|entry| Some(entry.trace.as_ref()?.tracing.clone()))?;
    let mut links: Vec<traces::Context> = Vec::new();
    for context in batch.entries.iter().filter_map(|entry| Some(&entry.trace.as_ref()?.context)) {
        if links.len() < LINKS_MAX && links.last() != Some(context) {
            links.push(context.clone());
        }
    }
    let going = tracing.send(webhook, batch.entries.len(), links)?;
    Some(Sending { trace: Trace { tracing, context: going.context().clone() }, going })
}

/// The most links of a span, as many as OpenTelemetry's own libraries keep.
const LINKS_MAX: usize = 128;

/// The receiver wants nothing more, now and ever.
const GONE: u16 = 410;
/// It will never take such a body.
const TOO_LARGE: u16 = 413;

fn judge(result: &Result<Response, OutgoingError>) -> Verdict {
    match result {
        Ok(response) if response.is_success() => Verdict::Delivered,
        Ok(response) if matches!(response.status, GONE | TOO_LARGE) => Verdict::Never,
        Ok(response) => {
            let seconds = response.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Verdict::Again(seconds.map(|seconds| Duration::from_secs(seconds).min(PAUSE_MAX)))
        }
        Err(OutgoingError::Request(_)) => Verdict::Never,
        Err(_) => Verdict::Again(None),
    }
}

/// The pause behind an attempt: between a half and the whole of what doubling gives, so that not all come back at once.
fn pause(attempt: u32) -> Duration {
    let whole = PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(PAUSE_MAX);
    let mut random = [0; 2];
    // Without randomness the pause is a whole one.
    let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX));
    whole.mul_f64(0.5 + share / 2.0)
}

/// What the receiver tells a batch by: the first event, and how many follow.
fn batch_id(batch: &Batch) -> Arc<str> {
    let Some(first) = batch.entries.first() else { return "".into() };
    match batch.entries.len() {
        1 => first.id.clone(),
        more => format!("{}-{more}", first.id).into(),
    }
}

fn end_of(stay: &Stay) -> End {
    match stay {
        Stay::Channel(_) => End::Channel,
        Stay::User(_, user) => End::User(user.clone()),
        // A session does not outlive its server, so nothing can take this back after a restart.
        Stay::Entry(..) => End::None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
