//! `omnivox import`: the settings of another server as ours. Here is `caddyfile`, those of a Mercure hub; coturn's are in [`turnserver`].
//!
//! ```text
//!   mercure {                              [[app]]
//!     publisher_jwt SECRET HS256             id = "mercure", mercure_publisher_secrets = ["SECRET"], …
//!     subscriber_jwt SECRET HS256    ──▶   [[namespace]]  what everyone may do
//!     anonymous                            [mercure]      the rest
//!   }
//! ```
//!
//! What has no counterpart is told on standard error, each with what to do instead. `{env.NAME}` and `{$NAME:default}` are looked up now.

mod turnserver;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::cli::Import;
use crate::config::render::quoted;
use crate::exit::{self, Code};

use super::documents;

/// Prints the settings.
pub(crate) fn run(wish: &Import) -> anyhow::Result<()> {
    let (Import::Caddyfile { file } | Import::TurnserverConf { file }) = wish;
    let text = fs::read_to_string(file).map_err(|error| exit::error(Code::Usage, format!("{}: {error}", file.display())))?;
    let (toml, notes) = match wish {
        Import::Caddyfile { .. } => {
            let imported = import(&text, |name| std::env::var(name).ok())
                .ok_or_else(|| exit::error(Code::Usage, format!("{}: there is no `mercure {{ … }}` in it", file.display())))?;
            (imported.toml, imported.notes)
        }
        Import::TurnserverConf { .. } => turnserver::import(&text),
    };
    for note in &notes {
        eprintln!("omnivox: {note}");
    }
    documents::print(toml.as_bytes())
}

/// Settings, and what could not be taken over.
#[derive(Debug)]
struct Imported {
    toml: String,
    notes: Vec<String>,
}

/// What the directives say.
#[derive(Debug, Default)]
struct Hub {
    keys: BTreeMap<&'static str, (String, Option<String>)>,
    anonymous: bool,
    subscriptions: bool,
    cors_origins: Vec<String>,
    publish_origins: Vec<String>,
    authorization_servers: Vec<String>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    cookie_name: Option<String>,
    heartbeat_ms: Option<u64>,
    connection_ms: Option<u64>,
    notes: Vec<String>,
}

fn import(text: &str, environment: impl Fn(&str) -> Option<String>) -> Option<Imported> {
    let mut hub = Hub::default();
    let mut open: Vec<String> = Vec::new();
    let mut found = false;
    for line in text.lines() {
        let words = words(line, &environment);
        let Some(first) = words.first().map(String::as_str) else { continue };
        if first == "}" {
            open.pop();
            continue;
        }
        let begins = words.last().is_some_and(|last| last == "{");
        let inside = open.iter().position(|name| name == "mercure").map(|at| &open[at + 1..]);
        found |= first == "mercure";
        if let Some(inside) = inside {
            hub.take(inside, &words[..words.len() - usize::from(begins)]);
        }
        if begins {
            open.push(first.to_owned());
        }
    }
    found.then(|| hub.settings())
}

/// The words of a line with placeholders filled in; one that stands for nothing is left out, as in Caddy.
fn words(line: &str, environment: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let line = line.trim();
    if line.starts_with('#') {
        return Vec::new();
    }
    let filled = |word: &str| match word.strip_prefix("{env.").or_else(|| word.strip_prefix("{$")).and_then(|inner| inner.strip_suffix('}'))
    {
        None => Some(word.trim_matches(['"', '`']).to_owned()),
        Some(inner) => {
            let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
            environment(name).or_else(|| default.map(str::to_owned)).filter(|value| !value.is_empty())
        }
    };
    line.split_whitespace().take_while(|word| !word.starts_with('#')).filter_map(filled).collect()
}

