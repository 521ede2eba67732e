//! Bodies of the fuzz targets `turn_message` and `turn_machine`; the property tests run them too, so they always compile.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::credentials::{Authorize, Claim, Grant, Refusal};
use crate::proto::address::Family;
use crate::proto::attribute;
use crate::proto::integrity::{Integrity, Key};
use crate::proto::machine::{
    Action, Actions, Connection, FiveTuple, Host, Icmp, Machine, Moment, OpenedRelay, RelayId, RelayRefusal, RelayWish, Settings, Shared,
    Transport,
};
use crate::proto::message::{Class, Message, Method, Writer};
use crate::proto::nonce::{Features, NonceKeys};

/// Parses bytes and looks at all that a message can be asked.
pub fn message(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    for kind in [attribute::XOR_PEER_ADDRESS, attribute::USERNAME, attribute::DATA, attribute::LIFETIME] {
        let _ = (message.address(kind), message.text(kind), message.number(kind));
        if let Some(range) = message.range(kind) {
            assert_eq!(message.find(kind), bytes.get(range));
        }
    }
    assert!(message.unknown(&[]).all(|kind| kind < 0x8000));
    assert!(!message.verify(&Key::short_term("nobody has this key")) || message.integrity().is_some());
}

/// Everyone who signs with this key gets in.
struct Everyone;

fn everyone_s_key() -> Key {
    Key::short_term("k")
}

impl Authorize for Everyone {
    fn authorize(&self, _: &Claim<'_>) -> Result<Grant, Refusal> {
        Ok(Grant {
            keys: [everyone_s_key()].into_iter().collect(),
            credential: "u".into(),
            holder: "u".into(),
            user: "u".into(),
            app: None,
            room: None,
            expires_unix: None,
            ends_unix: None,
            limits: Default::default(),
        })
    }
}

struct FuzzHost {
    next: u32,
    counter: u8,
}

impl Host for FuzzHost {
    fn open_relay(&mut self, wish: RelayWish) -> Result<(OpenedRelay, Option<OpenedRelay>), RelayRefusal> {
        let mut open = || {
            self.next += 1;
            let ip = if wish.family == Family::V4 { [192, 0, 2, 9].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into() };
            let port = u16::try_from(self.next % 16_000).expect("below 16,000") + 49_152;
            OpenedRelay { id: RelayId(self.next), address: SocketAddr::new(ip, port) }
        };
        Ok((open(), wish.pair.then(open)))
    }

    fn random(&mut self, into: &mut [u8]) {
        for byte in into {
            self.counter = self.counter.wrapping_mul(13).wrapping_add(5);
            *byte = self.counter;
        }
    }
}

/// Plays a story that the bytes tell: signed and broken requests, data, peers, time. Afterwards everything has ended and
/// every relay that was opened was closed once.
pub fn machine(story: &[u8]) {
    let mut settings = Settings { tcp_relay: true, mobility: true, ..Settings::default() };
    settings.unauthenticated.per_second = 0;
    settings.peers.allow("192.0.2.0/24".parse().expect("a range"));
    let relays = vec![[192, 0, 2, 9].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into()];
    let shared = Arc::new(Shared::new(&settings, Arc::new(Everyone), relays, 2, 1));
    let mut machine = Machine::new(Arc::new(settings), Arc::clone(&shared), 0, &[7; 32], [0; 12]);
    let (mut host, mut actions) = (FuzzHost { next: 0, counter: 1 }, Actions::default());
    let mut now = Moment { millis: 1, unix: 1_700_000_000 };
    let mut closed = Vec::new();
    let mut connections: Vec<Connection> = Vec::new();
    let mut rest = story;
    while let [step, argument, tail @ ..] = rest {
        rest = tail;
        let take = usize::from(argument & 0x3F).min(rest.len());
        let bytes = &rest[..take];
        let from = path(*argument);
        match step % 8 {
            0 => machine.handle(now, &from, bytes, &mut host, &mut actions),
            1..=3 => {
                rest = &rest[take..];
                let request = request(step >> 3, bytes, now, &from);
                machine.handle(now, &from, &request, &mut host, &mut actions);
            }
            4 => machine.peer_datagram(now, RelayId(u32::from(*step >> 4)), peer(*argument), usize::from(*argument) * 300, &mut actions),
            5 => {
                now.millis += u64::from(*argument) * 2_000;
                now.unix += u64::from(*argument) * 2;
                machine.sweep(now, &mut actions);
            }
            6 => match connections.pop() {
                Some(connection) if step & 8 == 0 => machine.connected(now, connection, argument & 1 == 0, &mut actions),
                Some(connection) => machine.peer_gone(connection, &mut actions),
                None => drop(machine.incoming(now, RelayId(u32::from(*step >> 4)), peer(*argument), &mut host, &mut actions)),
            },
            _ => match step >> 6 {
                0 => machine.client_gone(now, &from, &mut actions),
                1 => machine.icmp(now, RelayId(1), peer(*argument), Icmp { kind: 3, code: *argument, data: 0 }, &mut actions),
                _ => {
                    let data = [&[0x40, *argument & 3, 0, 1, 0][..]].concat();
                    machine.handle(now, &from, &data, &mut host, &mut actions);
                }
            },
        }
        note(&mut actions, &mut closed, &mut connections);
    }
    now.millis += 10_000_000;
    machine.sweep(now, &mut actions);
    note(&mut actions, &mut closed, &mut connections);
    assert_eq!((machine.allocations(), shared.ledger.total()), (0, 0), "everything ends");
    closed.sort_unstable();
    assert_eq!(closed, (1..=host.next).map(RelayId).collect::<Vec<_>>(), "every relay is closed once");
}

