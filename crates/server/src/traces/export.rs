//! The way of ended spans to the collector: a bounded queue, and a task that empties it in batches.
//!
//! A batch that the collector can't take now is tried again, a second later and then after twice as long each time. Meanwhile the queue fills, and
//! what does not fit is dropped.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use omnivox_hub::outgoing::{Outgoing, OutgoingError, Request, Response};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::TraceSettings;
use super::otlp;
use super::span::Record;

/// How often a batch is sent before it is given up.
const TRIES_MAX: u32 = 5;
/// The first pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries, whatever the collector asks for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a collector's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where ended spans wait.
pub(super) struct Queue {
    spans: mpsc::Sender<Record>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    exported: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

impl Queue {
    /// Takes a span, if there is room.
    pub(super) fn offer(&self, record: Record) {
        if self.spans.try_send(record).is_err() {
            self.count_dropped(1);
        }
    }

    pub(super) fn count_dropped(&self, spans: u64) {
        self.counters.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self) -> [(&'static str, &'static str, &'static str, u64); 3] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("trace_spans_exported_total", "Spans that the collector took.", "counter", value(&self.counters.exported)),
            (
                "trace_spans_dropped_total",
                "Spans that were dropped: too many at once, no room, or refused by the collector.",
                "counter",
                value(&self.counters.dropped),
            ),
            ("trace_export_failures_total", "Requests to the collector that it did not take.", "counter", value(&self.counters.failures)),
        ]
    }
}

/// The task that empties the queue, seen from outside.
pub(super) struct Exporter {
    closing: watch::Sender<Option<Instant>>,
    ended: Mutex<blocking::Receiver<()>>,
}

impl Exporter {
    /// Sends what waits, and waits until that is done or the time is over.
    pub(super) fn close(&self, most: Duration) {
        self.closing.send_replace(Some(Instant::now() + most));
        // The other end goes when the task does; a second longer, for the answer to its own deadline.
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(most + Duration::from_secs(1));
    }
}

/// Starts the task.
pub(super) fn start(settings: &TraceSettings, outgoing: Outgoing) -> (Arc<Queue>, Exporter) {
    let (spans, waiting) = mpsc::channel(settings.queue_max.max(1));
    let (closing, closed) = watch::channel(None);
    let (end, ended) = blocking::channel();
    let counters = Arc::<Counters>::default();
    let runtime = outgoing.runtime().clone();
    let shipper = Shipper { settings: settings.clone(), outgoing, counters: counters.clone(), closed };
    runtime.spawn(async move {
        shipper.run(waiting).await;
        drop(end);
    });
    (Arc::new(Queue { spans, counters }), Exporter { closing, ended: Mutex::new(ended) })
}

struct Shipper {
    settings: TraceSettings,
    outgoing: Outgoing,
    counters: Arc<Counters>,
    /// When everything must be over, once the end has begun.
    closed: watch::Receiver<Option<Instant>>,
}

impl Shipper {
    async fn run(mut self, mut waiting: mpsc::Receiver<Record>) {
        let mut batch = Vec::new();
        loop {
            let open = self.gather(&mut waiting, &mut batch).await;
            if !batch.is_empty() {
                self.ship(&batch).await;
                batch.clear();
            } else if !open {
                return;
            }
        }
    }

    /// Waits for a full batch, for the pause to be over, or for the end. False when there is nothing more to come.
    async fn gather(&mut self, waiting: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>) -> bool {
        let most = self.settings.batch_max.max(1);
        let mut sends_at: Option<Instant> = None;
        while batch.len() < most {
            if self.closed.borrow().is_some() {
                waiting.close();
                while let Ok(record) = waiting.try_recv() {
                    batch.push(record);
                    if batch.len() == most {
                        break;
                    }
                }
                return false;
            }
            let room = most - batch.len();
            let pause = async {
                match sends_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                taken = waiting.recv_many(batch, room) => match taken {
                    0 => return false,
                    _ => sends_at = sends_at.or_else(|| Some(Instant::now() + self.settings.batch_pause)),
                },
                () = pause => return true,
                changed = self.closed.changed() => if changed.is_err() { return false },
            }
        }
        true
    }

    /// Sends a batch until it is taken or given up.
    async fn ship(&mut self, batch: &[Record]) {
        let spans = batch.len() as u64;
        let body = bytes::Bytes::from(otlp::request(&self.settings.resource, batch));
        let mut pause = PAUSE;
        for tried in 1..=TRIES_MAX {
            let last = tried == TRIES_MAX || self.closed.borrow().is_some();
            let answer = self.send(body.clone()).await;
            let (why, again) = match answer {
                Ok(answer) if answer.is_success() => {
                    let rejected = otlp::rejected(&answer.body).min(spans);
                    self.counters.exported.fetch_add(spans - rejected, Ordering::Relaxed);
                    self.counters.dropped.fetch_add(rejected, Ordering::Relaxed);
                    return;
                }
                Ok(answer) => {
                    pause = asked_pause(&answer).unwrap_or(pause);
                    (format!("the collector answers {}", answer.status), matches!(answer.status, 429 | 502..=504))
                }
                Err(error) => (error.to_string(), error.is_passing()),
            };
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(endpoint = %self.settings.endpoint, spans, "traces could not be sent: {why}");
            if !again || last {
                break;
            }
            self.wait(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.counters.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    async fn send(&self, body: bytes::Bytes) -> Result<Response, OutgoingError> {
        let mut request = Request::post_json(self.settings.endpoint.clone(), body);
        request.headers.extend(self.settings.headers.iter().cloned());
        request.body_bytes_max = ANSWER_BYTES_MAX;
        request.deadline = self.settings.timeout;
        let sending = self.outgoing.fetch(request);
        tokio::pin!(sending);
        let mut closed = self.closed.clone();
        let over = async {
            let deadline = closed.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
            tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await;
        };
        tokio::select! {
            answer = &mut sending => answer,
            () = over => Err(OutgoingError::Stopped),
        }
    }

    /// Waits before the next try; when the server ends meanwhile, that is the last one and comes at once.
    async fn wait(&mut self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.closed.wait_for(Option::is_some) => {}
        }
    }
}

/// How long the collector asks us to wait.
fn asked_pause(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}
