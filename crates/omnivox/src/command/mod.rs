//! What each command does. One file per command; this one only chooses.

mod activation;
mod check;
pub(crate) mod credentials;
pub(crate) mod dev;
mod documents;
mod import;
mod init;
mod publish;
mod revoke;
mod serve;
mod subscribe;
mod turn;

use std::fs;
use std::process::ExitCode;

use clap::CommandFactory as _;
use omnivox_server::ServerConfig;

use crate::cli::{Cli, Command, Settings};
use crate::config::{Config, Layers, server_config};
use crate::exit::{self, Code};

/// Runs what was typed.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = match cli.command {
        Command::Bench(measurement) => return omnivox_bench::run(measurement).map_err(reachable),
        Command::Dev(wish) => dev::run(wish),
        Command::Serve(settings) => serve::run(&settings),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "omnivox", &mut script);
            documents::print(&script)
        }
        Command::Publish(wish) => client(publish::run(&wish)),
        Command::Subscribe(wish) => client(subscribe::run(wish)),
        Command::Revoke(wish) => client(revoke::run(&wish)),
        Command::Turn(settings) => turn::run(&settings),
        Command::Init(wish) => init::run(&wish),
        Command::Token(wish) => credentials::token(&wish),
        Command::Secret(wish) => credentials::secret(&wish),
        Command::Explain(wish) => credentials::explain(&wish),
        Command::Import(wish) => import::run(&wish),
        Command::Check(settings) => check::run(&settings),
        Command::Config(which) => documents::run(&which),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Gives the error of a measurement the code of the other clients when there was no server to measure.
fn reachable(error: anyhow::Error) -> anyhow::Error {
    if error.chain().any(|cause| cause.is::<omnivox_bench::Unanswered>()) {
        return exit::error(Code::Unreachable, format!("{error:#}"));
    }
    error
}

/// Runs a client command on one thread.
fn client(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Reads the file and the environment, and lays them and the flags over the defaults.
fn load(settings: &Settings, defaults: Config) -> anyhow::Result<Config> {
    let file = match &settings.config {
        Some(path) => {
            let source =
                fs::read_to_string(path).map_err(|error| exit::error(Code::Usage, format!("--config {}: {error}", path.display())))?;
            Some((path.clone(), source))
        }
        None => None,
    };
    let text = |pair: (std::ffi::OsString, std::ffi::OsString)| Some((pair.0.into_string().ok()?, pair.1.into_string().ok()?));
    let environment = std::env::vars_os().filter_map(text).collect();
    let layers = Layers { file, environment, flags: settings.flags.0.clone() };
    for (name, nearest) in layers.strangers() {
        let hint = nearest.map_or_else(String::new, |word| format!("; did you mean {word}?"));
        eprintln!("omnivox: no setting is called {name}{hint}");
    }
    layers.over(defaults).map_err(|problems| exit::error(Code::Usage, format!("the settings are wrong\n{problems}")))
}

/// Turns the settings into what a server is started with.
fn judge(config: &Config) -> anyhow::Result<ServerConfig> {
    server_config(config, |path| fs::read_to_string(path))
        .map_err(|problems| exit::error(Code::Usage, format!("the settings make no sense together\n{problems}")))
}
