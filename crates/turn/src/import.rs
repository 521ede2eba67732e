//! coturn's `turnserver.conf` becomes a [`Config`], with a warning for everything that can't be taken over.
//!
//! ```
//! let imported = omnivox_turn::import::turnserver_conf("listening-port=3478\nuse-auth-secret\nstatic-auth-secret=north\nrealm=example.org\n");
//! assert_eq!(imported.config.settings.realm, "example.org");
//! assert!(imported.warnings.is_empty());
//! ```
//!
//! Invariant: no line is left out in silence; what is neither taken over nor known to be needless is a warning with its
//! line number.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::config::{Config, RelayAddress};
use crate::credentials::{AnyOf, Authorize, RestSecrets, Secret, StaticUsers};
use crate::proto::machine::Discovery;
use crate::proto::policy::AddressRange;

/// Something that was not taken over as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line of the file, from 1; 0 concerns the file as a whole.
    pub line: usize,
    /// What, and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.text),
            line => write!(formatter, "line {line}: {}", self.text),
        }
    }
}

/// The outcome of an import.
#[derive(Debug)]
pub struct Imported {
    /// The relay's settings. TLS certificates are not loaded: see [`tls_files`](Self::tls_files).
    pub config: Config,
    /// `cert` and `pkey`: the files that a TLS configuration is to be made of.
    pub tls_files: Option<(String, String)>,
    /// Secrets of time-limited credentials, for whoever writes the settings file.
    pub secrets: Vec<String>,
    /// Users with their passwords or keys, for whoever writes the settings file.
    pub users: Vec<(String, String)>,
    /// What was not taken over.
    pub warnings: Vec<Warning>,
}

/// Options that say nothing this relay needs to be told.
const NEEDLESS: &[&str] = &[
    "fingerprint",
    "lt-cred-mech",
    "verbose",
    "Verbose",
    "log-file",
    "no-stdout-log",
    "syslog",
    "simple-log",
    "new-log-timestamp",
    "new-log-timestamp-format",
    "log-binding",
    "pidfile",
    "proc-user",
    "proc-group",
    "daemon",
    "no-cli",
    "no-software-attribute",
    "no-tlsv1",
    "no-tlsv1_1",
    "no-multicast-peers",
    "no-rfc5780",
    "no-stun-backward-compatibility",
    "response-origin-only-with-rfc5780",
    "no-dtls",
    "secure-stun",
    "dh566",
    "dh1066",
    "dh-file",
    "no-tcp-relay",
    "check-origin-consistency",
    "prod",
    "use-auth-secret",
    "no-http",
    "no-prometheus",
    "cpus",
    "no-dynamic-ip-list",
    "no-dynamic-realms",
];

#[derive(Default)]
struct Reading {
    addresses: Vec<IpAddr>,
    port: Option<u16>,
    tls_port: Option<u16>,
    alternate_port: Option<u16>,
    relays: Vec<IpAddr>,
    external: Vec<(IpAddr, Option<IpAddr>)>,
    ports: (Option<u16>, Option<u16>),
    no_udp: bool,
    no_tcp: bool,
    no_tls: bool,
    discovery: bool,
    allow_loopback: bool,
    rest: bool,
    separator: Option<char>,
    certificate: Option<String>,
    key: Option<String>,
    secrets: Vec<String>,
    users: Vec<(String, String)>,
    warnings: Vec<Warning>,
}

/// Reads a `turnserver.conf`.
#[must_use]
pub fn turnserver_conf(text: &str) -> Imported {
    let mut config = Config::new(Arc::new(AnyOf::default()));
    config.settings.realm = "omnivox".into();
    let mut reading = Reading::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, ""), |(name, value)| (name.trim(), value.trim()));
        let value = value.trim_matches('"');
        if let Err(text) = reading.take(name, value, &mut config) {
            reading.warnings.push(Warning { line: number + 1, text });
        }
    }
    reading.finish(config)
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}={value} can't be read; the default stays"))
}

/// coturn's ranges have no form with a prefix in their documentation, but it takes one.
fn range(name: &str, value: &str) -> Result<AddressRange, String> {
    value.parse().map_err(|error| format!("{name}: {error}"))
}

