//! Who uses how much: allocations per user, app and source address, bytes per user and app, and revocations, over all workers.
//!
//! The lock is taken when an allocation begins or ends, never for a packet: packets draw on the [`Account`]s, which are
//! atomic numbers. An account with a limit outlives its last allocation until its window ends, so that nobody gets a new
//! allowance by allocating again.
//!
//! Invariant: every successful [`Ledger::open`] is paid back by exactly one [`Ledger::close`].

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::credentials::{Grant, Revoked};
use super::rate::{Bucket, Rate};

/// How much there may be; a credential may bring other numbers for its user and app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Allocations of the whole server.
    pub total_max: u32,
    /// Allocations of one user.
    pub user_max: u32,
    /// Allocations of one app.
    pub app_max: u32,
    /// Allocations from one source address.
    pub source_max: u32,
    /// What one user may relay.
    pub user: Allowance,
    /// What one app may relay.
    pub app: Allowance,
    /// Bytes per second of the whole server, both directions; zero is no limit.
    pub total_bytes_per_second: u64,
    /// Seconds after which [`Allowance::bytes_max`] begins anew.
    pub window_seconds: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            total_max: 100_000,
            user_max: 100,
            app_max: 50_000,
            source_max: 2_000,
            user: Allowance::default(),
            app: Allowance::default(),
            total_bytes_per_second: 0,
            window_seconds: 24 * 3600,
        }
    }
}

/// What all allocations of one user or app may relay together, both directions; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes per second; half a second's worth may come at once.
    pub bytes_per_second: u64,
    /// Bytes in one window.
    pub bytes_max: u64,
}

impl Allowance {
    const fn or(self, bytes_per_second: Option<u64>, bytes_max: Option<u64>) -> Self {
        Self {
            bytes_per_second: match bytes_per_second {
                Some(own) => own,
                None => self.bytes_per_second,
            },
            bytes_max: match bytes_max {
                Some(own) => own,
                None => self.bytes_max,
            },
        }
    }

    const fn limits(self) -> bool {
        self.bytes_per_second != 0 || self.bytes_max != 0
    }
}

/// Why there is no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaReached {
    /// The user has as many as it may: 486.
    User,
    /// The app has: 486.
    App,
    /// The source address has: 486.
    Source,
    /// The user's or the app's bytes are used up: 486.
    Bytes,
    /// The server has: 508.
    Server,
}

/// Which bound a packet went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The user's bytes per second.
    UserRate,
    /// The user's bytes in all.
    UserBytes,
    /// The app's bytes per second.
    AppRate,
    /// The app's bytes in all.
    AppBytes,
    /// The server's bytes per second.
    ServerRate,
}

/// What a user or an app has used; shared by its allocations on all workers.
#[derive(Debug, Default)]
pub struct Account {
    bucket: Bucket,
    bytes_per_second: AtomicU64,
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    /// When the window of `bytes` ends, and how long it is.
    window_end: AtomicU64,
    window_millis: u64,
}

enum Empty {
    Rate,
    Bytes,
}

impl Account {
    fn new(millis: u64, window_seconds: u64) -> Self {
        let window_millis = window_seconds.max(1).saturating_mul(1000);
        Self { window_end: AtomicU64::new(millis.saturating_add(window_millis)), window_millis, ..Self::default() }
    }

    /// Takes bytes, unless the rate or the total is used up.
    fn take(&self, millis: u64, bytes: u64) -> Result<(), Empty> {
        let max = self.bytes_max.load(Ordering::Relaxed);
        if max != 0 {
            self.turn_window(millis);
            if self.bytes.fetch_add(bytes, Ordering::Relaxed) >= max {
                return Err(Empty::Bytes);
            }
        }
        let rate = Rate::bytes(self.bytes_per_second.load(Ordering::Relaxed));
        if self.bucket.take(millis, bytes, rate) { Ok(()) } else { Err(Empty::Rate) }
    }

    fn turn_window(&self, millis: u64) {
        let end = self.window_end.load(Ordering::Relaxed);
        let next = millis.saturating_add(self.window_millis);
        if end <= millis && self.window_end.compare_exchange(end, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.bytes.store(0, Ordering::Relaxed);
        }
    }

    fn is_used_up(&self, millis: u64) -> bool {
        self.turn_window(millis);
        let max = self.bytes_max.load(Ordering::Relaxed);
        max != 0 && self.bytes.load(Ordering::Relaxed) >= max
    }

