//! The one definition of every setting.
//!
//! From this table come the parser, the environment variables, the flags and `--help` of `omnivox serve`, the sample file
//! `omnivox.sample.toml`, the reference `docs/config.md` and the JSON schema. To add a setting, add a row and run
//! `omnivox config --print-docs` and `--print-sample`; a test fails while the files differ.
//!
//! Names say their unit at the end: `_ms`, `_bytes`, `_per_second`; a limit ends in `_max`. A row without a default must be given.

use std::net::SocketAddr;
use std::time::Duration;

use super::table::settings;
use super::value::{Secret, choice};

settings! {
    tables {
        /// Where the server listens and how it uses the machine.
        server: Server, since "0.1" {
            /// Addresses that accept clients. An address that other machines can reach needs an app with credentials.
            listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 8080))];
            /// Threads that own connections; 0 means one per core.
            shards: u16 = 0;
        }

        /// How dead peers are found and proxies kept awake.
        heartbeat: Heartbeat, since "0.1" {
            /// Pause between pings to a WebSocket client.
            ws_ping_interval_ms: Duration = Duration::from_secs(25);
            /// How long a WebSocket client may stay silent after a ping before it is disconnected.
            ws_pong_timeout_ms: Duration = Duration::from_secs(20);
            /// Pause between comments on an event stream. Proxies often cut streams that are silent for 60 seconds.
            sse_comment_interval_ms: Duration = Duration::from_secs(15);
        }

        /// What is written to the standard error stream.
        log: Log, since "0.1" {
            /// Lines for people, or one JSON object a line for machines.
            format: LogFormat = LogFormat::Text;
            /// What is logged: a level (error, warn, info, debug), or targets with levels such as `info,omnivox_hub=debug`.
            level: String = "info".to_owned();
        }
    }
    lists {
        /// A tenant. Apps never see each other: messages, presence, history and limits are apart.
        app: App, since "0.1" {
            /// Its name in paths and tokens.
            id: String;
            /// The public key that clients and back ends name the app by; the id when unset.
            key: Option<String> = None;
            /// What signatures and tokens of the app are made with. At least 32 characters; `openssl rand -hex 32` gives one.
            secret: Option<Secret> = None;
            /// Whether clients may come without a credential. What they may do is then up to the namespaces.
            open: bool = false;
            /// Origins that browsers may come from, such as `https://example.com`; `*` allows all.
            allowed_origins: Vec<String> = Vec::new();
        }
    }
}

choice! {
    /// The form of log lines.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
