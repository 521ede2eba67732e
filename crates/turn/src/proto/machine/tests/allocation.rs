//! Allocate and Refresh: the table of wishes and codes.

use super::*;

/// A change of an otherwise right request.
type Fill = fn(&mut Writer<'_>);

#[track_caller]
fn check(desk: &mut Desk, transport: Transport, cases: &[(&str, Fill, u16)]) {
    for (place, (what, fill, expected)) in cases.iter().enumerate() {
        let mut client = alice().over(transport);
        client.path.client.set_port(2_000 + u16::try_from(place).expect("few cases"));
        assert_eq!(client.ask(desk, Method::Allocate, fill), *expected, "{what}");
    }
}

fn tcp(writer: &mut Writer<'_>) {
    writer.number(REQUESTED_TRANSPORT, 6 << 24);
}

fn family(writer: &mut Writer<'_>, number: u8) {
    writer.attribute(REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0]);
}

fn additional(writer: &mut Writer<'_>, number: u8) {
    writer.attribute(ADDITIONAL_ADDRESS_FAMILY, &[number, 0, 0, 0]);
}

#[test]
fn what_an_allocate_may_ask_for() {
    let cases: &[(&str, Fill, u16)] = &[
        ("plain", udp, 200),
        ("no transport", |_| {}, 400),
        ("TCP without RFC 6062", tcp, 442),
        (
            "another transport",
            |w| {
                w.number(REQUESTED_TRANSPORT, 132 << 24);
            },
            442,
        ),
        (
            "IPv4",
            |w| {
                udp(w);
                family(w, 1);
            },
            200,
        ),
        (
            "IPv6",
            |w| {
                udp(w);
                family(w, 2);
            },
            200,
        ),
        (
            "no such family",
            |w| {
                udp(w);
                family(w, 3);
            },
            440,
        ),
        (
            "both",
            |w| {
                udp(w);
                additional(w, 2);
            },
            200,
        ),
        (
            "additional IPv4",
            |w| {
                udp(w);
                additional(w, 1);
            },
            400,
        ),
        (
            "requested and additional",
            |w| {
                udp(w);
                family(w, 1);
                additional(w, 2);
            },
            400,
        ),
        (
            "additional and a pair",
            |w| {
                udp(w);
                additional(w, 2);
                w.attribute(EVEN_PORT, &[0x80]);
            },
            400,
        ),
        (
            "even",
            |w| {
                udp(w);
                w.attribute(EVEN_PORT, &[0]);
            },
            200,
        ),
        (
            "pair",
            |w| {
                udp(w);
                w.attribute(EVEN_PORT, &[0x80]);
            },
            200,
        ),
        (
            "unknown token",
            |w| {
                udp(w);
                w.attribute(RESERVATION_TOKEN, &[0; 8]);
            },
            508,
        ),
        (
            "short token",
            |w| {
                udp(w);
                w.attribute(RESERVATION_TOKEN, &[0; 7]);
            },
            400,
        ),
        (
            "token and even",
            |w| {
                udp(w);
                w.attribute(RESERVATION_TOKEN, &[0; 8]).attribute(EVEN_PORT, &[0]);
            },
            400,
        ),
        (
            "token and family",
            |w| {
                udp(w);
                w.attribute(RESERVATION_TOKEN, &[0; 8]);
                family(w, 1);
            },
            400,
        ),
        (
            "don't fragment",
            |w| {
                udp(w);
                w.attribute(DONT_FRAGMENT, &[]);
            },
            200,
        ),
        (
            "mobility is off",
            |w| {
                udp(w);
                w.attribute(MOBILITY_TICKET, &[]);
            },
            405,
        ),
        (
            "must-understand attribute",
            |w| {
                udp(w);
                w.attribute(0x7F00, &[]);
            },
            420,
        ),
        (
            "optional attribute",
            |w| {
                udp(w);
                w.attribute(0xFF00, &[]);
            },
            200,
        ),
    ];
    check(&mut desk(|settings| settings.unauthenticated.per_second = 0), Transport::Udp, cases);
}

