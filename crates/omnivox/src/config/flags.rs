//! Every setting as a flag of `omnivox serve`, grouped by section in `--help`.

use clap::{Arg, ArgMatches, Command};

use super::settings::Config;
use super::value::Kind;

/// The flags that were given, without their dashes, and their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingFlags(pub(crate) Vec<(String, String)>);

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let mut command = command;
        for section in Config::SECTIONS {
            for setting in section.settings {
                let Some((flag, variable)) = section.flag(setting).zip(section.variable(setting)) else {
                    continue;
                };
                let default = (setting.default)().map_or_else(|| "unset".to_owned(), |value| value.replace('"', ""));
                let help = format!("{}\n[default: {default}]\n[env: {variable}]", setting.doc());
                command = command.arg(
                    Arg::new(flag.clone())
                        .long(flag)
                        .value_name(placeholder(setting.kind))
                        .help(help)
                        .help_heading(format!("Settings of {}", section.heading()))
                        .hide_short_help(true)
                        .allow_hyphen_values(true),
                );
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Config::SECTIONS.iter().flat_map(|section| section.settings.iter().filter_map(|setting| section.flag(setting)));
        Ok(Self(flags.filter_map(|flag| matches.get_one::<String>(&flag).map(|value| (flag.clone(), value.clone()))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What stands for the value in `--help`.
fn placeholder(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true|false".to_owned(),
        Kind::Integer { .. } => "NUMBER".to_owned(),
        Kind::Ratio => "0..1".to_owned(),
        Kind::Text | Kind::Secret => "TEXT".to_owned(),
        Kind::Path => "PATH".to_owned(),
        Kind::Address => "ADDRESS:PORT".to_owned(),
        Kind::Choice(words) => words.join("|"),
        Kind::List(item) => format!("{},…", placeholder(*item)),
    }
}
