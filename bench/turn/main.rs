//! Measures relays: CPU time per relayed packet, latency, and memory, the same way for each server.
//!
//! ```text
//! cargo build --release -p omnivox-turn --examples
//! target/release/examples/turn_bench to-peer          # client -> relay -> echoing peer -> relay -> client
//! target/release/examples/turn_bench client-to-client # client -> relay -> other client
//! target/release/examples/turn_bench memory           # 10,000 allocations
//! ```
//!
//! Servers run one after the other in alternating rounds: this relay, Debian's coturn if it is installed or the one that `--coturn` names, turn-rs if
//! `--turn-rs` names its binary, and a bare forwarder that only receives and sends. CPU time is what the kernel charged to the server's
//! process in the measured window (`/proc/PID/stat`), divided by the packets that came out of the server.

mod client;
mod forwarder;
mod load;
mod servers;

use std::error::Error;

use load::{Figures, Shape};
use servers::{Kind, Others};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "turn_bench to-peer|client-to-client|memory [--rounds N] [--seconds N] [--rate PACKETS] [--clients N] [--bytes N] [--burst N] [--workers N] \
     [--coturn BINARY] [--turn-rs BINARY] [--only ours|coturn|turn-rs|forwarder]";

struct Arguments {
    mode: String,
    rounds: usize,
    shape: Shape,
    others: Others,
    only: Option<String>,
}

fn arguments() -> Outcome<Arguments> {
    let mut given = std::env::args().skip(1);
    let mode = given.next().ok_or(USAGE)?;
    let shape = Shape { seconds: 5, rate: 20_000, clients: 50, bytes: 1000, burst: 1, workers: 0 };
    let mut arguments = Arguments { mode, rounds: 3, shape, others: Others::default(), only: None };
    while let Some(option) = given.next() {
        let value = given.next().ok_or(USAGE)?;
        match option.as_str() {
            "--rounds" => arguments.rounds = value.parse()?,
            "--seconds" => arguments.shape.seconds = value.parse()?,
            "--rate" => arguments.shape.rate = value.parse()?,
            "--clients" => arguments.shape.clients = value.parse()?,
            "--bytes" => arguments.shape.bytes = value.parse()?,
            "--workers" => arguments.shape.workers = value.parse()?,
            "--burst" => arguments.shape.burst = value.parse()?,
            "--coturn" => arguments.others.coturn = value.into(),
            "--turn-rs" => arguments.others.turn_rs = Some(value.into()),
            "--only" => arguments.only = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(arguments)
}

fn main() -> Outcome<()> {
    let arguments = arguments()?;
    match arguments.mode.as_str() {
        // The bare forwarder is this program again, in a process of its own.
        "forward" => forwarder::run(arguments.shape),
        "to-peer" => compare(&arguments, true),
        "client-to-client" => compare(&arguments, false),
        "memory" => memory(&arguments),
        _ => Err(USAGE.into()),
    }
}

fn kinds(arguments: &Arguments) -> Vec<Kind> {
    let all = [Kind::Ours, Kind::Coturn, Kind::TurnRs, Kind::Forwarder];
    all.into_iter().filter(|kind| arguments.only.as_ref().is_none_or(|only| only == kind.name())).collect()
}

fn compare(arguments: &Arguments, to_peer: bool) -> Outcome<()> {
    let mut table: Vec<(Kind, Vec<Figures>)> = kinds(arguments).into_iter().map(|kind| (kind, Vec::new())).collect();
    for round in 1..=arguments.rounds {
        for (kind, figures) in &mut table {
            let Some(server) = kind.start(&arguments.others, to_peer, arguments.shape)? else { continue };
            let one = load::measure(&server, to_peer, arguments.shape)?;
            println!("round {round} {:10} {one}", kind.name());
            figures.push(one);
        }
    }
    println!("\nmedian of {} rounds, {:?}", arguments.rounds, arguments.shape);
    let median = |figures: &[Figures], of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let ours = table.iter().find(|(kind, _)| *kind == Kind::Ours).and_then(|(_, figures)| median(figures, |one| one.cpu_us));
    for (kind, figures) in &table {
        let Some(cpu) = median(figures, |one| one.cpu_us) else { continue };
        let p99 = median(figures, |one| one.p99_us).unwrap_or(0.0);
        let ratio = ours.map_or(0.0, |ours| ours / cpu);
        println!("{:10} {cpu:6.2} us CPU per packet   p99 {p99:8.0} us   ours / it = {ratio:.2}", kind.name());
    }
    Ok(())
}

fn memory(arguments: &Arguments) -> Outcome<()> {
    for kind in kinds(arguments) {
        if kind == Kind::Forwarder {
            continue;
        }
        let Some(server) = kind.start(&arguments.others, true, arguments.shape)? else { continue };
        let before = server.resident_kb()?;
        let clients = (0..10_000).map(|_| client::Client::allocate(server.address)).collect::<Outcome<Vec<_>>>()?;
        let after = server.resident_kb()?;
        println!("{:10} {} allocations: {:.1} MB resident ({:.1} MB before)", kind.name(), clients.len(), after / 1024.0, before / 1024.0);
    }
    Ok(())
}
