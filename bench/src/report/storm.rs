//! What a resume storm found.

use serde_json::{Value, json};

use crate::latency::Percentiles;
use crate::sequence::Faults;
use crate::table::{Table, or_dash};
use crate::talk::Transport;

/// One storm.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) transport: Transport,
    pub(crate) clients: u32,
    pub(crate) channels: u32,
    pub(crate) rate_per_s: f64,
    pub(crate) at_once: u32,
    /// From the cut until the last client was subscribed again.
    pub(crate) last_subscribed_s: f64,
    /// From the cut until the last client had all.
    pub(crate) last_caught_up_s: f64,
    pub(crate) caught_up: Percentiles,
    /// Deliveries between the cut and the last client's catching up.
    pub(crate) replayed: u64,
    pub(crate) server_cpu_ms: Option<f64>,
    pub(crate) generator_cpu_ms: f64,
    pub(crate) gaps: u64,
    pub(crate) faults: Faults,
}

impl Report {
    /// Every client resumed from its mark and missed nothing.
    pub(crate) fn clean(&self) -> bool {
        self.faults.none() && self.gaps == 0
    }

    pub(crate) fn render(&self) -> String {
        let seconds = |value: f64| format!("{value:.2} s");
        let mut table = Table::new(&["after the cut", ""]);
        let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
        row("half have caught up", seconds(self.caught_up.p50 / 1e6));
        row("99 % have caught up", seconds(self.caught_up.p99 / 1e6));
        row("the last is subscribed", seconds(self.last_subscribed_s));
        row("the last has caught up", seconds(self.last_caught_up_s));
        row("deliveries meanwhile", self.replayed.to_string());
        let cpu = self.server_cpu_ms.map(|cpu| format!("{cpu:.0} ms"));
        row("server CPU", or_dash(cpu));
        row("generator CPU", format!("{:.0} ms", self.generator_cpu_ms));
        row("gaps", self.gaps.to_string());
        row("lost", self.faults.lost.to_string());
        row("doubled", self.faults.doubled.to_string());
        row("reordered", self.faults.reordered.to_string());
        let (clients, transport) = (self.clients, self.transport.name());
        let (rate, at_once) = (self.rate_per_s, self.at_once);
        format!(
            "resume-storm: {clients} {transport} clients in {} channels, {rate} messages/s, {at_once} connecting at once\n\n{}",
            self.channels,
            table.render()
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "bench": "resume-storm",
            "transport": self.transport,
            "clients": self.clients,
            "channels": self.channels,
            "rate_per_s": self.rate_per_s,
            "at_once": self.at_once,
            "last_subscribed_s": self.last_subscribed_s,
            "last_caught_up_s": self.last_caught_up_s,
            "caught_up_us": self.caught_up,
            "deliveries_meanwhile": self.replayed,
            "server_cpu_ms": self.server_cpu_ms,
            "generator_cpu_ms": self.generator_cpu_ms,
            "gaps": self.gaps,
            "faults": self.faults,
            "clean": self.clean(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gaps: u64, doubled: u64) -> Report {
        Report {
            transport: Transport::Ws,
            clients: 10_000,
            channels: 1,
            rate_per_s: 10.0,
            at_once: 2_000,
            last_subscribed_s: 1.25,
            last_caught_up_s: 1.5,
            caught_up: Percentiles::default(),
            replayed: 70_000,
            server_cpu_ms: None,
            generator_cpu_ms: 900.0,
            gaps,
            faults: Faults { doubled, ..Faults::default() },
        }
    }

    #[test]
    fn the_table_says_when_the_last_was_there() {
        let text = report(0, 0).render();
        assert!(text.contains("the last has caught up  1.50 s\n"), "{text}");
        assert!(text.contains("server CPU                   -\n"), "{text}");
    }

    #[test]
    fn a_gap_or_a_double_fails_the_run() {
        for (gaps, doubled, clean) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            assert_eq!(report(gaps, doubled).clean(), clean);
            assert_eq!(report(gaps, doubled).json()["clean"], clean);
        }
    }
}
