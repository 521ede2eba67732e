//! What can be set of a PeerJS endpoint; the defaults are those that the client expects.

use std::time::Duration;

use omnivox_core::ChannelName;
use omnivox_core::origin::Origins;

/// The settings of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerJsSettings {
    /// Where it is mounted, with a slash at both ends; the client's `path`.
    pub path: String,
    /// The client's `key`.
    pub key: String,
    /// The channel in which the peers have their seats.
    pub channel: ChannelName,
    /// Whether `GET …/peers` tells everyone who is here.
    pub discovery: bool,
    /// Origins whose pages may read the answers of the HTTP paths.
    pub cors_origins: Origins,
    /// How long a client may stay silent; it says something every five seconds.
    pub alive_time_max: Duration,
    /// How long what is for an absent peer waits.
    pub wait_time_max: Duration,
    /// How often it is looked whether the peer came.
    pub wait_look: Duration,
    /// Messages of one client that wait for absent peers.
    pub waiting_messages_max: usize,
    /// Bytes of one message.
    pub message_bytes_max: usize,
}

impl Default for PeerJsSettings {
    fn default() -> Self {
        Self {
            path: "/peerjs/".to_owned(),
            key: "peerjs".to_owned(),
            channel: ChannelName::parse("peerjs").expect("a short plain name"),
            discovery: false,
            cors_origins: Origins::new(vec!["*".to_owned()]),
            alive_time_max: Duration::from_secs(60),
            wait_time_max: Duration::from_secs(5),
            wait_look: Duration::from_millis(200),
            waiting_messages_max: 64,
            message_bytes_max: 64 << 10,
        }
    }
}
