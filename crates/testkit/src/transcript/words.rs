//! Commands and reasons in the words of a transcript.

use omnivox_core::publication::Form;
use omnivox_core::room::Claim;
use omnivox_core::{ChannelName, CloseReason, Command, Credential, Draft};

use super::shown;

/// Where a client that connects came to and from, for a `?` line of its own behind that of the command.
pub(super) fn came(command: &Command) -> Option<String> {
    let Command::Connect(connect) = command else { return None };
    let (host, origin) = (connect.host.as_deref()?, connect.origin.as_deref().unwrap_or("nowhere"));
    Some(format!("came to {host} from {origin}"))
}

/// A command's kind, and the command in words for `?` lines.
pub(super) fn described(command: &Command) -> (&'static str, String) {
    let (kind, rest) = match command {
        Command::Connect(connect) => {
            let shown = match &connect.credential {
                Credential::Anonymous => "anonymous".to_owned(),
                Credential::Token(token) => format!("token {token}"),
                Credential::Ticket(ticket) => format!("ticket {ticket}"),
                Credential::Key { id, secret } => format!("key {id} {secret}"),
                Credential::Cookie(cookie) => {
                    let sign =
                        |name: &str, sign: &Option<Box<str>>| sign.as_ref().map(|sign| format!(" {name} {sign}")).unwrap_or_default();
                    format!("cookie {}{}{}", cookie.token, sign("from", &cookie.referer), sign("site", &cookie.fetch_site))
                }
                Credential::Signed(request) => {
                    format!("signed {} {} {} {}", request.authorization, request.method, request.target, shown(&request.body))
                }
            };
            ("connect", shown)
        }
        Command::Subscribe(subscribe) => {
            let channels: Vec<&str> = subscribe.channels.iter().map(ChannelName::as_str).collect();
            let since = subscribe.since.map(|mark| format!(" since {mark}")).unwrap_or_default();
            let presence = if subscribe.presence { " with presence" } else { "" };
            let patterns: String = subscribe.patterns.iter().map(|pattern| format!(" pattern {pattern}")).collect();
            ("subscribe", format!("{}{patterns}{since}{presence}", channels.join("+")))
        }
        Command::Admit(subscribe, admitted) => {
            let named = |channels: &[ChannelName]| channels.iter().map(ChannelName::as_str).collect::<Vec<_>>().join("+");
            let since = subscribe.since.map(|mark| format!(" since {mark}")).unwrap_or_default();
            ("admit", format!("{} because of {}{since}", named(&subscribe.channels), named(admitted)))
        }
        Command::Unsubscribe(channel) => ("unsubscribe", channel.to_string()),
        Command::UnsubscribePattern(pattern) => ("unsubscribe", format!("pattern {pattern}")),
        Command::Appear(appear) => {
            let enter = &appear.enter;
            let data = enter.data.as_deref().map(|data| format!(" {}", shown(data))).unwrap_or_default();
            ("appear", format!("{} {}{data}", enter.channel, enter.key))
        }
        Command::Present(pattern) => ("present", pattern.to_string()),
        Command::Locate(name) => ("locate", name.to_string()),
        Command::Publish(drafts) => ("publish", drafts.iter().map(|draft| described_draft(draft)).collect::<Vec<_>>().join(" & ")),
        Command::Enter(enter) => {
            let verb = if enter.update_only { "update" } else { "enter" };
            let data = enter.data.as_deref().map(|data| format!(" {}", shown(data))).unwrap_or_default();
            (verb, format!("{} {}{data}", enter.channel, enter.key))
        }
        Command::Leave(channel, key) => ("leave", format!("{channel} {key}")),
        Command::Members(channel) => ("members", channel.to_string()),
        Command::History(channel, query) => {
            let since = query.since.map(|mark| format!(" since {mark}")).unwrap_or_default();
            let before = query.before.map(|mark| format!(" before {mark}")).unwrap_or_default();
            let order = if query.newest_first { " newest first" } else { "" };
            ("history", format!("{channel}{since}{before} most {}{order}", query.most))
        }
        Command::Channels(prefix) => ("channels", prefix.to_string()),
        Command::Manage(manage) => ("manage", format!("{manage:?}")),
        Command::Connections(user) => ("connections", user.to_string()),
        Command::Ticket => ("ticket", String::new()),
        Command::Seat(seat) => {
            let (claim, lease) = (described_claim(&seat.claim), if seat.leased { " on lease" } else { "" });
            let data = seat.data.as_deref().map(|data| format!(" {}", shown(data))).unwrap_or_default();
            ("seat", format!("{} {claim}{lease}{data}", seat.channel))
        }
        Command::Signal(signal) => {
            let from = signal.from.as_ref().map(|claim| format!(" from {}", described_claim(claim))).unwrap_or_default();
            ("signal", format!("{} {}{from} {}", signal.channel, signal.to, shown(&signal.data)))
        }
        Command::Keep(key) => ("keep", key.to_string()),
        Command::Vacate(vacate) => ("vacate", format!("{} {}", vacate.channel, described_claim(&vacate.claim))),
        Command::Call(call) => {
            let place = call.scope.as_ref().map(|scope| {
                let rooms = scope.rooms.join("+");
                format!(" in {} as {}{}{rooms}", scope.namespace, scope.socket, if rooms.is_empty() { "" } else { " in " })
            });
            let arguments: String = call.arguments.iter().map(|value| format!(" {}", shown(value))).collect();
            let answer = if call.wants_answer { "" } else { " without answer" };
            ("call", format!("{}{}{arguments}{answer}", call.method, place.unwrap_or_default()))
        }
        Command::Ice(wish) => {
            let room = wish.channel.as_ref().map(|room| format!(" {room}")).unwrap_or_default();
            let ttl = wish.ttl_s.map(|ttl| format!(" for {ttl} s")).unwrap_or_default();
            ("ice", format!("{room}{ttl}").trim_start().to_owned())
        }
    };
    (kind, format!("{kind} {rest}").trim_end().to_owned())
}

fn described_claim(claim: &Claim) -> String {
    match claim {
        Claim::Secret { secret, member } => {
            format!("secret {secret}{}", member.as_deref().map(|member| format!(" as {member}")).unwrap_or_default())
        }
        Claim::Name { name, token } => format!("name {name} token {token}"),
    }
}

fn described_draft(draft: &Draft) -> String {
    let channels: Vec<&str> = draft.channels.iter().map(ChannelName::as_str).collect();
    let event = draft.event.as_ref().map(|event| format!(" event={event}")).unwrap_or_default();
    let id = draft.id.as_ref().map(|id| format!(" id={id}")).unwrap_or_default();
    let except = if draft.audience.except_publisher { " but the sender" } else { "" };
    let except = if draft.audience.granted_only { " granted" } else { except };
    let form = if draft.form == Form::Flat { " flat" } else { "" };
    format!("{}{event}{id}{except}{form} {}", channels.join("+"), shown(draft.payload.bytes()))
}

pub(super) fn close_reason(words: &str) -> Option<CloseReason> {
    const REASONS: [CloseReason; 11] = [
        CloseReason::Drain,
        CloseReason::SlowConsumer,
        CloseReason::HeartbeatLost,
        CloseReason::Protocol("it broke the protocol"),
        CloseReason::TooLarge,
        CloseReason::Expired,
        CloseReason::Kicked,
        CloseReason::Quota("limits.a_quota"),
        CloseReason::Overloaded,
        CloseReason::Normal,
        CloseReason::Internal,
    ];
    REASONS.into_iter().find(|reason| reason.label() == words)
}
