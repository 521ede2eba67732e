//! `bench resume-storm`: all clients lose their connection at once and come back while publishing goes on.
//!
//! Every client holds the mark of the last message that it got. All are reset in one sweep; each reconnects and resumes from its mark. A client has caught
//! up when it has, without a hole, all that had been published when its new subscription stood. The sequence check spans the cut: a resume that loses,
//! doubles or reorders a message fails the run, and so does a gap, because the history is long enough for this.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::clock::Clock;
use crate::fanout::channel_name;
use crate::fleet::{Fleet, Listener, PATIENCE_NS, TICK};
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::payload::string_member;
use crate::progress::Bar;
use crate::publisher::{Door, Extent, Pace, Plan, Progress, Publisher};
use crate::report::storm::Report;
use crate::rounds::Cpu;
use crate::server::{Invocation, TargetOptions};
use crate::talk::{Purpose, Transport};

/// How a resume storm is made.
#[derive(Debug, Clone, Args)]
pub struct StormOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// Clients
    #[arg(short = 'n', long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,

    /// How they connect
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,

    /// Channels; clients are dealt out to them in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Messages per second over all channels, before, during and after the cut
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,

    /// Bytes of each message's data
    #[arg(long, default_value_t = 120)]
    pub size: usize,

    /// Clients between connect and subscribed at a time; the others wait for their turn
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,

    /// Seconds after which clients that are still behind fail the run
    #[arg(long, default_value_t = 30)]
    pub patience: u64,
}

/// Runs `bench resume-storm`.
pub(crate) fn storm(options: &StormOptions, invocation: &Invocation) -> Result<Report> {
    ensure!(options.channels <= options.clients, "{} channels for {} clients: each channel needs one", options.channels, options.clients);
    let server = options.target.server(invocation)?;
    server.check_open_files(u64::from(options.clients) + 1)?;
    let clock = Clock::start();
    let (clients, channels) = (options.clients as usize, options.channels as usize);
    let bar = Bar::steps(clients as u64, format!("resume-storm: {clients} clients"));

    let fleet = Fleet::new(server.address, options.transport, clock)?.over(server.trust.as_ref());
    let progress = Progress::default();
    let mut storm = Storm {
        fleet: fleet.connecting_max(options.at_once as usize),
        returns: Returns::new(clients, channels, clock, &progress.published),
        channels,
        patience_ns: options.patience.saturating_mul(1_000_000_000),
        bar: &bar,
        clock,
    };
    storm.connect_all()?;
    let plan = Plan {
        channels: (0..channels).map(|channel| (channel_name(channel), share(clients, channels, channel))).collect(),
        size: options.size,
        door: Door::Native,
    };
    let mut publisher = Publisher::connect(server.publishers_address(), clock, plan)?;
    let pace = Pace::Rate(options.rate);
    let outcome = thread::scope(|scope| {
        let publishing = scope.spawn(|| publisher.run(pace, FOR_EVER, &progress));
        let outcome = storm.run(|| Cpu::read(&server));
        progress.stop.store(true, Ordering::Release);
        let sent = publishing.join().expect("the publisher does not panic");
        sent.and(outcome)
    })?;
    let published = publisher.published();
    storm.drain(published.deliveries)?;
    let faults = storm.returns.ledger.faults(published);
    let returns = storm.returns;
    Ok(Report {
        transport: options.transport,
        clients: options.clients,
        channels: options.channels,
        rate_per_s: options.rate,
        at_once: options.at_once,
        last_subscribed_s: returns.last_subscribed_ns.saturating_sub(outcome.cut_ns) as f64 / 1e9,
        last_caught_up_s: returns.last_caught_up_ns.saturating_sub(outcome.cut_ns) as f64 / 1e9,
        caught_up: returns.took.percentiles(),
        replayed: outcome.replayed,
        server_cpu_ms: outcome.cpu.server.map(|cpu| cpu.total_ns as f64 / 1e6),
        generator_cpu_ms: outcome.cpu.generator.total_ns as f64 / 1e6,
        gaps: returns.ledger.gaps,
        faults,
    })
}

fn share(clients: usize, channels: usize, channel: usize) -> u64 {
    (clients / channels + usize::from(channel < clients % channels)) as u64
}

struct Storm<'a> {
    fleet: Fleet,
    returns: Returns<'a>,
    channels: usize,
    patience_ns: u64,
    bar: &'a Bar,
    clock: Clock,
}

struct Outcome {
    cut_ns: u64,
    replayed: u64,
    cpu: Cpu,
}