impl Reading {
    fn take(&mut self, name: &str, value: &str, config: &mut Config) -> Result<(), String> {
        let settings = &mut config.settings;
        match name {
            "listening-ip" => self.addresses.push(read(name, value)?),
            "listening-port" => self.port = Some(read(name, value)?),
            "tls-listening-port" => self.tls_port = Some(read(name, value)?),
            "alt-listening-port" => self.alternate_port = Some(read(name, value)?),
            "relay-ip" => self.relays.push(read(name, value)?),
            "external-ip" => self.external.push(external(value)?),
            "min-port" => self.ports.0 = Some(read(name, value)?),
            "max-port" => self.ports.1 = Some(read(name, value)?),
            "relay-threads" => config.workers = read(name, value)?,
            "realm" => value.clone_into(&mut settings.realm),
            "server-name" if settings.realm == "omnivox" => value.clone_into(&mut settings.realm),
            "server-name" => {}
            "static-auth-secret" => {
                self.rest = true;
                self.secrets.push(value.to_owned());
            }
            "rest-api-separator" => self.separator = value.chars().next(),
            "user" => {
                let (user, password) = value.split_once(':').ok_or("user needs NAME:PASSWORD; the user is left out")?;
                self.users.push((user.to_owned(), password.to_owned()));
            }
            "user-quota" => settings.quotas.user_max = no_zero(read(name, value)?),
            "total-quota" => settings.quotas.total_max = no_zero(read(name, value)?),
            "max-bps" => settings.bytes_per_second = read(name, value)?,
            "bps-capacity" => {
                return Err(
                    "bps-capacity bounds the whole server; set bytes_per_second per allocation, or per user in the credential".into()
                );
            }
            "max-allocate-lifetime" => settings.lifetime_max_seconds = read(name, value)?,
            "channel-lifetime" => settings.channel_seconds = read(name, value)?,
            "permission-lifetime" => settings.permission_seconds = read(name, value)?,
            "stale-nonce" if matches!(value, "" | "0") => {}
            "stale-nonce" => settings.nonce_lifetime_seconds = read(name, value)?,
            "allowed-peer-ip" => settings.peers.allow(range(name, value)?),
            "denied-peer-ip" => settings.peers.deny(range(name, value)?),
            "allow-loopback-peers" => self.allow_loopback = true,
            "mobility" => settings.mobility = true,
            "rfc5780" => self.discovery = true,
            "no-udp" => self.no_udp = true,
            "no-tcp" => self.no_tcp = true,
            "no-tls" => self.no_tls = true,
            "cert" => self.certificate = Some(value.to_owned()),
            "pkey" => self.key = Some(value.to_owned()),
            _ if NEEDLESS.contains(&name) => {}
            _ => return Err(unsupported(name)),
        }
        Ok(())
    }

    fn finish(mut self, mut config: Config) -> Imported {
        self.listeners(&mut config);
        self.relay_addresses(&mut config);
        let (low, high) = (self.ports.0.unwrap_or(49_152), self.ports.1.unwrap_or(65_535));
        config.ports = low..=high;
        if self.allow_loopback {
            for loopback in ["127.0.0.0/8", "::1"] {
                config.settings.peers.allow(loopback.parse().expect("a range"));
            }
        }
        self.credentials(&mut config);
        let tls_files = self.certificate.zip(self.key);
        Imported { config, tls_files, secrets: self.secrets, users: self.users, warnings: self.warnings }
    }

