//! The settings of `omnivox dev`: everything open, on loopback, with short paths.

use std::net::SocketAddr;

use omnivox_core::{AppId, ChannelName};

use super::choices::{Permission, RouteFormat, RouteTarget};
use super::relay::PeerRange;
use super::settings::{App, Config, NamespaceSettings, Route, Server, Turn};
use super::value::{Placeholder as _, Value as _};

impl Config {
    /// The settings of `omnivox dev`: everything open, on loopback, with short paths.
    pub(crate) fn dev(listen: SocketAddr) -> Self {
        let demo = AppId::placeholder();
        let everything = vec![Permission::Subscribe, Permission::Publish, Permission::Presence, Permission::History, Permission::Manage];
        let route = |path: &str, to| Route { path: path.to_owned(), to, ..Route::default() };
        let general = vec![ChannelName::parse("general").expect("a name")];
        let notifications = vec![ChannelName::parse(NOTIFICATIONS).expect("a name")];
        Self {
            server: Server {
                listen: vec![listen],
                hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
                ..Server::default()
            },
            app: vec![App { id: demo, open: true, allowed_origins: vec!["*".to_owned()], ..App::default() }],
            namespace: vec![NamespaceSettings { anonymous: everything, ..NamespaceSettings::default() }],
            route: vec![
                route("/ws", RouteTarget::Ws),
                route("/sse", RouteTarget::Sse),
                Route { channels: general, ..route("/poll", RouteTarget::Poll) },
                route("/publish", RouteTarget::Publish),
                route("/echo", RouteTarget::Echo),
                Route { channels: notifications, format: RouteFormat::Data, ..route("/api/notifications", RouteTarget::Sse) },
            ],
            turn: Turn {
                udp: vec![SocketAddr::new(listen.ip(), 0)],
                tcp: vec![SocketAddr::new(listen.ip(), 0)],
                // Everyone is on this machine, and so are the peers.
                peers_allow: ["127.0.0.0/8", "::1"].iter().filter_map(|range| PeerRange::from_text(range).ok()).collect(),
                ..Turn::default()
            },
            ..Self::default()
        }
    }
}

/// The channel on which `omnivox dev` says something each second.
pub(crate) const NOTIFICATIONS: &str = "notifications";
