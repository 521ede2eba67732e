//! What can be typed. Commands say what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::flags::SettingFlags;
use crate::exit;

/// One real-time server for every client that you already have.
#[derive(Debug, Parser)]
#[command(name = "omnivox", version, about, after_help = exit::HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the settings without starting anything, and list those that differ from the defaults
    Check(Settings),
    /// Print a completion script: `omnivox completions bash > /etc/bash_completion.d/omnivox`
    Completions {
        /// The shell that it is for.
        shell: Shell,
    },
    /// Print documents about the configuration, made from its one definition
    Config(Documents),
}

/// Where the settings of a server come from: defaults < file < environment < flags.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The settings file (TOML). Without one, only environment variables and flags change the defaults.
    #[arg(long, short, value_name = "FILE", env = "OMNIVOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: SettingFlags,
}

/// Which document to print.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Documents {
    /// The reference of all settings, as Markdown.
    #[arg(long)]
    pub(crate) print_docs: bool,
    /// A settings file with everything at its default, commented out.
    #[arg(long)]
    pub(crate) print_sample: bool,
    /// A JSON schema of the settings file, for editors.
    #[arg(long)]
    pub(crate) schema: bool,
}
