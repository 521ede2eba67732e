//! STUN messages (RFC 8489 §5): borrowed parsing and building into a buffer.
//!
//! Parsing checks the whole attribute list once; afterwards every look-up is a slice of the datagram.
//!
//! Invariant: attributes that stand after the integrity attribute of a message are invisible, so nobody can append to a
//! signed request; of an attribute that appears twice only the first counts.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::{address, attribute, integrity};
use crate::proto::integrity::{Integrity, Key};

/// Length of the fixed header.
pub const HEADER_BYTES: usize = 20;
/// The value that tells STUN of RFC 5389 and later from everything else.
pub const COOKIE: u32 = 0x2112_A442;
/// Attributes that one message may have; more is malformed.
pub const ATTRIBUTES_MAX: usize = 64;

/// The 96 bits that pair a response with its request.
pub type TransactionId = [u8; 12];

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad answer.
    Error,
}

impl Class {
    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0000,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }
}

/// The methods that the server knows; any other is kept as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Tells the client its own address.
    Binding,
    /// Makes a relayed address.
    Allocate,
    /// Prolongs or ends an allocation.
    Refresh,
    /// Client to peer, by address.
    Send,
    /// Peer to client, by address.
    Data,
    /// Lets a peer's IP address in.
    CreatePermission,
    /// Gives a peer a short number.
    ChannelBind,
    /// RFC 6062: opens a connection to a peer.
    Connect,
    /// RFC 6062: joins a client connection to a peer's.
    ConnectionBind,
    /// RFC 6062: a peer has connected.
    ConnectionAttempt,
    /// Anything else.
    Other(u16),
}

impl Method {
    const fn number(self) -> u16 {
        match self {
            Self::Binding => 0x001,
            Self::Allocate => 0x003,
            Self::Refresh => 0x004,
            Self::Send => 0x006,
            Self::Data => 0x007,
            Self::CreatePermission => 0x008,
            Self::ChannelBind => 0x009,
            Self::Connect => 0x00A,
            Self::ConnectionBind => 0x00B,
            Self::ConnectionAttempt => 0x00C,
            Self::Other(number) => number & 0x0FFF,
        }
    }

    const fn from_number(number: u16) -> Self {
        match number {
            0x001 => Self::Binding,
            0x003 => Self::Allocate,
            0x004 => Self::Refresh,
            0x006 => Self::Send,
            0x007 => Self::Data,
            0x008 => Self::CreatePermission,
            0x009 => Self::ChannelBind,
            0x00A => Self::Connect,
            0x00B => Self::ConnectionBind,
            0x00C => Self::ConnectionAttempt,
            other => Self::Other(other),
        }
    }
}

/// The 14-bit type: class bits sit at 4 and 8, the method's twelve bits around them.
const fn type_of(class: Class, method: Method) -> u16 {
    let number = method.number();
    (number & 0x000F) | ((number & 0x0070) << 1) | ((number & 0x0F80) << 2) | class.bits()
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header.
    #[error("shorter than a STUN header")]
    Short,
    /// The two top bits are not zero.
    #[error("the first two bits are not zero")]
    NotStun,
    /// The magic cookie is missing.
    #[error("no STUN cookie")]
    Cookie,
    /// The header's length disagrees with the bytes.
    #[error("the header's length is wrong")]
    Length,
    /// An attribute runs over the end.
    #[error("an attribute runs over the end")]
    Attribute,
    /// More attributes than [`ATTRIBUTES_MAX`].
    #[error("too many attributes")]
    TooMany,
    /// FINGERPRINT is not the last attribute or is wrong.
    #[error("wrong fingerprint")]
    Fingerprint,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: u16,
    start: u16,
    length: u16,
}

