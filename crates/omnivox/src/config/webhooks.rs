//! `[webhooks]` and `[[webhook]]`: who is told what happens in the apps.

use std::collections::HashSet;
use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderName, HeaderValue};
use omnivox_auth::secret::{Purpose, Secret};
use omnivox_hub::outgoing::Url;
use omnivox_hub::webhooks::{Kind, WebhookSettings, WebhooksConfig};

use super::choices::WebhookEvent;
use super::problem::{Place, Problem};
use super::settings::{App, Config, Webhook};
use super::value;

/// The longest name of a webhook.
const ID_BYTES_MAX: usize = 64;

/// What is wrong, and what mends it.
type Wrong = (String, &'static str);

/// All webhooks, as the server takes them.
pub(crate) fn webhooks(config: &Config, problems: &mut Vec<Problem>) -> WebhooksConfig {
    let mut ids = HashSet::new();
    let mut webhooks = Vec::with_capacity(config.webhook.len());
    for entry in &config.webhook {
        let mut wrong = Vec::new();
        let webhook = webhook(entry, config, &mut wrong);
        if let Some(webhook) = &webhook
            && !ids.insert((webhook.app.clone(), webhook.id.clone()))
        {
            wrong.push(("another webhook of the app has the same `id`".to_owned(), "give each its own"));
        }
        let place = || Place::Section(format!("[[webhook]] {}", entry.id));
        problems.extend(wrong.into_iter().map(|(what, mend)| Problem::new(place(), what).mend(mend)));
        webhooks.extend(webhook);
    }
    let section = &config.webhooks;
    WebhooksConfig {
        folder: section.folder.clone(),
        outbox_bytes_max: section.outbox_bytes_max,
        queue_max: section.queue_max,
        log_max: section.log_max,
        webhooks,
    }
}

fn webhook(entry: &Webhook, config: &Config, wrong: &mut Vec<Wrong>) -> Option<WebhookSettings> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if entry.id.is_empty() || entry.id.len() > ID_BYTES_MAX || !entry.id.bytes().all(plain) {
        let what = format!("its `id` is no name of 1 to {ID_BYTES_MAX} letters, digits, `-` and `_`");
        wrong.push((what, "choose a plain one, such as \"audit\""));
    }
    let zeros =
        [("batch_max", entry.batch_max == 0), ("concurrency_max", entry.concurrency_max == 0), ("timeout_ms", entry.timeout_ms.is_zero())];
    for (key, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        wrong.push((format!("`{key}` is 0, so nothing would be sent"), "the smallest value is 1"));
    }
    if entry.events.is_empty() || entry.channels.is_empty() {
        wrong.push(("it is told of nothing".to_owned(), "name some `events` and `channels`, or leave the keys out"));
    }
    let url = Url::parse(&entry.url).map_err(|error| wrong.push((format!("`url`: {error}"), "requests go to one address"))).ok();
    let headers = headers(&entry.headers, wrong);
    let app = app(entry, config);
    if app.is_none() {
        wrong.push(("it belongs to no app that is there".to_owned(), "name one with `app`"));
    }
    let app = app?;
    let secrets = secrets(entry, app, wrong);
    Some(WebhookSettings {
        channels: entry.channels.clone(),
        headers,
        debounce: entry.debounce_ms,
        batch_max: entry.batch_max,
        batch_delay: entry.batch_delay_ms,
        timeout: entry.timeout_ms,
        retry_for: entry.retry_for_ms,
        concurrency_max: entry.concurrency_max,
        ..WebhookSettings::new(&entry.id, app.id.clone(), url?, entry.events.iter().copied().map(kind).collect(), secrets)
    })
}

fn kind(event: WebhookEvent) -> Kind {
    match event {
        WebhookEvent::Occupied => Kind::Occupied,
        WebhookEvent::Vacated => Kind::Vacated,
        WebhookEvent::MemberAdded => Kind::MemberAdded,
        WebhookEvent::MemberRemoved => Kind::MemberRemoved,
        WebhookEvent::Message => Kind::Message,
        WebhookEvent::ClientEvent => Kind::ClientEvent,
    }
}

fn app<'a>(entry: &Webhook, config: &'a Config) -> Option<&'a App> {
    match &entry.app {
        Some(named) => config.app.iter().find(|app| app.id == *named),
        None => config.app.first().filter(|_| config.app.len() == 1),
    }
}

/// What signs: the webhook's own secrets, or the one that is derived from the app's.
fn secrets(entry: &Webhook, app: &App, wrong: &mut Vec<Wrong>) -> Vec<Secret> {
    let mut good = Vec::new();
    for secret in &entry.secrets {
        match Secret::parse(secret.reveal()) {
            Ok(secret) => good.push(secret),
            Err(weak) => wrong.push((format!("`secrets`: {weak}"), "`openssl rand -hex 32` gives a good one")),
        }
    }
    match &app.secret {
        _ if !entry.secrets.is_empty() => {}
        // A weak one is the app's problem, and told there.
        Some(secret) => good.extend(Secret::parse(secret.reveal()).ok().map(|secret| secret.derive(&app.id, Purpose::Webhook))),
        None => {
            let what = "nothing can sign its requests: its app has no `secret`".to_owned();
            wrong.push((what, "give the webhook `secrets`; `openssl rand -hex 32` gives one"));
        }
    }
    good
}

/// Headers that are not the operator's to set.
fn is_ours(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, CONNECTION, USER_AGENT].contains(name) || name.as_str().starts_with("webhook-")
}

fn headers(lines: &[value::Secret], wrong: &mut Vec<Wrong>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for line in lines {
        let parsed = line.reveal().split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        match parsed {
            Some((name, _)) if is_ours(&name) => wrong.push((format!("`headers`: `{name}` is set by the server"), "leave it out")),
            Some(header) => headers.push(header),
            // The line may hold a secret, so it is not repeated.
            None => wrong.push(("`headers`: one is no header".to_owned(), "write \"Name: value\"")),
        }
    }
    headers
}

/// What an operator should know of webhooks that are right.
pub(crate) fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if config.webhook.is_empty() {
        return notes;
    }
    if config.webhooks.folder.is_none() {
        notes.push("what waits for webhooks is kept in memory, and lost with the server; set `webhooks.folder` to store it".to_owned());
    }
    for webhook in &config.webhook {
        let clear = Url::parse(&webhook.url).is_ok_and(|url| webhook.url.starts_with("http://") && !is_near(url.host()));
        if clear {
            notes.push(format!("[[webhook]] {}: `url` is http, so anyone on the way can read what it is told; use https", webhook.id));
        }
    }
    notes
}

/// Whether the host is this machine.
fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
