//! Quotas: what a session's client sends and is sent is counted where bytes are read and written, never for each message of a fan-out.
//!
//! A session whose share counts nothing (no quota is set) costs one look at an empty pointer. What came before a session exists, and what is
//! answered without one, is bounded by the limits of addresses (`admission`).

use std::time::Duration;

use omnivox_core::command::CloseReason;
use omnivox_core::http::{Request, Response};
use omnivox_core::quota::Quota;
use omnivox_hub::quotas::Share;

use super::Shard;
use super::conn::SlotRef;
use super::http::throttled;
use super::slot::Slot;
use crate::admission::Refused;

/// The bytes of a request line and of a header around its words, near enough.
const LINE_BYTES: usize = 12;
const HEADER_BYTES: usize = 4;

impl Shard {
    /// The share of a session that a request begins, if its address may send so much now.
    pub(super) fn share_for(&self, request: &Request<'_>) -> Result<Share, Refused> {
        let trusted = || self.common.live.load().proxies.trusts(request.remote);
        let share = self.common.hub.quotas().share(|| (!trusted()).then_some(request.remote));
        if !share.counts() {
            return Ok(share);
        }
        let over = share.arrived(size(request), self.common.hub.now_ms());
        over.map_or(Ok(share), |quota| Err(refused(quota)))
    }

    /// Counts a request that joins a session; when it was too much, the session ends and this is the answer.
    pub(super) fn join_over(&mut self, at: SlotRef, request: &Request<'_>) -> Option<Response> {
        let quota = self.count_in(at, || size(request))?;
        self.close_session(at, CloseReason::Quota(quota.goodbye));
        Some(throttled(refused(quota)))
    }

    /// Counts bytes from a session's client; when they were too many, says which quota it was.
    pub(super) fn count_in(&self, at: SlotRef, bytes: impl FnOnce() -> usize) -> Option<&'static Quota> {
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation && slot.quota.counts())?;
        slot.quota.arrived(bytes(), self.common.hub.now_ms())
    }

    /// Counts an answer to a session's client.
    pub(super) fn count_answer(&mut self, at: SlotRef, bytes: usize) {
        let Self { sessions, common, .. } = self;
        let slot = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation);
        if let Some(goodbye) = slot.and_then(|slot| slot.count_out(bytes, || common.hub.now_ms())) {
            self.over.push((at, goodbye));
        }
    }

    /// Tells the quotas how many subscriptions a session has.
    pub(super) fn count_subscriptions(&mut self, at: SlotRef) {
        if let Some(slot) = self.slot(at).filter(|slot| slot.quota.counts()) {
            slot.quota.hold(slot.subscriptions());
        }
    }

    /// Sends those away who used up a quota.
    pub(super) fn close_over(&mut self) {
        while let Some((at, goodbye)) = self.over.pop() {
            let Some(slot) = self.slot(at).filter(|slot| !slot.ending) else { continue };
            // What it has not taken it resumes for, and would be too much again.
            slot.outbox.shed();
            self.close_session(at, CloseReason::Quota(goodbye));
        }
    }
}

impl Slot {
    /// Counts bytes for the client, and the messages given to it since the last time; when they were too many, the words to end the session with.
    pub(super) fn count_out(&mut self, bytes: usize, now_ms: impl FnOnce() -> u64) -> Option<&'static str> {
        if !self.quota.counts() {
            return None;
        }
        self.quota.sent(bytes, std::mem::take(&mut self.deliveries), now_ms()).map(|quota| quota.goodbye)
    }
}

fn size(request: &Request<'_>) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES).sum();
    LINE_BYTES + request.method.len() + request.path.len() + request.query.len() + headers + request.body.len()
}

fn refused(quota: &Quota) -> Refused {
    Refused { setting: quota.setting, words: quota.words, after: Duration::from_secs(1) }
}