impl Hub {
    /// Takes a directive; `inside` are the blocks of the hub's that it stands in.
    fn take(&mut self, inside: &[String], words: &[String]) {
        let Some((name, values)) = words.split_first() else { return };
        let first = values.first().cloned();
        let role = inside.iter().find_map(|block| ["publisher", "subscriber"].into_iter().find(|role| block == role));
        match (name.as_str(), role) {
            ("publisher_jwt", _) => self.key("publisher", values),
            ("subscriber_jwt", _) => self.key("subscriber", values),
            ("jwt", Some(role)) => self.key(role, values),
            ("publisher_jwks_url" | "subscriber_jwks_url" | "jwks_uri", _) => {
                let role = role.unwrap_or_else(|| if name.starts_with("publisher") { "publisher" } else { "subscriber" });
                self.notes.push(format!("`{name}`: save the key set in a file and name that in `mercure_{role}_keys`"));
            }
            ("issuer", _) => self.issuers.extend(first.filter(|value| value != "{")),
            ("publisher" | "subscriber", _) => {}
            ("authorization_server" | "authorization_servers", _) => self.authorization_servers.extend(values.iter().cloned()),
            ("resource_identifier", _) => self.audiences.extend(first),
            ("anonymous", _) => self.anonymous = true,
            ("subscriptions", _) => self.subscriptions = true,
            ("cors_origins", _) => self.cors_origins.extend(values.iter().cloned()),
            ("publish_origins", _) => self.publish_origins.extend(values.iter().cloned()),
            ("cookie_name", _) => self.cookie_name = first,
            ("heartbeat", _) => self.heartbeat_ms = self.time(name, first.as_deref()),
            ("write_timeout", _) => self.connection_ms = self.time(name, first.as_deref()),
            ("protocol_version_compatibility", _) => {}
            ("transport" | "transport_url", _) => {
                self.notes.push(format!("`{name}`: history is kept in memory; how much is set in [history]"));
            }
            ("ui" | "demo" | "debugger" | "playground", _) => {
                self.notes.push(format!("`{name}`: there is no such page; `omnivox dev` has one to try things out"));
            }
            _ if inside.is_empty() => self.notes.push(format!("`{name}` has no counterpart and was left out")),
            _ => {}
        }
    }

    fn key(&mut self, role: &'static str, values: &[String]) {
        match values.split_first() {
            Some((key, rest)) => {
                self.keys.insert(role, (key.clone(), rest.first().cloned()));
            }
            None => self.notes.push(format!("the {role}'s key is in a variable that is not set; write it into `mercure_{role}_secrets`")),
        }
    }

    fn time(&mut self, name: &str, text: Option<&str>) -> Option<u64> {
        let parsed = text.and_then(|text| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let count: u64 = text[..end].parse().ok()?;
            let unit = match &text[end..] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "" if count == 0 => 1,
                _ => return None,
            };
            Some(count * unit)
        });
        if parsed.is_none() {
            self.notes.push(format!("`{name}`: {:?} is no time such as 40s", text.unwrap_or_default()));
        }
        parsed
    }

    fn settings(mut self) -> Imported {
        let mut toml = String::from("[[app]]\nid = \"mercure\"\n");
        let mut algorithms: Vec<String> = Vec::new();
        for (role, (key, algorithm)) in &self.keys {
            if key.starts_with("-----BEGIN") {
                self.notes.push(format!("the {role}'s public key goes into a PEM file that `mercure_{role}_keys` names"));
            } else {
                let _ = writeln!(toml, "mercure_{role}_secrets = [{}]", quoted(key));
            }
            let algorithm = algorithm.clone().unwrap_or_else(|| "HS256".to_owned());
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        if algorithms.iter().any(|algorithm| algorithm != "HS256") {
            list(&mut toml, "token_algorithms", &algorithms);
        }
        // Tokens of the first generation often have no `exp`; those of the second always do.
        toml.push_str("token_expiry_required = false\n");
        if self.anonymous {
            toml.push_str("open = true\n");
        }
        list(&mut toml, "allowed_origins", &self.cors_origins);
        list(&mut toml, "token_issuers", &self.issuers);
        list(&mut toml, "token_audiences", &self.audiences);
        toml.push_str("\n[[namespace]]\nchannels = \"*\"\n");
        if self.anonymous {
            toml.push_str("anonymous = [\"subscribe\", \"history\"]\n");
        }
        toml.push_str("authenticated = [\"subscribe\", \"history\"]\n\n[mercure]\n");
        let _ = writeln!(toml, "subscriptions = {}", self.subscriptions);
        list(&mut toml, "publish_origins", &self.publish_origins);
        list(&mut toml, "authorization_servers", &self.authorization_servers);
        for (name, value) in [("heartbeat_ms", self.heartbeat_ms), ("connection_time_max_ms", self.connection_ms)] {
            if let Some(value) = value {
                let _ = writeln!(toml, "{name} = {value}");
            }
        }
        if let Some(name) = &self.cookie_name {
            let _ = writeln!(toml, "cookie_name = {}", quoted(name));
        }
        Imported { toml, notes: self.notes }
    }
}

