//! The data paths: channels, indications, permissions, hairpins, ICMP.

use super::*;
use crate::proto::machine::Counters;
use crate::proto::machine::{Icmp, Machine};

const PEER: &str = "8.8.8.8:9";

/// One action as text, with the payload that it names.
fn show(desk: &Desk, input: &[u8]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |action: &Action| match action {
        Action::ToPeer { relay, peer, payload, dont_fragment } => {
            format!("relay {} to {peer}: {}{}", relay.0, text(&input[payload.clone()]), if *dont_fragment { " df" } else { "" })
        }
        Action::ToClient { to, head, payload, padding } => {
            let whole = [head.bytes(), &input[payload.clone()], &[0; 3][..usize::from(*padding)]].concat();
            match Message::parse(&whole) {
                Ok(data) => format!(
                    "{} data from {}: {}",
                    to.client,
                    data.address(XOR_PEER_ADDRESS).expect("a peer"),
                    text(data.find(DATA).expect("data"))
                ),
                Err(_) => format!("{} channel {:x}{:02x}: {} +{padding}", to.client, whole[0], whole[1], text(&input[payload.clone()])),
            }
        }
        Action::Across { worker, to, from, payload } => format!("worker {worker} {from} to {to}: {}", text(&input[payload.clone()])),
        other => format!("{other:?}"),
    };
    desk.actions.list.iter().map(one).collect()
}

#[track_caller]
fn check(desk: &mut Desk, from: &FiveTuple, input: &[u8], expected: &[&str]) {
    desk.feed(from, input);
    assert_eq!(show(desk, input), expected);
}

#[track_caller]
fn check_peer(desk: &mut Desk, relay: u32, peer: &str, input: &[u8], expected: &[&str]) {
    desk.actions.clear();
    desk.machine.peer_datagram(desk.now, RelayId(relay), address(peer), input.len(), &mut desk.actions);
    assert_eq!(show(desk, input), expected);
}

#[test]
fn channels_both_ways() {
    for (transport, padding) in [(Transport::Udp, 0), (Transport::Tcp, 3), (Transport::Tls, 3)] {
        let mut desk = desk(|_| {});
        let mut alice = alice().over(transport);
        alice.allocate(&mut desk);
        assert_eq!(alice.bind(&mut desk, 0x4001, PEER), 200);
        check(&mut desk, &alice.path, &channel_data(0x4001, b"hello"), &["relay 0 to 8.8.8.8:9: hello"]);
        let line = format!("198.51.100.1:1000 channel 4001: world +{padding}");
        check_peer(&mut desk, 0, PEER, b"world", &[&line]);
        check_peer(&mut desk, 0, "8.8.8.8:10", b"abc", &["198.51.100.1:1000 data from 8.8.8.8:10: abc"]);
        check_peer(&mut desk, 0, "8.8.4.4:9", b"abc", &[]);
        check_peer(&mut desk, 77, PEER, b"abc", &[]);
    }
}

#[test]
fn channel_data_that_is_wrong_is_dropped() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    alice.bind(&mut desk, 0x4001, PEER);
    check(&mut desk, &alice.path, &channel_data(0x4002, b"not bound"), &[]);
    check(&mut desk, &alice.path, &[0x40, 0x01, 0, 9, 1], &[]);
    check(&mut desk, &alice.path, &[0x40, 0x01, 0], &[]);
    check(&mut desk, &alice.path, &[0x80, 0x01, 0, 1, 1], &[]);
    check(&mut desk, &alice.path, &[], &[]);
    check(&mut desk, &path("198.51.100.9:1", Transport::Udp), &channel_data(0x4001, b"x"), &[]);
    check(&mut desk, &alice.path, &[&channel_data(0x4001, b"more")[..], b"tail"].concat(), &["relay 0 to 8.8.8.8:9: more"]);
    check(&mut desk, &alice.path, &channel_data(0x4001, b""), &["relay 0 to 8.8.8.8:9: "]);
    let counters = desk.machine.counters;
    assert_eq!((counters.dropped_malformed, counters.dropped_no_channel, counters.dropped_no_allocation), (4, 1, 1));
}