    fn limit(&self, allowance: Allowance) {
        self.bytes_per_second.store(allowance.bytes_per_second, Ordering::Relaxed);
        self.bytes_max.store(allowance.bytes_max, Ordering::Relaxed);
    }

    fn limits(&self) -> bool {
        self.bytes_per_second.load(Ordering::Relaxed) != 0 || self.bytes_max.load(Ordering::Relaxed) != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    User,
    App,
    Server,
}

/// The accounts that one allocation draws on; empty when its user, its app and the server have no limits.
#[derive(Clone, Debug, Default)]
pub struct Meters(SmallVec<[(Level, Arc<Account>); 1]>);

impl Meters {
    /// Takes bytes from every account.
    pub fn take(&self, millis: u64, bytes: u64) -> Result<(), Exceeded> {
        for (level, account) in &self.0 {
            account.take(millis, bytes).map_err(|empty| match (level, empty) {
                (Level::User, Empty::Rate) => Exceeded::UserRate,
                (Level::User, Empty::Bytes) => Exceeded::UserBytes,
                (Level::App, Empty::Rate) => Exceeded::AppRate,
                (Level::App, Empty::Bytes) => Exceeded::AppBytes,
                (Level::Server, _) => Exceeded::ServerRate,
            })?;
        }
        Ok(())
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

#[derive(Debug)]
struct Holder {
    allocations: u32,
    account: Arc<Account>,
}

impl Holder {
    fn new(millis: u64, window_seconds: u64) -> Self {
        Self { allocations: 0, account: Arc::new(Account::new(millis, window_seconds)) }
    }

    /// Nobody holds it and its window is over, or it never had a limit.
    fn is_over(&self, millis: u64) -> bool {
        self.allocations == 0 && (!self.account.limits() || self.account.window_end.load(Ordering::Relaxed) <= millis)
    }
}

#[derive(Debug, Default)]
struct Books {
    total: u32,
    sources: HashMap<IpAddr, u32, Fast>,
    users: HashMap<UserKey, Holder, Fast>,
    apps: HashMap<Arc<str>, Holder, Fast>,
    /// Users and apps without an allocation whose accounts are kept.
    resting: usize,
    revoked: HashMap<Revoked, u64, Fast>,
}

/// The shared ledger.
#[derive(Debug)]
pub struct Ledger {
    quotas: Quotas,
    server: Arc<Account>,
    books: Mutex<Books>,
}

/// Revocations that are remembered; beyond it the one that ends first is forgotten.
pub const REVOCATIONS_MAX: usize = 65_536;
/// Accounts of users and apps without an allocation that are remembered; beyond it all of them begin anew.
pub const RESTING_ACCOUNTS_MAX: usize = 65_536;

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        let server = Account::default();
        server.limit(Allowance { bytes_per_second: quotas.total_bytes_per_second, bytes_max: 0 });
        Self { quotas, server: Arc::new(server), books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change of the books is complete before anything can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books one allocation, unless a quota is reached.
    pub fn open(&self, millis: u64, source: IpAddr, grant: &Grant) -> Result<(Charge, Meters), QuotaReached> {
        let user = (grant.app.clone(), Arc::clone(&grant.user));
        let books = &mut *self.books();
        self.admit(books, millis, source, grant, &user)?;
        books.total += 1;
        *books.sources.entry(source).or_default() += 1;
        let (limits, window) = (grant.limits, self.quotas.window_seconds);
        let mut meters = Meters::default();
        let mut hold = |holder: &mut Holder, level, allowance: Allowance| {
            books.resting -= usize::from(holder.allocations == 0 && holder.account.limits());
            holder.allocations += 1;
            holder.account.limit(allowance);
            if allowance.limits() {
                meters.0.push((level, Arc::clone(&holder.account)));
            }
        };
        let allowance = self.quotas.user.or(limits.user_bytes_per_second, limits.user_bytes_max);
        hold(books.users.entry(user.clone()).or_insert_with(|| Holder::new(millis, window)), Level::User, allowance);
        if let Some(app) = &grant.app {
            let allowance = self.quotas.app.or(limits.app_bytes_per_second, limits.app_bytes_max);
            hold(books.apps.entry(Arc::clone(app)).or_insert_with(|| Holder::new(millis, window)), Level::App, allowance);
        }
        if self.server.limits() {
            meters.0.push((Level::Server, Arc::clone(&self.server)));
        }
        Ok((Charge { source, user }, meters))
    }

    fn admit(&self, books: &Books, millis: u64, source: IpAddr, grant: &Grant, user: &UserKey) -> Result<(), QuotaReached> {
        if books.total >= self.quotas.total_max {
            return Err(QuotaReached::Server);
        }
        let (of_user, of_app) = (books.users.get(user), grant.app.as_ref().and_then(|app| books.apps.get(app)));
        let reached = |holder: Option<&Holder>, max| holder.map_or(0, |holder| holder.allocations) >= max;
        if reached(of_user, grant.limits.user_allocations_max.unwrap_or(self.quotas.user_max)) {
            return Err(QuotaReached::User);
        }
        if reached(of_app, grant.limits.app_allocations_max.unwrap_or(self.quotas.app_max)) {
            return Err(QuotaReached::App);
        }
        if books.sources.get(&source).copied().unwrap_or(0) >= self.quotas.source_max {
            return Err(QuotaReached::Source);
        }
        if [of_user, of_app].into_iter().flatten().any(|holder| holder.account.is_used_up(millis)) {
            return Err(QuotaReached::Bytes);
        }
        Ok(())
    }

    /// Gives one allocation back.
    pub fn close(&self, millis: u64, charge: Charge) {
        let books = &mut *self.books();
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
            if holder.is_over(millis) {
                books.apps.remove(app);
            } else {
                books.resting += usize::from(holder.allocations == 0);
            }
        }
        if let Some(holder) = books.users.get_mut(&charge.user) {
            holder.allocations -= 1;
            if holder.is_over(millis) {
                books.users.remove(&charge.user);
            } else {
                books.resting += usize::from(holder.allocations == 0);
            }
        }
        if books.resting > RESTING_ACCOUNTS_MAX {
            books.forget(millis);
        }
    }

    /// Forgets the accounts whose window is over. Call it now and then.
    pub fn sweep(&self, millis: u64) {
        let books = &mut *self.books();
        if books.resting > 0 {
            books.forget_if(|holder| holder.is_over(millis));
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
        let mut of_grant: SmallVec<[Revoked; 5]> = SmallVec::from_iter([
            Revoked::Credential(Arc::clone(&grant.credential)),
            Revoked::Holder(Arc::clone(&grant.holder)),
            Revoked::User(Arc::clone(&grant.user)),
        ]);
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

impl Books {
    fn forget(&mut self, millis: u64) {
        self.forget_if(|holder| holder.is_over(millis));
        if self.resting > RESTING_ACCOUNTS_MAX {
            self.forget_if(|_| true);
        }
    }

    fn forget_if(&mut self, over: impl Fn(&Holder) -> bool) {
        let stays = |holder: &Holder| holder.allocations > 0 || !over(holder);
        self.users.retain(|_, holder| stays(holder));
        self.apps.retain(|_, holder| stays(holder));
        let resting = |holder: &&Holder| holder.allocations == 0;
        self.resting = self.users.values().filter(resting).count() + self.apps.values().filter(resting).count();
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
            holder: user.into(),
            user: user.into(),
            app: app.map(Into::into),
            room: Some("r".into()),
            expires_unix: None,
            ends_unix: None,
            limits,
        }
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn quotas_per_user_app_source_and_server() {
        let ledger = Ledger::new(Quotas { total_max: 5, user_max: 2, app_max: 3, source_max: 2, ..Quotas::default() });
        let none = GrantLimits::default();
        let charge = ledger.open(0, source(1), &grant("a", Some("x"), none)).expect("first").0;
        ledger.open(0, source(1), &grant("a", Some("x"), none)).expect("second");
        assert_eq!(ledger.open(0, source(2), &grant("a", Some("x"), none)).err(), Some(QuotaReached::User), "user");
        assert_eq!(ledger.open(0, source(1), &grant("b", None, none)).err(), Some(QuotaReached::Source), "source");
        ledger.open(0, source(2), &grant("a", Some("y"), none)).expect("the same name in another app is another user");
        ledger.open(0, source(2), &grant("c", Some("x"), none)).expect("third of the app");
        assert_eq!(ledger.open(0, source(3), &grant("d", Some("x"), none)).err(), Some(QuotaReached::App), "app");
        ledger.open(0, source(3), &grant("d", None, none)).expect("fifth");
        assert_eq!(ledger.open(0, source(4), &grant("e", None, none)).err(), Some(QuotaReached::Server));
        ledger.close(0, charge);
        assert_eq!(ledger.total(), 4);
        ledger.open(0, source(4), &grant("a", Some("x"), none)).expect("a place was given back");
    }

    #[test]
    fn rates_and_totals_hold_over_all_allocations_of_whom_they_are() {
        let allowance = |bytes_per_second, bytes_max| Allowance { bytes_per_second, bytes_max };
        let (rate, total) = (allowance(100_000, 0), allowance(0, 1_000));
        let none = Allowance::default();
        let check = |user, app, total_bytes_per_second, bytes, expected| {
            let ledger = Ledger::new(Quotas { user, app, total_bytes_per_second, ..Quotas::default() });
            let open = |name, app| ledger.open(0, source(1), &grant(name, Some(app), GrantLimits::default())).expect("room").1;
            let (first, other) = match expected {
                Exceeded::UserRate | Exceeded::UserBytes => (open("a", "x"), open("a", "x")),
                Exceeded::AppRate | Exceeded::AppBytes => (open("a", "x"), open("b", "x")),
                Exceeded::ServerRate => (open("a", "x"), open("b", "y")),
            };
            assert_eq!(first.take(0, bytes), Ok(()), "{expected:?}");
            assert_eq!(other.take(0, bytes), Err(expected));
            if expected != Exceeded::ServerRate {
                assert_eq!(open("c", "z").take(0, bytes), Ok(()), "{expected:?}: somebody else");
            }
        };
        // The burst is 65,536 bytes.
        check(rate, none, 0, 40_000, Exceeded::UserRate);
        check(none, rate, 0, 40_000, Exceeded::AppRate);
        check(none, none, 100_000, 40_000, Exceeded::ServerRate);
        check(total, none, 0, 1_000, Exceeded::UserBytes);
        check(none, total, 0, 1_000, Exceeded::AppBytes);
    }

    #[test]
    fn a_credential_may_bring_other_numbers() {
        let user = Allowance { bytes_per_second: 0, bytes_max: 10 };
        let ledger = Ledger::new(Quotas { user, ..Quotas::default() });
        let more = GrantLimits { user_bytes_max: Some(1_000), ..GrantLimits::default() };
        let meters = ledger.open(0, source(1), &grant("a", None, more)).expect("room").1;
        assert_eq!((meters.take(0, 999), meters.take(0, 999)), (Ok(()), Ok(())));
        assert_eq!(meters.take(0, 1), Err(Exceeded::UserBytes));
        let one = GrantLimits { app_allocations_max: Some(1), user_allocations_max: Some(1), ..GrantLimits::default() };
        ledger.open(0, source(1), &grant("b", Some("x"), one)).expect("the first");
        assert_eq!(ledger.open(0, source(1), &grant("b", Some("x"), one)).err(), Some(QuotaReached::User));
        assert_eq!(ledger.open(0, source(1), &grant("c", Some("x"), one)).err(), Some(QuotaReached::App));
    }

    #[test]
    fn allocating_again_gives_no_new_allowance_until_the_window_ends() {
        let user = Allowance { bytes_per_second: 0, bytes_max: 1_000 };
        let ledger = Ledger::new(Quotas { user, window_seconds: 60, ..Quotas::default() });
        let a = grant("a", None, GrantLimits::default());
        let (charge, meters) = ledger.open(0, source(1), &a).expect("room");
        assert_eq!(meters.take(0, 1_000), Ok(()));
        ledger.close(1_000, charge);
        ledger.sweep(59_999);
        assert_eq!(ledger.open(59_999, source(1), &a).err(), Some(QuotaReached::Bytes));
        let (charge, meters) = ledger.open(60_000, source(1), &a).expect("the next window");
        assert_eq!(meters.take(60_000, 1_000), Ok(()));
        assert_eq!(meters.take(119_999, 1), Err(Exceeded::UserBytes));
        assert_eq!(meters.take(120_000, 1), Ok(()), "the window turns under a living allocation");
        ledger.close(120_000, charge);
        ledger.sweep(180_000);
        let books = ledger.books();
        assert_eq!((books.users.len(), books.resting), (0, 0), "what is over is forgotten");
    }

    #[test]
    fn resting_accounts_are_bounded() {
        let user = Allowance { bytes_per_second: 1, bytes_max: 0 };
        let ledger = Ledger::new(Quotas { user, ..Quotas::default() });
        for number in 0..=RESTING_ACCOUNTS_MAX {
            let (charge, _) = ledger.open(0, source(1), &grant(&number.to_string(), None, GrantLimits::default())).expect("room");
            ledger.close(0, charge);
        }
        let books = ledger.books();
        assert_eq!((books.users.len(), books.resting), (0, 0));
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