fn list(toml: &mut String, name: &str, values: &[String]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        let _ = writeln!(toml, "{name} = [{}]", values.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    fn check(caddyfile: &str, expected: &[&str], notes: &[&str]) {
        let environment = |name: &str| (name == "KEY").then(|| "!ChangeThisMercureHubJWTSecretKey!".to_owned());
        let imported = import(caddyfile, environment).expect("there is a hub");
        for line in expected {
            assert!(imported.toml.lines().any(|known| known == *line), "{line} is not in\n{}", imported.toml);
        }
        for note in notes {
            assert!(imported.notes.iter().any(|known| known.contains(note)), "{note} is not in {:?}", imported.notes);
        }
        assert_eq!(imported.notes.len(), notes.len(), "{:?}", imported.notes);
        let layers = Layers { file: Some(("omnivox.toml".into(), imported.toml)), environment: Vec::new(), flags: Vec::new() };
        layers.over(Config::default()).expect("what was written are settings");
    }

    #[test]
    fn a_hub_of_the_first_generation_is_taken_over() {
        check(
            "{\n\tauto_https off\n}\n{$SERVER_NAME:localhost} {\n\tencode zstd\n\tmercure {\n\t\t# a comment\n\t\tpublisher_jwt {env.KEY} {env.ALG}\n\t\tsubscriber_jwt {env.KEY}\n\t\tanonymous\n\t\tsubscriptions\n\t\tcors_origins https://a.example https://b.example\n\t\tpublish_origins *\n\t\theartbeat 30s\n\t\twrite_timeout 10m\n\t\ttransport bolt {\n\t\t\tpath x.db\n\t\t}\n\t\tui\n\t}\n\trespond \"Not Found\" 404\n}\n",
            &[
                "mercure_publisher_secrets = [\"!ChangeThisMercureHubJWTSecretKey!\"]",
                "mercure_subscriber_secrets = [\"!ChangeThisMercureHubJWTSecretKey!\"]",
                "open = true",
                "anonymous = [\"subscribe\", \"history\"]",
                "allowed_origins = [\"https://a.example\", \"https://b.example\"]",
                "subscriptions = true",
                "publish_origins = [\"*\"]",
                "heartbeat_ms = 30000",
                "connection_time_max_ms = 600000",
            ],
            &["`transport`", "`ui`"],
        );
    }

    #[test]
    fn a_hub_of_the_second_generation_is_taken_over() {
        check(
            "example.com {\n  mercure {\n    issuer https://login.example {\n      publisher {\n        jwt one-secret-that-is-long-enough-for-hs512 HS512\n      }\n      subscriber {\n        jwt another-secret-that-is-long-enough HS256\n      }\n      authorization_server https://login.example\n    }\n    resource_identifier https://example.com/.well-known/mercure\n    cookie_name token\n    heartbeat soon\n    topic_matcher_cache 5\n    subscriber_jwks_url https://x\n  }\n}\n",
            &[
                "mercure_publisher_secrets = [\"one-secret-that-is-long-enough-for-hs512\"]",
                "mercure_subscriber_secrets = [\"another-secret-that-is-long-enough\"]",
                "token_algorithms = [\"HS512\", \"HS256\"]",
                "token_issuers = [\"https://login.example\"]",
                "token_audiences = [\"https://example.com/.well-known/mercure\"]",
                "authorization_servers = [\"https://login.example\"]",
                "cookie_name = \"token\"",
            ],
            &["no time such as", "`topic_matcher_cache`", "`subscriber_jwks_url`: save the key set"],
        );
        assert!(import("example.com {\n respond 200\n}\n", |_| None).is_none());
    }
}
