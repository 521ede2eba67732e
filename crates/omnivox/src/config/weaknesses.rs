//! What is weak although it works, for `omnivox check`: one line each, with the setting that mends it.
//!
//! Whatever would be a mistake for everybody is refused instead. Invariant: the settings of `omnivox init` have no weakness.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use omnivox_core::Pattern;

use super::apps::is_public;
use super::choices::Permission;
use super::hooks;
use super::relay;
use super::secrets;
use super::settings::{App, Config};

/// All that the settings alone tell.
pub(crate) fn weaknesses(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for address in config.server.listen.iter().filter(|address| is_public(address)) {
        found.push(format!(
            "server.listen: other machines reach {address} without TLS, so anyone on the way reads credentials and messages; use `tls.listen`, or \
             listen on loopback behind a proxy that ends TLS"
        ));
    }
    if config.admin.networks.iter().any(|network| EVERYTHING.iter().any(|ends| ends.iter().all(|end| network.contains(*end)))) {
        found.push(
            "admin.networks: one of them holds every address, so everybody sees /metrics; name the collector's, or use `admin.token`"
                .to_owned(),
        );
    }
    if config.unix.mode.0 & 0o002 != 0
        && !config.unix.listen.is_empty()
        && let Some(app) = config.app.iter().find(|app| app.open)
    {
        let mode = config.unix.mode.0;
        found.push(format!(
            "unix.mode: with {mode:o} every user of this machine may connect, and app {} is `open`; use \"660\" and `unix.group`",
            app.id
        ));
    }
    config.app.iter().for_each(|app| of_app(app, config, &mut found));
    secrets::weaknesses(config, &mut found);
    relay::weaknesses(&config.turn, &mut found);
    found.extend(hooks::weaknesses(config));
    found
}

fn of_app(app: &App, config: &Config, found: &mut Vec<String>) {
    let mut weak = |what: &str| found.push(format!("[[app]] {}: {what}", app.id));
    if !app.token_expiry_required {
        weak("tokens need not end, so a stolen one is good for ever; leave `token_expiry_required` on");
    }
    if app.allowed_origins.iter().any(|origin| origin == "*") {
        weak("pages of every origin may use it in their visitors' browsers; list yours in `allowed_origins`");
    }
    let everywhere = |channels: &Pattern| matches!(channels, Pattern::All);
    let mut rules = config.namespace.iter().filter(|rule| rule.app.as_ref().is_none_or(|owner| *owner == app.id));
    if app.open && rules.any(|rule| everywhere(&rule.channels) && rule.anonymous.contains(&Permission::Publish)) {
        weak("whoever reaches it may publish on every channel; take `publish` out of `anonymous` for `*`, or name the channels");
    }
}

/// The first and the last address of each kind: a network that holds both holds all.
const EVERYTHING: [[IpAddr; 2]; 2] = [
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST)],
    [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))],
];

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    #[test]
    fn what_is_weak_is_named_with_what_mends_it() {
        let check = |file: &str, expected: &[&str]| {
            let layers = Layers { file: Some(("omnivox.toml".into(), file.to_owned())), ..Layers::default() };
            let found = weaknesses(&layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}")));
            assert_eq!(found.len(), expected.len(), "{file}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{file}: {found}");
            }
        };
        let app = |rest: &str| format!("[[app]]\nid = \"a\"\n{rest}");
        check(&app(""), &[]);
        check("[server]\nlisten = [\"0.0.0.0:80\", \"127.0.0.1:81\"]", &["server.listen: other machines reach 0.0.0.0:80 without TLS"]);
        check("[server]\nlisten = \"[::]:80\"", &["server.listen: other machines reach [::]:80"]);
        check("[tls]\nlisten = \"0.0.0.0:443\"", &[]);
        check("[admin]\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]", &[]);
        check("[admin]\nnetworks = \"0.0.0.0/0\"", &["admin.networks: one of them holds every address"]);
        check("[admin]\nnetworks = [\"127.0.0.1\", \"::/0\"]", &["or use `admin.token`"]);
        let unix = |mode: &str, open: bool| format!("[unix]\nlisten = \"/run/x\"\nmode = \"{mode}\"\n{}", app(&format!("open = {open}")));
        check(&unix("660", true), &[]);
        check(&unix("666", false), &[]);
        check(&unix("666", true), &["unix.mode: with 666 every user of this machine may connect, and app a is `open`"]);
        check(&app("token_expiry_required = false"), &["[[app]] a: tokens need not end"]);
        check(&app("allowed_origins = [\"https://a.example\"]"), &[]);
        check(&app("allowed_origins = \"*\""), &["[[app]] a: pages of every origin"]);
        let namespace = |channels: &str, rest: &str| format!("[[namespace]]\nchannels = \"{channels}\"\n{rest}\n{}", app("open = true"));
        check(
            &namespace("*", "anonymous = [\"subscribe\", \"publish\"]"),
            &["may publish on every channel; take `publish` out of `anonymous`"],
        );
        check(&namespace("*", "anonymous = \"subscribe\""), &[]);
        check(&namespace("chat:*", "anonymous = \"publish\""), &[]);
        check(&namespace("*", "anonymous = \"publish\"\napp = \"b\""), &[]);
        check(&namespace("*", "anonymous = \"publish\"").replace("open = true", ""), &[]);
        let turn = |rest: &str| format!("[turn]\nudp = \"127.0.0.1:3478\"\n{rest}");
        check(&turn("secrets = \"6f1d2c9be07a4835f2a1c7e9d0b34856\"\nusers = [\"ana:c83b07e5d1f2a694\", \"bob:0x00\"]"), &[]);
        check(&turn("secrets = \"!ChangeThisMercureHubJWTSecretKey!\""), &["[turn]: one of `secrets` stands in documentation"]);
        check(
            &turn("users = [\"ana:short\", \"bob:a-string-secret-at-least-256-bits-long\", \"cy:hunter2-hunter2-hunter2\"]"),
            &[
                "the password of \"ana\" in `users` has fewer than 12 bytes",
                "\"bob\" in `users` can be guessed: it stands",
                "\"cy\" in `users` can be",
            ],
        );
        let hook = "[[hook]]\nname = \"h\"\nurl = \"http://a.example/\"\nevents = \"connect\"\n";
        check(hook, &["[[hook]] h: its `url` is plain http"]);
    }
}
