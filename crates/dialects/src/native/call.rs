//! Calls: what a client asks of the application behind the hub, and the application's answer.
//!
//! ```text
//! > {"type":"call","method":"order","data":{"item":7},"ref":1}
//! < {"type":"called","method":"order","data":{"number":12},"ref":1}
//! ```
//!
//! An application that emits something to its caller alone is seen as a `message` without a channel.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use omnivox_core::Limits;
use omnivox_core::call::{Arguments, Call, Called, Emit, one_value};
use smallvec::SmallVec;

use super::codes::Refusal;
use super::fields::{Fields, bounded};
use super::message::Origin;
use super::render::{self, Object};

/// The call that the members of a message or of a request's body make.
pub(super) fn parse(fields: &Fields<'_>, limits: &Limits) -> Result<Call, Refusal> {
    let method = fields.text("method")?.ok_or_else(|| Refusal::message("`method` is missing; say what is called"))?;
    if method.is_empty() {
        return Err(Refusal::message("`method` is empty; say what is called"));
    }
    bounded("method", &method, limits.event_name_bytes_max, "event_name_bytes_max")?;
    let data = fields.raw("data").map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
    let arguments: Arguments = data.into_iter().collect();
    Ok(Call { arguments, ..Call::new(Arc::from(&*method), Bytes::new()) })
}

/// The answer to a call on a WebSocket.
pub(super) fn called_message(method: &str, called: &Called, origin: &Origin, into: &mut BytesMut) {
    let mut object = Object::message("called", into);
    object.text("method", method);
    object.raw("data", &value(called.arguments.as_ref()));
    object.reference(origin);
    object.end();
}

/// What the application emits to its caller alone.
pub(super) fn emit_message(emit: &Emit, into: &mut BytesMut) {
    let mut object = Object::message("message", into);
    emit_members(emit, &mut object);
    object.end();
}

/// The body of the answer to `POST /v1/call`.
pub(super) fn called_body(called: &Called, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.raw("data", &value(called.arguments.as_ref()));
    if !called.emits.is_empty() {
        object.list("emits", &called.emits, |emit, into| {
            let mut object = Object::begin(into);
            emit_members(emit, &mut object);
            object.end();
        });
    }
    object.end();
}

fn emit_members(emit: &Emit, object: &mut Object<'_>) {
    object.text("event", &emit.event);
    object.raw("data", &one_value(&emit.arguments));
}

fn value(arguments: Option<&SmallVec<[Bytes; 1]>>) -> Bytes {
    one_value(arguments.map_or(&[], SmallVec::as_slice))
}

/// The frame of an event for the caller alone.
pub(super) fn emit_frame(emit: &Emit) -> omnivox_core::Frame {
    render::text_frame(|into| emit_message(emit, into))
}
