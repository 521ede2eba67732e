//! `omnivox serve`: a server with its own settings, until a signal ends it.
//!
//! SIGTERM and SIGINT send the clients away at the pace of `[drain]` and end with code 0; a second one ends at once with 128 and the
//! signal's number. SIGHUP reads the settings again, takes over what can change while clients are connected, and names what can't.

use std::process;
use std::sync::Arc;

use anyhow::Context as _;
use omnivox_hub::Hub;
use omnivox_server::ServerConfig;
use omnivox_server::{Handle, Server, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Settings;
use crate::config::sockets::Passed;
use crate::config::{Config, render};
use crate::exit::{self, Code};
use crate::logging::{self, LevelSwitch};
use crate::service;

use super::{activation, judge, load, turn};

/// Starts the server of the settings.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let sockets = activation::take()?;
    let passed = Passed::of(&sockets);
    let mut config = load(settings, Config::default())?;
    passed.replace(&mut config);
    let mut server = judge(&config)?;
    if !sockets.is_empty() {
        (server.listen, server.listen_tls, server.inherited) = (Vec::new(), Vec::new(), sockets);
    }
    let switch = logging::start(&config.log)?;
    warn_of_files(&server);
    server.relay = turn::beside(&config.turn)?;
    let mut current = config;
    run_until_signalled(server, announce, async |_| {}, |server| reload(settings, &passed, &mut current, &switch, server))
}

/// Whether there may be as many files as connections.
fn warn_of_files(server: &ServerConfig) {
    let connections = server.limits.connections_max as u64;
    let files = raise_open_files();
    if files < connections {
        tracing::warn!(
            files,
            connections,
            "fewer open files than connections are allowed; raise `ulimit -n` or lower limits.connections_max"
        );
    }
}

fn announce(server: &Handle) {
    for endpoint in server.endpoints() {
        tracing::info!("listening on {endpoint}");
    }
    for (transport, address) in server.relay_addresses() {
        tracing::info!("relay on {transport} {address}");
    }
}

/// Takes over what can change while clients are connected, and names what can't. Settings that are wrong change nothing, be they wrong by
/// themselves or beside what the server keeps until a restart.
fn reload(settings: &Settings, passed: &Passed, current: &mut Config, switch: &LevelSwitch, running: &Handle) {
    let read = load(settings, Config::default()).and_then(|mut new| {
        passed.replace(&mut new);
        judge(&new)?;
        let merged = current.merged(&new);
        let server =
            judge(&merged).context("the server keeps some of its settings until a restart, and the new ones don't go with these")?;
        switch.set(&new.log.level)?;
        Ok((new, merged, server))
    });
    let (new, merged, server) = match read {
        Ok(read) => read,
        Err(error) => return tracing::error!("the settings were not taken over: {error:#}"),
    };
    if merged.limits.connections_max != current.limits.connections_max {
        warn_of_files(&server);
    }
    running.take_over(server);
    *current = merged;
    let waiting = render::differences(current, &new);
    if *current == new {
        tracing::info!("the settings were read again");
    } else {
        let words = "the settings were read again; what can change while clients are connected is taken over, this needs a restart";
        tracing::warn!(changed = waiting.join("; "), "{words}");
    }
}

/// Runs a server until a signal ends it. `beside` runs on the main thread next to it.
pub(crate) fn run_until_signalled(
    config: ServerConfig,
    announce: impl FnOnce(&Handle),
    beside: impl AsyncFnOnce(Arc<Hub>),
    mut reload: impl FnMut(&Handle),
) -> anyhow::Result<()> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything else can see that the server is there.
        let mut signals = Signals::new()?;
        let drain_deadline = config.drain.deadline;
        let server = Server::start(config).map_err(start_error)?;
        announce(&server);
        service::ready("listening");
        let beside = beside(server.hub().clone());
        tokio::pin!(beside);
        let mut beside_runs = true;
        let first = loop {
            tokio::select! {
                () = &mut beside, if beside_runs => beside_runs = false,
                heard = signals.next() => match heard {
                    Heard::Reload => {
                        service::reloading();
                        reload(&server);
                        service::ready("listening");
                    }
                    Heard::End(number) => break number,
                },
            }
        };
        tracing::info!(signal = first, "clients are being sent away; a second signal ends at once");
        service::draining(drain_deadline);
        let mut draining = tokio::task::spawn_blocking(move || server.drain());
        loop {
            tokio::select! {
                drained = &mut draining => return Ok(drained?),
                heard = signals.next() => match heard {
                    Heard::Reload => {}
                    Heard::End(number) => process::exit(128 + number),
                },
            }
        }
    })
}

/// Lets this process have as many open files as the system allows, and gives how many that is.
fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused the old limit stays, and the answer tells.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn start_error(error: StartError) -> anyhow::Error {
    let code = match error {
        StartError::Listen { .. }
        | StartError::ListenUnix { .. }
        | StartError::Acme(_)
        | StartError::System(_)
        | StartError::Relay(_)
        | StartError::Webhooks(_) => Code::Failure,
        StartError::Clash(_) | StartError::Setting(_) => Code::Usage,
    };
    exit::error(code, error.to_string())
}

/// The signals that a server listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

pub(crate) enum Heard {
    /// The settings shall be read again.
    Reload,
    /// The signal with that number asks for the end.
    End(i32),
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End(SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => Heard::End(SignalKind::interrupt().as_raw_value()),
            _ = self.hang_up.recv() => Heard::Reload,
        }
    }
}
