//! Engine.IO packets as WebSocket frames, whatever carrier drains the outbox: a held poll takes the payload out of the frame again.

use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::{Frame, FrameKind};
use omnivox_wire::ws::{self, DataKind};

/// A text packet, its type digit included.
pub(in super::super) fn text(packet: &[u8]) -> Frame {
    framed(DataKind::Text, FrameKind::Text, &[packet])
}

/// A binary message of revision 4.
pub(in super::super) fn binary(data: &[u8]) -> Frame {
    framed(DataKind::Binary, FrameKind::Binary, &[data])
}

/// A binary message of revision 3: it carries its type.
pub(super) fn typed_binary(data: &[u8]) -> Frame {
    framed(DataKind::Binary, FrameKind::Binary, &[&[4], data])
}

/// A text packet and the binary messages that belong to it, in one frame that nothing can come between.
pub(in super::super) fn row(packet: &[u8], attachments: &[Bytes]) -> Frame {
    let bytes = packet.len() + attachments.iter().map(Bytes::len).sum::<usize>() + 10 * (1 + attachments.len());
    let mut wire = BytesMut::with_capacity(bytes);
    ws::encode(DataKind::Text, packet, &mut wire);
    for attachment in attachments {
        ws::encode(DataKind::Binary, attachment, &mut wire);
    }
    Frame::raw(wire.freeze())
}

/// The end of a WebSocket, without a code as the reference says it.
pub(in super::super) fn goodbye() -> Frame {
    Frame::raw(Bytes::from_static(b"\x88\x00"))
}

fn framed(data: DataKind, kind: FrameKind, parts: &[&[u8]]) -> Frame {
    let payload_bytes = parts.iter().map(|part| part.len()).sum();
    let header = ws::header(data, true, false, payload_bytes);
    let mut wire = BytesMut::with_capacity(header.len() + payload_bytes);
    wire.put_slice(&header);
    parts.iter().for_each(|part| wire.put_slice(part));
    Frame::framed(kind, wire.freeze(), header.len() as u16, 0)
}