#[test]
fn tcp_relays_only_where_they_are_on_and_over_streams() {
    check(&mut desk(|settings| settings.tcp_relay = true), Transport::Udp, &[("over UDP", tcp, 400), ("plain", udp, 200)]);
    let cases: &[(&str, Fill, u16)] = &[
        ("plain", tcp, 200),
        (
            "don't fragment",
            |w| {
                tcp(w);
                w.attribute(DONT_FRAGMENT, &[]);
            },
            400,
        ),
        (
            "even",
            |w| {
                tcp(w);
                w.attribute(EVEN_PORT, &[0]);
            },
            400,
        ),
        (
            "token",
            |w| {
                tcp(w);
                w.attribute(RESERVATION_TOKEN, &[0; 8]);
            },
            400,
        ),
    ];
    check(&mut desk(|settings| settings.tcp_relay = true), Transport::Tcp, cases);
}

#[test]
fn an_unknown_attribute_is_named() {
    let mut desk = desk(|_| {});
    assert_eq!(
        alice().ask(&mut desk, Method::Allocate, |w| {
            udp(w);
            w.attribute(0x7F00, &[1]).attribute(0x7F02, &[]);
        }),
        420
    );
    assert_eq!(desk.reply().find(UNKNOWN_ATTRIBUTES), Some(&[0x7F, 0x00, 0x7F, 0x02][..]));
}

#[test]
fn one_of_two_families_may_fail() {
    let mut desk = desk(|_| {});
    let both = |w: &mut Writer<'_>| {
        udp(w);
        additional(w, 2);
    };
    let mut first = alice();
    assert_eq!(first.ask(&mut desk, Method::Allocate, both), 200);
    let relayed: Vec<_> = desk.reply().all(XOR_RELAYED_ADDRESS).map(|value| value[1]).collect();
    assert_eq!(relayed, [1, 2], "IPv4 first");
    desk.host.has_v6 = false;
    let mut second = client("bob", "other", "198.51.100.2:1000");
    assert_eq!(second.ask(&mut desk, Method::Allocate, both), 200);
    assert_eq!(desk.reply().find(ADDRESS_ERROR_CODE), Some(&[2, 0, 4, 40][..]));
    assert_eq!(desk.reply().all(XOR_RELAYED_ADDRESS).count(), 1);
    desk.host.full = true;
    let mut third = client("bob", "other", "198.51.100.3:1000");
    assert_eq!(third.ask(&mut desk, Method::Allocate, both), 508, "both fail");
    assert_eq!(desk.machine.shared.ledger.total(), 2, "what failed is not charged");
}

#[test]
fn a_repeated_allocate_gets_the_same_answer_and_another_437() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    let relayed = alice.allocate(&mut desk);
    let again = alice.repeat(Method::Allocate, udp);
    assert_eq!(desk.feed(&alice.path, &again), 200);
    assert_eq!(desk.reply().address(XOR_RELAYED_ADDRESS), Some(relayed));
    assert_eq!(desk.machine.allocations(), 1);
    assert_eq!(alice.ask(&mut desk, Method::Allocate, udp), 437);
    let mut bob = client("bob", "other", "198.51.100.1:1000");
    assert_eq!(bob.ask(&mut desk, Method::Allocate, udp), 437);
}

#[test]
fn lifetimes_are_clamped() {
    for (asked, given) in [(None, 600), (Some(1), 600), (Some(900), 900), (Some(u32::MAX), 3600)] {
        let mut desk = desk(|_| {});
        let mut alice = alice();
        alice.ask(&mut desk, Method::Allocate, |w| {
            udp(w);
            if let Some(seconds) = asked {
                w.number(LIFETIME, seconds);
            }
        });
        assert_eq!(desk.reply().number(LIFETIME), Some(given), "{asked:?}");
        desk.pass(u64::from(given) - 1);
        assert_eq!(desk.machine.allocations(), 1);
        desk.pass(1);
        assert_eq!(desk.machine.allocations(), 0, "{asked:?}");
        assert!(desk.actions.list.iter().any(|action| matches!(action, Action::CloseRelay(_))));
    }
}

