//! The native protocol: WebSocket, server-sent events, polling and an HTTP API, for clients without any SDK.
//!
//! Its paths lie under `/v1/`; an [`Alias`] of the settings gives a transport a further path, default channels and a format. The wire is
//! described in `docs/protocol-native.md` and `docs/openapi.json`.
//!
//! ```text
//!   request ── mod (routes, parsing) ─┬─ websocket   messages both ways       ── render ── one frame for all subscribers
//!                                     ├─ stream      server-sent events       ── render ── one chunk for all subscribers
//!                                     ├─ poll        one answer, maybe later  ── render ── one answer for all pollers
//!                                     └─ api         one request, one answer
//! ```
//!
//! Invariant: a request is parsed before there is a session for it, so that no session knows a half-right one.

mod answers;
mod api;
mod call;
mod codes;
mod echo;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
mod manage;
mod message;
mod poll;
mod render;
mod request;
mod rooms;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod webhooks;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use omnivox_core::session::{Heartbeat, NewSession, OpenContext, Route};
use omnivox_core::{ChannelName, Dialect, EncodingKey, Event, Frame, Mark, Opening, Pattern, Request, Response, Session};

use codes::Refusal;
use echo::{ECHO_BYTES_MAX, EchoSession};
use request::{Channels, Cors, Parameters};
use stream::Since;
use websocket::WebSocketSession;

pub use fields::{DEPTH_MAX, REF_BYTES_MAX};
pub use message::{HISTORY_LIMIT_DEFAULT, RESERVED_TYPES};
pub use settings::{Alias, Format, NativeSettings, Transport};

/// The formats of encoding keys.
mod formats {
    /// Messages on a WebSocket.
    pub(super) const MESSAGES: u8 = 0;
    /// Events with the whole envelope.
    pub(super) const STREAM_ENVELOPE: u8 = 1;
    /// Events with the payload alone.
    pub(super) const STREAM_DATA: u8 = 2;
    /// Poll answers about one channel.
    pub(super) const POLL_POSITIONS: u8 = 3;
    /// Poll answers about several channels.
    pub(super) const POLL_CURSORS: u8 = 4;
    /// Messages on a WebSocket that a pattern brought.
    pub(super) const MESSAGES_AND_CURSORS: u8 = 5;
    /// Poll answers of one event about one channel, for those who set a limit of their own.
    pub(super) const POLL_POSITION: u8 = 6;
    /// The same about several channels.
    pub(super) const POLL_CURSOR: u8 = 7;
}

/// The native dialect.
pub struct Native {
    settings: Arc<NativeSettings>,
    endpoints: Vec<Endpoint>,
}

/// One path and what is there.
#[derive(Clone, Debug)]
struct Endpoint {
    path: String,
    service: Service,
    /// The channels of those who name none.
    channels: Vec<ChannelName>,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    Transport(Transport),
    History,
    Presence,
    Channels,
    Ice,
    Ticket,
    Connections,
    Disconnect,
    Revoke,
    Enter,
    Signal,
    Leave,
    Call,
    Deliveries,
    TestWebhook,
}

impl Service {
    /// The methods that it answers: each, and all as `allow` lists them.
    fn methods(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Transport(Transport::Publish)
            | Self::Ticket
            | Self::Disconnect
            | Self::Revoke
            | Self::Enter
            | Self::Signal
            | Self::Leave
            | Self::Call
            | Self::TestWebhook => (&["POST", "OPTIONS"], "POST, OPTIONS"),
            Self::Transport(Transport::Ws | Transport::Echo) => (&["GET"], "GET"),
            Self::Transport(Transport::Sse | Transport::Poll)
            | Self::History
            | Self::Presence
            | Self::Channels
            | Self::Ice
            | Self::Connections
            | Self::Deliveries => (&["GET", "HEAD", "OPTIONS"], "GET, HEAD, OPTIONS"),
        }
    }
}

