//! Why a head is refused: each broken rule by its own name, with the status and the stable code to answer.

use std::fmt;

/// A request or response head that is not taken. Answer [`HeadError::status`] and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// A carriage return that no line feed follows.
    BareCr,
    /// A line feed without a carriage return before it.
    BareLf,
    /// NUL or another control byte.
    ControlByte,
    /// An empty line where the request should start, more than the one that is forgiven.
    LeadingEmptyLine,
    /// The request line is not `METHOD target HTTP/x.y` with single spaces.
    RequestLine,
    /// The status line is not `HTTP/x.y NNN reason`.
    StatusLine,
    /// The method is not a token or too long.
    Method,
    /// CONNECT without `:protocol`, a proxy's business.
    ConnectMethod,
    /// The target is neither a path, nor an absolute `http` address, nor `*` for OPTIONS.
    Target,
    /// A byte in the target that must be percent-encoded, or a fragment.
    TargetByte,
    /// The target is longer than the limit.
    TargetTooLong,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// The head is larger than the limit.
    TooLarge,
    /// More header fields than the limit.
    TooManyHeaders,
    /// A field line without a colon or with an empty name.
    HeaderName,
    /// White space in or after a field name.
    SpaceInName,
    /// A field line that continues the one before (obsolete folding).
    Folding,
    /// No `Host` in an HTTP/1.1 request.
    MissingHost,
    /// Two `Host` fields.
    RepeatedHost,
    /// `Host` is not `name[:port]`.
    InvalidHost,
    /// An absolute target that names another host than `Host`.
    HostMismatch,
    /// `Content-Length` and `Transfer-Encoding` in one head.
    LengthAndEncoding,
    /// More than one `Content-Length`, equal or not.
    RepeatedLength,
    /// `Content-Length` is not just digits.
    InvalidLength,
    /// `Content-Length` is beyond what any limit could allow.
    LengthTooLarge,
    /// A transfer coding other than exactly `chunked`.
    TransferEncoding,
    /// More than one `Transfer-Encoding`.
    RepeatedEncoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    EncodingInHttp10,
}

impl HeadError {
    /// The status to answer before the connection is closed.
    pub fn status(self) -> u16 {
        self.parts().0
    }

    /// A stable code for the error body.
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    /// What is wrong, for the sender.
    pub fn message(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BareCr => (400, "bare_cr", "a carriage return without a line feed"),
            Self::BareLf => (400, "bare_lf", "a line feed without a carriage return: lines end with CRLF"),
            Self::ControlByte => (400, "control_byte", "a NUL or control byte in the head"),
            Self::LeadingEmptyLine => (400, "leading_empty_line", "empty lines before the request"),
            Self::RequestLine => (400, "request_line", "the request line is not `METHOD target HTTP/1.1`"),
            Self::StatusLine => (400, "status_line", "the status line is not `HTTP/1.1 NNN reason`"),
            Self::Method => (400, "method", "the method is not a token of at most 32 bytes"),
            Self::ConnectMethod => (501, "connect_method", "CONNECT is for proxies, which this server is not"),
            Self::Target => (400, "target", "the target must be a path, an absolute http address, or `*` for OPTIONS"),
            Self::TargetByte => (400, "target_byte", "the target has a byte that must be percent-encoded"),
            Self::TargetTooLong => {
                (414, "target_too_long", "the target is longer than half of what a head may have (limits.head_bytes_max)")
            }
            Self::Version => (505, "http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"),
            Self::TooLarge => (431, "head_too_large", "the head is larger than the limit (limits.head_bytes_max)"),
            Self::TooManyHeaders => (431, "too_many_headers", "there are more header fields than the limit (limits.headers_max)"),
            Self::HeaderName => (400, "header_name", "a header line without a valid name and a colon"),
            Self::SpaceInName => (400, "space_in_header_name", "white space in a header name or before its colon"),
            Self::Folding => (400, "header_folding", "a header line that continues the line before"),
            Self::MissingHost => (400, "missing_host", "an HTTP/1.1 request needs a Host header"),
            Self::RepeatedHost => (400, "repeated_host", "more than one Host header"),
            Self::InvalidHost => (400, "invalid_host", "the Host header is not `name` or `name:port`"),
            Self::HostMismatch => (400, "host_mismatch", "the target names another host than the Host header"),
            Self::LengthAndEncoding => (400, "length_and_encoding", "Content-Length and Transfer-Encoding exclude each other"),
            Self::RepeatedLength => (400, "repeated_length", "more than one Content-Length"),
            Self::InvalidLength => (400, "invalid_length", "Content-Length must be digits and nothing else"),
            Self::LengthTooLarge => (413, "length_too_large", "Content-Length is beyond every limit (limits.body_bytes_max)"),
            Self::TransferEncoding => (501, "transfer_encoding", "the only transfer coding known here is `chunked`"),
            Self::RepeatedEncoding => (400, "repeated_encoding", "more than one Transfer-Encoding"),
            Self::EncodingInHttp10 => (400, "encoding_in_http10", "HTTP/1.0 has no Transfer-Encoding"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for HeadError {}
