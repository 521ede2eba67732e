//! Every quota of everybody, each with somebody else who is not concerned.

use super::*;

const SECOND_MS: u64 = 1000;

fn quotas(set: impl FnOnce(&mut Limits)) -> Arc<Quotas> {
    let mut limits = Limits::default();
    set(&mut limits);
    Arc::new(Quotas::new(Arc::new(limits)))
}

fn principal(app: &str, user: &str) -> Principal {
    let user = UserId::parse(user).ok();
    Principal { user, authenticated: true, ..Principal::anonymous(AppId::parse(app).unwrap()) }
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([203, 0, 113, last]))
}

/// Who comes: from which address, to which app, as whom.
type Comer = (u8, &'static str, &'static str);

fn come(quotas: &Arc<Quotas>, (last, app, user): Comer, now_ms: u64) -> Result<Share, Denied> {
    let share = quotas.share(|| address(last));
    share.admit(&principal(app, user), now_ms).map(|()| share)
}

fn setting<T>(result: Result<T, Denied>) -> Option<&'static str> {
    match result.err()? {
        Denied::Limit { setting, .. } => Some(setting),
        other => panic!("{other}"),
    }
}

fn breaches(quotas: &Quotas, setting: &str) -> u64 {
    quotas.breaches().find(|(known, _)| *known == setting).map_or_else(|| panic!("no counter for {setting}"), |(_, count)| count)
}

fn refresh(accounts: &Quotas) -> usize {
    let mut accounts = accounts.lock();
    accounts.of.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_fresh(u64::MAX / 2));
    accounts.of.len()
}

/// For each scope: the first, another that shares the scope with it (and nothing else, where that is possible), and one that does not.
const COMERS: [(Scope, Comer, Comer, Comer); 3] = [
    (Scope::Address, (1, "shop", "ana"), (1, "blog", "bob"), (2, "shop", "ana")),
    (Scope::User, (1, "shop", "ana"), (2, "shop", "ana"), (1, "blog", "ana")),
    (Scope::App, (1, "shop", "ana"), (2, "shop", "bob"), (1, "blog", "ana")),
];

fn limit(quota: &Quota, limits: &mut Limits, most: usize) {
    let few = u32::try_from(most).ok();
    match quota.setting {
        "publications_per_second_max" => limits.publications_per_second_max = few,
        "publications_per_address_per_second_max" => limits.publications_per_address_per_second_max = few,
        "publications_per_user_per_second_max" => limits.publications_per_user_per_second_max = few,
        "publications_per_app_per_second_max" => limits.publications_per_app_per_second_max = few,
        "deliveries_per_second_max" => limits.deliveries_per_second_max = few,
        "deliveries_per_address_per_second_max" => limits.deliveries_per_address_per_second_max = few,
        "deliveries_per_user_per_second_max" => limits.deliveries_per_user_per_second_max = few,
        "deliveries_per_app_per_second_max" => limits.deliveries_per_app_per_second_max = few,
        "bytes_in_per_second_max" => limits.bytes_in_per_second_max = Some(most),
        "bytes_in_per_address_per_second_max" => limits.bytes_in_per_address_per_second_max = Some(most),
        "bytes_in_per_user_per_second_max" => limits.bytes_in_per_user_per_second_max = Some(most),
        "bytes_in_per_app_per_second_max" => limits.bytes_in_per_app_per_second_max = Some(most),
        "bytes_out_per_second_max" => limits.bytes_out_per_second_max = Some(most),
        "bytes_out_per_address_per_second_max" => limits.bytes_out_per_address_per_second_max = Some(most),
        "bytes_out_per_user_per_second_max" => limits.bytes_out_per_user_per_second_max = Some(most),
        "bytes_out_per_app_per_second_max" => limits.bytes_out_per_app_per_second_max = Some(most),
        other => panic!("{other} has no field here"),
    }
}

