//! Floods: many clients that want nothing but to be in the way.
//!
//! | flood | each client |
//! | --- | --- |
//! | `slow-heads` | begins a request and sends a byte of its head a second |
//! | `handshakes` | begins a TLS handshake and says no more |
//! | `bombs` | sends a WebSocket message of 60 KB that unpacks to 60 MB, and comes again when it is closed |
//! | `key-sets` | shows a token of a key that nobody knows, one request behind the other |
//!
//! One thread looks after all of them, in turn; who is closed comes again.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use mio::net::TcpStream;
use serde::Serialize;

use crate::sockets;

/// What kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flood {
    /// Request heads that never end.
    SlowHeads,
    /// TLS handshakes that never go on.
    Handshakes,
    /// WebSocket messages that unpack to a thousand times their size.
    Bombs,
    /// Tokens whose keys nobody knows.
    KeySets,
}

impl Flood {
    pub(crate) const ALL: [Self; 4] = [Self::SlowHeads, Self::Handshakes, Self::Bombs, Self::KeySets];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SlowHeads => "slow heads",
            Self::Handshakes => "half-open handshakes",
            Self::Bombs => "compression bombs",
            Self::KeySets => "unknown keys",
        }
    }

    /// How many clients.
    fn clients(self) -> usize {
        match self {
            Self::SlowHeads => 3_000,
            Self::Handshakes => 10_000,
            Self::Bombs => 10,
            Self::KeySets => 5,
        }
    }

    /// How long until a client has its next turn.
    fn every(self) -> Duration {
        match self {
            Self::SlowHeads | Self::Handshakes => Duration::from_secs(1),
            Self::Bombs | Self::KeySets => TICK,
        }
    }

    /// How the sink meets it, so that as much goes *elsewhere* as to a server with default limits.
    pub(crate) fn sink_options(self) -> &'static [&'static str] {
        match self {
            Self::SlowHeads => &[],
            // `limits.handshakes_max`
            Self::Handshakes => &["--keep", "4000"],
            // Closed by the first bomb.
            Self::Bombs => &["--answer", "--most", "60000"],
            Self::KeySets => &["--answer"],
        }
    }

    /// Whether it is for the TLS address.
    pub(crate) fn wants_tls(self) -> bool {
        self == Self::Handshakes
    }
}

/// What a flood has done so far.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) opened: AtomicU64,
    /// Closed by the server.
    pub(crate) closed: AtomicU64,
    /// Messages or requests that were sent whole.
    pub(crate) sent: AtomicU64,
}

/// A flood that goes on until this value is dropped.
pub(crate) struct Going {
    pub(crate) count: Arc<Count>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Going {
    /// Begins a flood, and waits until its clients have come once.
    pub(crate) fn begin(flood: Flood, address: SocketAddr) -> Result<Self> {
        let (count, stop) = (Arc::<Count>::default(), Arc::<AtomicBool>::default());
        let mut crowd = Crowd::new(flood, address, count.clone())?;
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                crowd.turn();
            }
        });
        let going = Self { count, stop, thread: Some(thread) };
        let begun = Instant::now();
        while going.count.opened.load(Ordering::Relaxed) < flood.clients() as u64 && begun.elapsed() < PATIENCE {
            thread::sleep(TICK);
        }
        Ok(going)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A flood's thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

struct Crowd {
    flood: Flood,
    address: SocketAddr,
    count: Arc<Count>,
    clients: Vec<Client>,
    /// Whose turn is next.
    next: usize,
    frame: Vec<u8>,
    serial: u64,
}

#[derive(Default)]
struct Client {
    stream: Option<TcpStream>,
    /// What it still has to send.
    outbox: Vec<u8>,
    stage: usize,
}

impl Crowd {
    fn new(flood: Flood, address: SocketAddr, count: Arc<Count>) -> Result<Self> {
        let clients = (0..flood.clients()).map(|_| Client::default()).collect();
        let frame = if flood == Flood::Bombs { bomb()? } else { Vec::new() };
        Ok(Self { flood, address, count, clients, next: 0, frame, serial: u64::from(std::process::id()) << 32 })
    }

