//! What signals mean.
//!
//! SIGINT and SIGTERM stop the daemon in order. So does SIGHUP where the daemon was started on a terminal, since that is
//! how the kernel tells that the terminal has gone. Without one, as under a service manager or nohup, SIGHUP by habit
//! asks for configuration to be read anew; there is none to read, and a filter's controller must not end for that.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// The signals that the daemon listens to.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    has_terminal: bool,
}

impl Signals {
    /// Listens from now on; until then they do what they do by default.
    pub fn listen() -> Result<Self> {
        let has_terminal = std::io::stdin().is_terminal()
            || std::io::stdout().is_terminal()
            || std::io::stderr().is_terminal();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
            hangup: signal(SignalKind::hangup()).context("cannot handle SIGHUP")?,
            has_terminal,
        })
    }

    /// Ends when the daemon is to stop, with the name of the signal that says so.
    pub async fn stop(mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => {
                    if self.has_terminal {
                        return "SIGHUP";
                    }
                    info!("SIGHUP changes nothing: there is no configuration to read anew");
                }
            }
        }
    }
}
