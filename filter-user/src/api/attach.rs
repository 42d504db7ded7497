//! Attaching and detaching, with what the desired state remembers of it.
//!
//! Attaching is done whole or not at all: what was done before it failed is taken back. The desired state learns of an
//! attachment after the kernel, and of a detachment before it, so that a crash between the two leaves an interface that
//! a restart adopts, never one that a restart attaches against the user's will. A state that cannot be written, say on
//! a full disk, keeps nobody from detaching: that is the way back from a list that cut the user off.

use super::controller::{Controller, Interfaces};
use super::error::ApiError;
use super::types::{AttachRequest, Attached, DetachRequest, Detached, InterfaceChange, Mode, SCHEMA};
use crate::dataplane::{DataplaneError, InterfaceReport};
use crate::engine::{Engine, EngineError, InterfaceIntent};

impl Controller {
    /// Puts the program on interfaces.
    ///
    /// # Errors
    /// When one of them cannot take it; none of them has it then that had not before.
    pub fn attach(&self, request: &AttachRequest) -> Result<Attached, ApiError> {
        let names = distinct(&request.interfaces);
        if names.is_empty() {
            return Err(ApiError::Meaningless("`interfaces` is empty; expected at least one name"));
        }
        let intent = InterfaceIntent { mode: request.mode.into(), switches: request.switches() };
        let mut engine = self.engine()?;
        if engine.trial_until().is_some() {
            return Err(EngineError::OnTrial.into());
        }
        let mut dataplane = self.dataplane()?;
        self.look_after(dataplane.as_mut())?;
        let before = dataplane.interfaces()?;
        let mut done: Vec<String> = Vec::new();
        let mut interfaces = Vec::new();
        for name in names {
            let changed = !before.iter().any(|report| report.name.as_deref() == Some(&name));
            match attach_one(&mut engine, dataplane.as_mut(), &name, intent, changed) {
                Ok(report) => interfaces.push(attached(&name, &report, changed)),
                Err(cause) => return Err(take_back(&mut engine, dataplane.as_mut(), &done, cause)),
            }
            if changed {
                done.push(name);
            }
        }
        Ok(Attached { schema: SCHEMA, interfaces })
    }

    /// Takes the program off interfaces.
    ///
    /// # Errors
    /// When one of them does not exist or the kernel refuses.
    pub fn detach(&self, request: &DetachRequest) -> Result<Detached, ApiError> {
        if request.all != request.interfaces.is_empty() {
            return Err(ApiError::Meaningless(
                "expected either `interfaces` with at least one name, or `all`: true",
            ));
        }
        let mut engine = self.engine()?;
        let mut dataplane = self.dataplane()?;
        self.look_after(dataplane.as_mut())?;
        let running = dataplane.interfaces()?;
        let is_running = |name: &str| running.iter().any(|report| report.name.as_deref() == Some(name));
        if request.all {
            return detach_all(&mut engine, dataplane.as_mut());
        }
        let names = distinct(&request.interfaces);
        let mut interfaces = Vec::new();
        for name in names.iter().filter(|name| !is_running(name) && !engine.interfaces().contains_key(*name))
        {
            // Changes nothing: it tells an interface without the program from one that does not exist.
            match dataplane.detach(name) {
                Ok(()) | Err(DataplaneError::NotAttached { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut unforgotten = Unforgotten::default();
        for name in names {
            let wanted = engine.interfaces().get(&name).copied();
            unforgotten.forget(&mut engine, &name);
            // Also where it does not run any more, for the pins of an interface that is gone.
            match dataplane.detach(&name) {
                Ok(())
                | Err(DataplaneError::NotAttached { .. } | DataplaneError::UnknownInterface { .. }) => {}
                Err(cause) => return Err(want_again(&mut engine, &name, wanted, cause.into())),
            }
            let changed = is_running(&name) || wanted.is_some();
            interfaces.push(InterfaceChange { name, changed, mode: None, program_id: None });
        }
        unforgotten.told(Detached { schema: SCHEMA, interfaces })
    }
}

fn attach_one(
    engine: &mut Engine,
    dataplane: &mut dyn Interfaces,
    name: &str,
    intent: InterfaceIntent,
    new: bool,
) -> Result<InterfaceReport, ApiError> {
    let report = dataplane.attach(name, intent.mode, intent.switches)?;
    match engine.set_interface(name, intent) {
        Ok(()) => Ok(report),
        Err(cause) if new => Err(match dataplane.detach(name) {
            Ok(()) => cause.into(),
            Err(rollback) => half_done(cause.into(), rollback.into()),
        }),
        Err(cause) => Err(cause.into()),
    }
}

/// Detaches what a request had attached before it failed.
fn take_back(
    engine: &mut Engine,
    dataplane: &mut dyn Interfaces,
    done: &[String],
    cause: ApiError,
) -> ApiError {
    let undo = |name: &String| -> Result<(), ApiError> {
        engine.clear_interface(name)?;
        Ok(dataplane.detach(name)?)
    };
    match done.iter().rev().try_for_each(undo) {
        Ok(()) => cause,
        Err(rollback) => half_done(cause, rollback),
    }
}

fn detach_all(engine: &mut Engine, dataplane: &mut dyn Interfaces) -> Result<Detached, ApiError> {
    let wanted = engine.interfaces().clone();
    let mut unforgotten = Unforgotten::default();
    for name in wanted.keys() {
        unforgotten.forget(engine, name);
    }
    let mut names = match dataplane.detach_all() {
        Ok(names) => names,
        Err(cause) => {
            let cause = wanted.iter().fold(ApiError::from(cause), |cause, (name, intent)| {
                want_again(engine, name, Some(*intent), cause)
            });
            return Err(cause);
        }
    };
    names.extend(wanted.into_keys());
    names.sort();
    names.dedup();
    let change = |name| InterfaceChange { name, changed: true, mode: None, program_id: None };
    unforgotten.told(Detached { schema: SCHEMA, interfaces: names.into_iter().map(change).collect() })
}

/// Interfaces that the desired state could not be told to let go of.
#[derive(Default)]
struct Unforgotten {
    names: Vec<String>,
    cause: Option<ApiError>,
}

impl Unforgotten {
    fn forget(&mut self, engine: &mut Engine, name: &str) {
        if let Err(cause) = engine.clear_interface(name) {
            self.names.push(name.to_owned());
            self.cause.get_or_insert(cause.into());
        }
    }

    fn told(self, done: Detached) -> Result<Detached, ApiError> {
        match self.cause {
            None => Ok(done),
            Some(cause) => {
                Err(ApiError::NotForgotten { interfaces: self.names.join(", "), cause: Box::new(cause) })
            }
        }
    }
}

fn want_again(engine: &mut Engine, name: &str, wanted: Option<InterfaceIntent>, cause: ApiError) -> ApiError {
    match wanted.map_or(Ok(()), |intent| engine.set_interface(name, intent)) {
        Ok(()) => cause,
        Err(rollback) => half_done(cause, rollback.into()),
    }
}

fn half_done(cause: ApiError, rollback: ApiError) -> ApiError {
    ApiError::HalfDone { cause: Box::new(cause), rollback: Box::new(rollback) }
}

fn attached(name: &str, report: &InterfaceReport, changed: bool) -> InterfaceChange {
    InterfaceChange {
        name: name.to_owned(),
        changed,
        mode: report.mode.map(Mode::from),
        program_id: Some(report.program_id),
    }
}

/// Each name once, in the order they came.
fn distinct(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().filter(|name| seen.insert(name.as_str())).cloned().collect()
}
