//! The settings of the native dialect: its paths and their defaults.

use std::time::Duration;

use omnivox_core::origin::Origins;
use omnivox_core::{ChannelName, Limits};

/// What can be set.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// The server's limits.
    pub limits: Limits,
    /// Further paths beside those under `/v1/`.
    pub aliases: Vec<Alias>,
    /// Time between two WebSocket pings.
    pub ws_ping: Duration,
    /// How long after a ping something must have come back.
    pub ws_pong_timeout: Duration,
    /// Time between two comments on an event stream that is silent otherwise.
    pub sse_comment: Duration,
    /// How long an `EventSource` waits before it connects again, in milliseconds.
    pub retry_ms: u64,
    /// The origins whose pages may read answers: exact ones, `https://*.example.org`, or `*`.
    pub cors_origins: Origins,
    /// The cookie that holds a token, if cookies are looked at.
    pub cookie_name: Option<String>,
    /// How long a WebSocket client that needs a credential may take to send `connect`.
    pub connect_time_max: Duration,
    /// A path whose WebSockets get back what they send; for conformance suites.
    pub echo: Option<String>,
}

impl Default for NativeSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            aliases: Vec::new(),
            ws_ping: Duration::from_secs(25),
            ws_pong_timeout: Duration::from_secs(20),
            sse_comment: Duration::from_secs(20),
            retry_ms: 2000,
            cors_origins: Origins::new(vec!["*".to_owned()]),
            cookie_name: Some("omnivox_token".to_owned()),
            connect_time_max: Duration::from_secs(10),
            echo: None,
        }
    }
}

/// A further path for a transport.
#[derive(Clone, Debug, PartialEq)]
pub struct Alias {
    /// The path.
    pub path: String,
    /// What is there.
    pub transport: Transport,
    /// The channels of those who name none.
    pub channels: Vec<ChannelName>,
    /// How an event stream shows publications.
    pub format: Format,
}

impl Alias {
    /// A path for a transport, without default channels.
    pub fn new(path: impl Into<String>, transport: Transport) -> Self {
        Self { path: path.into(), transport, channels: Vec::new(), format: Format::Envelope }
    }
}

/// What an alias leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// The WebSocket protocol.
    Ws,
    /// An event stream.
    Sse,
    /// Long and short polling.
    Poll,
    /// Publishing by POST.
    Publish,
    /// A WebSocket that gives back what it gets.
    Echo,
}

/// How an event stream shows publications.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// The same object as on a WebSocket, with channel, id, event and data.
    #[default]
    Envelope,
    /// The payload alone; the event name becomes the event type.
    Data,
}
