//! Keeping the filter where it is wanted: noticing that it is lost, putting it back, and telling both.
//!
//! Decides when the kernel is asked: a look at what is attached is cheap and comes often; interfaces are listed and
//! attached only when one is missing. A failure is told when it begins and when its reason changes, not each time; the
//! status shows it as long as it lasts. An interface in another network namespace is not missing, as it is filtered
//! there; one of its name that comes here is another.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::controller::{Controller, Interfaces};
use super::error::{ApiError, chain};
use super::types::{Interface, Place, Timestamp};
use crate::dataplane::{DataplaneError, InterfaceReport, Trouble, TroubleKind};
use crate::engine::{EngineError, InterfaceIntent};

/// How often what is missing is tried again, and what is attached looked at.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// What became of an interface that did not run the filter here.
pub type Restored = (String, Result<(), Missing>);

/// Why an interface that is to be filtered is not filtered here.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It is in another network namespace, and filtered there.
    #[error("it is in another network namespace, and still filtered there")]
    Elsewhere,
    /// It could not be attached.
    #[error(transparent)]
    Failed(#[from] ApiError),
}

/// What is wrong with an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    why: String,
    /// It is filtered all the same.
    is_filtered: bool,
}

impl Failure {
    fn new(error: &Missing) -> Self {
        let unpinned = matches!(error, Missing::Failed(ApiError::Dataplane(DataplaneError::Unpinned { .. })));
        Self { why: chain(error), is_filtered: unpinned }
    }
}

/// What is not filtered as it is to be, by name.
#[derive(Debug, Default)]
pub struct Unfiltered {
    /// Why each is not, or not for good.
    failed: BTreeMap<String, Failure>,
    /// In another network namespace.
    elsewhere: Vec<String>,
    /// When the next try is due.
    next: Option<SystemTime>,
}

impl Unfiltered {
    /// What the operator should know of it.
    pub(super) fn warnings<'a>(
        &'a self,
        wanted: impl Iterator<Item = &'a String>,
        interfaces: &[Interface],
    ) -> Vec<String> {
        let is_here = |name: &String| interfaces.iter().any(|it| it.name.as_ref() == Some(name));
        let is_elsewhere = |name: &String| {
            interfaces.iter().any(|it| it.place == Place::Elsewhere && it.attached_as == *name)
        };
        let warning = |name: &String| {
            if is_elsewhere(name) {
                return format!(
                    "{name} is in another network namespace, and still filtered there; `levee detach {name}` ends that"
                );
            }
            let failure = self.failed.get(name);
            let what = match failure {
                Some(failure) if failure.is_filtered => "is filtered, but not for good",
                _ => "is to be filtered and is not",
            };
            let why = failure.map_or_else(String::new, |failure| format!(": {}", failure.why));
            let next = self.next.map_or_else(String::new, |next| format!(" at {}", Timestamp(next)));
            format!(
                "{name} {what}{why}; next try{next}, or when an interface appears or changes; \
                 `levee detach {name}` forgets it"
            )
        };
        wanted.filter(|name| !is_here(name)).map(warning).collect()
    }
}

impl Controller {
    /// Looks whether what is attached still is, and puts back what is missing. `changed` tells that an interface has
    /// appeared or changed.
    ///
    /// # Errors
    /// When the kernel does not tell what it has.
    pub fn watch(&self, changed: bool) -> Result<(), ApiError> {
        self.look_after(self.dataplane()?.as_mut())?;
        if changed && self.engine()?.follow_interfaces()? {
            info!(
                "an interface that rules redirect to has come, gone or changed, and the tables are made anew"
            );
        }
        let is_due = !self.unfiltered()?.failed.is_empty();
        if is_due || (changed && self.differs_in_interfaces()) {
            let restored = self.restore()?;
            self.note(restored)?;
        }
        Ok(())
    }

