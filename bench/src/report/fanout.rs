//! What a fan-out run found.

use serde::Serialize;
use serde_json::{Value, json};

use crate::latency::{Latency, Percentiles, median};
use crate::process::CpuTime;
use crate::sequence::Faults;
use crate::table::{Table, microseconds, or_dash};
use crate::talk::Transport;

/// All contenders of one run; the server under test is the first.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) transport: Transport,
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
    pub(crate) size_bytes: usize,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) window: Option<u64>,
    pub(crate) seconds: f64,
    pub(crate) contenders: Vec<Contender>,
}

/// One server's rounds.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Measurement>,
}

/// One contender's turn in one round.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    pub(crate) server_cpu: Option<CpuTime>,
    pub(crate) generator_cpu: CpuTime,
    pub(crate) bytes: u64,
    pub(crate) latency: Latency,
    pub(crate) publisher_lateness: Latency,
    pub(crate) faults: Faults,
}

/// What a contender's rounds say together.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    name: String,
    deliveries: u64,
    deliveries_per_s: f64,
    /// Median, lowest and highest of the rounds.
    cpu_us_per_delivery: Option<[f64; 3]>,
    cpu_user_share: Option<f64>,
    latency_us: Percentiles,
    publisher_lateness_us: Percentiles,
    bytes_per_delivery: f64,
    generator_cpu_us_per_delivery: f64,
    faults: Faults,
}

impl Report {
    /// Nothing lost, doubled or reordered, with anybody.
    pub(crate) fn clean(&self) -> bool {
        self.contenders.iter().all(|contender| contender.faults().none())
    }

    /// What was run, in a few words.
    pub(crate) fn subject(&self) -> String {
        let transport = format!("{:?}", self.transport).to_lowercase();
        let channels = match self.channels {
            1 => String::new(),
            count => format!(" in {count} channels"),
        };
        let pace = match (self.rate_per_s, self.window) {
            (Some(rate), _) => format!("{rate} messages/s"),
            (None, window) => format!("saturated, {} on their way", window.unwrap_or(0)),
        };
        let (bench, subscribers, size) = (self.bench, self.subscribers, self.size_bytes);
        format!("{bench}: {subscribers} {transport} subscribers{channels}, {size} B, {pace}")
    }

    pub(crate) fn render(&self) -> String {
        let summaries = self.summaries();
        let mut text = format!("{}, {} s a round\n\n", self.subject(), self.seconds);
        text.push_str(&costs(&summaries));
        text.push('\n');
        text.push_str(&latencies(&summaries));
        let ratios = self.ratios();
        if !ratios.is_empty() {
            text.push_str("\nCPU of omnivox per delivery, median of the ratios of each round:\n");
            for (name, ratio) in ratios {
                text.push_str(&format!("  {ratio:.2} x {name}\n"));
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let ratios: serde_json::Map<_, _> = self.ratios().into_iter().map(|(name, ratio)| (name, json!(ratio))).collect();
        json!({
            "bench": self.bench,
            "transport": self.transport,
            "subscribers": self.subscribers,
            "channels": self.channels,
            "size_bytes": self.size_bytes,
            "rate_per_s": self.rate_per_s,
            "window": self.window,
            "seconds": self.seconds,
            "contenders": self.summaries(),
            "cpu_ratio_to": ratios,
            "clean": self.clean(),
        })
    }

    /// The first contender's CPU per delivery over each other's, round by round, and of these the median.
    fn ratios(&self) -> Vec<(String, f64)> {
        let Some((first, others)) = self.contenders.split_first() else {
            return Vec::new();
        };
        let ratio_to = |other: &Contender| {
            let ratios: Option<Vec<f64>> =
                first.rounds.iter().zip(&other.rounds).map(|(own, other)| Some(own.cpu_us()? / other.cpu_us()?)).collect();
            Some((other.name.clone(), median(&ratios?)?))
        };
        others.iter().filter_map(ratio_to).collect()
    }

    fn summaries(&self) -> Vec<Summary> {
        self.contenders.iter().map(Contender::summary).collect()
    }
}

impl Contender {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rounds: Vec::new() }
    }

    fn faults(&self) -> Faults {
        let mut sum = Faults::default();
        for round in &self.rounds {
            sum.add(round.faults);
        }
        sum
    }

    fn summary(&self) -> Summary {
        let (mut latency, mut lateness) = (Latency::new(), Latency::new());
        let (mut server, mut generator) = (Some(CpuTime::default()), CpuTime::default());
        let (mut deliveries, mut bytes, mut seconds) = (0, 0, 0.0);
        for round in &self.rounds {
            latency.merge(&round.latency);
            lateness.merge(&round.publisher_lateness);
            generator.add(round.generator_cpu);
            deliveries += round.deliveries;
            bytes += round.bytes;
            seconds += round.seconds;
            server = server.zip(round.server_cpu).map(|(mut sum, round)| {
                sum.add(round);
                sum
            });
        }
        let each = deliveries.max(1) as f64;
        Summary {
            name: self.name.clone(),
            deliveries,
            deliveries_per_s: deliveries as f64 / f64::max(seconds, 1e-9),
            cpu_us_per_delivery: self.cpu_spread(),
            cpu_user_share: server.map(CpuTime::user_share),
            latency_us: latency.percentiles(),
            publisher_lateness_us: lateness.percentiles(),
            bytes_per_delivery: bytes as f64 / each,
            generator_cpu_us_per_delivery: generator.total_ns as f64 / 1e3 / each,
            faults: self.faults(),
        }
    }

