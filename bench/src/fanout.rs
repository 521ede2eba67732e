//! `bench fanout` and `bench rooms`: what one delivery costs, beside the floors.
//!
//! In each of the alternating [rounds](crate::rounds) every contender gets the same clients, the same messages and the same pace. Its subscribers connect
//! anew for each of its turns, so that all have the same history.
//!
//! At a rate the server writes message by message, and floor A is the measure. At saturation the publisher sends a burst of messages in one write and the
//! next one when the last delivery of the burst is there: what is due is then the same for every server, and floor B is the measure.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::clock::Clock;
use crate::fleet::{Fleet, PATIENCE_NS, Silence, TICK};
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::progress::Bar;
use crate::publisher::{Door, Extent, Pace, Plan, Progress, Published, Publisher};
use crate::report::rounds::{Measurement, Report, Unit};
use crate::rounds::{Cpu, alternate, contenders};
use crate::server::{Invocation, Server, TargetOptions};
use crate::talk::{Purpose, Transport};

/// How a fan-out run is made.
#[derive(Debug, Clone, Args)]
pub struct FanoutOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// Subscribers in all
    #[arg(short = 'n', long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,

    /// Channels; subscribers are dealt out to them in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Patterns that are followed on the server under test meanwhile, by 1,000 on a connection; none means the channels. Peers get as many
    /// connections without patterns
    #[arg(long, default_value_t = 0)]
    pub patterns: u32,

    /// How the messages are paced and how long
    #[command(flatten)]
    pub load: LoadOptions,
}

/// How a run with many small channels is made.
#[derive(Debug, Clone, Args)]
pub struct RoomsOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// Channels
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Subscribers of each channel
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers_per_channel: u32,

    /// How the messages are paced and how long
    #[command(flatten)]
    pub load: LoadOptions,
}

/// What fan-out and rooms have in common.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// How subscribers connect
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,

    /// Bytes of each message's data
    #[arg(long, default_value_t = 120)]
    pub size: usize,

    /// Messages per second over all channels (default: 20, for rooms 1,000)
    #[arg(long, conflicts_with = "saturate")]
    pub rate: Option<f64>,

    /// Publish burst after burst, each as soon as the one before is delivered
    #[arg(long)]
    pub saturate: bool,

    /// Messages in such a burst
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: u64,

    /// How long each contender publishes in each round
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,

    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Measure the server over this transport too, as a process of its own in the same rounds
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    pub beside: Option<Transport>,

    /// Leave the floors out; they speak the native protocol over the same carrier, and not Mercure
    #[arg(long)]
    pub no_floors: bool,

    /// The token that updates are published with over Mercure, if the hub wants one
    #[arg(long, value_name = "TOKEN")]
    pub mercure_token: Option<String>,
}

/// Runs `bench fanout`.
pub(crate) fn fanout(options: &FanoutOptions, invocation: &Invocation) -> Result<Report> {
    let run = Run {
        name: "fanout",
        subscribers: options.subscribers as usize,
        channels: options.channels as usize,
        patterns: options.patterns as usize,
        default_rate: 20.0,
        load: &options.load,
    };
    run.measure(&options.target, invocation)
}

/// Runs `bench rooms`.
pub(crate) fn rooms(options: &RoomsOptions, invocation: &Invocation) -> Result<Report> {
    let run = Run {
        name: "rooms",
        subscribers: options.channels as usize * options.subscribers_per_channel as usize,
        channels: options.channels as usize,
        patterns: 0,
        default_rate: 1_000.0,
        load: &options.load,
    };
    run.measure(&options.target, invocation)
}

struct Run<'a> {
    name: &'static str,
    subscribers: usize,
    channels: usize,
    patterns: usize,
    default_rate: f64,
    load: &'a LoadOptions,
}

