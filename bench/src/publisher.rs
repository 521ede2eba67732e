//! Publishes numbered messages over one connection, at a rate or as fast as deliveries come back.
//!
//! At a rate, message n is due at start + n / rate and carries that time; a publisher that is late sends all that is due at once, and its own lateness is
//! reported beside the latencies. At saturation it writes a burst, waits until all subscribers have all of it, and writes the next: bursts never merge, so
//! that "everything that is due" is the same for every server, and no outbox overflows.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::clock::Clock;
use crate::latency::Latency;
use crate::payload::{excerpt, write_data, write_publish, write_update};
use crate::talk::{Head, Heard, Opcode, Purpose, Talk, Transport, write_emit, write_masked};

/// How fast to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Messages per second.
    Rate(f64),
    /// Messages in one write, the next ones when all of these are delivered.
    Bursts(u64),
}

/// How much to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    Time(Duration),
    Messages(u64),
}

/// Where to publish what.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Channels, used in turn, each with its number of subscribers.
    pub(crate) channels: Vec<(String, u64)>,
    /// Bytes of the data object.
    pub(crate) size: usize,
    /// How it is published.
    pub(crate) door: Door,
}

/// How messages are published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Door {
    /// On a WebSocket of the native protocol.
    #[default]
    Native,
    /// By POST to a Mercure hub, one request behind the other on one connection, with a token when there is one.
    Mercure { token: Option<String> },
    /// By `publish` events of Socket.IO, on a WebSocket.
    SocketIo,
}

impl Door {
    /// What the connection speaks, unless it is plain requests.
    fn transport(&self) -> Option<Transport> {
        match self {
            Self::Native => Some(Transport::Ws),
            Self::Mercure { .. } => None,
            Self::SocketIo => Some(Transport::SocketIo),
        }
    }
}

/// What has been published: the last number per channel, and how many deliveries that makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) last: Vec<u64>,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
}

/// Shared between the publisher's thread and the subscribers' thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Deliveries seen.
    pub(crate) delivered: AtomicU64,
    /// Messages published.
    pub(crate) published: AtomicU64,
    /// Publish nothing more.
    pub(crate) stop: AtomicBool,
}

/// A connection that publishes.
pub(crate) struct Publisher {
    stream: Arc<Mutex<TcpStream>>,
    host: String,
    fault: Arc<OnceLock<String>>,
    reader: Option<JoinHandle<()>>,
    clock: Clock,
    plan: Plan,
    done: Published,
    lateness: Latency,
}

impl Publisher {
    pub(crate) fn connect(address: SocketAddr, clock: Clock, plan: Plan) -> Result<Self> {
        let mut stream = TcpStream::connect(address).context("the publisher's connection")?;
        stream.set_nodelay(true)?;
        let host = address.to_string();
        let talk = match plan.door.transport() {
            None => None,
            Some(transport) => {
                let mut head = Vec::new();
                let mut talk = Talk::open(transport, &host, Purpose::Publish, &mut head);
                stream.write_all(&head)?;
                await_handshake(&mut stream, &mut talk).context("the publisher's connection")?;
                Some(talk)
            }
        };
        let reading = stream.try_clone()?;
        let stream = Arc::new(Mutex::new(stream));
        let fault = Arc::new(OnceLock::new());
        let reader = thread::spawn({
            let (stream, fault) = (Arc::clone(&stream), Arc::clone(&fault));
            move || {
                let outcome = match talk {
                    Some(talk) => read_answers(reading, talk, &stream),
                    None => read_responses(reading),
                };
                if let Err(error) = outcome {
                    // The first fault is the one to tell; there is only this writer.
                    let _ = fault.set(format!("{error:#}"));
                }
            }
        });
        let done = Published { last: vec![0; plan.channels.len()], ..Published::default() };
        Ok(Self { stream, host, fault, reader: Some(reader), clock, plan, done, lateness: Latency::new() })
    }

    /// Publishes; blocks until all is written.
    pub(crate) fn run(&mut self, pace: Pace, extent: Extent, progress: &Progress) -> Result<()> {
        self.lateness = Latency::new();
        match pace {
            Pace::Rate(rate) => self.run_at_rate(rate, extent, progress),
            Pace::Bursts(burst) => self.run_in_bursts(burst, extent, progress),
        }
    }

    /// All that was published since the connection began.
    pub(crate) fn published(&self) -> &Published {
        &self.done
    }

    /// How late the messages of the last run left, by their schedule.
    pub(crate) fn lateness(&self) -> &Latency {
        &self.lateness
    }

