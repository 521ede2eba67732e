//! The load tool by itself, for servers that run elsewhere: `omnivox-bench fanout --target 127.0.0.1:8080 --pid 4242`.

use std::process::ExitCode;

use clap::Parser;

/// Load generator: fan-out, rooms, echo, idle memory, churn and resume storms.
#[derive(Debug, Parser)]
#[command(name = "omnivox-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: omnivox_bench::BenchCommand,
}

fn main() -> anyhow::Result<ExitCode> {
    omnivox_bench::run_alone(Arguments::parse().command)
}
