//! What Mercure tokens allow, in both generations of the protocol.
//!
//! ```json
//! { "mercure": { "publish": ["*"], "subscribe": ["https://example.com/books/{id}"], "payload": {"name": "Ana"} } }
//!
//! { "authorization_details": [ { "type": "https://mercure.rocks/authorization-detail", "actions": ["subscribe"],
//!     "topics": [ { "match": "https://example.com/books/*", "match_type": "urlpattern" } ], "payload": {"name": "Ana"} } ] }
//! ```
//!
//! The first form (0.x) may also stand under `https://mercure.rocks/`, which then wins. A token may have both forms.
//!
//! A [`Selector`] is kept as it was written. [`Scope::grants`] turns them into grants that mean the same in every dialect. Relative URL
//! patterns mean relative topics.
//!
//! Invariant: a grant never covers a topic that its selector doesn't match.

use std::sync::Arc;

use omnivox_core::pattern::Base;
use omnivox_core::{Grant, Pattern, Permissions};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::claims::{Claims, GRANTS_MAX, presentable};
use crate::error::AuthError;

/// The claim of the first generation, when it is namespaced.
pub const NAMESPACED_CLAIM: &str = "https://mercure.rocks/";
/// The type of the second generation's details.
pub const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";
const DETAILS_CLAIM: &str = "authorization_details";

/// Which topics a token means, as it says so itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All of them: `*`.
    All,
    /// This one, byte for byte.
    Exact(Box<str>),
    /// Those of a URI template (RFC 6570), in the first generation; the topic that is the same text, too.
    Template(Box<str>),
    /// Those of a URL pattern, in the second generation.
    UrlPattern(Box<str>),
}

impl Selector {
    /// A selector of the first generation.
    pub fn of_text(text: &str) -> Self {
        match text {
            "*" => Self::All,
            template if template.contains('{') => Self::Template(template.into()),
            topic => Self::Exact(topic.into()),
        }
    }

    /// The pattern that means exactly the same topics. A text that is no template is the topic that it is; a wrong URL pattern means nothing.
    fn pattern(&self) -> Option<Pattern> {
        match self {
            Self::All => Some(Pattern::All),
            // A topic that ends with `*` is a name here and not a pattern, which core's notation can't say.
            Self::Exact(topic) => omnivox_core::ChannelName::parse(topic).ok().map(Pattern::Exact),
            Self::Template(text) => {
                Pattern::template(text).ok().or_else(|| omnivox_core::ChannelName::parse(text).ok().map(Pattern::Exact))
            }
            Self::UrlPattern(text) => Pattern::url(text, &Base::default()).ok(),
        }
    }
}

/// Which generation of the protocol a token speaks; the answers to a refusal differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// 0.x: the `mercure` claim.
    First,
    /// 1.0: access tokens with `authorization_details`.
    Second,
}

/// What one token allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// The generation; the second when the token has both forms.
    pub generation: Generation,
    /// What may be published; `None` when the token doesn't speak of publishing at all.
    pub publish: Option<Vec<Selector>>,
    /// Which private updates may be received.
    pub subscribe: Vec<Selector>,
    /// What others see of the subscriber, with the selectors for which they do; empty selectors mean all (first generation).
    pub payloads: Vec<(Vec<Selector>, Arc<str>)>,
}

impl Scope {
    /// The grants that every dialect understands.
    pub fn grants(&self) -> Vec<Grant> {
        let grants = |selectors: &[Selector], permissions| {
            let patterns = selectors.iter().filter_map(Selector::pattern);
            patterns.map(|pattern| Grant { pattern, permissions }).collect::<Vec<_>>()
        };
        let mut all = grants(self.publish.as_deref().unwrap_or_default(), Permissions::PUBLISH);
        all.extend(grants(&self.subscribe, Permissions::SUBSCRIBE.with(Permissions::HISTORY).with(Permissions::PRESENCE)));
        all
    }

