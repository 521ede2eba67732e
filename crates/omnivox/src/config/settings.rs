//! The one definition of every setting.
//!
//! From this table come the parser, the environment variables, the flags and `--help` of `omnivox serve`, the sample file
//! `omnivox.sample.toml`, the reference `docs/config.md` and the JSON schema. To add a setting, add a row and run
//! `omnivox config --print-docs` and `--print-sample`; a test fails while the files differ.
//!
//! Names say their unit at the end: `_ms`, `_bytes`, `_per_second`; a limit ends in `_max`. A row without a default must be given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnivox_auth::MemoryLimits;
use omnivox_auth::authenticator::TOKEN_BYTES_MAX;
use omnivox_auth::key_set::KeySetPolicy;
use omnivox_auth::signature::WINDOW_MS;
use omnivox_core::app::Retention;
use omnivox_core::{AppId, ChannelName, Limits, Pattern};
use omnivox_dialects::mercure::MercureSettings;
use omnivox_dialects::native::NativeSettings;
use omnivox_dialects::peerjs::PeerJsSettings;
use omnivox_dialects::socketio::{RecoverySettings, SocketIoSettings};
use omnivox_hub::outgoing::OutgoingSettings;
use omnivox_hub::webhooks::WebhooksConfig;
use omnivox_server::config::DrainPace;
use omnivox_server::proxies::Network;
use omnivox_server::{Identity, UnixSockets};
use omnivox_turn::{Settings as RelaySettings, StreamLimits};

use super::choices::{
    AcmeChallenge, HookEvent, LogFormat, OnFailure, Permission, ProxyHeadersChoice, RouteFormat, RouteTarget, TokenAlgorithm, WebhookEvent,
};
use super::relay::{PeerRange, Relay};
use super::sockets::FileMode;
use super::table::settings;
use super::trust::Allowance;
use super::value::{Ratio, Secret};

