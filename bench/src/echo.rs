//! `bench echo`: round trips of small WebSocket messages on `/echo`.
//!
//! Each connection sends its next message when the answer to the last has come (a closed loop), and every answer must be exactly what was sent.
//! The latencies are those of a closed loop: what they can't show is how long messages would have queued at a fixed rate.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::clock::Clock;
use crate::fleet::{Fleet, Listener, TICK};
use crate::latency::Latency;
use crate::payload::write_data;
use crate::progress::Bar;
use crate::report::rounds::{Measurement, Report, Unit};
use crate::rounds::{Cpu, alternate, contenders};
use crate::sequence::Faults;
use crate::server::{Invocation, Server, TargetOptions};
use crate::talk::{Opcode, Purpose, Transport, write_masked};

/// How an echo run is made.
#[derive(Debug, Clone, Args)]
pub struct EchoOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// Connections, each with one message on its way
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Bytes of each message
    #[arg(long, default_value_t = 120)]
    pub size: usize,

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

/// Runs `bench echo`.
pub(crate) fn echo(options: &EchoOptions, invocation: &Invocation) -> Result<Report> {
    let floors = !options.no_floors;
    let connections = u64::from(options.connections);
    let servers = contenders(&options.target, floors.then_some(Transport::Ws), invocation, connections)?;
    let subject = format!("{connections} ws connections, {} B, {} s a round", options.size, options.seconds);
    let contenders = alternate(&servers, options.rounds, &subject, |server, bar| measure_one(options, server, bar))?;
    Ok(Report {
        bench: "echo",
        subject,
        unit: Unit { one: "round trip", many: "round trips" },
        settings: json!({
            "connections": options.connections,
            "size_bytes": options.size,
            "seconds": options.seconds,
            "rounds": options.rounds,
        }),
        contenders,
    })
}

fn measure_one(options: &EchoOptions, server: &Server, bar: &Bar) -> Result<Measurement> {
    let clock = Clock::start();
    let connections = options.connections as usize;
    let time = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    let mut fleet = Fleet::new(server.address, Transport::Ws, clock)?.over(server.trust.as_ref());
    let mut pingers = Pingers::new(connections, options.size, clock);
    for member in 0..connections {
        fleet.open(member, Purpose::Echo);
    }
    fleet.settle(&mut pingers, |_| {})?;
    bar.say(format!("{}: {connections} connections", server.name));

    pingers.start_all();
    let (cpu, bytes, reads) = (Cpu::read(server)?, fleet.bytes(), fleet.reads());
    let begun_ns = clock.now_ns();
    let end_ns = begun_ns + u64::try_from(time.as_nanos()).context("--seconds")?;
    while clock.now_ns() < end_ns {
        pingers.send_next(&mut fleet)?;
        fleet.turn(TICK, &mut pingers)?;
    }
    let seconds = (clock.now_ns() - begun_ns) as f64 / 1e9;
    let cpu = Cpu::read(server)?.since(cpu);
    Ok(Measurement {
        count: pingers.answered,
        seconds,
        server_cpu: cpu.server,
        generator_cpu: cpu.generator,
        bytes: fleet.bytes() - bytes,
        reads: fleet.reads() - reads,
        latency: pingers.latency,
        publisher_lateness: Latency::new(),
        faults: pingers.faults,
    })
}

/// What each connection has sent and waits for.
struct Pingers {
    clock: Clock,
    size: usize,
    waiting: Vec<Option<Sent>>,
    /// Connections whose turn it is to send.
    idle: Vec<usize>,
    serial: u64,
    answered: u64,
    latency: Latency,
    faults: Faults,
}

struct Sent {
    text: Vec<u8>,
    at_ns: u64,
}

impl Pingers {
    fn new(connections: usize, size: usize, clock: Clock) -> Self {
        Self {
            clock,
            size,
            waiting: (0..connections).map(|_| None).collect(),
            idle: Vec::new(),
            serial: 0,
            answered: 0,
            latency: Latency::new(),
            faults: Faults::default(),
        }
    }

    fn start_all(&mut self) {
        self.idle = (0..self.waiting.len()).collect();
    }

    fn send_next(&mut self, fleet: &mut Fleet) -> Result<()> {
        let mut frame = Vec::new();
        for member in std::mem::take(&mut self.idle) {
            self.serial += 1;
            let at_ns = self.clock.now_ns();
            let mut text = Vec::with_capacity(self.size);
            write_data(&mut text, self.serial, at_ns, self.size);
            frame.clear();
            write_masked(&mut frame, Opcode::Text, &text);
            fleet.send(member, &frame)?;
            self.waiting[member] = Some(Sent { text, at_ns });
        }
        Ok(())
    }
}

impl Listener for Pingers {
    fn text(&mut self, member: usize, text: &[u8], _now_ns: u64) -> Result<()> {
        match self.waiting[member].take() {
            Some(sent) if sent.text == text => {
                self.answered += 1;
                self.latency.record(self.clock.now_ns().saturating_sub(sent.at_ns));
            }
            // Something else came in its place: the message itself is lost.
            Some(_) => self.faults.lost += 1,
            None => {
                self.faults.doubled += 1;
                return Ok(());
            }
        }
        self.idle.push(member);
        Ok(())
    }
}
