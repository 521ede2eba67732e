//! Counters: plain numbers for each shard, added up when somebody asks.
//!
//! Invariant: no label ever holds a channel, a user or anything else that a client chooses.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:literal),* $(,)?) => {
        /// What one shard has counted.
        #[derive(Debug, Default)]
        pub struct ShardMetrics {
            $($(#[doc = $doc])* pub $name: AtomicU64,)*
            /// Sessions ended by the server, by reason.
            pub closes: [AtomicU64; REASONS.len()],
        }

        /// The scalar metrics: name, help, kind, value.
        fn scalars(shards: &[Arc<ShardMetrics>]) -> Vec<(&'static str, &'static str, &'static str, u64)> {
            vec![$((stringify!($name), concat!($($doc),*), $kind, shards.iter().map(|shard| shard.$name.load(Ordering::Relaxed)).sum())),*]
        }
    };
}

/// The reasons that closes are counted by, in the order of [`ShardMetrics::closes`].
pub const REASONS: [&str; 11] =
    ["drain", "slow_consumer", "heartbeat_lost", "protocol", "too_large", "expired", "kicked", "quota", "overloaded", "normal", "internal"];

counters! {
    /// Connections that are open.
    connections: "gauge",
    /// Connections that are WebSockets.
    websocket_connections: "gauge",
    /// Connections that are event streams.
    stream_connections: "gauge",
    /// Requests that wait for an answer.
    held_requests: "gauge",
    /// Sessions that live.
    sessions: "gauge",
    /// Channels with subscribers, counted on each shard.
    local_channels: "gauge",
    /// HTTP requests.
    requests_total: "counter",
    /// Messages from clients.
    messages_in_total: "counter",
    /// Bytes from clients.
    bytes_in_total: "counter",
    /// Frames put into outboxes by fan-out.
    deliveries_total: "counter",
    /// Bytes written to clients.
    bytes_out_total: "counter",
    /// Writes to sockets.
    writes_total: "counter",
    /// Publications of clients and back ends that were accepted; a repetition is none.
    published_total: "counter",
    /// Publications that came from the engine, counted on each shard.
    publications_total: "counter",
    /// Frames made by encoding an event.
    encodings_total: "counter",
    /// Requests that were refused before a dialect saw them.
    refused_requests_total: "counter",
    /// Connections that were refused because there are too many.
    refused_connections_total: "counter",
    /// Connections that were refused because their address, or everybody together, opens too many.
    throttled_connections_total: "counter",
    /// Requests that were refused because their address sends too many.
    throttled_requests_total: "counter",
    /// TLS handshakes under way.
    tls_handshakes: "gauge",
    /// TLS handshakes that failed or took too long.
    tls_handshake_failures_total: "counter",
    /// Connections that speak HTTP/2.
    http2_connections: "gauge",
    /// Requests over HTTP/2, WebSockets included.
    http2_requests_total: "counter",
    /// WebSockets asked for over HTTP/2 (RFC 8441).
    http2_websockets_total: "counter",
    /// Times that a channel was read again because news were dropped.
    rereads_total: "counter",
    /// Times that subscribers were told of a gap.
    gaps_total: "counter",
}

impl ShardMetrics {
    /// Connections that are open, where one of HTTP/2 counts beside its streams.
    pub(crate) fn open(&self) -> u64 {
        self.connections.load(Ordering::Relaxed) + self.http2_connections.load(Ordering::Relaxed)
    }

    /// Counts a session that the server ended.
    pub fn count_close(&self, label: &str) {
        if let Some(index) = REASONS.iter().position(|reason| *reason == label) {
            self.closes[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Adds to a counter of the calling thread's own shard: nobody else writes it, so no locked instruction is needed for each of ten a request.
pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
}

/// Takes from a gauge of the calling thread's own shard.
pub(crate) fn sub(counter: &AtomicU64, value: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_sub(value), Ordering::Relaxed);
}

/// Adds to a counter that listeners write, too.
pub(crate) fn add_shared(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

/// Everything in the text format of Prometheus.
pub fn render(shards: &[Arc<ShardMetrics>], extra: &[(&'static str, &'static str, &'static str, u64)]) -> String {
    let mut text = String::new();
    for (name, help, kind, value) in scalars(shards).iter().chain(extra) {
        let help = help.trim();
        let _ = write!(text, "# HELP omnivox_{name} {help}\n# TYPE omnivox_{name} {kind}\nomnivox_{name} {value}\n");
    }
    text.push_str("# HELP omnivox_closes_total Sessions ended by the server.\n# TYPE omnivox_closes_total counter\n");
    for (index, reason) in REASONS.iter().enumerate() {
        let value: u64 = shards.iter().map(|shard| shard.closes[index].load(Ordering::Relaxed)).sum();
        let _ = writeln!(text, "omnivox_closes_total{{reason=\"{reason}\"}} {value}");
    }
    text
}
