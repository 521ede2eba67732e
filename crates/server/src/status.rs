//! What an operator asks: is it alive, is it ready, what has it counted; and the page at `/`.
//!
//! `/health` is 200 while the process answers at all. `/ready` is 200 when the last probe through the log came back and the server is not
//! draining; a load balancer stops sending clients to a node that is not ready.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use omnivox_core::event::Event;
use omnivox_core::http::{Request, Response};
use omnivox_core::session::{Dialect, OpenContext, Opening, Route};
use omnivox_core::{EncodingKey, Frame};
use omnivox_hub::{Hub, Inboxes, MemoryEngine};

use crate::config::AdminGate;
use crate::metrics::{self, ShardMetrics};
use crate::relay::Office;
use crate::server::Flag;
use crate::shard::error;
use crate::tls::Tls;
use crate::traces::Tracer;

/// The state that the answers come from.
pub struct Health {
    shards: Vec<Arc<ShardMetrics>>,
    inboxes: Arc<Inboxes>,
    engine: Arc<MemoryEngine>,
    relay: Option<Arc<Office>>,
    hub: Arc<Hub>,
    tls: Option<Arc<Tls>>,
    tracer: Option<Arc<Tracer>>,
    probe_succeeded: Flag,
    draining: Flag,
}

impl Health {
    pub(crate) fn new(
        shards: Vec<Arc<ShardMetrics>>,
        inboxes: Arc<Inboxes>,
        engine: Arc<MemoryEngine>,
        relay: Option<Arc<Office>>,
        hub: Arc<Hub>,
        tls: Option<Arc<Tls>>,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        Self { shards, inboxes, engine, relay, hub, tls, tracer, probe_succeeded: Flag::new(false), draining: Flag::new(false) }
    }

    pub(crate) fn relay(&self) -> Option<&Arc<Office>> {
        self.relay.as_ref()
    }

    pub(crate) fn probed(&self, succeeded: bool) {
        self.probe_succeeded.store(succeeded, Ordering::Relaxed);
    }

    pub(crate) fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What the server has counted, without its relay.
    pub(crate) fn metrics(&self) -> String {
        let mut text = metrics::render(&self.shards, &self.extra());
        text.push_str("# HELP omnivox_quota_breaches_total Times that a quota said no.\n# TYPE omnivox_quota_breaches_total counter\n");
        for (setting, count) in self.hub.quotas().breaches() {
            let _ = writeln!(text, "omnivox_quota_breaches_total{{limit=\"{setting}\"}} {count}");
        }
        self.hub.hook_metrics(&mut text);
        text
    }

    fn extra(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let mut extra = vec![
            ("channels", "Channels that the engine keeps.", "gauge", self.engine.channel_count() as u64),
            (
                "shard_queue_overflows_total",
                "Times that a shard's queue was full and a channel had to be read again.",
                "counter",
                self.inboxes.overflows(),
            ),
            ("ready", "Whether the server is ready.", "gauge", u64::from(self.trouble().is_none())),
        ];
        if let Some(tls) = &self.tls {
            let help = "When the certificate ends, in seconds since the Unix epoch; 0 without one.";
            extra.push(("tls_certificate_expires_seconds", help, "gauge", tls.expires_at()));
        }
        let counters = self.hub.key_set_counters();
        extra.extend([
            (
                "quota_refusals_total",
                "Connections, subscriptions, messages and bytes that a quota refused.",
                "counter",
                self.hub.quotas().refusals(),
            ),
            ("key_set_fetches_total", "Fetches of key sets.", "counter", counters.fetches.load(Ordering::Relaxed)),
            ("key_set_failures_total", "Fetches that brought no key set.", "counter", counters.failures.load(Ordering::Relaxed)),
        ]);
        extra.extend(self.tracer.iter().flat_map(|tracer| tracer.metrics()));
        extra.extend(self.hub.webhooks().into_iter().flat_map(|webhooks| webhooks.entries()));
        extra.extend(self.hub.outgoing().into_iter().flat_map(|outgoing| outgoing.counters().entries()));
        extra
    }

