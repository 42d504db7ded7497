//! The desired state, and the one writer that brings the tables to it.
//!
//! Decides what every change means: which prefixes enter and leave which table, whether they fit, and when the change
//! counts. A change is made in the tables first and in the journal second, and undone in the tables where either
//! fails, so a caller sees all of it or nothing. A prefix may be in several sets of a kind; the table names the one
//! with the lowest number, and the prefix stays until the last of them lets go of it.
//!
//! Owns no socket and no clock: times come as arguments. Trusts its own state directory as far as checksums go, and
//! the tables not at all: opening compares every entry. Costs a comparison with each other set of the kind ([`owners`]),
//! and one fdatasync a change.

mod change;
mod coverage;
mod error;
mod in_force;
mod journal;
mod kind;
mod lock;
mod log_file;
mod name;
mod owners;
mod plan;
mod planner;
mod policies;
mod policy;
mod record;
mod salvage;
mod sets;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use ipnet::IpNet;

pub use self::coverage::{COUNTED, Coverage, Extent, Inside};
pub use self::error::{EngineError, JournalError};
pub use self::kind::SetKind;
pub use self::log_file::LogFile;
pub use self::name::{SetName, SetNameError};
pub use self::planner::Planner;
pub use self::policy::{PolicyOrigin, PolicyPlan, PolicySummary};
pub use self::types::{
    ChangeReport, EntryRecord, ImportPlan, ImportReport, InterfaceIntent, Match, MissingLog, PlannedWay,
    Provenance, Recovery, SetSummary, TableUse,
};

use self::change::{How, Leaving, distinct};
use self::journal::Journal;
use self::lock::Lock;
use self::plan::Used;
use self::record::{Change, Record, Step};
use self::sets::Sets;
use self::state::State;
use self::types::seconds;
use crate::tables::{PrefixTables, TableKind, TableMemory};

/// The desired state and the tables that follow it.
pub struct Engine {
    state: State,
    tables: Box<dyn PrefixTables>,
    journal: Journal,
    used: Used,
    /// An undo failed: the tables are not what the state says.
    drifted: bool,
    /// The latest time that a caller told.
    now: u64,
    compaction_failure: Option<JournalError>,
    /// The policy in force.
    policy: Option<in_force::InForce>,
    _lock: Lock,
}

impl Engine {
    /// Takes the state directory, reads the state, drops what is over at `now`, and repairs the tables. Where there is
    /// no state yet, what the tables hold becomes it: a filter in use is never emptied because its state was lost. Where
    /// part of the state was lost, see [`MissingLog`].
    ///
    /// # Errors
    /// [`EngineError::StateDirectory`], [`EngineError::Locked`] and [`EngineError::Journal`] before anything changed;
    /// [`EngineError::Tables`] when the tables cannot hold the state or the kernel refuses; they are as they were then.
    pub fn open(
        state_dir: &Path,
        tables: Box<dyn PrefixTables>,
        now: SystemTime,
    ) -> Result<(Self, Recovery), EngineError> {
        let lock = Lock::take(state_dir)?;
        let (journal, state, opened) = Journal::open(state_dir)?;
        let mut engine = Self {
            state,
            tables,
            journal,
            used: Used::default(),
            drifted: true,
            now: seconds(now),
            compaction_failure: None,
            policy: None,
            _lock: lock,
        };
        let (missing_log, adopted) = if opened.missing_log {
            engine.salvage()?
        } else {
            (MissingLog::No, if opened.fresh { engine.adopt_tables()? } else { 0 })
        };
        let expired = engine.drop_expired_from_state()?;
        engine.open_policy(opened.fresh || opened.missing_log)?;
        let tables = engine.repair()?;
        let recovery = Recovery {
            sets: engine.state.sets().count(),
            prefixes: engine.state.entries(),
            interfaces: engine.state.interfaces.len(),
            expired,
            adopted,
            tables,
            truncated_log_bytes: opened.truncated_log_bytes,
            stale_log: opened.stale_log,
            missing_log,
        };
        Ok((engine, recovery))
    }

