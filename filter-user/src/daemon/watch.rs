//! The task that keeps the filter where it is wanted.
//!
//! Decides when to look: every second, and at once when the kernel says that an interface has appeared, changed or gone.
//! Events come in bursts, so they are let settle, and any number of them is one look. Where there are no events, the
//! looks by the clock are all there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::api::controller::Controller;
use crate::api::error::chain;
use crate::api::restore::WATCH_PERIOD;
use crate::dataplane::LinkEvents;

/// How long events are let settle.
const SETTLE: Duration = Duration::from_millis(50);
/// How often everything that is wanted is compared with what runs, also when nothing says that it differs, and how
/// often events are asked for again.
const SLOW_PERIOD: Duration = Duration::from_secs(30);

/// Looks after the interfaces.
pub struct Watcher {
    controller: Arc<Controller>,
    events: Option<LinkEvents>,
    /// When everything was compared last.
    compared: Instant,
    /// What the last look failed with.
    failure: Option<String>,
}

impl Watcher {
    /// Begins to listen to the kernel.
    pub fn new(controller: Arc<Controller>) -> Self {
        let mut watcher = Self { controller, events: None, compared: Instant::now(), failure: None };
        watcher.listen();
        watcher
    }

    fn listen(&mut self) {
        match LinkEvents::listen() {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                warn!(%error, "the kernel does not tell of interfaces that come and go; looking every second");
            }
        }
    }

    /// Looks until it is aborted.
    pub async fn run(mut self) {
        loop {
            let changed = self.wait().await;
            let is_slow = self.compared.elapsed() >= SLOW_PERIOD;
            if is_slow {
                self.compared = Instant::now();
                if self.events.is_none() {
                    self.listen();
                }
            }
            self.look(changed || is_slow).await;
        }
    }

    /// Waits for the next look; says whether an event is the reason.
    async fn wait(&mut self) -> bool {
        let pause = tokio::time::sleep(WATCH_PERIOD);
        let Some(events) = &self.events else {
            pause.await;
            return false;
        };
        let came = tokio::select! {
            () = pause => return false,
            came = events.next() => came,
        };
        if !came {
            warn!("the kernel does not tell of interfaces any more; looking every second");
            self.events = None;
        }
        tokio::time::sleep(SETTLE).await;
        true
    }

    /// Looks once. A failure is told when it begins.
    pub async fn look(&mut self, changed: bool) {
        let controller = Arc::clone(&self.controller);
        let looked = tokio::task::spawn_blocking(move || controller.watch(changed)).await;
        let failure = match looked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(panic) => Some(panic.to_string()),
        };
        if let Some(error) = failure.as_ref().filter(|_| failure != self.failure) {
            error!(error, "cannot tell whether every interface is filtered");
        }
        self.failure = failure;
    }
}