#[test]
fn refresh_prolongs_and_ends() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    assert_eq!(
        alice.ask(&mut desk, Method::Refresh, |w| {
            w.number(LIFETIME, 0);
        }),
        437,
        "nothing to refresh"
    );
    alice.allocate(&mut desk);
    desk.pass(500);
    assert_eq!(alice.ask(&mut desk, Method::Refresh, |_| {}), 200);
    desk.pass(500);
    assert_eq!(desk.machine.allocations(), 1);
    assert_eq!(
        alice.ask(&mut desk, Method::Refresh, |w| {
            w.number(LIFETIME, 0);
        }),
        200
    );
    assert_eq!(desk.reply().number(LIFETIME), Some(0));
    assert_eq!(desk.machine.allocations(), 0);
    assert!(desk.reply().verify(&alice.key()), "the last answer is signed");
    assert_eq!(desk.machine.shared.ledger.total(), 0);
}

#[test]
fn refresh_of_one_family() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.ask(&mut desk, Method::Allocate, |w| {
        udp(w);
        additional(w, 2);
    });
    assert_eq!(
        alice.ask(&mut desk, Method::Refresh, |w| {
            w.number(LIFETIME, 0);
            family(w, 2);
        }),
        200
    );
    assert_eq!(desk.machine.allocations(), 1);
    assert_eq!(alice.permit(&mut desk, "[2606:4700::1]:9"), 443, "the IPv6 relay is gone");
    assert_eq!(alice.permit(&mut desk, "8.8.8.8:9"), 200);
    assert_eq!(alice.ask(&mut desk, Method::Refresh, |w| family(w, 2)), 443);
    assert_eq!(alice.ask(&mut desk, Method::Refresh, |w| family(w, 9)), 440);
    assert_eq!(
        alice.ask(&mut desk, Method::Refresh, |w| {
            w.number(LIFETIME, 0);
            family(w, 1);
        }),
        200
    );
    assert_eq!(desk.machine.allocations(), 0);
}

#[test]
fn a_reserved_port_waits_for_its_user() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    let pair = |w: &mut Writer<'_>| {
        udp(w);
        w.attribute(EVEN_PORT, &[0x80]);
    };
    assert_eq!(alice.ask(&mut desk, Method::Allocate, pair), 200);
    let even = desk.reply().address(XOR_RELAYED_ADDRESS).expect("relayed");
    assert_eq!(even.port() % 2, 0);
    let token: [u8; 8] = desk.reply().find(RESERVATION_TOKEN).expect("a token").try_into().expect("eight bytes");
    let claim = |w: &mut Writer<'_>| {
        udp(w);
        w.attribute(RESERVATION_TOKEN, &token);
    };
    let mut bob = client("bob", "other", "198.51.100.2:1000");
    assert_eq!(bob.ask(&mut desk, Method::Allocate, claim), 508, "someone else's");
    let mut second = client("alice", "secret", "198.51.100.1:1001");
    assert_eq!(second.ask(&mut desk, Method::Allocate, claim), 200);
    assert_eq!(desk.reply().address(XOR_RELAYED_ADDRESS).map(|odd| odd.port()), Some(even.port() + 1));
    let mut third = client("alice", "secret", "198.51.100.1:1002");
    assert_eq!(third.ask(&mut desk, Method::Allocate, claim), 508, "used up");
    let mut fourth = client("alice", "secret", "198.51.100.1:1003");
    assert_eq!(fourth.ask(&mut desk, Method::Allocate, pair), 200);
    desk.pass(30);
    assert_eq!(desk.actions.list.iter().filter(|action| matches!(action, Action::CloseRelay(_))).count(), 1, "never claimed");
}

