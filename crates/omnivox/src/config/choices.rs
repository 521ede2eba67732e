//! The words that settings choose from: `x-forwarded` or `forwarded`, `text` or `json`, and so on.
//!
//! A choice is declared once; parser, reference and schema know its words from there.

use super::value::{Placeholder, choice};

choice! {
    /// The headers in which proxies say who the client is.
    ProxyHeadersChoice {
        /// `X-Forwarded-For` and `X-Forwarded-Proto`.
        XForwarded = "x-forwarded",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

choice! {
    /// How names are proven to a certificate authority.
    AcmeChallenge {
        /// In a TLS handshake on port 443.
        TlsAlpn01 = "tls-alpn-01",
        /// By a file on port 80.
        Http01 = "http-01",
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

choice! {
    /// What may be done with a channel.
    Permission {
        /// Receive what is published.
        Subscribe = "subscribe",
        /// Publish.
        Publish = "publish",
        /// See who is there, and be seen.
        Presence = "presence",
        /// Read what was published before.
        History = "history",
        /// List channels, and end the connections of others.
        Manage = "manage",
    }
}

choice! {
    /// How a token is signed.
    TokenAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

choice! {
    /// What a path leads to.
    RouteTarget {
        /// The WebSocket protocol.
        Ws = "ws",
        /// An event stream.
        Sse = "sse",
        /// Long and short polls.
        Poll = "poll",
        /// Publishing by POST.
        Publish = "publish",
        /// A WebSocket that gives back what it gets.
        Echo = "echo",
    }
}

impl Placeholder for RouteTarget {
    fn placeholder() -> Self {
        Self::Ws
    }
}

choice! {
    /// How an event stream shows messages.
    RouteFormat {
        /// With channel, id and event.
        Envelope = "envelope",
        /// The data alone.
        Data = "data",
    }
}

choice! {
    /// What a webhook may be told of.
    WebhookEvent {
        /// A channel has its first subscriber.
        Occupied = "occupied",
        /// Its last one is gone.
        Vacated = "vacated",
        /// A user came into a channel's presence set.
        MemberAdded = "member_added",
        /// The user is out of it.
        MemberRemoved = "member_removed",
        /// A back end published.
        Message = "message",
        /// A client published.
        ClientEvent = "client_event",
    }
}

impl WebhookEvent {
    /// What is told unless a webhook asks for something else.
    pub(crate) const TRANSITIONS: [Self; 4] = [Self::Occupied, Self::Vacated, Self::MemberAdded, Self::MemberRemoved];
}

choice! {
    /// What a back end is asked about.
    HookEvent {
        /// Clients that connect.
        Connect = "connect",
        /// Subscribes.
        Subscribe = "subscribe",
        /// Publications.
        Publish = "publish",
        /// Calls.
        Call = "call",
        /// Events of Socket.IO clients that no handler takes.
        Event = "event",
    }
}

choice! {
    /// What holds without an answer.
    OnFailure {
        /// Nothing is allowed.
        Deny = "deny",
        /// What is allowed without the hook.
        Allow = "allow",
    }
}
