//! What can be typed. Commands say what it means.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use omnivox_auth::secret::Purpose;
use omnivox_bench::BenchCommand;
use omnivox_core::{AppId, ChannelName};

use crate::client::connection::{Access, ApiKey, Token};
use crate::client::subscription::Transport;
use crate::client::target::Target;
use crate::command::credentials::{self, Allowance};
use crate::command::dev;
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
    /// Start a server to try things out: everything open, on this machine only, no settings needed
    Dev(Dev),
    /// Start a server with your own settings
    Serve(Settings),
    /// Publish one message: `omnivox publish general '{"text":"hi"}'`
    ///
    /// Prints the server's answer, which has the message's id.
    Publish(Publish),
    /// Print the messages of channels as they come, one line each; after a loss of the connection go on where it was
    Subscribe(Subscribe),
    /// Measure a server, beside the least that the machine can do
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Start the STUN and TURN relay of the settings alone
    Turn(Settings),
    /// Write a settings file with every setting explained and a fresh secret
    Init(Init),
    /// Make a token of an app, signed with its secret
    Token(Mint),
    /// Print the secret that an app's own is turned into for one purpose, such as `webhook`, to type it in elsewhere
    Secret(Derive),
    /// End at once what a user, a session or a token may do: `omnivox revoke user ana`
    ///
    /// Living connections are closed, and what they came with is refused from now on.
    Revoke(Revoke),
    /// Say what a token, or nobody, may do with a channel, and which rule decides
    Explain(Explain),
    /// Check the settings without starting anything: what differs from the defaults, what a server would do, what is weak
    Check(Settings),
    /// Take over the settings of another server: prints them as ours
    #[command(subcommand)]
    Import(Import),
    /// Print a completion script: `omnivox completions bash > /etc/bash_completion.d/omnivox`
    Completions {
        /// The shell that it is for.
        shell: Shell,
    },
    /// Print documents about the configuration, made from its one definition
    Config(Documents),
}

/// Whose settings to take over.
#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Those of a Mercure hub: `omnivox import caddyfile Caddyfile > omnivox.toml`
    Caddyfile {
        /// The file.
        file: PathBuf,
    },
    /// Those of a coturn: `omnivox import turnserver.conf /etc/turnserver.conf > omnivox.toml`
    #[command(name = "turnserver.conf")]
    TurnserverConf {
        /// The file.
        file: PathBuf,
    },
}

/// How to start the server to try things out.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The port; 0 takes a free one [default: 8080].
    #[arg(long, short)]
    pub(crate) port: Option<u16>,
    /// The address, one of loopback [default: 127.0.0.1].
    #[arg(long, value_parser = dev::loopback)]
    pub(crate) host: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) flags: SettingFlags,
}

/// Which server a client command talks to.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server's URL: http or https, with a path where the server has one.
    #[arg(long, env = "OMNIVOX_URL", default_value = "http://127.0.0.1:8080", value_parser = Target::parse)]
    pub(crate) url: Target,
    /// A token that allows what is asked.
    #[arg(long, env = "OMNIVOX_TOKEN", hide_env_values = true, value_parser = Token::parse)]
    pub(crate) token: Option<Token>,
    /// Certificate authorities (PEM) to trust instead of the system's, for an https URL.
    #[arg(long, value_name = "FILE", env = "SSL_CERT_FILE")]
    pub(crate) ca: Option<PathBuf>,
}

impl Server {
    pub(crate) fn access(&self) -> Access {
        Access { target: self.url.clone(), token: self.token.clone(), key: None, authorities: self.ca.clone() }
    }
}

/// What to publish.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The channel.
    pub(crate) channel: String,
    /// The payload: JSON, or `-` to read it from standard input.
    #[arg(allow_hyphen_values = true)]
    pub(crate) data: String,
    /// Take the payload as text, not as JSON.
    #[arg(long)]
    pub(crate) text: bool,
    /// The event's name.
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// An id of your own: the same id is published once, however often you try.
    #[arg(long)]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// What to listen to.
#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    /// The channels.
    #[arg(required_unless_present = "patterns")]
    pub(crate) channels: Vec<String>,
    /// All channels that a pattern means, too: `chat:*`, or a URI template such as `/books/{id}`. Can be repeated, but over a WebSocket
    /// a pattern comes alone.
    #[arg(long = "pattern", value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// How messages travel.
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub(crate) transport: Transport,
    /// Begin behind this mark: the id of the last message that you have, a cursor, or `earliest`. An id is a place in one channel; with
    /// several channels or a pattern it has to be one of the others.
    #[arg(long, value_name = "MARK")]
    pub(crate) since: Option<String>,
    /// Print the whole message with channel, id and event, not only its data.
    #[arg(long)]
    pub(crate) json: bool,
    /// Stop after so many messages.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<std::num::NonZeroU64>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// What to revoke.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Whether it is a user, a session or a token.
    #[arg(value_enum)]
    pub(crate) what: Revocable,
    /// The user, the session's id as `/v1/connections` shows it, or the token's id (`jti`).
    pub(crate) name: String,
    /// An API key that may manage all channels, `id:secret`. Other users of this machine see arguments; better put it into the environment.
    #[arg(long, env = "OMNIVOX_API_KEY", hide_env_values = true, value_parser = ApiKey::parse)]
    pub(crate) api_key: Option<ApiKey>,
    /// Print the server's answer, not a sentence.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

impl Revoke {
    pub(crate) fn access(&self) -> Access {
        Access { key: self.api_key.clone(), ..self.server.access() }
    }
}

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Revocable {
    /// Everything of a user.
    User,
    /// One session, and the credential that it came with.
    Session,
    /// A token, by its id.
    Token,
}

impl Revocable {
    /// As the API calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Token => "token",
        }
    }
}

/// Where to write settings.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file; it must not exist.
    #[arg(default_value = "omnivox.toml")]
    pub(crate) file: PathBuf,
    /// The id of the first app.
    #[arg(long, default_value = "main", value_parser = credentials::app_id)]
    pub(crate) app: AppId,
}

/// What a token shall say.
#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// The app; may be left out when there is one only.
    #[arg(long, value_parser = credentials::app_id)]
    pub(crate) app: Option<AppId>,
    /// The user whom it names.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// What it grants: 'chat:*=subscribe,publish'; `*` is all that a client does. Can be repeated.
    #[arg(long, value_name = "PATTERN=PERMISSIONS", value_parser = Allowance::parse)]
    pub(crate) allow: Vec<Allowance>,
    /// How long it lasts: 90s, 15m, 12h, 7d.
    #[arg(long, default_value = "1h", value_parser = credentials::lifetime)]
    pub(crate) lifetime: Duration,
    /// Its id, by which it can be revoked.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// What others see of the user: JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Which secret to derive.
#[derive(Debug, Args)]
pub(crate) struct Derive {
    /// What it is for.
    #[arg(value_parser = credentials::purpose)]
    pub(crate) purpose: Purpose,
    /// The app; may be left out when there is one only.
    #[arg(long, value_parser = credentials::app_id)]
    pub(crate) app: Option<AppId>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What to explain.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The app; may be left out when there is one only.
    #[arg(long, value_parser = credentials::app_id)]
    pub(crate) app: Option<AppId>,
    /// The channel.
    #[arg(long, value_parser = credentials::channel)]
    pub(crate) channel: ChannelName,
    /// The token; without one, somebody who shows nothing.
    #[arg(long, env = "OMNIVOX_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the keys of `app.token_key_set`, to read instead of what that names.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
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
