//! The load: a fixed rate of ChannelData, round robin over the clients, with the time of sending in each packet.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::client::{CHANNEL, Client};
use crate::servers::{Kind, Server};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) seconds: u64,
    /// Packets per second that clients send, all together.
    pub(crate) rate: u64,
    pub(crate) clients: usize,
    /// Payload of each.
    pub(crate) bytes: usize,
    /// Packets that one client sends in a row, as a video frame is.
    pub(crate) burst: u64,
    /// Relay threads of this relay and of coturn; zero is each one's default.
    pub(crate) workers: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    sent: u64,
    relayed: u64,
    lost: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_us, p50_us, p99_us, sent, relayed, lost } = self;
        write!(
            formatter,
            "{cpu_us:6.2} us/packet  p50 {p50_us:7.0} us  p99 {p99_us:8.0} us  sent {sent}  relayed {relayed}  lost {lost:.2} %"
        )
    }
}

const PEER: Token = Token(usize::MAX);

struct Field {
    poll: Poll,
    clients: Vec<UdpSocket>,
    peer: UdpSocket,
    start: Instant,
    packet: Vec<u8>,
    buffer: Vec<u8>,
    arrived: u64,
    echoed: u64,
    latencies: Vec<u32>,
}

/// Connected sockets of clients that have their channel; for the forwarder just sockets.
fn prepare(server: &Server, to_peer: bool, clients: usize) -> Outcome<Vec<std::net::UdpSocket>> {
    if server.kind == Kind::Forwarder {
        let connect = |_| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(server.address)?;
            // It pairs clients in the order in which they appear.
            socket.send(b"hello")?;
            std::thread::sleep(Duration::from_millis(1));
            Ok(socket)
        };
        return (0..clients).map(connect).collect();
    }
    let mut all = (0..clients).map(|_| Client::allocate(server.address)).collect::<Outcome<Vec<_>>>()?;
    let peer = server.peer.local_addr()?;
    let partners: Vec<SocketAddr> = if to_peer { vec![peer; clients] } else { (0..clients).map(|place| all[place ^ 1].relayed).collect() };
    for (client, partner) in all.iter_mut().zip(partners) {
        client.bind(partner)?;
    }
    Ok(all.into_iter().map(|client| client.socket).collect())
}

pub(crate) fn measure(server: &Server, to_peer: bool, shape: Shape) -> Outcome<Figures> {
    let sockets = prepare(server, to_peer, shape.clients & !1)?;
    let poll = Poll::new()?;
    let adopt = |socket: std::net::UdpSocket| -> Outcome<UdpSocket> {
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket))
    };
    let mut clients = sockets.into_iter().map(adopt).collect::<Outcome<Vec<_>>>()?;
    for (place, client) in clients.iter_mut().enumerate() {
        poll.registry().register(client, Token(place), Interest::READABLE)?;
    }
    let mut peer = adopt(server.peer.try_clone()?)?;
    poll.registry().register(&mut peer, PEER, Interest::READABLE)?;
    let mut packet = [&CHANNEL.to_be_bytes()[..], &u16::try_from(shape.bytes)?.to_be_bytes()].concat();
    packet.resize(4 + shape.bytes.max(8), 0x55);
    let buffer = vec![0; 4096];
    let mut field = Field { poll, clients, peer, start: Instant::now(), packet, buffer, arrived: 0, echoed: 0, latencies: Vec::new() };
    field.run(Duration::from_millis(500), shape)?;
    (field.arrived, field.echoed) = (0, 0);
    field.latencies.clear();
    let before = server.cpu_us()?;
    let sent = field.run(Duration::from_secs(shape.seconds), shape)?;
    let cpu = server.cpu_us()? - before;
    Ok(field.figures(cpu, sent))
}

impl Field {
    /// Sends at the wished rate for a while and takes what arrives.
    fn run(&mut self, duration: Duration, shape: Shape) -> Outcome<u64> {
        let begun = Instant::now();
        let mut events = Events::with_capacity(1024);
        let mut sent = 0_u64;
        while begun.elapsed() < duration {
            let due = u64::try_from(begun.elapsed().as_micros())? * shape.rate / 1_000_000;
            // After a pause that the machine made, the backlog is not sent at once.
            sent = sent.max(due.saturating_sub(256));
            while sent < due {
                let place = usize::try_from(sent / shape.burst)? % self.clients.len();
                self.stamp();
                let _ = self.clients[place].send(&self.packet);
                sent += 1;
            }
            self.poll.poll(&mut events, Some(Duration::from_micros(500)))?;
            for event in &events {
                self.take(event.token());
            }
        }
        Ok(sent)
    }

    fn stamp(&mut self) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(0);
        self.packet[4..12].copy_from_slice(&nanos.to_be_bytes());
    }

    fn take(&mut self, token: Token) {
        if token == PEER {
            while let Ok((length, from)) = self.peer.recv_from(&mut self.buffer) {
                self.echoed += 1;
                let _ = self.peer.send_to(&self.buffer[..length], from);
            }
            return;
        }
        while let Ok(length) = self.clients[token.0].recv(&mut self.buffer) {
            self.arrived += 1;
            let Some(nanos) = self.buffer[..length].get(4..12).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) else { continue };
            let passed = self.start.elapsed().as_nanos().saturating_sub(u128::from(u64::from_be_bytes(nanos)));
            self.latencies.push(u32::try_from(passed / 1000).unwrap_or(u32::MAX));
        }
    }

    fn figures(&mut self, cpu: f64, sent: u64) -> Figures {
        self.latencies.sort_unstable();
        let quantile = |of: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the list")]
            let place = (self.latencies.len() as f64 * of) as usize;
            self.latencies.get(place).copied().map_or(0.0, f64::from)
        };
        let relayed = self.arrived + self.echoed;
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let (packets, arrived, wanted) = (relayed.max(1) as f64, self.arrived as f64, sent.max(1) as f64);
        let lost = (100.0 - 100.0 * arrived / wanted).max(0.0);
        Figures { cpu_us: cpu / packets, p50_us: quantile(0.5), p99_us: quantile(0.99), sent, relayed, lost }
    }
}
