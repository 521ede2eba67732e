//! What a server with these settings would do, for `omnivox check`: where it listens, who may come, and what for.
//!
//! ```text
//!   listens on 0.0.0.0:8443 with TLS, for other machines too
//!   app shop: takes tokens of its secret (HS256); API keys shop (everything), writer (*=publish)
//! ```
//!
//! Invariant: no secret is in it, and no query of a URL.

use std::net::SocketAddr;

use omnivox_auth::Settings;
use omnivox_auth::key::Algorithm;
use omnivox_auth::token::Keys;
use omnivox_core::{AppId, Permissions};
use omnivox_server::ServerConfig;

use super::apps::is_public;
use super::render;
use super::settings::{App, Config, NamespaceSettings};
use super::trust::{public_algorithms, shared};
use super::value::Value;

/// One line for each thing that it would do; `server` is what the settings mean.
pub(crate) fn summary(config: &Config, server: &ServerConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let listens = |address: &SocketAddr, how: &str| {
        let whom = if is_public(address) { "other machines too" } else { "this machine alone" };
        format!("listens on {address} {how}, for {whom}")
    };
    lines.extend(config.server.listen.iter().map(|address| listens(address, "without TLS")));
    lines.extend(config.tls.listen.iter().map(|address| listens(address, "with TLS")));
    lines.extend(
        config.unix.listen.iter().map(|path| format!("listens on {}, a Unix socket of mode {:o}", path.display(), config.unix.mode.0)),
    );
    if !config.acme.names.is_empty() {
        lines.push(format!("gets its certificate for {} from {}", config.acme.names.join(", "), config.acme.directory));
    }
    for (addresses, transport) in [(&config.turn.udp, "UDP"), (&config.turn.tcp, "TCP"), (&config.turn.tls, "TLS")] {
        lines.extend(addresses.iter().map(|address| listens(address, &format!("as a relay, {transport}"))));
    }
    let networks: Vec<_> = config.admin.networks.iter().map(ToString::to_string).collect();
    let token = config.admin.token.as_ref().map(|_| "whoever has `admin.token`".to_owned());
    lines.push(format!("shows /metrics to {}", listed(networks.into_iter().chain(token), "nobody")));
    for (app, meant) in config.app.iter().zip(&server.apps) {
        lines.push(format!("app {}: {}", app.id, comers(app, meant, config)));
        let asked = config.hook.iter().filter(|hook| belongs(hook.app.as_ref(), app));
        lines.extend(asked.map(|hook| {
            let events = listed(hook.events.iter().map(word), "nothing");
            format!("app {}: asks hook {} at {} about {events}", app.id, hook.name, render::without_query(&hook.url))
        }));
        let told = config.webhook.iter().filter(|webhook| belongs(webhook.app.as_ref(), app));
        lines.extend(told.map(|webhook| {
            let events = listed(webhook.events.iter().map(word), "nothing");
            format!("app {}: tells webhook {} at {} of {events}", app.id, webhook.id, render::without_query(&webhook.url))
        }));
        lines.push(format!("app {}: {}", app.id, anonymous(app, config)));
    }
    lines
}

/// Whose credentials an app takes.
fn comers(app: &App, meant: &Settings, config: &Config) -> String {
    let names = |algorithms: &[Algorithm]| algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect::<Vec<_>>().join(", ");
    let mut tokens = Vec::new();
    if app.secret.is_some() {
        tokens.push(format!("its secret ({})", names(&shared(app))));
    }
    if !app.token_keys.is_empty() {
        tokens.push(format!("{} ({})", listed(app.token_keys.iter().map(|path| path.display().to_string()), ""), names(&of_files(meant))));
    }
    if let Some(set) = &app.token_key_set {
        tokens.push(format!("the key set {} ({})", render::without_query(set), names(&public_algorithms(app))));
    }
    let mercure = [
        ("publishers", app.mercure_publisher_secrets.len() + app.mercure_publisher_keys.len()),
        ("subscribers", app.mercure_subscriber_secrets.len() + app.mercure_subscriber_keys.len()),
    ];
    tokens.extend(mercure.iter().filter(|(_, keys)| *keys > 0).map(|(role, keys)| format!("{keys} key(s) of Mercure's {role}")));
    let own = app.secret.as_ref().map(|_| format!("{} (everything)", app.key.as_deref().unwrap_or(app.id.as_str())));
    let further = config.api_key.iter().filter(|key| belongs(key.app.as_ref(), app));
    let keys = own.into_iter().chain(further.map(|key| format!("{} ({})", key.id, words(&key.allow))));
    format!("takes tokens of {}; API keys {}", listed(tokens, "nobody"), listed(keys, "none"))
}