#[test]
fn a_token_of_another_worker_hands_the_client_over_after_its_password_was_checked() {
    let mut desk = desk(|_| {});
    let claim = |w: &mut Writer<'_>| {
        udp(w);
        w.attribute(RESERVATION_TOKEN, &[1, 0, 0, 0, 0, 0, 0, 0]);
    };
    let mut mallory = client("alice", "guess", "198.51.100.1:1000");
    assert_eq!(mallory.ask(&mut desk, Method::Allocate, claim), 401);
    let mut alice = alice();
    assert_eq!(alice.ask(&mut desk, Method::Allocate, claim), 0);
    assert_eq!(desk.actions.list, [Action::HandOver { worker: 1, client: alice.path }]);
}

#[test]
fn a_draining_server_sends_clients_away_and_keeps_those_it_has() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    desk.machine.drain(Some(address("203.0.113.7:3478")));
    let mut bob = client("bob", "other", "198.51.100.2:1000");
    assert_eq!(bob.ask(&mut desk, Method::Allocate, udp), 300);
    let alternate = desk.reply().find(ALTERNATE_SERVER).and_then(crate::proto::address::read_plain);
    assert_eq!(alternate, Some(address("203.0.113.7:3478")));
    assert!(desk.reply().verify(&bob.key()));
    desk.machine.drain(None);
    assert_eq!(bob.ask(&mut desk, Method::Allocate, udp), 508);
    assert_eq!(alice.ask(&mut desk, Method::Refresh, |_| {}), 200);
}

#[test]
fn mobility_moves_an_allocation_with_its_first_packet() {
    let mut desk = desk(|settings| settings.mobility = true);
    let mut alice = alice();
    assert_eq!(
        alice.ask(&mut desk, Method::Allocate, |w| {
            udp(w);
            w.attribute(MOBILITY_TICKET, &[]);
        }),
        200
    );
    let ticket = desk.reply().find(MOBILITY_TICKET).expect("a ticket").to_vec();
    assert_eq!(alice.bind(&mut desk, 0x4000, "8.8.8.8:9"), 200);
    let with_ticket = |ticket: Vec<u8>| {
        move |w: &mut Writer<'_>| {
            w.attribute(MOBILITY_TICKET, &ticket);
        }
    };
    let mut thief = client("bob", "other", "198.51.100.3:1000");
    assert_eq!(thief.ask(&mut desk, Method::Refresh, with_ticket(ticket.clone())), 441, "a ticket alone is worth nothing");
    assert_eq!(thief.ask(&mut desk, Method::Refresh, with_ticket(b"AAAAAAAAAAAAAAAAAAAAAAAA".to_vec())), 437);
    let mut moved = client("alice", "secret", "198.51.100.2:2000");
    assert_eq!(moved.ask(&mut desk, Method::Refresh, with_ticket(ticket.clone())), 200);
    let next = desk.reply().find(MOBILITY_TICKET).expect("a new ticket").to_vec();
    assert_ne!(next, ticket);
    let to = |desk: &mut Desk| {
        desk.actions.clear();
        desk.machine.peer_datagram(desk.now, RelayId(0), address("8.8.8.8:9"), 5, &mut desk.actions);
        match &desk.actions.list[..] {
            [Action::ToClient { to, .. }] => *to,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(to(&mut desk), alice.path, "until the new path is confirmed");
    desk.feed(&moved.path, &channel_data(0x4000, b"here"));
    assert_eq!(to(&mut desk), moved.path);
    assert_eq!(alice.ask(&mut desk, Method::Refresh, |_| {}), 437, "the old path is over");
    assert_eq!(moved.ask(&mut desk, Method::Refresh, with_ticket(ticket)), 200, "on its own path a ticket is not needed");
    let mut third = client("alice", "secret", "198.51.100.4:1");
    assert_eq!(third.ask(&mut desk, Method::Refresh, with_ticket(next)), 437, "an old ticket");
    assert_eq!(third.ask(&mut desk, Method::Refresh, with_ticket(b"AQAAAAAAAAAAAAAAAAAAAAAA".to_vec())), 0, "another worker's");
    assert_eq!(desk.actions.list, [Action::HandOver { worker: 1, client: third.path }]);
}
