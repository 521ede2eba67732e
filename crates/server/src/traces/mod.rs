//! OpenTelemetry traces: spans of requests and commands, sampled, and told to a collector.
//!
//! ```text
//!  POST /v1/publish            server span; its parent is the caller's `traceparent`, if it sends one
//!   ├─ connect                 one span for each command that the request leads to
//!   └─ publish
//!
//!  publish                     over a WebSocket: a trace of its own, linked to the request that opened the socket
//!   └─ POST rules              a back end is asked; what it makes of that is a part of this span
//! ```
//!
//! - [`span`]: the span, and whose part it is; [`command`]: what is told of a command.
//! - [`lent`]: spans of requests to back ends, which the hub asks for.
//! - [`otlp`]: spans as OTLP's JSON; [`export`]: the queue and the way to the collector.
//!
//! Invariants: a shard never waits for the collector, and a span that does not fit into the queue is counted and dropped; no credential, payload
//! or user is in a span. Without `[traces]` there is no [`Tracer`], and a request pays one comparison.

mod command;
mod export;
mod lent;
mod otlp;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnivox_core::command::{Command, Denied};
use omnivox_core::http::Request;
use omnivox_hub::hub::Outcome;
use omnivox_hub::outgoing::{Outgoing, Url};
pub(crate) use omnivox_hub::traces::{Context, Trace};
use omnivox_hub::traces::{SpanId, TraceId};

use crate::router::Router;
use crate::status::Status;

use self::export::{Exporter, Queue};
use self::span::Kind;
pub(crate) use self::span::Span;

/// Where traces go and which are made.
#[derive(Clone)]
pub struct TraceSettings {
    /// The collector's URL for traces (OTLP over HTTP), such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: Url,
    /// Headers of the requests to it; they hold its credentials.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What this server is, beside `service.name`, `service.version` and `service.instance.id`, which it also replaces.
    pub resource: Vec<(String, String)>,
    /// Which part of the traces that begin here is made, from 0 to 1.
    pub sample_ratio: f64,
    /// Whether a caller's `traceparent` decides for its own trace.
    pub follow_callers: bool,
    /// Whether spans name the channel that they are about.
    pub name_channels: bool,
    /// Spans that begin in a second; further ones are dropped.
    pub spans_per_second_max: u32,
    /// Ended spans that wait for the collector; further ones are dropped.
    pub queue_max: usize,
    /// Spans in one request to it.
    pub batch_max: usize,
    /// How long an ended span waits for others.
    pub batch_pause: Duration,
    /// How long a request to the collector may take.
    pub timeout: Duration,
}