/// The paths that are always there.
const PATHS: [(&str, Service); 18] = [
    ("/v1/ws", Service::Transport(Transport::Ws)),
    ("/v1/sse", Service::Transport(Transport::Sse)),
    ("/v1/poll", Service::Transport(Transport::Poll)),
    ("/v1/publish", Service::Transport(Transport::Publish)),
    ("/v1/history", Service::History),
    ("/v1/presence", Service::Presence),
    ("/v1/channels", Service::Channels),
    ("/v1/ice", Service::Ice),
    ("/v1/ticket", Service::Ticket),
    ("/v1/connections", Service::Connections),
    ("/v1/disconnect", Service::Disconnect),
    ("/v1/revoke", Service::Revoke),
    ("/v1/rooms/enter", Service::Enter),
    ("/v1/rooms/signal", Service::Signal),
    ("/v1/rooms/leave", Service::Leave),
    ("/v1/call", Service::Call),
    ("/v1/webhooks/deliveries", Service::Deliveries),
    ("/v1/webhooks/test", Service::TestWebhook),
];

impl Native {
    /// The dialect with these settings.
    pub fn new(settings: NativeSettings) -> Self {
        let fixed = PATHS.iter().map(|(path, service)| Endpoint {
            path: (*path).to_owned(),
            service: *service,
            channels: Vec::new(),
            format: Format::Envelope,
        });
        let aliases = settings.aliases.iter().map(|alias| Endpoint {
            path: alias.path.clone(),
            service: Service::Transport(alias.transport),
            channels: alias.channels.clone(),
            format: alias.format,
        });
        let echo = settings.echo.iter().map(|path| Endpoint {
            path: path.clone(),
            service: Service::Transport(Transport::Echo),
            channels: Vec::new(),
            format: Format::Envelope,
        });
        let endpoints = fixed.chain(aliases).chain(echo).collect();
        Self { endpoints, settings: Arc::new(settings) }
    }

    fn open_endpoint(&self, context: &OpenContext, request: &Request<'_>, endpoint: &Endpoint, cors: Cors) -> Result<NewSession, Refusal> {
        let limits = &self.settings.limits;
        let parameters = Parameters::parse(request)?;
        let call = match endpoint.service {
            Service::Transport(Transport::Echo) => {
                let session =
                    NewSession { message_bytes_max: Some(ECHO_BYTES_MAX), ..one_shot(Box::new(EchoSession::new(request.upgrade))) };
                return Ok(NewSession { heartbeat: self.websocket_heartbeat(), ..session });
            }
            Service::Transport(Transport::Ws) => return self.open_websocket(context, request, &parameters, endpoint, cors),
            Service::Transport(Transport::Sse) => return self.open_stream(context, request, &parameters, endpoint, cors),
            Service::Transport(Transport::Poll) => {
                let (channels, patterns) = parameters.wanted(&endpoint.channels, limits)?;
                let last = match parameters.mark("last")? {
                    Some(mark) => Some(mark),
                    None => parameters.mark("since")?,
                };
                let wanted = poll::Wanted {
                    connecting: Some(request::connect(request, &parameters, self.settings.cookie_name.as_deref())?),
                    cors,
                    last: last.map(|mark| request::fitting_mark(mark, &channels, &patterns)).transpose()?,
                    channels,
                    patterns,
                    // What is held is answered with the bytes that everyone gets, and HEAD wants no body.
                    hold: poll::hold(
                        request,
                        &parameters,
                        if request.method == "HEAD" { Duration::ZERO } else { limits.poll_time_max },
                        context.entropy[0],
                    )?,
                    inbox: parameters.first("inbox").map(Into::into),
                    limit: parameters.number("limit")?.unwrap_or(limits.history_page_max).clamp(1, limits.history_page_max),
                };
                return Ok(one_shot(Box::new(poll::PollSession::new(&self.settings, context.dialect, wanted))));
            }
            Service::Transport(Transport::Publish) => api::Call::publish(request, limits)?,
            Service::History => api::Call::history(&parameters, limits)?,
            Service::Presence => api::Call::members(&parameters, limits)?,
            Service::Channels => api::Call::channels(&parameters),
            Service::Ice => api::Call::ice(&parameters, limits)?,
            Service::Ticket => api::Call::Ticket,
            Service::Connections => manage::connections(&parameters)?,
            Service::Disconnect => manage::disconnect(request)?,
            Service::Revoke => manage::revoke(request)?,
            Service::Enter => api::Call::enter(request)?,
            Service::Signal => api::Call::signal(request, limits)?,
            Service::Leave => api::Call::leave(request)?,
            Service::Call => api::Call::application(request, limits)?,
            Service::Deliveries => webhooks::deliveries(&parameters, limits)?,
            Service::TestWebhook => webhooks::test(request)?,
        };
        let connecting = request::connect(request, &parameters, self.settings.cookie_name.as_deref())?;
        Ok(one_shot(Box::new(api::ApiSession::new(connecting, cors, limits.outbox_bytes_soft, call))))
    }