    fn run_at_rate(&mut self, rate: f64, extent: Extent, progress: &Progress) -> Result<()> {
        ensure!(rate > 0.0, "a rate must be greater than zero");
        let total = match extent {
            Extent::Time(time) => (rate * time.as_secs_f64()).ceil() as u64,
            Extent::Messages(count) => count,
        };
        let start_ns = self.clock.now_ns();
        let due_ns = |number: u64| start_ns + (number as f64 * 1e9 / rate) as u64;
        let mut frames = Vec::new();
        let mut sent = 0;
        while sent < total && !progress.stop.load(Ordering::Acquire) {
            thread::sleep(self.clock.until(due_ns(sent)));
            let now_ns = self.clock.now_ns();
            while sent < total && due_ns(sent) <= now_ns && frames.len() < BATCH_BYTES {
                self.lateness.record(now_ns - due_ns(sent));
                self.compose(due_ns(sent), &mut frames);
                sent += 1;
            }
            self.write(&mut frames, progress)?;
        }
        Ok(())
    }

    fn run_in_bursts(&mut self, burst: u64, extent: Extent, progress: &Progress) -> Result<()> {
        let begun_ns = self.clock.now_ns();
        let begun_messages = self.done.messages;
        let mut frames = Vec::new();
        loop {
            let published = self.done.messages - begun_messages;
            let left = match extent {
                Extent::Time(time) if self.clock.now_ns() - begun_ns >= nanoseconds(time) => 0,
                Extent::Time(_) => burst,
                Extent::Messages(count) => count.saturating_sub(published).min(burst),
            };
            if left == 0 || progress.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            if progress.delivered.load(Ordering::Acquire) < self.done.deliveries {
                self.check_fault()?;
                thread::park_timeout(Duration::from_millis(5));
                continue;
            }
            for _ in 0..left {
                let now_ns = self.clock.now_ns();
                self.compose(now_ns, &mut frames);
            }
            self.write(&mut frames, progress)?;
        }
    }

    fn compose(&mut self, sent_ns: u64, frames: &mut Vec<u8>) {
        let at = (self.done.messages % self.plan.channels.len() as u64) as usize;
        let (channel, subscribers) = &self.plan.channels[at];
        self.done.last[at] += 1;
        self.done.messages += 1;
        self.done.deliveries += subscribers;
        let mut text = Vec::with_capacity(self.plan.size + 128);
        match &self.plan.door {
            Door::Native => {
                write_publish(&mut text, channel, self.done.last[at], sent_ns, self.plan.size);
                write_masked(frames, Opcode::Text, &text);
            }
            Door::Mercure { token } => {
                write_data(&mut text, self.done.last[at], sent_ns, self.plan.size);
                write_update(frames, &self.host, token.as_deref(), channel, &text);
            }
            Door::SocketIo => {
                write_data(&mut text, self.done.last[at], sent_ns, self.plan.size);
                write_emit(frames, channel, &text);
            }
        }
    }

    fn write(&self, frames: &mut Vec<u8>, progress: &Progress) -> Result<()> {
        self.check_fault()?;
        // Told before the write: a subscriber may have the message before write() returns.
        progress.published.store(self.done.messages, Ordering::Release);
        let mut stream = self.stream.lock().expect("nobody panics while writing");
        stream.write_all(frames).context("publishing")?;
        frames.clear();
        Ok(())
    }

    fn check_fault(&self) -> Result<()> {
        match self.fault.get() {
            Some(fault) => bail!("the publisher's connection: {fault}"),
            None => Ok(()),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Ok(stream) = self.stream.lock() {
            // Wakes the reader; a connection that is gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn await_handshake(stream: &mut TcpStream, talk: &mut Talk) -> Result<()> {
    let mut bytes = [0; 4096];
    let mut send = Vec::new();
    let mut open = false;
    while !open {
        let length = stream.read(&mut bytes)?;
        ensure!(length > 0, "the server closed it");
        talk.feed(&bytes[..length], &mut send, &mut |heard| {
            open |= heard == Heard::Subscribed;
            Ok(())
        })?;
        stream.write_all(&send)?;
        send.clear();
    }
    Ok(())
}

/// Reads acknowledgements, which nobody waits for, and answers pings, until the connection ends. An error message of the server ends it at once.
fn read_answers(mut reading: TcpStream, mut talk: Talk, writing: &Mutex<TcpStream>) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    let mut send = Vec::new();
    loop {
        let length = reading.read(&mut bytes)?;
        ensure!(length > 0, "the server closed it");
        talk.feed(&bytes[..length], &mut send, &mut |_| Ok(()))?;
        if !send.is_empty() {
            let mut stream = writing.lock().expect("nobody panics while writing");
            stream.write_all(&send)?;
            send.clear();
        }
    }
}

/// Reads the answers to requests until the connection ends. One that is no success ends it at once.
fn read_responses(mut reading: TcpStream) -> Result<()> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = reading.read(&mut piece)?;
        ensure!(length > 0, "the server closed it");
        bytes.extend_from_slice(&piece[..length]);
        while let Some(head) = Head::parse(&bytes)? {
            ensure!(head.status == 200, "an update was answered {}: {}", head.status, excerpt(&bytes[head.bytes..]));
            let whole = head.bytes + head.content_length.context("an answer without a length")?;
            if bytes.len() < whole {
                break;
            }
            bytes.drain(..whole);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const BATCH_BYTES: usize = 256 * 1024;
