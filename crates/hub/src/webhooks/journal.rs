//! What deliveries came to: the latest attempts of each app, and counters.
//!
//! Invariant: no secret, no header and no payload is in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use omnivox_core::name::AppId;
use omnivox_core::webhook::{Attempt, AttemptQuery};

/// What webhooks came to, for metrics. Events unless it says otherwise.
#[derive(Debug, Default)]
pub struct WebhookCounters {
    /// Taken into an outbox.
    pub queued: AtomicU64,
    /// That receivers have.
    pub delivered: AtomicU64,
    /// Given up on: they were tried for too long, or the receiver wants none.
    pub failed: AtomicU64,
    /// That there was no room for.
    pub dropped: AtomicU64,
    /// Ends of stays that were taken back, because the stay went on.
    pub taken_back: AtomicU64,
    /// Requests.
    pub attempts: AtomicU64,
    /// Times that an outbox could not be written.
    pub outbox_failures: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// The latest attempts.
#[derive(Debug)]
pub(super) struct Journal {
    most: usize,
    by_app: Mutex<BTreeMap<AppId, VecDeque<Attempt>>>,
}

impl Journal {
    /// A journal of so many attempts for each app.
    pub(super) fn new(most: usize) -> Self {
        Self { most, by_app: Mutex::default() }
    }

    /// Writes an attempt down.
    pub(super) fn write(&self, app: &AppId, delivery: Attempt) {
        let mut by_app = self.by_app.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = by_app.entry(app.clone()).or_default();
        if attempts.len() >= self.most {
            attempts.pop_front();
        }
        attempts.push_back(delivery);
    }

    /// The attempts that are asked for, the latest first.
    pub(super) fn read(&self, app: &AppId, query: &AttemptQuery) -> Vec<Attempt> {
        let by_app = self.by_app.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |delivery: &&Attempt| {
            query.webhook.as_ref().is_none_or(|webhook| *webhook == delivery.webhook)
                && query.status.is_none_or(|status| status == delivery.status)
        };
        by_app.get(app).into_iter().flatten().rev().filter(wanted).take(query.most).cloned().collect()
    }
}
