//! Authentication: what is asked for, in which order, and what the answers say.

use super::*;
use crate::proto::credentials::{AnyOf, Revoked};

#[test]
fn without_integrity_a_challenge() {
    let mut desk = desk(|_| {});
    let mut bytes = Vec::new();
    udp(&mut Writer::new(&mut bytes, Class::Request, Method::Allocate, [1; 12]));
    assert_eq!(desk.feed(&alice().path, &bytes), 401);
    let reply = desk.reply();
    assert_eq!(reply.text(REALM), Some(HOME));
    assert!(reply.text(NONCE).is_some_and(|nonce| nonce.starts_with("obMatJos2AAAD")), "both features");
    assert_eq!(reply.find(PASSWORD_ALGORITHMS), Some(&ALGORITHMS[..]));
    assert_eq!(reply.integrity(), None);
}

#[test]
fn every_algorithm_of_client_and_server() {
    for sha256 in [true, false] {
        for integrity in [Integrity::Sha1, Integrity::Sha256] {
            for (algorithm, hash_user) in
                [(None, false), (Some(Algorithm::Md5), false), (Some(Algorithm::Sha256), false), (Some(Algorithm::Sha256), true)]
            {
                let mut desk = desk(|settings| settings.sha256 = sha256);
                let mut alice = alice();
                (alice.integrity, alice.algorithm, alice.hash_user) = (integrity, algorithm, hash_user);
                let expected = if algorithm.is_some() && !sha256 { 400 } else { 200 };
                assert_eq!(alice.ask(&mut desk, Method::Allocate, udp), expected, "{sha256} {integrity:?} {algorithm:?}");
                if expected == 200 {
                    assert_eq!(desk.reply().integrity(), Some(integrity), "answers use the client's");
                    assert!(desk.reply().verify(&alice.key()));
                    assert_eq!(alice.permit(&mut desk, "8.8.8.8:1"), 200);
                }
            }
        }
    }
}

