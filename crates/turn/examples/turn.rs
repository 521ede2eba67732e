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
     [--realm REALM] [--allow RANGE] [--workers N] [--old-channels] [--tcp-relay] [--mobility] [--no-limits]";

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
