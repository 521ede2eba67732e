//! What the HTTP requests of all transports have in common: credentials, channels, marks, and what a page of another origin may read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use omnivox_core::command::Connect;
use omnivox_core::{ChannelName, Command, Credential, Limits, Mark, Pattern, Request, Response};
use omnivox_wire::http1::{Query, QueryError};
use smallvec::SmallVec;

use super::codes::Refusal;
use super::render;

/// The decoded query of a request.
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Decodes the query; a pair that can't be decoded is refused, whatever it was to mean.
    pub(super) fn parse(request: &Request<'a>) -> Result<Self, Refusal> {
        Ok(Self(Query::new(request.query).collect::<Result<_, _>>()?))
    }

    /// The first value of that name; an empty one counts as none.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// The same, whatever letters the name was written in.
    pub(super) fn first_ignoring_case(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// The channels that are named as `channel` or `room`, each once, or else the defaults.
    pub(super) fn channels(&self, defaults: &[ChannelName], limits: &Limits) -> Result<Channels, Refusal> {
        let mut channels = Channels::new();
        for (_, name) in self.0.iter().filter(|(name, _)| name == "channel" || name == "room") {
            let channel = ChannelName::parse(name)?;
            if channels.len() < limits.channels_per_connection_max && !channels.contains(&channel) {
                channels.push(channel);
            } else if channels.len() == limits.channels_per_connection_max {
                let words = format!("a request names at most {} channels", limits.channels_per_connection_max);
                return Err(Refusal::limit("channels_per_connection_max", words));
            }
        }
        if channels.is_empty() {
            channels.extend(defaults.iter().cloned());
        }
        if channels.is_empty() {
            return Err(Refusal::invalid(
                "invalid_channel",
                "no channel is named; add `?channel=NAME`, several times for several channels",
            ));
        }
        Ok(channels)
    }

    /// The patterns that are named as `pattern`, each once.
    pub(super) fn patterns(&self, limits: &Limits) -> Result<Patterns, Refusal> {
        let mut patterns = Patterns::new();
        for (_, text) in self.0.iter().filter(|(name, _)| name == "pattern") {
            let pattern = pattern(text)?;
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
            if patterns.len() > limits.channels_per_connection_max {
                let words = format!("a request names at most {} patterns", limits.channels_per_connection_max);
                return Err(Refusal::limit("channels_per_connection_max", words));
            }
        }
        Ok(patterns)
    }

    /// The channels and patterns of a request that must name at least one of either.
    pub(super) fn wanted(&self, defaults: &[ChannelName], limits: &Limits) -> Result<(Channels, Patterns), Refusal> {
        let patterns = self.patterns(limits)?;
        let named = self.first("channel").is_some() || self.first("room").is_some();
        let channels = if patterns.is_empty() || named { self.channels(defaults, limits)? } else { Channels::new() };
        Ok((channels, patterns))
    }

    /// The one channel of a request that is about one.
    pub(super) fn channel(&self, limits: &Limits) -> Result<ChannelName, Refusal> {
        let mut channels = self.channels(&[], limits)?;
        match channels.pop() {
            Some(channel) if channels.is_empty() => Ok(channel),
            _ => Err(Refusal::invalid("invalid_channel", "several channels are named; this request is about one")),
        }
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let parse = |text: &str| text.parse().map_err(|_| Refusal::message(format!("`{name}` is not a whole number from 0 up")));
        self.first(name).map(parse).transpose()
    }

    /// A mark; `null`, which a client may send back as it got it, is none.
    pub(super) fn mark(&self, name: &str) -> Result<Option<Mark>, Refusal> {
        self.first(name).filter(|text| *text != "null").map(Mark::parse).transpose().map_err(Refusal::from)
    }

    /// `1` or `true`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.first(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(Refusal::message(format!("`{name}` is neither `1` nor `0`"))),
        }
    }

    /// A time in seconds, with a fraction if need be.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        self.first(name)
            .map(|text| {
                let seconds: Option<f64> = text.parse().ok().filter(|seconds: &f64| seconds.is_finite());
                seconds
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .ok_or_else(|| Refusal::message(format!("`{name}` is not a number of seconds")))
            })
            .transpose()
    }
}

/// Channels of a request, at least one.
pub(super) type Channels = SmallVec<[ChannelName; 1]>;

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::invalid(error.code(), format!("the query can't be read: {error}"))
    }
}

/// Patterns of a request; often none.
pub(super) type Patterns = SmallVec<[Pattern; 0]>;

