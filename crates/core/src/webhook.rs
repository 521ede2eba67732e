//! Webhooks as back ends ask about them: what was sent where, and how it went.

use std::sync::Arc;

/// One attempt to deliver a batch of events to a webhook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The batch: the `webhook-id` that the receiver sees, the same for every attempt.
    pub id: Arc<str>,
    /// The webhook.
    pub webhook: Arc<str>,
    /// When the attempt began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The how-many-th it was, from 1.
    pub attempt: u32,
    /// Events in the batch.
    pub events: usize,
    /// What it came to.
    pub status: AttemptStatus,
    /// The HTTP status of the answer, when there was one.
    pub answer: Option<u16>,
    /// Why there was none, or why it does not count.
    pub error: Option<Box<str>>,
    /// How long it took.
    pub duration_ms: u64,
    /// When the next attempt is due, when there will be one.
    pub next_at_ms: Option<u64>,
}

/// What an attempt came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptStatus {
    /// The receiver has the events.
    Delivered,
    /// It has not, and there will be another attempt.
    Retrying,
    /// It has not, and there will be none.
    Failed,
}

impl AttemptStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retrying, Self::Failed];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }

    /// The status of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// Which attempts are asked for; the latest come first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptQuery {
    /// Those of one webhook only.
    pub webhook: Option<Arc<str>>,
    /// Those that came to this only.
    pub status: Option<AttemptStatus>,
    /// At most so many.
    pub most: usize,
}
