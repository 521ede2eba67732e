//! `[turn]` as the relay takes it.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use omnivox_turn::credentials::{AnyOf, Authorize, RestSecrets, Secret as SharedSecret, StaticUsers};
use omnivox_turn::proto::ledger::{Allowance, Quotas};
use omnivox_turn::proto::machine::Discovery;
use omnivox_turn::proto::nonce::key_of;
use omnivox_turn::proto::rate::Rate;
use omnivox_turn::{AddressRange, Config as RelayConfig, RelayAddress};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::de::DeValue;

use super::apps::is_public;
use super::problem::{Place, Problem, Problems};
use super::secrets::known;
use super::settings::Turn;
use super::value::{Kind, Value, quoted};

/// A text of the settings with what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meant<T> {
    text: String,
    meaning: T,
}

impl<T> Meant<T> {
    /// What it means.
    pub(crate) const fn meaning(&self) -> &T {
        &self.meaning
    }
}

/// An address that relays are opened on.
pub(crate) type Relay = Meant<RelayAddress>;
/// A range of peers.
pub(crate) type PeerRange = Meant<AddressRange>;

/// What can be written as a text.
pub(crate) trait Written: Sized {
    /// Reads it.
    fn read(text: &str) -> Result<Self, String>;
}

impl Written for AddressRange {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: omnivox_turn::proto::policy::InvalidRange| error.to_string())
    }
}

impl Written for RelayAddress {
    fn read(text: &str) -> Result<Self, String> {
        let (bind, external) = text.split_once('/').unwrap_or((text, text));
        let address = |part: &str| -> Result<IpAddr, String> {
            part.parse().map_err(|_| {
                format!("{part:?} is no IP address; write `10.0.0.4`, or `10.0.0.4/203.0.113.4` with the address that peers see")
            })
        };
        Ok(Self::mapped(address(bind)?, address(external)?))
    }
}

impl<T: Written> Value for Meant<T> {
    const KIND: Kind = Kind::Text;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or_else(|| format!("expected text, found {}", value.type_str()))?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), meaning: T::read(text)? })
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.text))
    }
}

impl Turn {
    /// Whether there is anything to listen on.
    pub(crate) fn listens(&self) -> bool {
        !(self.udp.is_empty() && self.tcp.is_empty() && self.tls.is_empty())
    }
}

