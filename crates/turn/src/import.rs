//! coturn's `turnserver.conf` becomes a [`Config`], with a warning for everything that can't be taken over.
//!
//! ```
//! let imported = omnivox_turn::import::turnserver_conf("listening-port=3478\nuse-auth-secret\nstatic-auth-secret=north-of-the-wall\nrealm=example.org\n");
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
use crate::proto::machine::{Discovery, Settings};
use crate::proto::policy::AddressRange;
use crate::proto::rate::Rate;

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
    /// Ranges that [`Settings::peers`] was given on top of its own, for whoever writes the settings file.
    pub peers_allow: Vec<AddressRange>,
    /// The same for ranges that it denies.
    pub peers_deny: Vec<AddressRange>,
    /// What was not taken over.
    pub warnings: Vec<Warning>,
}

/// Options that say nothing this relay needs to be told: it behaves so anyway, or it is a matter of coturn's logs and processes.
const NEEDLESS: &[&str] = &[
    "cpus",
    "daemon",
    "dh-file",
    "dh1066",
    "dh566",
    "drop-invalid-packets",
    "drop-invalid-packets-log",
    "fingerprint",
    "log-binding",
    "log-file",
    "log-min-level",
    "lt-cred-mech",
    "max-allocate-timeout",
    "new-log-timestamp",
    "new-log-timestamp-format",
    "no-cli",
    "no-dtls",
    "no-dynamic-ip-list",
    "no-dynamic-realms",
    "no-http",
    "no-multicast-peers",
    "no-prometheus",
    "no-rfc5780",
    "no-software-attribute",
    "no-stdout-log",
    "no-stun-backward-compatibility",
    "no-tlsv1",
    "no-tlsv1_1",
    "no-tlsv1_2",
    "pidfile",
    "proc-group",
    "proc-user",
    "response-origin-only-with-rfc5780",
    "secure-stun",
    "simple-log",
    "stateless-nonce",
    "syslog",
    "syslog-facility",
    "udp-gso",
    "udp-recvmmsg",
    "udp-recvmmsg-log",
    "udp-self-balance",
    "udp-sendmmsg-log",
    "unauthorized-ratelimit",
    "use-auth-secret",
    "verbose",
    "Verbose",
];

/// Shorter secrets can be guessed from one credential.
const SECRET_BYTES_MIN: usize = 16;

#[derive(Default)]
struct Reading {
    addresses: Vec<IpAddr>,
    port: Option<u16>,
    tls_port: Option<u16>,
    alternate_port: Option<u16>,
    auxiliary: Vec<SocketAddr>,
    relays: Vec<IpAddr>,
    external: Vec<(IpAddr, Option<IpAddr>)>,
    ports: (Option<u16>, Option<u16>),
    no_udp: bool,
    no_tcp: bool,
    no_tls: bool,
    discovery: bool,
    allow_loopback: bool,
    peers_allow: Vec<AddressRange>,
    peers_deny: Vec<AddressRange>,
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
        // `name=value`, `name value` and several of either in between, as coturn reads it.
        let between = |c: char| matches!(c, ' ' | '=' | '\t');
        let (name, value) = line.split_once(between).map_or((line, ""), |(name, value)| (name, value.trim_start_matches(between)));
        let value = value.strip_prefix('"').map_or(value, |quoted| quoted.strip_suffix('"').unwrap_or(quoted));
        if let Err(text) = reading.take(name, value, &mut config) {
            reading.warnings.push(Warning { line: number + 1, text });
        }
    }
    reading.finish(config)
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}={value} can't be read; the default stays"))
}