impl Run<'_> {
    fn measure(&self, target: &TargetOptions, invocation: &Invocation) -> Result<Report> {
        ensure!(
            self.channels <= self.subscribers,
            "{} channels for {} subscribers: each channel needs one",
            self.channels,
            self.subscribers
        );
        let floors = self.load.transport.native().filter(|_| !self.load.no_floors);
        let connections = self.subscribers as u64 + 1 + self.patterns.div_ceil(PATTERNS_EACH) as u64;
        let mut servers = contenders(target, floors, invocation, connections)?;
        if let Some(transport) = self.load.beside {
            let mut beside = target.server(invocation)?.over(transport);
            beside.name = format!("{} over {}", beside.name, transport.name());
            beside.check_open_files(connections)?;
            servers.insert(1, beside);
        }
        let mut followers = self.followers(&servers)?;
        let subject = self.subject();
        let contenders = alternate(&servers, self.load.rounds, &subject, |server, bar| {
            // Their pings are answered between the turns.
            followers.iter_mut().try_for_each(|fleet| fleet.turn(Duration::ZERO, &mut Silence))?;
            self.measure_one(server, bar)
        })?;
        Ok(Report {
            bench: self.name,
            subject,
            unit: Unit { one: "delivery", many: "deliveries" },
            settings: json!({
                "transport": self.load.transport,
                "subscribers": self.subscribers,
                "channels": self.channels,
                "patterns": self.patterns,
                "size_bytes": self.load.size,
                "rate_per_s": (!self.load.saturate).then(|| self.rate()),
                "burst": self.load.saturate.then_some(self.load.burst),
                "seconds": self.load.seconds,
                "rounds": self.load.rounds,
            }),
            contenders,
        })
    }

    /// Connections that follow patterns on the first server, and as many on the others that follow none.
    fn followers(&self, servers: &[Server]) -> Result<Vec<Fleet>> {
        let count = if self.patterns == 0 { 0 } else { servers.len() };
        let mut fleets = Vec::new();
        for (at, server) in servers.iter().take(count).enumerate() {
            let mut fleet = Fleet::new(server.address, Transport::Ws, Clock::start())?.over(server.trust.as_ref());
            for (member, first) in (0..self.patterns).step_by(PATTERNS_EACH).enumerate() {
                let last = self.patterns.min(first + PATTERNS_EACH);
                let patterns = (first..last).map(pattern).collect();
                fleet.open(member, if at == 0 { Purpose::Follow { patterns } } else { Purpose::Publish });
            }
            fleet.settle(&mut Silence, |_| ())?;
            fleets.push(fleet);
        }
        Ok(fleets)
    }

    fn subject(&self) -> String {
        let transport = self.load.transport.name();
        let channels = match self.channels {
            1 => String::new(),
            count => format!(" in {count} channels"),
        };
        let channels = match self.patterns {
            0 => channels,
            count => format!("{channels} beside {count} patterns"),
        };
        let pace =
            if self.load.saturate { format!("saturated in bursts of {}", self.load.burst) } else { format!("{} messages/s", self.rate()) };
        let (subscribers, size, seconds) = (self.subscribers, self.load.size, self.load.seconds);
        format!("{subscribers} {transport} subscribers{channels}, {size} B, {pace}, {seconds} s a round")
    }

    /// One contender's turn: connect, warm up, publish, wait for the last delivery.
    fn measure_one(&self, server: &Server, bar: &Bar) -> Result<Measurement> {
        let clock = Clock::start();
        let transport = server.transport.unwrap_or(self.load.transport);
        let mut fleet = Fleet::new(server.address, transport, clock)?.over(server.trust.as_ref());
        let mut ledger = Ledger::new(self.subscribers, clock);
        for member in 0..self.subscribers {
            fleet.open(member, Purpose::Subscribe { channel: channel_name(member % self.channels), since: None });
        }
        fleet.settle(&mut ledger, |count| {
            bar.say(format!("{}: {count} subscribers", server.name));
        })?;
        let mut publisher = Publisher::connect(server.publishers_address(), clock, self.plan(transport))?;
        let warm_up = Extent::Messages(self.channels.max(10) as u64);
        drive(&mut fleet, &mut ledger, &mut publisher, Pace::Bursts(4), warm_up, clock)?;

        ledger.latency = Latency::new();
        let (cpu, delivered) = (Cpu::read(server)?, ledger.delivered);
        let (bytes, reads) = (fleet.bytes(), fleet.reads());
        let begun_ns = clock.now_ns();
        bar.say(format!("{}: publishing", server.name));
        let seconds = Duration::try_from_secs_f64(self.load.seconds).context("--seconds")?;
        let ended_ns = drive(&mut fleet, &mut ledger, &mut publisher, self.pace(), Extent::Time(seconds), clock)?;
        let cpu = Cpu::read(server)?.since(cpu);
        Ok(Measurement {
            count: ledger.delivered - delivered,
            seconds: ended_ns.saturating_sub(begun_ns) as f64 / 1e9,
            server_cpu: cpu.server,
            generator_cpu: cpu.generator,
            bytes: fleet.bytes() - bytes,
            reads: fleet.reads() - reads,
            latency: ledger.latency.clone(),
            publisher_lateness: publisher.lateness().clone(),
            faults: ledger.faults(publisher.published()),
        })
    }

    fn plan(&self, transport: Transport) -> Plan {
        let subscribers_of = |channel: usize| {
            let rest = usize::from(channel < self.subscribers % self.channels);
            (self.subscribers / self.channels + rest) as u64
        };
        let channels = (0..self.channels).map(|channel| (channel_name(channel), subscribers_of(channel))).collect();
        let door = match transport {
            Transport::Mercure => Door::Mercure { token: self.load.mercure_token.clone() },
            Transport::Ws | Transport::Sse | Transport::Poll => Door::Native,
            Transport::SocketIo | Transport::SocketIoPoll => Door::SocketIo,
        };
        Plan { channels, size: self.load.size, door }
    }

    fn rate(&self) -> f64 {
        self.load.rate.unwrap_or(self.default_rate)
    }

    fn pace(&self) -> Pace {
        if self.load.saturate { Pace::Bursts(self.load.burst) } else { Pace::Rate(self.rate()) }
    }
}

