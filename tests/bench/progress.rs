//! How far the run is: a line on a terminal, nothing on a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line.
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins; `steps` are the calls of [`Progress::step`] that will come.
    pub fn new(steps: usize) -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let template = "{bar:30} {percent:>3}%  {elapsed} gone, {eta} to go  {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    /// Says what is being done.
    pub fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Fewer steps will come than were announced.
    pub fn skip(&self, steps: usize) {
        self.0.set_length(self.0.length().unwrap_or_default().saturating_sub(steps as u64));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