/// Uses so much of a quantity; which setting says that it is too much.
fn spend(share: &Share, quantity: Quantity, count: u32, now_ms: u64) -> Option<&'static str> {
    match quantity {
        Quantity::Publications => setting(share.publish(count as usize, now_ms)),
        Quantity::Deliveries => share.sent(0, count, now_ms).map(|quota| quota.setting),
        Quantity::BytesIn => share.arrived(count as usize, now_ms).map(|quota| quota.setting),
        Quantity::BytesOut => share.sent(count as usize, 0, now_ms).map(|quota| quota.setting),
    }
}

#[test]
fn each_quota_holds_for_those_whom_it_means_and_for_nobody_else() {
    for quota in &QUOTAS {
        let quotas = quotas(|limits| limit(quota, limits, 100));
        let over = Some(quota.setting);
        let (_, first, second, other) = COMERS.into_iter().find(|(scope, ..)| *scope == quota.scope).unwrap_or(COMERS[1]);
        let shares = [first, second, other].map(|comer| come(&quotas, comer, SECOND_MS).unwrap());
        let check = |share: usize, count, at_ms, expected: Option<&str>| {
            assert_eq!(spend(&shares[share], quota.quantity, count, at_ms), expected, "{} of {share} at {at_ms}", quota.setting);
        };
        check(0, 60, SECOND_MS, None);
        check(1, 40, SECOND_MS, None);
        check(1, 61, SECOND_MS, over);
        check(2, 100, SECOND_MS, None);
        check(2, 1, SECOND_MS, over);
        assert_eq!(breaches(&quotas, quota.setting), 2, "{}", quota.setting);
        assert_eq!(quotas.refusals(), 2);
        check(0, 50, 5 * SECOND_MS, None);
    }
}

#[test]
fn so_many_connections_at_once() {
    let quotas = quotas(|limits| {
        limits.connections_per_user_max = Some(2);
        limits.connections_per_app_max = Some(3);
    });
    let first = come(&quotas, (1, "shop", "ana"), 0).unwrap();
    let second = come(&quotas, (2, "shop", "ana"), 0).unwrap();
    assert_eq!(setting(come(&quotas, (3, "shop", "ana"), 0)), Some("connections_per_user_max"));
    let third = come(&quotas, (1, "shop", "bob"), 0).unwrap();
    assert_eq!(setting(come(&quotas, (1, "shop", ""), 0)), Some("connections_per_app_max"), "nobody has a user of his own");
    let elsewhere = come(&quotas, (1, "blog", "ana"), 0).unwrap();
    assert!(first.admit(&principal("shop", "ana"), 0).is_ok(), "whoever is in stays in");
    let clone = first.clone();
    drop(first);
    assert!(come(&quotas, (1, "shop", "ana"), 0).is_err(), "a command of it is still under way");
    drop(clone);
    let fourth = come(&quotas, (1, "shop", "ana"), 0).unwrap();
    assert_eq!((breaches(&quotas, "connections_per_user_max"), breaches(&quotas, "connections_per_app_max")), (2, 1));
    drop((second, third, fourth, elsewhere));
    assert_eq!(refresh(&quotas), 0);
}

#[test]
fn so_many_subscriptions_at_once() {
    for (scope, first, second, other) in COMERS {
        let quotas = quotas(|limits| match scope {
            Scope::Connection => {}
            Scope::Address => limits.subscriptions_per_address_max = Some(3),
            Scope::User => limits.subscriptions_per_user_max = Some(3),
            Scope::App => limits.subscriptions_per_app_max = Some(3),
        });
        let [first, second, other] = [first, second, other].map(|comer| come(&quotas, comer, 0).unwrap());
        let held = HELD[1 + scope as usize];
        let over = Some(held);
        assert_eq!(setting(first.subscribe(2)), None);
        first.hold(2);
        assert_eq!(setting(second.subscribe(2)), over, "{scope:?}");
        assert_eq!(setting(second.subscribe(1)), None);
        assert_eq!(setting(other.subscribe(3)), None, "{scope:?}");
        // The one that was counted before it was there is there now, or was refused.
        second.hold(1);
        assert_eq!(setting(first.subscribe(1)), over);
        second.hold(0);
        assert_eq!(setting(first.subscribe(1)), None);
        first.hold(3);
        drop(first);
        assert_eq!(setting(second.subscribe(3)), None, "what it held is given back with it");
        assert_eq!(breaches(&quotas, held), 2);
        drop((second, other));
        assert_eq!(refresh(&quotas), 0);
    }
}