/// What the relay is started with. `read` reads a file: that of the certificates.
pub(crate) fn relay_config(turn: &Turn, read: impl Fn(&Path) -> io::Result<String>) -> Result<RelayConfig, Problems> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, what: String| problems.push(Problem::new(Place::Section(format!("turn.{key}")), what));
    let mut users = StaticUsers::new(turn.realm.clone());
    for user in &turn.users {
        match user.reveal().split_once(':') {
            Some((name, key)) if !name.is_empty() && key.starts_with("0x") => {
                users.add_key(name, key).unwrap_or_else(|error| problem("users", error.to_string()));
            }
            Some((name, password)) if !name.is_empty() && !password.is_empty() => users.add(name, password),
            _ => problem("users", "a user is written `name:password`".to_owned()),
        }
    }
    judge_passwords(turn, &mut problem);
    let public = turn.udp.iter().chain(&turn.tcp).chain(&turn.tls).any(is_public);
    for why in turn.secrets.iter().filter_map(|secret| known(secret.reveal(), public)) {
        problem("secrets", format!("a secret can be guessed: it {why}; `openssl rand -hex 32` gives a strong one"));
    }
    if turn.secrets.iter().any(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
        problem("secrets", format!("a secret has fewer than {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` gives a strong one"));
    }
    let secrets = turn.secrets.iter().map(|secret| SharedSecret::new(secret.reveal())).collect();
    let rest: Arc<dyn Authorize> = Arc::new(RestSecrets::new(secrets));
    let mut config = RelayConfig::new(Arc::new(AnyOf::new(vec![Arc::new(users), rest])));
    config.udp.clone_from(&turn.udp);
    config.tcp.clone_from(&turn.tcp);
    config.tls.clone_from(&turn.tls);
    config.relays = turn.relays.iter().map(|relay| relay.meaning).collect();
    config.ports = turn.port_min..=turn.port_max;
    config.workers = turn.workers;
    config.streams.connections_max = turn.connections_max;
    config.nonce_key = turn.nonce_secret.as_ref().map(|secret| key_of(secret.reveal()));
    let settings = &mut config.settings;
    settings.realm.clone_from(&turn.realm);
    settings.bytes_per_second = turn.allocation_bytes_per_second;
    settings.quotas = Quotas {
        total_max: turn.allocations_max,
        user_max: turn.allocations_per_user_max,
        app_max: turn.allocations_per_app_max,
        source_max: turn.allocations_per_source_max,
        user: Allowance { bytes_per_second: turn.user_bytes_per_second, bytes_max: turn.user_bytes_max },
        app: Allowance { bytes_per_second: turn.app_bytes_per_second, bytes_max: turn.app_bytes_max },
        total_bytes_per_second: turn.relay_bytes_per_second,
        window_seconds: turn.bytes_time_ms.as_secs(),
    };
    settings.lifetime_max_seconds = u32::try_from(turn.allocation_time_max_ms.as_secs()).unwrap_or(u32::MAX);
    settings.lifetime_default_seconds = settings.lifetime_default_seconds.min(settings.lifetime_max_seconds);
    settings.nonce_lifetime_seconds = turn.nonce_time_ms.as_secs();
    settings.credentials_end_allocations = turn.credentials_end_allocations;
    settings.unauthenticated = Rate::twice(turn.unauthenticated_per_second);
    settings.binding = Rate::twice(turn.bindings_per_second);
    settings.tcp_relay = turn.tcp_relay;
    settings.mobility = turn.mobility;
    settings.old_channel_numbers = turn.old_channel_numbers;
    turn.peer_ports_deny.iter().for_each(|port| settings.peers.deny_port(*port));
    settings.discovery = match (turn.discovery, turn.udp.first()) {
        (Some(other), Some(primary)) => Some(Discovery { primary: *primary, other }),
        (Some(_), None) => {
            problem("discovery", "the first address is that of `udp`; set `turn.udp` too".to_owned());
            None
        }
        (None, _) => None,
    };
    turn.peers_allow.iter().for_each(|range| settings.peers.allow(range.meaning));
    turn.peers_deny.iter().for_each(|range| settings.peers.deny(range.meaning));
    match (&turn.certificate_file, &turn.private_key_file) {
        (None, None) => {}
        (Some(chain), Some(key)) => match certificates(chain, key, read) {
            Ok(tls) => config.tls_config = Some(Arc::new(tls)),
            Err(what) => problem("certificate_file", what),
        },
        _ => problem("certificate_file", "certificate and private key come together; set `private_key_file` too".to_owned()),
    }
    if problems.is_empty() { Ok(config) } else { Err(Problems::new(problems)) }
}

/// Whoever hears a request may try passwords on it, as fast as the machine goes.
fn judge_passwords(turn: &Turn, problem: &mut impl FnMut(&str, String)) {
    let Some(address) = turn.udp.iter().chain(&turn.tcp).chain(&turn.tls).find(|address| is_public(address)) else { return };
    for (name, why) in weak_passwords(turn) {
        problem("users", format!("the password of {name:?} {why}, and {address} can be reached from other machines; {PASSWORD_MEND}"));
    }
}

/// What is let pass because no other machine comes, for `omnivox check`.
pub(super) fn weaknesses(turn: &Turn, found: &mut Vec<String>) {
    for why in turn.secrets.iter().filter_map(|secret| known(secret.reveal(), true)) {
        found.push(format!("[turn]: one of `secrets` {why}; `openssl rand -hex 32` gives another one"));
    }
    found.extend(weak_passwords(turn).map(|(name, why)| format!("[turn]: the password of {name:?} in `users` {why}; {PASSWORD_MEND}")));
}

/// Users whose passwords do not hold against somebody who tries, and why.
fn weak_passwords(turn: &Turn) -> impl Iterator<Item = (&str, String)> {
    let of_user = |(name, password): (_, &str)| {
        let why = match known(password, true) {
            _ if password.starts_with("0x") => None,
            None if password.len() < PASSWORD_BYTES_MIN => Some(format!("has fewer than {PASSWORD_BYTES_MIN} bytes")),
            why => why.map(|why| format!("can be guessed: it {why}")),
        };
        Some((name, why?))
    };
    turn.users.iter().filter_map(|user| user.reveal().split_once(':')).filter_map(of_user)
}