/// Publishes from another thread while this one reads, until all is delivered or nothing comes any more. Returns when the last delivery came.
pub(crate) fn drive(
    fleet: &mut Fleet,
    ledger: &mut Ledger,
    publisher: &mut Publisher,
    pace: Pace,
    extent: Extent,
    clock: Clock,
) -> Result<u64> {
    let progress = Progress::default();
    progress.delivered.store(ledger.delivered, Ordering::Release);
    let published: Published = thread::scope(|scope| {
        let publishing = scope.spawn(|| publisher.run(pace, extent, &progress));
        let mut outcome = Ok(());
        while !publishing.is_finished() {
            outcome = outcome.and_then(|()| fleet.turn(TICK, ledger));
            if outcome.is_err() {
                progress.stop.store(true, Ordering::Release);
                thread::sleep(TICK);
            } else {
                progress.delivered.store(ledger.delivered, Ordering::Release);
            }
            publishing.thread().unpark();
        }
        let sent = publishing.join().expect("the publisher does not panic");
        outcome.and(sent)
    })
    .map(|()| publisher.published().clone())?;

    let mut moved_ns = clock.now_ns();
    while ledger.delivered < published.deliveries {
        let before = ledger.delivered;
        fleet.turn(TICK, ledger)?;
        if ledger.delivered > before {
            moved_ns = clock.now_ns();
        } else if clock.now_ns() - moved_ns > PATIENCE_NS / 5 {
            break;
        }
    }
    // What is delivered twice comes after the last first delivery: look once more, without waiting.
    fleet.turn(Duration::ZERO, ledger)?;
    Ok(moved_ns)
}

pub(crate) fn channel_name(number: usize) -> String {
    format!("bench-{number}")
}

/// Patterns that begin as the channels do and mean none of them, in turn a beginning and a URI template.
fn pattern(number: usize) -> String {
    if number.is_multiple_of(2) { format!("b{number:05}*") } else { format!("b{number:05}/{{id}}") }
}

/// Patterns that one connection follows: as many as the server allows.
const PATTERNS_EACH: usize = 1_000;
