//! What a connection, a client's address, a user and an app have and use: connections, subscriptions, messages and bytes in a second.
//!
//! Every session has a [`Share`]. It leads to the accounts of all whose quotas it draws on, so that counting is a few atomic additions, on
//! whichever shard it is; only who comes looks its accounts up. Where no quota is set a share is empty and nothing is counted at all.
//!
//! Invariant: whoever was counted in is counted out, when the last of its share is dropped; a publication that is refused costs nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use hashbrown::HashMap;
use omnivox_core::budget::{Rate, SharedBudget};
use omnivox_core::command::Denied;
use omnivox_core::quota::{QUOTAS, Quantity, Quota, Scope};
use omnivox_core::{AppId, Limits, Principal, UserId};

/// Accounts from which on those that mean nothing any more are looked for.
const SWEEP_FROM: usize = 1024;
const MS_NS: u64 = 1_000_000;

/// Quotas of what is had at once, and not used up in a second.
const HELD: [&str; 5] = [
    "connections_per_user_max",
    "connections_per_app_max",
    "subscriptions_per_address_max",
    "subscriptions_per_user_max",
    "subscriptions_per_app_max",
];

/// Whose account it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Subject {
    Address(IpAddr),
    User(AppId, UserId),
    App(AppId),
}

/// What somebody has and uses.
#[derive(Debug, Default)]
struct Account {
    connections: AtomicU64,
    subscriptions: AtomicU64,
    /// By [`Quantity`].
    budgets: [SharedBudget; 4],
}

impl Account {
    /// Whether it says no more than a fresh one.
    fn is_fresh(&self, now_ns: u64) -> bool {
        self.budgets.iter().all(|budget| budget.now().is_whole(now_ns))
    }
}

/// The quotas of a node.
#[derive(Debug)]
pub struct Quotas {
    limits: RwLock<Arc<Limits>>,
    /// Whether any is set.
    any: AtomicBool,
    accounts: Mutex<Accounts>,
    refusals: AtomicU64,
    /// How often each said no: those of [`QUOTAS`], then those of [`HELD`].
    breaches: [AtomicU64; QUOTAS.len() + HELD.len()],
}

#[derive(Debug, Default)]
struct Accounts {
    of: HashMap<Subject, Arc<Account>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

/// A session's part of what it may have; dropping the last of it gives it back.
#[derive(Clone, Debug, Default)]
pub struct Share(Option<Arc<Taken>>);

#[derive(Debug)]
struct Taken {
    quotas: Arc<Quotas>,
    /// As they were when it came.
    limits: Arc<Limits>,
    own: Account,
    address: Option<Arc<Account>>,
    who: OnceLock<Who>,
    /// Bytes that came before it was known who it is.
    early_bytes: AtomicU64,
    /// How many subscriptions of it are counted.
    subscriptions: AtomicU64,
}

/// The accounts of who it turned out to be.
#[derive(Debug)]
struct Who {
    /// Empty until it says whose it is, where an app lets it in before.
    user: OnceLock<Arc<Account>>,
    app: Arc<Account>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let subscriptions = *self.subscriptions.get_mut();
        for (_, account) in self.shared() {
            account.subscriptions.fetch_sub(subscriptions, Ordering::Relaxed);
        }
        for account in self.who.get().into_iter().flat_map(Who::accounts) {
            account.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Who {
    fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.user.get().into_iter().chain(std::iter::once(&self.app))
    }
}

impl Quotas {
    /// Nothing is used yet.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            any: AtomicBool::new(sets_any(&limits)),
            limits: RwLock::new(limits),
            accounts: Mutex::default(),
            refusals: AtomicU64::new(0),
            breaches: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Other limits for whoever comes from now on.
    pub fn replace(&self, limits: Arc<Limits>) {
        self.any.store(sets_any(&limits), Ordering::Relaxed);
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// The limits in force: what was set last, where those that the hub began with may have been replaced.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often somebody was refused or sent away.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// How often because of which setting.
    pub fn breaches(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let settings = QUOTAS.iter().map(|quota| quota.setting).chain(HELD);
        settings.zip(&self.breaches).map(|(setting, count)| (setting, count.load(Ordering::Relaxed)))
    }

    /// The share of a session of a client at that address, if the address is the client's. Nobody asks for it when nothing is counted.
    pub fn share(self: &Arc<Self>, address: impl FnOnce() -> Option<IpAddr>) -> Share {
        if !self.any.load(Ordering::Relaxed) {
            return Share::default();
        }
        let limits = self.limits();
        let address = address().map(|address| self.account(Subject::Address(counted_as(address))));
        Share(Some(Arc::new(Taken {
            quotas: self.clone(),
            limits,
            own: Account::default(),
            address,
            who: OnceLock::new(),
            early_bytes: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
        })))
    }

    /// Forgets the accounts of which nothing needs to be known.
    pub fn sweep(&self, now_ms: u64) {
        self.lock().sweep(now_ms.saturating_mul(MS_NS));
    }

    fn account(&self, subject: Subject) -> Arc<Account> {
        self.lock().of.entry(subject).or_default().clone()
    }

    fn account_of_user(&self, principal: &Principal) -> Option<Arc<Account>> {
        let user = principal.user.clone()?;
        Some(self.account(Subject::User(principal.app.clone(), user)))
    }

    fn breach(&self, index: usize) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.breaches[index].fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn sweep(&mut self, now_ns: u64) {
        if self.of.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.of.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_fresh(now_ns));
            self.sweep_at = self.of.len() * 2;
        }
    }
}

impl Share {
    /// Whether anything is counted.
    pub fn counts(&self) -> bool {
        self.0.is_some()
    }

