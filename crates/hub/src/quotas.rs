//! What one session, user or app may have: connections at once, publications in a second.
//!
//! One number says when a budget is whole again (GCRA); a budget holds what one second allows. Nothing is kept for limits that are not set, and
//! nothing of whom whose budget is whole and who has no connection.
//!
//! Invariant: whoever was counted in is counted out, when its [`Seat`] is dropped; a publication that is refused costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use omnivox_core::command::Denied;
use omnivox_core::{AppId, Limits, Principal, SessionId, UserId};

/// Entries from which on those that mean nothing any more are looked for.
const SWEEP_FROM: usize = 1024;
const SECOND_US: u64 = 1_000_000;

/// Whose quota it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Subject {
    Session(SessionId),
    User(AppId, UserId),
    App(AppId),
}

/// The quotas of a node.
#[derive(Debug)]
pub struct Quotas {
    limits: Arc<Limits>,
    used: Mutex<Used>,
    refusals: AtomicU64,
}

#[derive(Debug, Default)]
struct Used {
    connections: HashMap<Subject, usize, foldhash::fast::RandomState>,
    /// In microseconds: when the budget is whole again.
    whole_at_us: HashMap<Subject, u64, foldhash::fast::RandomState>,
    sweep_at: usize,
}

/// A connection's part of what its user and app may have; dropping it gives it back.
#[derive(Debug, Default)]
pub struct Seat(#[expect(dead_code, reason = "it is given back when it is dropped")] Option<Box<Taken>>);

#[derive(Debug)]
struct Taken {
    quotas: Arc<Quotas>,
    subjects: Vec<Subject>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut used = self.quotas.lock();
        for subject in &self.subjects {
            if let Some(count) = used.connections.get_mut(subject) {
                *count -= 1;
                if *count == 0 {
                    used.connections.remove(subject);
                }
            }
        }
    }
}