    /// What the relay has counted.
    fn relay_metrics(&self, into: &mut String) {
        let Some(stats) = self.relay.as_ref().and_then(|relay| relay.stats()) else { return };
        let gauges = [
            ("allocations", "Allocations that live.", stats.allocations),
            ("connections", "TCP and TLS connections of clients.", stats.connections),
        ];
        for (name, help, value) in gauges {
            let _ = write!(into, "# HELP omnivox_turn_{name} {help}\n# TYPE omnivox_turn_{name} gauge\nomnivox_turn_{name} {value}\n");
        }
        for (name, help, value) in stats.counters.entries() {
            let _ = write!(
                into,
                "# HELP omnivox_turn_{name}_total {help}\n# TYPE omnivox_turn_{name}_total counter\nomnivox_turn_{name}_total {value}\n"
            );
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("the server is draining");
        }
        (!self.probe_succeeded.load(Ordering::Relaxed)).then_some("the last probe through the log did not come back")
    }
}

/// The dialect of operators.
pub struct Status {
    health: Arc<Health>,
    admin: Arc<ArcSwap<AdminGate>>,
}

impl Status {
    /// Its name as a dialect.
    pub(crate) const NAME: &'static str = "status";

    pub(crate) fn new(health: Arc<Health>, admin: Arc<ArcSwap<AdminGate>>) -> Self {
        Self { health, admin }
    }
}

const PAGE: &[u8] = include_bytes!("../assets/index.html");
const CALL: &[u8] = include_bytes!("../assets/call.html");
/// The page's script and style are its own; nothing else may run or load.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'";

/// As the page's, with video from cameras and other peers.
const CALL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn script(text: &'static [u8]) -> Response {
    Response::with_body(200, "text/javascript; charset=utf-8", text)
}

impl Dialect for Status {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn routes(&self) -> Vec<Route> {
        [
            "/",
            "/call",
            "/health",
            "/ready",
            "/metrics",
            "/assets/page.js",
            "/assets/page.css",
            "/assets/call.js",
            "/assets/call.css",
            "/assets/omnivox.js",
            "/assets/rtc.js",
        ]
        .into_iter()
        .map(Route::exact)
        .collect()
    }

    fn open(&self, _context: &OpenContext, request: &Request<'_>) -> Opening {
        if !matches!(request.method, "GET" | "HEAD") {
            return Opening::Respond(error(405, "method_not_allowed", "only GET and HEAD are answered here").header("allow", "GET, HEAD"));
        }
        let response = match request.path {
            "/health" => Response::json(200, r#"{"status":"ok"}"#),
            "/ready" => match self.health.trouble() {
                None => Response::json(200, r#"{"status":"ready"}"#),
                Some(trouble) => error(503, "not_ready", trouble).header("retry-after", "2"),
            },
            "/metrics" if !self.admin.load().admits(request) => {
                error(403, "forbidden", "this is for the operator; send admin.token as a bearer token, or come from one of admin.networks")
            }
            "/metrics" => {
                let mut text = self.health.metrics();
                self.health.relay_metrics(&mut text);
                Response::with_body(200, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            "/assets/page.js" => Response::with_body(200, "text/javascript; charset=utf-8", &include_bytes!("../assets/page.js")[..]),
            "/assets/page.css" => Response::with_body(200, "text/css; charset=utf-8", &include_bytes!("../assets/page.css")[..]),
            "/assets/call.js" => script(&include_bytes!("../assets/call.js")[..]),
            "/assets/call.css" => Response::with_body(200, "text/css; charset=utf-8", &include_bytes!("../assets/call.css")[..]),
            "/assets/omnivox.js" => script(&include_bytes!("../../../clients/js/omnivox.js")[..]),
            "/assets/rtc.js" => script(&include_bytes!("../../../clients/js/rtc.js")[..]),
            "/call" => Response::with_body(200, "text/html; charset=utf-8", CALL)
                .header("content-security-policy", CALL_POLICY)
                .header("permissions-policy", "camera=(self), microphone=(self), display-capture=(self)")
                .header("referrer-policy", "no-referrer"),
            _ => Response::with_body(200, "text/html; charset=utf-8", PAGE).header("content-security-policy", PAGE_POLICY),
        };
        Opening::Respond(response.header("cache-control", "no-store").header("x-content-type-options", "nosniff"))
    }

    fn encode(&self, _key: &EncodingKey, _event: &Event, _scratch: &mut BytesMut) -> Option<Frame> {
        None
    }
}