    /// It is known who it is: counts the connection in, and what came with it. Where the app was known already, but no user, the user is told now.
    pub fn admit(&self, principal: &Principal, now_ms: u64) -> Result<(), Denied> {
        let Some(taken) = &self.0 else { return Ok(()) };
        if let Some(who) = taken.who.get() {
            return taken.identify(who, principal, now_ms);
        }
        taken.quotas.sweep(now_ms);
        taken.refuse_overdrawn(&taken.address.iter().map(|account| (Scope::Address, account)).collect::<Vec<_>>(), now_ms)?;
        let app = taken.quotas.account(Subject::App(principal.app.clone()));
        let user = taken.quotas.account_of_user(principal);
        let known: Vec<_> = user.iter().map(|user| (Scope::User, user)).chain([(Scope::App, &app)]).collect();
        taken.refuse_overdrawn(&known, now_ms)?;
        taken.count_connection(&known)?;
        let early = taken.early_bytes.swap(0, Ordering::Relaxed);
        let refused = known.iter().find_map(|(scope, account)| taken.spend(*scope, account, Quantity::BytesIn, early, now_ms));
        // From here on dropping the share gives the connection back, whatever becomes of it.
        let _ = taken.who.set(Who { user: user.map(OnceLock::from).unwrap_or_default(), app });
        refused.map_or(Ok(()), |quota| Err(taken.too_fast(quota)))
    }

    /// Bytes came. When that was too much, which quota says so.
    pub fn arrived(&self, bytes: usize, now_ms: u64) -> Option<&'static Quota> {
        let taken = self.0.as_ref()?;
        if taken.who.get().is_none() {
            taken.early_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        taken.spend_all(Quantity::BytesIn, bytes as u64, now_ms)
    }

    /// Bytes were written, and with them messages. When that was too much, which quota says so.
    pub fn sent(&self, bytes: usize, messages: u32, now_ms: u64) -> Option<&'static Quota> {
        let taken = self.0.as_ref()?;
        let messages = taken.spend_all(Quantity::Deliveries, messages.into(), now_ms);
        taken.spend_all(Quantity::BytesOut, bytes as u64, now_ms).or(messages)
    }

