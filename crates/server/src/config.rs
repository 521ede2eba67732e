//! What a server is started with. The binary fills it from its settings; an embedder writes it down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use omnivox_auth::Settings;
use omnivox_core::{Dialect, Limits};
use omnivox_hub::memory::Clock;
use omnivox_hub::outgoing::OutgoingSettings;

use crate::proxies::Proxies;
use crate::relay::RelaySettings;
use crate::tls::Tls;

/// Everything that a server needs to start.
pub struct ServerConfig {
    /// The addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// The addresses to listen on with TLS, HTTP/2 included.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate of those; keep a clone to reload it.
    pub tls: Option<Arc<Tls>>,
    /// Threads that own connections; one for each core when `None`. At most 64.
    pub shards: Option<u16>,
    /// The limits.
    pub limits: Limits,
    /// The apps, and how each checks credentials.
    pub apps: Vec<Settings>,
    /// The client protocols. Their paths must not clash.
    pub dialects: Vec<Arc<dyn Dialect>>,
    /// Which proxies are believed when they say who the client is.
    pub proxies: Proxies,
    /// Those of the addresses above where a trusted proxy begins each connection with a PROXY protocol header.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Which hosts and origins are let in, when not everyone is.
    pub gate: Option<HostGate>,
    /// Whether clients may agree on permessage-deflate.
    pub deflate: bool,
    /// How peers are helped to connect to each other, if at all.
    pub relay: Option<RelaySettings>,
    /// What the server may ask of other servers, and whom it believes.
    pub outgoing: OutgoingSettings,
    /// How clients are sent away at the end.
    pub drain: DrainPace,
    /// Milliseconds since the Unix epoch, for the stamps of publications; the system's clock unless a test turns its own.
    pub clock: Clock,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`).
    pub tcp_user_timeout: Duration,
}

impl ServerConfig {
    /// A server for these apps and dialects on these addresses, with defaults for the rest.
    pub fn new(listen: Vec<SocketAddr>, apps: Vec<Settings>, dialects: Vec<Arc<dyn Dialect>>) -> Self {
        Self {
            listen,
            listen_tls: Vec::new(),
            tls: None,
            shards: None,
            limits: Limits::default(),
            apps,
            dialects,
            proxies: Proxies::default(),
            proxy_protocol: Vec::new(),
            gate: None,
            deflate: false,
            relay: None,
            outgoing: OutgoingSettings::default(),
            drain: DrainPace::default(),
            clock: Arc::new(|| {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
            }),
            tcp_user_timeout: Duration::from_secs(45),
        }
    }
}

/// Lets in only requests for known hosts from known origins, so that no web page reaches a server on loopback through the browser of the
/// person who runs it.
#[derive(Clone, Debug)]
pub struct HostGate {
    /// Host names (without port) that a request may name, and that an origin may have.
    pub hosts: Vec<String>,
    /// The setting that opens it, for the refusal's text.
    pub setting: &'static str,
}

/// How fast clients are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPace {
    /// Sessions that each shard closes in a second.
    pub sessions_per_second: u32,
    /// After this everything is closed at once.
    pub deadline: Duration,
}

impl Default for DrainPace {
    fn default() -> Self {
        Self { sessions_per_second: 5_000, deadline: Duration::from_secs(20) }
    }
}
