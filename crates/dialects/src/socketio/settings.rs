//! What can be set, with the defaults of the reference server.

use std::time::Duration;

use omnivox_core::name::CHANNEL_NAME_BYTES_MAX;
use omnivox_core::origin::Origins;

/// The settings of one mounted Socket.IO (or bare Engine.IO) endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketIoSettings {
    /// The path, with a slash at both ends.
    pub path: String,
    /// Where back ends emit and manage sockets over HTTP, with a slash at both ends; `None` is nowhere.
    pub api_path: Option<String>,
    /// The time between two pings of the server.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    pub ping_timeout: Duration,
    /// Bytes of one HTTP body or WebSocket message of a client, and of one packet with its attachments.
    pub max_payload: usize,
    /// How long an upgrade to WebSocket may take.
    pub upgrade_timeout: Duration,
    /// How long a client may stay without a namespace.
    pub connect_timeout: Duration,
    /// Whether clients of Socket.IO 1 and 2 (Engine.IO 3) are served.
    pub allow_eio3: bool,
    /// Connection state recovery, unless it is off.
    pub recovery: Option<RecoverySettings>,
    /// Which namespaces there are.
    pub namespaces: NamespaceSettings,
    /// The browser origins that may poll from another site: exact ones or `https://*.example.org`, with cookies; `*` without.
    pub cors_origins: Origins,
    /// The name of a cookie that carries the session id for load balancers.
    pub cookie: Option<String>,
    /// Answers to polls of at least so many bytes are compressed for clients that take gzip or deflate; `None` compresses none.
    pub compress_from: Option<usize>,
    /// Which transports are offered.
    pub transports: Transports,
    /// What is spoken over Engine.IO.
    pub application: Application,
    /// Binary attachments of one packet.
    pub attachments_max: usize,
    /// Namespaces of one connection.
    pub namespaces_max: usize,
    /// Commands of one connection that wait for an answer.
    pub commands_in_flight_max: usize,
    /// Bytes that may wait for one client of Engine.IO 3 (others wait in the server's outbox, with its limits).
    pub queue_bytes_max: usize,
}

/// How lost connections are taken up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    /// How long a lost connection is remembered.
    pub max_disconnection: Duration,
    /// How many lost connections are remembered; beyond, the oldest is forgotten.
    pub connections_max: usize,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self { max_disconnection: Duration::from_secs(120), connections_max: 100_000 }
    }
}

/// Which namespaces there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceSettings {
    /// Every one that a client names.
    Any,
    /// These.
    Listed(Vec<String>),
}

impl NamespaceSettings {
    /// Whether there is such a namespace. A channel could not have a longer name, and one without the slash would be taken for `/`.
    pub(super) fn allows(&self, namespace: &str) -> bool {
        match self {
            Self::Any => namespace.starts_with('/') && namespace.len() <= CHANNEL_NAME_BYTES_MAX,
            Self::Listed(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// Which transports are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// HTTP long polling.
    pub polling: bool,
    /// WebSocket.
    pub websocket: bool,
    /// Whether a polling client may change to WebSocket.
    pub upgrades: bool,
}

/// What is spoken over Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Socket.IO, its rooms being the hub's channels.
    Hub,
    /// Socket.IO with the handlers that its own test suite asks for.
    Suite,
    /// No Socket.IO: each message comes back.
    Echo,
}

impl Default for SocketIoSettings {
    fn default() -> Self {
        Self {
            path: "/socket.io/".to_owned(),
            api_path: Some("/v1/socketio/".to_owned()),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            allow_eio3: false,
            recovery: Some(RecoverySettings::default()),
            namespaces: NamespaceSettings::Any,
            cors_origins: Origins::default(),
            cookie: None,
            compress_from: Some(1024),
            transports: Transports { polling: true, websocket: true, upgrades: true },
            application: Application::Hub,
            attachments_max: 10,
            namespaces_max: 100,
            commands_in_flight_max: 4096,
            queue_bytes_max: 4 << 20,
        }
    }
}

impl SocketIoSettings {
    /// The timers and limits that the protocol's test suites expect, every origin allowed.
    fn for_suites() -> Self {
        Self {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(1),
            recovery: None,
            api_path: None,
            cors_origins: Origins::new(vec!["*".to_owned()]),
            ..Self::default()
        }
    }

    /// The server that the Socket.IO test suite runs against.
    pub fn socketio_suite() -> Self {
        let namespaces = NamespaceSettings::Listed(vec!["/".to_owned(), "/custom".to_owned()]);
        Self { namespaces, application: Application::Suite, ..Self::for_suites() }
    }

    /// The server that the Engine.IO test suites (revisions 3 and 4) run against.
    pub fn engineio_suite() -> Self {
        Self { path: "/engine.io/".to_owned(), allow_eio3: true, application: Application::Echo, ..Self::for_suites() }
    }
}
