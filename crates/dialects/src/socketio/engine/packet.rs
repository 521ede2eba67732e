//! Engine.IO packets: one digit and a payload; binary data is always a message.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::Revision;

/// One packet of a client.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Packet<'a> {
    Open,
    Close,
    Ping(Cow<'a, str>),
    Pong,
    Message(Message<'a>),
    Upgrade,
    Noop,
}

/// The content of a message packet.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Message<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
}

/// Bytes that are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct BadPacket;

/// Clients pad, some of their ports don't.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

impl<'a> Packet<'a> {
    /// A text message of a WebSocket, or one packet of a text payload.
    pub(in super::super) fn from_text(text: &'a str, revision: Revision) -> Result<Self, BadPacket> {
        let rest = text.get(1..).unwrap_or_default();
        Ok(match text.as_bytes().first() {
            Some(b'0') => Self::Open,
            Some(b'1') => Self::Close,
            Some(b'2') => Self::Ping(Cow::Borrowed(rest)),
            Some(b'3') => Self::Pong,
            Some(b'4') => Self::Message(Message::Text(Cow::Borrowed(rest))),
            Some(b'5') => Self::Upgrade,
            Some(b'6') => Self::Noop,
            Some(b'b') => Self::from_base64(rest, revision)?,
            Some(_) | None => return Err(BadPacket),
        })
    }

    /// A packet that is a binary message of a WebSocket, or one packet of a binary payload.
    pub(in super::super) fn from_binary(bytes: &'a [u8], revision: Revision) -> Result<Self, BadPacket> {
        match revision {
            Revision::Four => Ok(Self::Message(Message::Binary(Cow::Borrowed(bytes)))),
            Revision::Three => match bytes.split_first() {
                Some((4, data)) => Ok(Self::Message(Message::Binary(Cow::Borrowed(data)))),
                Some(_) | None => Err(BadPacket),
            },
        }
    }

    fn from_base64(text: &str, revision: Revision) -> Result<Self, BadPacket> {
        let digits = match revision {
            Revision::Four => text,
            Revision::Three => text.strip_prefix('4').ok_or(BadPacket)?,
        };
        let bytes = BASE64.decode(digits).map_err(|_| BadPacket)?;
        Ok(Self::Message(Message::Binary(Cow::Owned(bytes))))
    }

    /// The same packet without a borrow.
    pub(super) fn into_owned(self) -> Packet<'static> {
        match self {
            Self::Open => Packet::Open,
            Self::Close => Packet::Close,
            Self::Ping(data) => Packet::Ping(Cow::Owned(data.into_owned())),
            Self::Pong => Packet::Pong,
            Self::Message(Message::Text(text)) => Packet::Message(Message::Text(Cow::Owned(text.into_owned()))),
            Self::Message(Message::Binary(bytes)) => Packet::Message(Message::Binary(Cow::Owned(bytes.into_owned()))),
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}
