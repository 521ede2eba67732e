//! What a subscriber asks for: `topic` of the first generation, `match` and `match_urlpattern` of the second.

use omnivox_core::pattern::{Base, PATTERN_BYTES_MAX};
use omnivox_core::{ChannelName, Pattern};

use super::form::{Form, has_controls};
use super::refusal::Refusal;

/// One selector, as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Selector {
    pub(super) kind: Kind,
    pub(super) text: Box<str>,
}

/// How a selector is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `topic`: a name, `*`, or a URI template.
    Topic,
    /// `match`: a name or `*`.
    Exact,
    /// `match_urlpattern`: a URL pattern or `*`.
    UrlPattern,
}

impl Kind {
    /// Its name in the second generation's subscriptions.
    pub(super) fn match_type(self) -> &'static str {
        match self {
            Self::Topic | Self::Exact => "exact",
            Self::UrlPattern => "urlpattern",
        }
    }
}

impl Selector {
    /// What the selector means.
    pub(super) fn pattern(&self, base: &Base) -> Result<Pattern, Refusal> {
        let name = |text: &str| {
            ChannelName::parse(text).map(Pattern::Exact).map_err(|error| Refusal::bad(format!("a topic is no channel: {error}")))
        };
        if &*self.text == "*" {
            return Ok(Pattern::All);
        }
        match self.kind {
            Kind::Topic if self.text.contains('{') => Pattern::template(&self.text).or_else(|_| name(&self.text)),
            Kind::Topic | Kind::Exact => name(&self.text),
            Kind::UrlPattern => Pattern::url(&self.text, base).map_err(|error| Refusal::bad(format!("`match_urlpattern`: {error}"))),
        }
    }
}

/// The selectors of a request.
pub(super) fn selectors(form: &Form<'_>, most: usize) -> Result<Vec<Selector>, Refusal> {
    let mut selectors: Vec<Selector> = Vec::new();
    for (name, text) in form.pairs() {
        let kind = match name {
            "topic" => Kind::Topic,
            "match" | "match_exact" => Kind::Exact,
            "match_urlpattern" => Kind::UrlPattern,
            other if other.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("match")) => {
                return Err(Refusal::bad(
                    "there are `match`, `match_exact` and `match_urlpattern`, in lower case; another matcher was asked for",
                ));
            }
            _ => continue,
        };
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || has_controls(text) {
            return Err(Refusal::bad(format!("a `{name}` is empty, has more than {PATTERN_BYTES_MAX} bytes, or control characters")));
        }
        let selector = Selector { kind, text: text.into() };
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
        if selectors.len() > most {
            return Err(Refusal::bad(format!("a request names at most {most} topics (limits.channels_per_connection_max)")));
        }
    }
    if selectors.is_empty() {
        return Err(Refusal::bad("Missing \"topic\" parameter, or missing \"match\" subscription parameter."));
    }
    Ok(selectors)
}
