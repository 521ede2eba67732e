//! What a webhook is: where to, what about, how patient.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use omnivox_auth::secret::Secret;
use omnivox_core::name::{AppId, ChannelName};
use omnivox_core::pattern::Pattern;

use super::format::{BodyFormat, Standard};
use super::occurrence::Kinds;
use crate::outgoing::Url;

/// All webhooks of a server, and how much is kept for them.
#[derive(Clone, Debug)]
pub struct WebhooksConfig {
    /// Where what waits is stored; in memory alone when unset.
    pub folder: Option<PathBuf>,
    /// Bytes that may wait for one webhook.
    pub outbox_bytes_max: usize,
    /// Occurrences on their way to the outboxes.
    pub queue_max: usize,
    /// Attempts that are remembered for one app.
    pub log_max: usize,
    /// The webhooks.
    pub webhooks: Vec<WebhookSettings>,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { folder: None, outbox_bytes_max: 64 << 20, queue_max: 65_536, log_max: 1_000, webhooks: Vec::new() }
    }
}

/// One webhook. `Debug` names neither its headers nor what is behind the `?` of its address.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Its name within the app: letters, digits, `-` and `_`.
    pub id: Arc<str>,
    /// Whose events it gets.
    pub app: AppId,
    /// Where they go.
    pub url: Url,
    /// Which kinds.
    pub kinds: Kinds,
    /// Of which channels.
    pub channels: Vec<Pattern>,
    /// What they are signed with: one, and another one while it is replaced.
    pub secrets: Vec<Secret>,
    /// Further headers of each request; they may hold secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the end of a stay is held back.
    pub debounce: Duration,
    /// Events in one request.
    pub batch_max: usize,
    /// How long the first event of a request waits for others.
    pub batch_delay: Duration,
    /// How long the receiver may take.
    pub timeout: Duration,
    /// How long an event is tried again.
    pub retry_for: Duration,
    /// Requests at once.
    pub concurrency_max: usize,
    /// How the receiver is told.
    pub format: Arc<dyn BodyFormat>,
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings").field("id", &self.id).field("app", &self.app).field("url", &self.url).finish_non_exhaustive()
    }
}

impl WebhookSettings {
    /// A webhook with the defaults.
    pub fn new(id: &str, app: AppId, url: Url, kinds: Kinds, secrets: Vec<Secret>) -> Self {
        Self {
            id: id.into(),
            app,
            url,
            kinds,
            channels: vec![Pattern::All],
            secrets,
            headers: Vec::new(),
            debounce: Duration::from_secs(3),
            batch_max: 100,
            batch_delay: Duration::from_millis(100),
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(300),
            concurrency_max: 4,
            format: Arc::new(Standard),
        }
    }

    /// Whether the webhook is about the channel.
    pub(super) fn is_about(&self, channel: &ChannelName) -> bool {
        self.channels.iter().any(|pattern| pattern.matches(channel.as_str()))
    }
}
