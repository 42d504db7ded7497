//! What a request does, without HTTP: blocking calls on the engine and the dataplane.
//!
//! Three locks, always taken in this order: engine, dataplane, view. What is asked of the daemon as a whole is answered
//! from the view and under the dataplane's lock alone, so answers come also while an import is applied. Lists are
//! parsed, and who must stay reachable is looked up, before any lock is taken.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use filter_common::abi::ABI_VERSION;
use filter_common::config::Switches;
use filter_common::counters::RuleCounter;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::dropped::Dropped;
use super::error::{ApiError, chain};
use super::guards::{Look, Lookout};
use super::problem::Problem;
use super::restore::Unfiltered;
use super::twins::Twins;
use super::types::{
    Action, ControllerStatus, Entry, Interface, InterfaceStats, SCHEMA, SetEntries, SetList, Stats,
    StatsController, Status, Timestamp, Traffic,
};
use super::view::{View, Writing};
use crate::dataplane::{
    Ban, Dataplane, DataplaneError, InterfaceReport, Reading, Trouble, TwinMaps, TwinParts, TwinState,
};
use crate::engine::{Engine, EngineError, SetName};
use crate::feeds::parse_prefix;
use crate::interface::InterfaceMode;
use crate::tables::Settled;

/// How soon tables that could not be repaired are tried again.
const REPAIR_SLEEP: Duration = Duration::from_secs(3);
/// How soon the end of a trial that failed is tried again.
const TRIAL_SLEEP: Duration = Duration::from_millis(200);
/// How soon entries that could not be removed are tried again, at the earliest, where others end sooner.
const STUCK_SLEEP: Duration = Duration::from_secs(1);
/// How often in a row what rests is tried to be given back.
const SETTLE_TRIES: usize = 8;

/// What the controller needs of the dataplane; the kernel's is [`Dataplane`].
pub trait Interfaces: Send {
    /// Puts the program on an interface, or leaves it there when it is there in that way.
    ///
    /// # Errors
    /// When the interface cannot take it; nothing has changed then.
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError>;

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    fn detach(&mut self, name: &str) -> Result<(), DataplaneError>;

    /// Takes the program off every interface, whose names are returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError>;

    /// Every interface that the program is on, with its counters.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError>;

    /// Hands `look` every interface that the program is on, with its counters and those of each set number. Until `look`
    /// returns, no number is given to another set.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn look(&self, look: &mut dyn FnMut(Vec<Reading>)) -> Result<(), DataplaneError>;

    /// What the rules with these numbers of counters counted, on each interface, by name.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn rule_counters(&self, slots: &[u32]) -> Result<Vec<(String, Vec<RuleCounter>)>, DataplaneError>;

    /// The sources that rules have banned and that are banned now, the one whose ban ends soonest first.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn bans(&self) -> Result<Vec<Ban>, DataplaneError>;

    /// Ends the bans of these sources now; says of each whether it was banned.
    ///
    /// # Errors
    /// When the kernel refuses; some may have ended then.
    fn lift_bans(&mut self, addresses: &[IpAddr]) -> Result<Vec<bool>, DataplaneError>;

    /// The parts of a twin of what is in force.
    ///
    /// # Errors
    /// When there are no tables, or the kernel refuses.
    fn twin_parts(&self, state: TwinState) -> Result<TwinParts, DataplaneError> {
        let _ = state;
        Err(DataplaneError::NoTables)
    }

    /// Makes the maps of a twin for an interface of that name, with these switches.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn open_twin(
        &self,
        parts: &TwinParts,
        interface: &str,
        switches: Switches,
    ) -> Result<TwinMaps, DataplaneError> {
        let _ = (parts, interface, switches);
        Err(DataplaneError::NoTables)
    }

    /// Looks whether every interface still has the program; tells what has gone wrong since the last look.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn look_after(&mut self) -> Result<Vec<Trouble>, DataplaneError>;
}

impl Interfaces for Arc<Mutex<Dataplane>> {
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        held(self).attach(name, mode, switches)
    }

    fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        held(self).detach(name)
    }

    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError> {
        held(self).detach_all()
    }

    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        held(self).interfaces()
    }

    fn look(&self, look: &mut dyn FnMut(Vec<Reading>)) -> Result<(), DataplaneError> {
        let dataplane = held(self);
        look(dataplane.readings()?);
        Ok(())
    }

    fn rule_counters(&self, slots: &[u32]) -> Result<Vec<(String, Vec<RuleCounter>)>, DataplaneError> {
        held(self).rule_counters(slots)
    }

    fn bans(&self) -> Result<Vec<Ban>, DataplaneError> {
        held(self).bans()
    }

    fn lift_bans(&mut self, addresses: &[IpAddr]) -> Result<Vec<bool>, DataplaneError> {
        held(self).lift_bans(addresses)
    }

    fn twin_parts(&self, state: TwinState) -> Result<TwinParts, DataplaneError> {
        held(self).twin_parts(state)
    }

    fn open_twin(
        &self,
        parts: &TwinParts,
        interface: &str,
        switches: Switches,
    ) -> Result<TwinMaps, DataplaneError> {
        held(self).open_twin(parts, interface, switches)
    }

    fn look_after(&mut self) -> Result<Vec<Trouble>, DataplaneError> {
        held(self).look_after()
    }
}