    /// Lets it publish so many messages.
    pub(crate) fn publish(&self, count: usize, now_ms: u64) -> Result<(), Denied> {
        let Some(taken) = &self.0 else { return Ok(()) };
        let (now_ns, count) = (now_ms.saturating_mul(MS_NS), count as u64);
        let mut paid: Vec<(&Account, Rate)> = Vec::new();
        for (scope, account) in taken.accounts() {
            let quota = Quota::of(scope, Quantity::Publications);
            let Some(rate) = quota.rate(&taken.limits) else { continue };
            let account: &Account = account;
            if !account.budgets[Quantity::Publications as usize].take(now_ns, rate, count) {
                paid.iter().for_each(|(account, rate)| account.budgets[Quantity::Publications as usize].put_back(*rate, count));
                taken.quotas.breach(quota.index());
                return Err(taken.too_fast(quota));
            }
            paid.push((account, rate));
        }
        Ok(())
    }

    /// Lets it subscribe to so many more, until [`hold`](Self::hold) says how many it has.
    pub(crate) fn subscribe(&self, more: usize) -> Result<(), Denied> {
        let Some(taken) = &self.0 else { return Ok(()) };
        taken.count_subscriptions(taken.shared(), more as u64)?;
        taken.subscriptions.fetch_add(more as u64, Ordering::Relaxed);
        Ok(())
    }