/// An open app lets a session in before it says whose it is.
#[test]
fn who_says_later_whose_it_is_counts_from_then_on() {
    let nobody = (9, "shop", "");
    let quotas = quotas(|limits| {
        limits.connections_per_user_max = Some(2);
        limits.connections_per_app_max = Some(4);
        limits.subscriptions_per_user_max = Some(3);
        limits.publications_per_user_per_second_max = Some(5);
        limits.deliveries_per_user_per_second_max = Some(100);
    });
    let known = come(&quotas, (1, "shop", "ana"), 0).unwrap();
    let [late, refused, many] = [(); 3].map(|()| come(&quotas, nobody, 0).unwrap());
    let identify = |share: &Share, user, now_ms| setting(share.admit(&principal("shop", user), now_ms));
    assert_eq!(setting(late.subscribe(2)), None);
    late.hold(2);
    // What it has comes with it, and is once in the account of the app, however often it says it.
    for _ in 0..2 {
        assert_eq!(identify(&late, "ana", 0), None);
    }
    assert_eq!(setting(known.subscribe(2)), Some("subscriptions_per_user_max"));
    assert_eq!(setting(known.subscribe(1)), None);
    assert_eq!(setting(late.publish(3, 0)), None);
    assert_eq!(setting(known.publish(3, 0)), Some("publications_per_user_per_second_max"), "they publish as one");
    assert_eq!(setting(come(&quotas, (1, "shop", "bob"), 0)), Some("connections_per_app_max"));
    // A third connection is refused, and so is one that brings too many subscriptions.
    assert_eq!(identify(&refused, "ana", 0), Some("connections_per_user_max"));
    assert_eq!(identify(&refused, "bob", 0), None, "who was refused is nobody still");
    assert_eq!(setting(many.subscribe(4)), None, "nobody has no account of a user");
    many.hold(4);
    assert_eq!(identify(&many, "eve", 0), Some("subscriptions_per_user_max"));
    many.hold(3);
    assert_eq!(identify(&many, "eve", 0), None, "what was refused costs nothing");
    many.hold(0);
    // All of it is given back.
    drop(late);
    let again = come(&quotas, nobody, 0).unwrap();
    assert_eq!(setting(again.subscribe(2)), None);
    again.hold(2);
    assert_eq!(identify(&again, "ana", 0), None);
    // Who was sent too much waits until that is paid for.
    assert!(again.sent(0, 100, SECOND_MS).is_none());
    assert!(again.sent(0, 40, SECOND_MS).is_some());
    drop(again);
    let again = come(&quotas, nobody, SECOND_MS).unwrap();
    assert_eq!(identify(&again, "ana", SECOND_MS), Some("deliveries_per_user_per_second_max"));
    assert_eq!(identify(&again, "ana", SECOND_MS + 400), None);
    drop((known, refused, many, again));
    assert_eq!(refresh(&quotas), 0);
}

