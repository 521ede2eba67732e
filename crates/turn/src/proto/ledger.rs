//! Who uses how much: allocations per user, app and source address, and revocations, over all workers.
//!
//! The lock is taken when an allocation begins or ends, never for a packet: packets draw on the [`Account`]s, which are
//! atomic numbers.
//!
//! Invariant: every successful [`Ledger::open`] is paid back by exactly one [`Ledger::close`].

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::credentials::{Grant, Revoked};
use super::rate::{Bucket, Rate};

/// How many allocations there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Of the whole server.
    pub total_max: u32,
    /// Of one user.
    pub user_max: u32,
    /// Of one app.
    pub app_max: u32,
    /// From one source address.
    pub source_max: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { total_max: 100_000, user_max: 100, app_max: 50_000, source_max: 2_000 }
    }
}

/// Why there is no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaReached {
    /// The user's, the app's or the source's: 486.
    Own,
    /// The server's: 508.
    Server,
}

/// What a user or an app has used; shared by its allocations on all workers.
#[derive(Debug, Default)]
pub struct Account {
    bucket: Bucket,
    bytes_per_second: AtomicU64,
    bytes: AtomicU64,
    bytes_max: AtomicU64,
}

impl Account {
    /// Takes bytes, unless the rate or the total is used up.
    fn take(&self, millis: u64, bytes: u64) -> bool {
        let max = self.bytes_max.load(Ordering::Relaxed);
        if max != 0 && self.bytes.fetch_add(bytes, Ordering::Relaxed) >= max {
            return false;
        }
        self.bucket.take(millis, bytes, Rate::bytes(self.bytes_per_second.load(Ordering::Relaxed)))
    }

    fn limit(&self, bytes_per_second: Option<u64>, bytes_max: Option<u64>) -> bool {
        self.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
        self.bytes_max.store(bytes_max.unwrap_or(0), Ordering::Relaxed);
        bytes_per_second.is_some() || bytes_max.is_some()
    }
}

/// The accounts that one allocation draws on; empty when its user and app have no limits of their own.
#[derive(Clone, Debug, Default)]
pub struct Meters(SmallVec<[Arc<Account>; 2]>);

impl Meters {
    /// Takes bytes from every account.
    #[must_use]
    pub fn take(&self, millis: u64, bytes: u64) -> bool {
        self.0.iter().all(|account| account.take(millis, bytes))
    }
}

/// One entry of the ledger, to be given back.
#[derive(Clone, Debug)]
pub struct Charge {
    source: IpAddr,
    user: UserKey,
}

type UserKey = (Option<Arc<str>>, Arc<str>);
type Fast = foldhash::fast::RandomState;

#[derive(Debug, Default)]
struct Holder {
    allocations: u32,
    account: Arc<Account>,
}

#[derive(Debug, Default)]
struct Books {
    total: u32,
    sources: HashMap<IpAddr, u32, Fast>,
    users: HashMap<UserKey, Holder, Fast>,
    apps: HashMap<Arc<str>, Holder, Fast>,
    revoked: HashMap<Revoked, u64, Fast>,
}

/// The shared ledger.
#[derive(Debug)]
pub struct Ledger {
    quotas: Quotas,
    books: Mutex<Books>,
}

