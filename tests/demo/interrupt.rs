//! Ctrl-C and its kin: the run unwinds, so that flood, children and sandbox end in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a wait may go without a look at the signals.
pub const GLANCE: Duration = Duration::from_millis(50);

/// A signal asked the run to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted by signal {0}")]
pub struct Interrupted(usize);

impl Interrupted {
    /// The exit code that shells give to it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }
}

/// The signals that were received.
#[derive(Clone, Debug)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Takes note of the signals that end a run, from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch() -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&received), number)
                .context("cannot watch for signals")?;
        }
        Ok(Self(received))
    }

    /// # Errors
    /// [`Interrupted`], once a signal came.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Interrupted(signal).into()),
        }
    }

    /// Waits.
    ///
    /// # Errors
    /// [`Interrupted`], as soon as a signal comes.
    pub fn sleep(&self, how_long: Duration) -> Result<()> {
        let end = Instant::now() + how_long;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}
