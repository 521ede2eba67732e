//! The list of what was revoked before its time: users, sessions and tokens.
//!
//! A user's revocation concerns the tokens that were made until then (`iat`); tokens that the back end makes afterwards are good again.
//! A token without `iat` counts as old. Entries leave when the last token that they concern has expired.
//!
//! Invariant: an entry never leaves before its time; when there is no room a new one is refused, loudly.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use omnivox_core::{SessionId, UserId};

use crate::error::AuthError;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// All that a user holds until now.
    User(UserId),
    /// One session: it can't be resumed anywhere.
    Session(SessionId),
    /// One token, by its `jti`.
    Token(Arc<str>),
}

impl Revoked {
    const fn word(&self) -> &'static str {
        match self {
            Self::User(_) => "user's credential",
            Self::Session(_) => "session",
            Self::Token(_) => "token",
        }
    }
}

/// The revocations of one app.
#[derive(Debug)]
pub struct Revocations {
    count_max: usize,
    entries: RwLock<BTreeMap<Revoked, Entry>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at_ms: u64,
    until_ms: u64,
}

impl Revocations {
    /// No revocations; at most `count_max` at a time.
    pub fn new(count_max: usize) -> Self {
        Self { count_max, entries: RwLock::default() }
    }

    /// Revokes something until the last credential of it has expired.
    pub fn revoke(&self, what: Revoked, now_ms: u64, until_ms: u64) -> Result<(), AuthError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.count_max && !entries.contains_key(&what) {
            entries.retain(|_, entry| entry.until_ms > now_ms);
            if entries.len() >= self.count_max {
                return Err(AuthError::RevocationsFull(self.count_max));
            }
        }
        let entry = entries.entry(what).or_insert(Entry { at_ms: now_ms, until_ms });
        entry.at_ms = entry.at_ms.max(now_ms);
        entry.until_ms = entry.until_ms.max(until_ms);
        Ok(())
    }

    /// Refuses a credential whose user or token was revoked.
    pub fn check(
        &self,
        user: Option<&UserId>,
        token_id: Option<&Arc<str>>,
        issued_at_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), AuthError> {
        if let Some(id) = token_id {
            self.check_one(&Revoked::Token(id.clone()), None, now_ms)?;
        }
        match user {
            Some(user) => self.check_one(&Revoked::User(user.clone()), issued_at_ms, now_ms),
            None => Ok(()),
        }
    }

    /// Refuses a session that was revoked, wherever somebody resumes it.
    pub fn check_session(&self, session: SessionId, now_ms: u64) -> Result<(), AuthError> {
        self.check_one(&Revoked::Session(session), None, now_ms)
    }

    fn check_one(&self, what: &Revoked, issued_at_ms: Option<u64>, now_ms: u64) -> Result<(), AuthError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        match entries.get(what) {
            Some(entry) if entry.until_ms > now_ms && issued_at_ms.is_none_or(|issued| issued <= entry.at_ms) => {
                Err(AuthError::Revoked(what.word()))
            }
            _ => Ok(()),
        }
    }

    /// Lets go of what no longer matters; to be called now and then.
    pub fn forget_old(&self, now_ms: u64) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).retain(|_, entry| entry.until_ms > now_ms);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn what_was_revoked_stays_out_until_its_time() {
        let revocations = Revocations::new(10);
        revocations.revoke(Revoked::User(user("ana")), 1_000, 9_000).unwrap();
        revocations.revoke(Revoked::Token("t1".into()), 1_000, 9_000).unwrap();
        let check = |name: &str, token: &str, issued_at_ms, now_ms, refused: Option<&'static str>| {
            let found = revocations.check(Some(&user(name)), Some(&Arc::from(token)), issued_at_ms, now_ms).err();
            assert_eq!(found, refused.map(AuthError::Revoked), "{name} {token} {issued_at_ms:?} {now_ms}");
        };
        check("ana", "t0", Some(500), 2_000, Some("user's credential"));
        check("ana", "t0", Some(1_000), 2_000, Some("user's credential"));
        check("ana", "t0", Some(1_001), 2_000, None);
        check("ana", "t0", None, 2_000, Some("user's credential"));
        check("ana", "t0", None, 8_999, Some("user's credential"));
        check("ana", "t0", None, 9_000, None);
        check("bob", "t0", None, 2_000, None);
        check("bob", "t1", Some(5_000), 6_000, Some("token"));
        check("bob", "t1", None, 9_000, None);
        assert_eq!(revocations.check(None, None, None, 2_000), Ok(()));
    }

    #[test]
    fn sessions_are_revoked_by_id() {
        let revocations = Revocations::new(10);
        let session = SessionId { node: 1, shard: 2, slot: 3, generation: 4 };
        revocations.revoke(Revoked::Session(session), 0, 10).unwrap();
        assert_eq!(revocations.check_session(session, 9), Err(AuthError::Revoked("session")));
        assert_eq!(revocations.check_session(SessionId { generation: 5, ..session }, 9), Ok(()));
        assert_eq!(revocations.check_session(session, 10), Ok(()));
    }

    #[test]
    fn a_second_revocation_only_makes_it_stronger() {
        let revocations = Revocations::new(10);
        revocations.revoke(Revoked::User(user("ana")), 1_000, 9_000).unwrap();
        revocations.revoke(Revoked::User(user("ana")), 2_000, 3_000).unwrap();
        assert!(revocations.check(Some(&user("ana")), None, Some(1_500), 8_000).is_err());
        assert!(revocations.check(Some(&user("ana")), None, Some(2_500), 8_000).is_ok());
    }

    #[test]
    fn a_full_list_refuses_and_forgets_nothing() {
        let revocations = Revocations::new(2);
        for (name, until_ms) in [("a", 10), ("b", 20)] {
            revocations.revoke(Revoked::User(user(name)), 0, until_ms).unwrap();
        }
        assert_eq!(revocations.revoke(Revoked::User(user("c")), 5, 30), Err(AuthError::RevocationsFull(2)));
        assert_eq!(revocations.revoke(Revoked::User(user("b")), 5, 30), Ok(()), "a known one needs no room");
        assert_eq!(revocations.revoke(Revoked::User(user("c")), 10, 30), Ok(()), "`a` has had its time");
        assert!(revocations.check(Some(&user("b")), None, None, 11).is_err());
        revocations.forget_old(30);
        assert!(revocations.is_empty());
    }
}
