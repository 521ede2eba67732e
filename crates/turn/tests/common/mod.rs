//! A relay on loopback for the tests that drive it with other people's clients, and running those clients with a bound
//! on their time.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnivox_turn::credentials::{AnyOf, RestSecrets, Secret, StaticUsers};
use omnivox_turn::{Config, Handle, RelayAddress, Transport, TurnServer};

pub(crate) const SECRET: &str = "north";
pub(crate) const REALM: &str = "omnivox";

/// The test profile: loopback peers, UDP and TCP and TLS, IPv4 and IPv6 relays, ports below the ephemeral range.
pub(crate) struct Relay {
    pub(crate) handle: Handle,
    pub(crate) udp: SocketAddr,
    /// Takes TLS as well.
    pub(crate) tcp: SocketAddr,
    /// The certificate authority of its TLS certificate, as a PEM file.
    pub(crate) ca: PathBuf,
}

impl Relay {
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut users = StaticUsers::new(REALM);
        users.add("alice", "secret");
        let rest = RestSecrets::new(vec![Secret::new(SECRET)]);
        let mut config = Config::new(Arc::new(AnyOf::new(vec![Arc::new(users), Arc::new(rest)])));
        let loopback = "127.0.0.1:0".parse().expect("an address");
        (config.udp, config.tcp) = (vec![loopback], vec![loopback]);
        config.relays = vec![RelayAddress::direct([127, 0, 0, 1].into()), RelayAddress::direct("::1".parse().expect("an address"))];
        config.ports = 20_000..=27_999;
        config.workers = 2;
        config.settings.realm = REALM.into();
        config.settings.unauthenticated.per_second = 0;
        // coturn's client draws channel numbers from the whole old range.
        config.settings.old_channel_numbers = true;
        config.settings.peers.allow("127.0.0.0/8".parse().expect("a range"));
        config.settings.peers.allow("::1".parse().expect("a range"));
        let (tls, ca) = certificate();
        config.tls_config = Some(tls);
        change(&mut config);
        let handle = TurnServer::start(config).expect("the relay starts");
        let (udp, tcp) = (handle.address(Transport::Udp).expect("bound"), handle.address(Transport::Tcp).expect("bound"));
        Self { handle, udp, tcp, ca }
    }
}

fn certificate() -> (Arc<rustls::ServerConfig>, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let ca = std::env::temp_dir().join(format!("omnivox-turn-{}-{:?}.pem", std::process::id(), std::thread::current().id()));
    std::fs::write(&ca, made.cert.pem()).expect("a file");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a TLS configuration");
    (Arc::new(config), ca)
}

/// The path of a tool of Debian's `coturn`.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = PathBuf::from("/usr/bin").join(name);
    assert!(path.exists(), "{name} is missing: run `cargo xtask setup`, which installs Debian's coturn");
    path
}

/// A port below the ephemeral range that nobody has now.
pub(crate) fn free_port(ip: &str) -> u16 {
    let ip: std::net::IpAddr = ip.parse().expect("an address");
    let start = 28_000 + u16::try_from(std::process::id() % 2000).expect("below 2,000");
    let free = |port: &u16| UdpSocket::bind((ip, *port)).is_ok() && TcpListener::bind((ip, *port)).is_ok();
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    (0..2000).map(|_| start + NEXT.fetch_add(2, Ordering::Relaxed) % 2000).find(free).expect("a free port")
}

/// What a client printed, and whether it was content.
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) text: String,
}

pub(crate) fn run(command: &mut Command) -> Outcome {
    run_for(command, 20)
}

/// Runs a client; one that takes longer than it may is killed and has failed.
pub(crate) fn run_for(command: &mut Command, seconds: u64) -> Outcome {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the client starts");
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read_out = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = out.read_to_end(&mut text);
        text
    });
    let read_err = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.read_to_end(&mut text);
        text
    });
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let success = loop {
        match child.try_wait().expect("our child") {
            Some(status) => break status.success(),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = [read_out.join().expect("no panic"), read_err.join().expect("no panic")].concat();
    Outcome { success, text: String::from_utf8_lossy(&text).into_owned() }
}
