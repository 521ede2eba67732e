//! `bench neighbours`: what a flood does to those who are not in it.
//!
//! Subscribers and a publisher go on all the time. In each round come, in turning order: *quiet*; *elsewhere*, the flood directed at a process that does
//! nothing with it, which is what it costs the machine; and *flood*, directed at the server. What *flood* has beyond *elsewhere* is the server's.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::clock::Clock;
use crate::fanout::{channel_name, drive};
use crate::fleet::Fleet;
use crate::flood::{Flood, Going};
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::process::Process;
use crate::progress::Bar;
use crate::publisher::{Door, Extent, Pace, Plan, Publisher};
use crate::report::neighbours::{Phase, Report, Turn};
use crate::server::{Invocation, Server, own_program};
use crate::talk::{Purpose, Transport};

/// How a run beside floods is made.
#[derive(Debug, Clone, Args)]
pub struct NeighboursOptions {
    /// The program that is measured; it understands `serve` (default: this one)
    #[arg(long, value_name = "PATH")]
    pub spawn: Option<String>,

    /// Which flood (default: each, one after the other)
    #[arg(long, value_enum)]
    pub flood: Option<Flood>,

    /// Subscribers who are not in it
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,

    /// Messages that each of them gets in a second
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,

    /// How long each phase lasts
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,

    /// Rounds of the three phases
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Where the server's output goes (default: nowhere)
    #[arg(long, value_name = "FILE")]
    pub server_log: Option<std::path::PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Runs `bench neighbours`.
pub(crate) fn neighbours(options: &NeighboursOptions, invocation: &Invocation) -> Result<Vec<Report>> {
    let floods = options.flood.map_or_else(|| Flood::ALL.to_vec(), |flood| vec![flood]);
    floods.into_iter().map(|flood| measure(options, flood, invocation).context(flood.name())).collect()
}

fn measure(options: &NeighboursOptions, flood: Flood, invocation: &Invocation) -> Result<Report> {
    ensure!(invocation.serves || options.spawn.is_some(), "say which server to measure: --spawn PATH");
    let keys = KeySet::serve()?;
    let program = options.spawn.clone().map_or_else(own_program, Ok)?;
    let server = Server::start_secure("omnivox", program, &keys.settings(), options.server_log.as_deref())?;
    let sink = Server::start_sink(invocation, flood.sink_options())?;
    let process = server.process_needed()?;
    let clock = Clock::start();
    let count = options.subscribers as usize;
    let mut fleet = Fleet::new(server.publishers_address(), Transport::Ws, clock)?;
    let mut ledger = Ledger::new(count, clock);
    for member in 0..count {
        fleet.open(member, Purpose::Subscribe { channel: channel_name(0), since: None });
    }
    fleet.settle(&mut ledger, |_| ())?;
    let plan = Plan { channels: vec![(channel_name(0), count as u64)], size: 120, door: Door::Native };
    let mut publisher = Publisher::connect(server.publishers_address(), clock, plan)?;
    drive(&mut fleet, &mut ledger, &mut publisher, Pace::Rate(options.rate), Extent::Time(Duration::from_secs(1)), clock)?;
    let resident = process.resident_bytes()?;
    let mut turns = Vec::new();
    let bar = Bar::steps(u64::from(options.rounds) * 3, flood.name().to_owned());
    let time = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    for round in 0..options.rounds as usize {
        for turn in 0..Phase::ALL.len() {
            let phase = Phase::ALL[(round + turn) % Phase::ALL.len()];
            bar.say(format!("{}: round {}, {}", flood.name(), round + 1, phase.name()));
            let target = if flood.wants_tls() { server.address } else { server.publishers_address() };
            let going = match phase {
                Phase::Quiet => None,
                Phase::Elsewhere => Some(Going::begin(flood, sink.address)?),
                Phase::Flood => Some(Going::begin(flood, target)?),
            };
            let fetched = keys.fetched.load(Ordering::Relaxed);
            ledger.latency = Latency::new();
            let (cpu, begun_ns) = (process.cpu()?, clock.now_ns());
            let peak = Peak::watch(process);
            drive(&mut fleet, &mut ledger, &mut publisher, Pace::Rate(options.rate), Extent::Time(time), clock)?;
            let seconds = (clock.now_ns() - begun_ns) as f64 / 1e9;
            let of =
                |pick: fn(&crate::flood::Count) -> &AtomicU64| going.as_ref().map_or(0, |going| pick(&going.count).load(Ordering::Relaxed));
            turns.push(Turn {
                round,
                phase,
                latency: ledger.latency.percentiles(),
                cpu_share: process.cpu()?.since(cpu).seconds() / seconds,
                resident_peak: peak.end(),
                opened: of(|count| &count.opened),
                closed: of(|count| &count.closed),
                sent: of(|count| &count.sent),
                key_set_fetches: keys.fetched.load(Ordering::Relaxed) - fetched,
            });
            drop(going);
            // Everybody has gone before the next phase begins.
            drive(&mut fleet, &mut ledger, &mut publisher, Pace::Rate(options.rate), Extent::Time(REST), clock)?;
            bar.step();
        }
    }
    Ok(Report {
        flood,
        subscribers: options.subscribers,
        rate: options.rate,
        resident,
        turns,
        faults: ledger.faults(publisher.published()),
    })
}

/// The largest resident memory that was seen.
struct Peak {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Peak {
    fn watch(process: Process) -> Self {
        let stop = Arc::<std::sync::atomic::AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = process.resident_bytes().map_or(peak, |bytes| bytes.max(peak));
                if stopped.load(Ordering::Relaxed) {
                    return peak;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { stop, thread }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// An identity provider with one key that nobody uses, which counts how often it is asked.
struct KeySet {
    port: u16,
    fetched: Arc<AtomicU64>,
}

impl KeySet {
    fn serve() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (port, fetched) = (listener.local_addr()?.port(), Arc::<AtomicU64>::default());
        let count = fetched.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                // One request on each connection: `connection: close` says so.
                if stream.read(&mut head).is_ok_and(|length| length > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{KEYS}",
                        KEYS.len()
                    );
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        Ok(Self { port, fetched })
    }

    /// An app whose tokens its keys verify.
    fn settings(&self) -> String {
        format!("\n[[app]]\nid = \"keys\"\ntoken_key_set = \"http://127.0.0.1:{}/keys\"\n", self.port)
    }
}

/// The example key of RFC 7517, A.1.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","use":"sig","alg":"ES256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
/// Between two phases.
const REST: Duration = Duration::from_secs(1);
