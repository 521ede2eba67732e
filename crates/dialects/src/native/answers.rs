//! What a WebSocket session says to its client beside what is delivered: answers, errors, the goodbye.

use bytes::BytesMut;
use omnivox_core::command::{Subscribed, SubscribedChannel};
use omnivox_core::{Action, Actions, ChannelName, Pattern, Reply};

use super::codes::Refusal;
use super::message::Origin;
use super::render::{self, About, Object};

pub(super) fn subscribed_message(channel: &SubscribedChannel, more: bool, origin: &Origin, into: &mut BytesMut) {
    let mut object = Object::message("subscribed", into);
    object.text("channel", channel.channel.as_str());
    object.mark("id", channel.position);
    // What was not replayed because it was too much is missing just the same.
    object.flag("gap", channel.gap || more);
    object.number("recovered", channel.recovered);
    object.reference(origin);
    object.end();
}

/// The answer to a subscribe by pattern; the id is the cursor, because that resumes whatever the pattern brings.
pub(super) fn subscribed_pattern_message(pattern: &Pattern, subscribed: &Subscribed, origin: &Origin, into: &mut BytesMut) {
    let mut object = Object::message("subscribed", into);
    object.text("pattern", &pattern.to_string());
    object.mark("id", subscribed.cursor);
    object.flag("gap", subscribed.gap() || subscribed.more());
    object.number("recovered", subscribed.patterns.map_or(0, |patterns| patterns.recovered));
    object.reference(origin);
    object.end();
}

pub(super) fn send_connected(reply: &Reply, origin: &Origin, actions: &mut Actions) {
    let Reply::Connected(principal) = reply else { return };
    send(actions, |into| {
        let mut object = Object::message("connected", into);
        match &principal.user {
            Some(user) => object.text("user", user.as_str()),
            None => object.raw("user", b"null"),
        }
        object.reference(origin);
        object.end();
    });
}

pub(super) fn send(actions: &mut Actions, write: impl FnOnce(&mut BytesMut)) {
    actions.push(Action::Push(render::text_frame(write)));
}

pub(super) fn send_about(channel: &ChannelName, kind: &str, origin: &Origin, actions: &mut Actions) {
    send(actions, |into| {
        let mut object = Object::message(kind, into);
        object.text("channel", channel.as_str());
        object.reference(origin);
        object.end();
    });
}

pub(super) fn send_error(origin: &Origin, about: About<'_>, refusal: &Refusal, actions: &mut Actions) {
    send(actions, |into| render::error(origin, about, refusal, into));
}

pub(super) fn send_pong(origin: &Origin, actions: &mut Actions) {
    send(actions, |into| {
        let mut object = Object::message("pong", into);
        object.reference(origin);
        object.end();
    });
}

pub(super) fn close(code: u16, words: &str, actions: &mut Actions) {
    actions.push(Action::Push(render::close_frame(code, words)));
    actions.push(Action::End);
}
