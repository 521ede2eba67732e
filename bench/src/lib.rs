//! The load tool behind `omnivox bench`: fan-out, rooms, echo, idle memory, churn, resume storms and floods.
//!
//! | module | what |
//! | --- | --- |
//! | `rounds`, [`fanout`](FanoutOptions) | N subscribers, one publisher: CPU per delivery beside the physical floors, latencies, lost/doubled/reordered |
//! | `talk` | the client's side of a connection without a socket, per transport |
//! | `fleet`, `wire`, `secure` | many client connections on one thread and one readiness loop; the bytes of one, plain or TLS; a server for that |
//! | `neighbours`, `flood`, `sink` | what floods do to those who are not in them |
//! | `publisher` | numbered messages at a rate or at saturation |
//! | `floor` | the least that a server can do for the same deliveries, as a process of its own |
//! | `sequence`, `latency`, `process`, `table`, `report` | faults, percentiles, `/proc`, what people see |
//!
//! Example: `omnivox bench fanout -n 1000 --rate 20` starts a server, both floors and 1,000 subscribers, and prints a table.
//!
//! Invariant: a message lost, doubled or reordered makes the exit code 1, with whatever server it happened.

mod churn;
mod clock;
mod echo;
mod fanout;
mod fleet;
mod flood;
mod floor;
mod idle;
mod latency;
mod ledger;
mod neighbours;
mod payload;
mod process;
mod progress;
mod publisher;
mod report;
mod rounds;
mod secure;
mod sequence;
mod server;
mod sink;
mod sockets;
mod storm;
mod table;
mod talk;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;

pub use churn::ChurnOptions;
pub use echo::EchoOptions;
pub use fanout::{FanoutOptions, LoadOptions, RoomsOptions};
pub use flood::Flood;
pub use floor::{FloorKind, FloorOptions};
pub use idle::IdleOptions;
pub use latency::Percentiles;
pub use neighbours::NeighboursOptions;
pub use sequence::Faults;
pub use server::{TargetOptions, Unanswered};
pub use sink::SinkOptions;
pub use storm::StormOptions;
pub use talk::Transport;

use server::Invocation;

/// The subcommands of `bench`.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// One publisher, N subscribers: what a delivery costs, beside the physical floors
    Fanout(FanoutOptions),
    /// Many small channels: 1,000 with 10 subscribers each
    Rooms(RoomsOptions),
    /// Round trips of small messages on a WebSocket
    Echo(EchoOptions),
    /// Memory of connections that do nothing
    Idle(IdleOptions),
    /// Clients that connect, subscribe and leave, over and over
    Churn(ChurnOptions),
    /// All clients are cut at once and resume while publishing goes on
    ResumeStorm(StormOptions),
    /// What floods do to those who are not in them: slow heads, half-open handshakes, compression bombs, unknown keys
    Neighbours(NeighboursOptions),
    /// A server that says nothing, for floods that go elsewhere; started by `neighbours`
    #[command(hide = true)]
    Sink(SinkOptions),
    /// A physical floor to measure against; started by the other commands
    #[command(hide = true)]
    Floor(FloorOptions),
}

/// Runs a subcommand of the program `omnivox`, where `bench` is the word before it and `dev` starts a server.
pub fn run(command: BenchCommand) -> Result<ExitCode> {
    run_as(command, &Invocation { words: vec!["bench".to_owned()], serves: true })
}

/// Runs a subcommand of the program `omnivox-bench`, which has no server in it.
pub fn run_alone(command: BenchCommand) -> Result<ExitCode> {
    run_as(command, &Invocation { words: Vec::new(), serves: false })
}

fn run_as(command: BenchCommand, invocation: &Invocation) -> Result<ExitCode> {
    let rounds = |json, report: report::rounds::Report| show(json, &report.json(), &report.render(), report.clean());
    match command {
        BenchCommand::Fanout(options) => {
            let report = fanout::fanout(&options, invocation)?;
            Ok(rounds(options.target.json, report))
        }
        BenchCommand::Rooms(options) => {
            let report = fanout::rooms(&options, invocation)?;
            Ok(rounds(options.target.json, report))
        }
        BenchCommand::Echo(options) => {
            let report = echo::echo(&options, invocation)?;
            Ok(rounds(options.target.json, report))
        }
        BenchCommand::Churn(options) => {
            let report = churn::churn(&options, invocation)?;
            Ok(rounds(options.target.json, report))
        }
        BenchCommand::Idle(options) => {
            let report = idle::idle(&options, invocation)?;
            Ok(show(options.target.json, &report.json(), &report.render(), true))
        }
        BenchCommand::ResumeStorm(options) => {
            let report = storm::storm(&options, invocation)?;
            let clean = report.clean();
            Ok(show(options.target.json, &report.json(), &report.render(), clean))
        }
        BenchCommand::Neighbours(options) => {
            let reports = neighbours::neighbours(&options, invocation)?;
            let text: String = reports.iter().map(|report| report.render()).collect();
            let json = Value::Array(reports.iter().map(|report| report.json()).collect());
            Ok(show(options.json, &json, &text, reports.iter().all(|report| report.clean())))
        }
        BenchCommand::Sink(options) => {
            sink::serve(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        BenchCommand::Floor(options) => {
            floor::serve(&options)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[expect(clippy::print_stdout, reason = "results go to stdout, words to stderr")]
fn show(as_json: bool, json: &Value, text: &str, clean: bool) -> ExitCode {
    if as_json {
        println!("{json:#}");
    } else {
        print!("{text}");
    }
    if clean {
        return ExitCode::SUCCESS;
    }
    if !as_json {
        println!("\nFAILED: messages were lost, doubled or reordered");
    }
    ExitCode::FAILURE
}
