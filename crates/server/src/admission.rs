//! Admission: how many connections an address may have, and how fast connections and requests may come.
//!
//! A budget holds what one second allows. Addresses of IPv6
//! count by their /64, because that is what one customer gets. An address is forgotten when it has no connection and its budgets are whole, so
//! the tables hold no more than the connections and what came within the last second.
//!
//! Invariant: whoever was counted in is counted out, when its [`Share`] is dropped.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use omnivox_core::Limits;
use omnivox_core::budget::{Budget, Rate};
use omnivox_hub::quotas::counted_as;

/// What is counted for each address, and for all of them.
pub(crate) struct Admission {
    start: Instant,
    limits: ArcSwap<Limits>,
    everybody: Mutex<Budget>,
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

/// A limit that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The key of `[limits]`.
    pub setting: &'static str,
    /// What was too much.
    pub words: &'static str,
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

    /// Lets a connection in, whoever's it is.
    pub(crate) fn connect_any(&self, now: Instant) -> Result<(), Refused> {
        let Some(per_second) = self.limits.load().connects_per_second_max else { return Ok(()) };
        let mut everybody = self.everybody.lock().unwrap_or_else(PoisonError::into_inner);
        let words = "too many clients connect at the moment; try again in a second";
        if everybody.take(self.ns(now), Rate::per_second(per_second.into()), 1) {
            Ok(())
        } else {
            Err(Refused { setting: "connects_per_second_max", words })
        }
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
            return Err(Refused { setting: "connections_per_address_max", words });
        }
        if per_second.is_some_and(|per_second| !known.connects.take(self.ns(now), Rate::per_second(per_second.into()), 1)) {
            let words = "your address opens connections too fast; try again in a second";
            return Err(Refused { setting: "connects_per_address_per_second_max", words });
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
        if fits { Ok(()) } else { Err(Refused { setting: "requests_per_address_per_second_max", words }) }
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
    use std::time::Duration;

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
