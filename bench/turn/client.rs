//! A small TURN client: allocate, bind one channel.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use omnivox_turn::proto::attribute;
use omnivox_turn::proto::integrity::{Algorithm, Integrity, Key};
use omnivox_turn::proto::message::{Class, Message, Method, Writer};

use crate::Outcome;

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const REALM: &str = "omnivox";
pub(crate) const CHANNEL: u16 = 0x4000;

pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    pub(crate) relayed: SocketAddr,
    server: SocketAddr,
    nonce: Vec<u8>,
    realm: String,
    transaction: u32,
}

impl Client {
    pub(crate) fn allocate(server: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut client = Self { socket, relayed: server, server, nonce: Vec::new(), realm: REALM.into(), transaction: 1 };
        let reply = client.ask(Method::Allocate, |writer| {
            writer.number(attribute::REQUESTED_TRANSPORT, 17 << 24);
        })?;
        client.relayed = Message::parse(&reply)?.address(attribute::XOR_RELAYED_ADDRESS).ok_or("no relayed address")?;
        Ok(client)
    }

    pub(crate) fn bind(&mut self, peer: SocketAddr) -> Outcome<()> {
        let channel = u32::from(CHANNEL) << 16;
        self.ask(Method::CreatePermission, |writer| {
            writer.xor_address(attribute::XOR_PEER_ADDRESS, peer);
        })?;
        self.ask(Method::ChannelBind, |writer| {
            writer.number(attribute::CHANNEL_NUMBER, channel).xor_address(attribute::XOR_PEER_ADDRESS, peer);
        })?;
        Ok(())
    }

    /// Asks until there is a success; answers 401 and 438 by using their nonce.
    fn ask(&mut self, method: Method, fill: impl Fn(&mut Writer<'_>)) -> Outcome<Vec<u8>> {
        for _ in 0..5 {
            self.transaction += 1;
            let mut transaction = [0; 12];
            transaction[..4].copy_from_slice(&self.transaction.to_be_bytes());
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes, Class::Request, method, transaction);
            fill(&mut writer);
            if !self.nonce.is_empty() {
                writer.attribute(attribute::USERNAME, USER.as_bytes()).attribute(attribute::REALM, self.realm.as_bytes());
                writer.attribute(attribute::NONCE, &self.nonce);
                writer.sign(Integrity::Sha1, &Key::long_term(Algorithm::Md5, USER, &self.realm, PASSWORD));
            }
            self.socket.send(&bytes)?;
            let mut reply = vec![0; 2048];
            let Ok(length) = self.socket.recv(&mut reply) else { continue };
            reply.truncate(length);
            let message = Message::parse(&reply)?;
            if message.class() == Class::Success {
                return Ok(reply);
            }
            let code = message.find(attribute::ERROR_CODE).map(|value| u16::from(value[2]) * 100 + u16::from(value[3]));
            match (code, message.find(attribute::NONCE)) {
                (Some(401 | 438), Some(nonce)) => {
                    self.nonce = nonce.to_vec();
                    self.realm = message.text(attribute::REALM).unwrap_or(REALM).to_owned();
                }
                _ => return Err(format!("{method:?} of {} got {code:?}", self.server).into()),
            }
        }
        Err(format!("{method:?}: no answer from {}", self.server).into())
    }
}
