//! Attribute numbers (RFC 8489, 8656, 6062, 5780, 8016) and the sets that each method understands.
//!
//! Types below `0x8000` must be understood; a request with an unknown one is answered with 420.

macro_rules! attributes {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: u16 = $value;)*
    };
}

attributes! {
    MAPPED_ADDRESS = 0x0001, "The reflexive address, in the clear.";
    CHANGE_REQUEST = 0x0003, "RFC 5780: answer from another address or port.";
    USERNAME = 0x0006, "The user's name.";
    MESSAGE_INTEGRITY = 0x0008, "HMAC-SHA1 over the message.";
    ERROR_CODE = 0x0009, "Code and reason of an error.";
    UNKNOWN_ATTRIBUTES = 0x000A, "The types that were not understood.";
    CHANNEL_NUMBER = 0x000C, "A channel's number.";
    LIFETIME = 0x000D, "Seconds that an allocation lasts.";
    XOR_PEER_ADDRESS = 0x0012, "A peer's address.";
    DATA = 0x0013, "The relayed bytes.";
    REALM = 0x0014, "The realm of long-term credentials.";
    NONCE = 0x0015, "The server's nonce.";
    XOR_RELAYED_ADDRESS = 0x0016, "The relayed address.";
    REQUESTED_ADDRESS_FAMILY = 0x0017, "IPv4 or IPv6.";
    EVEN_PORT = 0x0018, "The relayed port must be even.";
    REQUESTED_TRANSPORT = 0x0019, "UDP or TCP between server and peer.";
    DONT_FRAGMENT = 0x001A, "Set the don't-fragment bit.";
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "HMAC-SHA256 over the message.";
    PASSWORD_ALGORITHM = 0x001D, "How the client made its key.";
    USERHASH = 0x001E, "SHA-256 of user and realm.";
    XOR_MAPPED_ADDRESS = 0x0020, "The reflexive address.";
    RESERVATION_TOKEN = 0x0022, "A port put aside by an earlier allocation.";
    PRIORITY = 0x0024, "ICE: a candidate's priority.";
    USE_CANDIDATE = 0x0025, "ICE: nomination.";
    PADDING = 0x0026, "RFC 5780: makes the answer long.";
    RESPONSE_PORT = 0x0027, "RFC 5780: answer to another port.";
    CONNECTION_ID = 0x002A, "RFC 6062: a peer connection.";
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "Also an IPv6 relay.";
    ADDRESS_ERROR_CODE = 0x8001, "Why one of two families failed.";
    PASSWORD_ALGORITHMS = 0x8002, "The algorithms that the server accepts.";
    ICMP = 0x8004, "An ICMP error on the way to a peer.";
    SOFTWARE = 0x8022, "Name of the software.";
    ALTERNATE_SERVER = 0x8023, "Ask there instead.";
    FINGERPRINT = 0x8028, "CRC-32 of the message.";
    ICE_CONTROLLED = 0x8029, "ICE: role and tie-breaker.";
    ICE_CONTROLLING = 0x802A, "ICE: role and tie-breaker.";
    RESPONSE_ORIGIN = 0x802B, "RFC 5780: where the answer came from.";
    OTHER_ADDRESS = 0x802C, "RFC 5780: the server's other address.";
    MOBILITY_TICKET = 0x8030, "RFC 8016: resume from another address.";
}

/// What every authenticated request may have.
const CREDENTIALS: [u16; 5] = [USERNAME, USERHASH, REALM, NONCE, PASSWORD_ALGORITHM];

const fn with<const N: usize, const M: usize>(more: [u16; M]) -> [u16; N] {
    let mut all = [0; N];
    let mut at = 0;
    while at < CREDENTIALS.len() {
        all[at] = CREDENTIALS[at];
        at += 1;
    }
    let mut other = 0;
    while other < M {
        all[at + other] = more[other];
        other += 1;
    }
    all
}

/// Understood in Binding; ICE's attributes arrive when someone aims connectivity checks at the server.
pub const BINDING: [u16; 7] = with::<7, 2>([PRIORITY, USE_CANDIDATE]);
/// Understood in Binding when RFC 5780 is on.
pub const BINDING_DISCOVERY: [u16; 10] = with::<10, 5>([PRIORITY, USE_CANDIDATE, CHANGE_REQUEST, PADDING, RESPONSE_PORT]);
/// Understood in Allocate.
pub const ALLOCATE: [u16; 11] =
    with::<11, 6>([REQUESTED_TRANSPORT, LIFETIME, DONT_FRAGMENT, REQUESTED_ADDRESS_FAMILY, EVEN_PORT, RESERVATION_TOKEN]);
/// Understood in Refresh.
pub const REFRESH: [u16; 7] = with::<7, 2>([LIFETIME, REQUESTED_ADDRESS_FAMILY]);
/// Understood in CreatePermission and Connect.
pub const PEER: [u16; 6] = with::<6, 1>([XOR_PEER_ADDRESS]);
/// Understood in ChannelBind. coturn's test client adds LIFETIME, which has no meaning here.
pub const CHANNEL_BIND: [u16; 8] = with::<8, 3>([XOR_PEER_ADDRESS, CHANNEL_NUMBER, LIFETIME]);
/// Understood in ConnectionBind.
pub const CONNECTION_BIND: [u16; 6] = with::<6, 1>([CONNECTION_ID]);
/// Understood in Send.
pub const SEND: [u16; 3] = [XOR_PEER_ADDRESS, DATA, DONT_FRAGMENT];
