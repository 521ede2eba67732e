//! Admission: how many connections an address may have, and how fast connections and requests may come.
//!
//! A budget holds what one second allows. Addresses of IPv6
//! count by their /64, because that is what one customer gets. An address is forgotten when it has no connection and its budgets are whole, so
//! the tables hold no more than the connections and what came within the last second.
//!
//! Invariant: whoever was counted in is counted out, when its [`Share`] is dropped.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use omnivox_core::Limits;
use omnivox_core::budget::{Budget, Rate};
use omnivox_hub::quotas::counted_as;

/// What is counted for each address, and for all of them.
pub(crate) struct Admission {
    start: Instant,
    limits: ArcSwap<Limits>,
    everybody: Mutex<Everybody>,
    addresses: [Mutex<Addresses>; STRIPES],
}

type Addresses = HashMap<IpAddr, Address, foldhash::fast::RandomState>;

/// Locks that addresses are spread over.
const STRIPES: usize = 16;

#[derive(Default)]
struct Address {
    connections: usize,
    connects: Budget,
    requests: Budget,
}

const SECOND_NS: u64 = 1_000_000_000;

/// What all addresses together draw on.
#[derive(Default)]
struct Everybody {
    connects: Budget,
    /// The place in time that the last one who was sent away was given.
    place_ns: u64,
}

impl Everybody {
    /// When somebody who is sent away should try again: each its own place, as many in a second as are let in, so that a storm does not come
    /// back as one. Who finds no place within [`PLACES_NS`] shares those of the first.
    fn place(&mut self, now_ns: u64, per_second: u32) -> Duration {
        let next_ns = self.place_ns.max(now_ns + SECOND_NS) + SECOND_NS / u64::from(per_second.max(1));
        self.place_ns = if next_ns > now_ns + PLACES_NS { now_ns + SECOND_NS } else { next_ns };
        Duration::from_nanos(self.place_ns - now_ns)
    }
}

/// How far ahead places are given.
const PLACES_NS: u64 = 30 * SECOND_NS;

/// A limit that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The key of `[limits]`.
    pub setting: &'static str,
    /// What was too much.
    pub words: &'static str,
    /// When it may be tried again.
    pub after: Duration,
}

impl Refused {
    fn for_a_second(setting: &'static str, words: &'static str) -> Self {
        Self { setting, words, after: Duration::from_secs(1) }
    }
}

