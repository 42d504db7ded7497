//! How a change is made: planned, brought into the tables, journalled, and only then taken as the state.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ipnet::IpNet;

use super::Engine;
use super::error::EngineError;
use super::name::SetName;
use super::plan::{self, TableStep};
use super::record::{Change, Record, Step};
use super::state::Set;
use super::types::{ChangeReport, Provenance, seconds};
use crate::tables::{SetId, TableKind};

/// What a change takes out of a set while it puts other prefixes in.
pub(super) enum Leaving {
    None,
    /// All that is not put in.
    Others,
    /// These, distinct and in order, as far as they are there; none of them is put in.
    These(Vec<IpNet>),
}

impl Engine {
    pub(super) fn known(&self, set: &SetName) -> Result<&Set, EngineError> {
        self.state.set(set).ok_or_else(|| EngineError::UnknownSet { name: set.clone() })
    }

    /// Puts `prefixes`, distinct and in order, into the set, and takes others out in the same change.
    pub(super) fn put(
        &mut self,
        name: &SetName,
        kind: TableKind,
        prefixes: Vec<IpNet>,
        leaving: &Leaving,
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ChangeReport, EngineError> {
        let expires = provenance.check(now)?;
        self.now = seconds(now);
        let set = self.state.set(name);
        if let Some(set) = set.filter(|set| set.kind != kind) {
            return Err(EngineError::OtherKind { name: name.clone(), is: set.kind, asked: kind });
        }
        let mut report = ChangeReport::default();
        match (leaving, set) {
            (Leaving::None, _) | (Leaving::Others, None) => {}
            (Leaving::Others, Some(set)) => {
                let others = set.entries.keys().filter(|prefix| prefixes.binary_search(prefix).is_err());
                report.removed = others.copied().collect();
            }
            (Leaving::These(leaving), _) => {
                let is_there = |prefix: &IpNet| set.is_some_and(|set| set.entries.contains_key(prefix));
                (report.removed, report.unchanged) = leaving.iter().copied().partition(is_there);
            }
        }
        for prefix in prefixes {
            match set.and_then(|set| set.entries.get(&prefix)) {
                None => report.added.push(prefix),
                Some(origin) if provenance.refreshes(expires, origin) => report.refreshed.push(prefix),
                Some(_) => report.unchanged.push(prefix),
            }
        }
        if matches!(leaving, Leaving::These(_)) {
            report.unchanged.sort_unstable();
        }
        let mut journalled = Vec::new();
        let id = if let Some(set) = set {
            set.id
        } else {
            let id = self.state.next_id();
            if id == SetId::MAX {
                return Err(EngineError::NoMoreSets);
            }
            let create = Step::CreateSet { id, name: name.clone(), kind: kind.into(), created: self.now };
            journalled.push(create);
            id
        };
        let put = [&report.added[..], &report.refreshed[..]].concat();
        if !put.is_empty() {
            let Provenance { by, reason, .. } = provenance.clone();
            journalled.push(Step::Put { set: id, added: self.now, expires, by, reason, prefixes: put });
        }
        if !report.removed.is_empty() {
            journalled.push(Step::Remove { set: id, prefixes: report.removed.clone() });
        }
        let steps = plan::steps(&self.state, kind, id, &report.added, &report.removed);
        self.commit(kind, steps, journalled)?;
        Ok(report)
    }

    /// Makes one change in the table, in the journal, and in the state: all three, or none.
    pub(super) fn commit(
        &mut self,
        kind: TableKind,
        steps: Vec<TableStep>,
        journalled: Vec<Step>,
    ) -> Result<(), EngineError> {
        if journalled.is_empty() {
            return Ok(());
        }
        if self.drifted {
            self.repair()?;
        }
        let steps = plan::order(steps, kind, &self.used, self.tables.capacity(kind))?;
        let applied = plan::apply(self.tables.as_mut(), kind, &steps);
        let done = applied.and_then(|()| {
            self.record(journalled).map_err(|cause| match plan::undo(self.tables.as_mut(), kind, &steps) {
                Ok(()) => cause,
                Err(source) => EngineError::NotUndone { cause: Box::new(cause), source },
            })
        });
        match done {
            Ok(()) => self.used.take(kind, &steps),
            Err(EngineError::NotUndone { .. }) => self.drifted = true,
            Err(_) => {}
        }
        done
    }

    /// Journals a change and then takes it in the state.
    pub(super) fn record(&mut self, steps: Vec<Step>) -> Result<(), EngineError> {
        let record = Record::Change(Change { at: self.now, steps });
        self.journal.append(&record)?;
        if let Record::Change(change) = &record {
            // Steps are made from this very state, so they fit it.
            let fits = self.state.apply(change);
            debug_assert_eq!(fits, Ok(()));
        }
        if self.journal.is_compaction_due() {
            self.compaction_failure = self.journal.compact(&self.state).err();
        }
        Ok(())
    }

    /// Makes a set of what each table holds, all in one change; says how many prefixes. The sets' numbers reach the
    /// tables with [`Self::repair`].
    pub(super) fn adopt_tables(&mut self) -> Result<usize, EngineError> {
        let (mut adopted, mut set, added) = (0, self.state.next_id(), self.now);
        let mut steps = Vec::new();
        for kind in TableKind::ALL {
            let is = self.tables.entries(kind).map_err(|source| EngineError::Unreadable { kind, source })?;
            if is.is_empty() {
                continue;
            }
            let prefixes = distinct(&is.into_iter().map(|(prefix, _)| prefix).collect::<Vec<_>>());
            adopted += prefixes.len();
            steps.push(Step::CreateSet {
                id: set,
                name: SetName::adopted(kind),
                kind: kind.into(),
                created: added,
            });
            steps.push(Step::Put {
                set,
                added,
                expires: None,
                by: "levee".to_owned(),
                reason: Some("in the tables when the state began".to_owned()),
                prefixes,
            });
            set += 1;
        }
        if !steps.is_empty() {
            self.record(steps)?;
        }
        Ok(adopted)
    }

    pub(super) fn drop_expired_from_state(&mut self) -> Result<usize, EngineError> {
        let expired = self.state.expired(self.now);
        let count = expired.values().map(Vec::len).sum();
        let steps: Vec<Step> =
            expired.into_iter().map(|(set, prefixes)| Step::Remove { set, prefixes }).collect();
        if !steps.is_empty() {
            self.record(steps)?;
        }
        Ok(count)
    }

    /// Brings the tables to what the sets say, whatever they hold; says how many entries came, changed, went.
    pub(super) fn repair(&mut self) -> Result<(usize, usize, usize), EngineError> {
        self.drifted = true;
        let mut total = (0, 0, 0);
        for kind in TableKind::ALL {
            let is = self.tables.entries(kind).map_err(|source| EngineError::Unreadable { kind, source })?;
            let is: BTreeMap<IpNet, SetId> = is.into_iter().collect();
            let steps = plan::repair(&is, &self.state.table(kind));
            self.used.set(kind, is.into_keys());
            let (inserted, corrected, removed) = plan::count(&steps);
            total = (total.0 + inserted, total.1 + corrected, total.2 + removed);
            let steps = plan::order(steps, kind, &self.used, self.tables.capacity(kind))?;
            plan::apply(self.tables.as_mut(), kind, &steps)?;
            self.used.take(kind, &steps);
        }
        self.drifted = false;
        Ok(total)
    }
}

/// The prefixes in order, each once, without host bits.
pub(super) fn distinct(prefixes: &[IpNet]) -> Vec<IpNet> {
    let mut distinct: Vec<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}
