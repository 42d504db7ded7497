//! What an import would do, told without the engine: on a copy of its sets, so that no change waits meanwhile.

use std::time::SystemTime;

use ipnet::IpNet;

use super::change::{Leaving, distinct, is_at_once, sort_put};
use super::error::EngineError;
use super::name::SetName;
use super::plan;
use super::sets::Sets;
use super::types::{ImportPlan, ImportReport, Provenance};
use crate::tables::{Contents, Footprint, TableError, TableKind, TableMemory};

/// The sets and tables of an engine, as of one moment.
pub struct Planner {
    pub(super) sets: Sets,
    /// Entries in all tables.
    pub(super) used: usize,
    pub(super) memory: TableMemory,
    pub(super) footprint: fn(&Contents) -> Result<Footprint, TableError>,
}

impl Planner {
    /// What [`super::Engine::import`] would do with the same arguments, without doing it.
    ///
    /// # Errors
    /// As for the import, as far as they can be told beforehand: not [`EngineError::Journal`], and not what the kernel
    /// may refuse.
    pub fn plan_import(
        &self,
        set: &SetName,
        kind: TableKind,
        prefixes: &[IpNet],
        replace: bool,
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ImportPlan, EngineError> {
        let leaving = if replace { Leaving::Others } else { Leaving::None };
        let put = sort_put(&self.sets, set, kind, distinct(prefixes), &leaving, provenance, now)?;
        let contents = plan::contents(&self.sets, kind, &put.steps)?;
        let footprint = (self.footprint)(&contents).map_err(|source| EngineError::Tables { source })?;
        let memory = self.memory;
        let replaces_tables = is_at_once(leaving.how(), put.steps.len(), self.used);
        if replaces_tables && footprint.bytes > memory.limit {
            let source = TableError::OverLimit { needed: footprint.bytes, limit: memory.limit };
            return Err(EngineError::Tables { source });
        }
        let held = self.sets.set(set).map_or(0, |set| set.entries.len());
        let total = held + put.report.added.len() - put.report.removed.len();
        let report = ImportReport::new(&put.report, total);
        Ok(ImportPlan { report, footprint, memory, replaces_tables })
    }
}