    /// What others see of a subscriber that asked for `selector`.
    pub fn payload(&self, selector: &Selector) -> Option<&Arc<str>> {
        let shown = |selectors: &[Selector]| selectors.is_empty() || selectors.contains(&Selector::All) || selectors.contains(selector);
        self.payloads.iter().find(|(selectors, _)| shown(selectors)).map(|(_, payload)| payload)
    }
}

/// What the token says in either form, or `None` when it says nothing of Mercure.
pub fn scope(claims: &Claims) -> Result<Option<Scope>, AuthError> {
    Ok(match (first_generation(claims)?, second_generation(claims)?) {
        (None, None) => None,
        (Some(scope), None) | (None, Some(scope)) => Some(scope),
        (Some(first), Some(second)) => Some(union(first, second)),
    })
}

fn union(first: Scope, mut second: Scope) -> Scope {
    second.subscribe.extend(first.subscribe);
    second.payloads.extend(first.payloads);
    second.publish = match (second.publish, first.publish) {
        (Some(mut ours), Some(theirs)) => {
            ours.extend(theirs);
            Some(ours)
        }
        (ours, theirs) => ours.or(theirs),
    };
    second
}

/// The `mercure` claim of 0.x.
pub fn first_generation(claims: &Claims) -> Result<Option<Scope>, AuthError> {
    #[derive(Deserialize)]
    struct Written {
        publish: Option<Vec<Box<str>>>,
        subscribe: Option<Vec<Box<str>>>,
        payload: Option<Box<RawValue>>,
    }
    let claim = if claims.has(NAMESPACED_CLAIM) { NAMESPACED_CLAIM } else { "mercure" };
    let Some(written) = claims.optional::<Written>(claim, "an object with the lists `publish` and `subscribe`")? else { return Ok(None) };
    let read = |texts: Vec<Box<str>>| texts.iter().map(|text| Selector::of_text(text)).collect::<Vec<_>>();
    let publish = written.publish.map(read);
    let subscribe = written.subscribe.map(read).unwrap_or_default();
    bounded(claim, publish.as_ref().map_or(0, Vec::len).saturating_add(subscribe.len()))?;
    let payloads = match written.payload {
        Some(payload) if payload.get() != "null" => vec![(Vec::new(), presentable(claim, payload.get())?)],
        _ => Vec::new(),
    };
    Ok(Some(Scope { generation: Generation::First, publish, subscribe, payloads }))
}

/// The `authorization_details` of 1.0. Details of other types are passed over; one wrong detail of ours refuses the token.
pub fn second_generation(claims: &Claims) -> Result<Option<Scope>, AuthError> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: Box<str>,
    }
    #[derive(Deserialize)]
    struct Detail {
        actions: Vec<Box<str>>,
        topics: Vec<Topic>,
        payload: Option<Box<RawValue>>,
    }
    let wrong = |problem: &str| AuthError::Claim { claim: DETAILS_CLAIM, problem: problem.into() };
    let Some(details) = claims.optional::<Vec<Box<RawValue>>>(DETAILS_CLAIM, "a list")? else { return Ok(None) };
    let mut scope = Scope { generation: Generation::Second, publish: None, subscribe: Vec::new(), payloads: Vec::new() };
    let (mut ours, mut selectors) = (0, 0_usize);
    for detail in &details {
        let Typed { kind } = serde_json::from_str(detail.get()).map_err(|_| wrong("has an entry without `type`"))?;
        if *kind != *DETAIL_TYPE {
            continue;
        }
        ours += 1;
        let detail: Detail =
            serde_json::from_str(detail.get()).map_err(|_| wrong("has a Mercure entry without the lists `actions` and `topics`"))?;
        selectors = selectors.saturating_add(detail.topics.len());
        bounded(DETAILS_CLAIM, selectors)?;
        let topics = detail.topics.into_iter().map(Topic::selector).collect::<Result<Vec<_>, _>>()?;
        for action in &detail.actions {
            match &**action {
                "publish" => scope.publish.get_or_insert_default().extend(topics.iter().cloned()),
                "subscribe" => scope.subscribe.extend(topics.iter().cloned()),
                _ => {}
            }
        }
        let subscribes = detail.actions.iter().any(|action| **action == *"subscribe");
        if let Some(payload) = detail.payload.filter(|payload| subscribes && payload.get() != "null") {
            scope.payloads.push((topics, presentable(DETAILS_CLAIM, payload.get())?));
        }
    }
    Ok((ours > 0).then_some(scope))
}

