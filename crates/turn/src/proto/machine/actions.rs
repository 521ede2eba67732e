//! What the machine wants done, in order.
//!
//! Relayed payloads are never copied: an action names their place in the datagram that was being handled. Answers are
//! written into [`Actions::bytes`]. The driver carries actions out after every call and then clears them.

use std::net::SocketAddr;
use std::ops::Range;

use super::{Connection, FiveTuple, RelayId, Usage};

/// Bytes in front of a payload: a ChannelData header or a Data indication up to its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Head {
    /// A Data indication with an IPv6 peer: 20 + 24 + 4.
    pub const MAX: usize = 48;

    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut head = Self { bytes: [0; Self::MAX], length: 0 };
        let length = bytes.len().min(Self::MAX);
        head.bytes[..length].copy_from_slice(&bytes[..length]);
        head.length = u8::try_from(length).expect("at most 48");
        head
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `Actions::bytes[bytes]` to a client.
    Reply {
        /// The client.
        to: FiveTuple,
        /// Where the message is.
        bytes: Range<usize>,
    },
    /// RFC 5780: the same, from another of the server's addresses or to another port.
    ReplyFrom {
        /// The server's address to send from.
        server: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// Where the message is.
        bytes: Range<usize>,
    },
    /// Send a part of the handled datagram to a peer.
    ToPeer {
        /// From this relay.
        relay: RelayId,
        /// To this peer.
        peer: SocketAddr,
        /// Which part.
        payload: Range<usize>,
        /// With the don't-fragment bit.
        dont_fragment: bool,
    },
    /// Send head, a part of the handled datagram and padding to a client.
    ToClient {
        /// The client.
        to: FiveTuple,
        /// In front.
        head: Head,
        /// Which part.
        payload: Range<usize>,
        /// Zero bytes behind.
        padding: u8,
    },
    /// Hairpin to an allocation of another worker.
    Across {
        /// The worker.
        worker: u8,
        /// The relayed address that the payload is for.
        to: SocketAddr,
        /// The relayed address that it comes from.
        from: SocketAddr,
        /// Which part of the handled datagram.
        payload: Range<usize>,
    },
    /// This client belongs to another worker: give it the handled datagram, and all later ones.
    HandOver {
        /// The worker.
        worker: u8,
        /// The client.
        client: FiveTuple,
    },
    /// Close a relay's socket.
    CloseRelay(RelayId),
    /// Close a client's TCP or TLS connection.
    CloseClient(FiveTuple),
    /// RFC 6062: connect from a relay to a peer, then call `connected`.
    Connect {
        /// From this relay.
        relay: RelayId,
        /// The connection's number.
        connection: Connection,
        /// To this peer.
        peer: SocketAddr,
    },
    /// RFC 6062: from now on this client connection and that peer connection are one pipe.
    Join {
        /// The peer's side.
        connection: Connection,
        /// The client's side.
        client: FiveTuple,
    },
    /// RFC 6062: close a peer connection.
    Disconnect(Connection),
    /// An allocation has ended.
    Ended(Box<Usage>),
}

/// The list of actions and the bytes of answers; kept by the driver and reused.
#[derive(Debug, Default)]
pub struct Actions {
    /// What to do, in order.
    pub list: Vec<Action>,
    /// Answers.
    pub bytes: Vec<u8>,
}

impl Actions {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
    }
}