fn note(actions: &mut Actions, closed: &mut Vec<RelayId>, connections: &mut Vec<Connection>) {
    for action in &actions.list {
        match action {
            Action::CloseRelay(relay) => closed.push(*relay),
            Action::Connect { connection, .. } => connections.push(*connection),
            Action::Reply { bytes, .. } | Action::ReplyFrom { bytes, .. } => {
                Message::parse(&actions.bytes[bytes.clone()]).expect("our own answers parse");
            }
            _ => {}
        }
    }
    actions.clear();
}

fn path(argument: u8) -> FiveTuple {
    let transport = if argument & 0x40 == 0 { Transport::Udp } else { Transport::Tcp };
    let client = SocketAddr::from(([198, 51, 100, argument & 3], 1000));
    FiveTuple { transport, path: 0, client, server: SocketAddr::from(([192, 0, 2, 1], 3478)) }
}

fn peer(argument: u8) -> SocketAddr {
    match argument & 7 {
        0 => SocketAddr::from(([0x2606, 0, 0, 0, 0, 0, 0, 1], 9)),
        low @ 1..=3 => SocketAddr::from(([192, 0, 2, 9], 49_152 + u16::from(low))),
        low => SocketAddr::from(([8, 8, 8, low], 9)),
    }
}

/// A rightly signed request of some method, with attributes that the bytes choose.
fn request(kind: u8, bytes: &[u8], now: Moment, from: &FiveTuple) -> Vec<u8> {
    let methods = [
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
        Method::Connect,
        Method::ConnectionBind,
        Method::Binding,
        Method::Allocate,
    ];
    let class = if kind & 16 == 0 { Class::Request } else { Class::Indication };
    let method = if class == Class::Indication { Method::Send } else { methods[usize::from(kind & 7)] };
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, class, method, [bytes.first().copied().unwrap_or(0); 12]);
    for pair in bytes.chunks_exact(2) {
        let value = pair[1];
        match pair[0] % 12 {
            0 | 1 => writer.number(attribute::REQUESTED_TRANSPORT, if value & 0x40 == 0 { 17 << 24 } else { 6 << 24 }),
            2 | 3 => writer.xor_address(attribute::XOR_PEER_ADDRESS, peer(value)),
            4 => writer.number(attribute::LIFETIME, u32::from(value & 3) * 500),
            5 => writer.number(attribute::CHANNEL_NUMBER, (0x4000 + u32::from(value & 3)) << 16),
            6 => writer.attribute(attribute::EVEN_PORT, &[value]),
            7 => writer.attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &[value & 3, 0, 0, 0]),
            8 => writer.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[value & 3, 0, 0, 0]),
            9 => writer.attribute(attribute::MOBILITY_TICKET, &[]),
            10 => writer.attribute(attribute::DATA, &[value; 5]),
            _ => writer.attribute(u16::from(value), &[]),
        };
    }
    if class == Class::Request {
        let mut nonce = Vec::new();
        NonceKeys::new(&[7; 32]).issue(Features::default(), from.client, now.unix, &mut nonce);
        writer.attribute(attribute::USERNAME, b"u").attribute(attribute::REALM, b"omnivox").attribute(attribute::NONCE, &nonce);
        writer.sign(Integrity::Sha1, &everyone_s_key());
    }
    out
}
