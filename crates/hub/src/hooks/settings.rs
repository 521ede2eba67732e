//! What the operator decides about a hook.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omnivox_auth::AuthError;
use omnivox_auth::secret::{Secret, signer};
use omnivox_core::grants::Signer;
use omnivox_core::{AppId, ChannelName, Credential, Pattern};

use crate::outgoing::Url;

/// What a back end is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookEvent {
    /// Somebody wants to be let in.
    Connect,
    /// Somebody wants to receive.
    Subscribe,
    /// Somebody wants to publish.
    Publish,
    /// Somebody calls the application.
    Call,
    /// A Socket.IO client emitted an event that no handler takes.
    Event,
}

impl HookEvent {
    /// Its name in settings, requests and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Call => "call",
            Self::Event => "event",
        }
    }
}

/// What holds when the back end gives no usable answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFailure {
    /// Nobody is let do it; they may try again.
    Deny,
    /// As if there were no hook: the credential and the namespaces decide alone.
    Allow,
}

/// One hook.
#[derive(Clone)]
pub struct HookSettings {
    /// Its name in logs, metrics and refusals.
    pub name: Arc<str>,
    /// The app.
    pub app: AppId,
    /// What it is asked about.
    pub events: Vec<HookEvent>,
    /// The channels that subscribes and publications are asked about.
    pub channels: Pattern,
    /// Where the back end is.
    pub url: Url,
    /// What requests are signed with, each of them, so that one can be replaced without a gap.
    pub secrets: Vec<Secret>,
    /// How long everything may take: waiting for a turn, all tries, the pauses between them.
    pub deadline: Duration,
    /// How often a request is sent again when nobody could take it.
    pub retries: u32,
    /// The pause before the first of these; it doubles, less up to a half.
    pub backoff: Duration,
    /// Failures in a row after which the back end is left alone.
    pub breaker_failures: u32,
    /// For how long; then one request tries it.
    pub breaker_pause: Duration,
    /// How long an answer about a connect or a subscribe is good for whoever asks the same; zero asks each time.
    pub cache: Duration,
    /// Answers that are remembered.
    pub cache_entries_max: usize,
    /// Requests at once.
    pub in_flight_max: usize,
    /// Requests that wait for their turn.
    pub queue_max: usize,
    /// Bytes of an answer.
    pub answer_bytes_max: usize,
    /// What holds without an answer.
    pub on_failure: OnFailure,
    /// Whether a token that no key of the app verifies is shown to the back end, which then decides alone.
    pub pass_token: bool,
}

impl HookSettings {
    /// A hook with defaults for all that may be left out.
    pub fn new(name: &str, app: AppId, events: Vec<HookEvent>, url: Url, secret: Secret) -> Self {
        Self {
            name: name.into(),
            app,
            events,
            channels: Pattern::All,
            url,
            secrets: vec![secret],
            deadline: Duration::from_secs(2),
            retries: 1,
            backoff: Duration::from_millis(50),
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(5),
            cache: Duration::ZERO,
            cache_entries_max: 10_000,
            in_flight_max: 64,
            queue_max: 1_000,
            answer_bytes_max: 64 << 10,
            on_failure: OnFailure::Deny,
            pass_token: false,
        }
    }

    /// Whether it is asked about what somebody wants to do with a channel.
    pub fn is_asked(&self, event: HookEvent, channel: &ChannelName) -> bool {
        // Nobody is asked about an inbox: it opens to the key of its seat alone.
        let open = event != HookEvent::Subscribe || !channel.is_inbox();
        open && self.events.contains(&event) && self.channels.matches(channel.as_str())
    }

    /// Whether it may let somebody in whose credential the app refuses for that reason.
    pub fn may_let_in(&self, credential: &Credential, error: &AuthError) -> bool {
        let strange = matches!(error, AuthError::Malformed(_) | AuthError::UnknownKey | AuthError::BadSignature);
        self.events.contains(&HookEvent::Connect)
            && match credential {
                Credential::Anonymous => *error == AuthError::Missing,
                Credential::Token(_) | Credential::Cookie(_) => strange && self.pass_token,
                Credential::Ticket(_) | Credential::Key { .. } | Credential::Signed(_) => false,
            }
    }

    /// What stands for the back end in those whom it lets in.
    pub(crate) fn signer(&self) -> Signer {
        let origin = self.url.origin();
        let scheme: &[u8] = if origin.tls { b"https" } else { b"http" };
        signer("hook", &[scheme, self.url.authority().as_bytes(), self.url.target().as_bytes()])
    }

    /// Whether it is the same back end, so that what is known of it stays known after new settings.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.name == other.name && self.app == other.app && self.url == other.url
    }
}

impl fmt::Debug for HookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookSettings").field("name", &self.name).field("app", &self.app).field("url", &self.url).finish_non_exhaustive()
    }
}
