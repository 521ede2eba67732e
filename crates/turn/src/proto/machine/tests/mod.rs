//! The machine as tables: a [`Desk`] has one machine, a pretended host and a clock that only the test moves.

mod abuse;
mod allocation;
mod credentials;
mod properties;
mod relaying;
mod rest;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{
    Action, Actions, FiveTuple, Host, Machine, Moment, OpenedRelay, RelayId, RelayRefusal, RelayWish, Settings, Shared, Transport,
};
use crate::proto::address::Family;
use crate::proto::attribute::*;
use crate::proto::credentials::{Authorize, StaticUsers};
use crate::proto::integrity::{ALGORITHMS, Algorithm, Integrity, Key, userhash};
use crate::proto::message::{Class, Message, Method, Writer};

pub(crate) const HOME: &str = "example.org";
pub(crate) const RELAY4: &str = "192.0.2.9";
pub(crate) const RELAY6: &str = "2001:db8::9";

/// Ports in sequence, random numbers from a counter.
pub(crate) struct PretendedHost {
    pub(crate) next_port: u16,
    pub(crate) has_v6: bool,
    pub(crate) full: bool,
    counter: u8,
    next_id: u32,
}

impl Host for PretendedHost {
    fn open_relay(&mut self, wish: RelayWish) -> Result<(OpenedRelay, Option<OpenedRelay>), RelayRefusal> {
        if wish.family == Family::V6 && !self.has_v6 {
            return Err(RelayRefusal::Family);
        }
        if self.full {
            return Err(RelayRefusal::Capacity);
        }
        if wish.even && !self.next_port.is_multiple_of(2) {
            self.next_port += 1;
        }
        let ip: IpAddr = if wish.family == Family::V4 { RELAY4 } else { RELAY6 }.parse().expect("ip");
        let mut open = || {
            let opened = OpenedRelay { id: RelayId(self.next_id), address: SocketAddr::new(ip, self.next_port) };
            self.next_id += 1;
            self.next_port += 1;
            opened
        };
        Ok((open(), wish.pair.then(open)))
    }

    fn random(&mut self, into: &mut [u8]) {
        for byte in into {
            self.counter = self.counter.wrapping_mul(5).wrapping_add(7);
            *byte = self.counter;
        }
    }
}

pub(crate) struct Desk {
    pub(crate) machine: Machine,
    pub(crate) host: PretendedHost,
    pub(crate) now: Moment,
    pub(crate) actions: Actions,
}

pub(crate) fn users() -> Arc<dyn Authorize> {
    let mut users = StaticUsers::new(HOME);
    users.add("alice", "secret");
    users.add("bob", "other");
    Arc::new(users)
}

pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings { realm: HOME.into(), ..Settings::default() };
    change(&mut settings);
    settings
}

pub(crate) fn desk(change: impl FnOnce(&mut Settings)) -> Desk {
    desk_with(settings(change), users())
}

pub(crate) fn desk_with(settings: Settings, authorize: Arc<dyn Authorize>) -> Desk {
    let relays = vec![RELAY4.parse().expect("ip"), RELAY6.parse().expect("ip")];
    let shared = Shared::new(&settings, authorize, relays, 2, 1);
    Desk {
        machine: Machine::new(Arc::new(settings), Arc::new(shared), 0, &[7; 32], [9; 12]),
        host: PretendedHost { next_port: 50_001, has_v6: true, full: false, counter: 1, next_id: 0 },
        now: Moment { millis: 1_000, unix: 1_700_000_000 },
        actions: Actions::default(),
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn path(client: &str, transport: Transport) -> FiveTuple {
    FiveTuple { transport, path: 1, client: address(client), server: address("192.0.2.1:3478") }
}

/// What an answer was, as text: `200`, `401`, nothing.
impl Desk {
    /// Feeds bytes and gives the code of the answer, 0 without one.
    pub(crate) fn feed(&mut self, from: &FiveTuple, bytes: &[u8]) -> u16 {
        self.actions.clear();
        self.machine.handle(self.now, from, bytes, &mut self.host, &mut self.actions);
        self.code()
    }

    pub(crate) fn code(&self) -> u16 {
        let Some(bytes) = self.reply_bytes() else { return 0 };
        let reply = Message::parse(bytes).expect("our own answers parse");
        match reply.class() {
            Class::Success => 200,
            _ => reply.find(ERROR_CODE).map_or(1, |value| u16::from(value[2]) * 100 + u16::from(value[3])),
        }
    }

    pub(crate) fn reply_bytes(&self) -> Option<&[u8]> {
        self.actions.list.iter().find_map(|action| match action {
            Action::Reply { bytes, .. } | Action::ReplyFrom { bytes, .. } => Some(&self.actions.bytes[bytes.clone()]),
            _ => None,
        })
    }

    pub(crate) fn reply(&self) -> Message<'_> {
        Message::parse(self.reply_bytes().expect("an answer")).expect("our own answers parse")
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now.millis += seconds * 1000;
        self.now.unix += seconds;
        self.actions.clear();
        self.machine.sweep(self.now, &mut self.actions);
    }
}

/// A client that knows its password and keeps the last nonce.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) path: FiveTuple,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) integrity: Integrity,
    pub(crate) hash_user: bool,
    pub(crate) nonce: Vec<u8>,
    pub(crate) realm: String,
    transaction: u8,
}