    fn listeners(&mut self, config: &mut Config) {
        if self.addresses.is_empty() {
            self.addresses = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        }
        let (port, tls_port) = (self.port.unwrap_or(3478), self.tls_port.unwrap_or(5349));
        let at = |port: u16| self.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect::<Vec<_>>();
        if !self.no_udp {
            config.udp = at(port);
        }
        if !self.no_tcp {
            config.tcp = at(port);
        }
        let has_certificate = self.certificate.is_some() && self.key.is_some();
        if !self.no_tls && has_certificate {
            config.tls = at(tls_port);
        } else if !self.no_tls && (self.certificate.is_some() || self.key.is_some()) {
            self.warnings.push(Warning { line: 0, text: "TLS needs both cert and pkey; no TLS listener".into() });
        }
        if self.discovery {
            let two: Vec<_> = self.addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
            match two[..] {
                [one, other, ..] => {
                    let alternate = self.alternate_port.unwrap_or_else(|| port.saturating_add(1));
                    config.settings.discovery =
                        Some(Discovery { primary: SocketAddr::new(one, port), other: SocketAddr::new(other, alternate) });
                }
                _ => self.warnings.push(Warning { line: 0, text: "rfc5780 needs two listening-ip lines; it stays off".into() }),
            }
        }
    }

    /// `external-ip=PUBLIC/PRIVATE` maps one address, `external-ip=PUBLIC` all of its family.
    fn relay_addresses(&mut self, config: &mut Config) {
        let listed = self.addresses.iter().copied().filter(|ip| !ip.is_unspecified()).collect();
        let own: Vec<IpAddr> = if self.relays.is_empty() { listed } else { self.relays.clone() };
        let external_of = |ip: IpAddr| {
            let exact = self.external.iter().find(|(_, private)| *private == Some(ip));
            let any = self.external.iter().find(|(public, private)| private.is_none() && public.is_ipv4() == ip.is_ipv4());
            exact.or(any).map_or(ip, |(public, _)| *public)
        };
        config.relays = own.iter().map(|ip| RelayAddress::mapped(*ip, external_of(*ip))).collect();
        if own.is_empty() {
            let pairs = self.external.iter().filter_map(|(public, private)| private.map(|private| RelayAddress::mapped(private, *public)));
            config.relays = pairs.collect();
            if config.relays.is_empty() && !self.external.is_empty() {
                let text = "external-ip without a private address needs a relay-ip or a listening-ip to map; it is left out";
                self.warnings.push(Warning { line: 0, text: text.into() });
            }
        }
    }

    fn credentials(&mut self, config: &mut Config) {
        let realm = config.settings.realm.clone();
        let mut users = StaticUsers::new(realm);
        for (name, password) in &self.users {
            if !password.starts_with("0x") {
                users.add(name, password);
            } else if let Err(error) = users.add_key(name, password) {
                self.warnings.push(Warning { line: 0, text: format!("user {name}: {error}; the user is left out") });
            }
        }
        let mut all: Vec<Arc<dyn Authorize>> = Vec::new();
        if !users.is_empty() {
            all.push(Arc::new(users));
        }
        if self.rest {
            let mut rest = RestSecrets::new(self.secrets.iter().map(Secret::new).collect());
            rest.separator = self.separator.unwrap_or(':');
            all.push(Arc::new(rest));
        }
        if all.is_empty() {
            let text = "no user and no static-auth-secret: the relay answers Binding and refuses every allocation";
            self.warnings.push(Warning { line: 0, text: text.into() });
        }
        config.authorize = Arc::new(AnyOf::new(all));
    }
}

/// coturn's zero is "no limit".
const fn no_zero(value: u32) -> u32 {
    if value == 0 { u32::MAX } else { value }
}

fn external(value: &str) -> Result<(IpAddr, Option<IpAddr>), String> {
    match value.split_once('/') {
        Some((public, private)) => Ok((read("external-ip", public)?, Some(read("external-ip", private)?))),
        None => Ok((read("external-ip", value)?, None)),
    }
}

