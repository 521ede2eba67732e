//! What a run beside a flood found.

use serde::Serialize;
use serde_json::{Value, json};

use crate::flood::Flood;
use crate::latency::{Percentiles, median};
use crate::sequence::Faults;
use crate::table::{Table, microseconds};

/// Where the flood goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Nowhere: there is none.
    Quiet,
    /// To a process that does nothing with it.
    Elsewhere,
    /// To the server.
    Flood,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Quiet, Self::Elsewhere, Self::Flood];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Elsewhere => "elsewhere",
            Self::Flood => "flood",
        }
    }
}

/// One phase of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Turn {
    pub(crate) round: usize,
    pub(crate) phase: Phase,
    /// Of the neighbours' messages, in microseconds.
    pub(crate) latency: Percentiles,
    /// Cores that the server used.
    pub(crate) cpu_share: f64,
    pub(crate) resident_peak: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) sent: u64,
    pub(crate) key_set_fetches: u64,
}

/// All rounds beside one flood.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) flood: Flood,
    pub(crate) subscribers: u32,
    pub(crate) rate: f64,
    /// Before the first flood.
    pub(crate) resident: u64,
    pub(crate) turns: Vec<Turn>,
    pub(crate) faults: Faults,
}

impl Report {
    pub(crate) fn clean(&self) -> bool {
        self.faults.none()
    }

    pub(crate) fn render(&self) -> String {
        let title = format!("{} beside {} ws subscribers, {} messages/s\n\n", self.flood.name(), self.subscribers, self.rate);
        let mut table =
            Table::new(&["phase", "p50 µs", "p99 µs", "CPU, cores", "RSS, MiB", "opened", "closed", "sent", "key sets fetched"]);
        for phase in Phase::ALL {
            let of = |pick: &dyn Fn(&Turn) -> f64| self.middle(phase, pick);
            table.row(vec![
                phase.name().to_owned(),
                microseconds(of(&|turn| turn.latency.p50)),
                microseconds(of(&|turn| turn.latency.p99)),
                format!("{:.2}", of(&|turn| turn.cpu_share)),
                format!("{:.1}", of(&|turn| turn.resident_peak as f64) / 1_048_576.0),
                format!("{:.0}", of(&|turn| turn.opened as f64)),
                format!("{:.0}", of(&|turn| turn.closed as f64)),
                format!("{:.0}", of(&|turn| turn.sent as f64)),
                format!("{:.0}", of(&|turn| turn.key_set_fetches as f64)),
            ]);
        }
        let ratio = |to: Phase| self.ratio(to).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let more = self.turns.iter().map(|turn| turn.resident_peak).max().unwrap_or_default().saturating_sub(self.resident);
        format!(
            "{title}{}\nNeighbours' p99, median of the ratios of each round: {} x quiet, {} x elsewhere. Memory: at most {:.1} MiB more than before.\n\n",
            table.render(),
            ratio(Phase::Quiet),
            ratio(Phase::Elsewhere),
            more as f64 / 1_048_576.0
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "bench": "neighbours",
            "flood": self.flood,
            "subscribers": self.subscribers,
            "rate_per_s": self.rate,
            "resident_bytes_before": self.resident,
            "turns": self.turns,
            "p99_ratio_to_quiet": self.ratio(Phase::Quiet),
            "p99_ratio_to_elsewhere": self.ratio(Phase::Elsewhere),
            "faults": self.faults,
            "clean": self.clean(),
        })
    }

    fn middle(&self, phase: Phase, pick: &dyn Fn(&Turn) -> f64) -> f64 {
        let values: Vec<f64> = self.turns.iter().filter(|turn| turn.phase == phase).map(pick).collect();
        median(&values).unwrap_or_default()
    }

    /// The p99 under the flood by that of another phase of the same round; the middle one of all rounds.
    fn ratio(&self, to: Phase) -> Option<f64> {
        let at = |round: usize, phase: Phase| {
            self.turns.iter().find(|turn| turn.round == round && turn.phase == phase).map(|turn| turn.latency.p99)
        };
        let rounds = self.turns.iter().map(|turn| turn.round).max()? + 1;
        let ratios: Vec<f64> = (0..rounds).filter_map(|round| Some(at(round, Phase::Flood)? / at(round, to)?)).collect();
        median(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        let turn = |round, phase, p99| Turn {
            round,
            phase,
            latency: Percentiles { p99, ..Percentiles::default() },
            cpu_share: 0.1,
            resident_peak: 3 << 20,
            opened: 1,
            closed: 1,
            sent: 1,
            key_set_fetches: 0,
        };
        let turns = (0..3).flat_map(|round| {
            // The machine is ever slower, the server is not.
            let machine = 100.0 * (round + 1) as f64;
            [turn(round, Phase::Quiet, machine), turn(round, Phase::Elsewhere, machine * 1.1), turn(round, Phase::Flood, machine * 1.1)]
        });
        let report =
            Report { flood: Flood::Bombs, subscribers: 1, rate: 1.0, resident: 1 << 20, turns: turns.collect(), faults: Faults::default() };
        let text = report.render();
        assert!(text.contains("1.10 x quiet, 1.00 x elsewhere. Memory: at most 2.0 MiB more"), "{text}");
        let cells =
            |phase| text.lines().find(|line| line.starts_with(phase)).map(|line| line.split_whitespace().take(3).collect::<Vec<_>>());
        assert_eq!(cells("flood"), Some(vec!["flood", "0.00", "220"]), "{text}");
        assert_eq!(report.json()["clean"], true);
    }
}
