//! The whole server on a simulated clock, with clients whose connections are cut at random points.
//!
//! One seed decides everything that clients and publishers do: when they come, what they follow and over which transport, how many bytes pass
//! before a cut, how long they stay away. A failure prints its seed; `OMNIVOX_SEEDS=1000 cargo test -p omnivox-server --test world` runs more.
//!
//! What is counted is what `design.md` promises: *lost* (neither delivered nor covered by an announced gap), *doubled*, *reordered*.

mod client;
mod net;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use omnivox_core::app::Retention;
use omnivox_core::{App, AppId, Dialect, Limits, Namespace, Namespaces, Pattern, Permissions};
use omnivox_dialects::mercure::{Mercure, MercureSettings};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_dialects::socketio::{RecoverySettings, SocketIo, SocketIoSettings};
use omnivox_server::{Server, ServerConfig};

use client::{Follower, Transport};
use net::{Net, Random};

/// What one run is like.
struct Scenario {
    followers: usize,
    publications: u64,
    retention: Retention,
    shard_queue_max: usize,
    outbox_bytes_hard: usize,
    /// A connection is cut after at most so many bytes.
    cut_after_max: u64,
    /// Whether clients may be told of gaps.
    gaps_allowed: bool,
}

const CHANNELS: [&str; 3] = ["alpha", "beta", "gamma"];

/// Patterns, and which of the channels they mean.
const PATTERNS: [(&str, &[&str]); 3] = [("*", &CHANNELS), ("al*", &["alpha"]), ("{name}", &CHANNELS)];

/// The same in the words of Mercure's generations.
const SELECTORS: [(&str, &[&str]); 4] = [
    ("topic=*", &CHANNELS),
    ("topic=%7Bname%7D&topic=alpha", &CHANNELS),
    ("match_urlpattern=*", &CHANNELS),
    ("match=beta&match_urlpattern=/.well-known/al*", &["alpha", "beta"]),
];

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("OMNIVOX_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    0..count
}

fn run(name: &str, scenario: &Scenario) {
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let local = tokio::task::LocalSet::new();
        let tally = local.block_on(&runtime, simulate(scenario, seed));
        println!("{name}, seed {seed}: {tally:?}");
        assert_eq!((tally.lost, tally.doubled, tally.reordered), (0, 0, 0), "{name}: seed {seed} breaks a promise: {tally:?}");
        assert!(scenario.gaps_allowed || tally.gaps == 0, "{name}: seed {seed} had gaps although everything was kept: {tally:?}");
        assert!(tally.received > 0 && tally.cuts > 0, "{name}: seed {seed} tested nothing: {tally:?}");
        assert_eq!(tally.members_left, 0, "{name}: seed {seed}: presence entries outlive their sessions");
    }
}

#[derive(Debug, Default)]
struct Tally {
    received: usize,
    cuts: usize,
    gaps: usize,
    lost: usize,
    doubled: usize,
    reordered: usize,
    members_left: usize,
}

