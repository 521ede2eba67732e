//! `bench idle`: what a connection costs that does nothing, as the slope of the server's resident memory.
//!
//! Connections subscribed to one channel are opened in steps; after each step, once the figure has come to rest, resident memory is read. The slope from
//! the first step to the last is the price of one connection: what the server needs anyway is not in it, nor is memory of the kernel.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::clock::Clock;
use crate::fanout::channel_name;
use crate::fleet::{Fleet, Silence, TICK};
use crate::process::Process;
use crate::progress::Bar;
use crate::report::idle::{Report, Step, Steps};
use crate::server::{Invocation, Server, TargetOptions};
use crate::sockets;
use crate::talk::{Purpose, Transport};

/// How an idle run is made.
#[derive(Debug, Clone, Args)]
pub struct IdleOptions {
    /// What is measured
    #[command(flatten)]
    pub target: TargetOptions,

    /// How they connect (default: all transports, one after the other, each with a fresh server)
    #[arg(long, value_enum)]
    pub transport: Option<Transport>,

    /// Connections at the first measurement
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub from: u32,

    /// Connections at the last measurement; fewer when the open-files limits don't allow so many
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub to: u32,

    /// Seconds for which memory must not have moved before it is read
    #[arg(long, default_value_t = 0.5)]
    pub rest: f64,
}

/// Runs `bench idle`.
pub(crate) fn idle(options: &IdleOptions, invocation: &Invocation) -> Result<Report> {
    let transports = match options.transport {
        Some(transport) => vec![transport],
        None => vec![Transport::Ws, Transport::Sse, Transport::Poll],
    };
    let mut report = Report { wanted: options.to, transports: Vec::new() };
    for transport in transports {
        let server = options.target.server(invocation)?;
        report.transports.push(measure(options, &server, transport)?);
        drop(server);
        if options.target.tls {
            // A fresh one: what the first clients left behind is not to be counted twice.
            let server = options.target.server(invocation)?;
            report.transports.extend(server.plainly().map(|plain| measure(options, &plain, transport)).transpose()?);
        }
        for peer in options.target.start_peers()? {
            report.transports.push(measure(options, &peer, transport)?);
        }
    }
    Ok(report)
}

fn measure(options: &IdleOptions, server: &Server, transport: Transport) -> Result<Steps> {
    let process = server.process_needed()?;
    let most = server.connections_max(sockets::raise_open_files());
    let to = u64::from(options.to).min(most);
    let from = u64::from(options.from);
    ensure!(from < to, "--from {from} is not below {to}, the most that --to and the open-files limits allow");
    let mut fleet = Fleet::new(server.address, transport, Clock::start())?.over(server.trust.as_ref());
    let bar = Bar::steps(to, format!("idle {}", transport.name()));
    let rest_ns = (options.rest * 1e9) as u64;
    let mut steps = Vec::new();
    let mut opened = 0;
    for step in 0..STEPS {
        let connections = from + (to - from) * step / (STEPS - 1);
        for member in opened..connections {
            fleet.open(usize::try_from(member)?, Purpose::Subscribe { channel: channel_name(0), since: None });
        }
        opened = connections;
        fleet.settle(&mut Silence, |count| bar.at(count as u64))?;
        bar.say("memory comes to rest".to_owned());
        steps.push(Step { connections, resident_bytes: at_rest(&mut fleet, process, rest_ns)? });
    }
    Ok(Steps { server: server.name.clone(), transport, steps })
}

/// Resident memory once it has not moved for a while, or after five seconds.
fn at_rest(fleet: &mut Fleet, process: Process, rest_ns: u64) -> Result<u64> {
    let clock = Clock::start();
    let mut resident = process.resident_bytes()?;
    let mut since_ns = clock.now_ns();
    while clock.now_ns() - since_ns < rest_ns && clock.now_ns() < REST_NS_MAX {
        // Pings are answered and ended polls are asked again meanwhile.
        fleet.turn(TICK, &mut Silence)?;
        let now = process.resident_bytes()?;
        if now != resident {
            (resident, since_ns) = (now, clock.now_ns());
        }
    }
    Ok(resident)
}

const STEPS: u64 = 5;
const REST_NS_MAX: u64 = Duration::from_secs(5).as_nanos() as u64;
