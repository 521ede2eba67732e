//! What a relay is told at start.
//!
//! ```
//! # use std::sync::Arc;
//! use omnivox_turn::{Config, RelayAddress};
//! use omnivox_turn::credentials::{RestSecrets, Secret};
//! let mut config = Config::new(Arc::new(RestSecrets::new(vec![Secret::new("from the settings")])));
//! config.udp = vec!["0.0.0.0:3478".parse().unwrap()];
//! config.relays = vec![RelayAddress::mapped("10.0.0.4".parse().unwrap(), "203.0.113.4".parse().unwrap())];
//! ```

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::credentials::Authorize;
use crate::proto::machine::{Settings, Usage};

/// An address that relays are opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// The machine's own address.
    pub bind: IpAddr,
    /// The address that peers and clients see; in most clouds another one.
    pub external: IpAddr,
}

impl RelayAddress {
    /// An address that is the same inside and outside.
    #[must_use]
    pub const fn direct(ip: IpAddr) -> Self {
        Self { bind: ip, external: ip }
    }

    /// An address behind a one-to-one mapping.
    #[must_use]
    pub const fn mapped(bind: IpAddr, external: IpAddr) -> Self {
        Self { bind, external }
    }
}

/// Bounds of TCP and TLS clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections of the whole server.
    pub connections_max: usize,
    /// Connections from one source address.
    pub source_connections_max: usize,
    /// Seconds that a connection may be without an allocation.
    pub idle_seconds: u64,
    /// Seconds that a TLS handshake may take.
    pub handshake_seconds: u64,
    /// Bytes that may wait for a client that doesn't read; relayed packets beyond it are dropped.
    pub output_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            source_connections_max: 2_000,
            idle_seconds: 30,
            handshake_seconds: 10,
            output_bytes_max: 256 * 1024,
        }
    }
}

/// Called when an allocation has ended.
pub type OnEnd = Arc<dyn Fn(&Usage) + Send + Sync>;

/// All settings of a relay.
#[derive(Clone)]
pub struct Config {
    /// Listeners for UDP.
    pub udp: Vec<SocketAddr>,
    /// Listeners for TCP; with [`tls_config`](Self::tls_config) they take TLS as well, told apart by the first byte.
    pub tcp: Vec<SocketAddr>,
    /// Listeners for TLS only.
    pub tls: Vec<SocketAddr>,
    /// Certificates for TLS.
    pub tls_config: Option<Arc<rustls::ServerConfig>>,
    /// Addresses for relays; empty means the listeners' own, and for wildcard listeners the address of the default route.
    pub relays: Vec<RelayAddress>,
    /// Ports for relays.
    pub ports: RangeInclusive<u16>,
    /// Threads; zero is one for every two cores.
    pub workers: u8,
    /// The rules.
    pub settings: Settings,
    /// Decides about credentials.
    pub authorize: Arc<dyn Authorize>,
    /// Signs nonces. Nodes behind one address need the same; without one it is drawn at start.
    pub nonce_key: Option<[u8; 32]>,
    /// The kernel's receive buffer of each relay, and a quarter of each UDP listener's; zero leaves them alone.
    pub receive_buffer_bytes: usize,
    /// The same for sending.
    pub send_buffer_bytes: usize,
    /// Bounds of TCP and TLS clients.
    pub streams: StreamLimits,
    /// Told of every allocation that has ended, on a relay's thread: don't block.
    pub on_end: Option<OnEnd>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("udp", &self.udp)
            .field("tcp", &self.tcp)
            .field("tls", &self.tls)
            .field("relays", &self.relays)
            .field("ports", &self.ports)
            .field("workers", &self.workers)
            .field("settings", &self.settings)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// No listeners, the whole dynamic port range, one thread for every two cores.
    #[must_use]
    pub fn new(authorize: Arc<dyn Authorize>) -> Self {
        Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            tls: Vec::new(),
            tls_config: None,
            relays: Vec::new(),
            ports: 49_152..=65_535,
            workers: 0,
            settings: Settings::default(),
            authorize,
            nonce_key: None,
            receive_buffer_bytes: 1024 * 1024,
            send_buffer_bytes: 1024 * 1024,
            streams: StreamLimits::default(),
            on_end: None,
        }
    }
}