    /// Looks whether what is attached still is. What is not is told, and is due to be put back.
    pub(super) fn look_after(&self, dataplane: &mut dyn Interfaces) -> Result<(), ApiError> {
        for Trouble { name, what } in dataplane.look_after()? {
            let lost = |how: &str| Failure { why: how.to_owned(), is_filtered: false };
            let failure = match what {
                TroubleKind::Detached => {
                    lost("the filter was lost: it was taken off by something else than levee")
                }
                TroubleKind::Removed => lost("the filter was lost: the interface was removed"),
                TroubleKind::Unpinned(why) => {
                    let error = DataplaneError::Unpinned { name: name.clone(), why };
                    Failure { why: error.to_string(), is_filtered: true }
                }
            };
            warn!(interface = name, "{}", failure.why);
            self.unfiltered()?.failed.insert(name, failure);
        }
        Ok(())
    }

    /// Tells what became of what was missing, as far as that is news, and keeps the rest for the status.
    fn note(&self, restored: Vec<Restored>) -> Result<(), ApiError> {
        let mut unfiltered = self.unfiltered()?;
        let mut now = Unfiltered { next: Some(SystemTime::now() + WATCH_PERIOD), ..Unfiltered::default() };
        for (name, outcome) in restored {
            match outcome {
                Ok(()) => info!(interface = name, "filtered again"),
                Err(Missing::Elsewhere) => {
                    if !unfiltered.elsewhere.contains(&name) {
                        info!(interface = name, "is in another network namespace, and still filtered there");
                    }
                    now.elsewhere.push(name);
                }
                Err(error) => {
                    let failure = Failure::new(&error);
                    // That it is not pinned was told when it began.
                    if unfiltered.failed.get(&name) != Some(&failure) && !failure.is_filtered {
                        warn!(
                            interface = name,
                            error = failure.why,
                            "cannot be filtered now, is tried again"
                        );
                    }
                    now.failed.insert(name, failure);
                }
            }
        }
        *unfiltered = now;
        Ok(())
    }

    /// Whether the desired state names an interface that does not run the filter here, or does not name one that does:
    /// what a new state does not know of could not be put back.
    #[must_use]
    fn differs_in_interfaces(&self) -> bool {
        let Ok(view) = self.view() else { return false };
        let Ok(running) = self.dataplane().and_then(|dataplane| Ok(dataplane.interfaces()?)) else {
            return false;
        };
        let mut names = running.iter().filter_map(|report| report.name.as_ref());
        !view.wanted.iter().all(|name| runs_here(&running, name))
            || !names.all(|name| view.wanted.contains(name))
    }

    /// Attaches what the desired state names and the kernel does not have here, and lets the desired state know of what
    /// the kernel has. Says what became of each that was missing.
    ///
    /// # Errors
    /// When the kernel does not tell what it has.
    pub fn restore(&self) -> Result<Vec<Restored>, ApiError> {
        let mut engine = self.engine()?;
        let mut dataplane = self.dataplane()?;
        let running = dataplane.interfaces()?;
        for report in &running {
            if let (Some(name), Some(mode)) = (&report.name, report.mode) {
                engine.set_interface(name, InterfaceIntent { mode, switches: report.switches })?;
            }
        }
        // It would filter by a policy that it does not go back from.
        let on_trial = engine.trial_until().is_some();
        let missing: Vec<(String, InterfaceIntent)> = engine
            .interfaces()
            .iter()
            .filter(|(name, _)| !runs_here(&running, name))
            .map(|(name, intent)| (name.clone(), *intent))
            .collect();
        let is_elsewhere = |name: &String| {
            running.iter().any(|it| it.place == crate::dataplane::Place::Elsewhere && it.attached_as == *name)
        };
        let restore = |(name, intent): (String, InterfaceIntent)| {
            if on_trial {
                return (name, Err(Missing::Failed(EngineError::OnTrial.into())));
            }
            let outcome = match dataplane.attach(&name, intent.mode, intent.switches) {
                Ok(_) => Ok(()),
                Err(DataplaneError::UnknownInterface { .. }) if is_elsewhere(&name) => {
                    Err(Missing::Elsewhere)
                }
                Err(error) => Err(Missing::Failed(error.into())),
            };
            (name, outcome)
        };
        Ok(missing.into_iter().map(restore).collect())
    }
}

fn runs_here(running: &[InterfaceReport], name: &str) -> bool {
    running.iter().any(|report| report.name.as_deref() == Some(name))
}
