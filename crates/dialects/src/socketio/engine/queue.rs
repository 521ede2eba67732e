//! What waits for a polling client of revision 3, whose bodies count their packets: the shared outbox of revision 4 can't be used there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use omnivox_core::{Coding, Response};
use omnivox_wire::http1;

use super::payload::{self, PacketBytes};

/// A packet on its way out.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Outgoing {
    /// A text packet, its type digit included.
    Text(Bytes),
    /// The data of a binary message.
    Binary(Bytes),
}

/// How a poll wants its answer.
#[derive(Debug)]
pub(super) struct Style {
    /// Status and headers without a content type.
    pub(super) head: Response,
    /// The index of the page's JSONP function.
    pub(super) callback: Option<Box<str>>,
    /// Binary bodies can't be taken.
    pub(super) base64: bool,
    /// How a body of so many bytes is compressed.
    pub(super) compress: Option<(Coding, usize)>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    packets: Vec<Outgoing>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, packet: Outgoing) {
        let (Outgoing::Text(bytes) | Outgoing::Binary(bytes)) = &packet;
        self.bytes += bytes.len();
        self.packets.push(packet);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn drain(&mut self) -> Vec<Outgoing> {
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }

    /// All packets as one answer.
    pub(super) fn answer(&mut self, style: Style) -> Response {
        answer(&self.drain(), style)
    }
}

/// Some packets as one answer of revision 3.
pub(super) fn answer(packets: &[Outgoing], style: Style) -> Response {
    let binary = packets.iter().any(|packet| matches!(packet, Outgoing::Binary(_)));
    if binary && !style.base64 && style.callback.is_none() {
        let mut body = Vec::new();
        for packet in packets {
            payload::encode_binary(as_bytes(packet), &mut body);
        }
        return with(style, "application/octet-stream", body);
    }
    let mut body = String::new();
    for packet in packets {
        match as_bytes(packet) {
            PacketBytes::Text(text) => payload::encode_counted(text, &mut body),
            PacketBytes::Binary(data) => payload::encode_counted(&format!("b4{}", STANDARD.encode(data)), &mut body),
        }
    }
    if let Some(index) = &style.callback {
        body = payload::to_jsonp(index, &body);
    }
    with(style, "text/plain; charset=UTF-8", body.into_bytes())
}

fn as_bytes(packet: &Outgoing) -> PacketBytes<'_> {
    match packet {
        Outgoing::Text(bytes) => PacketBytes::Text(std::str::from_utf8(bytes).unwrap_or_default()),
        Outgoing::Binary(bytes) => PacketBytes::Binary(bytes),
    }
}

fn with(style: Style, content_type: &'static str, body: Vec<u8>) -> Response {
    let coding = style.compress.filter(|(_, least)| body.len() >= *least).map(|(coding, _)| coding);
    let compressed = coding.and_then(|coding| match coding {
        Coding::Gzip => http1::gzip(&body),
        Coding::Deflate => http1::deflate(&body),
    });
    let mut head = style.head.header("content-type", content_type);
    if let (Some(coding), true) = (coding, compressed.is_some()) {
        head = head.header("content-encoding", coding.name());
    }
    head.body = compressed.unwrap_or(body).into();
    head
}
