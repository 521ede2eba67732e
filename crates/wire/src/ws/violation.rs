//! What a peer did wrong, with the close code that answers it.

use std::fmt;

/// A broken rule of the WebSocket protocol or a limit that was passed: send [`Violation::code`] and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A reserved header bit is set without an extension that uses it.
    ReservedBit,
    /// Opcode 3 to 7 or 11 to 15.
    ReservedOpcode,
    /// A client frame without a mask.
    Unmasked,
    /// A server frame with a mask.
    Masked,
    /// A 64-bit length with its top bit set.
    LengthOverflow,
    /// A ping, pong or close frame without FIN.
    FragmentedControl,
    /// A ping, pong or close frame with more than 125 bytes.
    LongControl,
    /// A continuation frame when no message is open.
    UnexpectedContinuation,
    /// A new text or binary frame before the open message ended.
    ExpectedContinuation,
    /// A close frame with a payload of one byte.
    TruncatedCloseCode,
    /// A close code that must not appear on the wire.
    InvalidCloseCode,
    /// A close reason that is not UTF-8.
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8.
    TextNotUtf8,
    /// A compressed message that can't be inflated.
    InvalidDeflate,
    /// A message beyond the size limit.
    MessageTooBig,
}

impl Violation {
    /// The close code to send.
    pub fn code(self) -> u16 {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode
            | Self::Unmasked
            | Self::Masked
            | Self::LengthOverflow
            | Self::FragmentedControl
            | Self::LongControl
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::TruncatedCloseCode
            | Self::InvalidCloseCode => 1002,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 | Self::InvalidDeflate => 1007,
            Self::MessageTooBig => 1009,
        }
    }

    /// The close reason to send; also good for a log line.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved frame bit is set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Unmasked => "client frame is not masked",
            Self::Masked => "server frame is masked",
            Self::LengthOverflow => "frame length has its top bit set",
            Self::FragmentedControl => "control frame is fragmented",
            Self::LongControl => "control frame is longer than 125 bytes",
            Self::UnexpectedContinuation => "continuation frame without a message",
            Self::ExpectedContinuation => "new message before the last one ended",
            Self::TruncatedCloseCode => "close frame with half a code",
            Self::InvalidCloseCode => "close code is not allowed on the wire",
            Self::CloseReasonNotUtf8 => "close reason is not UTF-8",
            Self::TextNotUtf8 => "text message is not UTF-8",
            Self::InvalidDeflate => "compressed message can't be inflated",
            Self::MessageTooBig => "message is larger than the limit (limits.message_bytes_max)",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (close {})", self.reason(), self.code())
    }
}

impl std::error::Error for Violation {}
