//! One back end: how it is asked.
//!
//! A question waits for its turn, is sent, and sent again when nobody could take it; all of that within the hook's deadline. Every way in which
//! this fails has a word for metrics, a line in the log and a refusal that names the setting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use omnivox_auth::secret::hex;
use omnivox_auth::signature::sign_webhook;
use omnivox_core::command::Denied;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::cache::Cache;
use super::question::Question;
use super::settings::HookSettings;
use super::verdict::Verdict;
use crate::memory::Clock;
use crate::outgoing::{Outgoing, OutgoingError, Request};
use crate::traces::{self, Trace};

/// A back end and what is known of it.
pub(crate) struct Hook {
    pub(crate) settings: HookSettings,
    breaker: Arc<Breaker>,
    cache: Cache,
    room: Semaphore,
    counters: Arc<Counters>,
}

/// What was counted.
#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    answers: AtomicU64,
    denials: AtomicU64,
    failures: AtomicU64,
    cached: AtomicU64,
    queue_refusals: AtomicU64,
    breaker_refusals: AtomicU64,
    breaker_openings: AtomicU64,
    in_flight: AtomicU64,
    queued: AtomicU64,
    microseconds: AtomicU64,
}

/// Why there is no verdict.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("its breaker is open, so it is not asked (breaker_failures, breaker_pause_ms)")]
    Open,
    #[error("too many questions wait for it (in_flight_max, queue_max)")]
    Full,
    #[error("no answer within its time (timeout_ms)")]
    Late,
    #[error("{0}")]
    Unreached(OutgoingError),
    #[error("it answered with the status {0}; a refusal has the status 200 and `\"allow\": false`")]
    Status(u16),
    #[error("its answer is not understood: {0}")]
    Garbage(String),
    #[error("the server has no client for requests of its own")]
    Alone,
}

impl Failure {
    /// Whether the same question may be answered a little later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreached(error) => {
                matches!(
                    error,
                    OutgoingError::Resolve { .. } | OutgoingError::Connect { .. } | OutgoingError::Closed | OutgoingError::Busy(_)
                )
            }
            Self::Status(status) => *status == 429 || *status >= 500,
            Self::Open | Self::Full | Self::Late | Self::Garbage(_) | Self::Alone => false,
        }
    }

    /// What the client is told: not where the back end is, but which setting it is about.
    pub(crate) fn denied(&self, hook: &str) -> Denied {
        let why = match self {
            Self::Open => "it failed too often and is left alone for a while; setting breaker_failures",
            Self::Full => "too many wait for it already; settings in_flight_max and queue_max",
            Self::Late => "it took too long; setting timeout_ms",
            Self::Unreached(_) | Self::Alone => "it can't be reached; setting url",
            Self::Status(_) => "it failed; setting url",
            Self::Garbage(_) => "its answer is not understood",
        };
        Denied::Unavailable(format!("the application behind this server gave no answer (hook `{hook}`: {why}); try again").into())
    }
}

impl Hook {
    pub(crate) fn new(settings: HookSettings, known: Option<&Self>) -> Self {
        Self {
            breaker: known.map(|known| known.breaker.clone()).unwrap_or_default(),
            counters: known.map(|known| known.counters.clone()).unwrap_or_default(),
            cache: Cache::default(),
            room: Semaphore::new(settings.in_flight_max),
            settings,
        }
    }

