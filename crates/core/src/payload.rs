//! Payloads: what a publication carries, kept as the bytes that came.
//!
//! Between clients of one dialect a payload passes byte for byte. Between dialects JSON stays JSON, text becomes a JSON string where only
//! JSON is possible, and binary becomes base64 with a marker where only text is possible (`docs/mapping.md`).

use bytes::Bytes;

/// The bytes of a publication and what they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// One JSON value, already checked.
    Json(Bytes),
    /// UTF-8 text that is not JSON.
    Text(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Payload {
    /// The bytes, whatever they are.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}