/// The algorithms that the keys of `token_keys` are pinned to.
fn of_files(meant: &Settings) -> Vec<Algorithm> {
    let pinned = meant.trusts.iter().filter(|trust| trust.ceiling == Permissions::CLIENT).filter_map(|trust| match &trust.keys {
        Keys::Pinned(keys) => Some(keys),
        Keys::Fetched(_) => None,
    });
    let keys: Vec<_> = pinned.flatten().collect();
    Algorithm::PUBLIC.into_iter().filter(|algorithm| keys.iter().any(|key| key.allows(*algorithm))).collect()
}

/// What everyone may do who shows no credential.
fn anonymous(app: &App, config: &Config) -> String {
    if !app.open {
        return "takes nobody without a credential".to_owned();
    }
    let rules = config.namespace.iter().filter(|rule| belongs(rule.app.as_ref(), app) && !rule.anonymous.is_empty());
    let may = rules.map(|rule: &NamespaceSettings| format!("{}={}", rule.channels, words(&rule.anonymous)));
    format!("takes everyone, who then may: {}", listed(may, "nothing"))
}

fn belongs(owner: Option<&AppId>, app: &App) -> bool {
    owner.is_none_or(|owner| *owner == app.id)
}

/// A word of the settings, as it is written there.
fn word(value: &impl Value) -> String {
    value.to_toml().unwrap_or_default().trim_matches('"').to_owned()
}

fn words(values: &[impl Value]) -> String {
    values.iter().map(word).collect::<Vec<_>>().join(",")
}

fn listed(parts: impl IntoIterator<Item = String>, none: &str) -> String {
    let parts: Vec<_> = parts.into_iter().collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::{Layers, server_config};
    use super::*;

    #[test]
    fn everything_that_would_be_done_is_told_and_no_secret() {
        let key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let secret = "6f1d2c9be07a4835f2a1c7e9d0b34856";
        let check = |file: &str, expected: &[&str]| {
            let layers = Layers { file: Some(("omnivox.toml".into(), file.replace("SECRET", secret))), ..Layers::default() };
            let config = layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"));
            let server = server_config(&config, |_| Ok(key.to_owned())).unwrap_or_else(|problems| panic!("{problems}"));
            let told = summary(&config, &server);
            assert_eq!(told, expected, "{file}");
            assert!(!told.join("").contains(secret));
        };
        let metrics = "shows /metrics to 127.0.0.0/8, ::1/128";
        check(
            "[[app]]\nid = \"a\"\nsecret = \"SECRET\"",
            &[
                "listens on 127.0.0.1:8080 without TLS, for this machine alone",
                metrics,
                "app a: takes tokens of its secret (HS256); API keys a (everything)",
                "app a: takes nobody without a credential",
            ],
        );
        check(
            "[server]\nlisten = []\nopen_to_the_network = true\n[tls]\nlisten = \"0.0.0.0:443\"\n[unix]\nlisten = \"/run/x\"\n[acme]\n\
             names = \"a.example\"\nterms_agreed = true\n[turn]\nudp = \"0.0.0.0:3478\"\n[admin]\nnetworks = []\ntoken = \"SECRET\"\n\
             [[app]]\nid = \"a\"\nopen = true\ntoken_keys = \"/k.pem\"\ntoken_key_set = \"https://i.example/keys?key=SECRET\"\n\
             token_algorithms = \"EdDSA\"\n\
             [[app]]\nid = \"b\"\nopen = true\n[[api_key]]\nid = \"w\"\napp = \"a\"\nsecret = \"SECRET\"\nallow = [\"*=publish\"]\n\
             [[namespace]]\nchannels = \"*\"\napp = \"a\"\nanonymous = [\"subscribe\", \"history\"]\n\
             [[hook]]\nname = \"h\"\napp = \"a\"\nurl = \"https://h.example/?key=SECRET\"\nevents = [\"connect\", \"publish\"]\nsecrets = \"SECRET\"\n\
             [[webhook]]\nid = \"audit\"\napp = \"a\"\nurl = \"https://h.example/a\"\nevents = \"message\"\nsecrets = \"SECRET\"\n",
            &[
                "listens on 0.0.0.0:443 with TLS, for other machines too",
                "listens on /run/x, a Unix socket of mode 660",
                "gets its certificate for a.example from https://acme-v02.api.letsencrypt.org/directory",
                "listens on 0.0.0.0:3478 as a relay, UDP, for other machines too",
                "shows /metrics to whoever has `admin.token`",
                "app a: takes tokens of /k.pem (EdDSA), the key set https://i.example/keys?… (EdDSA); API keys w (*=publish)",
                "app a: asks hook h at https://h.example/?… about connect, publish",
                "app a: tells webhook audit at https://h.example/a of message",
                "app a: takes everyone, who then may: *=subscribe,history",
                "app b: takes tokens of nobody; API keys none",
                "app b: takes everyone, who then may: nothing",
            ],
        );
    }
}
