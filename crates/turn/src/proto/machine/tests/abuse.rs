//! What was done to other relays, one test each.

use super::*;
use crate::proto::rate::Rate;

#[track_caller]
fn check_denied(change: fn(&mut Settings), peers: &[&str]) {
    let mut desk = desk(change);
    let mut alice = alice();
    alice.ask(&mut desk, Method::Allocate, |w| {
        udp(w);
        w.attribute(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    for peer in peers {
        assert_eq!(alice.permit(&mut desk, peer), 403, "CreatePermission {peer}");
        assert_eq!(alice.bind(&mut desk, 0x4000, peer), 403, "ChannelBind {peer}");
        desk.feed(&alice.path, &send(peer, b"x", |_| {}));
        assert!(desk.actions.list.is_empty(), "Send {peer}");
    }
}

/// A relay as a way into the network behind it: cloud metadata, private hosts, the machine itself.
#[test]
fn the_inner_network_is_no_peer() {
    check_denied(
        |_| {},
        &[
            "169.254.169.254:80",
            "10.0.0.5:22",
            "192.168.1.1:80",
            "172.16.0.1:1",
            "127.0.0.1:6379",
            "[fe80::1]:1",
            "[fd00::1]:1",
            "[fec0::1]:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
        ],
    );
}

/// CVE-2020-26262: `0.0.0.0` and `::` lead to loopback.
#[test]
fn the_unspecified_address_is_no_peer() {
    check_denied(|_| {}, &["0.0.0.0:80", "0.1.2.3:80", "[::]:80", "[::1]:80"]);
}

/// CVE-2026-27624: loopback in an IPv6 disguise.
#[test]
fn disguised_addresses_are_no_peers() {
    check_denied(
        |_| {},
        &["[::ffff:127.0.0.1]:80", "[::127.0.0.1]:80", "[2002:7f00:1::]:80", "[64:ff9b::7f00:1]:80", "[::ffff:169.254.169.254]:80"],
    );
}

/// The server's own doors and the services beside it, even in a network that is allowed.
#[test]
fn own_doors_are_no_peers() {
    let mut desk = desk(|settings| {
        settings.peers.allow("127.0.0.0/8".parse().expect("a range"));
        settings.peers.deny_own(address("127.0.0.1:3478"));
        settings.peers.deny_port(25);
    });
    let mut alice = alice();
    alice.allocate(&mut desk);
    assert_eq!(alice.permit(&mut desk, "127.0.0.1:0"), 200, "the address is allowed");
    for (peer, passes) in [("127.0.0.1:3478", false), ("127.0.0.1:25", false), ("127.0.0.1:0", false), ("127.0.0.1:9000", true)] {
        desk.feed(&alice.path, &send(peer, b"x", |_| {}));
        assert_eq!(desk.actions.list.len(), usize::from(passes), "{peer}");
        assert_eq!(alice.bind(&mut desk, 0x4000, peer), if passes { 200 } else { 403 }, "{peer}");
    }
}

/// One denied peer among several: none is let in.
#[test]
fn a_permission_request_is_all_or_nothing() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    assert_eq!(
        alice.ask(&mut desk, Method::CreatePermission, |w| {
            w.xor_address(XOR_PEER_ADDRESS, address("8.8.8.8:1")).xor_address(XOR_PEER_ADDRESS, address("127.0.0.1:1"));
        }),
        403
    );
    desk.feed(&alice.path, &send("8.8.8.8:1", b"x", |_| {}));
    assert!(desk.actions.list.is_empty());
}

/// Reflection: forged Allocates make a relay answer a victim. The answers are few, and short.
#[test]
fn unauthenticated_answers_are_budgeted_per_source() {
    let mut desk = desk(|settings| settings.unauthenticated = Rate { per_second: 10, burst: 20 });
    let mut request = Vec::new();
    udp(&mut Writer::new(&mut request, Class::Request, Method::Allocate, [1; 12]));
    let answers = |desk: &mut Desk| {
        (0..1000u16).filter(|port| desk.feed(&path(&format!("198.51.100.77:{}", port + 1), Transport::Udp), &request) == 401).count()
    };
    assert_eq!(answers(&mut desk), 20, "whatever the port");
    desk.now.millis += 1000;
    assert_eq!(answers(&mut desk), 10);
    assert_eq!(desk.machine.counters.dropped_budget, 980 + 990);
    assert_eq!(desk.feed(&path("198.51.100.78:1", Transport::Udp), &request), 401, "another source");
    assert_eq!(desk.feed(&path("198.51.100.77:1", Transport::Tcp), &request), 401, "a stream's source is not forged");
}

/// Amplification of every unauthenticated answer: at most threefold for the shortest request, and printed.
#[test]
fn unauthenticated_answers_are_short() {
    for (sha256, longest) in [(true, 84), (false, 60)] {
        let mut desk = desk(|settings| {
            settings.sha256 = sha256;
            settings.realm = "omnivox".into();
        });
        let mut request = Vec::new();
        udp(&mut Writer::new(&mut request, Class::Request, Method::Allocate, [1; 12]));
        assert_eq!(desk.feed(&path("198.51.100.1:1", Transport::Udp), &request), 401);
        let reply = desk.reply_bytes().expect("an answer").len();
        println!("401 with SHA-256 {sha256}: {} bytes for {} ({:.2})", reply, request.len(), ratio(reply, request.len()));
        assert!(reply <= longest + if sha256 { 0 } else { 12 }, "{reply}");
    }
    let mut desk = desk(|_| {});
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::Binding, [1; 12]);
    assert_eq!(desk.feed(&path("198.51.100.1:1", Transport::Udp), &request), 200);
    let reply = desk.reply_bytes().expect("an answer").len();
    println!("Binding: {} bytes for {} ({:.2})", reply, request.len(), ratio(reply, request.len()));
    assert_eq!(reply, 32);
}

fn ratio(reply: usize, request: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "both are small")]
    let ratio = reply as f64 / request as f64;
    ratio
}

