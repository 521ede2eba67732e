//! `omnivox check`: are the settings right, and what do they change?

use std::fs;

use crate::cli::Settings;
use crate::config::relay::relay_config;
use crate::config::{self, Config, render, webhooks};
use crate::exit::{self, Code};
use crate::logging;

use super::{documents, judge, load};

/// Reads the settings as `serve` would, and prints those that differ from the defaults.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = load(settings, Config::default())?;
    let server = judge(&config)?;
    relay_config(&config.turn, |path| fs::read_to_string(path)).map_err(|problems| exit::error(Code::Usage, problems.to_string()))?;
    logging::filter(&config.log.level)?;
    documents::print(render::changes(&config).as_bytes())?;
    for note in webhooks::notes(&config) {
        eprintln!("omnivox: note: {note}");
    }
    for weakness in config::hooks::weaknesses(&config) {
        eprintln!("omnivox: warning: {weakness}");
    }
    let apps = server.apps.len();
    let connections = server.limits.connections_max;
    eprintln!("omnivox: the settings are right: {apps} app(s), at most {connections} connections");
    Ok(())
}