/// A switch is on when it stands there alone.
fn is_on(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "on" => Ok(true),
        "off" => Ok(false),
        other if other.starts_with(['y', 't', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => Ok(true),
        other if other.starts_with(['n', 'f', '0']) => Ok(false),
        _ => Err(format!("{name}={value} is neither on nor off; the line is left out")),
    }
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
            "alt-listening-port" => self.alternate_port = Some(read(name, value)?).filter(|port| *port != 0),
            "aux-server" => self.auxiliary.push(read(name, value)?),
            "relay-ip" => self.relays.push(read(name, value)?),
            "external-ip" => self.external.push(external(value)?),
            "min-port" => self.ports.0 = Some(read(name, value)?),
            "max-port" => self.ports.1 = Some(read(name, value)?),
            // Without threads of their own coturn's relays share one.
            "relay-threads" => config.workers = read::<u8>(name, value)?.max(1),
            "realm" => value.clone_into(&mut settings.realm),
            "server-name" if settings.realm == "omnivox" => value.clone_into(&mut settings.realm),
            "server-name" => {}
            "static-auth-secret" if value.len() < SECRET_BYTES_MIN => {
                return Err(format!(
                    "static-auth-secret has fewer than {SECRET_BYTES_MIN} bytes, which can be guessed from one credential; it is left out: \
                     give this relay and whoever makes credentials a longer one"
                ));
            }
            "static-auth-secret" => self.secrets.push(value.to_owned()),
            "rest-api-separator" if value != ":" => return Err("rest-api-separator: expiry and user are parted by a colon here".into()),
            "rest-api-separator" => {}
            "user" => {
                let (user, password) = value.split_once(':').ok_or("user needs NAME:PASSWORD; the user is left out")?;
                self.users.push((user.to_owned(), password.to_owned()));
            }
            "allowed-peer-ip" => {
                let range = range(name, value)?;
                settings.peers.allow(range);
                self.peers_allow.push(range);
            }
            "denied-peer-ip" => {
                let range = range(name, value)?;
                settings.peers.deny(range);
                self.peers_deny.push(range);
            }
            "cert" => self.certificate = Some(value.to_owned()),
            "pkey" => self.key = Some(value.to_owned()),
            "allow-loopback-peers" => self.allow_loopback = is_on(name, value)?,
            "mobility" => settings.mobility = is_on(name, value)?,
            "rfc5766-channel-numbers" => settings.old_channel_numbers = is_on(name, value)?,
            "rfc5780" => self.discovery = is_on(name, value)?,
            "no-udp" => self.no_udp = is_on(name, value)?,
            "no-tcp" => self.no_tcp = is_on(name, value)?,
            "no-tls" => self.no_tls = is_on(name, value)?,
            // Where a file speaks of TCP relays it means what it says; without a word they are off here.
            "no-tcp-relay" => settings.tcp_relay = !is_on(name, value)?,
            _ if NEEDLESS.contains(&name) => {}
            _ => return take_limit(name, value, settings),
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
                let range = loopback.parse().expect("a range");
                config.settings.peers.allow(range);
                self.peers_allow.push(range);
            }
        }
        self.credentials(&mut config);
        let tls_files = self.certificate.zip(self.key);
        Imported {
            config,
            tls_files,
            secrets: self.secrets,
            users: self.users,
            peers_allow: self.peers_allow,
            peers_deny: self.peers_deny,
            warnings: self.warnings,
        }
    }

    fn listeners(&mut self, config: &mut Config) {
        if self.addresses.is_empty() {
            self.addresses = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        }
        let (port, tls_port) = (self.port.unwrap_or(3478), self.tls_port.unwrap_or(5349));
        let at = |port: u16| self.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect::<Vec<_>>();
        if !self.no_udp {
            config.udp = [at(port), self.auxiliary.clone()].concat();
        }
        if !self.no_tcp {
            config.tcp = [at(port), self.auxiliary.clone()].concat();
        }
        let has_certificate = self.certificate.is_some() && self.key.is_some();
        if !self.no_tls && has_certificate {
            config.tls = at(tls_port);
        } else if !self.no_tls && (self.certificate.is_some() || self.key.is_some()) {
            self.warnings.push(Warning { line: 0, text: "TLS needs both cert and pkey; no TLS listener".into() });
        }
        if !self.discovery && self.alternate_port.is_some() {
            self.warnings.push(Warning { line: 0, text: "alt-listening-port serves RFC 5780 alone, which is off without rfc5780".into() });
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
    fn relay_addresses(&self, config: &mut Config) {
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
            if config.relays.is_empty() {
                // Relays on every address, which the world sees as that one.
                let any = |public: IpAddr| if public.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                config.relays = self.external.iter().map(|(public, _)| RelayAddress::mapped(any(*public), *public)).collect();
            }
        }
    }

    fn credentials(&mut self, config: &mut Config) {
        let realm = config.settings.realm.clone();
        let mut users = StaticUsers::new(realm);
        let warnings = &mut self.warnings;
        self.users.retain(|(name, password)| {
            if !password.starts_with("0x") {
                users.add(name, password);
                return true;
            }
            let added = users.add_key(name, password);
            warnings.extend(added.err().map(|error| Warning { line: 0, text: format!("user {name}: {error}; the user is left out") }));
            added.is_ok()
        });
        let mut all: Vec<Arc<dyn Authorize>> = Vec::new();
        if !users.is_empty() {
            all.push(Arc::new(users));
        }
        if !self.secrets.is_empty() {
            all.push(Arc::new(RestSecrets::new(self.secrets.iter().map(Secret::new).collect())));
        }
        if all.is_empty() {
            let text = "no user and no static-auth-secret: the relay answers Binding and refuses every allocation";
            self.warnings.push(Warning { line: 0, text: text.into() });
        }
        config.authorize = Arc::new(AnyOf::new(all));
    }
}