/// Plain Binding requests are answered at a bounded rate too, and RFC 5780's reflectors do not exist unless wanted.
#[test]
fn binding_is_no_reflector() {
    let mut desk = desk(|settings| settings.binding = Rate { per_second: 5, burst: 10 });
    let mut plain = Vec::new();
    Writer::new(&mut plain, Class::Request, Method::Binding, [1; 12]);
    let from = path("198.51.100.1:1", Transport::Udp);
    assert_eq!((0..50).filter(|_| desk.feed(&from, &plain) == 200).count(), 10);
    for kind in [CHANGE_REQUEST, RESPONSE_PORT, PADDING] {
        desk.now.millis += 1000;
        let mut request = Vec::new();
        Writer::new(&mut request, Class::Request, Method::Binding, [1; 12]).attribute(kind, &[0; 4]);
        assert_eq!(desk.feed(&from, &request), 420, "{kind:x}");
    }
}

/// A flood of forged Allocates leaves nothing behind.
#[test]
fn no_state_before_authentication() {
    let mut desk = desk(|_| {});
    for port in 1..2000u16 {
        let mut forged = client("alice", "guess", &format!("198.51.100.1:{port}"));
        let mut bytes = Vec::new();
        udp(&mut Writer::new(&mut bytes, Class::Request, Method::Allocate, [1; 12]));
        desk.feed(&forged.path, &bytes);
        forged.nonce = b"obMatJos2AAAD0123456789abcde".to_vec();
        let bytes = forged.request(Method::Allocate, udp);
        desk.feed(&forged.path, &bytes);
    }
    let machine = &desk.machine;
    assert_eq!((machine.allocations(), machine.by_tuple.len(), machine.by_ticket.len(), machine.reservations.len()), (0, 0, 0, 0));
    assert_eq!(machine.shared.ledger.total(), 0);
}

/// Attributes appended to a signed request are invisible.
#[test]
fn nothing_can_be_appended_to_a_signed_request() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    let mut bytes = alice.request(Method::CreatePermission, |w| {
        w.xor_address(XOR_PEER_ADDRESS, address("8.8.8.8:1"));
    });
    let mut more = Vec::new();
    Writer::new(&mut more, Class::Request, Method::Binding, [alice.transaction; 12]).xor_address(XOR_PEER_ADDRESS, address("8.8.4.4:1"));
    bytes.extend_from_slice(&more[20..]);
    let length = u16::try_from(bytes.len() - 20).expect("short").to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    assert_eq!(desk.feed(&alice.path, &bytes), 200, "the signature covers what counts");
    desk.feed(&alice.path, &send("8.8.4.4:1", b"x", |_| {}));
    assert!(desk.actions.list.is_empty(), "and what was appended does not count");
}

