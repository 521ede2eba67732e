//! Events as bytes: `event`, `retry`, `id`, then one `data` line for each line of the payload.

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::{Event, Frame, FrameKind, Framing, Payload, Publication};
use omnivox_wire::http1;

use super::publish::RETRY_TAG;
use super::{formats, id, subscriptions};

/// Room in front of a frame for the header of a chunk.
const HEADROOM: usize = 20;

/// An empty buffer for a frame.
pub(super) fn scratch() -> BytesMut {
    let mut scratch = BytesMut::with_capacity(HEADROOM + 256);
    begin(&mut scratch);
    scratch
}

fn begin(scratch: &mut BytesMut) {
    scratch.clear();
    scratch.put_bytes(0, HEADROOM);
}

/// Makes the frame of what was written behind [`scratch`].
pub(super) fn seal(framing: Framing, scratch: &mut BytesMut) -> Frame {
    if framing != Framing::Chunk {
        return Frame::raw(Bytes::copy_from_slice(&scratch[HEADROOM..]));
    }
    let header = http1::chunk_header(scratch.len() - HEADROOM);
    scratch.put_slice(b"\r\n");
    let start = HEADROOM - header.len();
    scratch[start..HEADROOM].copy_from_slice(&header);
    Frame::framed(FrameKind::Raw, Bytes::copy_from_slice(&scratch[start..]), header.len() as u16, 2)
}

/// An event for all subscribers of a format.
pub(super) fn event(event: &Event, format: u8, framing: Framing, scratch: &mut BytesMut) -> Option<Frame> {
    begin(scratch);
    match event {
        Event::Publication(published, place) => {
            // Each generation is told of subscriptions in its own shape.
            let shape = published.places.get(*place).and_then(|place| subscriptions::shape_of(place.channel.as_str()));
            if shape.is_some_and(|shape| format != formats::BOTH && shape != format) {
                return None;
            }
            publication(published, scratch)?;
        }
        // Presence is shown as the updates of the subscription API.
        Event::Presence(_) => return None,
        // The protocol has no word for it on a stream that is open: the header of a resume says so.
        Event::Gap(_) => return None,
    }
    Some(seal(framing, scratch))
}

/// Appends a publication; nothing when its event name can't be one here.
pub(super) fn publication(publication: &Publication, into: &mut BytesMut) -> Option<()> {
    let draft = &publication.draft;
    if let Some(name) = draft.event.as_deref().filter(|name| *name != "message") {
        if name.contains(['\r', '\n', '\0']) {
            return None;
        }
        field("event", name, into);
    }
    if let Some(retry) = publication.tag(RETRY_TAG) {
        field("retry", retry, into);
    }
    if !publication.places.is_empty() {
        field("id", &id::of_publication(publication), into);
    }
    match &draft.payload {
        Payload::Json(bytes) | Payload::Text(bytes) => lines(bytes, into),
        Payload::Binary(bytes) => field("data", &base64::engine::general_purpose::STANDARD.encode(bytes), into),
    }
    into.put_u8(b'\n');
    Some(())
}

fn field(name: &str, value: &str, into: &mut BytesMut) {
    into.reserve(name.len() + value.len() + 3);
    into.put_slice(name.as_bytes());
    into.put_slice(b": ");
    into.put_slice(value.as_bytes());
    into.put_u8(b'\n');
}

/// The payload, a field for each of its lines, whatever ends them.
fn lines(bytes: &[u8], into: &mut BytesMut) {
    into.reserve(bytes.len() + 16);
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        into.put_slice(b"data: ");
        into.put_slice(&rest[..end]);
        into.put_u8(b'\n');
        if end == rest.len() {
            return;
        }
        let pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(pair)..];
    }
}
