//! What the HTTP requests of all transports have in common: credentials, channels, marks, and what a page of another origin may read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use omnivox_core::command::{Connect, CookieToken, SignedRequest};
use omnivox_core::origin::{Origins, Reader};
use omnivox_core::{ChannelName, Command, Credential, Limits, Mark, Pattern, Request, Response};
use omnivox_wire::http1::{Query, QueryError};
use smallvec::SmallVec;

use super::codes::Refusal;
use super::render;

/// The decoded query of a request.
pub(super) struct Parameters<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); 4]>);

impl<'a> Parameters<'a> {
    /// Decodes the query; a pair that can't be decoded is refused, whatever it was to mean.
    pub(super) fn parse(request: &Request<'a>) -> Result<Self, Refusal> {
        let mut pairs = SmallVec::new();
        for pair in Query::of_text(request.query) {
            pairs.push(pair?);
        }
        Ok(Self(pairs))
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

    /// Whether a channel is named, be it by nothing, which is no name.
    pub(super) fn names_channels(&self) -> bool {
        self.0.iter().any(|(name, _)| name == "channel" || name == "room")
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

    /// The channels and patterns of a request that must name at least one of either, or an inbox.
    pub(super) fn wanted(&self, defaults: &[ChannelName], limits: &Limits) -> Result<(Channels, Patterns), Refusal> {
        let patterns = self.patterns(limits)?;
        let named = self.names_channels();
        let elsewhere = !patterns.is_empty() || (self.first("inbox").is_some() && defaults.is_empty());
        let channels = if !elsewhere || named { self.channels(defaults, limits)? } else { Channels::new() };
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
pub(super) fn connect(request: &Request<'_>, parameters: &Parameters<'_>, cookie_name: Option<&str>) -> Result<Connecting, Refusal> {
    let credential = credential(request, parameters, cookie_name)?;
    let origin = request.header("origin");
    // Where the client believes to be matters only beside what a browser says of the page.
    let told = origin.is_some() || matches!(credential, Credential::Cookie(_));
    let host = request.header("host").filter(|_| told).map(Into::into);
    Ok(Connecting(Box::new(Connect { credential, host, origin: origin.map(Into::into) })))
}

/// What the request shows: what a page or program put there counts before what the browser sends by itself.
fn credential(request: &Request<'_>, parameters: &Parameters<'_>, cookie_name: Option<&str>) -> Result<Credential, Refusal> {
    let mut authorizations = request.header_values("authorization");
    if let Some(authorization) = authorizations.next() {
        let one = std::str::from_utf8(authorization).ok().filter(|_| authorizations.next().is_none());
        let authorization = one.ok_or_else(|| Refusal::invalid("invalid", "there is not one `Authorization` header of plain text"))?;
        return authorization_credential(request, authorization);
    }
    if let Some(token) = subprotocol_credential(request)? {
        return Ok(Credential::bearer(token));
    }
    if let Some(ticket) = parameters.first("ticket") {
        return Ok(Credential::Ticket(ticket.into()));
    }
    cookie_credential(request, cookie_name)
}

/// The subprotocol that the server chooses.
pub(super) const SUBPROTOCOL: &str = "omnivox";
/// What stands before a token or ticket among the subprotocols: `new WebSocket(url, ["omnivox", "omnivox.token." + token])`.
pub(super) const TOKEN_SUBPROTOCOL: &str = "omnivox.token.";

/// The subprotocols that a WebSocket offers.
pub(super) fn subprotocols<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a str> {
    let lines = request.header_values("sec-websocket-protocol").filter_map(|value| std::str::from_utf8(value).ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn subprotocol_credential<'a>(request: &Request<'a>) -> Result<Option<&'a str>, Refusal> {
    if !request.is_websocket() {
        return Ok(None);
    }
    let mut tokens = subprotocols(request).filter_map(|name| name.strip_prefix(TOKEN_SUBPROTOCOL));
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(Refusal::invalid("invalid", "two subprotocols hold a token; send one"));
    }
    // The token's own name is never chosen, because the answer's head would then repeat it.
    if !subprotocols(request).any(|name| name == SUBPROTOCOL) {
        return Err(Refusal::invalid("invalid", "a token in a subprotocol comes beside `omnivox`: `[\"omnivox\", \"omnivox.token.…\"]`"));
    }
    Ok(Some(token))
}

fn cookie_credential(request: &Request<'_>, name: Option<&str>) -> Result<Credential, Refusal> {
    let Some(name) = name else { return Ok(Credential::Anonymous) };
    let found = request.cookie(name).map_err(|several| Refusal::invalid("invalid", several.to_string()))?;
    let Some(token) = found else { return Ok(Credential::Anonymous) };
    let header = |name| request.header(name).map(Into::into);
    let (referer, fetch_site) = (header("referer"), header("sec-fetch-site"));
    Ok(Credential::Cookie(Box::new(CookieToken { token: token.into(), referer, fetch_site, secure: request.secure })))
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

fn authorization_credential(request: &Request<'_>, authorization: &str) -> Result<Credential, Refusal> {
    let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
        return Ok(Credential::bearer(value));
    }
    if scheme.eq_ignore_ascii_case("omnivox-hmac") {
        let target = if request.query.is_empty() { request.path.to_owned() } else { format!("{}?{}", request.path, request.query) };
        return Ok(Credential::Signed(Box::new(SignedRequest {
            authorization: authorization.into(),
            method: request.method.into(),
            target: target.into(),
            body: Bytes::copy_from_slice(request.body),
        })));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            return Ok(Credential::Key { id: id.into(), secret: secret.into() });
        }
    }
    Err(Refusal::unauthorized("the `Authorization` header is neither `Bearer TOKEN`, nor `Basic` with key and secret, nor `Omnivox-HMAC`"))
}

/// What pages of the request's origin may read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cors(Option<Arc<str>>);

impl Cors {
    /// Looks the request's origin up.
    pub(super) fn of(request: &Request<'_>, allowed: &Origins) -> Self {
        let Some(origin) = request.header("origin") else { return Self(None) };
        Self(allowed.reader(origin).map(|reader| match reader {
            Reader::Page => origin.into(),
            Reader::Anyone => "*".into(),
        }))
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