#[test]
fn what_was_refused_for_one_costs_the_others_nothing() {
    let quotas = quotas(|limits| {
        limits.publications_per_second_max = Some(2);
        limits.publications_per_user_per_second_max = Some(3);
        limits.publications_per_app_per_second_max = Some(5);
    });
    let shares = [(1, "shop", "ana"), (2, "shop", "ana"), (1, "shop", "bob"), (1, "shop", "eve"), (1, "blog", "ana")];
    let shares = shares.map(|comer| come(&quotas, comer, 0).unwrap());
    let check = |at_ms, share: usize, count, refused: Option<&str>| {
        assert_eq!(setting(shares[share].publish(count, at_ms)), refused, "{share} at {at_ms}");
    };
    check(1000, 0, 2, None);
    check(1000, 0, 1, Some("publications_per_second_max"));
    check(1000, 1, 2, Some("publications_per_user_per_second_max"));
    check(1000, 1, 1, None);
    check(1000, 2, 2, None);
    check(1000, 3, 1, Some("publications_per_app_per_second_max"));
    check(1000, 4, 2, None);
    check(1500, 0, 1, None);
    check(1500, 0, 1, Some("publications_per_second_max"));
    // A larger batch goes when nothing else went, and is paid for.
    check(9000, 0, 4, None);
    check(9500, 0, 1, Some("publications_per_second_max"));
}

/// Who asks and goes has no connection that could be ended, so it is refused when it comes again.
#[test]
fn who_was_sent_too_much_may_not_come_before_that_is_paid_for() {
    for (scope, first, second, other) in COMERS {
        for quantity in [Quantity::Deliveries, Quantity::BytesOut] {
            let quota = Quota::of(scope, quantity);
            let quotas = quotas(|limits| limit(quota, limits, 100));
            let share = come(&quotas, first, SECOND_MS).unwrap();
            assert_eq!(spend(&share, quantity, 100, SECOND_MS), None);
            assert_eq!(spend(&share, quantity, 40, SECOND_MS), Some(quota.setting));
            drop(share);
            assert_eq!(setting(come(&quotas, second, SECOND_MS)), Some(quota.setting));
            assert!(come(&quotas, other, SECOND_MS).is_ok());
            assert!(come(&quotas, second, SECOND_MS + 400).is_ok());
        }
    }
    let quotas = quotas(|limits| limits.bytes_in_per_user_per_second_max = Some(100));
    let (large, small) = (quotas.share(|| None), quotas.share(|| None));
    assert!(large.arrived(101, 0).is_none() && small.arrived(1, 0).is_none(), "nobody knows whose bytes they are");
    assert!(large.admit(&principal("shop", "ana"), 0).is_ok(), "more than a second's worth goes when nothing else went");
    assert_eq!(setting(small.admit(&principal("shop", "ana"), 0)), Some("bytes_in_per_user_per_second_max"));
}

#[test]
fn without_limits_nothing_is_remembered_and_the_quiet_are_forgotten() {
    let unlimited = quotas(|_| {});
    let share = come(&unlimited, (1, "shop", "ana"), 0).unwrap();
    assert!(!share.counts() && share.publish(1, 0).is_ok() && share.subscribe(1).is_ok() && share.arrived(1, 0).is_none());
    assert!(unlimited.lock().of.is_empty());
    unlimited.replace(Arc::new(Limits { deliveries_per_second_max: Some(1), ..Limits::default() }));
    assert!(come(&unlimited, (1, "shop", "ana"), 0).unwrap().counts(), "whoever comes from now on is counted");
    let limited = quotas(|limits| limits.publications_per_user_per_second_max = Some(1));
    for number in 0..5000_u64 {
        let share = limited.share(|| None);
        share.admit(&principal("shop", &number.to_string()), number * 2000).unwrap();
        assert!(share.publish(1, number * 2000).is_ok());
    }
    assert!(limited.lock().of.len() <= SWEEP_FROM + 2);
}

#[test]
fn a_customer_of_ipv6_is_one_address() {
    let check = |ip: &str, counted: &str| assert_eq!(counted_as(ip.parse().unwrap()), counted.parse::<IpAddr>().unwrap());
    check("2001:db8:0:1:ffff::2", "2001:db8:0:1::");
    check("::ffff:203.0.113.7", "203.0.113.7");
    check("203.0.113.7", "203.0.113.7");
}