/// Each case spoils one attribute of an otherwise right request.
#[test]
fn what_is_missing_or_wrong() {
    struct Spoil {
        what: &'static str,
        build: fn(&mut Writer<'_>, &[u8], &Key),
        code: u16,
    }
    let cases = [
        Spoil {
            what: "no username",
            build: |w, nonce, key| {
                w.attribute(REALM, HOME_BYTES).attribute(NONCE, nonce).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "no realm",
            build: |w, nonce, key| {
                w.attribute(USERNAME, b"alice").attribute(NONCE, nonce).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "no nonce",
            build: |w, _, key| {
                w.attribute(USERNAME, b"alice").attribute(REALM, HOME_BYTES).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "not UTF-8",
            build: |w, nonce, key| {
                full(w, b"\xff\xfe", nonce).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "a long name",
            build: |w, nonce, key| {
                full(w, &[b'a'; 509], nonce).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "unknown user",
            build: |w, nonce, key| {
                full(w, b"carol", nonce).sign(Integrity::Sha1, key);
            },
            code: 401,
        },
        Spoil {
            what: "a made-up nonce",
            build: |w, _, key| {
                full(w, b"alice", b"obMatJos2AAADabcdefghijklmno").sign(Integrity::Sha1, key);
            },
            code: 438,
        },
        Spoil {
            what: "an algorithm without the list",
            build: |w, nonce, key| {
                full(w, b"alice", nonce).attribute(PASSWORD_ALGORITHM, &[0, 1, 0, 0]).sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "a shortened list",
            build: |w, nonce, key| {
                full(w, b"alice", nonce)
                    .attribute(PASSWORD_ALGORITHMS, &[0, 1, 0, 0])
                    .attribute(PASSWORD_ALGORITHM, &[0, 1, 0, 0])
                    .sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "an algorithm not offered",
            build: |w, nonce, key| {
                full(w, b"alice", nonce)
                    .attribute(PASSWORD_ALGORITHMS, &ALGORITHMS)
                    .attribute(PASSWORD_ALGORITHM, &[0, 3, 0, 0])
                    .sign(Integrity::Sha1, key);
            },
            code: 400,
        },
        Spoil {
            what: "right",
            build: |w, nonce, key| {
                full(w, b"alice", nonce).sign(Integrity::Sha1, key);
            },
            code: 200,
        },
    ];
    for case in cases {
        let mut desk = desk(|_| {});
        let mut alice = alice();
        alice.ask(&mut desk, Method::Refresh, |_| {});
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, [9; 12]);
        udp(&mut writer);
        (case.build)(&mut writer, &alice.nonce, &alice.key());
        assert_eq!(desk.feed(&alice.path, &bytes), case.code, "{}", case.what);
        if case.code == 400 {
            assert_eq!(desk.reply().integrity(), None, "{}", case.what);
        }
    }
}

const HOME_BYTES: &[u8] = HOME.as_bytes();

fn full<'w, 'b>(writer: &'w mut Writer<'b>, user: &[u8], nonce: &[u8]) -> &'w mut Writer<'b> {
    writer.attribute(USERNAME, user).attribute(REALM, HOME_BYTES).attribute(NONCE, nonce)
}

#[test]
fn a_wrong_realm_is_refused_even_with_a_key_that_fits_it() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.realm = "elsewhere".into();
    assert_eq!(alice.ask(&mut desk, Method::Allocate, udp), 401);
}

#[test]
fn nonces_grow_stale_and_follow_the_client_s_address() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    let nonce = alice.nonce.clone();
    desk.pass(599);
    let bytes = alice.request(Method::Refresh, |_| {});
    assert_eq!(desk.feed(&alice.path, &bytes), 200);
    desk.pass(2);
    let bytes = alice.request(Method::Refresh, |_| {});
    assert_eq!(desk.feed(&alice.path, &bytes), 438);
    assert!(desk.reply().find(NONCE).is_some_and(|fresh| *fresh != *nonce));
    let mut elsewhere = client("alice", "secret", "198.51.100.1:1001");
    elsewhere.nonce = desk.reply().find(NONCE).expect("a nonce").to_vec();
    let bytes = elsewhere.request(Method::Allocate, udp);
    assert_eq!(desk.feed(&elsewhere.path, &bytes), 438, "another port's nonce");
    let nonce = {
        elsewhere.ask(&mut desk, Method::Refresh, |_| {});
        elsewhere.nonce.clone()
    };
    desk.machine.rotate_nonce_key(&[8; 32]);
    let bytes = elsewhere.request(Method::Allocate, udp);
    assert_eq!(desk.feed(&elsewhere.path, &bytes), 200, "the previous key's nonce stays good");
    desk.machine.rotate_nonce_key(&[9; 32]);
    let bytes = elsewhere.request(Method::Refresh, |_| {});
    assert_eq!(desk.feed(&elsewhere.path, &bytes), 438);
    assert_eq!(elsewhere.nonce, nonce);
}

#[test]
fn a_right_password_with_an_old_nonce_is_438_and_a_wrong_one_never_tells() {
    let mut desk = desk(|_| {});
    let mut mallory = client("alice", "guess", "198.51.100.1:1000");
    assert_eq!(mallory.ask(&mut desk, Method::Allocate, udp), 401);
    assert_eq!(desk.machine.counters.credentials_refused, 1);
}

#[test]
fn only_the_owner_touches_an_allocation() {
    let mut desk = desk(|_| {});
    alice().allocate(&mut desk);
    let mut bob = client("bob", "other", "198.51.100.1:1000");
    assert_eq!(
        bob.ask(&mut desk, Method::Refresh, |w| {
            w.number(LIFETIME, 0);
        }),
        441
    );
    assert!(desk.reply().verify(&bob.key()), "signed with the key of the one who asks");
    assert_eq!(bob.permit(&mut desk, "8.8.8.8:1"), 441);
    assert_eq!(bob.bind(&mut desk, 0x4000, "8.8.8.8:1"), 441);
    assert_eq!(desk.machine.allocations(), 1);
}

#[test]
fn a_revocation_cuts_off_and_keeps_out() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    client("bob", "other", "198.51.100.2:1").allocate(&mut desk);
    let what = Revoked::User("alice".into());
    desk.machine.shared.ledger.revoke(what.clone(), desk.now.unix + 60);
    desk.actions.clear();
    desk.machine.revoke(desk.now, &what, &mut desk.actions);
    assert_eq!(desk.machine.allocations(), 1, "bob's lives");
    assert!(matches!(&desk.actions.list[..], [Action::CloseRelay(_), Action::Ended(usage)] if *usage.user == *"alice"));
    assert_eq!(alice.ask(&mut desk, Method::Allocate, udp), 401);
    desk.pass(61);
    alice.allocate(&mut desk);
}

#[test]
fn the_first_authoriser_that_knows_a_user_decides() {
    let mut rest = StaticUsers::new(HOME);
    rest.add("alice", "first");
    let both: Arc<dyn Authorize> = Arc::new(AnyOf::new(vec![Arc::new(rest), users()]));
    for (user, password, expected) in [("alice", "first", 200), ("alice", "secret", 401), ("bob", "other", 200), ("carol", "x", 401)] {
        let mut desk = desk_with(settings(|_| {}), Arc::clone(&both));
        assert_eq!(client(user, password, "198.51.100.1:1").ask(&mut desk, Method::Allocate, udp), expected, "{user} {password}");
    }
    let mut desk = desk_with(settings(|_| {}), Arc::new(AnyOf::default()));
    assert_eq!(alice().ask(&mut desk, Method::Allocate, udp), 401, "no authoriser lets nobody in");
}