    /// Adds `prefixes` to `set`, which is made where it is missing. What is there already does not fail the rest: it
    /// takes the new expiry, and the new reason if one is given.
    ///
    /// # Errors
    /// [`EngineError::OtherKind`], [`EngineError::AlreadyExpired`], [`EngineError::TextTooLong`],
    /// [`EngineError::TooManySets`], [`EngineError::Table`], [`EngineError::Tables`] and [`EngineError::Journal`];
    /// nothing changed then.
    pub fn add(
        &mut self,
        set: &SetName,
        kind: SetKind,
        prefixes: &[IpNet],
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ChangeReport, EngineError> {
        self.put(set, kind, distinct(prefixes), &Leaving::None, provenance, now)
    }

    /// Takes `prefixes` out of `set`. Those that are not in it are reported and do not fail the rest.
    ///
    /// # Errors
    /// [`EngineError::UnknownSet`], [`EngineError::Table`] and [`EngineError::Journal`]; nothing changed then.
    pub fn delete(&mut self, set: &SetName, prefixes: &[IpNet]) -> Result<ChangeReport, EngineError> {
        let of = self.known(set)?;
        let (removed, unchanged): (Vec<IpNet>, Vec<IpNet>) =
            distinct(prefixes).into_iter().partition(|prefix| of.entries.contains_key(prefix));
        if !removed.is_empty() {
            let (kind, id) = (of.kind, of.id);
            let steps = plan::steps(&self.state, kind, id, &[], &removed);
            self.commit(steps, vec![Step::Remove { set: id, prefixes: removed.clone() }], How::OneByOne)?;
        }
        Ok(ChangeReport { removed, unchanged, ..ChangeReport::default() })
    }

    /// Adds some prefixes to `set` as [`Self::add`] does and takes others out as [`Self::delete`] does, in one change.
    /// No prefix may be in both lists. Where there is nothing to add, a set that is missing is not made.
    ///
    /// # Errors
    /// As for [`Self::add`], and [`EngineError::UnknownSet`] where there is nothing to add; nothing changed then.
    pub fn change(
        &mut self,
        set: &SetName,
        kind: SetKind,
        add: &[IpNet],
        remove: &[IpNet],
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ChangeReport, EngineError> {
        if add.is_empty() {
            self.known(set)?;
        }
        self.put(set, kind, distinct(add), &Leaving::These(distinct(remove)), provenance, now)
    }

    /// Adds `prefixes` to `set` and, with `replace`, takes out every other. No prefix that is in it before and after
    /// is ever absent from the table between.
    ///
    /// # Errors
    /// As for [`Self::add`]; nothing changed then.
    pub fn import(
        &mut self,
        set: &SetName,
        kind: SetKind,
        prefixes: &[IpNet],
        replace: bool,
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ImportReport, EngineError> {
        let leaving = if replace { Leaving::Others } else { Leaving::None };
        let report = self.put(set, kind, distinct(prefixes), &leaving, provenance, now)?;
        Ok(ImportReport::new(&report, self.known(set)?.entries.len()))
    }

    /// Takes everything out of `set`, which stays; says how many entries it had.
    ///
    /// # Errors
    /// As for [`Self::delete`].
    pub fn flush(&mut self, set: &SetName) -> Result<usize, EngineError> {
        let of = self.known(set)?;
        let (id, entries) = (of.id, of.entries.len());
        if entries > 0 {
            let steps = plan::steps_to_empty(&self.state, of);
            self.commit(steps, vec![Step::Flush { set: id }], How::AtOnce)?;
        }
        Ok(entries)
    }

    /// Removes `set` with everything in it; says how many entries it had.
    ///
    /// # Errors
    /// As for [`Self::delete`].
    pub fn remove_set(&mut self, set: &SetName) -> Result<usize, EngineError> {
        let of = self.known(set)?;
        if self.is_looked_at(set) {
            return Err(EngineError::SetInUse { name: set.clone() });
        }
        let (id, entries) = (of.id, of.entries.len());
        let steps = plan::steps_to_empty(&self.state, of);
        self.commit(steps, vec![Step::RemoveSet { set: id }], How::AtOnce)?;
        Ok(entries)
    }

    /// The sets, by name.
    pub fn sets(&self) -> impl Iterator<Item = SetSummary> {
        self.state.sets_by_name().map(SetSummary::from)
    }

    /// Names of the sets that a state which began on tables in use took from them, while they are there.
    pub fn adopted_sets(&self) -> impl Iterator<Item = &SetName> {
        self.state.sets_by_name().filter(|set| set.is_adopted()).map(|set| &set.name)
    }

    /// The entries of `set`, in order: IPv4 first, by address, wider first.
    ///
    /// # Errors
    /// [`EngineError::UnknownSet`].
    pub fn entries(&self, set: &SetName) -> Result<impl Iterator<Item = (IpNet, EntryRecord)>, EngineError> {
        let entries = &self.known(set)?.entries;
        Ok(entries.iter().map(|(prefix, origin)| (*prefix, EntryRecord::from(origin.as_ref()))))
    }

    /// What the live table of that kind says about all of `prefix`.
    ///
    /// # Errors
    /// [`EngineError::ForeignEntry`] when the answer names no set.
    pub fn test(&self, kind: TableKind, prefix: IpNet) -> Result<Option<Match>, EngineError> {
        let Some((prefix, id)) = self.tables.longest_match(kind, prefix.trunc()) else { return Ok(None) };
        let set = self.state.set_by_id(id).ok_or(EngineError::ForeignEntry { kind, prefix, id })?;
        Ok(Some(Match { prefix, set: set.name.clone() }))
    }

    /// How full the live table of that kind is.
    #[must_use]
    pub fn table_use(&self, kind: TableKind) -> TableUse {
        let [v4, v6] = plan::FAMILIES.map(|family| self.used.of(kind, family));
        TableUse { v4, v6 }
    }

    /// Memory of the live tables.
    #[must_use]
    pub fn table_memory(&self) -> TableMemory {
        self.tables.memory()
    }

    /// What tells what imports would do, without this engine: a copy of its sets that shares their entries.
    #[must_use]
    pub fn planner(&self) -> Planner {
        let (sets, footprint) = (Sets::clone(&self.state), self.tables.planner());
        let limits = self.entry_limits();
        Planner { sets, used: self.used.all(), memory: self.tables.memory(), limits, footprint }
    }

    /// The wanted interfaces, by name.
    #[must_use]
    pub const fn interfaces(&self) -> &BTreeMap<String, InterfaceIntent> {
        &self.state.interfaces
    }

    /// Wants Levee on the interface `name`.
    ///
    /// # Errors
    /// [`EngineError::Journal`]; nothing changed then.
    pub fn set_interface(&mut self, name: &str, intent: InterfaceIntent) -> Result<(), EngineError> {
        if self.state.interfaces.get(name) == Some(&intent) {
            return Ok(());
        }
        self.record(vec![Step::SetInterface { name: name.to_owned(), intent }])
    }

    /// Wants Levee no longer on the interface `name`; says whether it was wanted there.
    ///
    /// # Errors
    /// [`EngineError::Journal`]; nothing changed then.
    pub fn clear_interface(&mut self, name: &str) -> Result<bool, EngineError> {
        if !self.state.interfaces.contains_key(name) {
            return Ok(false);
        }
        self.record(vec![Step::ClearInterface { name: name.to_owned() }])?;
        Ok(true)
    }

    /// Wants Levee no longer on the named interfaces, or on none at all, in a state directory that no engine has open;
    /// names those where it was wanted. A directory that does not exist wants nothing, and is not made.
    ///
    /// # Errors
    /// [`EngineError::StateDirectory`], [`EngineError::Locked`] and [`EngineError::Journal`]; nothing changed then.
    pub fn forget_interfaces(
        state_dir: &Path,
        only: Option<&[String]>,
        now: SystemTime,
    ) -> Result<Vec<String>, EngineError> {
        if !state_dir.exists() {
            return Ok(Vec::new());
        }
        let _lock = Lock::take(state_dir)?;
        let (mut journal, state, _) = Journal::open(state_dir)?;
        let asked = |name: &String| only.is_none_or(|only| only.contains(name));
        let names: Vec<String> = state.interfaces.into_keys().filter(asked).collect();
        if !names.is_empty() {
            let steps = names.iter().map(|name| Step::ClearInterface { name: name.clone() }).collect();
            journal.append(&Record::Change(Change { at: seconds(now), steps }))?;
        }
        Ok(names)
    }

    /// The file that changes are written to.
    #[must_use]
    pub const fn log_file(&self) -> &LogFile {
        self.journal.log_file()
    }

    /// Why the last attempt to shorten the log failed. No change is lost by that, but the log goes on growing.
    #[must_use]
    pub const fn compaction_failure(&self) -> Option<&JournalError> {
        self.compaction_failure.as_ref()
    }
}