    fn open_websocket(
        &self,
        context: &OpenContext,
        request: &Request<'_>,
        parameters: &Parameters<'_>,
        endpoint: &Endpoint,
        cors: Cors,
    ) -> Result<NewSession, Refusal> {
        let named = !endpoint.channels.is_empty() || parameters.names_channels();
        let channels = if named { parameters.channels(&endpoint.channels, &self.settings.limits)? } else { Channels::new() };
        let since = parameters.mark("since")?.map(|mark| request::fitting_mark(mark, &channels, &[])).transpose()?;
        let opening = websocket::OpeningWith {
            connecting: request::connect(request, parameters, self.settings.cookie_name.as_deref())?,
            cors,
            subprotocol: websocket::subprotocol(request),
            channels,
            since,
        };
        let session = WebSocketSession::new(self.settings.clone(), context.dialect, request.upgrade, opening);
        Ok(NewSession { heartbeat: self.websocket_heartbeat(), movable: true, ..one_shot(Box::new(session)) })
    }

    fn open_stream(
        &self,
        context: &OpenContext,
        request: &Request<'_>,
        parameters: &Parameters<'_>,
        endpoint: &Endpoint,
        cors: Cors,
    ) -> Result<NewSession, Refusal> {
        let (channels, patterns) = parameters.wanted(&endpoint.channels, &self.settings.limits)?;
        let format = match parameters.first("format") {
            None => endpoint.format,
            Some("envelope") => Format::Envelope,
            Some("data") => Format::Data,
            Some(_) => return Err(Refusal::message("`format` is neither `envelope` nor `data`")),
        };
        let wanted = stream::Wanted {
            connecting: request::connect(request, parameters, self.settings.cookie_name.as_deref())?,
            cors,
            head_only: request.method == "HEAD",
            since: last_event_id(request, parameters, &channels, &patterns)?,
            channels,
            patterns,
            presence: parameters.flag("presence")?,
            inbox: parameters.first("inbox").map(Into::into),
            format,
        };
        let session =
            stream::StreamSession::new(self.settings.clone(), context.dialect, request.stream_framing, context.entropy[0], wanted);
        let every = self.settings.sse_comment;
        // Nothing ever comes back on a stream; what is dead is found when a comment can't be written.
        Ok(NewSession { heartbeat: Heartbeat::Carrier { every, timeout: every }, ..one_shot(Box::new(session)) })
    }

