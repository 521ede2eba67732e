//! Alternating rounds: every contender does the same, one after the other, and each round begins with another.
//!
//! Noise of the machine then falls on all of them, and the ratio of one round is worth more than a number of its own.

use anyhow::{Context, Result};

use crate::process::{CpuTime, Process};
use crate::progress::Bar;
use crate::report::rounds::{Contender, Measurement};
use crate::server::{Invocation, Server, TargetOptions};
use crate::talk::Transport;

/// The server under test, the floors when there is something that they speak, and the peers.
pub(crate) fn contenders(
    target: &TargetOptions,
    floors: Option<Transport>,
    invocation: &Invocation,
    connections: u64,
) -> Result<Vec<Server>> {
    let mut servers = vec![target.server(invocation)?];
    servers.extend(servers[0].plainly());
    if let Some(transport) = floors {
        servers.push(Server::start_floor("floor A", "a", invocation)?.over(transport));
        servers.push(Server::start_floor("floor B", "b", invocation)?.over(transport));
    }
    servers.extend(target.start_peers()?);
    for server in &servers {
        server.check_open_files(connections)?;
    }
    Ok(servers)
}

/// Lets each server take its turn in each round.
pub(crate) fn alternate(
    servers: &[Server],
    rounds: u32,
    subject: &str,
    mut measure: impl FnMut(&Server, &Bar) -> Result<Measurement>,
) -> Result<Vec<Contender>> {
    let rounds = rounds as usize;
    let mut contenders: Vec<Contender> = servers.iter().map(|server| Contender::new(&server.name)).collect();
    let bar = Bar::steps((rounds * servers.len()) as u64, subject.to_owned());
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let server = &servers[at];
            bar.say(format!("round {} of {rounds}: {}", round + 1, server.name));
            let measured = measure(server, &bar).with_context(|| format!("{}, round {}", server.name, round + 1))?;
            contenders[at].rounds.push(measured);
            bar.step();
        }
    }
    Ok(contenders)
}

/// CPU time of the server and of the load tool at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) server: Option<CpuTime>,
    pub(crate) generator: CpuTime,
}

impl Cpu {
    pub(crate) fn read(server: &Server) -> Result<Self> {
        Ok(Self { server: server.process().map(Process::cpu).transpose()?, generator: Process::own().cpu()? })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        let server = self.server.zip(before.server);
        Self { server: server.map(|(after, before)| after.since(before)), generator: self.generator.since(before.generator) }
    }
}
