//! What an operator can change.

use std::time::Duration;

use omnivox_core::Limits;
use omnivox_core::origin::Origins;

/// How the dialect behaves.
#[derive(Clone, Debug)]
pub struct MercureSettings {
    /// The limits of the server.
    pub limits: Limits,
    /// Time between two comments on a silent stream.
    pub heartbeat: Duration,
    /// How long a stream lives at most, so that clients spread over the nodes again; for ever when `None`.
    pub connection_time_max: Option<Duration>,
    /// Whether active subscriptions are shown: the subscription API and its events.
    pub subscriptions: bool,
    /// The cookie of the second generation; that of the first is `mercureAuthorization`.
    pub cookie_name: String,
    /// The origins whose pages may publish with a cookie: exact ones, `https://*.example.com`, or `*`. The server's own always may.
    pub publish_origins: Vec<String>,
    /// The origins whose pages may read answers: exact ones, `https://*.example.org`, or `*`.
    pub cors_origins: Origins,
    /// Where tokens come from, for the metadata document.
    pub authorization_servers: Vec<String>,
    /// The scheme and host of the server's URLs, when a proxy hides them: `https://example.com`.
    pub public_origin: Option<String>,
}

impl Default for MercureSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            heartbeat: Duration::from_secs(40),
            connection_time_max: None,
            subscriptions: false,
            cookie_name: "__Secure-mercure_access_token".to_owned(),
            publish_origins: Vec::new(),
            cors_origins: Origins::default(),
            authorization_servers: Vec::new(),
            public_origin: None,
        }
    }
}