const PASSWORD_MEND: &str = "give each user a long one, or use `secrets`; `openssl rand -hex 16` gives one";

/// The shortest password where other machines reach the relay.
const PASSWORD_BYTES_MIN: usize = 12;

/// Time-limited credentials are as strong as the secret behind them.
const SECRET_BYTES_MIN: usize = 16;

fn certificates(chain: &Path, key: &Path, read: impl Fn(&Path) -> io::Result<String>) -> Result<ServerConfig, String> {
    let text = |path: &Path| read(path).map_err(|error| format!("{}: {error}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(chain)?.as_bytes()).collect();
    let found = found.map_err(|error| format!("{}: {error}", chain.display()))?;
    let secret = PrivateKeyDer::from_pem_slice(text(key)?.as_bytes()).map_err(|error| format!("{}: {error}", key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(found, secret));
    config.map_err(|error| format!("{}: {error}", chain.display()))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    #[test]
    fn the_relay_gets_what_was_written_or_a_reason() {
        let check = |turn: &str, expected: &str| {
            let layers = Layers { file: Some(("omnivox.toml".into(), format!("[turn]\n{turn}"))), ..Layers::default() };
            let unreadable = |path: &Path| Err(io::Error::other(format!("nobody may read {}", path.display())));
            let outcome = match layers.over(Config::default()) {
                Ok(config) => relay_config(&config.turn, unreadable).map(|_| ()),
                Err(problems) => Err(problems),
            };
            match outcome {
                Ok(()) => assert_eq!(expected, "", "{turn}"),
                Err(problems) => assert!(!expected.is_empty() && problems.to_string().contains(expected), "{turn}: {problems}"),
            }
        };
        check(
            "udp = \"0.0.0.0:3478\"\nusers = [\"ana:pass\"]",
            "turn.users: the password of \"ana\" has fewer than 12 bytes, and 0.0.0.0:3478 can",
        );
        check("tls = \"[::]:5349\"\nusers = [\"ana:password-password\"]", "");
        check("tls = \"[::]:5349\"\nusers = [\"ana:password:password:\"]", "the password of \"ana\" can be guessed: it repeats itself");
        check("udp = \"127.0.0.1:3478\"\nusers = [\"ana:pass\"]", "");
        check("udp = \"0.0.0.0:3478\"\nusers = [\"ana:0x8493fbc53ba582fb4c044c456bdc40eb\"]", "");
        let published = "secrets = [\"an example secret that is long enough\"]";
        check(&format!("udp = \"0.0.0.0:3478\"\n{published}"), "turn.secrets: a secret can be guessed: it stands in documentation");
        check(&format!("udp = \"127.0.0.1:3478\"\n{published}"), "");
        check("tcp = \"0.0.0.0:3478\"\nusers = [\"ana:an example secret that is long enough\"]", "it stands in documentation");
        check("secrets = [\"1234567890123456\"]", "turn.secrets: a secret can be guessed: it counts up or down");
        check(
            "udp = \"0.0.0.0:3478\"\nusers = [\"ana:a long one, kept\"]\npeers_allow = [\"10.0.0.0/8\"]\nrelays = [\"10.0.0.4/203.0.113.4\"]",
            "",
        );
        check("users = [\"ana\"]", "turn.users: a user is written `name:password`");
        check("secrets = [\"short\"]", "turn.secrets: a secret has fewer than 16 bytes");
        check("peers_deny = [\"10.0.0.0/40\"]", "omnivox.toml:2:14: `turn.peers_deny`");
        check("users = [\"ana:0x8493fbc53ba582fb4c044c456bdc40eb\"]", "");
        check("users = [\"ana:0x84\"]", "turn.users: a precomputed key is 32");
        check("udp = \"192.0.2.1:3478\"\ndiscovery = \"192.0.2.2:3479\"", "");
        check("tcp = \"192.0.2.1:3478\"\ndiscovery = \"192.0.2.2:3479\"", "set `turn.udp` too");
        check("relays = [\"here\"]", "\"here\" is no IP address");
        check("certificate_file = \"a\"", "set `private_key_file` too");
        check("certificate_file = \"a\"\nprivate_key_file = \"b\"", "nobody may read a");
    }
}