    fn websocket_heartbeat(&self) -> Heartbeat {
        Heartbeat::Carrier { every: self.settings.ws_ping, timeout: self.settings.ws_pong_timeout }
    }
}

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn routes(&self) -> Vec<Route> {
        self.endpoints.iter().map(|endpoint| Route::exact(endpoint.path.clone())).collect()
    }

    fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening {
        let cors = Cors::of(request, &self.settings.cors_origins);
        let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.path == request.path) else {
            return Opening::Respond(cors.refuse(&Refusal { code: "not_found", status: 404, words: "nothing is at this path".into() }));
        };
        if let Some(response) = refuse_method(request, endpoint.service, &cors) {
            return Opening::Respond(response);
        }
        match self.open_endpoint(context, request, endpoint, cors.clone()) {
            Ok(session) => Opening::Session(session),
            Err(refusal) => Opening::Respond(cors.refuse(&refusal)),
        }
    }

    fn encode(&self, key: &EncodingKey, event: &Event, scratch: &mut BytesMut) -> Option<Frame> {
        match key.format {
            formats::MESSAGES => Some(render::websocket_event(event, false, key.framing, scratch)),
            formats::MESSAGES_AND_CURSORS => Some(render::websocket_event(event, true, key.framing, scratch)),
            formats::STREAM_ENVELOPE => render::stream_event(event, false, key.framing, scratch),
            formats::STREAM_DATA => render::stream_event(event, true, key.framing, scratch),
            formats::POLL_POSITIONS | formats::POLL_POSITION => render::poll_answer(event, false, key.qualifier.as_deref(), scratch),
            formats::POLL_CURSORS | formats::POLL_CURSOR => render::poll_answer(event, true, key.qualifier.as_deref(), scratch),
            _ => None,
        }
    }

    fn encode_run(&self, key: &EncodingKey, run: &[Event], scratch: &mut BytesMut) -> Option<(Frame, usize)> {
        let cursors = match key.format {
            formats::POLL_POSITIONS => false,
            formats::POLL_CURSORS => true,
            _ => return None,
        };
        render::poll_answer_of_run(run, cursors, &self.settings.limits, key.qualifier.as_deref(), scratch)
    }
}

/// A session that ends with its request or carrier and has no heartbeat.
fn one_shot(session: Box<dyn Session>) -> NewSession {
    NewSession { session, key: None, heartbeat: Heartbeat::Dialect, message_bytes_max: None, movable: false }
}

/// The answer to a method or an upgrade that the service does not know, or to a preflight.
fn refuse_method(request: &Request<'_>, service: Service, cors: &Cors) -> Option<Response> {
    let (known, methods) = service.methods();
    if request.method == "OPTIONS" && known.contains(&"OPTIONS") {
        return Some(cors.preflight(methods));
    }
    if !known.contains(&request.method) {
        let words = format!("this path answers {methods}");
        let refusal = Refusal { code: "method_not_allowed", status: 405, words: words.into() };
        return Some(cors.refuse(&refusal).header("allow", methods));
    }
    let websocket = matches!(service, Service::Transport(Transport::Ws | Transport::Echo));
    if websocket && !request.is_websocket() {
        let words = "this path is a WebSocket; connect with `new WebSocket(…)`";
        let refusal = Refusal { code: "upgrade_required", status: 426, words: words.into() };
        return Some(cors.refuse(&refusal).header("upgrade", "websocket").header("sec-websocket-version", "13"));
    }
    if !websocket && request.is_websocket() {
        let refusal = Refusal::invalid("not_a_websocket", "this path is no WebSocket; `/v1/ws` is");
        return Some(cors.refuse(&refusal));
    }
    None
}

/// What the client of a stream saw last: the header that browsers send, or else one of the parameters that their replacements send.
///
/// These come from clients that repeat what they have, so what can't be read is a gap; `since` comes from a person, so there it is an error.
fn last_event_id(
    request: &Request<'_>,
    parameters: &Parameters<'_>,
    channels: &[ChannelName],
    patterns: &[Pattern],
) -> Result<Since, Refusal> {
    let parameter = || LAST_EVENT_ID.iter().find_map(|name| parameters.first_ignoring_case(name));
    if let Some(text) = request.header("last-event-id").filter(|text| !text.is_empty()).or_else(parameter) {
        let mark = Mark::parse(text).map_err(Refusal::from).and_then(|mark| request::fitting_mark(mark, channels, patterns));
        return Ok(mark.map_or(Since::Unreadable, Since::Mark));
    }
    match parameters.mark("since")? {
        Some(mark) => Ok(Since::Mark(request::fitting_mark(mark, channels, patterns)?)),
        None => Ok(Since::Nothing),
    }
}

/// The parameters by which clients that can't set the header say the same.
const LAST_EVENT_ID: [&str; 4] = ["lastEventId", "last-event-id", "last_event_id", "lastEvent"];