impl Quotas {
    /// Nothing is used yet.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self { limits, used: Mutex::default(), refusals: AtomicU64::new(0) }
    }

    /// How often somebody was refused.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Lets a connection in.
    pub fn admit(self: &Arc<Self>, principal: &Principal) -> Result<Seat, Denied> {
        let user = principal.user.clone().map(|user| Subject::User(principal.app.clone(), user));
        let wanted = [
            (self.limits.connections_per_app_max, Some(Subject::App(principal.app.clone())), "connections_per_app_max", "this app"),
            (self.limits.connections_per_user_max, user, "connections_per_user_max", "this user"),
        ];
        let limited: Vec<_> =
            wanted.into_iter().filter_map(|(most, subject, setting, whose)| Some((most?, subject?, setting, whose))).collect();
        if limited.is_empty() {
            return Ok(Seat::default());
        }
        let mut used = self.lock();
        for (most, subject, setting, whose) in &limited {
            if used.connections.get(subject).copied().unwrap_or_default() >= *most {
                let words = format!("{whose} has {most} connections already, and may have no more");
                return Err(self.refuse(setting, words));
            }
        }
        let subjects: Vec<Subject> = limited.into_iter().map(|(_, subject, ..)| subject).collect();
        for subject in &subjects {
            *used.connections.entry(subject.clone()).or_default() += 1;
        }
        Ok(Seat(Some(Box::new(Taken { quotas: self.clone(), subjects }))))
    }

    /// Lets somebody publish so many messages.
    pub(crate) fn publish(&self, session: SessionId, principal: &Principal, count: usize, now_ms: u64) -> Result<(), Denied> {
        let limits = &self.limits;
        let (of_session, of_user, of_app) =
            (limits.publications_per_second_max, limits.publications_per_user_per_second_max, limits.publications_per_app_per_second_max);
        if of_session.is_none() && of_user.is_none() && of_app.is_none() {
            return Ok(());
        }
        let user = principal.user.clone().map(|user| Subject::User(principal.app.clone(), user));
        let wanted = [
            (of_session, Some(Subject::Session(session)), "publications_per_second_max", "one connection"),
            (of_user, user, "publications_per_user_per_second_max", "one user"),
            (of_app, Some(Subject::App(principal.app.clone())), "publications_per_app_per_second_max", "one app"),
        ];
        let now_us = now_ms.saturating_mul(1000);
        let mut used = self.lock();
        used.sweep(now_us);
        let mut next = Vec::new();
        for (per_second, subject, setting, whose) in wanted {
            let (Some(per_second), Some(subject)) = (per_second, subject) else { continue };
            let cost_us = SECOND_US * count as u64 / u64::from(per_second.max(1));
            let whole_at_us = used.whole_at_us.get(&subject).copied().unwrap_or(now_us).max(now_us) + cost_us;
            // A batch of more than a second's worth goes when nothing else went, and is paid for afterwards.
            if whole_at_us > now_us + SECOND_US.max(cost_us) {
                let words = format!("{whose} publishes at most {per_second} messages a second; try again in a second");
                return Err(self.refuse(setting, words));
            }
            next.push((subject, whole_at_us));
        }
        used.whole_at_us.extend(next);
        Ok(())
    }

    fn refuse(&self, setting: &'static str, words: String) -> Denied {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        Denied::Limit { setting, words: words.into() }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn sweep(&mut self, now_us: u64) {
        if self.whole_at_us.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.whole_at_us.retain(|_, whole_at_us| *whole_at_us > now_us);
            self.sweep_at = self.whole_at_us.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(set: impl FnOnce(&mut Limits)) -> Arc<Quotas> {
        let mut limits = Limits::default();
        set(&mut limits);
        Arc::new(Quotas::new(Arc::new(limits)))
    }

    fn principal(app: &str, user: &str) -> Principal {
        let user = UserId::parse(user).ok();
        Principal { user, authenticated: true, ..Principal::anonymous(AppId::parse(app).unwrap()) }
    }

    fn session(slot: u32) -> SessionId {
        SessionId { node: 1, shard: 0, slot, generation: 0 }
    }

    fn setting<T>(result: Result<T, Denied>) -> Option<&'static str> {
        match result.err()? {
            Denied::Limit { setting, .. } => Some(setting),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_user_and_an_app_have_so_many_connections_and_get_them_back() {
        let quotas = quotas(|limits| {
            limits.connections_per_user_max = Some(2);
            limits.connections_per_app_max = Some(3);
        });
        let (ana, bob, other) = (principal("shop", "ana"), principal("shop", "bob"), principal("blog", "ana"));
        let first = quotas.admit(&ana).unwrap();
        let second = quotas.admit(&ana).unwrap();
        assert_eq!(setting(quotas.admit(&ana)), Some("connections_per_user_max"));
        let third = quotas.admit(&bob).unwrap();
        assert_eq!(setting(quotas.admit(&principal("shop", ""))), Some("connections_per_app_max"), "nobody has a user of his own");
        let elsewhere = quotas.admit(&other).unwrap();
        drop(first);
        let fourth = quotas.admit(&ana).unwrap();
        assert_eq!(quotas.refusals(), 2);
        drop((second, third, fourth, elsewhere));
        assert!(quotas.lock().connections.is_empty());
    }

    #[test]
    fn a_burst_of_a_second_and_then_a_pace_for_each() {
        let quotas = quotas(|limits| {
            limits.publications_per_second_max = Some(2);
            limits.publications_per_user_per_second_max = Some(3);
            limits.publications_per_app_per_second_max = Some(5);
        });
        let ana = principal("shop", "ana");
        let check = |at_ms, slot, who: &Principal, count, refused: Option<&str>| {
            assert_eq!(setting(quotas.publish(session(slot), who, count, at_ms)), refused, "{slot} at {at_ms}");
        };
        check(1000, 1, &ana, 2, None);
        check(1000, 1, &ana, 1, Some("publications_per_second_max"));
        check(1000, 2, &ana, 2, Some("publications_per_user_per_second_max"));
        check(1000, 2, &ana, 1, None);
        check(1000, 3, &principal("shop", "bob"), 2, None);
        check(1000, 4, &principal("shop", "eve"), 1, Some("publications_per_app_per_second_max"));
        check(1000, 5, &principal("blog", "ana"), 2, None);
        check(1500, 1, &ana, 1, None);
        check(1500, 1, &ana, 1, Some("publications_per_second_max"));
        check(9000, 1, &ana, 4, None);
        check(9500, 1, &ana, 1, Some("publications_per_second_max"));
    }

    #[test]
    fn without_limits_nothing_is_remembered_and_the_quiet_are_forgotten() {
        let unlimited = quotas(|_| {});
        let seat = unlimited.admit(&principal("shop", "ana")).unwrap();
        assert!(unlimited.publish(session(1), &principal("shop", "ana"), 1, 0).is_ok());
        assert!(unlimited.lock().connections.is_empty() && unlimited.lock().whole_at_us.is_empty());
        drop(seat);
        let limited = quotas(|limits| limits.publications_per_second_max = Some(1));
        for slot in 0..5000_u32 {
            assert!(limited.publish(session(slot), &principal("shop", "ana"), 1, u64::from(slot) * 2000).is_ok());
        }
        assert!(limited.lock().whole_at_us.len() <= SWEEP_FROM + 1);
    }
}
