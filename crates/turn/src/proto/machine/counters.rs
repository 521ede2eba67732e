//! What happened, as plain numbers; each worker has its own and a scrape adds them up.

use crate::proto::ledger::{Exceeded, QuotaReached};

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// Totals since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counters {
            /// How many counters there are.
            pub const COUNT: usize = [$(stringify!($name)),*].len();

            /// Name, description and value of each.
            #[must_use]
            pub fn entries(&self) -> [(&'static str, &'static str, u64); Self::COUNT] {
                [$((stringify!($name), $doc.trim_ascii(), self.$name)),*]
            }

            /// The values alone, in the order of [`entries`](Self::entries).
            #[must_use]
            pub fn values(&self) -> [u64; Self::COUNT] {
                [$(self.$name),*]
            }

            /// The reverse of [`values`](Self::values).
            #[must_use]
            pub fn from_values(values: [u64; Self::COUNT]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

counters! {
    allocations_created: "Allocations made.",
    allocations_ended: "Allocations ended.",
    binding_requests: "Binding requests answered.",
    packets_to_peers: "Packets relayed from clients to peers.",
    bytes_to_peers: "Bytes relayed from clients to peers.",
    packets_to_clients: "Packets relayed from peers to clients.",
    bytes_to_clients: "Bytes relayed from peers to clients.",
    packets_hairpinned: "Packets that went from one relay to another in memory.",
    dropped_malformed: "Messages dropped: not STUN, not ChannelData, or broken.",
    dropped_no_allocation: "Packets dropped: the client has no allocation.",
    dropped_no_permission: "Packets dropped: the peer has no permission.",
    dropped_no_channel: "ChannelData dropped: the number is not bound.",
    dropped_denied_peer: "Packets dropped: the policy denies the peer.",
    dropped_allocation_rate: "Packets dropped: the allocation's bytes per second.",
    dropped_user_rate: "Packets dropped: the user's bytes per second.",
    dropped_user_bytes: "Packets dropped: the user's bytes are used up.",
    dropped_app_rate: "Packets dropped: the app's bytes per second.",
    dropped_app_bytes: "Packets dropped: the app's bytes are used up.",
    dropped_server_rate: "Packets dropped: the server's bytes per second.",
    dropped_budget: "Unauthenticated answers withheld: the source's budget is used up.",
    dropped_hairpin: "Hairpin packets dropped: no such relayed address, or the ring to its worker is full.",
    dropped_send_buffer: "Packets dropped: the kernel's send buffer is full.",
    dropped_too_big: "Packets dropped: larger than the path allows.",
    dropped_slow_client: "Packets dropped: a TCP or TLS client does not read.",
    dropped_unreachable: "Packets dropped: the kernel has no route.",
    credentials_refused: "Requests with an unknown user, a wrong password or an expired credential.",
    refused_user_quota: "Allocations refused: the user has as many as it may.",
    refused_app_quota: "Allocations refused: the app has as many as it may.",
    refused_source_quota: "Allocations refused: the source address has as many as it may.",
    refused_bytes_quota: "Allocations refused: the user's or the app's bytes are used up.",
    refused_server_quota: "Allocations refused: the server has as many as it may.",
    permissions_denied: "Permissions and channels refused by the policy.",
    icmp_relayed: "ICMP errors told to clients.",
    revoked_allocations: "Allocations cut off by a revocation.",
    expired_allocations: "Allocations that were not refreshed in time, or could not be because their credential had ended.",
    error_300: "Answers: try alternate.",
    error_400: "Answers: bad request.",
    error_401: "Answers: unauthenticated.",
    error_403: "Answers: forbidden.",
    error_405: "Answers: mobility forbidden.",
    error_420: "Answers: unknown attribute.",
    error_437: "Answers: allocation mismatch.",
    error_438: "Answers: stale nonce.",
    error_440: "Answers: address family not supported.",
    error_441: "Answers: wrong credentials.",
    error_442: "Answers: unsupported transport protocol.",
    error_443: "Answers: peer address family mismatch.",
    error_446: "Answers: connection already exists.",
    error_447: "Answers: connection timeout or failure.",
    error_486: "Answers: allocation quota reached.",
    error_500: "Answers: server error.",
    error_508: "Answers: insufficient capacity.",
}

impl Counters {
    /// Counts a packet that went beyond a bound.
    pub(super) const fn count_exceeded(&mut self, exceeded: Exceeded) {
        let counter = match exceeded {
            Exceeded::UserRate => &mut self.dropped_user_rate,
            Exceeded::UserBytes => &mut self.dropped_user_bytes,
            Exceeded::AppRate => &mut self.dropped_app_rate,
            Exceeded::AppBytes => &mut self.dropped_app_bytes,
            Exceeded::ServerRate => &mut self.dropped_server_rate,
        };
        *counter += 1;
    }

    /// Counts an allocation that a quota forbids, and gives the code of the answer.
    pub(super) const fn count_refusal(&mut self, reached: QuotaReached) -> u16 {
        let (counter, code) = match reached {
            QuotaReached::User => (&mut self.refused_user_quota, 486),
            QuotaReached::App => (&mut self.refused_app_quota, 486),
            QuotaReached::Source => (&mut self.refused_source_quota, 486),
            QuotaReached::Bytes => (&mut self.refused_bytes_quota, 486),
            QuotaReached::Server => (&mut self.refused_server_quota, 508),
        };
        *counter += 1;
        code
    }

    pub(crate) fn count_error(&mut self, code: u16) {
        let counter = match code {
            300 => &mut self.error_300,
            400 => &mut self.error_400,
            401 => &mut self.error_401,
            403 => &mut self.error_403,
            405 => &mut self.error_405,
            420 => &mut self.error_420,
            437 => &mut self.error_437,
            438 => &mut self.error_438,
            440 => &mut self.error_440,
            441 => &mut self.error_441,
            442 => &mut self.error_442,
            443 => &mut self.error_443,
            446 => &mut self.error_446,
            447 => &mut self.error_447,
            486 => &mut self.error_486,
            508 => &mut self.error_508,
            _ => &mut self.error_500,
        };
        *counter += 1;
    }
}
