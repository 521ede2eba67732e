//! Keeps one place in the code from filling the disk: of the lines that it writes within a second, the first ones pass.
//!
//! ```text
//! WARN a connection could not be taken   error=Too many open files      100 times
//! WARN log lines were left out; …        left_out=48211 at=omnivox_server::listener:63
//! ```
//!
//! Invariant: what is left out is counted and told within the next second, so that nothing disappears silently.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// The target of the line that tells what was left out; it is never left out itself.
const OWN: &str = "omnivox::logging";

/// Lets through so many lines of each place in a second.
#[derive(Debug)]
pub(super) struct Sampling {
    lines_per_second: u32,
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
    wake: SyncSender<()>,
}

impl Sampling {
    /// Begins to count, and tells on a thread of its own what was left out; that thread sleeps until something is.
    pub(super) fn start(lines_per_second: u32) -> std::io::Result<Self> {
        let places = Arc::default();
        let (wake, woken) = sync_channel(1);
        let told = Arc::clone(&places);
        thread::Builder::new().name("omnivox-log".to_owned()).spawn(move || tell(&told, &woken))?;
        Ok(Self { lines_per_second, places, wake })
    }
}

impl<S: Subscriber> Filter<S> for Sampling {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if self.lines_per_second == 0 || metadata.target() == OWN {
            return true;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place::new(metadata));
        let passes = place.admits(Instant::now(), self.lines_per_second);
        if !passes {
            // Full means that the thread has been woken already.
            let _ = self.wake.try_send(());
        }
        passes
    }
}

/// One place in the code that writes lines.
#[derive(Debug)]
struct Place {
    at: String,
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Place {
    fn new(metadata: &Metadata<'_>) -> Self {
        let module = metadata.module_path().unwrap_or_else(|| metadata.target());
        Self { at: format!("{module}:{}", metadata.line().unwrap_or(0)), since: None, lines: 0, left_out: 0 }
    }

    fn admits(&mut self, now: Instant, lines_per_second: u32) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines < lines_per_second {
            self.lines += 1;
            return true;
        }
        self.left_out += 1;
        false
    }
}

/// Writes a line for each place that was cut short, a second after it was.
fn tell(places: &Mutex<HashMap<Identifier, Place>>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        thread::sleep(WINDOW);
        let mut cut: Vec<(String, u64)> = Vec::new();
        for place in places.lock().unwrap_or_else(PoisonError::into_inner).values_mut().filter(|place| place.left_out > 0) {
            cut.push((place.at.clone(), std::mem::take(&mut place.left_out)));
        }
        for (at, left_out) in cut {
            tracing::warn!(target: OWN, left_out, at, "log lines were left out; raise log.lines_per_second to see them all");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_each_second_pass_and_the_rest_is_counted() {
        let mut place = Place { at: "here:1".to_owned(), since: None, lines: 0, left_out: 0 };
        let start = Instant::now();
        let mut passed = |after_ms: u64, lines: u32| -> (usize, u64) {
            let now = start + Duration::from_millis(after_ms);
            ((0..lines).filter(|_| place.admits(now, 3)).count(), place.left_out)
        };
        for (after_ms, lines, expected) in [(0, 2, (2, 0)), (10, 5, (1, 4)), (999, 1, (0, 5)), (1000, 4, (3, 6)), (9000, 1, (1, 6))] {
            assert_eq!(passed(after_ms, lines), expected, "{lines} lines after {after_ms} ms");
        }
    }
}
