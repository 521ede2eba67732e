//! RFC 6062 and RFC 5780.

use super::*;
use crate::proto::machine::{Connection, Discovery};

fn tcp_desk() -> (Desk, Client) {
    let mut desk = desk(|settings| settings.tcp_relay = true);
    let mut alice = alice().over(Transport::Tcp);
    assert_eq!(
        alice.ask(&mut desk, Method::Allocate, |w| {
            w.number(REQUESTED_TRANSPORT, 6 << 24);
        }),
        200
    );
    (desk, alice)
}

fn connect(desk: &mut Desk, alice: &mut Client, peer: &str) -> Result<Connection, u16> {
    let code = alice.ask(desk, Method::Connect, |w| {
        w.xor_address(XOR_PEER_ADDRESS, address(peer));
    });
    match &desk.actions.list[..] {
        [Action::Connect { connection, .. }] => Ok(*connection),
        _ => Err(code),
    }
}

#[test]
fn connect_bind_and_close() {
    let (mut desk, mut alice) = tcp_desk();
    let connection = connect(&mut desk, &mut alice, "8.8.8.8:80").expect("an attempt");
    assert_eq!(connect(&mut desk, &mut alice, "8.8.8.8:80"), Err(446));
    desk.actions.clear();
    desk.machine.connected(desk.now, connection, true, &mut desk.actions);
    assert_eq!((desk.code(), desk.reply().number(CONNECTION_ID)), (200, Some(connection.0)));
    assert!(desk.reply().verify(&alice.key()));
    let bind = |id: u32| {
        move |w: &mut Writer<'_>| {
            w.number(CONNECTION_ID, id);
        }
    };
    let mut thief = client("bob", "other", "198.51.100.3:1").over(Transport::Tcp);
    assert_eq!(thief.ask(&mut desk, Method::ConnectionBind, bind(connection.0)), 441);
    let mut data = client("alice", "secret", "198.51.100.1:1001").over(Transport::Tcp);
    assert_eq!(data.ask(&mut desk, Method::ConnectionBind, bind(connection.0 ^ 1)), 400);
    assert_eq!(data.ask(&mut desk, Method::ConnectionBind, bind(connection.0)), 200);
    assert!(matches!(desk.actions.list[..], [_, Action::Join { client, .. }] if client == data.path));
    desk.actions.clear();
    desk.machine.peer_gone(connection, &mut desk.actions);
    assert_eq!(desk.actions.list, [Action::CloseClient(data.path)]);
}

#[test]
fn an_attempt_that_fails_or_takes_too_long() {
    let (mut desk, mut alice) = tcp_desk();
    let connection = connect(&mut desk, &mut alice, "8.8.8.8:80").expect("an attempt");
    desk.actions.clear();
    desk.machine.connected(desk.now, connection, false, &mut desk.actions);
    assert_eq!(desk.code(), 447);
    let connection = connect(&mut desk, &mut alice, "8.8.8.8:80").expect("another attempt");
    desk.pass(30);
    assert_eq!(desk.code(), 447);
    assert!(desk.actions.list.contains(&Action::Disconnect(connection)));
}

#[test]
fn what_a_tcp_relay_refuses() {
    let (mut desk, mut alice) = tcp_desk();
    for peer in ["127.0.0.1:80", "169.254.169.254:80", "10.0.0.1:22"] {
        assert_eq!(connect(&mut desk, &mut alice, peer), Err(403), "{peer}");
    }
    assert_eq!(connect(&mut desk, &mut alice, "[2606:4700::1]:80"), Err(443));
    assert_eq!(alice.bind(&mut desk, 0x4000, "8.8.8.8:80"), 400);
    alice.permit(&mut desk, "8.8.8.8:80");
    desk.feed(&alice.path, &send("8.8.8.8:80", b"x", |_| {}));
    assert!(desk.actions.list.is_empty(), "no Send on a TCP relay");
    for port in 1..=16u16 {
        connect(&mut desk, &mut alice, &format!("8.8.8.8:{port}")).expect("room");
    }
    assert_eq!(connect(&mut desk, &mut alice, "8.8.8.8:99"), Err(508));
    let mut plain = client("bob", "other", "198.51.100.2:1").over(Transport::Tcp);
    plain.allocate(&mut desk);
    assert_eq!(connect(&mut desk, &mut plain, "8.8.8.8:80"), Err(400), "a UDP relay");
}