/// Numbers that bound something.
fn take_limit(name: &str, value: &str, settings: &mut Settings) -> Result<(), String> {
    match name {
        "user-quota" => settings.quotas.user_max = no_zero(read(name, value)?),
        "total-quota" => settings.quotas.total_max = no_zero(read(name, value)?),
        // coturn allows so much in each direction, this relay counts them together.
        "max-bps" => settings.bytes_per_second = read::<u64>(name, value)?.saturating_mul(2),
        "bps-capacity" => settings.quotas.total_bytes_per_second = read::<u64>(name, value)?.saturating_mul(2),
        "max-allocate-lifetime" => {
            settings.lifetime_max_seconds = read(name, value)?;
            settings.lifetime_default_seconds = settings.lifetime_default_seconds.min(settings.lifetime_max_seconds);
        }
        "channel-lifetime" if value == "600" => {}
        "permission-lifetime" if value == "300" => {}
        "stale-nonce" if matches!(value, "" | "0") => {}
        "stale-nonce" => settings.nonce_lifetime_seconds = read(name, value)?,
        "unauthorized-ratelimit-rps" => settings.unauthenticated = Rate::twice(read(name, value)?),
        _ => return Err(unsupported(name, value)),
    }
    Ok(())
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

fn unsupported(name: &str, value: &str) -> String {
    let reason = match name {
        "no-auth" => "anonymous relaying is not offered; give users or a secret",
        "psql-userdb" | "mysql-userdb" | "mongo-userdb" | "redis-userdb" | "userdb" | "secret-key-file" => {
            "user databases are not read; use time-limited credentials or users"
        }
        "redis-statsdb" => "metrics are at the server's own address",
        _ if name.starts_with("prometheus") => "metrics are at the server's own address",
        "oauth" => "OAuth tokens (RFC 7635) are not supported",
        "alternate-server" | "tls-alternate-server" => "load is not passed on to other servers; list them all in `urls`",
        "server-relay" => "relaying without permissions is not offered",
        "multiplex-peer" | "multiplex-peer-port" | "multiplex-peer-max-peers" => "every relay has a port of its own",
        "dtls" | "dtls-listening-port" => "DTLS is not offered; browsers don't use it",
        _ if name.starts_with("cli-") || name.starts_with("web-admin") => "there is no telnet or web administration",
        "auth-secret-ttl" => "the life of a time-limited credential is in its name",
        "cipher-list" | "ec-curve-name" | "CA-file" => "TLS follows rustls: TLS 1.2 and 1.3 with its ciphers",
        "pkey-pwd" => "a private key with a password is not read; `openssl pkey` takes it off",
        "acme-redirect" => "the relay answers no HTTP",
        "listening-device" | "relay-device" => "name addresses instead of devices",
        "tcp-proxy-port" => "the relay takes no PROXY protocol",
        "sock-buf-size" => "the buffers are 1 MiB for each relay and 4 MiB for each listener, as far as the kernel allows",
        "alt-listening-port" | "alt-tls-listening-port" => "other ports serve RFC 5780 alone; see `discovery`",
        "channel-lifetime" | "permission-lifetime" => "channels last 600 seconds and permissions 300, as the standard has it",
        "no-udp-relay" => "UDP relays are what it is for",
        "stun-only" => "without users and secrets it answers Binding alone",
        "no-stun" => "Binding is always answered",
        "check-origin-consistency" => "ORIGIN is not looked at",
        "keep-address-family" | "allocation-default-address-family" => "a client that names no family gets IPv4, as the standard has it",
        "stateless-nonce-secret" => "set `nonce_secret` to the same text on all nodes of this kind",
        "drain-min-allocations" => "draining has a time and no number",
        "rfc3489-compatibility" | "stun-backward-compatibility" => "clients of before 2008 are not served",
        "respond-http-unsupported" | "include-reason-string" => "answers to strangers are kept short",
        "raw-public-keys" | "tlsv1" | "tlsv1_1" => "TLS is 1.2 and 1.3 with certificates",
        "software-attribute" => "its version is nobody's business",
        _ => return format!("{name} is not known and was left out"),
    };
    format!("{name}{}{value} was left out: {reason}", if value.is_empty() { "" } else { "=" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file() {
        let imported = turnserver_conf(
            "# cloud\nlistening-port=3479\nlistening-ip=10.0.0.4\nexternal-ip=203.0.113.4/10.0.0.4\nmin-port=50000\nmax-port=50999\nfingerprint\n\
             use-auth-secret\nstatic-auth-secret=a secret that is long\nstatic-auth-secret=another that is long\nrealm=example.org\nuser=ana:pw\nuser=key:0x8493fbc53ba582fb4c044c456bdc40eb\n\
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
        assert_eq!((settings.bytes_per_second, settings.mobility), (128_000, true));
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
        check("user=a:b\nalt-listening-port=3479", "which is off without rfc5780");
        check("user=a:0x12", "precomputed key");
    }

    #[test]
    fn lines_are_read_as_coturn_reads_them() {
        let check = |text: &str, expected: (&str, bool, Option<u16>)| {
            let config = turnserver_conf(&format!("user=a:b\n{text}")).config;
            let port = config.tcp.first().map(SocketAddr::port);
            assert_eq!((config.settings.realm.as_str(), config.settings.mobility, port), expected, "{text}");
        };
        check("realm = \"north south\"\nmobility=0", ("north south", false, Some(3478)));
        check("realm\tnorth\nmobility yes\nno-tcp=off", ("north", true, Some(3478)));
        check("server-name north.example\nmobility=False\nno-tcp=1", ("north.example", false, None));
        check("#realm=x\n  # realm=x\nmobility=maybe\nno-tcp", ("omnivox", false, None));
    }

    #[test]
    fn an_external_address_alone_is_that_of_every_relay() {
        let imported =
            turnserver_conf("user=a:b\nexternal-ip=203.0.113.4\naux-server=192.0.2.1:443\nuser=c:0x12\nstatic-auth-secret=short");
        let any = RelayAddress::mapped([0, 0, 0, 0].into(), [203, 0, 113, 4].into());
        assert_eq!((imported.config.relays, imported.config.udp.len()), (vec![any], 3));
        assert_eq!((imported.users.len(), imported.secrets.len(), imported.warnings.len()), (1, 0, 2));
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
