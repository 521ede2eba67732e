//! Why an outgoing request got no answer, in words that tell the operator what to do.

use std::net::IpAddr;
use std::time::Duration;

/// Why an outgoing request got no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The request itself can't be sent.
    #[error("the request can't be sent: {0}")]
    Request(Box<str>),
    /// The name has no address.
    #[error("`{host}` can't be resolved: {words}")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// What the resolver says.
        words: Box<str>,
    },
    /// The address must not be reached by a URL that the operator did not write.
    #[error("`{host}` is at {address}, which is not public; list it in `outgoing.allow` if it may be reached")]
    Forbidden {
        /// The host of the URL.
        host: Box<str>,
        /// Its address.
        address: IpAddr,
    },
    /// Nobody accepts the connection.
    #[error("no connection to `{host}`: {words}")]
    Connect {
        /// The host of the URL.
        host: Box<str>,
        /// What the system says.
        words: Box<str>,
    },
    /// The handshake failed: most often a certificate that nobody vouches for.
    #[error("no TLS with `{host}`: {words}; a private authority goes into the file that `outgoing.ca_file` names")]
    Tls {
        /// The host of the URL.
        host: Box<str>,
        /// What went wrong.
        words: Box<str>,
    },
    /// There are no authorities, so no certificate can be verified.
    #[error("{0}")]
    Authorities(Box<str>),
    /// All connections are in use.
    #[error("all {0} outgoing connections are in use (`outgoing.connections_max`)")]
    Busy(usize),
    /// It took too long.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The answer points elsewhere.
    #[error("the answer is a redirect ({0}); redirects are not followed, so write the final URL")]
    Redirect(u16),
    /// The answer's body is too large.
    #[error("the answer has more than {0} bytes")]
    BodyTooLarge(usize),
    /// The answer is compressed, although nobody asked for it.
    #[error("the answer has a content-encoding, which was not asked for")]
    Encoded,
    /// The answer is no HTTP, or its head is too large.
    #[error("the answer is not understood: {0}")]
    Malformed(Box<str>),
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Closed,
    /// The server is being stopped.
    #[error("the server is being stopped")]
    Stopped,
}

impl OutgoingError {
    /// Whether the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Busy(_) | Self::Deadline(_) | Self::Closed | Self::Malformed(_) => true,
            Self::Request(_)
            | Self::Forbidden { .. }
            | Self::Tls { .. }
            | Self::Authorities(_)
            | Self::Redirect(_)
            | Self::BodyTooLarge(_)
            | Self::Encoded
            | Self::Stopped => false,
        }
    }

    /// A stable word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Resolve { .. } => "resolve",
            Self::Forbidden { .. } => "forbidden",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Authorities(_) => "authorities",
            Self::Busy(_) => "busy",
            Self::Deadline(_) => "deadline",
            Self::Redirect(_) => "redirect",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::Encoded => "encoded",
            Self::Malformed(_) => "malformed",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
        }
    }

    pub(crate) fn from_hyper(error: &hyper::Error) -> Self {
        if error.is_parse() { Self::Malformed(error.to_string().into()) } else { Self::Closed }
    }
}