settings! {
    tables {
        /// Where the server listens and how it uses the machine.
        server: Server, since "0.1" {
            /// Addresses that accept clients. An address that other machines can reach needs an app with credentials.
            listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 8080))];
            /// Whether an app that needs no credential may be reached from other machines.
            open_to_the_network: bool = false;
            /// Networks of the proxies in front, such as `10.0.0.0/8`. They alone are believed about who the client is.
            trusted_proxies: Vec<Network> = Vec::new();
            /// The headers in which they say it; the other ones are not looked at.
            proxy_headers: ProxyHeadersChoice = ProxyHeadersChoice::XForwarded;
            /// Those addresses of `listen` and `tls.listen` where they begin every connection with a PROXY protocol header (version 1 or 2).
            proxy_protocol: Vec<SocketAddr> = Vec::new();
            /// Host names that requests and the pages behind them may have, without port; empty lets all in. Apps limit
            /// origins by themselves; this protects a server that trusts whoever reaches it.
            hosts: Vec<String> = Vec::new();
            /// Threads that own connections; 0 means one per core.
            shards: u16 = 0;
            /// Whether WebSocket clients may compress messages (permessage-deflate).
            deflate: bool = false;
        }

        /// TLS: HTTP/1.1, HTTP/2 and WebSocket over either. SIGHUP reads the files again.
        tls: TlsSection, since "0.1" {
            /// Addresses that accept clients over TLS, such as `0.0.0.0:8443`.
            listen: Vec<SocketAddr> = Vec::new();
            /// The file with the certificate chain (PEM), leaf first.
            certificate_file: Option<PathBuf> = None;
            /// The file with its private key (PEM).
            private_key_file: Option<PathBuf> = None;
        }

        /// Certificates from an authority that speaks ACME, such as Let's Encrypt, instead of files; see `docs/tls.md`.
        acme: AcmeSection, since "0.1" {
            /// The names of the certificate; with any, the certificate of `tls.listen` is asked for and renewed by itself.
            names: Vec<String> = Vec::new();
            /// Whether you agree to the authority's terms of service.
            terms_agreed: bool = false;
            /// The authority's directory.
            directory: String = "https://acme-v02.api.letsencrypt.org/directory".to_owned();
            /// Where the authority reaches you, such as `mailto:ops@example.com`.
            contacts: Vec<String> = Vec::new();
            /// Where the account's key and the certificates are kept.
            folder: PathBuf = PathBuf::from("/var/lib/omnivox/acme");
            /// How the names are proven to be ours.
            challenge: AcmeChallenge = AcmeChallenge::TlsAlpn01;
        }

        /// Unix sockets: for a proxy on the same machine, without a port. Who connects there counts as 127.0.0.1.
        unix: UnixSection, since "0.1" {
            /// Files to listen on, such as `/run/omnivox/omnivox.sock`. What an ended server left behind is replaced.
            listen: Vec<PathBuf> = Vec::new();
            /// Their mode, in octal; who may write to the file may connect.
            mode: FileMode = FileMode(UnixSockets::default().mode);
            /// The user whom they belong to, by name or number; the server's own when unset.
            owner: Option<Identity> = None;
            /// Their group, by name or number; the server's own when unset.
            group: Option<Identity> = None;
        }

        /// Who may see what the operator sees: `/metrics`.
        admin: Admin, since "0.1" {
            /// A token that lets in from everywhere, as `Authorization: Bearer`. At least 32 characters.
            token: Option<Secret> = None;
            /// Networks that are let in without it. What a proxy passes on is not from there.
            networks: Vec<Network> = ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| Network::parse(text).ok()).collect();
        }

        /// How dead peers are found and proxies kept awake.
        heartbeat: Heartbeat, since "0.1" {
            /// Pause between pings to a WebSocket client.
            ws_ping_interval_ms: Duration = Duration::from_secs(25);
            /// How long a WebSocket client may stay silent after a ping before it is disconnected.
            ws_pong_timeout_ms: Duration = Duration::from_secs(20);
            /// Pause between comments on an event stream. Proxies often cut streams that are silent for 60 seconds.
            sse_comment_interval_ms: Duration = Duration::from_secs(15);
            /// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
            tcp_user_timeout_ms: Duration = Duration::from_secs(45);
        }

        /// Everything that is bounded, and by how much; `docs/limits.md` says what a breach of each looks like.
        limits: LimitSettings, since "0.1" {
            /// Bytes of one message from a client: a WebSocket message, one publication of a batch.
            message_bytes_max: usize = Limits::default().message_bytes_max;
            /// Bytes of an HTTP request's body.
            body_bytes_max: usize = Limits::default().body_bytes_max;
            /// Bytes of an HTTP request's head.
            head_bytes_max: usize = Limits::default().head_bytes_max;
            /// Header lines of an HTTP request.
            headers_max: usize = Limits::default().headers_max;
            /// How long a client may take to send a request's head.
            head_time_max_ms: Duration = Limits::default().head_time_max;
            /// How long a client may take to send a request's body.
            body_time_max_ms: Duration = Limits::default().body_time_max;
            /// How long an HTTP connection may be kept without a request.
            keep_alive_time_max_ms: Duration = Limits::default().keep_alive_time_max;
            /// Connections of the whole server.
            connections_max: usize = Limits::default().connections_max;
            /// TLS handshakes that are under way at the same time.
            handshakes_max: usize = Limits::default().handshakes_max;
            /// Connections of one client address; an IPv6 address counts by its /64. Unset does not limit it, as for the next three.
            connections_per_address_max: Option<usize> = None;
            /// New connections of the whole server in a second.
            connects_per_second_max: Option<u32> = None;
            /// New connections of one client address in a second.
            connects_per_address_per_second_max: Option<u32> = None;
            /// HTTP requests of one client address in a second.
            requests_per_address_per_second_max: Option<u32> = None;
            /// Connections of one app; unset does not limit it, as for the next five.
            connections_per_app_max: Option<usize> = None;
            /// Connections of one user of an app.
            connections_per_user_max: Option<usize> = None;
            /// Messages that come over one WebSocket in a second.
            messages_per_second_max: Option<u32> = None;
            /// Publications of one connection in a second.
            publications_per_second_max: Option<u32> = None;
            /// Publications of one user of an app in a second.
            publications_per_user_per_second_max: Option<u32> = None;
            /// Publications of one app in a second.
            publications_per_app_per_second_max: Option<u32> = None;
            /// Channels and patterns that all connections of one app are subscribed to together; unset does not limit it, as for the rest of the quotas.
            subscriptions_per_app_max: Option<usize> = None;
            /// The same for one user of an app.
            subscriptions_per_user_max: Option<usize> = None;
            /// The same for one client address.
            subscriptions_per_address_max: Option<usize> = None;
            /// Publications of one client address in a second.
            publications_per_address_per_second_max: Option<u32> = None;
            /// Messages to one connection in a second.
            deliveries_per_second_max: Option<u32> = None;
            /// Messages to one user of an app in a second.
            deliveries_per_user_per_second_max: Option<u32> = None;
            /// Messages to all clients of one app in a second.
            deliveries_per_app_per_second_max: Option<u32> = None;
            /// Messages to one client address in a second.
            deliveries_per_address_per_second_max: Option<u32> = None;
            /// Bytes from one connection in a second.
            bytes_in_per_second_max: Option<usize> = None;
            /// Bytes from one user of an app in a second.
            bytes_in_per_user_per_second_max: Option<usize> = None;
            /// Bytes from all clients of one app in a second.
            bytes_in_per_app_per_second_max: Option<usize> = None;
            /// Bytes from one client address in a second.
            bytes_in_per_address_per_second_max: Option<usize> = None;
            /// Bytes to one connection in a second.
            bytes_out_per_second_max: Option<usize> = None;
            /// Bytes to one user of an app in a second.
            bytes_out_per_user_per_second_max: Option<usize> = None;
            /// Bytes to all clients of one app in a second.
            bytes_out_per_app_per_second_max: Option<usize> = None;
            /// Bytes to one client address in a second.
            bytes_out_per_address_per_second_max: Option<usize> = None;
            /// Channels that one connection is subscribed to.
            channels_per_connection_max: usize = Limits::default().channels_per_connection_max;
            /// Channels that one publication goes to.
            channels_per_publication_max: usize = Limits::default().channels_per_publication_max;
            /// Publications in one batch.
            batch_publications_max: usize = Limits::default().batch_publications_max;
            /// Commands of one connection that wait for an answer.
            commands_in_flight_max: usize = Limits::default().commands_in_flight_max;
            /// Bytes that may wait for a client before it is cut off at once.
            outbox_bytes_hard: usize = Limits::default().outbox_bytes_hard;
            /// Bytes that may wait for a client for `outbox_soft_time_max_ms`.
            outbox_bytes_soft: usize = Limits::default().outbox_bytes_soft;
            /// How long a client may stay above `outbox_bytes_soft`.
            outbox_soft_time_max_ms: Duration = Limits::default().outbox_soft_time_max;
            /// Bytes of an event name.
            event_name_bytes_max: usize = Limits::default().event_name_bytes_max;
            /// Bytes of an id that a publisher chooses.
            publication_id_bytes_max: usize = Limits::default().publication_id_bytes_max;
            /// Bytes of a member's data.
            member_data_bytes_max: usize = Limits::default().member_data_bytes_max;
            /// Members of one channel.
            members_per_channel_max: usize = Limits::default().members_per_channel_max;
            /// Seats in one room: members who signal to each other to set up calls.
            seats_per_room_max: usize = Limits::default().seats_per_room_max;
            /// Seats of members who come by requests and an event stream or polls, on this node.
            seats_leased_max: usize = Limits::default().seats_leased_max;
            /// How long the seat of a client that was lost is kept for it.
            seat_grace_ms: Duration = Limits::default().seat_grace;
            /// Signals that one client may send at once.
            signals_burst_max: usize = Limits::default().signals_burst_max;
            /// Signals that one client may send each second after that.
            signals_per_second_max: usize = Limits::default().signals_per_second_max;
            /// Publications in one answer of history, a poll or a resume.
            history_page_max: usize = Limits::default().history_page_max;
            /// How long a poll is held.
            poll_time_max_ms: Duration = Limits::default().poll_time_max;
            /// Channels that exist at once in the memory engine.
            channels_max: usize = Limits::default().channels_max;
            /// How long an id that a publisher chose is remembered.
            idempotency_time_ms: Duration = Limits::default().idempotency_time;
            /// Ids remembered for one channel.
            idempotency_ids_max: usize = Limits::default().idempotency_ids_max;
            /// Publications that wait for one shard.
            shard_queue_max: usize = Limits::default().shard_queue_max;
            /// Bytes of a token.
            token_bytes_max: usize = TOKEN_BYTES_MAX;
            /// Tickets of an app that wait to be used.
            tickets_max: usize = MemoryLimits::default().tickets_max;
            /// Revocations of an app that are in force.
            revocations_max: usize = MemoryLimits::default().revocations_max;
            /// Signed requests of an app that are remembered, so that none works twice.
            signatures_max: usize = MemoryLimits::default().signatures_max;
        }

        /// What is kept of each channel for clients that come back, where its namespace does not say otherwise.
        history: History, since "0.1" {
            /// Publications kept; 0 keeps none, and every resume is then a gap.
            count_max: usize = Retention::default().count_max;
            /// How long a publication is kept.
            age_max_ms: Duration = Retention::default().age_max;
            /// Bytes kept.
            bytes_max: usize = Retention::default().bytes_max;
        }

        /// The native protocol: plain WebSocket, EventSource and polls.
        native: NativeSection, since "0.1" {
            /// How long a WebSocket client that needs a credential may take to send it.
            connect_time_max_ms: Duration = NativeSettings::default().connect_time_max;
            /// The cookie that holds a token; empty looks at none. It counts only with a sign of the page, see `docs/credentials.md`.
            cookie_name: String = NativeSettings::default().cookie_name.unwrap_or_default();
            /// How long an EventSource waits before it connects again.
            sse_retry_ms: u64 = NativeSettings::default().retry_ms;
        }

        /// Socket.IO: `socket.io-client` and its ports, over HTTP polling and WebSocket.
        socketio: SocketIoSection, since "0.1" {
            /// Whether it is served.
            enabled: bool = true;
            /// Its path, with a slash at both ends.
            path: String = SocketIoSettings::default().path;
            /// Whether clients of Socket.IO 1 and 2 (Engine.IO 3) are served too.
            allow_eio3: bool = SocketIoSettings::default().allow_eio3;
            /// Pause between pings to a client.
            ping_interval_ms: Duration = SocketIoSettings::default().ping_interval;
            /// How long a client may take to answer a ping.
            ping_timeout_ms: Duration = SocketIoSettings::default().ping_timeout;
            /// How long the change from polling to WebSocket may take.
            upgrade_time_max_ms: Duration = SocketIoSettings::default().upgrade_timeout;
            /// How long a client may stay without a namespace.
            connect_time_max_ms: Duration = SocketIoSettings::default().connect_timeout;
            /// Bytes of one message of a client, and of one packet with its attachments.
            message_bytes_max: usize = SocketIoSettings::default().max_payload;
            /// Binary attachments of one packet.
            attachments_max: usize = SocketIoSettings::default().attachments_max;
            /// Namespaces of one connection.
            namespaces_max: usize = SocketIoSettings::default().namespaces_max;
            /// Namespaces that clients may connect to; empty allows every name.
            namespaces: Vec<String> = Vec::new();
            /// Whether a client that was away for a short time gets its rooms and what it missed (connection state recovery).
            recovery: bool = true;
            /// How long a lost connection is remembered for that.
            recovery_time_max_ms: Duration = RecoverySettings::default().max_disconnection;
            /// How many lost connections are remembered; beyond, the oldest is forgotten.
            recovery_connections_max: usize = RecoverySettings::default().connections_max;
            /// The name of a cookie with the session id, for load balancers that want one; omnivox needs none.
            cookie: Option<String> = None;
            /// Whether answers to polls are compressed for clients that take gzip or deflate.
            compression: bool = true;
            /// Bytes from which on an answer is worth that.
            compression_bytes_min: usize = 1024;
            /// Whether to be what the protocol's own test suites expect: their handlers, their short timers, an echo at `/engine.io/`.
            suites: bool = false;
        }

        /// Mercure: event streams by topic at `/.well-known/mercure`, both generations of the protocol; see `docs/mercure.md`.
        mercure: MercureSection, since "0.1" {
            /// Whether it is served.
            enabled: bool = true;
            /// Whether active subscriptions are shown: the subscription API and its events.
            subscriptions: bool = false;
            /// Pause between comments on a silent stream; 0 sends none.
            heartbeat_ms: Duration = MercureSettings::default().heartbeat;
            /// How long a stream lives at most, less up to a fifth; 0 lets it live for ever.
            connection_time_max_ms: Duration = Duration::ZERO;
            /// The cookie with the token of the second generation; that of the first is `mercureAuthorization`.
            cookie_name: String = MercureSettings::default().cookie_name;
            /// Origins whose pages may publish with a cookie: exact ones, `https://*.example.com`, or `*`. The server's own always may.
            publish_origins: Vec<String> = Vec::new();
            /// Where tokens come from, for the metadata document.
            authorization_servers: Vec<String> = Vec::new();
            /// The scheme and host of the server's URLs when a proxy hides them: `https://example.com`.
            public_origin: Option<String> = None;
        }

        /// STUN and TURN: a relay for WebRTC, in `serve` when it has a listener, alone with `omnivox turn`; see `docs/turn.md`.
        turn: Turn, since "0.1" {
            /// Addresses that listen for UDP, such as `0.0.0.0:3478`.
            udp: Vec<SocketAddr> = Vec::new();
            /// Addresses that listen for TCP; with certificates they take TLS too.
            tcp: Vec<SocketAddr> = Vec::new();
            /// Addresses that listen for TLS alone, such as `0.0.0.0:5349`.
            tls: Vec<SocketAddr> = Vec::new();
            /// The file with the certificate chain (PEM) for TLS.
            certificate_file: Option<PathBuf> = None;
            /// The file with its private key (PEM).
            private_key_file: Option<PathBuf> = None;
            /// Addresses that relays are opened on, each with the one that peers see where that is another: `10.0.0.4/203.0.113.4`.
            /// Empty takes those of the listeners.
            relays: Vec<Relay> = Vec::new();
            /// The lowest port of relays.
            port_min: u16 = 49_152;
            /// The highest port of relays.
            port_max: u16 = 65_535;
            /// Threads; 0 means one for every two cores.
            workers: u8 = 0;
            /// The realm of credentials.
            realm: String = RelaySettings::default().realm;
            /// Secrets of time-limited credentials; several, so that one can be replaced without a gap.
            secrets: Vec<Secret> = Vec::new();
            /// The addresses that clients are told by `/v1/ice`, such as `turn:relay.example.org?transport=udp`, the best first; those of the
            /// listeners when empty. With these alone, relays elsewhere that have the first of `secrets` are used.
            urls: Vec<String> = Vec::new();
            /// How long a credential from `/v1/ice` or of a room is good.
            credential_time_ms: Duration = Duration::from_secs(3600);
            /// Users with passwords of their own, each `name:password`, or `name:0x…` with a key that was made before.
            users: Vec<Secret> = Vec::new();
            /// What nonces are signed with: the same on all nodes behind one address. Drawn at start when unset.
            nonce_secret: Option<Secret> = None;
            /// How long a nonce is good.
            nonce_time_ms: Duration = Duration::from_secs(RelaySettings::default().nonce_lifetime_seconds);
            /// Peers that may be reached although their addresses are not public: `192.168.0.0/16`, `10.0.0.1`, `10.0.0.1-10.0.0.9`.
            peers_allow: Vec<PeerRange> = Vec::new();
            /// Public peers that may not be reached.
            peers_deny: Vec<PeerRange> = Vec::new();
            /// Ports that no peer is reached at, such as 25 or 53.
            peer_ports_deny: Vec<u16> = Vec::new();
            /// Allocations of the whole relay.
            allocations_max: u32 = RelaySettings::default().quotas.total_max;
            /// Allocations of one user.
            allocations_per_user_max: u32 = RelaySettings::default().quotas.user_max;
            /// Allocations of one app.
            allocations_per_app_max: u32 = RelaySettings::default().quotas.app_max;
            /// Allocations from one address.
            allocations_per_source_max: u32 = RelaySettings::default().quotas.source_max;
            /// The longest that an allocation lasts without a refresh.
            allocation_time_max_ms: Duration = Duration::from_secs(RelaySettings::default().lifetime_max_seconds as u64);
            /// Bytes that one allocation may carry in a second, both directions; 0 does not limit it.
            allocation_bytes_per_second: u64 = RelaySettings::default().bytes_per_second;
            /// Bytes that all allocations of one user may carry in a second, both directions; 0 does not limit it.
            user_bytes_per_second: u64 = 0;
            /// The same for all allocations of one app.
            app_bytes_per_second: u64 = 0;
            /// The same for the whole relay.
            relay_bytes_per_second: u64 = 0;
            /// Bytes that one user may relay within `bytes_time_ms`, both directions; 0 does not limit it.
            user_bytes_max: u64 = 0;
            /// The same for one app.
            app_bytes_max: u64 = 0;
            /// After this time `user_bytes_max` and `app_bytes_max` begin anew.
            bytes_time_ms: Duration = Duration::from_secs(24 * 3600);
            /// Whether an allocation ends with the time-limited credential that made it, even if the client refreshes it. Credentials of a room's
            /// members last as long as their seats, those of `/v1/ice` always end.
            credentials_end_allocations: bool = RelaySettings::default().credentials_end_allocations;
            /// Answers to requests without a good credential in a second to one address, over UDP; 0 does not limit them.
            unauthenticated_per_second: u64 = RelaySettings::default().unauthenticated.per_second;
            /// Binding answers in a second to one address, over UDP; 0 does not limit them.
            bindings_per_second: u64 = RelaySettings::default().binding.per_second;
            /// TCP and TLS clients of the whole relay.
            connections_max: usize = StreamLimits::default().connections_max;
            /// Whether relays to TCP peers are given (RFC 6062).
            tcp_relay: bool = RelaySettings::default().tcp_relay;
            /// Whether a client keeps its allocation when its address changes (RFC 8016).
            mobility: bool = RelaySettings::default().mobility;
            /// The second address and port that the discovery of a NAT's behaviour needs (RFC 5780); the first are those of the first of `udp`.
            discovery: Option<SocketAddr> = None;
            /// Whether channels have numbers up to 0x7FFF, as old clients draw them (RFC 5766), and not only up to 0x4FFF.
            old_channel_numbers: bool = RelaySettings::default().old_channel_numbers;
        }

        /// PeerJS: the signalling server of the `peerjs` client. It serves everyone who needs no credential.
        peerjs: PeerJsSection, since "0.1" {
            /// Whether it is served.
            enabled: bool = true;
            /// Its path, with a slash at both ends; the client's `path`.
            path: String = PeerJsSettings::default().path;
            /// The client's `key`.
            key: String = PeerJsSettings::default().key;
            /// Whether `GET …/peers` tells everyone who is there.
            discovery: bool = PeerJsSettings::default().discovery;
            /// How long a client may stay silent; it says something every five seconds.
            alive_time_max_ms: Duration = PeerJsSettings::default().alive_time_max;
            /// How long what is for an absent peer waits.
            wait_time_max_ms: Duration = PeerJsSettings::default().wait_time_max;
        }

        /// Requests that the server itself makes to other servers.
        outgoing: OutgoingSection, since "0.1" {
            /// A file with the authorities (PEM) that are trusted instead of the system's.
            ca_file: Option<PathBuf> = None;
            /// Addresses that are not public and that URLs may reach although they do not come from this file: `10.0.0.0/8`.
            allow: Vec<PeerRange> = Vec::new();
            /// Connections at once.
            connections_max: usize = OutgoingSettings::default().connections_max;
        }

        /// Where what waits for webhooks is kept, and how much; see `docs/webhooks.md`.
        webhooks: WebhooksSection, since "0.1" {
            /// The folder in which it is stored, so that it outlives the server; in memory alone when unset.
            folder: Option<PathBuf> = None;
            /// Bytes that may wait for one webhook.
            outbox_bytes_max: usize = WebhooksConfig::default().outbox_bytes_max;
            /// Events on their way to the outboxes.
            queue_max: usize = WebhooksConfig::default().queue_max;
            /// Attempts of one app that `/v1/webhooks/deliveries` remembers.
            log_max: usize = WebhooksConfig::default().log_max;
        }

        /// How clients are sent away when the server stops.
        drain: Drain, since "0.1" {
            /// Sessions that each shard closes in a second, so that they don't all arrive elsewhere at once.
            sessions_per_second: u32 = DrainPace::default().sessions_per_second;
            /// After this everything is closed at once.
            deadline_ms: Duration = DrainPace::default().deadline;
        }

        /// OpenTelemetry traces: spans of requests and commands, told to a collector over OTLP/HTTP; see `docs/operations.md`.
        traces: Traces, since "0.1" {
            /// The collector's URL for traces, such as `http://127.0.0.1:4318/v1/traces`; unset makes none.
            endpoint: Option<String> = None;
            /// Headers of the requests to it, each `name=value`, such as `authorization=Bearer …`.
            headers: Vec<Secret> = Vec::new();
            /// What this server is, each `name=value`, such as `service.name=chat`.
            resource: Vec<String> = Vec::new();
            /// Which part of the traces that begin here is made.
            sample_ratio: Ratio = Ratio(1.0);
            /// Whether a caller's `traceparent` decides for its own trace; its ids are taken over in any case.
            follow_callers: bool = true;
            /// Whether spans name the channel that they are about.
            name_channels: bool = true;
            /// Spans that begin in a second; further ones are dropped.
            spans_per_second_max: u32 = 1_000;
            /// Ended spans that wait for the collector; further ones are dropped.
            queue_max: usize = 2_048;
            /// Spans in one request to it.
            batch_max: usize = 512;
            /// How long an ended span waits for others.
            batch_pause_ms: Duration = Duration::from_secs(5);
            /// How long a request to it may take.
            time_max_ms: Duration = Duration::from_secs(10);
        }

        /// What is written to the standard error stream.
        log: Log, since "0.1" {
            /// Lines for people, or one JSON object a line for machines.
            format: LogFormat = LogFormat::Text;
            /// What is logged: a level (off, error, warn, info, debug), or targets with levels such as `info,omnivox_hub=debug`.
            level: String = "info".to_owned();
            /// Lines that each place in the code may write in a second; the rest is counted, and the count logged. 0 sets no bound.
            lines_per_second: u32 = 100;
        }
    }
    lists {
        /// A tenant. Apps never see each other: messages, presence, history and limits are apart.
        app: App, since "0.1" {
            /// Its name in paths and tokens.
            id: AppId;
            /// The public key that clients and back ends name the app by; the id when unset.
            key: Option<String> = None;
            /// What signatures and tokens of the app are made with. At least 32 characters; `openssl rand -hex 32` gives one.
            secret: Option<Secret> = None;
            /// Whether clients may come without a credential. What they may do is then up to the namespaces.
            open: bool = false;
            /// Files with public keys (PEM) whose tokens are accepted too, such as those of an identity provider.
            token_keys: Vec<PathBuf> = Vec::new();
            /// The key set (JWKS) of an identity provider: its `https` address, or a file. Fetched again every ten minutes.
            token_key_set: Option<String> = None;
            /// The shortest time between two fetches of it, however many tokens name unknown keys.
            token_key_set_pause_ms: Duration = Duration::from_millis(KeySetPolicy::default().pause_ms);
            /// Algorithms that tokens may be signed with. Unset: HS256 with the secret, and the one that fits each key of `token_keys`.
            token_algorithms: Vec<TokenAlgorithm> = Vec::new();
            /// Issuers (`iss`) whose tokens are accepted; empty accepts all, and none.
            token_issuers: Vec<String> = Vec::new();
            /// Audiences (`aud`) of which a token must name one; when empty, it may name none, or this app's id.
            token_audiences: Vec<String> = Vec::new();
            /// How far the clock of a token's signer may be from ours.
            token_leeway_ms: Duration = Duration::from_secs(30);
            /// Whether a token must end some time.
            token_expiry_required: bool = true;
            /// How long a token may last; unset does not limit it.
            token_lifetime_max_ms: Option<Duration> = None;
            /// Whether only access tokens (`typ` is `at+jwt`) are accepted.
            token_access_only: bool = false;
            /// How far the time of a signed request may be from ours.
            signature_window_ms: Duration = Duration::from_millis(WINDOW_MS);
            /// Origins that browsers may come from, such as `https://example.com`; `*` allows all.
            allowed_origins: Vec<String> = Vec::new();
            /// Secrets of Mercure publishers' tokens, where publishers and subscribers have keys of their own: such a token may publish what
            /// its claims say, and nothing else. Several, so that one can be replaced without a gap.
            mercure_publisher_secrets: Vec<Secret> = Vec::new();
            /// Files with keys of Mercure publishers' tokens: a public key (PEM) or a key set (JWKS).
            mercure_publisher_keys: Vec<PathBuf> = Vec::new();
            /// Secrets of Mercure subscribers' tokens: such a token may subscribe, read history and see who is there as its claims say.
            mercure_subscriber_secrets: Vec<Secret> = Vec::new();
            /// Files with keys of Mercure subscribers' tokens: a public key (PEM) or a key set (JWKS).
            mercure_subscriber_keys: Vec<PathBuf> = Vec::new();
        }

        /// A further key of a back end, beside the app's own, which may do everything.
        api_key: ApiKeyEntry, since "0.1" {
            /// Its id: the public half.
            id: String;
            /// Its secret. At least 32 characters; `openssl rand -hex 32` gives one.
            secret: Option<Secret> = None;
            /// The app; may be left out when there is one only.
            app: Option<AppId> = None;
            /// What it grants, such as `chat:*=publish,history`; `*` is all that a client does, `manage` more than that.
            allow: Vec<Allowance> = Vec::new();
        }

        /// Rules for the channels whose names match a pattern; the longest matching one rules a channel.
        ///
        /// Without an entry of their own, `private-*`, `presence-*`, `$*` and `#*` are protected.
        namespace: NamespaceSettings, since "0.1" {
            /// Which channels: a name, a beginning such as `chat:*`, or `*` for all.
            channels: Pattern;
            /// The app whose channels they are; every app when unset.
            app: Option<AppId> = None;
            /// Whether a grant must spell out this beginning to reach the channels: a grant for `*` then does not.
            protected: bool = false;
            /// What everyone may do.
            anonymous: Vec<Permission> = Vec::new();
            /// What everyone with a credential may do, beyond what the credential itself grants.
            authenticated: Vec<Permission> = Vec::new();
            /// Whether the channels have presence.
            presence: bool = true;
            /// Publications kept of each channel; that of `[history]` when unset.
            history_count_max: Option<usize> = None;
            /// How long a publication is kept; that of `[history]` when unset.
            history_age_max_ms: Option<Duration> = None;
            /// Bytes kept of each channel; that of `[history]` when unset.
            history_bytes_max: Option<usize> = None;
        }

        /// Somebody who is told what happens in an app, by signed requests.
        webhook: Webhook, since "0.1" {
            /// Its name: letters, digits, `-` and `_`.
            id: String;
            /// The address that is told, such as `https://example.com/omnivox`.
            url: String;
            /// The app; may be left out when there is one only.
            app: Option<AppId> = None;
            /// What it is told of.
            events: Vec<WebhookEvent> = WebhookEvent::TRANSITIONS.to_vec();
            /// In which channels: names, beginnings such as `chat:*`, or `*` for all.
            channels: Vec<Pattern> = vec![Pattern::All];
            /// What its requests are signed with; several, so that one can be replaced without a gap. When empty, the app's secret for webhooks
            /// (`omnivox secret webhook`).
            secrets: Vec<Secret> = Vec::new();
            /// Further headers of its requests, such as `Authorization: Bearer …`.
            headers: Vec<Secret> = Vec::new();
            /// How long `vacated` and `member_removed` are held back, and forgotten if somebody comes back; 0 does not hold them back.
            debounce_ms: Duration = Duration::from_secs(3);
            /// Events in one request; 1 sends each by itself.
            batch_max: usize = 100;
            /// How long the first event of a request waits for others.
            batch_delay_ms: Duration = Duration::from_millis(100);
            /// How long the receiver may take to answer.
            timeout_ms: Duration = Duration::from_secs(10);
            /// How long an event is tried again.
            retry_for_ms: Duration = Duration::from_secs(300);
            /// Requests at once, for different channels.
            concurrency_max: usize = 4;
        }

        /// A back end of an app that is asked, over HTTP, what clients may do, and that answers their calls; see `docs/hooks.md`.
        hook: Hook, since "0.1" {
            /// Its name in logs, metrics and refusals.
            name: String;
            /// The app; may be left out when there is one only.
            app: Option<AppId> = None;
            /// What it is asked about. Of several hooks of an app that fit, the first is asked.
            events: Vec<HookEvent> = Vec::new();
            /// The channels that subscribes and publications are asked about: a name, a beginning such as `chat:*`, or `*` for all.
            channels: Pattern = Pattern::All;
            /// Where it is.
            url: String;
            /// What requests are signed with, at least 32 characters; `openssl rand -hex 32` gives one. With several each signs, so that one
            /// can be replaced without a gap.
            secrets: Vec<Secret> = Vec::new();
            /// How long everything may take: waiting for a turn, all tries, the pauses between them.
            timeout_ms: Duration = Duration::from_secs(2);
            /// How often a question is sent again when nobody could be reached, or after a status of 429 or from 500 on.
            retries: u32 = 1;
            /// The pause before the first of these, less up to a half; then it doubles.
            backoff_ms: Duration = Duration::from_millis(50);
            /// Failures in a row after which it is left alone.
            breaker_failures: u32 = 5;
            /// For how long; then one question tries it.
            breaker_pause_ms: Duration = Duration::from_secs(5);
            /// How long an answer about a connect or a subscribe is good for who asks the same; 0 asks each time.
            cache_ms: Duration = Duration::ZERO;
            /// Answers that are remembered; beyond, the oldest is forgotten.
            cache_entries_max: usize = 10_000;
            /// Questions at once.
            in_flight_max: usize = 64;
            /// Questions that wait for their turn.
            queue_max: usize = 1_000;
            /// Bytes of an answer.
            answer_bytes_max: usize = 64 << 10;
            /// What holds without a usable answer: `deny`, or `allow` what the credential and the namespaces allow by themselves.
            on_failure: OnFailure = OnFailure::Deny;
            /// Whether a token that no key of the app verifies is shown to it on `connect`, to decide alone.
            pass_token: bool = false;
        }

        /// A further path for a transport of the native protocol, beside `/v1/ws`, `/v1/sse`, `/v1/poll` and `/v1/publish`.
        route: Route, since "0.1" {
            /// The path.
            path: String;
            /// What is there; `echo` gives back what it gets, for conformance suites.
            to: RouteTarget;
            /// The channels of clients that name none.
            channels: Vec<ChannelName> = Vec::new();
            /// How an event stream shows messages: with channel, id and event around them, or the data alone.
            format: RouteFormat = RouteFormat::Envelope;
        }
    }
}
