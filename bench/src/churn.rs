//! `bench churn`: clients that connect, subscribe and leave, over and over.
//!
//! A fixed number of clients is on its way at a time. A cycle is counted when its subscription stands; the latency is the time from `connect` to there.
//! With `--abrupt` they leave by a reset instead of closing.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::clock::Clock;
use crate::fanout::channel_name;
use crate::fleet::{Fleet, Listener, TICK};
use crate::latency::Latency;
use crate::progress::Bar;
use crate::report::rounds::{Measurement, Report, Unit};
use crate::rounds::{Cpu, alternate, contenders};
use crate::sequence::Faults;
use crate::server::{Invocation, Server, TargetOptions};
use crate::talk::{Purpose, Transport};

/// How a churn run is made.
#[derive(Debug, Clone, Args)]
pub struct ChurnOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// Clients on their way at a time
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,

    /// How they connect
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,

    /// Channels that they subscribe to, in turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Leave by a reset
    #[arg(long)]
    pub abrupt: bool,

    /// How long each contender is measured in each round
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,

    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Leave the floors out
    #[arg(long)]
    pub no_floors: bool,
}

/// Runs `bench churn`.
pub(crate) fn churn(options: &ChurnOptions, invocation: &Invocation) -> Result<Report> {
    let floors = options.transport.native().filter(|_| !options.no_floors);
    let clients = u64::from(options.clients);
    let servers = contenders(&options.target, floors, invocation, clients)?;
    let subject = format!("{clients} {} clients at a time, {} s a round", options.transport.name(), options.seconds);
    let contenders = alternate(&servers, options.rounds, &subject, |server, bar| measure_one(options, server, bar))?;
    Ok(Report {
        bench: "churn",
        subject,
        unit: Unit { one: "cycle", many: "cycles" },
        settings: json!({
            "transport": options.transport,
            "clients": options.clients,
            "channels": options.channels,
            "abrupt": options.abrupt,
            "seconds": options.seconds,
            "rounds": options.rounds,
        }),
        contenders,
    })
}

fn measure_one(options: &ChurnOptions, server: &Server, bar: &Bar) -> Result<Measurement> {
    let clock = Clock::start();
    let time = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    let clients = options.clients as usize;
    let transport = server.transport.unwrap_or(options.transport);
    let fleet = Fleet::new(server.address, transport, clock)?.over(server.trust.as_ref());
    let mut fleet = fleet.connecting_max(clients);
    let mut arrivals = Arrivals { begun_ns: vec![0; clients], arrived: Vec::new(), latency: Latency::new(), clock };
    let mut opened = 0;
    let mut open = |fleet: &mut Fleet, arrivals: &mut Arrivals, member: usize| {
        arrivals.begun_ns[member] = clock.now_ns();
        let channel = channel_name(opened % options.channels as usize);
        fleet.open(member, Purpose::Subscribe { channel, since: None });
        opened += 1;
    };
    bar.say(format!("{}: clients come and go", server.name));
    let cpu = Cpu::read(server)?;
    let begun_ns = clock.now_ns();
    let end_ns = begun_ns + u64::try_from(time.as_nanos()).context("--seconds")?;
    for member in 0..clients {
        open(&mut fleet, &mut arrivals, member);
    }
    let mut cycles = 0;
    while clock.now_ns() < end_ns {
        fleet.turn(TICK, &mut arrivals)?;
        for member in std::mem::take(&mut arrivals.arrived) {
            cycles += 1;
            fleet.cut(member, options.abrupt);
            open(&mut fleet, &mut arrivals, member);
        }
    }
    let seconds = (clock.now_ns() - begun_ns) as f64 / 1e9;
    let cpu = Cpu::read(server)?.since(cpu);
    Ok(Measurement {
        count: cycles,
        seconds,
        server_cpu: cpu.server,
        generator_cpu: cpu.generator,
        bytes: fleet.bytes(),
        reads: fleet.reads(),
        latency: arrivals.latency,
        publisher_lateness: Latency::new(),
        faults: Faults::default(),
    })
}

/// Clients whose subscription stands and who are to leave.
struct Arrivals {
    begun_ns: Vec<u64>,
    arrived: Vec<usize>,
    latency: Latency,
    clock: Clock,
}

impl Listener for Arrivals {
    fn subscribed(&mut self, member: usize, _now_ns: u64) {
        let took_ns = self.clock.now_ns().saturating_sub(self.begun_ns[member]);
        self.latency.record(took_ns);
        self.arrived.push(member);
    }

    fn text(&mut self, _member: usize, _text: &[u8], _now_ns: u64) -> Result<()> {
        Ok(())
    }
}
