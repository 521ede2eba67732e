//! `omnivox check`: are the settings right, and what do they change?

use crate::cli::Settings;
use crate::config::{Config, render};

use super::{documents, judge, load};

/// Reads the settings as `serve` would, and prints those that differ from the defaults.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = load(settings, Config::default())?;
    let meaning = judge(&config)?;
    documents::print(render::changes(&config).as_bytes())?;
    let apps = meaning.apps.len();
    let connections = meaning.limits.connections_max;
    eprintln!("omnivox: the settings are right: {apps} app(s), at most {connections} connections");
    Ok(())
}
