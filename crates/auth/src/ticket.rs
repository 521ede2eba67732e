//! Single-use tickets: what a browser puts into the URL of a WebSocket or an EventSource instead of its token.
//!
//! `POST /v1/ticket` verifies a credential and answers with a ticket for the same principal. The ticket lasts at most 30 s and works
//! once, so that it is worthless in a log. Only its hash is kept.
//!
//! Invariant: a ticket is redeemed at most once, and never later than its principal's own expiry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use omnivox_core::Principal;

use crate::error::AuthError;

/// The longest that a ticket can last.
pub const TICKET_TTL_MS_MAX: u64 = 30_000;
/// What every ticket begins with.
pub use omnivox_core::command::TICKET_PREFIX;

/// The tickets of one app that wait to be used.
#[derive(Debug)]
pub struct Tickets {
    ttl_ms: u64,
    count_max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_hash: BTreeMap<[u8; 32], Entry>,
    /// All last equally long, so they end in the order in which they were made.
    by_age: VecDeque<(u64, [u8; 32])>,
}

#[derive(Debug)]
struct Entry {
    principal: Principal,
    issued_at_ms: u64,
}

impl Tickets {
    /// No tickets yet. They last `ttl_ms`, but never more than 30 s; at most `count_max` wait at a time.
    pub fn new(ttl_ms: u64, count_max: usize) -> Self {
        Self { ttl_ms: ttl_ms.min(TICKET_TTL_MS_MAX), count_max, waiting: Mutex::default() }
    }

    /// How long a ticket lasts.
    pub const fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// A ticket for `principal`. `entropy` must be fresh randomness: it *is* the ticket.
    pub fn issue(&self, principal: Principal, entropy: [u8; 32], now_ms: u64) -> Result<Box<str>, AuthError> {
        let ticket = format!("{TICKET_PREFIX}{}", URL_SAFE_NO_PAD.encode(entropy));
        let hash = hash(&ticket);
        let mut waiting = self.lock();
        waiting.forget_old(now_ms, self.ttl_ms);
        if waiting.by_hash.len() >= self.count_max {
            return Err(AuthError::TicketsFull(self.count_max));
        }
        waiting.forget_used(self.count_max);
        waiting.by_age.push_back((now_ms, hash));
        waiting.by_hash.insert(hash, Entry { principal, issued_at_ms: now_ms });
        Ok(ticket.into())
    }

    /// Uses a ticket up. Whether it was wrong, used or old is not told: only its hash was ever known.
    pub fn redeem(&self, ticket: &str, now_ms: u64) -> Result<Principal, AuthError> {
        let refused = AuthError::Ticket { ttl_s: self.ttl_ms / 1000 };
        if ticket.len() > TICKET_PREFIX.len() + 43 {
            return Err(refused);
        }
        let hash = hash(ticket);
        let mut waiting = self.lock();
        waiting.forget_old(now_ms, self.ttl_ms);
        let entry = waiting.by_hash.remove(&hash).ok_or_else(|| refused.clone())?;
        drop(waiting);
        if now_ms < entry.issued_at_ms || now_ms - entry.issued_at_ms >= self.ttl_ms {
            return Err(refused);
        }
        match entry.principal.expires_at_ms {
            Some(expires) if now_ms >= expires => Err(AuthError::Expired { ago_s: (now_ms - expires) / 1000 }),
            _ => Ok(entry.principal),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().by_hash.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn forget_old(&mut self, now_ms: u64, ttl_ms: u64) {
        while let Some((issued_at_ms, hash)) = self.by_age.front()
            && (now_ms.saturating_sub(*issued_at_ms) >= ttl_ms || !self.by_hash.contains_key(hash))
        {
            self.by_hash.remove(hash);
            self.by_age.pop_front();
        }
    }

    /// One ticket that nobody uses must not keep the traces of all that were used after it.
    fn forget_used(&mut self, count_max: usize) {
        if self.by_age.len() > count_max.saturating_mul(2) {
            let Self { by_hash, by_age } = self;
            by_age.retain(|(_, hash)| by_hash.contains_key(hash));
        }
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, ticket.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnivox_core::{AppId, UserId};

    fn ana() -> Principal {
        let nobody = Principal::anonymous(AppId::parse("shop").unwrap());
        Principal { user: Some(UserId::parse("ana").unwrap()), authenticated: true, ..nobody }
    }

    #[test]
    fn a_ticket_works_once_and_not_for_long() {
        let check = |wait_ms: &[u64], expected: &[bool]| {
            let tickets = Tickets::new(30_000, 10);
            let ticket = tickets.issue(ana(), [7; 32], 1_000).unwrap();
            let found: Vec<_> = wait_ms.iter().map(|wait| tickets.redeem(&ticket, 1_000 + wait).is_ok()).collect();
            assert_eq!(found, expected, "{wait_ms:?}");
            assert!(tickets.is_empty() || !found.contains(&true));
        };
        check(&[0, 0], &[true, false]);
        check(&[29_999, 29_999], &[true, false]);
        check(&[30_000, 0], &[false, false]);
    }

    #[test]
    fn a_ticket_is_for_its_principal() {
        let tickets = Tickets::new(u64::MAX, 10);
        assert_eq!(tickets.ttl_ms(), 30_000, "30 s at most");
        let ticket = tickets.issue(ana(), [7; 32], 0).unwrap();
        assert!(ticket.starts_with("ovt_") && ticket.len() == 47, "{ticket}");
        assert_eq!(tickets.redeem(&ticket, 0), Ok(ana()));
        let short = Principal { expires_at_ms: Some(500), ..ana() };
        let ticket = tickets.issue(short, [8; 32], 0).unwrap();
        assert_eq!(tickets.redeem(&ticket, 2_500), Err(AuthError::Expired { ago_s: 2 }));
    }

    #[test]
    fn wrong_tickets_are_refused_alike() {
        let tickets = Tickets::new(10_000, 10);
        let ticket = tickets.issue(ana(), [7; 32], 5_000).unwrap();
        for wrong in ["", "ovt_", &ticket[..46], &format!("{ticket}A"), &"x".repeat(1 << 20), &ticket.to_lowercase()] {
            assert_eq!(tickets.redeem(wrong, 5_000), Err(AuthError::Ticket { ttl_s: 10 }));
        }
        assert_eq!(tickets.redeem(&ticket, 4_000), Err(AuthError::Ticket { ttl_s: 10 }), "a clock that was set back");
    }

    #[test]
    fn the_store_is_bounded_and_empties_itself() {
        let tickets = Tickets::new(10_000, 3);
        for n in 0..3 {
            tickets.issue(ana(), [n; 32], 0).unwrap();
        }
        assert_eq!(tickets.issue(ana(), [9; 32], 9_999), Err(AuthError::TicketsFull(3)));
        tickets.issue(ana(), [9; 32], 10_000).unwrap();
        assert_eq!(tickets.len(), 1);
        for n in 10..110 {
            let ticket = tickets.issue(ana(), [n; 32], 10_000).unwrap();
            tickets.redeem(&ticket, 10_000).unwrap();
        }
        assert_eq!(tickets.len(), 1);
        assert!(tickets.lock().by_age.len() <= 7, "what was used leaves no traces");
    }
}
