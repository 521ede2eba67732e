//! `omnivox`: one real-time server for every client that you already have.

mod cli;
mod client;
mod command;
mod config;
mod exit;
mod logging;
mod service;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    exit::finish(command::run(cli::Cli::parse()))
}