#[test]
fn what_a_channel_may_be_bound_to() {
    let mut desk = desk(|settings| settings.channels_max = 2);
    let mut alice = alice();
    alice.allocate(&mut desk);
    let cases = [
        (0x3FFF, PEER, 400),
        (0x5000, PEER, 400),
        (0x7FFF, PEER, 400),
        (0x4000, PEER, 200),
        (0x4000, PEER, 200),
        (0x4000, "8.8.8.8:10", 400),
        (0x4001, PEER, 400),
        (0x4FFF, "8.8.8.8:10", 200),
        (0x4002, "8.8.8.8:11", 508),
        (0x4003, "[2606:4700::1]:9", 443),
        (0x4004, "127.0.0.1:9", 403),
    ];
    for (number, peer, expected) in cases {
        assert_eq!(alice.bind(&mut desk, number, peer), expected, "{number:x} {peer}");
    }
    assert_eq!(
        alice.ask(&mut desk, Method::ChannelBind, |w| {
            w.number(CHANNEL_NUMBER, 0x4000 << 16);
        }),
        400
    );
    assert_eq!(
        alice.ask(&mut desk, Method::ChannelBind, |w| {
            w.xor_address(XOR_PEER_ADDRESS, address(PEER));
        }),
        400
    );
}

#[test]
fn channel_numbers_of_rfc_5766_where_they_are_wanted() {
    for (wanted, expected) in [(false, 400), (true, 200)] {
        let mut desk = desk(|settings| settings.old_channel_numbers = wanted);
        let mut alice = alice();
        alice.allocate(&mut desk);
        assert_eq!(alice.bind(&mut desk, 0x7FFF, PEER), expected);
        desk.feed(&alice.path, &channel_data(0x7FFF, b"x"));
        assert_eq!(desk.actions.list.len(), usize::from(wanted));
    }
}

#[test]
fn permissions_end_after_five_minutes_and_channels_after_ten() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.ask(&mut desk, Method::Allocate, |w| {
        udp(w);
        w.number(LIFETIME, 3600);
    });
    alice.bind(&mut desk, 0x4001, PEER);
    desk.pass(299);
    check_peer(&mut desk, 0, PEER, b"in", &["198.51.100.1:1000 channel 4001: in +0"]);
    desk.pass(1);
    check_peer(&mut desk, 0, PEER, b"late", &[]);
    check(&mut desk, &alice.path, &channel_data(0x4001, b"out"), &["relay 0 to 8.8.8.8:9: out"]);
    assert_eq!(alice.permit(&mut desk, PEER), 200);
    check_peer(&mut desk, 0, PEER, b"in", &["198.51.100.1:1000 channel 4001: in +0"]);
    desk.pass(299);
    check(&mut desk, &alice.path, &channel_data(0x4001, b"out"), &["relay 0 to 8.8.8.8:9: out"]);
    desk.pass(1);
    check(&mut desk, &alice.path, &channel_data(0x4001, b"over"), &[]);
    assert_eq!(alice.bind(&mut desk, 0x4001, "8.8.8.8:10"), 200, "the number is free again");
}

#[test]
fn send_indications() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    check(&mut desk, &alice.path, &send(PEER, b"early", |_| {}), &[]);
    assert_eq!(alice.permit(&mut desk, PEER), 200);
    check(&mut desk, &alice.path, &send(PEER, b"hello", |_| {}), &["relay 0 to 8.8.8.8:9: hello"]);
    check(&mut desk, &alice.path, &send("8.8.8.8:99", b"port", |_| {}), &["relay 0 to 8.8.8.8:99: port"]);
    check(
        &mut desk,
        &alice.path,
        &send(PEER, b"big", |w| {
            w.attribute(DONT_FRAGMENT, &[]);
        }),
        &["relay 0 to 8.8.8.8:9: big df"],
    );
    check(
        &mut desk,
        &alice.path,
        &send(PEER, b"odd", |w| {
            w.attribute(0x7F00, &[]);
        }),
        &[],
    );
    check(&mut desk, &alice.path, &send("8.8.4.4:9", b"x", |_| {}), &[]);
    // Of an attribute that comes twice the first counts.
    let twice = |w: &mut Writer<'_>| {
        w.xor_address(XOR_PEER_ADDRESS, address("8.8.4.4:9"));
    };
    check(&mut desk, &alice.path, &send(PEER, b"first", twice), &["relay 0 to 8.8.8.8:9: first"]);
    check_peer(&mut desk, 0, PEER, b"answer", &["198.51.100.1:1000 data from 8.8.8.8:9: answer"]);
}