/// What a panic can leave half-done is told by the kernel, not by this value.
fn held(dataplane: &Mutex<Dataplane>) -> MutexGuard<'_, Dataplane> {
    dataplane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's state.
pub struct Controller {
    engine: Mutex<Engine>,
    interfaces: Mutex<Box<dyn Interfaces>>,
    view: Mutex<Arc<View>>,
    unfiltered: Mutex<Unfiltered>,
    pub(super) lookout: Lookout,
    pub(super) twins: Twins,
    state_dir: PathBuf,
    started: SystemTime,
    /// What is to be known for as long as this runs.
    notes: Vec<String>,
    pub(super) changed: Notify,
}

/// Setting up, and what happens without a request.
impl Controller {
    /// A controller of these two, whose engine keeps its state in `state_dir`.
    #[must_use]
    pub fn new(engine: Engine, interfaces: Box<dyn Interfaces>, state_dir: &Path) -> Self {
        Self {
            view: Mutex::new(Arc::new(View::of(&engine))),
            engine: Mutex::new(engine),
            interfaces: Mutex::new(interfaces),
            unfiltered: Mutex::default(),
            lookout: Lookout::default(),
            twins: Twins::default(),
            state_dir: state_dir.to_owned(),
            started: SystemTime::now(),
            notes: Vec::new(),
            changed: Notify::new(),
        }
    }

    /// The same, which warns of this for as long as it runs.
    #[must_use]
    pub fn noting(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    /// The same, which refuses changes that would cut off whom `look` names; without it nobody is guarded.
    #[must_use]
    pub fn guarded_by(self, look: Look) -> Self {
        Self { lookout: Lookout::new(look), ..self }
    }

    /// Repairs tables that have drifted, removes entries whose time is over, and shortens the journal when that is due;
    /// says in how long there is something to do again.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn expire(&self) -> Result<Option<Duration>, ApiError> {
        let now = SystemTime::now();
        let mut engine = self.engine()?;
        engine.maintain();
        match engine.repair_drift() {
            Ok(true) => tracing::info!("the tables are what the sets say again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = %chain(&error), "the tables cannot be repaired yet, it is tried again");
                return Ok(Some(REPAIR_SLEEP));
            }
        }
        match engine.end_trial_in_time(now) {
            Ok(true) => {
                tracing::warn!("the policy was not confirmed in time, and what was before is in force again");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(
                    error = %chain(&error),
                    "what was before the policy that was not confirmed cannot be put in force yet, it is tried again"
                );
                return Ok(Some(TRIAL_SLEEP));
            }
        }
        let soonest = |next: Option<SystemTime>, trial: Option<SystemTime>| match (next, trial) {
            (Some(next), Some(trial)) => Some(next.min(trial)),
            (next, trial) => next.or(trial),
        };
        let trial = engine.trial_until();
        let next = match engine.expire(now) {
            Ok(0) => engine.next_expiry(),
            Ok(expired) => {
                tracing::info!(expired, "removed entries whose time is over");
                engine.next_expiry()
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "entries whose time is over cannot be removed, it is tried again");
                let other = engine.next_expiry_after(now);
                let next = other.map(|next| next.duration_since(now).unwrap_or_default().max(STUCK_SLEEP));
                let trial = trial.map(|trial| trial.duration_since(now).unwrap_or_default());
                return Ok(next.into_iter().chain(trial).min());
            }
        };
        Ok(soonest(next, trial).map(|next| next.duration_since(now).unwrap_or_default()))
    }

    /// Gives back what rests in the tables. Programs that may look at it still are waited for without the engine, so no
    /// change waits for that. Where changes go on by which more comes to rest, it is left for the next call.
    ///
    /// # Errors
    /// When the engine is not to be used any more.
    pub fn settle(&self) -> Result<(), ApiError> {
        for turn in 1..=SETTLE_TRIES {
            let Some(resting) = self.asked()?.resting() else { return Ok(()) };
            // That the kernel cannot tell is logged where it is asked; tables that are made anew need no telling.
            let Ok(waited) = resting.wait() else { return Ok(()) };
            if self.asked()?.settle(waited) == Settled::All {
                tracing::debug!(turn, "gave back what rested in the tables");
                return Ok(());
            }
        }
        Ok(())
    }

    /// What there is to be warned of, in words.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let view = Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner));
        [self.notes.clone(), view.warnings()].concat()
    }

    /// Ends when an entry with an end was added since the last call, or the tables have drifted.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The engine, to change it.
    pub(super) fn engine(&self) -> Result<Writing<'_>, ApiError> {
        let engine = self.engine.lock().map_err(|_| ApiError::Panicked)?;
        Ok(Writing::new(engine, &self.view, &self.changed))
    }

    /// The engine, to ask what the view does not tell.
    pub(super) fn asked(&self) -> Result<MutexGuard<'_, Engine>, ApiError> {
        self.engine.lock().map_err(|_| ApiError::Panicked)
    }

    /// What the engine was after the last change.
    pub(super) fn view(&self) -> Result<Arc<View>, ApiError> {
        if self.engine.is_poisoned() {
            return Err(ApiError::Panicked);
        }
        let view = self.view.lock().map_err(|_| ApiError::Panicked)?;
        Ok(Arc::clone(&view))
    }

    pub(super) fn unfiltered(&self) -> Result<MutexGuard<'_, Unfiltered>, ApiError> {
        self.unfiltered.lock().map_err(|_| ApiError::Panicked)
    }

    pub(super) fn dataplane(&self) -> Result<MutexGuard<'_, Box<dyn Interfaces>>, ApiError> {
        self.interfaces.lock().map_err(|_| ApiError::Panicked)
    }
}

