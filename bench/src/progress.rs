//! Progress of a long run, on stderr and only when somebody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with a number of steps and a word about what goes on.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar that is full after `count` steps.
    pub(crate) fn steps(count: u64, subject: String) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {elapsed} {wide_msg}").expect("a constant template");
        let bar = ProgressBar::new(count).with_style(style);
        bar.set_prefix(subject);
        bar.tick();
        Self { bar }
    }

    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    pub(crate) fn say(&self, words: String) {
        self.bar.set_message(words);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
