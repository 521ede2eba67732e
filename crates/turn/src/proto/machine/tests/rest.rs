//! Time-limited credentials.

use super::*;
use crate::proto::credentials::{RestSecrets, Secret};

#[test]
fn rest_credentials() {
    let rest = RestSecrets::new(vec![Secret::new("new"), Secret::new("old")]);
    let now = 1_700_000_000;
    let cases = [
        ("good", "new", now + 600, 200),
        ("the secret before", "old", now + 600, 200),
        ("another secret", "stolen", now + 600, 401),
        ("the last second", "new", now, 200),
        ("over", "new", now - 1, 401),
        ("two days", "new", now + 48 * 3600, 200),
        ("longer", "new", now + 48 * 3600 + 1, 401),
    ];
    for (what, secret, expiry, expected) in cases {
        let mut desk = desk_with(settings(|_| {}), Arc::new(rest.clone()));
        let minted = RestSecrets::mint(&Secret::new(secret), expiry, "alice");
        let mut client = alice();
        (client.user, client.password) = (minted.username.leak(), minted.password.leak());
        assert_eq!(client.ask(&mut desk, Method::Allocate, udp), expected, "{what}");
        if expected == 200 {
            let session = desk.machine.sessions(desk.now).next().expect("an allocation");
            assert_eq!(&*session.usage.user, "alice", "the expiry is no part of the user");
            desk.pass(300);
            assert_eq!(client.ask(&mut desk, Method::Refresh, |_| {}), 200, "{what}: an allocation outlives its credential");
        }
    }
}

#[test]
fn an_allocation_may_end_with_its_credential() {
    for (ends, refreshed) in [(false, 600), (true, 300)] {
        let mut desk = desk_with(
            settings(|settings| settings.credentials_end_allocations = ends),
            Arc::new(RestSecrets::new(vec![Secret::new("new")])),
        );
        let minted = RestSecrets::mint(&Secret::new("new"), desk.now.unix + 899, "alice");
        let mut client = alice();
        (client.user, client.password) = (minted.username.leak(), minted.password.leak());
        assert_eq!(client.ask(&mut desk, Method::Allocate, udp), 200);
        assert_eq!(desk.reply().number(LIFETIME), Some(600));
        desk.pass(600 - 1);
        assert_eq!(client.ask(&mut desk, Method::Refresh, |_| {}), 200);
        assert_eq!(desk.reply().number(LIFETIME), Some(refreshed + u32::from(ends)), "ends: {ends}");
        desk.pass(302);
        assert_eq!(desk.machine.allocations(), usize::from(!ends));
        assert_eq!(desk.machine.counters.expired_allocations, u64::from(ends));
    }
}

#[test]
fn credentials_without_a_user_have_quotas_of_their_own() {
    let mut desk = desk_with(settings(|settings| settings.quotas.user_max = 1), Arc::new(RestSecrets::new(vec![Secret::new("s")])));
    for (expiry, port, expected) in [(600, 1, 200), (600, 2, 486), (601, 3, 200)] {
        let name = (desk.now.unix + expiry).to_string();
        let mut client = client(name.leak(), "", &format!("198.51.100.1:{port}"));
        client.password = crate::proto::credentials::password_of(&Secret::new("s"), client.user).leak();
        assert_eq!(client.ask(&mut desk, Method::Allocate, udp), expected, "{port}");
    }
    assert_eq!(desk.machine.counters.refused_user_quota, 1);
}

#[test]
fn names_that_are_no_rest_credentials() {
    for name in ["", ":", "alice", "x:alice", "-1:alice", "99999999999999999999999:alice", "18446744073709551615:alice"] {
        let mut desk = desk_with(settings(|_| {}), Arc::new(RestSecrets::new(vec![Secret::new("s")])));
        let mut client = alice();
        client.user = name;
        assert_eq!(client.ask(&mut desk, Method::Allocate, udp), 401, "{name:?}");
    }
}

#[test]
fn secrets_never_show() {
    let minted = RestSecrets::mint(&Secret::new("hunter2"), 1, "alice");
    let shown = format!("{:?} {:?} {:?}", RestSecrets::new(vec![Secret::new("hunter2")]), minted, alice().key());
    assert!(!shown.contains("hunter2") && !shown.contains(&minted.password), "{shown}");
}

#[test]
fn a_precomputed_key_serves_its_own_algorithm() {
    // MD5 of user:realm:pass.
    for (hex, good) in [
        ("0x8493fbc53ba582fb4c044c456bdc40eb", true),
        ("8493fbc53ba582fb4c044c456bdc40eb", true),
        ("8493", false),
        ("zz93fbc53ba582fb4c044c456bdc40eb", false),
    ] {
        assert_eq!(StaticUsers::new("realm").add_key("user", hex).is_ok(), good, "{hex}");
    }
    let mut users = StaticUsers::new("realm");
    users.add_key("user", "0x8493fbc53ba582fb4c044c456bdc40eb").expect("a key");
    for (algorithm, expected) in [(None, 200), (Some(Algorithm::Sha256), 401)] {
        let mut desk = desk_with(settings(|settings| settings.realm = "realm".into()), Arc::new(users.clone()));
        let mut client = client("user", "pass", "198.51.100.1:1");
        (client.realm, client.algorithm) = ("realm".into(), algorithm);
        assert_eq!(client.ask(&mut desk, Method::Allocate, udp), expected);
    }
}
