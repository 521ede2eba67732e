//! `[traces]` as the server takes it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use omnivox_hub::outgoing::Url;
use omnivox_server::traces::TraceSettings;

use super::problem::{Place, Problem};
use super::settings::Traces;

/// Where traces go, if anywhere.
pub(super) fn settings(section: &Traces, problems: &mut Vec<Problem>) -> Option<TraceSettings> {
    let known = problems.len();
    let mut problem = |key: &str, what: String| problems.push(Problem::new(Place::Section(format!("traces.{key}")), what));
    let endpoint = section.endpoint.as_ref().filter(|endpoint| !endpoint.is_empty())?;
    let endpoint = Url::parse(endpoint).map_err(|error| problem("endpoint", error.to_string())).ok();
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.target().contains('?')) {
        problem("endpoint", "it has a query, which may end up in logs; a credential belongs into `traces.headers`".to_owned());
    }
    let mut headers = Vec::new();
    for header in &section.headers {
        // The text is a secret: a problem names the header, or nothing of it.
        match header.reveal().split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) => match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                (Err(_), _) => problem("headers", "one has a name that no HTTP header can have".to_owned()),
                (Ok(name), Err(_)) => problem("headers", format!("the value of `{name}` is none that an HTTP header can have")),
            },
            None => problem("headers", "one is not written as `name=value`".to_owned()),
        }
    }
    let mut resource: Vec<(String, String)> = Vec::new();
    for attribute in &section.resource {
        match attribute.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) if !name.is_empty() => {
                // The later one counts.
                resource.retain(|(known, _)| known != name);
                resource.push((name.to_owned(), value.to_owned()));
            }
            Some(_) | None => problem("resource", format!("{attribute:?} is not written as `name=value`")),
        }
    }
    let numbers = [
        ("spans_per_second_max", section.spans_per_second_max as usize),
        ("queue_max", section.queue_max),
        ("batch_max", section.batch_max),
    ];
    for (key, number) in numbers {
        if number == 0 || number > NUMBER_MAX {
            problem(key, format!("{number} is not between 1 and {NUMBER_MAX}"));
        }
    }
    for (key, time) in [("batch_pause_ms", section.batch_pause_ms), ("time_max_ms", section.time_max_ms)] {
        if time.is_zero() || time > TIME_MAX {
            problem(key, format!("{} is not between 1 and {}", time.as_millis(), TIME_MAX.as_millis()));
        }
    }
    if problems.len() > known {
        return None;
    }
    Some(TraceSettings {
        headers,
        resource,
        sample_ratio: section.sample_ratio.0,
        follow_callers: section.follow_callers,
        name_channels: section.name_channels,
        spans_per_second_max: section.spans_per_second_max,
        queue_max: section.queue_max,
        batch_max: section.batch_max,
        batch_pause: section.batch_pause_ms,
        timeout: section.time_max_ms,
        ..TraceSettings::new(endpoint?)
    })
}

/// The largest number that makes sense: a span is some hundred bytes.
const NUMBER_MAX: usize = 1_000_000;
/// The longest time that makes sense.
const TIME_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::{Ratio, Value as _};

    #[test]
    fn what_makes_no_sense_is_named_and_no_header_is_shown() {
        let check = |change: &dyn Fn(&mut Traces), expected: &[&str]| {
            let mut section = Traces { endpoint: Some("http://127.0.0.1:4318/v1/traces".to_owned()), ..Traces::default() };
            change(&mut section);
            let mut problems = Vec::new();
            let settings = settings(&section, &mut problems);
            let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
            assert_eq!(settings.is_some(), expected.is_empty() && section.endpoint.is_some());
            let shown = format!("{section:?} {settings:?} {found:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        };
        let secret = |text: &str| Vec::from_text(text).expect("texts");
        check(&|_| {}, &[]);
        check(&|section| section.endpoint = None, &[]);
        check(&|section| section.headers = secret("authorization=Bearer hunter2, x-tenant=a"), &[]);
        check(&|section| section.sample_ratio = Ratio(0.0), &[]);
        check(
            &|section| section.endpoint = Some("collector:4318".to_owned()),
            &["traces.endpoint: the URL has no scheme; write `https://host/path` or `http://host:port/path`"],
        );
        check(
            &|section| section.endpoint = Some("https://c/v1/traces?key=x".to_owned()),
            &["traces.endpoint: it has a query, which may end up in logs; a credential belongs into `traces.headers`"],
        );
        check(&|section| section.headers = secret("hunter2"), &["traces.headers: one is not written as `name=value`"]);
        check(&|section| section.headers = secret("a b=hunter2"), &["traces.headers: one has a name that no HTTP header can have"]);
        check(&|section| section.resource = vec!["x".to_owned()], &["traces.resource: \"x\" is not written as `name=value`"]);
        check(&|section| section.queue_max = 0, &["traces.queue_max: 0 is not between 1 and 1000000"]);
        check(&|section| section.time_max_ms = Duration::ZERO, &["traces.time_max_ms: 0 is not between 1 and 60000"]);
    }
}