    fn cpu_spread(&self) -> Option<[f64; 3]> {
        let rounds: Option<Vec<f64>> = self.rounds.iter().map(Measurement::cpu_us).collect();
        let rounds = rounds?;
        let lowest = rounds.iter().copied().reduce(f64::min)?;
        let highest = rounds.iter().copied().reduce(f64::max)?;
        Some([median(&rounds)?, lowest, highest])
    }
}

impl Measurement {
    fn cpu_us(&self) -> Option<f64> {
        let cpu = self.server_cpu?;
        (self.deliveries > 0).then(|| cpu.total_ns as f64 / 1e3 / self.deliveries as f64)
    }
}

fn costs(summaries: &[Summary]) -> String {
    let mut table = Table::new(&[
        "server",
        "deliveries/s",
        "CPU µs/delivery",
        "low-high",
        "user",
        "bytes",
        "generator µs",
        "lost",
        "doubled",
        "reordered",
    ]);
    for summary in summaries {
        let cpu = summary.cpu_us_per_delivery;
        table.row(vec![
            summary.name.clone(),
            format!("{:.0}", summary.deliveries_per_s),
            or_dash(cpu.map(|[median, ..]| format!("{median:.2}"))),
            or_dash(cpu.map(|[_, low, high]| format!("{low:.2}-{high:.2}"))),
            or_dash(summary.cpu_user_share.map(|share| format!("{:.0} %", share * 100.0))),
            format!("{:.0}", summary.bytes_per_delivery),
            format!("{:.2}", summary.generator_cpu_us_per_delivery),
            summary.faults.lost.to_string(),
            summary.faults.doubled.to_string(),
            summary.faults.reordered.to_string(),
        ]);
    }
    table.render()
}

fn latencies(summaries: &[Summary]) -> String {
    let mut table = Table::new(&["latency, µs", "p50", "p90", "p99", "p99.9", "max", "publisher late p99"]);
    for summary in summaries {
        let latency = summary.latency_us;
        let mut cells = vec![summary.name.clone()];
        let shown = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
        cells.extend(shown.map(microseconds));
        cells.push(microseconds(summary.publisher_lateness_us.p99));
        table.row(cells);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(cpu_us_each: u64, lost: u64) -> Measurement {
        let mut latency = Latency::new();
        latency.record(50_000);
        Measurement {
            deliveries: 1_000,
            seconds: 2.0,
            server_cpu: Some(CpuTime { total_ns: cpu_us_each * 1_000_000, user_ticks: 1, system_ticks: 3 }),
            generator_cpu: CpuTime::default(),
            bytes: 180_000,
            latency,
            publisher_lateness: Latency::new(),
            faults: Faults { lost, ..Faults::default() },
        }
    }

    fn report(own: [u64; 3], floor: [u64; 3], lost: u64) -> Report {
        let contender =
            |name: &str, rounds: [u64; 3]| Contender { name: name.to_owned(), rounds: rounds.map(|cpu| measurement(cpu, lost)).into() };
        Report {
            bench: "fanout",
            transport: Transport::Ws,
            subscribers: 10,
            channels: 1,
            size_bytes: 120,
            rate_per_s: Some(20.0),
            window: None,
            seconds: 2.0,
            contenders: vec![contender("omnivox", own), contender("floor A", floor)],
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A machine three times slower in the second round changes no ratio.
        let report = report([6, 18, 9], [4, 12, 6], 0);
        assert_eq!(report.ratios(), [("floor A".to_owned(), 1.5)]);
        assert!(report.clean());
        let json = report.json();
        assert_eq!(json["cpu_ratio_to"]["floor A"], 1.5);
        assert_eq!(json["contenders"][0]["cpu_us_per_delivery"], json!([9.0, 6.0, 18.0]));
        assert_eq!(json["contenders"][0]["deliveries_per_s"], 500.0);
    }

    #[test]
    fn the_table_shows_what_matters() {
        let text = report([6, 6, 6], [4, 4, 4], 2).render();
        for part in [
            "fanout: 10 ws subscribers, 120 B, 20 messages/s",
            "omnivox           500             6.00  6.00-6.00  25 %    180",
            "1.50 x floor A",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }

    #[test]
    fn a_loss_anywhere_is_no_clean_run() {
        assert!(!report([6, 6, 6], [4, 4, 4], 1).clean());
    }

    #[test]
    fn without_a_process_there_is_no_cpu() {
        let mut report = report([6, 6, 6], [4, 4, 4], 0);
        for round in &mut report.contenders[0].rounds {
            round.server_cpu = None;
        }
        assert_eq!(report.ratios(), []);
        assert_eq!(report.json()["contenders"][0]["cpu_us_per_delivery"], Value::Null);
    }
}
