//! Many client connections on one thread and one readiness loop.
//!
//! A fleet opens its members a bounded number at a time, reads whatever is ready into one shared buffer, and hands what each heard to a [`Listener`].
//! No task, timer or buffer per connection: the generator shares the machine with the server, and what it burns the server can't have.
//!
//! ```text
//! let mut fleet = Fleet::new(address, Transport::Ws, clock)?;
//! fleet.open(0, Purpose::Subscribe { .. })?;            // queued; connects within turn()
//! fleet.settle(&mut ledger, |subscribed| ..)?;          // turns until all are
//! ```
//! Invariant: a member that breaks (refused, closed, reset) is an error of the run unless it was cut on purpose.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token};

use crate::clock::Clock;
use crate::sockets;
use crate::talk::{Heard, Purpose, Talk, Transport};
use crate::wire::{Trust, Wire};

/// Takes what the members of a fleet hear.
pub(crate) trait Listener {
    /// A member's subscription stands.
    fn subscribed(&mut self, _member: usize, _now_ns: u64) {}
    /// A member got a text with messages.
    fn text(&mut self, member: usize, text: &[u8], now_ns: u64) -> Result<()>;
    /// A member learnt where to resume.
    fn mark(&mut self, _member: usize, _mark: &[u8]) {}
    /// A member's resume was not complete.
    fn gap(&mut self, _member: usize) {}
}

/// Hears nothing, for nothing is published.
pub(crate) struct Silence;

impl Listener for Silence {
    fn text(&mut self, _member: usize, _text: &[u8], _now_ns: u64) -> Result<()> {
        Ok(())
    }
}

/// The connections and their readiness loop.
pub(crate) struct Fleet {
    address: SocketAddr,
    host: String,
    trust: Option<Trust>,
    transport: Transport,
    clock: Clock,
    poll: Poll,
    events: Events,
    members: Vec<Option<Member>>,
    waiting: VecDeque<(usize, Purpose)>,
    connecting: usize,
    connecting_max: usize,
    subscribed: usize,
    bytes: u64,
    reads: u64,
    scratch: Vec<u8>,
}

struct Member {
    stream: Wire,
    talk: Talk,
    outbox: Vec<u8>,
    connected: bool,
    subscribed: bool,
}

