//! A relay on the command line, for trying out and for measuring.
//!
//! ```text
//! cargo run -p omnivox-turn --example turn -- --udp 127.0.0.1:3478 --user alice:secret --allow 127.0.0.0/8
//! ```
//!
//! It prints where it listens, one line each, and serves until its standard input ends.

use std::error::Error;
use std::io::Read as _;
use std::sync::Arc;

use omnivox_turn::credentials::{AnyOf, Authorize, RestSecrets, Secret, StaticUsers};
use omnivox_turn::{Config, RelayAddress, TurnServer};

const USAGE: &str = "turn [--udp ADDRESS] [--tcp ADDRESS] [--relay IP[/EXTERNAL]] [--ports LOW-HIGH] [--user NAME:PASSWORD] [--secret SECRET] \
     [--realm REALM] [--allow RANGE] [--workers N] [--self-signed PEM-FILE-TO-WRITE] [--old-channels] [--tcp-relay] [--mobility] [--no-limits]";

fn main() -> Result<(), Box<dyn Error>> {
    let relay = TurnServer::start(config(std::env::args().skip(1))?)?;
    for bound in relay.bound() {
        println!("{:?} {}", bound.transport, bound.address);
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    let stats = relay.stats();
    for (name, _, value) in stats.counters.entries().into_iter().filter(|(_, _, value)| *value > 0) {
        eprintln!("{name} {value}");
    }
    relay.join();
    Ok(())
}

fn config(mut arguments: impl Iterator<Item = String>) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::new(Arc::new(AnyOf::default()));
    let (mut users, mut secrets) = (Vec::new(), Vec::new());
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--tcp-relay" => config.settings.tcp_relay = true,
            "--old-channels" => config.settings.old_channel_numbers = true,
            "--mobility" => config.settings.mobility = true,
            "--no-limits" => no_limits(&mut config),
            _ => {
                let value = arguments.next().ok_or(USAGE)?;
                match option.as_str() {
                    "--udp" => config.udp.push(value.parse()?),
                    "--tcp" => config.tcp.push(value.parse()?),
                    "--realm" => config.settings.realm = value,
                    "--workers" => config.workers = value.parse()?,
                    "--allow" => config.settings.peers.allow(value.parse()?),
                    "--user" => users.push(value),
                    "--secret" => secrets.push(Secret::new(value)),
                    "--self-signed" => config.tls_config = Some(self_signed(&value)?),
                    "--relay" => {
                        let (bind, external) = value.split_once('/').unwrap_or((&value, &value));
                        config.relays.push(RelayAddress::mapped(bind.parse()?, external.parse()?));
                    }
                    "--ports" => {
                        let (low, high) = value.split_once('-').ok_or(USAGE)?;
                        config.ports = low.parse()?..=high.parse()?;
                    }
                    _ => return Err(USAGE.into()),
                }
            }
        }
    }
    let mut known = StaticUsers::new(config.settings.realm.clone());
    for user in users {
        let (name, password) = user.split_once(':').ok_or(USAGE)?;
        known.add(name, password);
    }
    let rest: Arc<dyn Authorize> = Arc::new(RestSecrets::new(secrets));
    config.authorize = Arc::new(AnyOf::new(vec![Arc::new(known), rest]));
    Ok(config)
}

/// For measuring: everything comes from one address and one user.
fn no_limits(config: &mut Config) {
    config.settings.unauthenticated.per_second = 0;
    config.settings.binding.per_second = 0;
    config.settings.quotas.user_max = u32::MAX;
    config.settings.quotas.source_max = u32::MAX;
}

/// TLS on the TCP listeners, with a certificate for loopback whose PEM is written to a file.
fn self_signed(path: &str) -> Result<Arc<rustls::ServerConfig>, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    std::fs::write(path, made.cert.pem())?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?))
}