#[test]
fn an_ipv6_peer_gets_an_ipv6_relay() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.ask(&mut desk, Method::Allocate, |w| {
        udp(w);
        w.attribute(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(
        alice.ask(&mut desk, Method::CreatePermission, |w| {
            w.xor_address(XOR_PEER_ADDRESS, address(PEER)).xor_address(XOR_PEER_ADDRESS, address("[2606:4700::1]:9"));
        }),
        200
    );
    check(&mut desk, &alice.path, &send("[2606:4700::1]:9", b"six", |_| {}), &["relay 1 to [2606:4700::1]:9: six"]);
    check(&mut desk, &alice.path, &send(PEER, b"four", |_| {}), &["relay 0 to 8.8.8.8:9: four"]);
    check_peer(&mut desk, 1, "[2606:4700::1]:9", b"seven77", &["198.51.100.1:1000 data from [2606:4700::1]:9: seven77"]);
}

/// Two clients of one worker: their relayed addresses meet in memory, although the policy denies that address.
#[test]
fn hairpin_needs_both_permissions_and_shows_the_relayed_address() {
    let mut desk = desk(|_| {});
    let (mut alice, mut bob) = (alice(), client("bob", "other", "198.51.100.2:2000"));
    let (of_alice, of_bob) = (alice.allocate(&mut desk).to_string(), bob.allocate(&mut desk).to_string());
    assert_eq!(alice.bind(&mut desk, 0x4000, &of_bob), 200);
    check(&mut desk, &alice.path, &channel_data(0x4000, b"knock"), &[]);
    assert_eq!(bob.permit(&mut desk, &of_alice), 200);
    let line = format!("198.51.100.2:2000 data from {of_alice}: knock");
    check(&mut desk, &alice.path, &channel_data(0x4000, b"knock"), &[&line]);
    assert_eq!(bob.bind(&mut desk, 0x4005, &of_alice), 200);
    check(&mut desk, &alice.path, &channel_data(0x4000, b"hi"), &["198.51.100.2:2000 channel 4005: hi +0"]);
    check(&mut desk, &bob.path, &send(&of_alice, b"ho", |_| {}), &["198.51.100.1:1000 channel 4000: ho +0"]);
    assert_eq!(desk.machine.counters.packets_hairpinned, 4);
    // The address is ours, but nobody has that port: nothing goes to the kernel.
    check(&mut desk, &bob.path, &send("192.0.2.9:1", b"scan", |_| {}), &[]);
    bob.ask(&mut desk, Method::Refresh, |w| {
        w.number(LIFETIME, 0);
    });
    check(&mut desk, &alice.path, &channel_data(0x4000, b"gone"), &[]);
}

#[test]
fn hairpin_between_workers() {
    let mut desk = desk(|_| {});
    let shared = Arc::clone(&desk.machine.shared);
    let mut other = Desk { machine: Machine::new(Arc::clone(&desk.machine.settings), shared, 1, &[7; 32], [1; 12]), ..super::desk(|_| {}) };
    other.host.next_port = 60_000;
    let (mut alice, mut bob) = (alice(), client("bob", "other", "198.51.100.2:2000"));
    let (of_alice, of_bob) = (alice.allocate(&mut desk), bob.allocate(&mut other));
    alice.bind(&mut desk, 0x4000, &of_bob.to_string());
    bob.bind(&mut other, 0x4000, &of_alice.to_string());
    check(&mut desk, &alice.path, &channel_data(0x4000, b"over"), &[&format!("worker 1 {of_alice} to {of_bob}: over")]);
    other.actions.clear();
    other.machine.across_datagram(other.now, of_alice, of_bob, 0..4, &mut other.actions);
    assert_eq!(show(&other, b"over"), ["198.51.100.2:2000 channel 4000: over +0"]);
}

#[test]
fn rates_drop_what_is_too_much() {
    let mut desk = desk(|settings| settings.bytes_per_second = 100_000);
    let mut alice = alice();
    alice.allocate(&mut desk);
    alice.bind(&mut desk, 0x4000, PEER);
    let packet = channel_data(0x4000, &[0; 1000]);
    let passed = |desk: &mut Desk| {
        (0..200)
            .filter(|_| {
                desk.feed(&alice.path, &packet);
                !desk.actions.list.is_empty()
            })
            .count()
    };
    assert_eq!(passed(&mut desk), 65, "the burst");
    desk.now.millis += 100;
    assert_eq!(passed(&mut desk), 10, "a tenth of a second");
    assert_eq!(desk.machine.counters.dropped_allocation_rate, 135 + 190);
}

/// Each bound counts both directions, over all allocations of whom it is for, and says by its counter which one it was.
#[test]
fn quotas_bound_bytes_in_both_directions() {
    #[track_caller]
    fn check(change: fn(&mut Settings), passed: usize, again: u16, counter: fn(&Counters) -> u64) {
        let mut desk = desk(change);
        let (mut one, mut other) = (client("alice", "secret", "198.51.100.1:1"), client("alice", "secret", "198.51.100.1:2"));
        for client in [&mut one, &mut other] {
            client.allocate(&mut desk);
            assert_eq!(client.bind(&mut desk, 0x4000, PEER), 200);
        }
        let packet = channel_data(0x4000, &[0; 1000]);
        let mut count = 0;
        for _ in 0..100 {
            for client in [&one, &other] {
                desk.feed(&client.path, &packet);
                count += desk.actions.list.len();
            }
            desk.actions.clear();
            desk.machine.peer_datagram(desk.now, RelayId(0), address(PEER), 1000, &mut desk.actions);
            count += desk.actions.list.len();
        }
        assert_eq!(count, passed);
        assert_eq!(counter(&desk.machine.counters), 300 - passed as u64);
        assert_eq!(client("alice", "secret", "198.51.100.1:3").ask(&mut desk, Method::Allocate, udp), again);
    }
    check(|settings| settings.quotas.user.bytes_per_second = 100_000, 65, 200, |counters| counters.dropped_user_rate);
    check(|settings| settings.quotas.total_bytes_per_second = 100_000, 65, 200, |counters| counters.dropped_server_rate);
    check(|settings| settings.quotas.user.bytes_max = 30_000, 30, 486, |counters| counters.dropped_user_bytes);
}

#[test]
fn icmp_errors_are_told_to_those_with_a_permission() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    alice.permit(&mut desk, PEER);
    let cases =
        [(PEER, 3, 4, 1400, true), (PEER, 11, 0, 0, true), (PEER, 5, 0, 0, false), (PEER, 0, 0, 0, false), ("8.8.4.4:9", 3, 3, 0, false)];
    for (peer, kind, code, data, told) in cases {
        desk.actions.clear();
        desk.machine.icmp(desk.now, RelayId(0), address(peer), Icmp { kind, code, data }, &mut desk.actions);
        assert_eq!(desk.reply_bytes().is_some(), told, "{peer} {kind}");
        if told {
            let reply = desk.reply();
            assert_eq!((reply.class(), reply.method(), reply.find(DATA)), (Class::Indication, Method::Data, None));
            assert_eq!(reply.find(ICMP), Some(&[&[0, 0, kind, code][..], &data.to_be_bytes()].concat()[..]));
        }
    }
}

#[test]
fn usage_counts_both_directions() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    alice.bind(&mut desk, 0x4000, PEER);
    check(&mut desk, &alice.path, &channel_data(0x4000, b"12345"), &["relay 0 to 8.8.8.8:9: 12345"]);
    check_peer(&mut desk, 0, PEER, b"123", &["198.51.100.1:1000 channel 4000: 123 +0"]);
    desk.pass(600);
    let Some(Action::Ended(usage)) = desk.actions.list.last() else { panic!("{:?}", desk.actions.list) };
    assert_eq!((usage.packets_up, usage.bytes_up, usage.packets_down, usage.bytes_down, usage.lasted_millis), (1, 5, 1, 3, 600_000));
}