/// A request whose signed part was changed is refused.
#[test]
fn a_changed_request_is_refused() {
    let mut desk = desk(|_| {});
    let mut alice = alice();
    alice.allocate(&mut desk);
    for at in [20, 27, 30] {
        let mut bytes = alice.request(Method::CreatePermission, |w| {
            w.xor_address(XOR_PEER_ADDRESS, address("8.8.8.8:1"));
        });
        bytes[at] ^= 1;
        let code = desk.feed(&alice.path, &bytes);
        assert!(matches!(code, 0 | 401), "byte {at}: {code}");
    }
}

/// Permissions and channels without end.
#[test]
fn permissions_are_capped_and_repeats_are_free() {
    let mut desk = desk(|settings| settings.permissions_max = 3);
    let mut alice = alice();
    alice.allocate(&mut desk);
    for (peer, expected) in
        [("8.8.8.1:1", 200), ("8.8.8.2:1", 200), ("8.8.8.2:7", 200), ("8.8.8.3:1", 200), ("8.8.8.4:1", 508), ("8.8.8.1:1", 200)]
    {
        assert_eq!(alice.permit(&mut desk, peer), expected, "{peer}");
    }
    assert_eq!(alice.bind(&mut desk, 0x4000, "8.8.8.4:1"), 508, "a channel is a permission too");
    assert_eq!(alice.bind(&mut desk, 0x4000, "8.8.8.3:1"), 200);
    desk.pass(300);
    assert_eq!(alice.permit(&mut desk, "8.8.8.4:1"), 200, "what ran out makes room");
}

/// One user, one source, the whole server.
#[test]
fn allocations_are_capped() {
    let mut desk = desk(|settings| {
        settings.quotas.user_max = 2;
        settings.quotas.source_max = 3;
        settings.quotas.total_max = 4;
    });
    let mut ask =
        |user: &'static str, password: &'static str, from: &str| client(user, password, from).ask(&mut desk, Method::Allocate, udp);
    assert_eq!(ask("alice", "secret", "198.51.100.1:1"), 200);
    assert_eq!(ask("alice", "secret", "198.51.100.1:2"), 200);
    assert_eq!(ask("alice", "secret", "198.51.100.2:3"), 486, "user");
    assert_eq!(ask("bob", "other", "198.51.100.1:4"), 200);
    assert_eq!(ask("bob", "other", "198.51.100.1:5"), 486, "source");
    assert_eq!(ask("bob", "other", "198.51.100.2:6"), 200);
    assert_eq!(ask("bob", "other", "198.51.100.3:7"), 508, "server");
}

/// Messages that no client sends.
#[test]
fn broken_messages_are_dropped() {
    let mut desk = desk(|_| {});
    let from = alice().path;
    let mut good = Vec::new();
    Writer::new(&mut good, Class::Request, Method::Binding, [1; 12]).attribute(SOFTWARE, b"x").fingerprint();
    assert_eq!(desk.feed(&from, &good), 200);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let many: Vec<u8> = {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Class::Request, Method::Binding, [1; 12]);
        for _ in 0..65 {
            writer.attribute(SOFTWARE, &[]);
        }
        bytes
    };
    let cases = [
        ("cookie", with(4, 0)),
        ("length", with(3, 4)),
        ("length not of fours", with(3, 17)),
        ("attribute too long", with(23, 200)),
        ("fingerprint", with(35, good[35] ^ 1)),
        ("short", good[..19].to_vec()),
        ("cut", good[..32].to_vec()),
        ("many", many),
        ("a response", with(0, 1)),
        ("unknown method", with(1, 0x0F)),
        ("trailing bytes", [&good[..], &[0; 4]].concat()),
    ];
    for (what, bytes) in cases {
        assert_eq!(desk.feed(&from, &bytes), 0, "{what}");
    }
}
