//! `omnivox check`: are the settings right, and what do they change?

use crate::cli::Settings;
use crate::config::{Config, render};

use super::{documents, load};

/// Reads the settings as `serve` would, and prints those that differ from the defaults.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = load(settings, Config::default())?;
    documents::print(render::changes(&config).as_bytes())?;
    eprintln!("omnivox: the settings are right");
    Ok(())
}
