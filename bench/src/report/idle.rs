//! What an idle run found.

use serde::Serialize;
use serde_json::{Value, json};

use crate::table::Table;
use crate::talk::Transport;

/// The steps of all transports.
#[derive(Debug)]
pub(crate) struct Report {
    /// Connections that were asked for at the last step.
    pub(crate) wanted: u32,
    pub(crate) transports: Vec<Steps>,
}

/// The steps of one server on one transport.
#[derive(Debug, Serialize)]
pub(crate) struct Steps {
    pub(crate) server: String,
    pub(crate) transport: Transport,
    pub(crate) steps: Vec<Step>,
}

/// Resident memory at a number of connections.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Step {
    pub(crate) connections: u64,
    pub(crate) resident_bytes: u64,
}

impl Report {
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new(&["server", "transport", "connections", "RSS, MiB", "bytes each"]);
        let mut slopes = String::new();
        for steps in &self.transports {
            let (server, transport) = (&steps.server, steps.transport.name());
            let mut previous = None;
            for step in &steps.steps {
                let each = previous.map_or_else(String::new, |previous| format!("{:.0}", slope(previous, *step)));
                table.row(vec![
                    server.clone(),
                    transport.to_owned(),
                    step.connections.to_string(),
                    format!("{:.1}", step.resident_bytes as f64 / 1_048_576.0),
                    each,
                ]);
                previous = Some(*step);
            }
            if let Some((first, last, each)) = steps.slope() {
                slopes.push_str(&format!("  {server}, {transport}: {each:.0} bytes, {first} to {last} connections\n"));
            }
        }
        let mut text = format!("idle: one channel, nothing published\n\n{}", table.render());
        text.push_str("\nResident memory of one more connection:\n");
        text.push_str(&slopes);
        if self.clamped() {
            text.push_str(&format!("\nThe open-files limits did not allow {} connections: raise `ulimit -n`.\n", self.wanted));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let slopes: Vec<Value> = self
            .transports
            .iter()
            .map(|steps| {
                json!({
                    "server": steps.server,
                    "transport": steps.transport,
                    "steps": steps.steps,
                    "bytes_per_connection": steps.slope().map(|(.., each)| each),
                })
            })
            .collect();
        json!({
            "bench": "idle",
            "connections_wanted": self.wanted,
            "clamped": self.clamped(),
            "transports": slopes,
        })
    }

    fn clamped(&self) -> bool {
        let reached = |steps: &Steps| steps.steps.last().map_or(0, |step| step.connections);
        self.transports.iter().any(|steps| reached(steps) < u64::from(self.wanted))
    }
}

impl Steps {
    /// Connections at the first and the last step, and bytes per connection between them.
    fn slope(&self) -> Option<(u64, u64, f64)> {
        let (first, last) = (self.steps.first()?, self.steps.last()?);
        Some((first.connections, last.connections, slope(*first, *last)))
    }
}

fn slope(from: Step, to: Step) -> f64 {
    let bytes = to.resident_bytes as f64 - from.resident_bytes as f64;
    let connections = to.connections.saturating_sub(from.connections).max(1);
    bytes / connections as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wanted: u32) -> Report {
        let steps = [(1_000, 10), (10_000, 19), (20_000, 48)]
            .map(|(connections, megabytes)| Step { connections, resident_bytes: megabytes * 1_000_000 });
        Report { wanted, transports: vec![Steps { server: "omnivox".to_owned(), transport: Transport::Sse, steps: steps.into() }] }
    }

    #[test]
    fn the_slope_is_from_the_first_step_to_the_last() {
        let report = report(20_000);
        assert_eq!(report.json()["transports"][0]["bytes_per_connection"], 2_000.0);
        let text = report.render();
        for part in [
            "omnivox        sse        10000      18.1        1000",
            "omnivox        sse        20000      45.8        2900",
            "omnivox, sse: 2000 bytes, 1000 to 20000 connections",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(!text.contains("ulimit"), "{text}");
    }

    #[test]
    fn fewer_connections_than_wanted_are_admitted() {
        assert!(report(30_000).render().contains("did not allow 30000 connections"));
    }
}
