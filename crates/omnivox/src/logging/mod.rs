//! Log lines on standard error: for people or as JSON, with a level that can change while the server runs.

mod sampling;

use std::io::IsTerminal as _;

use tracing_subscriber::filter::LevelFilter;
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

/// Reads `info`, or targets with levels such as `info,omnivox_hub=debug`. `trace` is refused: what lies below `debug` is not compiled in, for lines
/// of the libraries stand on paths that every message takes.
pub(crate) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let wrong = |why: &str| {
        exit::error(
            Code::Usage,
            format!("log.level {level:?}: {why}; write off, error, warn, info or debug, or targets with these: `info,omnivox_hub=debug`"),
        )
    };
    let filter = EnvFilter::try_new(level).map_err(|_| wrong("this is no level"))?;
    if filter.max_level_hint() == Some(LevelFilter::TRACE) {
        return Err(wrong("there is no level below `debug`"));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_would_show_nothing_more_is_refused() {
        let check = |level: &str, expected: Option<&str>| {
            let found = filter(level).err().map(|error| error.to_string());
            assert!(
                match (&found, expected) {
                    (Some(found), Some(expected)) => found.starts_with("log.level ") && found.contains(expected),
                    (found, expected) => found.is_none() && expected.is_none(),
                },
                "{level:?}: {found:?}"
            );
        };
        for level in ["error", "warn", "info", "DEBUG", "off", "4", "info,omnivox_hub=debug", "warn,h2=off"] {
            check(level, None);
        }
        // A target without a level means all of it, and 5 is trace.
        for level in ["trace", "TRACE", "5", "info,h2=trace", "omnivox_hub"] {
            check(level, Some("there is no level below `debug`"));
        }
        check("info,omnivox_hub=loud", Some("this is no level; write off, error"));
    }
}
