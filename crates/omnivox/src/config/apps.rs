//! The rules between apps: who is reached by whom, and that no credential of one counts in another.
//!
//! Invariant: a key that two apps have in common is refused, unless every token says by its audience which of them it is for.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use omnivox_core::AppId;

use super::problem::{Place, Problem};
use super::settings::{App, Config};

pub(super) fn judge(config: &Config, read: &impl Fn(&Path) -> io::Result<String>, problems: &mut Vec<Problem>) {
    if config.app.is_empty() {
        let place = Place::Section("[[app]]".to_owned());
        problems.push(
            Problem::new(place, "there is none, so nobody could connect")
                .mend("add [[app]] with `id` and `secret`, or try `omnivox dev`, which has an open app"),
        );
    }
    let mut ids = HashSet::new();
    let mut keys = HashSet::new();
    for app in &config.app {
        let mut problem = |what: String, mend: &str| {
            let place = Place::Section(format!("[[app]] {}", app.id));
            problems.push(Problem::new(place, what).mend(mend));
        };
        if !ids.insert(&app.id) {
            problem("another app has the same `id`".to_owned(), "give each app its own `id`");
        }
        if let Some(key) = app.key.as_ref().filter(|key| !keys.insert(*key)) {
            problem(format!("another app has the same `key` {key:?}"), "give each app its own `key`");
        }
        if let Some(set) = &app.token_key_set {
            let plain = set.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            if plain.is_some_and(|host| !matches!(host, "localhost" | "127.0.0.1" | "[")) {
                let what = "`token_key_set` is fetched in the clear, so that anyone on the way could put keys into it".to_owned();
                problem(what, "use its https address");
            }
            let mut others = config.app.iter().filter(|other| other.id != app.id && other.token_key_set.as_ref() == Some(set));
            if others.any(|other| !are_told_apart(app, other)) {
                let what = "another app has the same `token_key_set`, and a token would not say which one it is for".to_owned();
                problem(what, "set `token_audiences` in each, with no audience in common");
            }
        }
        let mercure = app.mercure_publisher_secrets.len() + app.mercure_publisher_keys.len();
        let mercure = mercure + app.mercure_subscriber_secrets.len() + app.mercure_subscriber_keys.len();
        if app.secret.is_none() && app.token_keys.is_empty() && app.token_key_set.is_none() && mercure == 0 && !app.open {
            problem(
                "nobody could connect: it has no `secret`, no `token_keys`, no `token_key_set` and is not `open`".to_owned(),
                "set `secret`; `openssl rand -hex 32` gives one",
            );
        }
        let public = config.server.listen.iter().chain(&config.tls.listen).find(|address| is_public(address));
        if let Some(address) = public.filter(|_| app.open && !config.server.open_to_the_network) {
            problem(
                format!("it is `open`, and {address} can be reached from other machines"),
                "set `open = false`, or `open_to_the_network = true` in [server] if everyone may come",
            );
        }
    }
    judge_shared_keys(config, read, problems);
    judge_api_keys(config, &ids, problems);
    for namespace in &config.namespace {
        if let Some(app) = namespace.app.as_ref().filter(|app| !ids.contains(app)) {
            let place = Place::Section(format!("[[namespace]] {}", namespace.channels));
            problems.push(Problem::new(place, format!("there is no app {app:?}")).mend("name an app that [[app]] defines"));
        }
    }
}

fn judge_api_keys(config: &Config, ids: &HashSet<&AppId>, problems: &mut Vec<Problem>) {
    let mut key_ids: HashSet<(&AppId, &str)> =
        config.app.iter().map(|app| (&app.id, app.key.as_deref().unwrap_or(app.id.as_str()))).collect();
    for key in &config.api_key {
        let mut problem = |what: &str, mend: &str| {
            problems.push(Problem::new(Place::Section(format!("[[api_key]] {}", key.id)), what).mend(mend));
        };
        let app = key.app.as_ref().or_else(|| config.app.first().filter(|_| config.app.len() == 1).map(|app| &app.id));
        match app.filter(|app| ids.contains(app)) {
            None => problem("it belongs to no app that is there", "name one with `app`"),
            Some(app) if !key_ids.insert((app, &key.id)) => problem("another key of the app has the same `id`", "give each its own"),
            Some(_) => {}
        }
        if key.id.is_empty() || key.id.contains([':', ',', '=', ' ']) {
            problem("its `id` is empty, or has a colon, comma, space or `=`", "choose plain letters and digits");
        }
        if key.allow.is_empty() {
            problem("it grants nothing", "say what with `allow`, such as [\"chat:*=publish\"]");
        }
    }
}

/// Whether other machines reach what listens there.
pub(super) fn is_public(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Whether tokens always say which of the two apps they are for.
fn are_told_apart(one: &App, other: &App) -> bool {
    let (ours, theirs) = (&one.token_audiences, &other.token_audiences);
    !ours.is_empty() && !theirs.is_empty() && !ours.iter().any(|audience| theirs.contains(audience))
}

/// What verifies tokens of an app: the setting, and the text that is the key. A file that can't be read is told elsewhere.
fn token_keys(app: &App, read: &impl Fn(&Path) -> io::Result<String>) -> Vec<(&'static str, String)> {
    let secrets = [
        ("secret", app.secret.as_slice()),
        ("mercure_publisher_secrets", &app.mercure_publisher_secrets),
        ("mercure_subscriber_secrets", &app.mercure_subscriber_secrets),
    ];
    let files = [
        ("token_keys", &app.token_keys),
        ("mercure_publisher_keys", &app.mercure_publisher_keys),
        ("mercure_subscriber_keys", &app.mercure_subscriber_keys),
    ];
    let secrets = secrets.into_iter().flat_map(|(key, list)| list.iter().map(move |secret| (key, secret.reveal().to_owned())));
    let files = files.into_iter().flat_map(|(key, list)| list.iter().map(move |path| (key, path)));
    // The same key may be wrapped differently.
    let files = files.filter_map(|(key, path)| Some((key, read(path).ok()?.split_ascii_whitespace().collect())));
    secrets.chain(files).collect()
}

fn judge_shared_keys(config: &Config, read: &impl Fn(&Path) -> io::Result<String>, problems: &mut Vec<Problem>) {
    let apps: Vec<_> = config.app.iter().map(|app| (app, token_keys(app, read))).collect();
    for (number, (app, keys)) in apps.iter().enumerate() {
        for (other, theirs) in &apps[..number] {
            // That is told by itself.
            if other.id == app.id {
                continue;
            }
            let mut problem = |what: String, mend: &str| {
                problems.push(Problem::new(Place::Section(format!("[[app]] {}", app.id)), what).mend(mend));
            };
            let shared = theirs.iter().find_map(|(known, key)| Some((*known, keys.iter().find(|(_, own)| own == key)?.0)));
            match shared {
                // As an API key it is a key to everything, whatever tokens say.
                Some(("secret", "secret")) => {
                    problem(
                        format!("app {} has the same `secret`, so the back end of one may do everything in the other", other.id),
                        FRESH,
                    );
                }
                Some((known, own)) if !are_told_apart(app, other) => {
                    let what = format!(
                        "app {} verifies tokens with the same key (`{known}`, `{own}`), and a token would not say which one it is for",
                        other.id
                    );
                    problem(what, "give each app its own key, or set `token_audiences` in each, with no audience in common");
                }
                Some(_) | None => {}
            }
        }
    }
}

const FRESH: &str = "give each app its own; `openssl rand -hex 32` gives one";