impl TraceSettings {
    /// Traces to that collector, with defaults for the rest.
    pub fn new(endpoint: Url) -> Self {
        Self {
            endpoint,
            headers: Vec::new(),
            resource: Vec::new(),
            sample_ratio: 1.0,
            follow_callers: true,
            name_channels: true,
            spans_per_second_max: 1_000,
            queue_max: 2_048,
            batch_max: 512,
            batch_pause: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

impl std::fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceSettings").field("endpoint", &self.endpoint).field("sample_ratio", &self.sample_ratio).finish_non_exhaustive()
    }
}

/// How long the end of the server waits for the collector: less than what the service manager is told that the end takes after a drain.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);

/// Makes spans.
pub(crate) struct Tracer {
    settings: TraceSettings,
    queue: Arc<Queue>,
    exporter: Exporter,
    /// Trace ids up to this one, by their last eight bytes, are sampled.
    sampled_up_to: u64,
    /// The state of the generator of ids.
    ids: AtomicU64,
    /// Microseconds since the start at which a whole second's worth of spans may begin again.
    whole_at_us: AtomicU64,
    start: std::time::Instant,
}

impl Tracer {
    /// Begins to trace; `seed` is random.
    pub(crate) fn start(mut settings: TraceSettings, outgoing: Outgoing, seed: u64) -> Arc<Self> {
        let instance = format!("{seed:016x}");
        for (name, value) in
            [("service.name", "omnivox"), ("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance.as_str())]
        {
            if !settings.resource.iter().any(|(known, _)| known == name) {
                settings.resource.push((name.to_owned(), value.to_owned()));
            }
        }
        let (queue, exporter) = export::start(&settings, outgoing);
        Arc::new(Self {
            sampled_up_to: (settings.sample_ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64,
            settings,
            queue,
            exporter,
            ids: AtomicU64::new(seed),
            whole_at_us: AtomicU64::new(0),
            start: std::time::Instant::now(),
        })
    }

    /// The span of an HTTP request, if its trace is one that is made, and what its commands are a part of: that span, or else the caller's.
    pub(crate) fn request(&self, request: &Request<'_>, router: &Router, dialect: u8) -> (Option<Span>, Option<Context>) {
        let dialect = router.dialect(dialect).name();
        if dialect == Status::NAME {
            // Probes and scrapes would be most of what there is to see.
            return (None, None);
        }
        let caller = request.header("traceparent").and_then(Context::parse);
        let caller = caller.map(|caller| caller.with_state(request.header_values("tracestate")));
        let trace = caller.as_ref().map_or_else(|| self.trace_id(), |caller| caller.trace);
        let sampled = match &caller {
            Some(caller) if self.settings.follow_callers => caller.sampled,
            Some(_) | None => self.samples(&trace),
        };
        if !sampled {
            return (None, caller.map(|caller| Context { sampled, ..caller }));
        }
        let (parent, state) = (caller.as_ref().map(|caller| caller.span), caller.as_ref().and_then(|caller| caller.state.clone()));
        let route = router.route(request.path).unwrap_or_default();
        let Some(mut span) = self.begin((trace, state), parent, format!("{} {route}", method(request.method)), Kind::Server) else {
            return (None, caller);
        };
        span.text("http.request.method", method(request.method));
        span.text("http.route", &*route);
        span.text("url.scheme", if request.secure { "https" } else { "http" });
        span.text("omnivox.dialect", dialect);
        let context = span.context().cloned();
        (Some(span), context)
    }

    /// The span of a command that a request leads to: a part of the request's.
    pub(crate) fn command_of_request(&self, request: &Context, command: &Command, dialect: &'static str) -> Option<Span> {
        if !request.sampled {
            return None;
        }
        let span =
            self.begin((request.trace, request.state.clone()), Some(request.span), command::name(command), command::kind(command))?;
        Some(self.described(span, command, dialect))
    }

    /// The span of a command that came over a carrier: a trace of its own, linked to the request that opened the session.
    pub(crate) fn command_of_carrier(&self, opened_by: Option<&Context>, command: &Command, dialect: &'static str) -> Option<Span> {
        let trace = self.trace_id();
        if !self.samples(&trace) {
            return None;
        }
        let mut span = self.begin((trace, None), None, command::name(command), command::kind(command))?;
        span.link(opened_by.filter(|context| context.sampled).cloned());
        Some(self.described(span, command, dialect))
    }

    /// What a command is a part of, for what follows from it elsewhere: its span; without one the request's, which may be the caller's. When none
    /// of its trace is made, a back end is told so, and does not begin one of its own.
    pub(crate) fn trace(self: &Arc<Self>, span: Option<&Span>, request: Option<&Context>) -> Trace {
        let unmade = || Context { trace: self.trace_id(), span: self.span_id(), sampled: false, state: None };
        let context = span.and_then(Span::context).or(request).cloned().unwrap_or_else(unmade);
        Trace { tracing: self.clone(), context }
    }

    fn described(&self, mut span: Span, command: &Command, dialect: &'static str) -> Span {
        span.text("omnivox.dialect", dialect);
        command::describe(&mut span, command, self.settings.name_channels);
        span
    }

    /// Ends a command's span with what came of it.
    pub(crate) fn conclude(mut span: Span, result: &Result<Outcome, Denied>) {
        command::conclude(&mut span, result);
    }

    fn begin(
        &self,
        (trace, state): (TraceId, Option<Arc<str>>),
        parent: Option<SpanId>,
        name: impl Into<Box<str>>,
        kind: Kind,
    ) -> Option<Span> {
        if !self.has_room() {
            self.queue.count_dropped(1);
            return None;
        }
        let context = Context { trace, span: self.span_id(), sampled: true, state };
        Some(Span::begin(&self.queue, context, parent, name, kind))
    }

    /// Whether one more span may begin now.
    fn has_room(&self) -> bool {
        const SECOND_US: u64 = 1_000_000;
        let cost_us = SECOND_US / u64::from(self.settings.spans_per_second_max.max(1));
        let now_us = self.start.elapsed().as_micros() as u64;
        let next = |whole_at_us: u64| Some(whole_at_us.max(now_us) + cost_us).filter(|next| *next <= now_us + SECOND_US.max(cost_us));
        self.whole_at_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    fn samples(&self, trace: &TraceId) -> bool {
        let (_, last) = trace.split_at(8);
        self.sampled_up_to > 0 && u64::from_be_bytes(last.try_into().unwrap_or_default()) <= self.sampled_up_to
    }

    fn span_id(&self) -> SpanId {
        self.draw().to_be_bytes()
    }

    fn trace_id(&self) -> TraceId {
        let mut id = [0; 16];
        let (first, last) = id.split_at_mut(8);
        first.copy_from_slice(&self.draw().to_be_bytes());
        last.copy_from_slice(&self.draw().to_be_bytes());
        id
    }

    /// The next of a row of numbers that looks random (splitmix64), never zero: ids must be spread, they guard nothing.
    fn draw(&self) -> u64 {
        let mut mixed = self.ids.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }

    /// Sends what waits, and waits for that a moment. Blocks the calling thread.
    pub(crate) fn close(&self) {
        self.exporter.close(self.settings.timeout.min(FLUSH_TIME_MAX));
    }

    /// Name, help, kind and value of what is counted.
    pub(crate) fn metrics(&self) -> [(&'static str, &'static str, &'static str, u64); 3] {
        self.queue.metrics()
    }
}

/// A method by its name; one that nobody knows is not repeated.
fn method(text: &str) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == text).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests;
