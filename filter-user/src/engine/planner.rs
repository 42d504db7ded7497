//! What an import would do, told without the engine: on a copy of its sets, so that no change waits meanwhile.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ipnet::IpNet;

use super::change::{Leaving, check_entries, distinct, is_at_once, sort_put};
use super::error::EngineError;
use super::kind::SetKind;
use super::name::SetName;
use super::plan;
use super::sets::Sets;
use super::types::{ImportPlan, ImportReport, PlannedWay, Provenance};
use crate::tables::{Contents, Footprint, TableError, TableMemory};

/// The sets and tables of an engine, as of one moment.
pub struct Planner {
    pub(super) sets: Sets,
    /// Entries in all tables.
    pub(super) used: usize,
    pub(super) memory: TableMemory,
    /// Entries that sets may have, where the policy in force says so.
    pub(super) limits: BTreeMap<SetName, u32>,
    pub(super) footprint: fn(&Contents) -> Result<Footprint, TableError>,
}

impl Planner {
    /// What [`super::Engine::import`] would do with the same arguments, without doing it.
    ///
    /// # Errors
    /// As for the import, as far as they can be told beforehand: not [`EngineError::Journal`], and not what the kernel
    /// may refuse. [`EngineError::MayNotFit`] where the import is refused unless the tables in force have room for it.
    pub fn plan_import(
        &self,
        set: &SetName,
        kind: SetKind,
        prefixes: &[IpNet],
        replace: bool,
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ImportPlan, EngineError> {
        let leaving = if replace { Leaving::Others } else { Leaving::None };
        let put = sort_put(&self.sets, set, kind, distinct(prefixes), &leaving, provenance, now)?;
        check_entries(&self.sets, set, &put.report, self.limits.get(set).copied())?;
        let contents = plan::contents(&self.sets, &put.steps)?;
        let footprint = (self.footprint)(&contents).map_err(|source| EngineError::Tables { source })?;
        let memory = self.memory;
        let way = match put.steps.len() {
            0 => PlannedWay::Untouched,
            steps if is_at_once(leaving.how(), steps, self.used) => PlannedWay::Replaced,
            _ => PlannedWay::InPlace,
        };
        check_limit(way, footprint.bytes, memory.limit)?;
        let held = self.sets.set(set).map_or(0, |set| set.entries.len());
        let total = held + put.report.added.len() - put.report.removed.len();
        let report = ImportReport::new(&put.report, total);
        Ok(ImportPlan { report, footprint, memory, way })
    }
}

/// Refuses what the import would be refused for, or may be: whether it fits in place is known once it is tried, as the
/// room that each part of the tables has left is theirs to know.
const fn check_limit(way: PlannedWay, needed: u64, limit: u64) -> Result<(), EngineError> {
    match way {
        PlannedWay::Replaced if needed > limit => {
            Err(EngineError::Tables { source: TableError::OverLimit { needed, limit } })
        }
        PlannedWay::InPlace if needed > limit => Err(EngineError::MayNotFit { needed, limit }),
        PlannedWay::Untouched | PlannedWay::InPlace | PlannedWay::Replaced => Ok(()),
    }
}
