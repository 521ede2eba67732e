//! Log lines on standard error: for people or as JSON, with a level that can change while the server runs.

mod sampling;

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::choices::LogFormat;
use crate::config::settings::Log;
use crate::exit::{self, Code};

use sampling::Sampling;

/// Changes what is logged.
#[derive(Debug)]
pub(crate) struct LevelSwitch(reload::Handle<EnvFilter, Registry>);

impl LevelSwitch {
    /// Logs by this level from now on.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

/// Begins to log.
pub(crate) fn start(settings: &Log) -> anyhow::Result<LevelSwitch> {
    let (filter, switch) = reload::Layer::new(filter(&settings.level)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colour).boxed()
        }
    };
    let lines = lines.with_filter(Sampling::start(settings.lines_per_second)?);
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(LevelSwitch(switch))
}

/// Reads `info`, or targets with levels such as `info,omnivox_hub=debug`.
pub(crate) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level).map_err(|error| exit::error(Code::Usage, format!("log.level {level:?}: {error}")))
}
