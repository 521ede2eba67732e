//! What a run of alternating rounds found: fan-out, rooms, echo, churn.
//!
//! The unit differs (a delivery, a round trip, a cycle), the question is the same: how many per second, at what CPU each, how late, with which faults.

use serde::Serialize;
use serde_json::{Value, json};

use crate::latency::{Latency, Percentiles, median};
use crate::process::CpuTime;
use crate::sequence::Faults;
use crate::table::{Table, microseconds, or_dash};

/// All contenders of one run; the server under test is the first.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    /// What was run, in a few words.
    pub(crate) subject: String,
    pub(crate) unit: Unit,
    /// The settings of the run, for programs.
    pub(crate) settings: Value,
    pub(crate) contenders: Vec<Contender>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
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
    /// Deliveries, round trips or cycles.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    pub(crate) server_cpu: Option<CpuTime>,
    pub(crate) generator_cpu: CpuTime,
    /// Received by the clients, in how many reads.
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    pub(crate) latency: Latency,
    pub(crate) publisher_lateness: Latency,
    pub(crate) faults: Faults,
}

/// What a contender's rounds say together.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    name: String,
    count: u64,
    per_s: f64,
    /// Median, lowest and highest of the rounds.
    cpu_us_each: Option<[f64; 3]>,
    cpu_user_share: Option<f64>,
    latency_us: Percentiles,
    publisher_lateness_us: Percentiles,
    bytes_each: f64,
    /// How much the server coalesced, as seen by its clients.
    count_per_read: f64,
    generator_cpu_us_each: f64,
    faults: Faults,
}

impl Report {
    /// Nothing lost, doubled or reordered, with anybody.
    pub(crate) fn clean(&self) -> bool {
        self.contenders.iter().all(|contender| contender.faults().none())
    }

    pub(crate) fn render(&self) -> String {
        let summaries = self.summaries();
        let mut text = format!("{}: {}\n\n", self.bench, self.subject);
        text.push_str(&costs(self.unit, &summaries));
        text.push('\n');
        text.push_str(&latencies(&summaries));
        let ratios = self.ratios();
        if !ratios.is_empty() {
            let (one, first) = (self.unit.one, &self.contenders[0].name);
            text.push_str(&format!("\nCPU of {first} per {one}, median of the ratios of each round:\n"));
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
            "unit": self.unit.one,
            "settings": self.settings,
            "contenders": self.summaries(),
            "cpu_ratio_to": ratios,
            "clean": self.clean(),
        })
    }

    /// The first contender's CPU per unit over each other's, round by round, and of these the median.
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
        let (mut count, mut bytes, mut reads, mut seconds) = (0, 0, 0, 0.0);
        for round in &self.rounds {
            latency.merge(&round.latency);
            lateness.merge(&round.publisher_lateness);
            generator.add(round.generator_cpu);
            count += round.count;
            bytes += round.bytes;
            reads += round.reads;
            seconds += round.seconds;
            server = server.zip(round.server_cpu).map(|(mut sum, round)| {
                sum.add(round);
                sum
            });
        }
        let each = count.max(1) as f64;
        Summary {
            name: self.name.clone(),
            count,
            per_s: count as f64 / f64::max(seconds, 1e-9),
            cpu_us_each: self.cpu_spread(),
            cpu_user_share: server.map(CpuTime::user_share),
            latency_us: latency.percentiles(),
            publisher_lateness_us: lateness.percentiles(),
            bytes_each: bytes as f64 / each,
            count_per_read: count as f64 / reads.max(1) as f64,
            generator_cpu_us_each: generator.total_ns as f64 / 1e3 / each,
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
        (self.count > 0).then(|| cpu.total_ns as f64 / 1e3 / self.count as f64)
    }
}

fn costs(unit: Unit, summaries: &[Summary]) -> String {
    let mut table = Table::new(&[
        "server",
        &format!("{}/s", unit.many),
        "CPU µs each",
        "low-high",
        "user",
        "bytes",
        "per read",
        "generator µs",
        "lost",
        "doubled",
        "reordered",
    ]);
    for summary in summaries {
        let cpu = summary.cpu_us_each;
        table.row(vec![
            summary.name.clone(),
            format!("{:.0}", summary.per_s),
            or_dash(cpu.map(|[median, ..]| format!("{median:.2}"))),
            or_dash(cpu.map(|[_, low, high]| format!("{low:.2}-{high:.2}"))),
            or_dash(summary.cpu_user_share.map(|share| format!("{:.0} %", share * 100.0))),
            format!("{:.0}", summary.bytes_each),
            format!("{:.1}", summary.count_per_read),
            format!("{:.2}", summary.generator_cpu_us_each),
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
            count: 1_000,
            seconds: 2.0,
            server_cpu: Some(CpuTime { total_ns: cpu_us_each * 1_000_000, user_ticks: 1, system_ticks: 3 }),
            generator_cpu: CpuTime::default(),
            bytes: 180_000,
            reads: 500,
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
            subject: "10 ws subscribers".to_owned(),
            unit: Unit { one: "delivery", many: "deliveries" },
            settings: json!({"subscribers": 10}),
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
        assert_eq!(json["contenders"][0]["cpu_us_each"], json!([9.0, 6.0, 18.0]));
        assert_eq!(json["contenders"][0]["per_s"], 500.0);
    }

    #[test]
    fn the_table_shows_what_matters() {
        let text = report([6, 6, 6], [4, 4, 4], 2).render();
        for part in
            ["fanout: 10 ws subscribers\n", "omnivox           500         6.00  6.00-6.00  25 %    180       2.0", "1.50 x floor A"]
        {
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
        assert_eq!(report.json()["contenders"][0]["cpu_us_each"], Value::Null);
    }
}