    /// It has so many subscriptions now.
    pub fn hold(&self, subscriptions: usize) {
        let Some(taken) = &self.0 else { return };
        let now = subscriptions as u64;
        let before = taken.subscriptions.swap(now, Ordering::Relaxed);
        for (_, account) in taken.shared() {
            account.subscriptions.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Taken {
    /// The accounts that it shares with others.
    fn shared(&self) -> impl Iterator<Item = (Scope, &Account)> + Clone {
        let who = self.who.get();
        let user = who.and_then(|who| who.user.get()).map(|account| (Scope::User, &**account));
        let app = who.map(|who| (Scope::App, &*who.app));
        self.address.as_deref().map(|account| (Scope::Address, account)).into_iter().chain(user).chain(app)
    }

    fn accounts(&self) -> impl Iterator<Item = (Scope, &Account)> {
        std::iter::once((Scope::Connection, &self.own)).chain(self.shared())
    }

    /// Books what went already on all accounts.
    fn spend_all(&self, quantity: Quantity, count: u64, now_ms: u64) -> Option<&'static Quota> {
        let mut over = None;
        for (scope, account) in self.accounts() {
            over = self.spend(scope, account, quantity, count, now_ms).or(over);
        }
        over
    }

    fn spend(&self, scope: Scope, account: &Account, quantity: Quantity, count: u64, now_ms: u64) -> Option<&'static Quota> {
        let quota = Quota::of(scope, quantity);
        let rate = quota.rate(&self.limits).filter(|_| count > 0)?;
        let (budget, now_ns) = (&account.budgets[quantity as usize], now_ms.saturating_mul(MS_NS));
        // What comes is refused, or was the last of its connection; what was sent is owed, because nobody can take it back.
        let fits = if quantity == Quantity::BytesIn { budget.take(now_ns, rate, count) } else { budget.spend(now_ns, rate, count) };
        if fits {
            return None;
        }
        self.quotas.breach(quota.index());
        Some(quota)
    }

    /// Refuses whom more was sent than it may be sent, until that is paid for: whoever only asks once has no connection that could be ended.
    fn refuse_overdrawn(&self, accounts: &[(Scope, &Arc<Account>)], now_ms: u64) -> Result<(), Denied> {
        for quantity in [Quantity::Deliveries, Quantity::BytesOut] {
            for (scope, account) in accounts {
                let quota = Quota::of(*scope, quantity);
                let Some(rate) = quota.rate(&self.limits) else { continue };
                if account.budgets[quantity as usize].now().is_overdrawn(now_ms.saturating_mul(MS_NS), rate) {
                    self.quotas.breach(quota.index());
                    return Err(self.too_fast(quota));
                }
            }
        }
        Ok(())
    }

    /// A session that an app let in without a user says whose it is: it counts as the user's, with the subscriptions that it has.
    ///
    /// A session does one thing after another on its shard, so none is added meanwhile.
    fn identify(&self, who: &Who, principal: &Principal, now_ms: u64) -> Result<(), Denied> {
        if who.user.get().is_some() {
            return Ok(());
        }
        let Some(user) = self.quotas.account_of_user(principal) else { return Ok(()) };
        let known = [(Scope::User, &user)];
        self.refuse_overdrawn(&known, now_ms)?;
        self.count_connection(&known)?;
        let held = self.subscriptions.load(Ordering::Relaxed);
        let counted = self.count_subscriptions(std::iter::once((Scope::User, &*user)), held);
        match counted {
            Ok(()) => drop(who.user.set(user)),
            Err(_) => drop(user.connections.fetch_sub(1, Ordering::Relaxed)),
        }
        counted
    }

    /// Counts a connection on all of these accounts, or on none.
    fn count_connection(&self, accounts: &[(Scope, &Arc<Account>)]) -> Result<(), Denied> {
        for (at, (scope, account)) in accounts.iter().enumerate() {
            let (index, most) = match scope {
                Scope::User => (0, self.limits.connections_per_user_max),
                Scope::App => (1, self.limits.connections_per_app_max),
                Scope::Connection | Scope::Address => continue,
            };
            let before = account.connections.fetch_add(1, Ordering::Relaxed);
            if most.is_some_and(|most| before >= most as u64) {
                for (_, account) in &accounts[..=at] {
                    account.connections.fetch_sub(1, Ordering::Relaxed);
                }
                return Err(self.held(index, format!("{} has {before} connections already, and may have no more", scope.words())));
            }
        }
        Ok(())
    }

    /// Counts so many subscriptions more on all of these accounts, or on none.
    fn count_subscriptions<'a>(&self, accounts: impl Iterator<Item = (Scope, &'a Account)> + Clone, more: u64) -> Result<(), Denied> {
        for (at, (scope, account)) in accounts.clone().enumerate() {
            let most = match scope {
                Scope::Connection => None,
                Scope::Address => self.limits.subscriptions_per_address_max,
                Scope::User => self.limits.subscriptions_per_user_max,
                Scope::App => self.limits.subscriptions_per_app_max,
            };
            let before = account.subscriptions.fetch_add(more, Ordering::Relaxed);
            if most.is_some_and(|most| before + more > most as u64) {
                for (_, account) in accounts.take(at + 1) {
                    account.subscriptions.fetch_sub(more, Ordering::Relaxed);
                }
                let index = 2 + scope as usize - Scope::Address as usize;
                let words = format!("{} has {before} subscriptions already, and may have no {more} more", scope.words());
                return Err(self.held(index, words));
            }
        }
        Ok(())
    }

    fn held(&self, index: usize, words: String) -> Denied {
        self.quotas.breach(QUOTAS.len() + index);
        Denied::Limit { setting: HELD[index], words: words.into() }
    }

    fn too_fast(&self, quota: &'static Quota) -> Denied {
        let most = quota.rate(&self.limits).map_or(0, |rate| rate.per_second);
        let does = match quota.quantity {
            Quantity::Publications => format!("publishes at most {most} messages"),
            Quantity::Deliveries => format!("is sent at most {most} messages"),
            Quantity::BytesIn => format!("sends at most {most} bytes"),
            Quantity::BytesOut => format!("is sent at most {most} bytes"),
        };
        let words = format!("{} {does} a second; try again in a second", quota.scope.words());
        Denied::Limit { setting: quota.setting, words: words.into() }
    }
}

fn sets_any(limits: &Limits) -> bool {
    let held = [
        limits.connections_per_user_max,
        limits.connections_per_app_max,
        limits.subscriptions_per_address_max,
        limits.subscriptions_per_user_max,
        limits.subscriptions_per_app_max,
    ];
    held.iter().any(Option::is_some) || QUOTAS.iter().any(|quota| quota.rate(limits).is_some())
}

/// The address under which a client is counted: of IPv6 the /64, because that is what one customer gets.
pub fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests;
