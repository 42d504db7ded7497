//! How the run is going: a bar on a terminal, plain lines on a pipe; both on standard error.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::grouped;

/// What is shown while the run goes on.
pub struct Progress {
    terminal: bool,
}

impl Progress {
    /// Finds out what standard error is.
    #[must_use]
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    /// One line that stays.
    pub fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Begins a step that takes about `length`.
    #[must_use]
    pub fn step(&self, name: &str, length: Duration) -> Step {
        if !self.terminal {
            eprintln!("{name} ...");
            return Step { bar: None };
        }
        let style = ProgressStyle::with_template("{prefix} {bar:30} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)).with_style(style);
        bar.set_prefix(name.to_owned());
        bar.tick();
        Step { bar: Some(bar) }
    }
}

/// A step under way. Dropping it takes the bar away.
pub struct Step {
    bar: Option<ProgressBar>,
}

impl Step {
    /// How far it is, how many segments were served, and how many frames were sent.
    pub fn at(&self, elapsed: Duration, served: u64, sent: Option<u64>) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let attack = sent.map_or_else(String::new, |sent| format!(", {} attack packets sent", grouped(sent)));
        bar.set_message(format!("{} requests served{attack}", grouped(served)));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