/// A connection's part of what its address may have; dropping it gives it back.
#[derive(Default)]
pub(crate) struct Share(#[expect(dead_code, reason = "it is given back when it is dropped")] Option<Box<Counted>>);

struct Counted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut addresses = self.admission.stripe(self.address);
        if let Some(address) = addresses.get_mut(&self.address) {
            address.connections -= 1;
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Arc<Limits>, start: Instant) -> Self {
        Self { start, limits: ArcSwap::from(limits), everybody: Mutex::default(), addresses: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Judges by other limits from now on; who is in stays in.
    pub(crate) fn replace(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Lets a connection in at the door, where an address is known that is a client's.
    ///
    /// The address is asked first: what it may not have takes nothing from what everybody has.
    pub(crate) fn let_in(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Result<Share, Refused> {
        let share = address.map_or_else(|| Ok(Share::default()), |ip| self.connect(ip, now))?;
        self.connect_any(now)?;
        Ok(share)
    }

    /// Lets a connection in, whoever's it is.
    fn connect_any(&self, now: Instant) -> Result<(), Refused> {
        let Some(per_second) = self.limits.load().connects_per_second_max else { return Ok(()) };
        let (mut everybody, now_ns) = (self.everybody.lock().unwrap_or_else(PoisonError::into_inner), self.ns(now));
        if everybody.connects.take(now_ns, Rate::per_second(per_second.into()), 1) {
            return Ok(());
        }
        let words = "too many clients connect at the moment; try again later, at the time that this answer names";
        Err(Refused { setting: "connects_per_second_max", words, after: everybody.place(now_ns, per_second) })
    }

    /// Lets a connection of an address in.
    pub(crate) fn connect(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Result<Share, Refused> {
        let limits = self.limits.load();
        let (most, per_second) = (limits.connections_per_address_max, limits.connects_per_address_per_second_max);
        if most.is_none() && per_second.is_none() {
            return Ok(Share::default());
        }
        let address = counted_as(ip);
        let mut addresses = self.stripe(address);
        let known = addresses.entry(address).or_default();
        if most.is_some_and(|most| known.connections >= most) {
            let words = "your address has as many connections as it may have; close some";
            return Err(Refused::for_a_second("connections_per_address_max", words));
        }
        if per_second.is_some_and(|per_second| !known.connects.take(self.ns(now), Rate::per_second(per_second.into()), 1)) {
            let words = "your address opens connections too fast; try again in a second";
            return Err(Refused::for_a_second("connects_per_address_per_second_max", words));
        }
        known.connections += 1;
        Ok(Share(Some(Box::new(Counted { admission: self.clone(), address }))))
    }

    /// Lets a request of an address in.
    pub(crate) fn request(&self, ip: IpAddr, now: Instant) -> Result<(), Refused> {
        let Some(per_second) = self.limits.load().requests_per_address_per_second_max else { return Ok(()) };
        let address = counted_as(ip);
        let words = "your address sends requests too fast; try again in a second";
        let fits = self.stripe(address).entry(address).or_default().requests.take(self.ns(now), Rate::per_second(per_second.into()), 1);
        if fits { Ok(()) } else { Err(Refused::for_a_second("requests_per_address_per_second_max", words)) }
    }

    /// Forgets addresses of which nothing needs to be known.
    pub(crate) fn sweep(&self, now: Instant) {
        let now_ns = self.ns(now);
        for stripe in &self.addresses {
            let mut addresses = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            addresses
                .retain(|_, address| address.connections > 0 || !address.connects.is_whole(now_ns) || !address.requests.is_whole(now_ns));
            if addresses.capacity() > 4 * addresses.len() + 64 {
                addresses.shrink_to_fit();
            }
        }
    }

    fn stripe(&self, address: IpAddr) -> std::sync::MutexGuard<'_, Addresses> {
        let sum = match address {
            IpAddr::V4(ip) => ip.octets().iter().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte)),
            IpAddr::V6(ip) => ip.octets().iter().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte)),
        };
        self.addresses[usize::from(sum) % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "203.0.113.7";
    const B: &str = "203.0.113.8";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(set: impl FnOnce(&mut Limits)) -> (Arc<Admission>, Instant) {
        let mut limits = Limits::default();
        set(&mut limits);
        let start = Instant::now();
        (Arc::new(Admission::new(Arc::new(limits), start)), start)
    }

    fn remembered(admission: &Admission) -> usize {
        admission.addresses.iter().map(|stripe| stripe.lock().unwrap().len()).sum()
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let (admission, now) = admission(|limits| limits.connections_per_address_max = Some(2));
        let first = admission.connect(ip(A), now).unwrap_or_else(|refused| panic!("{refused:?}"));
        let second = admission.connect(ip("::ffff:203.0.113.7"), now).ok();
        assert_eq!(admission.connect(ip(A), now).err().map(|refused| refused.setting), Some("connections_per_address_max"));
        assert!(admission.connect(ip(B), now).is_ok(), "others are not concerned");
        drop(first);
        let third = admission.connect(ip(A), now).ok();
        assert!(third.is_some());
        admission.sweep(now);
        assert_eq!(remembered(&admission), 1);
        drop((second, third));
        admission.sweep(now);
        assert_eq!(remembered(&admission), 0);
    }

    /// Whoever goes beyond its own limit leaves the others what all have together.
    #[test]
    fn an_address_that_is_refused_takes_nothing_from_the_others() {
        let check = |set: fn(&mut Limits), own: &str| {
            let (admission, now) = admission(|limits| {
                limits.connects_per_second_max = Some(100);
                set(limits);
            });
            let come = |address| admission.let_in(Some(ip(address)), now).map_err(|refused| refused.setting);
            let flood: Vec<_> = (0..200).map(|_| come(A)).collect();
            let refused: Vec<_> = flood.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
            assert_eq!(refused.len(), 195, "{own}");
            assert!(refused.iter().all(|setting| **setting == own), "{own}: {refused:?}");
            let other: Vec<_> = (0..5).map(|_| come(B)).collect();
            assert!(other.iter().all(Result::is_ok), "{own}");
            let proxied = (0..).take_while(|_: &u32| admission.let_in(None, now).is_ok()).count();
            assert_eq!(proxied, 90, "ten of the hundred are taken");
            // Who is refused for everybody's sake is not counted in.
            assert_eq!(come("203.0.113.9").err(), Some("connects_per_second_max"));
            drop((flood, other));
            admission.sweep(now + Duration::from_secs(60));
            assert_eq!(remembered(&admission), 0, "{own}");
        };
        check(|limits| limits.connects_per_address_per_second_max = Some(5), "connects_per_address_per_second_max");
        check(|limits| limits.connections_per_address_max = Some(5), "connections_per_address_max");
    }

    /// A storm of those who were sent away comes back spread, as many in a second as are let in.
    #[test]
    fn who_is_sent_away_is_given_a_place_of_its_own() {
        let (admission, now) = admission(|limits| limits.connects_per_second_max = Some(10));
        let refused = || (0..).find_map(|_: u32| admission.connect_any(now).err()).map(|refused| refused.after.as_millis());
        let places: Vec<u128> = (0..290).filter_map(|_| refused()).collect();
        for (at, place) in places.iter().enumerate() {
            assert_eq!(*place, 1100 + 100 * at as u128, "each a tenth of a second behind the one before");
        }
        assert_eq!(refused(), Some(1000), "beyond half a minute the places are given once more");
        let later = now + Duration::from_secs(60);
        let again = (0..20).find_map(|_| admission.connect_any(later).err()).map(|refused| refused.after);
        assert_eq!(again, Some(Duration::from_millis(1100)));
    }

    #[test]
    fn a_customer_of_ipv6_is_one_address() {
        let (admission, now) = admission(|limits| limits.connections_per_address_max = Some(1));
        let kept = admission.connect(ip("2001:db8:0:1::1"), now).ok();
        assert!(kept.is_some());
        assert!(admission.connect(ip("2001:db8:0:1:ffff::2"), now).is_err());
        assert!(admission.connect(ip("2001:db8:0:2::1"), now).is_ok());
    }

    /// So many at once, then so many a second, and never more over any time.
    #[test]
    fn a_rate_holds_over_any_time() {
        let check = |take: &dyn Fn(Instant) -> bool, now: Instant| {
            let taken = (0..10_000).filter(|step| take(now + Duration::from_millis(*step))).count();
            assert_eq!(taken, 5 + 5 * 10 - 1, "a burst of 5, and 5 in each of 10 seconds");
        };
        let (everybody, now) = admission(|limits| limits.connects_per_second_max = Some(5));
        check(&|now| everybody.connect_any(now).is_ok(), now);
        let (connects, now) = admission(|limits| limits.connects_per_address_per_second_max = Some(5));
        check(&|now| connects.connect(ip(A), now).is_ok(), now);
        let (requests, now) = admission(|limits| limits.requests_per_address_per_second_max = Some(5));
        check(&|now| requests.request(ip(A), now).is_ok(), now);
        assert!(requests.request(ip(B), now).is_ok());
        requests.sweep(now + Duration::from_secs(60));
        assert_eq!(remembered(&requests), 0);
        let (slow, now) = admission(|limits| limits.requests_per_address_per_second_max = Some(1));
        assert!(slow.request(ip(A), now).is_ok() && slow.request(ip(A), now).is_err());
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let (admission, now) = admission(|_| {});
        let shares: Vec<_> = (0..100).map(|_| admission.connect(ip(A), now).ok()).collect();
        assert!(shares.iter().all(Option::is_some) && admission.connect_any(now).is_ok() && admission.request(ip(A), now).is_ok());
        assert_eq!(remembered(&admission), 0);
    }
}
