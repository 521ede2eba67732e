//! `omnivox turn`: the relay alone; and the relay beside a server.

use std::fs;
use std::time::Duration;

use omnivox_auth::secret::Secret;
use omnivox_server::relay::RelaySettings;
use omnivox_turn::{Handle, StartError, TurnServer};

use crate::cli::Settings;
use crate::config::relay::relay_config;
use crate::config::settings::{Config, Turn};
use crate::exit::{self, Code};
use crate::logging;
use crate::service;

use super::load;
use super::serve::{Heard, Signals};

/// Runs the relay of `[turn]` until a signal ends it.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = load(settings, Config::default())?;
    if !config.turn.listens() {
        return Err(exit::error(Code::Usage, "[turn] has no listener: set `udp`, such as --turn-udp 0.0.0.0:3478"));
    }
    let _switch = logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let relay = start(&config.turn)?;
        service::ready("relaying");
        while let Heard::Reload = signals.next().await {
            service::reloading();
            tracing::info!("the relay takes its settings at the start only");
            service::ready("relaying");
        }
        service::draining(Duration::ZERO);
        relay.join();
        Ok(())
    })
}

/// The relay beside a server, with credentials from its hub; nothing when `[turn]` names neither listeners nor relays elsewhere.
pub(crate) fn beside(turn: &Turn) -> anyhow::Result<Option<RelaySettings>> {
    let refuse = |words: String| exit::error(Code::Usage, format!("[turn]: {words}"));
    if !turn.listens() && turn.urls.is_empty() {
        return Ok(None);
    }
    let secret =
        turn.secrets.first().map(|secret| Secret::imported(secret.reveal())).transpose().map_err(|weak| refuse(weak.to_string()))?;
    if !turn.listens() && secret.is_none() {
        return Err(refuse("`urls` without a listener are relays elsewhere; they need a secret in common, so set `secrets`".to_owned()));
    }
    let known = ["stun:", "stuns:", "turn:", "turns:"];
    if let Some(wrong) = turn.urls.iter().find(|url| !known.iter().any(|scheme| url.starts_with(scheme))) {
        return Err(refuse(format!("`urls`: {wrong:?} begins with none of {}", known.join(", "))));
    }
    let config = relay_config(turn, |path| fs::read_to_string(path)).map_err(|problems| exit::error(Code::Usage, problems.to_string()))?;
    Ok(Some(RelaySettings {
        turn: turn.listens().then_some(config),
        secret,
        urls: turn.urls.clone(),
        ttl_s: turn.credential_time_ms.as_secs(),
    }))
}

/// Starts the relay and says where it listens.
pub(crate) fn start(turn: &Turn) -> anyhow::Result<Handle> {
    let config = relay_config(turn, |path| fs::read_to_string(path)).map_err(|problems| exit::error(Code::Usage, problems.to_string()))?;
    let relay = TurnServer::start(config).map_err(|error| {
        let code = match error {
            StartError::Bind { .. } | StartError::Worker(_) | StartError::Random(_) => Code::Failure,
            StartError::NoListener | StartError::NoCertificates(_) | StartError::NoPorts(..) | StartError::Discovery(..) => Code::Usage,
        };
        exit::error(code, format!("[turn]: {error}"))
    })?;
    for bound in relay.bound() {
        tracing::info!("relay on {} {}", bound.transport, bound.address);
    }
    Ok(relay)
}