    /// The answer that is known already.
    pub(crate) fn remembered(&self, question: &Question) -> Option<Arc<Verdict>> {
        let found = self.cache.find(question.key.as_ref().filter(|_| !self.settings.cache.is_zero())?, Instant::now())?;
        self.counters.cached.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Asks, as a part of that trace. Runs on the runtime of outgoing requests and goes on even when nobody waits any more, so that what came of it
    /// is known.
    pub(crate) async fn ask(
        self: Arc<Self>,
        outgoing: Outgoing,
        question: Question,
        clock: Clock,
        trace: Option<Trace>,
    ) -> Result<Arc<Verdict>, Failure> {
        let counters = &self.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let deadline = began + self.settings.deadline;
        let (asked, result) = match tokio::time::timeout_at(deadline, self.turn()).await {
            Err(_) => (false, Err(Failure::Late)),
            Ok(Err(failure)) => (false, Err(failure)),
            Ok(Ok(_permit)) => {
                let _counted = Gauge::add(&counters.in_flight);
                (true, self.tries(&outgoing, &question, &clock, deadline, trace.as_ref()).await)
            }
        };
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.microseconds.fetch_add(took, Ordering::Relaxed);
        match result {
            Ok(verdict) => {
                self.answered(&verdict);
                let verdict = Arc::new(verdict);
                self.remember(&question, &verdict);
                Ok(verdict)
            }
            Err(failure) => {
                self.failed(&failure, asked);
                Err(failure)
            }
        }
    }

    /// Waits until there is room for one more request, unless too many wait, or the back end is left alone.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        if self.breaker.refuses(Instant::now()) {
            return Err(Failure::Open);
        }
        let permit = match self.room.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = Gauge::add(&self.counters.queued);
                if waiting.before >= self.settings.queue_max as u64 {
                    return Err(Failure::Full);
                }
                self.room.acquire().await.map_err(|_| Failure::Full)?
            }
        };
        if self.breaker.admits(Instant::now()) { Ok(permit) } else { Err(Failure::Open) }
    }

    async fn tries(
        &self,
        outgoing: &Outgoing,
        question: &Question,
        clock: &Clock,
        deadline: Instant,
        trace: Option<&Trace>,
    ) -> Result<Verdict, Failure> {
        let mut random = [0; 16];
        // Without randomness there is no id that is surely new.
        getrandom::fill(&mut random).map_err(|_| Failure::Alone)?;
        let id = format!("hook_{}", hex(&random));
        let mut pause = self.settings.backoff;
        for left in (0..=self.settings.retries).rev() {
            let traced = trace.map(|trace| (trace, self.settings.retries - left));
            match self.once(outgoing, question, &id, (clock(), deadline), traced).await {
                Err(failure) if left > 0 && failure.is_passing() => {
                    // Between a half and the whole, so that many who failed together don't come back together.
                    let share = f64::from(random[usize::try_from(left).unwrap_or_default() % random.len()]) / 255.0;
                    let again = Instant::now() + pause.mul_f64(0.5 + share / 2.0);
                    if again >= deadline {
                        return Err(failure);
                    }
                    tracing::debug!(hook = %self.settings.name, %failure, "a hook is asked again");
                    self.counters.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep_until(again).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
        Err(Failure::Late)
    }

    async fn once(
        &self,
        outgoing: &Outgoing,
        question: &Question,
        id: &str,
        (now_ms, deadline): (u64, Instant),
        traced: Option<(&Trace, u32)>,
    ) -> Result<Verdict, Failure> {
        let settings = &self.settings;
        let body = question.body(id, &settings.name, now_ms);
        let signed = sign_webhook(&settings.secrets, id, &body, now_ms);
        let mut request = Request::post_json(settings.url.clone(), body);
        for (name, value) in [("webhook-id", signed.id), ("webhook-timestamp", signed.timestamp), ("webhook-signature", signed.signature)] {
            let value = HeaderValue::from_str(&value).map_err(|error| Failure::Garbage(error.to_string()))?;
            request.headers.push((HeaderName::from_static(name), value));
        }
        request.body_bytes_max = settings.answer_bytes_max;
        request.deadline = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // The id is the same, so a back end can tell that it has seen the question.
        request.repeatable = true;
        let going = traced.and_then(|(trace, resend)| trace.begin(&mut request, &settings.name, resend));
        let answer = outgoing.fetch(request).await;
        traces::end(going, &answer);
        let answer = answer.map_err(|error| match error {
            OutgoingError::Deadline(_) => Failure::Late,
            OutgoingError::BodyTooLarge(most) => Failure::Garbage(format!("it has more than {most} bytes (answer_bytes_max)")),
            other => Failure::Unreached(other),
        })?;
        if !answer.is_success() {
            return Err(Failure::Status(answer.status));
        }
        let verdict = Verdict::parse(&answer.body).map_err(Failure::Garbage)?;
        Ok(Verdict { at_ms: now_ms, ..verdict })
    }

    fn answered(&self, verdict: &Verdict) {
        self.counters.answers.fetch_add(1, Ordering::Relaxed);
        if verdict.allow == Some(false) {
            self.counters.denials.fetch_add(1, Ordering::Relaxed);
        }
        if self.breaker.succeeded() {
            tracing::info!(hook = %self.settings.name, "a hook answers again");
        }
    }

    fn failed(&self, failure: &Failure, asked: bool) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        match failure {
            Failure::Open => self.counters.breaker_refusals.fetch_add(1, Ordering::Relaxed),
            Failure::Full => self.counters.queue_refusals.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let name = &self.settings.name;
        tracing::warn!(hook = %name, url = %self.settings.url, %failure, "a hook gave no answer");
        if asked && self.breaker.failed(Instant::now(), self.settings.breaker_failures, self.settings.breaker_pause) {
            self.counters.breaker_openings.fetch_add(1, Ordering::Relaxed);
            let pause_ms = self.settings.breaker_pause.as_millis();
            tracing::warn!(hook = %name, pause_ms, "a hook failed too often and is left alone for a while");
        }
    }

    fn remember(&self, question: &Question, verdict: &Arc<Verdict>) {
        let Some(key) = question.key else { return };
        let wished = verdict.cache_ms.map_or(self.settings.cache, |most| self.settings.cache.min(Duration::from_millis(most)));
        if !wished.is_zero() && verdict.allow.is_some() {
            self.cache.keep(key, verdict.clone(), Instant::now(), wished, self.settings.cache_entries_max);
        }
    }

    /// Name, help, kind and value of each metric.
    pub(crate) fn metrics(&self) -> [(&'static str, &'static str, &'static str, u64); 13] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        [
            ("requests_total", "Questions to hooks, without those whose answer was remembered.", "counter", value(&counters.requests)),
            ("retries_total", "Requests to hooks that were sent again.", "counter", value(&counters.retries)),
            ("answers_total", "Questions that were answered.", "counter", value(&counters.answers)),
            ("denials_total", "Answers that denied it.", "counter", value(&counters.denials)),
            ("failures_total", "Questions that got no usable answer.", "counter", value(&counters.failures)),
            ("remembered_total", "Questions whose answer was remembered.", "counter", value(&counters.cached)),
            ("queue_refusals_total", "Questions that found too many waiting.", "counter", value(&counters.queue_refusals)),
            (
                "breaker_refusals_total",
                "Questions that were not asked as the breaker was open.",
                "counter",
                value(&counters.breaker_refusals),
            ),
            ("breaker_openings_total", "Times that the breaker opened.", "counter", value(&counters.breaker_openings)),
            ("breaker_state", "The breaker: 0 closed, 1 half-open, 2 open.", "gauge", self.breaker.state()),
            ("in_flight", "Questions that are being asked.", "gauge", value(&counters.in_flight)),
            ("queued", "Questions that wait for their turn.", "gauge", value(&counters.queued)),
            ("microseconds_total", "Time that questions took, waiting included.", "counter", value(&counters.microseconds)),
        ]
    }
}

/// Something that is counted while it lasts.
struct Gauge<'a> {
    counter: &'a AtomicU64,
    /// How many there were before it.
    before: u64,
}

impl<'a> Gauge<'a> {
    fn add(counter: &'a AtomicU64) -> Self {
        Self { counter, before: counter.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}