/// A pattern as clients write it: `*`, `chat:*`, a URI template when it has braces, or a name.
pub(super) fn pattern(text: &str) -> Result<Pattern, Refusal> {
    if text.contains('{') {
        return Pattern::template(text).map_err(|error| Refusal::invalid("invalid_pattern", error.to_string()));
    }
    Pattern::parse(text).map_err(|error| Refusal::invalid("invalid_pattern", error.to_string()))
}

/// A mark that can mean what the request names: a position or a number is a place in one channel only.
pub(super) fn fitting_mark(mark: Mark, channels: &[ChannelName], patterns: &[Pattern]) -> Result<Mark, Refusal> {
    match mark {
        Mark::Position(_) | Mark::Offset(_) if channels.len() > 1 || !patterns.is_empty() => Err(Refusal::invalid(
            "invalid_mark",
            "a position is a place in one channel; with several channels or a pattern send the cursor that the last answer gave",
        )),
        Mark::Position(_) | Mark::Offset(_) | Mark::Cursor(_) | Mark::Earliest => Ok(mark),
    }
}

/// The command that introduces the client of a request.
pub(super) fn connect(request: &Request<'_>, parameters: &Parameters<'_>) -> Result<Connecting, Refusal> {
    let credential = match request.header("authorization") {
        Some(authorization) => authorization_credential(authorization)?,
        None => match parameters.first("ticket") {
            Some(ticket) => Credential::Ticket(ticket.into()),
            None => Credential::Anonymous,
        },
    };
    let host = request.header("host").map(Into::into);
    Ok(Connecting(Box::new(Connect { credential, host, origin: request.header("origin").map(Into::into) })))
}

/// Who asks, before the hub was asked about it.
pub(super) struct Connecting(pub(super) Box<Connect>);

impl Connecting {
    /// Whether the request itself shows a credential.
    pub(super) fn has_credential(&self) -> bool {
        self.0.credential != Credential::Anonymous
    }

    /// As a command.
    pub(super) fn command(&self) -> Command {
        Command::Connect(self.0.clone())
    }
}

fn authorization_credential(authorization: &str) -> Result<Credential, Refusal> {
    let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
        return Ok(Credential::Token(value.into()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            return Ok(Credential::Key { id: id.into(), secret: secret.into() });
        }
    }
    Err(Refusal::unauthorized("the Authorization header is neither `Bearer TOKEN` nor `Basic` with key and secret"))
}

/// What pages of the request's origin may read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cors(Option<Arc<str>>);

impl Cors {
    /// Looks the request's origin up.
    pub(super) fn of(request: &Request<'_>, allowed: &[String]) -> Self {
        let Some(origin) = request.header("origin") else { return Self(None) };
        if allowed.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
            return Self(Some(origin.into()));
        }
        Self(allowed.iter().any(|known| known == "*").then(|| "*".into()))
    }

    /// The value of `Access-Control-Allow-Origin`, if pages of the origin may read anything.
    pub(super) fn allowed_origin(&self) -> Option<&Arc<str>> {
        self.0.as_ref()
    }

    /// Adds the headers to an answer. An origin that is named may send credentials, `*` may not.
    pub(super) fn on(&self, mut response: Response) -> Response {
        let varies = response.headers.iter().any(|(name, _)| *name == "vary");
        if !varies {
            response = response.header("vary", "Origin, Authorization");
        }
        let Some(origin) = &self.0 else { return response };
        let response =
            response.header("access-control-allow-origin", origin.to_string()).header("access-control-expose-headers", "Retry-After");
        if &**origin == "*" { response } else { response.header("access-control-allow-credentials", "true") }
    }

    /// The answer to the question that a browser asks before the request itself.
    pub(super) fn preflight(&self, methods: &'static str) -> Response {
        let response = Response::new(204).header("allow", methods);
        if self.0.is_none() {
            return self.on(response);
        }
        self.on(response
            .header("access-control-allow-methods", methods)
            .header("access-control-allow-headers", "Authorization, Content-Type, Last-Event-ID, Cache-Control, Prefer")
            .header("access-control-max-age", "7200"))
    }

    /// A refusal as an answer.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        self.on(refused(refusal))
    }
}

/// A refusal as an answer, before it is known who may read it.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let response = render::json(refusal.status, |into| render::error_body(refusal, into));
    match refusal.status {
        401 => response.header("www-authenticate", "Bearer"),
        429 | 503 => response.header("retry-after", "1"),
        _ => response,
    }
}