impl Storm<'_> {
    fn connect_all(&mut self) -> Result<()> {
        for member in 0..self.returns.marks.len() {
            self.open(member, None);
        }
        let bar = self.bar;
        self.fleet.settle(&mut self.returns, |count| bar.at(count as u64))
    }

    /// The storm itself, while another thread publishes.
    fn run(&mut self, cpu: impl Fn() -> Result<Cpu>) -> Result<Outcome> {
        self.bar.say("every client gets a first message".to_owned());
        self.turn_until(|returns| returns.marks.iter().all(|mark| !mark.is_empty()))?;

        self.bar.say("all are cut".to_owned());
        let before = cpu()?;
        let delivered = self.returns.ledger.delivered;
        let cut_ns = self.clock.now_ns();
        self.returns.cut(cut_ns);
        for member in 0..self.returns.marks.len() {
            self.fleet.cut(member, true);
        }
        for member in 0..self.returns.marks.len() {
            let mark = self.returns.marks[member].clone();
            self.open(member, Some(mark));
        }
        self.turn_until(|returns| returns.behind == 0)?;
        let cpu = cpu()?.since(before);
        let replayed = self.returns.ledger.delivered - delivered;

        self.bar.say("publishing goes on for a moment".to_owned());
        let end_ns = self.clock.now_ns() + AFTERWARDS_NS;
        while self.clock.now_ns() < end_ns {
            self.fleet.turn(TICK, &mut self.returns)?;
        }
        Ok(Outcome { cut_ns, replayed, cpu })
    }

    /// Waits for the last deliveries; what doesn't come is told by the sequence check.
    fn drain(&mut self, deliveries: u64) -> Result<()> {
        let mut moved_ns = self.clock.now_ns();
        let mut seen = self.returns.ledger.delivered;
        while seen < deliveries && self.clock.now_ns() - moved_ns < PATIENCE_NS / 5 {
            self.fleet.turn(TICK, &mut self.returns)?;
            if self.returns.ledger.delivered != seen {
                seen = self.returns.ledger.delivered;
                moved_ns = self.clock.now_ns();
            }
        }
        self.fleet.turn(Duration::ZERO, &mut self.returns)
    }

    fn turn_until(&mut self, done: impl Fn(&Returns<'_>) -> bool) -> Result<()> {
        let end_ns = self.clock.now_ns() + self.patience_ns;
        while !done(&self.returns) {
            self.fleet.turn(TICK, &mut self.returns)?;
            let behind = self.returns.behind;
            self.bar.at((self.returns.marks.len() - behind) as u64);
            if self.clock.now_ns() > end_ns {
                let seconds = self.patience_ns / 1_000_000_000;
                bail!("after {seconds} s {behind} clients are still behind: messages are lost");
            }
        }
        Ok(())
    }

    fn open(&mut self, member: usize, since: Option<Vec<u8>>) {
        self.fleet.open(member, Purpose::Subscribe { channel: channel_name(member % self.channels), since });
    }
}

/// What the clients got, where each would resume, and who has come back.
struct Returns<'a> {
    ledger: Ledger,
    marks: Vec<Vec<u8>>,
    /// What each client must have to be up to date; `None` before it is subscribed again and after it has caught up.
    goals: Vec<Option<u64>>,
    behind: usize,
    channels: usize,
    cut_ns: Option<u64>,
    last_subscribed_ns: u64,
    last_caught_up_ns: u64,
    took: Latency,
    clock: Clock,
    published: &'a AtomicU64,
}

impl<'a> Returns<'a> {
    fn new(clients: usize, channels: usize, clock: Clock, published: &'a AtomicU64) -> Self {
        Self {
            ledger: Ledger::new(clients, clock),
            marks: vec![Vec::new(); clients],
            goals: vec![None; clients],
            behind: 0,
            channels,
            cut_ns: None,
            last_subscribed_ns: 0,
            last_caught_up_ns: 0,
            took: Latency::new(),
            clock,
            published,
        }
    }

    fn cut(&mut self, cut_ns: u64) {
        self.cut_ns = Some(cut_ns);
        self.behind = self.marks.len();
    }

    /// Whether a client that was behind has all that it must have.
    fn check_goal(&mut self, member: usize) {
        let Some(goal) = self.goals[member] else {
            return;
        };
        if self.ledger.sequences[member].contiguous() < goal {
            return;
        }
        let now_ns = self.clock.now_ns();
        self.goals[member] = None;
        self.behind -= 1;
        self.last_caught_up_ns = now_ns;
        self.took.record(now_ns.saturating_sub(self.cut_ns.unwrap_or(now_ns)));
    }

    /// The last number published on a client's channel; channels take turns.
    fn head(&self, member: usize) -> u64 {
        let messages = self.published.load(Ordering::Acquire) as usize;
        share(messages, self.channels, member % self.channels)
    }
}

impl Listener for Returns<'_> {
    fn subscribed(&mut self, member: usize, now_ns: u64) {
        if self.cut_ns.is_none() {
            return;
        }
        self.last_subscribed_ns = now_ns;
        self.goals[member] = Some(self.head(member));
        self.check_goal(member);
    }

    fn text(&mut self, member: usize, text: &[u8], now_ns: u64) -> Result<()> {
        self.ledger.text(member, text, now_ns)?;
        if let Some(id) = newest_id(text) {
            self.mark(member, id);
        }
        self.check_goal(member);
        Ok(())
    }

    fn mark(&mut self, member: usize, mark: &[u8]) {
        self.marks[member].clear();
        self.marks[member].extend_from_slice(mark);
    }

    fn gap(&mut self, member: usize) {
        self.ledger.gap(member);
    }
}

/// The id of the last message in a WebSocket text. (Events and polls tell their mark apart.)
fn newest_id(text: &[u8]) -> Option<&[u8]> {
    if !text.starts_with(b"{\"type\":") {
        return None;
    }
    let last = memchr::memmem::rfind(text, br#""id":""#)?;
    string_member(&text[last..], br#""id":""#)
}

const FOR_EVER: Extent = Extent::Messages(u64::MAX);
const AFTERWARDS_NS: u64 = 500_000_000;