/// Revocations that are remembered; beyond it the one that ends first is forgotten.
pub const REVOCATIONS_MAX: usize = 65_536;

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas, books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change of the books is complete before anything can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books one allocation, unless a quota is reached.
    pub fn open(&self, source: IpAddr, grant: &Grant) -> Result<(Charge, Meters), QuotaReached> {
        let user = (grant.app.clone(), Arc::clone(&grant.user));
        let limits = grant.limits;
        let mut books = self.books();
        if books.total >= self.quotas.total_max {
            return Err(QuotaReached::Server);
        }
        let user_max = limits.user_allocations_max.unwrap_or(self.quotas.user_max);
        let app_max = limits.app_allocations_max.unwrap_or(self.quotas.app_max);
        let of_user = books.users.get(&user).map_or(0, |holder| holder.allocations);
        let of_app = grant.app.as_ref().and_then(|app| books.apps.get(app)).map_or(0, |holder| holder.allocations);
        let of_source = books.sources.get(&source).copied().unwrap_or(0);
        if of_user >= user_max || of_app >= app_max || of_source >= self.quotas.source_max {
            return Err(QuotaReached::Own);
        }
        books.total += 1;
        *books.sources.entry(source).or_default() += 1;
        let mut meters = Meters::default();
        let holder = books.users.entry(user.clone()).or_default();
        holder.allocations += 1;
        if holder.account.limit(limits.user_bytes_per_second, limits.user_bytes_max) {
            meters.0.push(Arc::clone(&holder.account));
        }
        if let Some(app) = &grant.app {
            let holder = books.apps.entry(Arc::clone(app)).or_default();
            holder.allocations += 1;
            if holder.account.limit(limits.app_bytes_per_second, None) {
                meters.0.push(Arc::clone(&holder.account));
            }
        }
        Ok((Charge { source, user }, meters))
    }

    /// Gives one allocation back.
    pub fn close(&self, charge: Charge) {
        let mut books = self.books();
        books.total = books.total.saturating_sub(1);
        if let Some(count) = books.sources.get_mut(&charge.source) {
            *count -= 1;
            if *count == 0 {
                books.sources.remove(&charge.source);
            }
        }
        if let Some(app) = &charge.user.0
            && let Some(holder) = books.apps.get_mut(app)
        {
            holder.allocations -= 1;
            if holder.allocations == 0 {
                books.apps.remove(app);
            }
        }
        if let Some(holder) = books.users.get_mut(&charge.user) {
            holder.allocations -= 1;
            if holder.allocations == 0 {
                books.users.remove(&charge.user);
            }
        }
    }

    /// Refuses new allocations of something until a time.
    pub fn revoke(&self, what: Revoked, until_unix: u64) {
        let mut books = self.books();
        if books.revoked.len() >= REVOCATIONS_MAX
            && let Some(first) = books.revoked.iter().min_by_key(|(_, until)| **until).map(|(what, _)| what.clone())
        {
            books.revoked.remove(&first);
        }
        let until = books.revoked.entry(what).or_default();
        *until = until_unix.max(*until);
    }

    /// Whether a grant is revoked now.
    #[must_use]
    pub fn is_revoked(&self, grant: &Grant, unix: u64) -> bool {
        let mut books = self.books();
        if books.revoked.is_empty() {
            return false;
        }
        let mut of_grant: SmallVec<[Revoked; 4]> =
            SmallVec::from_iter([Revoked::Credential(Arc::clone(&grant.credential)), Revoked::User(Arc::clone(&grant.user))]);
        of_grant.extend(grant.app.clone().map(Revoked::App));
        of_grant.extend(grant.room.clone().map(|room| Revoked::Room(grant.app.clone(), room)));
        of_grant.into_iter().any(|what| match books.revoked.get(&what) {
            Some(until) if *until >= unix => true,
            Some(_) => {
                books.revoked.remove(&what);
                false
            }
            None => false,
        })
    }

    /// Allocations of the whole server.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.books().total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::credentials::GrantLimits;

    fn grant(user: &str, app: Option<&str>, limits: GrantLimits) -> Grant {
        Grant {
            keys: SmallVec::new(),
            credential: format!("1:{user}").into(),
            user: user.into(),
            app: app.map(Into::into),
            room: Some("r".into()),
            expires_unix: None,
            limits,
        }
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn quotas_per_user_app_source_and_server() {
        let ledger = Ledger::new(Quotas { total_max: 5, user_max: 2, app_max: 3, source_max: 2 });
        let none = GrantLimits::default();
        let charge = ledger.open(source(1), &grant("a", Some("x"), none)).expect("first").0;
        ledger.open(source(1), &grant("a", Some("x"), none)).expect("second");
        assert_eq!(ledger.open(source(2), &grant("a", Some("x"), none)).err(), Some(QuotaReached::Own), "user");
        assert_eq!(ledger.open(source(1), &grant("b", None, none)).err(), Some(QuotaReached::Own), "source");
        ledger.open(source(2), &grant("a", Some("y"), none)).expect("the same name in another app is another user");
        ledger.open(source(2), &grant("c", Some("x"), none)).expect("third of the app");
        assert_eq!(ledger.open(source(3), &grant("d", Some("x"), none)).err(), Some(QuotaReached::Own), "app");
        ledger.open(source(3), &grant("d", None, none)).expect("fifth");
        assert_eq!(ledger.open(source(4), &grant("e", None, none)).err(), Some(QuotaReached::Server));
        ledger.close(charge);
        assert_eq!(ledger.total(), 4);
        ledger.open(source(4), &grant("a", Some("x"), none)).expect("a place was given back");
    }

    #[test]
    fn a_user_s_rate_and_total_hold_over_all_allocations() {
        let ledger = Ledger::new(Quotas::default());
        let limits = GrantLimits { user_bytes_per_second: Some(100_000), ..GrantLimits::default() };
        let first = ledger.open(source(1), &grant("a", None, limits)).expect("first").1;
        let second = ledger.open(source(2), &grant("a", None, limits)).expect("second").1;
        assert!(first.take(0, 40_000));
        assert!(!second.take(0, 40_000), "the burst is 65,536 bytes");
        let limits = GrantLimits { user_bytes_max: Some(1_000), ..GrantLimits::default() };
        let meters = ledger.open(source(3), &grant("b", None, limits)).expect("third").1;
        assert!(meters.take(0, 999) && meters.take(0, 999) && !meters.take(0, 1));
    }

    #[test]
    fn revocations_end() {
        let ledger = Ledger::new(Quotas::default());
        let a = grant("a", Some("x"), GrantLimits::default());
        for what in [
            Revoked::User("a".into()),
            Revoked::App("x".into()),
            Revoked::Credential("1:a".into()),
            Revoked::Room(Some("x".into()), "r".into()),
        ] {
            ledger.revoke(what.clone(), 50);
            assert!(ledger.is_revoked(&a, 50) && !ledger.is_revoked(&a, 51), "{what:?}");
        }
        ledger.revoke(Revoked::Room(None, "r".into()), 50);
        assert!(!ledger.is_revoked(&a, 50), "the room of another app");
    }
}
