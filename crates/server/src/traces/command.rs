//! What a span tells of a command: what was asked, how much of it, and whether it was granted.
//!
//! Never a credential, a payload, a user or an address; the names of channels only where the operator wants them, and never those of inboxes and of
//! the server's own channels.

use omnivox_core::command::{Command, Credential, Denied, Reply, Subscribe};
use omnivox_core::name::ChannelName;
use omnivox_hub::hub::Outcome;

use super::span::{Kind, Span};

/// The name of a command's span.
pub(super) fn name(command: &Command) -> &'static str {
    match command {
        Command::Connect(_) => "connect",
        Command::Subscribe(_) | Command::Admit(..) => "subscribe",
        Command::Unsubscribe(_) | Command::UnsubscribePattern(_) => "unsubscribe",
        Command::Publish(_) => "publish",
        Command::Enter(_) | Command::Appear(_) => "enter",
        Command::Leave(..) => "leave",
        Command::Members(_) | Command::Present(_) => "members",
        Command::Locate(_) => "locate",
        Command::History(..) => "history",
        Command::Channels(_) => "channels",
        Command::Manage(_) => "manage",
        Command::Connections(_) => "connections",
        Command::Ticket => "ticket",
        Command::Seat(_) => "seat",
        Command::Signal(_) => "signal",
        Command::Ice(_) => "ice",
        Command::Keep(_) => "keep",
        Command::Vacate(_) => "vacate",
        Command::Call(_) => "call",
    }
}

/// Whose side it tells.
pub(super) fn kind(command: &Command) -> Kind {
    if matches!(command, Command::Publish(_)) { Kind::Producer } else { Kind::Internal }
}

/// Notes what was asked.
pub(super) fn describe(span: &mut Span, command: &Command, name_channels: bool) {
    match command {
        Command::Connect(connect) => {
            let (kind, is_asking) = match connect.credential {
                // Who shows nothing asks whether that is enough; a no is no failure.
                Credential::Anonymous => ("none", true),
                Credential::Token(_) => ("token", false),
                Credential::Ticket(_) => ("ticket", false),
                Credential::Key { .. } => ("key", false),
                Credential::Cookie(_) => ("cookie", false),
                Credential::Signed(_) => ("signature", false),
            };
            span.text("omnivox.credential", kind);
            span.expect_refusal(is_asking);
        }
        Command::Subscribe(subscribe) | Command::Admit(subscribe, _) => describe_subscribe(span, subscribe, name_channels),
        Command::Publish(drafts) => {
            messaging(span, "publish");
            span.number("messaging.batch.message_count", drafts.len());
            span.number("messaging.message.body.size", drafts.iter().map(|draft| draft.payload.len()).sum());
            let mut channels = drafts.iter().flat_map(|draft| &draft.channels);
            if let (Some(channel), None, true) = (channels.next(), channels.next(), name_channels) {
                destination(span, channel);
            }
        }
        Command::Unsubscribe(channel) | Command::Members(channel) | Command::History(channel, _) | Command::Leave(channel, _)
            if name_channels =>
        {
            destination(span, channel);
        }
        _ => {}
    }
}

fn describe_subscribe(span: &mut Span, subscribe: &Subscribe, name_channels: bool) {
    messaging(span, "subscribe");
    span.number("omnivox.channels", subscribe.channels.len());
    if !subscribe.patterns.is_empty() {
        span.number("omnivox.patterns", subscribe.patterns.len());
    }
    span.flag("omnivox.resumes", subscribe.since.is_some());
    if let ([channel], true) = (&subscribe.channels[..], name_channels) {
        destination(span, channel);
    }
}

pub(super) fn messaging(span: &mut Span, operation: &'static str) {
    span.text("messaging.system", "omnivox");
    span.text("messaging.operation.name", operation);
}

fn destination(span: &mut Span, channel: &ChannelName) {
    if !channel.is_inbox() && !channel.as_str().starts_with(['$', '#']) {
        span.text("messaging.destination.name", channel.as_str());
    }
}

/// Notes what came of it.
pub(super) fn conclude(span: &mut Span, result: &Result<Outcome, Denied>) {
    match result {
        Err(denied) => span.fail(denied.code()),
        Ok(Outcome::Joined(_, joined)) if !joined.missed.is_empty() => span.number("omnivox.missed", joined.missed.len()),
        Ok(Outcome::Reply(Reply::Connected(principal))) => span.text("omnivox.app", principal.app.as_str()),
        Ok(Outcome::Reply(Reply::Published(published))) => {
            if let Some(denied) = published.iter().find_map(|result| result.as_ref().err()) {
                span.fail(denied.code());
            }
        }
        Ok(_) => {}
    }
}