pub(crate) fn client(user: &'static str, password: &'static str, from: &str) -> Client {
    Client {
        path: path(from, Transport::Udp),
        user,
        password,
        algorithm: None,
        integrity: Integrity::Sha1,
        hash_user: false,
        nonce: Vec::new(),
        realm: HOME.into(),
        transaction: 0,
    }
}

pub(crate) fn alice() -> Client {
    client("alice", "secret", "198.51.100.1:1000")
}

impl Client {
    pub(crate) fn over(mut self, transport: Transport) -> Self {
        self.path.transport = transport;
        self
    }

    /// A signed request.
    pub(crate) fn request(&mut self, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        self.transaction = self.transaction.wrapping_add(1);
        self.repeat(method, fill)
    }

    /// The same with the last transaction id.
    pub(crate) fn repeat(&self, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Class::Request, method, [self.transaction; 12]);
        fill(&mut writer);
        if self.hash_user {
            writer.attribute(USERHASH, &userhash(self.user, &self.realm));
        } else {
            writer.attribute(USERNAME, self.user.as_bytes());
        }
        writer.attribute(REALM, self.realm.as_bytes()).attribute(NONCE, &self.nonce);
        if let Some(algorithm) = self.algorithm {
            let [high, low] = algorithm.number().to_be_bytes();
            writer.attribute(PASSWORD_ALGORITHMS, &ALGORITHMS).attribute(PASSWORD_ALGORITHM, &[high, low, 0, 0]);
        }
        writer.sign(self.integrity, &self.key());
        bytes
    }

    pub(crate) fn key(&self) -> Key {
        Key::long_term(self.algorithm.unwrap_or(Algorithm::Md5), self.user, &self.realm, self.password)
    }

    /// Sends a request; on 401 or 438 takes the nonce and sends it again.
    pub(crate) fn ask(&mut self, desk: &mut Desk, method: Method, fill: impl Fn(&mut Writer<'_>)) -> u16 {
        for _ in 0..2 {
            let bytes = self.request(method, &fill);
            let code = desk.feed(&self.path, &bytes);
            match code {
                401 | 438 if desk.reply().find(NONCE).is_some_and(|nonce| *nonce != *self.nonce) => {
                    self.nonce = desk.reply().find(NONCE).expect("checked").to_vec();
                }
                other => return other,
            }
        }
        desk.code()
    }

    pub(crate) fn allocate(&mut self, desk: &mut Desk) -> SocketAddr {
        assert_eq!(self.ask(desk, Method::Allocate, udp), 200);
        desk.reply().address(XOR_RELAYED_ADDRESS).expect("a relayed address")
    }

    pub(crate) fn permit(&mut self, desk: &mut Desk, peer: &str) -> u16 {
        self.ask(desk, Method::CreatePermission, |writer| {
            writer.xor_address(XOR_PEER_ADDRESS, address(peer));
        })
    }

    pub(crate) fn bind(&mut self, desk: &mut Desk, number: u16, peer: &str) -> u16 {
        self.ask(desk, Method::ChannelBind, |writer| {
            writer.number(CHANNEL_NUMBER, u32::from(number) << 16).xor_address(XOR_PEER_ADDRESS, address(peer));
        })
    }
}

pub(crate) fn udp(writer: &mut Writer<'_>) {
    writer.number(REQUESTED_TRANSPORT, 17 << 24);
}

pub(crate) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    [&number.to_be_bytes()[..], &length.to_be_bytes(), payload].concat()
}

pub(crate) fn send(peer: &str, payload: &[u8], fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Class::Indication, Method::Send, [3; 12]);
    writer.xor_address(XOR_PEER_ADDRESS, address(peer));
    fill(&mut writer);
    writer.attribute(DATA, payload);
    bytes
}