    /// Gives so many clients their turn that all have one in the flood's time, and rests.
    fn turn(&mut self) {
        let due = (self.clients.len() as u128 * TICK.as_nanos()).div_ceil(self.flood.every().as_nanos());
        for _ in 0..due {
            let at = self.next;
            self.next = (at + 1) % self.clients.len();
            self.visit(at);
        }
        thread::sleep(TICK);
    }

    fn visit(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(stream) = &mut client.stream else {
            // Where the machine has no port or file for one more, the flood is that much smaller.
            let Ok(stream) = sockets::connect(self.address) else { return };
            self.count.opened.fetch_add(1, Ordering::Relaxed);
            *client = Client { stream: Some(stream), outbox: opening(self.flood), stage: 0 };
            return;
        };
        let mut scratch = [0; 4096];
        let mut heard = 0;
        loop {
            match stream.read(&mut scratch) {
                Ok(0) => return self.closed(at),
                Ok(length) => heard += length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.closed(at),
            }
        }
        if client.outbox.is_empty() {
            match self.flood {
                Flood::SlowHeads => client.outbox.push(b'a'),
                Flood::Handshakes => {}
                Flood::Bombs if heard > 0 && client.stage == 0 => {
                    client.stage = 1;
                    client.outbox.extend_from_slice(&self.frame);
                    self.count.sent.fetch_add(1, Ordering::Relaxed);
                }
                Flood::Bombs => {}
                Flood::KeySets if heard > 0 || client.stage == 0 => {
                    client.stage = 1;
                    self.serial += 1;
                    client.outbox = unknown_key(self.serial);
                    self.count.sent.fetch_add(1, Ordering::Relaxed);
                }
                Flood::KeySets => {}
            }
        }
        match stream.write(&client.outbox) {
            Ok(length) => drop(client.outbox.drain(..length)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted) => {}
            Err(_) => self.closed(at),
        }
    }

    fn closed(&mut self, at: usize) {
        self.count.closed.fetch_add(1, Ordering::Relaxed);
        self.clients[at].stream = None;
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.clients.iter().filter_map(|client| client.stream.as_ref()).for_each(sockets::reset_on_close);
    }
}

/// What a client of the flood begins with.
fn opening(flood: Flood) -> Vec<u8> {
    match flood {
        Flood::SlowHeads => b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_vec(),
        // The first bytes of a ClientHello of 512 bytes.
        Flood::Handshakes => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        Flood::Bombs => b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
            x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            .to_vec(),
        Flood::KeySets => Vec::new(),
    }
}

/// A whole compressed text message, masked with zeroes, that unpacks to a thousand times its size.
fn bomb() -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let zeroes = vec![0; 1 << 20];
    for _ in 0..BOMB_MIB {
        encoder.write_all(&zeroes).context("a bomb")?;
    }
    let packed = encoder.finish().context("a bomb")?;
    let packed = &packed[..packed.len().min(60_000)];
    let mut frame = vec![0xc1, 0x80 | 126];
    frame.extend_from_slice(&u16::try_from(packed.len()).context("60,000 bytes fit")?.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(packed);
    Ok(frame)
}

/// A request with a token that looks right but for its key.
fn unknown_key(serial: u64) -> Vec<u8> {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(&format!(r#"{{"alg":"ES256","kid":"nobody-{serial}","typ":"JWT"}}"#));
    let claims = part(r#"{"sub":"flood","exp":4102444800}"#);
    let signature = URL_SAFE_NO_PAD.encode([7; 64]);
    format!("GET /v1/history?channel=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {header}.{claims}.{signature}\r\n\r\n")
        .into_bytes()
}

/// The pause between two turns.
const TICK: Duration = Duration::from_millis(10);
/// How long a flood may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
const BOMB_MIB: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_a_frame_that_unpacks_to_a_thousand_times_its_size() {
        let frame = bomb().expect("a bomb");
        assert_eq!(frame.len(), 8 + usize::from(u16::from_be_bytes([frame[2], frame[3]])));
        let mut unpacked = 0;
        let mut decoder = flate2::read::DeflateDecoder::new(&frame[8..]);
        let mut scratch = vec![0; 1 << 20];
        while let Ok(length @ 1..) = decoder.read(&mut scratch) {
            unpacked += length;
        }
        assert!(unpacked > 900 * frame.len(), "{unpacked} of {}", frame.len());
    }
}