/// One parsed message; it borrows the datagram.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    places: SmallVec<[Place; 12]>,
    sha1: Option<Place>,
    sha256: Option<Place>,
    fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads one message that fills `bytes` exactly.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(Malformed::Short) };
        let kind = u16::from_be_bytes([header[0], header[1]]);
        if kind & 0xC000 != 0 {
            return Err(Malformed::NotStun);
        }
        if header[4..8] != COOKIE.to_be_bytes() {
            return Err(Malformed::Cookie);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) || bytes.len() != HEADER_BYTES + length {
            return Err(Malformed::Length);
        }
        let class = match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let number = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
        let mut message = Self {
            bytes,
            class,
            method: Method::from_number(number),
            places: SmallVec::new(),
            sha1: None,
            sha256: None,
            fingerprint: false,
        };
        message.read_attributes()?;
        Ok(message)
    }

    fn read_attributes(&mut self) -> Result<(), Malformed> {
        let mut at = HEADER_BYTES;
        let mut count = 0;
        while at < self.bytes.len() {
            let Some(head) = self.bytes[at..].first_chunk::<4>() else { return Err(Malformed::Attribute) };
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = u16::from_be_bytes([head[2], head[3]]);
            let start = at + 4;
            let end = start + usize::from(length);
            if end > self.bytes.len() {
                return Err(Malformed::Attribute);
            }
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(Malformed::TooMany);
            }
            // A message is at most 65,555 bytes long, and the value of an attribute starts before its end.
            let Ok(start) = u16::try_from(start) else { return Err(Malformed::Length) };
            self.admit(Place { kind, start, length })?;
            at = end.next_multiple_of(4);
        }
        Ok(())
    }

    /// Takes one attribute in, or leaves it out because it stands behind an integrity attribute.
    fn admit(&mut self, place: Place) -> Result<(), Malformed> {
        match place.kind {
            attribute::FINGERPRINT => {
                let last = usize::from(place.start) + 4 == self.bytes.len();
                if place.length != 4 || !last || !integrity::fingerprint_holds(self.bytes) {
                    return Err(Malformed::Fingerprint);
                }
                self.fingerprint = true;
            }
            attribute::MESSAGE_INTEGRITY if self.sha1.is_none() && self.sha256.is_none() => {
                if place.length != 20 {
                    return Err(Malformed::Attribute);
                }
                self.sha1 = Some(place);
            }
            attribute::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                if !(16..=32).contains(&place.length) || !place.length.is_multiple_of(4) {
                    return Err(Malformed::Attribute);
                }
                self.sha256 = Some(place);
            }
            _ if self.sha1.is_some() || self.sha256.is_some() => {}
            _ => self.places.push(place),
        }
        Ok(())
    }

    /// Request, indication, success or error.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The transaction id.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        id
    }

    /// Whether a (right) FINGERPRINT closed the message.
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// The value of the first attribute of this type.
    #[must_use]
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    /// The values of all attributes of this type, in order.
    pub fn all(&self, kind: u16) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.places.iter().filter(move |place| place.kind == kind).map(|place| self.value(*place))
    }

    fn value(&self, place: Place) -> &'a [u8] {
        let start = usize::from(place.start);
        &self.bytes[start..start + usize::from(place.length)]
    }

    /// Where the first attribute of this type has its value inside the message.
    #[must_use]
    pub fn range(&self, kind: u16) -> Option<std::ops::Range<usize>> {
        let place = self.places.iter().find(|place| place.kind == kind)?;
        let start = usize::from(place.start);
        Some(start..start + usize::from(place.length))
    }

    /// Text of an attribute, when it is UTF-8.
    #[must_use]
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.find(kind).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// An attribute that holds one 32-bit number.
    #[must_use]
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(u32::from_be_bytes)
    }

    /// An XOR-…-ADDRESS attribute.
    #[must_use]
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        self.find(kind).and_then(|value| address::read_xor(value, &self.transaction()))
    }

    /// Types of the comprehension-required attributes that `known` does not list.
    pub fn unknown<'k>(&'k self, known: &'k [u16]) -> impl Iterator<Item = u16> + 'k {
        self.places.iter().map(|place| place.kind).filter(move |kind| *kind < 0x8000 && !known.contains(kind))
    }

    /// The strongest integrity attribute that the message has.
    #[must_use]
    pub const fn integrity(&self) -> Option<Integrity> {
        match (self.sha256, self.sha1) {
            (Some(_), _) => Some(Integrity::Sha256),
            (None, Some(_)) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether the strongest integrity attribute was made with this key (compared in constant time).
    #[must_use]
    pub fn verify(&self, key: &Key) -> bool {
        let (kind, place) = match (self.sha256, self.sha1) {
            (Some(place), _) => (Integrity::Sha256, place),
            (None, Some(place)) => (Integrity::Sha1, place),
            (None, None) => return false,
        };
        let before = usize::from(place.start) - 4;
        integrity::verify(kind, key, &self.bytes[..before], self.value(place))
    }
}

/// Builds one message at the end of a buffer; the header's length is right after every call.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'b> Writer<'b> {
    /// Starts a message.
    pub fn new(out: &'b mut Vec<u8>, class: Class, method: Method, transaction: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&type_of(class, method).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction);
        Self { out, start, transaction }
    }

    /// Appends any attribute; a value over 65,535 bytes is a mistake of the caller and is cut.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&value[..usize::from(length)]);
        let padding = usize::from(length).next_multiple_of(4) - usize::from(length);
        self.out.extend_from_slice(&[0; 3][..padding]);
        self.set_length(0);
        self
    }

    /// Appends a 32-bit number.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an XOR-…-ADDRESS.
    pub fn xor_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let mut value = [0; 20];
        let length = address::write_xor(&mut value, address, &self.transaction);
        self.attribute(kind, &value[..length])
    }

    /// Appends an address that is not XORed (RFC 5780 and ALTERNATE-SERVER).
    pub fn plain_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let mut value = [0; 20];
        let length = address::write_plain(&mut value, address);
        self.attribute(kind, &value[..length])
    }

    /// Appends ERROR-CODE without a reason text: the text would only raise the amplification of unauthenticated replies.
    pub fn error(&mut self, code: u16) -> &mut Self {
        self.attribute(attribute::ERROR_CODE, &error_value(code))
    }

    /// Appends an integrity attribute.
    pub fn sign(&mut self, kind: Integrity, key: &Key) -> &mut Self {
        let tag_bytes = kind.tag_bytes();
        self.set_length(4 + tag_bytes);
        let mut tag = [0; 32];
        integrity::compute(kind, key, &self.out[self.start..], &mut tag);
        self.attribute(kind.attribute(), &tag[..tag_bytes])
    }

    /// Appends FINGERPRINT; nothing may follow.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(8);
        let value = integrity::fingerprint(&self.out[self.start..]);
        self.number(attribute::FINGERPRINT, value)
    }

    fn set_length(&mut self, more: usize) {
        let length = self.out.len() - self.start - HEADER_BYTES + more;
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The four bytes of ERROR-CODE.
#[must_use]
pub fn error_value(code: u16) -> [u8; 4] {
    [0, 0, u8::try_from(code / 100).unwrap_or(5), u8::try_from(code % 100).unwrap_or(0)]
}
