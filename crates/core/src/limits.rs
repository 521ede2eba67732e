//! Every limit in one place: what it is for, its default, and what a breach looks like is told in `docs/limits.md`.

use std::time::Duration;

use crate::outbox::OutboxLimits;

/// The limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message from a client: a WebSocket message, one publication of a batch.
    pub message_bytes_max: usize,
    /// Bytes of an HTTP request's body.
    pub body_bytes_max: usize,
    /// Bytes of an HTTP request's head.
    pub head_bytes_max: usize,
    /// Header lines of an HTTP request.
    pub headers_max: usize,
    /// How long a client may take to send a request's head.
    pub head_time_max: Duration,
    /// How long a client may take to send a request's body.
    pub body_time_max: Duration,
    /// How long an HTTP connection may be kept without a request.
    pub keep_alive_time_max: Duration,
    /// Connections of the whole server.
    pub connections_max: usize,
    /// TLS handshakes under way on the whole server.
    pub handshakes_max: usize,
    /// Connections of one client address, when that is limited.
    pub connections_per_address_max: Option<usize>,
    /// New connections of the whole server in a second, when that is limited.
    pub connects_per_second_max: Option<u32>,
    /// New connections of one client address in a second, when that is limited.
    pub connects_per_address_per_second_max: Option<u32>,
    /// Connections of one app, when that is limited.
    pub connections_per_app_max: Option<usize>,
    /// Connections of one user of an app, when that is limited.
    pub connections_per_user_max: Option<usize>,
    /// Messages of one WebSocket in a second, when that is limited.
    pub messages_per_second_max: Option<u32>,
    /// Publications of one connection in a second, when that is limited.
    pub publications_per_second_max: Option<u32>,
    /// Publications of one user of an app in a second, when that is limited.
    pub publications_per_user_per_second_max: Option<u32>,
    /// Publications of one app in a second, when that is limited.
    pub publications_per_app_per_second_max: Option<u32>,
    /// Channels and patterns that all connections of one app are subscribed to, counted for each, when that is limited.
    pub subscriptions_per_app_max: Option<usize>,
    /// The same of one user of an app.
    pub subscriptions_per_user_max: Option<usize>,
    /// The same of one client address.
    pub subscriptions_per_address_max: Option<usize>,
    /// Publications of one client address in a second, when that is limited.
    pub publications_per_address_per_second_max: Option<u32>,
    /// Messages to one connection in a second, when that is limited.
    pub deliveries_per_second_max: Option<u32>,
    /// Messages to one user of an app in a second, when that is limited.
    pub deliveries_per_user_per_second_max: Option<u32>,
    /// Messages to all clients of one app in a second, when that is limited.
    pub deliveries_per_app_per_second_max: Option<u32>,
    /// Messages to one client address in a second, when that is limited.
    pub deliveries_per_address_per_second_max: Option<u32>,
    /// Bytes from one connection in a second, when that is limited.
    pub bytes_in_per_second_max: Option<usize>,
    /// Bytes from one user of an app in a second, when that is limited.
    pub bytes_in_per_user_per_second_max: Option<usize>,
    /// Bytes from all clients of one app in a second, when that is limited.
    pub bytes_in_per_app_per_second_max: Option<usize>,
    /// Bytes from one client address in a second, when that is limited.
    pub bytes_in_per_address_per_second_max: Option<usize>,
    /// Bytes to one connection in a second, when that is limited.
    pub bytes_out_per_second_max: Option<usize>,
    /// Bytes to one user of an app in a second, when that is limited.
    pub bytes_out_per_user_per_second_max: Option<usize>,
    /// Bytes to all clients of one app in a second, when that is limited.
    pub bytes_out_per_app_per_second_max: Option<usize>,
    /// Bytes to one client address in a second, when that is limited.
    pub bytes_out_per_address_per_second_max: Option<usize>,
    /// HTTP requests of one client address in a second, when that is limited.
    pub requests_per_address_per_second_max: Option<u32>,
    /// Channels that one connection is subscribed to.
    pub channels_per_connection_max: usize,
    /// Channels that one publication goes to.
    pub channels_per_publication_max: usize,
    /// Publications in one batch.
    pub batch_publications_max: usize,
    /// Commands of one connection that wait for an answer.
    pub commands_in_flight_max: usize,
    /// Bytes that may wait for a client before it is cut off at once.
    pub outbox_bytes_hard: usize,
    /// Bytes that may wait for a client for `outbox_soft_time_max`.
    pub outbox_bytes_soft: usize,
    /// How long a client may stay above `outbox_bytes_soft`.
    pub outbox_soft_time_max: Duration,
    /// Bytes of an event name.
    pub event_name_bytes_max: usize,
    /// Bytes of an id that a publisher chooses.
    pub publication_id_bytes_max: usize,
    /// Bytes of a member's data.
    pub member_data_bytes_max: usize,
    /// Members of one channel.
    pub members_per_channel_max: usize,
    /// Seats in one room: members that signal to each other.
    pub seats_per_room_max: usize,
    /// Seats on lease on this node: those of members who come by requests.
    pub seats_leased_max: usize,
    /// How long the seat of a session that was lost is kept for it.
    pub seat_grace: Duration,
    /// Signals that one session may send at once.
    pub signals_burst_max: usize,
    /// Signals that one session may send each second after that.
    pub signals_per_second_max: usize,
    /// Publications in one answer of history, a poll or a resume.
    pub history_page_max: usize,
    /// How long a poll is held.
    pub poll_time_max: Duration,
    /// Channels that exist at once in the memory engine.
    pub channels_max: usize,
    /// How long an id that a publisher chose is remembered.
    pub idempotency_time: Duration,
    /// Ids remembered for one channel.
    pub idempotency_ids_max: usize,
    /// Publications that wait for one shard.
    pub shard_queue_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 10,
            body_bytes_max: 1 << 20,
            head_bytes_max: 16 << 10,
            headers_max: 64,
            head_time_max: Duration::from_secs(10),
            body_time_max: Duration::from_secs(30),
            keep_alive_time_max: Duration::from_secs(75),
            connections_max: 200_000,
            handshakes_max: 4_000,
            connections_per_address_max: None,
            connects_per_second_max: None,
            connects_per_address_per_second_max: None,
            connections_per_app_max: None,
            connections_per_user_max: None,
            messages_per_second_max: None,
            publications_per_second_max: None,
            publications_per_user_per_second_max: None,
            publications_per_app_per_second_max: None,
            subscriptions_per_app_max: None,
            subscriptions_per_user_max: None,
            subscriptions_per_address_max: None,
            publications_per_address_per_second_max: None,
            deliveries_per_second_max: None,
            deliveries_per_user_per_second_max: None,
            deliveries_per_app_per_second_max: None,
            deliveries_per_address_per_second_max: None,
            bytes_in_per_second_max: None,
            bytes_in_per_user_per_second_max: None,
            bytes_in_per_app_per_second_max: None,
            bytes_in_per_address_per_second_max: None,
            bytes_out_per_second_max: None,
            bytes_out_per_user_per_second_max: None,
            bytes_out_per_app_per_second_max: None,
            bytes_out_per_address_per_second_max: None,
            requests_per_address_per_second_max: None,
            channels_per_connection_max: 1_000,
            channels_per_publication_max: 100,
            batch_publications_max: 1_000,
            commands_in_flight_max: 1_000,
            outbox_bytes_hard: 4 << 20,
            outbox_bytes_soft: 1 << 20,
            outbox_soft_time_max: Duration::from_secs(10),
            event_name_bytes_max: 255,
            publication_id_bytes_max: 255,
            member_data_bytes_max: 4 << 10,
            members_per_channel_max: 10_000,
            seats_per_room_max: 64,
            seats_leased_max: 10_000,
            seat_grace: Duration::from_secs(15),
            signals_burst_max: 200,
            signals_per_second_max: 50,
            history_page_max: 1_000,
            poll_time_max: Duration::from_secs(30),
            channels_max: 1_000_000,
            idempotency_time: Duration::from_secs(300),
            idempotency_ids_max: 1_000,
            shard_queue_max: 65_536,
        }
    }
}

impl Limits {
    /// The limits of one client's outbox.
    pub fn outbox(&self) -> OutboxLimits {
        OutboxLimits { hard_bytes: self.outbox_bytes_hard, soft_bytes: self.outbox_bytes_soft, soft_for: self.outbox_soft_time_max }
    }
}
