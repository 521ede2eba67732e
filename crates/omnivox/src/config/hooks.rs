//! `[[hook]]`: the back ends that are asked about clients.

use std::collections::HashSet;

use omnivox_auth::secret::Secret;
use omnivox_core::AppId;
use omnivox_hub::hooks::{self, HookSettings};
use omnivox_hub::outgoing::Url;

use super::choices::{HookEvent, OnFailure};
use super::problem::{Place, Problem};
use super::settings::{Config, Hook};

/// The hooks, in the order of the file.
pub(super) fn hooks(config: &Config, problems: &mut Vec<Problem>) -> Vec<HookSettings> {
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for entry in &config.hook {
        let mut problem = |what: &str, mend: &str| {
            problems.push(Problem::new(Place::Section(format!("[[hook]] {}", entry.name)), what).mend(mend));
        };
        if !names.insert(entry.name.as_str()) {
            problem("another hook has the same `name`", "give each its own");
        }
        if !is_label(&entry.name) {
            problem("its `name` is no plain word, which logs and metrics need", "choose letters, digits, `-` and `_`, at most 64");
        }
        if entry.events.is_empty() {
            problem("it is asked about nothing", "say about what with `events`, such as [\"connect\", \"publish\"]");
        }
        for (key, value) in numbers(entry) {
            if value == 0 {
                problem(&format!("`{key}` is 0, so it could never be asked"), "the smallest value is 1");
            }
        }
        let app = app_of(config, entry);
        if app.is_none() {
            problem("it belongs to no app that is there", "name one with `app`");
        }
        let url = Url::parse(&entry.url).map_err(|error| problem(&format!("`url`: {error}"), "write the whole URL"));
        let secrets = secrets(entry, &mut problem);
        if let (Some(app), Ok(url), Some(secrets)) = (app, url, secrets) {
            found.push(entry.to_hub(app.clone(), url, secrets));
        }
    }
    found
}

/// What is weak although it works, for `omnivox check`.
pub(super) fn weaknesses(config: &Config) -> Vec<String> {
    let plain = config.hook.iter().filter(|hook| is_plain_http_elsewhere(&hook.url));
    let plain = plain.map(|hook| {
        format!(
            "[[hook]] {}: its `url` is plain http to another machine, so anyone on the way can read who connects and forge its answers; use https",
            hook.name
        )
    });
    let open = config.hook.iter().filter(|hook| hook.on_failure == OnFailure::Allow && hook.events.contains(&HookEvent::Connect));
    let open = open.map(|hook| {
        format!(
            "[[hook]] {}: with `on_failure = \"allow\"` whoever can make the back end fail is let in without being asked about",
            hook.name
        )
    });
    plain.chain(open).collect()
}

fn is_plain_http_elsewhere(url: &str) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    let host = parsed.host();
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    url.starts_with("http://") && !here
}

fn app_of<'c>(config: &'c Config, entry: &'c Hook) -> Option<&'c AppId> {
    match &entry.app {
        Some(app) => config.app.iter().map(|known| &known.id).find(|known| *known == app),
        None => config.app.first().filter(|_| config.app.len() == 1).map(|app| &app.id),
    }
}

fn is_label(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn numbers(entry: &Hook) -> [(&'static str, u128); 6] {
    [
        ("timeout_ms", entry.timeout_ms.as_millis()),
        ("breaker_failures", u128::from(entry.breaker_failures)),
        ("breaker_pause_ms", entry.breaker_pause_ms.as_millis()),
        ("cache_entries_max", entry.cache_entries_max as u128),
        ("in_flight_max", entry.in_flight_max as u128),
        ("answer_bytes_max", entry.answer_bytes_max as u128),
    ]
}

fn secrets(entry: &Hook, problem: &mut impl FnMut(&str, &str)) -> Option<Vec<Secret>> {
    if entry.secrets.is_empty() {
        problem("it has no `secrets`, so it could not tell who asks", "`openssl rand -hex 32` gives one");
        return None;
    }
    let mut sound = Vec::new();
    for secret in &entry.secrets {
        match Secret::parse(secret.reveal()) {
            Ok(secret) => sound.push(secret),
            Err(weak) => problem(&format!("`secrets`: {weak}"), "set a longer one on both sides"),
        }
    }
    (sound.len() == entry.secrets.len()).then_some(sound)
}

impl Hook {
    fn to_hub(&self, app: AppId, url: Url, secrets: Vec<Secret>) -> HookSettings {
        HookSettings {
            name: self.name.as_str().into(),
            app,
            events: self.events.iter().map(|event| event.to_hub()).collect(),
            channels: self.channels.clone(),
            url,
            secrets,
            deadline: self.timeout_ms,
            retries: self.retries,
            backoff: self.backoff_ms,
            breaker_failures: self.breaker_failures,
            breaker_pause: self.breaker_pause_ms,
            cache: self.cache_ms,
            cache_entries_max: self.cache_entries_max,
            // A semaphore counts no further.
            in_flight_max: self.in_flight_max.min(1 << 20),
            queue_max: self.queue_max,
            answer_bytes_max: self.answer_bytes_max,
            on_failure: match self.on_failure {
                OnFailure::Deny => hooks::OnFailure::Deny,
                OnFailure::Allow => hooks::OnFailure::Allow,
            },
            pass_token: self.pass_token,
        }
    }
}

impl HookEvent {
    fn to_hub(self) -> hooks::HookEvent {
        match self {
            Self::Connect => hooks::HookEvent::Connect,
            Self::Subscribe => hooks::HookEvent::Subscribe,
            Self::Publish => hooks::HookEvent::Publish,
            Self::Call => hooks::HookEvent::Call,
            Self::Event => hooks::HookEvent::Event,
        }
    }
}