#[test]
fn a_peer_dials_in_when_it_has_a_permission() {
    let (mut desk, mut alice) = tcp_desk();
    let dial = |desk: &mut Desk| {
        desk.actions.clear();
        desk.machine.incoming(desk.now, RelayId(0), address("8.8.8.8:5555"), &mut desk.host, &mut desk.actions)
    };
    assert_eq!(dial(&mut desk), None);
    alice.permit(&mut desk, "8.8.8.8:1");
    let connection = dial(&mut desk).expect("let in");
    let attempt = desk.reply();
    assert_eq!((attempt.class(), attempt.method()), (Class::Indication, Method::ConnectionAttempt));
    assert_eq!(attempt.address(XOR_PEER_ADDRESS), Some(address("8.8.8.8:5555")));
    desk.pass(30);
    assert!(desk.actions.list.contains(&Action::Disconnect(connection)), "nobody bound it");
}

#[test]
fn an_allocation_takes_its_connections_along() {
    let (mut desk, mut alice) = tcp_desk();
    let connection = connect(&mut desk, &mut alice, "8.8.8.8:80").expect("an attempt");
    desk.actions.clear();
    desk.machine.client_gone(desk.now, &alice.path, &mut desk.actions);
    assert!(desk.actions.list.contains(&Action::Disconnect(connection)));
    assert_eq!((desk.machine.allocations(), desk.machine.connections.len()), (0, 0));
}

#[test]
fn without_rfc_6062_its_methods_do_not_exist() {
    let mut desk = desk(|_| {});
    let mut alice = alice().over(Transport::Tcp);
    alice.allocate(&mut desk);
    assert_eq!(connect(&mut desk, &mut alice, "8.8.8.8:80"), Err(0));
}

#[test]
fn discovery_answers_from_where_it_is_told() {
    let discovery = Discovery { primary: address("192.0.2.1:3478"), other: address("192.0.2.2:3479") };
    let mut desk = desk(|settings| settings.discovery = Some(discovery));
    let from = path("198.51.100.1:1", Transport::Udp);
    for (flags, origin) in [(0, "192.0.2.1:3478"), (2, "192.0.2.1:3479"), (4, "192.0.2.2:3478"), (6, "192.0.2.2:3479")] {
        let mut request = Vec::new();
        Writer::new(&mut request, Class::Request, Method::Binding, [1; 12]).number(CHANGE_REQUEST, flags);
        assert_eq!(desk.feed(&from, &request), 200);
        let plain = |kind| desk.reply().find(kind).and_then(crate::proto::address::read_plain);
        assert_eq!(plain(RESPONSE_ORIGIN), Some(address(origin)));
        assert_eq!(plain(OTHER_ADDRESS), Some(address("192.0.2.2:3479")));
        let sent_from = match &desk.actions.list[..] {
            [Action::Reply { to, .. }] => to.server,
            [Action::ReplyFrom { server, to, .. }] => {
                assert_eq!(*to, from.client);
                *server
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(sent_from, address(origin));
    }
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::Binding, [1; 12])
        .attribute(RESPONSE_PORT, &[0x12, 0x34])
        .attribute(PADDING, &[0; 600]);
    assert_eq!(desk.feed(&from, &request), 200);
    assert_eq!(desk.reply().find(PADDING).map(<[u8]>::len), Some(600));
    assert!(matches!(&desk.actions.list[..], [Action::ReplyFrom { to, .. }] if to.port() == 0x1234));
}