fn unsupported(name: &str) -> String {
    let reason = match name {
        "no-auth" => "anonymous relaying is not offered; give users or a secret",
        "psql-userdb" | "mysql-userdb" | "mongo-userdb" | "redis-userdb" | "userdb" => {
            "user databases are not read; use time-limited credentials or users"
        }
        "redis-statsdb" | "prometheus" => "metrics are at the server's own address",
        "oauth" => "OAuth tokens (RFC 7635) are not supported",
        "alternate-server" | "tls-alternate-server" => "draining names the alternate server",
        "server-relay" => "relaying without permissions is not offered",
        "dtls-listening-port" => "DTLS is not offered; browsers don't use it",
        "cli-password" | "cli-ip" | "cli-port" | "web-admin" => "there is no telnet or web administration",
        "auth-secret-ttl" => "the life of a time-limited credential is in its name",
        "cipher-list" | "ec-curve-name" | "CA-file" | "pkey-pwd" => "TLS follows rustls: TLS 1.2 and 1.3 with its ciphers",
        _ => return format!("{name} is not known and was left out"),
    };
    format!("{name} was left out: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file() {
        let imported = turnserver_conf(
            "# cloud\nlistening-port=3479\nlistening-ip=10.0.0.4\nexternal-ip=203.0.113.4/10.0.0.4\nmin-port=50000\nmax-port=50999\nfingerprint\n\
             use-auth-secret\nstatic-auth-secret=north\nstatic-auth-secret=older\nrealm=example.org\nuser=ana:pw\nuser=key:0x8493fbc53ba582fb4c044c456bdc40eb\n\
             user-quota=12\ntotal-quota=0\nmax-bps=64000\nallowed-peer-ip=10.1.0.0-10.1.0.255\ndenied-peer-ip=8.8.8.8\nmobility\ncert=/a.pem\npkey=\"/b.pem\"\n",
        );
        assert_eq!(imported.warnings, []);
        let config = &imported.config;
        let at = |port| vec![SocketAddr::from(([10, 0, 0, 4], port))];
        assert_eq!((&config.udp, &config.tcp, &config.tls), (&at(3479), &at(3479), &at(5349)));
        assert_eq!(config.relays, [RelayAddress::mapped([10, 0, 0, 4].into(), [203, 0, 113, 4].into())]);
        assert_eq!(config.ports, 50_000..=50_999);
        let settings = &config.settings;
        assert_eq!((settings.realm.as_str(), settings.quotas.user_max, settings.quotas.total_max), ("example.org", 12, u32::MAX));
        assert_eq!((settings.bytes_per_second, settings.mobility), (64_000, true));
        for (peer, permitted) in [("10.1.0.7:9", true), ("10.2.0.7:9", false), ("8.8.8.8:9", false), ("8.8.4.4:9", true)] {
            assert_eq!(settings.peers.permits(peer.parse().expect("an address")), permitted, "{peer}");
        }
        assert_eq!(imported.tls_files, Some(("/a.pem".into(), "/b.pem".into())));
        assert_eq!((imported.secrets.len(), imported.users.len()), (2, 2));
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let warned = |text: &str| {
            let lines: Vec<usize> = turnserver_conf(text).warnings.iter().map(|warning| warning.line).filter(|line| *line > 0).collect();
            lines
        };
        assert_eq!(
            warned("user=a:b\nno-auth\nlistening-port=high\n\n# x\nsome-new-thing=1\nuser=nobody\ndenied-peer-ip=everything\n"),
            [2, 3, 6, 7, 8]
        );
        assert_eq!(warned("oauth\npsql-userdb=x\nprometheus\nuser=a:b"), [1, 2, 3]);
    }

    #[test]
    fn what_concerns_the_whole_file() {
        let check = |text: &str, expected: &str| {
            let all: Vec<String> = turnserver_conf(text).warnings.iter().map(ToString::to_string).collect();
            assert!(all.iter().any(|warning| warning.contains(expected)), "{text}: {all:?}");
        };
        check("", "refuses every allocation");
        check("user=a:b\ncert=/x", "both cert and pkey");
        check("user=a:b\nrfc5780", "two listening-ip");
        check("user=a:b\nexternal-ip=203.0.113.4", "external-ip without a private address");
        check("user=a:0x12", "precomputed key");
    }

    #[test]
    fn discovery_uses_two_addresses() {
        let imported = turnserver_conf("listening-ip=192.0.2.1\nlistening-ip=192.0.2.2\nrfc5780\nuser=a:b\n");
        let discovery = imported.config.settings.discovery.expect("on");
        assert_eq!(
            discovery.addresses().map(|address| address.to_string()),
            ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"]
        );
    }
}