impl Fleet {
    pub(crate) fn new(address: SocketAddr, transport: Transport, clock: Clock) -> Result<Self> {
        Ok(Self {
            address,
            host: address.to_string(),
            trust: None,
            transport,
            clock,
            poll: Poll::new().context("the readiness loop")?,
            events: Events::with_capacity(1024),
            members: Vec::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            connecting_max: CONNECTING_MAX,
            subscribed: 0,
            bytes: 0,
            reads: 0,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Connects over TLS, when there is somebody to trust.
    pub(crate) fn over(mut self, trust: Option<&Trust>) -> Self {
        self.trust = trust.cloned();
        self
    }

    /// How many members may be between connect and subscribed at a time; the rest queue.
    pub(crate) fn connecting_max(mut self, max: usize) -> Self {
        self.connecting_max = max.max(1);
        self
    }

    /// Queues a member; its number may be new or that of one that was cut.
    pub(crate) fn open(&mut self, member: usize, purpose: Purpose) {
        self.waiting.push_back((member, purpose));
    }

    /// Bytes received so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How often bytes were received: about the number of writes of the server.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    /// Closes a member's connection; with `abrupt` by a reset, as a vanished client.
    pub(crate) fn cut(&mut self, member: usize, abrupt: bool) {
        let Some(Some(gone)) = self.members.get_mut(member).map(Option::take) else {
            return;
        };
        if gone.subscribed {
            self.subscribed -= 1;
        } else {
            self.connecting -= 1;
        }
        if abrupt {
            sockets::reset_on_close(gone.stream.socket());
        }
    }

    /// Queues bytes to a member and sends them.
    pub(crate) fn send(&mut self, member: usize, bytes: &[u8]) -> Result<()> {
        let Some(Some(open)) = self.members.get_mut(member) else {
            bail!("client {member} is not connected");
        };
        open.outbox.extend_from_slice(bytes);
        open.flush().with_context(|| named(member))
    }

    /// Waits up to `timeout` for something to happen, and deals with all of it.
    pub(crate) fn turn(&mut self, timeout: Duration, listener: &mut dyn Listener) -> Result<()> {
        self.connect_waiting()?;
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error).context("the readiness loop");
        }
        let now_ns = self.clock.now_ns();
        let mut newly_subscribed = 0;
        for event in &self.events {
            let number = event.token().0;
            let Some(Some(member)) = self.members.get_mut(number) else {
                continue;
            };
            let before = member.subscribed;
            let received = member.service(number, event, &mut self.scratch, listener, now_ns).with_context(|| named(number))?;
            self.bytes += received;
            self.reads += u64::from(received > 0);
            newly_subscribed += usize::from(member.subscribed && !before);
        }
        self.subscribed += newly_subscribed;
        self.connecting -= newly_subscribed;
        Ok(())
    }

    /// Turns until all members that were opened are subscribed.
    pub(crate) fn settle(&mut self, listener: &mut dyn Listener, mut each: impl FnMut(usize)) -> Result<()> {
        let mut moved_ns = self.clock.now_ns();
        let mut shown = self.subscribed;
        while self.connecting > 0 || !self.waiting.is_empty() {
            self.turn(TICK, listener)?;
            if self.subscribed != shown {
                shown = self.subscribed;
                moved_ns = self.clock.now_ns();
                each(shown);
            }
            if self.clock.now_ns() - moved_ns > PATIENCE_NS {
                bail!(
                    "{} clients are subscribed, {} wait, and nothing moved for {} s",
                    self.subscribed,
                    self.connecting + self.waiting.len(),
                    PATIENCE_NS / 1_000_000_000
                );
            }
        }
        Ok(())
    }

    fn connect_waiting(&mut self) -> Result<()> {
        while self.connecting < self.connecting_max {
            let Some((number, purpose)) = self.waiting.pop_front() else {
                return Ok(());
            };
            let mut stream = sockets::connect(self.address).with_context(|| format!("connecting to {}", self.address))?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, Token(number), interest)?;
            let mut outbox = Vec::new();
            let talk = Talk::open(self.transport, &self.host, purpose, &mut outbox);
            if self.members.len() <= number {
                self.members.resize_with(number + 1, || None);
            }
            let stream = Wire::new(stream, self.trust.as_ref())?;
            self.members[number] = Some(Member { stream, talk, outbox, connected: false, subscribed: false });
            self.connecting += 1;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    /// Leaves without a trace: tens of thousands of ports that wait for their minute to pass make the next run's `bind` search for milliseconds.
    fn drop(&mut self) {
        for member in self.members.iter().flatten() {
            sockets::reset_on_close(member.stream.socket());
        }
    }
}

impl Member {
    /// Deals with one readiness event; returns the bytes received.
    fn service(
        &mut self,
        number: usize,
        event: &mio::event::Event,
        scratch: &mut [u8],
        listener: &mut dyn Listener,
        now_ns: u64,
    ) -> Result<u64> {
        if !self.connected {
            if let Some(error) = self.stream.socket().take_error()? {
                return Err(error).context("connecting");
            }
            if !event.is_writable() {
                return Ok(0);
            }
            self.connected = true;
        }
        if event.is_writable() {
            self.flush()?;
        }
        if !event.is_readable() {
            return Ok(0);
        }
        self.receive(number, scratch, listener, now_ns)
    }

    fn receive(&mut self, number: usize, scratch: &mut [u8], listener: &mut dyn Listener, now_ns: u64) -> Result<u64> {
        let Self { stream, talk, outbox, subscribed, .. } = self;
        let mut received = 0;
        loop {
            let length = match stream.read(scratch) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading"),
            };
            received += length as u64;
            talk.feed(&scratch[..length], outbox, &mut |heard| {
                match heard {
                    Heard::Subscribed => {
                        *subscribed = true;
                        listener.subscribed(number, now_ns);
                    }
                    Heard::Text(text) => listener.text(number, text, now_ns)?,
                    Heard::Mark(mark) => listener.mark(number, mark),
                    Heard::Gap => listener.gap(number),
                }
                Ok(())
            })?;
            // A short read emptied the socket: the next byte raises a new event.
            if length < scratch.len() && stream.is_empty_after_short_read() {
                break;
            }
        }
        self.flush()?;
        Ok(received)
    }

    fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(0) => bail!("the server takes nothing more"),
                Ok(length) => drop(self.outbox.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing"),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error).context("writing"),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn named(member: usize) -> String {
    format!("client {member}")
}

/// How long a turn waits when nothing happens.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// How long a run waits for something that should happen.
pub(crate) const PATIENCE_NS: u64 = 15_000_000_000;
const CONNECTING_MAX: usize = 256;
const SCRATCH_BYTES: usize = 256 * 1024;