async fn simulate(scenario: &Scenario, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let start = tokio::time::Instant::now();
    let server = Server::simulate(config(scenario, start)).unwrap();
    let net = Rc::new(Net::new(server, 2));
    // The channels' first publications give every follower something to resume from.
    let published: Rc<RefCell<BTreeMap<&'static str, u64>>> = Rc::default();
    let followers: Vec<Rc<RefCell<Follower>>> = (0..scenario.followers)
        .map(|index| {
            let transports = [Transport::WebSocket, Transport::EventStream, Transport::Poll, Transport::Mercure, Transport::SocketIo];
            let transport = transports[index % transports.len()];
            if transport == Transport::Mercure && index % 2 == 1 {
                let (selectors, channels) = SELECTORS[random.below(4) as usize];
                return Rc::new(RefCell::new(Follower::by_pattern(transport, selectors, channels.to_vec())));
            }
            if index % 2 == 1 && transport != Transport::SocketIo {
                let (pattern, channels) = PATTERNS[random.below(3) as usize];
                return Rc::new(RefCell::new(Follower::by_pattern(transport, pattern, channels.to_vec())));
            }
            let channels: Vec<&'static str> = match transport {
                Transport::WebSocket | Transport::SocketIo => vec![CHANNELS[random.below(3) as usize]],
                Transport::EventStream | Transport::Poll | Transport::Mercure => CHANNELS[..=random.below(3) as usize].to_vec(),
            };
            Rc::new(RefCell::new(Follower::new(transport, channels)))
        })
        .collect();
    let tasks: Vec<_> = followers
        .iter()
        .map(|follower| {
            let (net, follower, random) = (net.clone(), follower.clone(), random.fork());
            tokio::task::spawn_local(client::follow(net, follower, random, scenario.cut_after_max))
        })
        .collect();
    // Socket.IO is there after four ways to and fro, of which each may take a while.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let publishers: Vec<_> = (0..3)
        .map(|which| {
            let (net, published, random) = (net.clone(), published.clone(), random.fork());
            let most = scenario.publications;
            tokio::task::spawn_local(client::publish(net, published, CHANNELS[which], most, random))
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    // Everyone has time to come back and read the rest.
    net.heal();
    tokio::time::sleep(Duration::from_secs(120)).await;
    net.sweep();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    net.cut_all();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut tally = Tally { cuts: net.cuts(), members_left: net.members("alpha").await, ..Tally::default() };
    let published = published.borrow();
    for follower in &followers {
        let follower = follower.borrow();
        tally.received += follower.received();
        tally.gaps += follower.gaps();
        let verdict = follower.judge(&published);
        if std::env::var_os("OMNIVOX_DEBUG").is_some() {
            println!("{follower:?} {verdict:?}");
        }
        tally.lost += verdict.lost;
        tally.doubled += verdict.doubled;
        tally.reordered += verdict.reordered;
    }
    tally
}

fn config(scenario: &Scenario, start: tokio::time::Instant) -> ServerConfig {
    let mut all = Namespace::new("", Pattern::All);
    all.anonymous = Permissions::CLIENT;
    all.history = scenario.retention;
    let app = App::new(AppId::parse("world").unwrap(), Namespaces::new(vec![all]));
    let dialects: Vec<Arc<dyn Dialect>> = vec![
        Arc::new(Native::new(NativeSettings::default())),
        Arc::new(Mercure::new(MercureSettings::default())),
        Arc::new(SocketIo::new(SocketIoSettings { recovery: Some(RecoverySettings::default()), ..SocketIoSettings::default() })),
    ];
    let mut config = ServerConfig::new(Vec::new(), vec![omnivox_auth::Settings::open(Arc::new(app))], dialects);
    config.shards = Some(2);
    config.clock = Arc::new(move || 1_000_000 + start.elapsed().as_millis() as u64);
    config.limits = Limits {
        shard_queue_max: scenario.shard_queue_max,
        outbox_bytes_hard: scenario.outbox_bytes_hard,
        outbox_bytes_soft: scenario.outbox_bytes_hard / 2,
        ..Limits::default()
    };
    config
}

fn keep(count_max: usize) -> Retention {
    Retention { count_max, age_max: Duration::from_secs(3600), bytes_max: 16 << 20 }
}

#[test]
fn cuts_lose_nothing_while_history_lasts() {
    let scenario = Scenario {
        followers: 15,
        publications: 150,
        retention: keep(10_000),
        shard_queue_max: 65_536,
        outbox_bytes_hard: 4 << 20,
        cut_after_max: 4_000,
        gaps_allowed: false,
    };
    run("cuts", &scenario);
}

#[test]
fn what_history_forgot_is_an_announced_gap() {
    let scenario = Scenario {
        followers: 15,
        publications: 200,
        retention: keep(5),
        shard_queue_max: 65_536,
        outbox_bytes_hard: 4 << 20,
        cut_after_max: 2_000,
        gaps_allowed: true,
    };
    run("short history", &scenario);
}

#[test]
fn full_shard_queues_are_read_again() {
    let scenario = Scenario {
        followers: 15,
        publications: 200,
        retention: keep(10_000),
        shard_queue_max: 1,
        outbox_bytes_hard: 4 << 20,
        cut_after_max: 100_000,
        gaps_allowed: false,
    };
    run("full queues", &scenario);
}

#[test]
fn slow_readers_are_cut_off_and_resume() {
    let scenario = Scenario {
        followers: 15,
        publications: 200,
        retention: keep(10_000),
        shard_queue_max: 65_536,
        outbox_bytes_hard: 3_000,
        cut_after_max: 50_000,
        gaps_allowed: true,
    };
    run("slow readers", &scenario);
}
