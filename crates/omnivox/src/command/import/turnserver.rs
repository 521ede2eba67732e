//! `omnivox import turnserver.conf FILE`: the settings of a coturn as our `[turn]`.
//!
//! ```text
//!   listening-port=3478                     [turn]
//!   external-ip=203.0.113.4/10.0.0.4        udp = ["0.0.0.0:3478", "[::]:3478"]
//!   static-auth-secret=SECRET        ──▶    relays = ["10.0.0.4/203.0.113.4"]
//!   denied-peer-ip=8.8.8.8                  secrets = ["SECRET"]
//!                                           peers_deny = ["8.8.8.8-8.8.8.8"]
//! ```
//!
//! Invariant: what is written here, read as settings, gives the relay that the library's import describes.

use std::fmt::Display;
use std::fmt::Write as _;

use omnivox_turn::import::{Imported, turnserver_conf};
use omnivox_turn::{Config, RelayAddress, Settings};

use crate::config::render::quoted;

/// The settings file, and what could not be taken over.
pub(super) fn import(text: &str) -> (String, Vec<String>) {
    let imported = turnserver_conf(text);
    (settings(&imported), imported.warnings.iter().map(ToString::to_string).collect())
}

const HEAD: &str = "\
# What differs from coturn on purpose: private networks are no peers unless `peers_allow` names them; one user has at most
# `allocations_per_user_max` allocations and one address `allocations_per_source_max`; TCP relays are off unless `tcp_relay` is on.
[turn]
";

fn settings(imported: &Imported) -> String {
    let mut toml = Lines(HEAD.to_owned());
    let config = &imported.config;
    toml.texts("udp", &config.udp);
    toml.texts("tcp", &config.tcp);
    toml.texts("tls", &config.tls);
    if let Some((certificate, key)) = &imported.tls_files {
        toml.text("certificate_file", certificate);
        toml.text("private_key_file", key);
    }
    let relay = |relay: &RelayAddress| match relay.bind == relay.external {
        true => relay.bind.to_string(),
        false => format!("{}/{}", relay.bind, relay.external),
    };
    toml.texts("relays", &config.relays.iter().map(relay).collect::<Vec<_>>());
    toml.texts("secrets", &imported.secrets);
    toml.texts("users", &imported.users.iter().map(|(name, password)| format!("{name}:{password}")).collect::<Vec<_>>());
    toml.texts("peers_allow", &imported.peers_allow);
    toml.texts("peers_deny", &imported.peers_deny);
    toml.text("realm", &config.settings.realm);
    numbers(&mut toml, config, &Config::new(config.authorize.clone()));
    toml.0
}

/// The numbers and switches that are not the defaults.
fn numbers(toml: &mut Lines, config: &Config, default: &Config) {
    let mut differs = |name: &str, of: fn(&Config) -> u64| {
        if of(config) != of(default) {
            toml.line(name, of(config));
        }
    };
    differs("port_min", |config| (*config.ports.start()).into());
    differs("port_max", |config| (*config.ports.end()).into());
    differs("workers", |config| config.workers.into());
    differs("allocations_max", |config| config.settings.quotas.total_max.into());
    differs("allocations_per_user_max", |config| config.settings.quotas.user_max.into());
    differs("allocation_bytes_per_second", |config| config.settings.bytes_per_second);
    differs("relay_bytes_per_second", |config| config.settings.quotas.total_bytes_per_second);
    differs("allocation_time_max_ms", |config| u64::from(config.settings.lifetime_max_seconds) * 1000);
    differs("nonce_time_ms", |config| config.settings.nonce_lifetime_seconds.saturating_mul(1000));
    differs("unauthenticated_per_second", |config| config.settings.unauthenticated.per_second);
    let mut switch = |name: &str, of: fn(&Settings) -> bool| {
        if of(&config.settings) {
            toml.line(name, true);
        }
    };
    switch("mobility", |settings| settings.mobility);
    switch("tcp_relay", |settings| settings.tcp_relay);
    switch("old_channel_numbers", |settings| settings.old_channel_numbers);
    if let Some(discovery) = config.settings.discovery {
        toml.text("discovery", discovery.other);
    }
}

/// Settings line by line.
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} = {value}");
    }

    fn text(&mut self, name: &str, value: impl Display) {
        self.line(name, quoted(&value.to_string()));
    }

    fn texts(&mut self, name: &str, values: &[impl ToString]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
            self.line(name, format!("[{}]", values.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::relay::relay_config;
    use crate::config::{Config as AllSettings, Layers};

    /// The settings that were written make the relay that was imported.
    #[track_caller]
    fn check(conf: &str) {
        let imported = turnserver_conf(conf);
        let toml = settings(&imported);
        let layers = Layers { file: Some(("omnivox.toml".into(), toml.clone())), ..Layers::default() };
        let read = layers.over(AllSettings::default()).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        assert_eq!(imported.tls_files.is_some(), read.turn.certificate_file.is_some());
        let mut turn = read.turn;
        (turn.certificate_file, turn.private_key_file) = (None, None);
        let config = relay_config(&turn, |_| Err(io::ErrorKind::NotFound.into())).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        assert_eq!(format!("{config:?}"), format!("{:?}", imported.config), "{toml}");
        assert_eq!(turn.users.len(), imported.users.len());
        assert_eq!(turn.secrets.len(), imported.secrets.len());
    }

    #[test]
    fn what_was_written_means_what_was_imported() {
        check("");
        check("user=ana:secret-of-ana-alone\nuser=key:0x8493fbc53ba582fb4c044c456bdc40eb\nrealm=\"example \\ org\"");
        check(
            "listening-port=3479\nlistening-ip=10.0.0.4\nlistening-ip=10.0.0.5\ntls-listening-port=443\nexternal-ip=203.0.113.4/10.0.0.4\n\
             min-port=50000\nmax-port=50999\nuse-auth-secret\nstatic-auth-secret=a secret of coturn\nstatic-auth-secret=the one before that\n\
             realm=example.org\nuser-quota=12\ntotal-quota=0\nmax-bps=64000\nbps-capacity=1000000\nallowed-peer-ip=10.1.0.0-10.1.0.255\n\
             denied-peer-ip=8.8.8.8\nallow-loopback-peers\nmobility\nno-tcp-relay=off\nstale-nonce=900\nmax-allocate-lifetime=7200\n\
             relay-threads=3\nrfc5780\nrfc5766-channel-numbers\nunauthorized-ratelimit-rps=5\ncert=/a.pem\npkey=/b.pem\naux-server=10.0.0.4:80\n",
        );
        check("external-ip=203.0.113.4\nno-udp\nuser=a:b-of-twelve-bytes\nmax-allocate-lifetime=60");
    }
}