#[derive(Deserialize)]
struct Topic {
    #[serde(rename = "match")]
    matched: Box<str>,
    match_type: Option<Box<str>>,
}

impl Topic {
    fn selector(self) -> Result<Selector, AuthError> {
        let wrong = |problem: &str| Err(AuthError::Claim { claim: DETAILS_CLAIM, problem: problem.into() });
        if self.matched.is_empty() || self.matched.chars().any(char::is_control) {
            return wrong("has a `match` that is empty or has control characters");
        }
        if *self.matched == *"*" {
            return Ok(Selector::All);
        }
        match self.match_type.as_deref() {
            None | Some("exact") => Ok(Selector::Exact(self.matched)),
            Some("urlpattern") if Pattern::url(&self.matched, &Base::default()).is_err() => wrong("has a `match` that is no URL pattern"),
            Some("urlpattern") => Ok(Selector::UrlPattern(self.matched)),
            Some(_) => wrong("has a `match_type` that is neither \"exact\" nor \"urlpattern\""),
        }
    }
}

fn bounded(claim: &'static str, selectors: usize) -> Result<(), AuthError> {
    if selectors > GRANTS_MAX {
        return Err(AuthError::Claim { claim, problem: format!("has more than {GRANTS_MAX} selectors").into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The grants.
    fn read(json: &str) -> String {
        match Claims::parse(json.as_bytes()).and_then(|claims| scope(&claims)) {
            Ok(None) => "none".into(),
            Ok(Some(scope)) => {
                let grants = scope.grants();
                let grants = grants.iter().map(|grant| format!("{}={}", grant.pattern, grant.permissions));
                grants.collect::<Vec<_>>().join(" ")
            }
            Err(error) => format!("! {error}"),
        }
    }

    fn check(cases: &[(&str, &str)]) {
        for (json, expected) in cases {
            let found = read(json);
            let same = expected.strip_prefix("! ").map_or(found == *expected, |words| found.starts_with('!') && found.contains(words));
            assert!(same, "{json}: {found}");
        }
    }

    #[test]
    fn the_first_generation_speaks_in_one_claim() {
        check(&[
            (r#"{"mercure":{"publish":["*"]}}"#, "*=publish"),
            (r#"{"mercure":{"subscribe":["https://a/1"]}}"#, "https://a/1=subscribe,presence,history"),
            (r#"{"mercure":{"publish":["a"],"subscribe":["b"]}}"#, "a=publish b=subscribe,presence,history"),
            (r#"{"https://mercure.rocks/":{"publish":["ns"]},"mercure":{"publish":["*"]}}"#, "ns=publish"),
            (r#"{"mercure":{"subscribe":["https://a/{id}"]}}"#, "https://a/{id}=subscribe,presence,history"),
            (r#"{"mercure":{"subscribe":["https://a/*"]}}"#, "https://a/*=subscribe,presence,history"),
            (r#"{"mercure":{}}"#, ""),
            (r#"{"mercure":{"publish":[]}}"#, ""),
            (r#"{"mercure":null}"#, "none"),
            (r#"{"sub":"a"}"#, "none"),
            (r#"{"mercure":{"publish":"*"}}"#, "! `mercure` is not an object with the lists"),
            (r#"{"mercure":[]}"#, "! `mercure` is not an object with the lists"),
        ]);
        let topics = vec!["\"t\""; GRANTS_MAX + 1].join(",");
        check(&[(&format!("{{\"mercure\":{{\"subscribe\":[{topics}]}}}}"), "! more than 1000 selectors")]);
    }

    #[test]
    fn a_star_at_the_end_of_a_topic_is_no_pattern() {
        let claims = Claims::parse(br#"{"mercure":{"subscribe":["https://a/*"]}}"#).unwrap();
        let grants = scope(&claims).unwrap().unwrap().grants();
        assert!(grants[0].pattern.matches("https://a/*") && !grants[0].pattern.matches("https://a/1"));
    }

    #[test]
    fn publishing_is_absent_or_empty() {
        let publish = |json: &str| first_generation(&Claims::parse(json.as_bytes()).unwrap()).unwrap().unwrap().publish;
        assert_eq!(publish(r#"{"mercure":{"subscribe":[]}}"#), None);
        assert_eq!(publish(r#"{"mercure":{"publish":[]}}"#), Some(vec![]));
    }

    #[test]
    fn the_second_generation_speaks_in_details() {
        let detail = |rest: &str| format!(r#"{{"authorization_details":[{{"type":"other"}},{{"type":"{DETAIL_TYPE}",{rest}}}]}}"#);
        let all = detail(r#""actions":["publish","subscribe","dance"],"topics":[{"match":"*","match_type":"urlpattern"}]"#);
        let exact = detail(r#""actions":["subscribe"],"topics":[{"match":"a{b}"}]"#);
        let pattern = detail(r#""actions":["publish"],"topics":[{"match":"/b/:id","match_type":"urlpattern"}]"#);
        check(&[
            (&all, "*=publish *=subscribe,presence,history"),
            (&exact, "a{b}=subscribe,presence,history"),
            (&pattern, "/b/:id=publish"),
            (r#"{"authorization_details":[{"type":"other","actions":7}]}"#, "none"),
            (r#"{"authorization_details":[{"actions":[]}]}"#, "! an entry without `type`"),
            (&detail(r#""actions":["publish"]"#), "! without the lists"),
            (&detail(r#""actions":["publish"],"topics":[{"match":"a","match_type":"regex"}]"#), "! neither"),
            (&detail(r#""actions":["publish"],"topics":[{"match":""}]"#), "! is empty"),
            (&detail(r#""actions":["publish"],"topics":[{"match":"a\u0000b"}]"#), "! control characters"),
            (&detail(r#""actions":["publish"],"topics":[{"match":"/(","match_type":"urlpattern"}]"#), "! no URL pattern"),
            (&detail(r#""actions":["publish"],"topics":[{}]"#), "! without the lists"),
            (r#"{"authorization_details":{}}"#, "! is not a list"),
        ]);
    }

    #[test]
    fn both_generations_add_up() {
        let json = format!(
            r#"{{"mercure":{{"publish":["a"],"payload":1}},"authorization_details":[{{"type":"{DETAIL_TYPE}","actions":["publish"],"topics":[{{"match":"b"}}]}}]}}"#
        );
        check(&[(&json, "b=publish a=publish")]);
    }

    #[test]
    fn payloads_belong_to_selectors() {
        let first = Claims::parse(br#"{"mercure":{"subscribe":["a"],"payload":{"n":1}}}"#).unwrap();
        let scope_of = |claims: &Claims| scope(claims).unwrap().unwrap();
        assert_eq!(scope_of(&first).payload(&Selector::of_text("anything")).map(|payload| &**payload), Some("{\"n\":1}"));
        let json = format!(
            r#"{{"authorization_details":[{{"type":"{DETAIL_TYPE}","actions":["subscribe"],"topics":[{{"match":"a"}}],"payload":1}},
                {{"type":"{DETAIL_TYPE}","actions":["publish"],"topics":[{{"match":"b"}}],"payload":2}}]}}"#
        );
        let second = scope_of(&Claims::parse(json.as_bytes()).unwrap());
        assert_eq!(second.payload(&Selector::Exact("a".into())).map(|payload| &**payload), Some("1"));
        assert_eq!(second.payload(&Selector::Exact("b".into())), None, "the detail allows publishing only");
    }
}