/// Reading.
impl Controller {
    /// What the interfaces counted, and the sets as of the same moment.
    fn readings(&self) -> Result<(Vec<Reading>, Arc<View>), ApiError> {
        let mut read = Err(ApiError::Panicked);
        self.dataplane()?.look(&mut |readings| read = self.view().map(|view| (readings, view)))?;
        read
    }

    /// Everything about the daemon, its tables and its interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn status(&self) -> Result<Status, ApiError> {
        let (readings, view) = self.readings()?;
        let dropped = Dropped::on(&readings, &view);
        let interfaces: Vec<Interface> = readings.into_iter().map(|it| Interface::from(it.report)).collect();
        let mut warnings = [self.notes.clone(), view.warnings()].concat();
        warnings.extend(self.unfiltered()?.warnings(view.wanted.iter(), &interfaces));
        Ok(Status {
            schema: SCHEMA,
            time: Timestamp(SystemTime::now()),
            controller: ControllerStatus {
                running: true,
                pid: Some(std::process::id()),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                started: Some(Timestamp(self.started)),
                abi_version: ABI_VERSION,
                state_dir: Some(self.state_dir.display().to_string()),
                warnings,
            },
            total: Traffic::total(&interfaces),
            interfaces,
            policy: view.policy.clone(),
            tables: Some(view.tables.clone()),
            memory: Some(view.memory),
            removed_sets: Some(dropped.removed()),
            sets: Some(dropped.summaries(&view)),
        })
    }

    /// The counters alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stats(&self) -> Result<Stats, ApiError> {
        let (readings, view) = self.readings()?;
        let of = |reading: Reading| {
            let dropped = Dropped::on(std::slice::from_ref(&reading), &view);
            let mut stats = InterfaceStats::from(Interface::from(reading.report));
            stats.sets = Some(dropped.by_name(&view));
            stats.removed_sets = Some(dropped.removed());
            stats
        };
        let total: Vec<Interface> = readings.iter().map(|it| Interface::from(it.report.clone())).collect();
        Ok(Stats {
            schema: SCHEMA,
            time: Timestamp(SystemTime::now()),
            controller: StatsController { running: true, pid: Some(std::process::id()) },
            total: Traffic::total(&total),
            interfaces: readings.into_iter().map(of).collect(),
        })
    }

    /// Every set.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sets(&self) -> Result<SetList, ApiError> {
        let (readings, view) = self.readings()?;
        let dropped = Dropped::on(&readings, &view);
        Ok(SetList { schema: SCHEMA, sets: dropped.summaries(&view), removed_sets: dropped.removed() })
    }

    /// One set with its prefixes.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn entries(&self, name: &str) -> Result<SetEntries, ApiError> {
        let name = SetName::try_from(name)?;
        let engine = self.asked()?;
        let entries = engine
            .entries(&name)?
            .map(|(prefix, record)| Entry {
                prefix,
                by: record.by.to_string(),
                reason: record.reason.map(|reason| reason.to_string()),
                added: Timestamp(record.added),
                expires: record.expires.map(Timestamp),
            })
            .collect();
        let action = action(&engine, &name)?;
        Ok(SetEntries { schema: SCHEMA, name: name.to_string(), action, entries })
    }
}

pub(super) fn action(engine: &Engine, name: &SetName) -> Result<Action, ApiError> {
    let set = engine.sets().find(|set| set.name == *name);
    let set = set.ok_or_else(|| EngineError::UnknownSet { name: name.clone() })?;
    Ok(set.kind.into())
}

/// All of them, or every one that is no prefix.
pub(super) fn parse(texts: &[String]) -> Result<Vec<IpNet>, ApiError> {
    if texts.is_empty() {
        return Err(ApiError::Meaningless("`prefixes` is empty; expected at least one address or prefix"));
    }
    let mut prefixes = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse_prefix(text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(error) => problems.push(Problem {
                index: Some(index as u64),
                message: error.to_string(),
                ..Problem::default()
            }),
        }
    }
    if problems.is_empty() {
        Ok(prefixes)
    } else {
        Err(ApiError::BadPrefixes { bad: problems.len(), problems, given: texts.len() })
    }
}
