//! How a change is made: planned, brought into the tables, journalled, and only then taken as the state.

use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use tracing::debug;

use super::Engine;
use super::error::EngineError;
use super::kind::SetKind;
use super::name::SetName;
use super::plan::{self, TableStep};
use super::record::{Change, Record, Step};
use super::sets::{ADOPTED_BY, Origin, Set, Sets};
use super::types::{ChangeReport, Provenance, seconds};
use crate::tables::{Contents, OnTrial, Opened, SetId, TableError, TableKind, entries};

/// Steps that are always taken one by one, if they fit: what they take is less than loading a program does.
const FEW: usize = 4096;

/// How the tables come to what a change wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In one step for every packet.
    AtOnce,
    /// Entry by entry, while they fit and are not too many.
    OneByOne,
}

/// What a change takes out of a set while it puts other prefixes in.
pub(super) enum Leaving {
    None,
    /// All that is not put in.
    Others,
    /// These, distinct and in order, as far as they are there; none of them is put in.
    These(Vec<IpNet>),
}

impl Leaving {
    pub(super) const fn how(&self) -> How {
        match self {
            Self::Others => How::AtOnce,
            Self::None | Self::These(_) => How::OneByOne,
        }
    }
}

/// What a change of a set means, before any of it is done.
pub(super) struct Put {
    pub id: SetId,
    /// The set is yet to be made.
    pub is_new: bool,
    pub expires: Option<u64>,
    pub report: ChangeReport,
    pub steps: Vec<TableStep>,
}

impl Engine {
    pub(super) fn known(&self, set: &SetName) -> Result<&Set, EngineError> {
        self.state.set(set).ok_or_else(|| EngineError::UnknownSet { name: set.clone() })
    }

    /// Puts `prefixes`, distinct and in order, into the set, and takes others out in the same change.
    pub(super) fn put(
        &mut self,
        name: &SetName,
        kind: SetKind,
        prefixes: Vec<IpNet>,
        leaving: &Leaving,
        provenance: &Provenance,
        now: SystemTime,
    ) -> Result<ChangeReport, EngineError> {
        let begun = Instant::now();
        let Put { id, is_new, expires, report, steps } =
            sort_put(&self.state, name, kind, prefixes, leaving, provenance, now)?;
        let most = self.set_limits(name).0;
        check_entries(&self.state, name, &report, most)?;
        debug!(steps = steps.len(), ms = begun.elapsed().as_millis(), "sorted out a change");
        self.now = seconds(now);
        let mut journalled = Vec::new();
        if is_new {
            // The number may have been another set's, whose counters are not this one's.
            self.tables.forget_set(id).map_err(|source| EngineError::Tables { source })?;
            let create = Step::CreateSet { id, name: name.clone(), kind: kind.into(), created: self.now };
            journalled.push(create);
        }
        // What goes goes first: a set that is replaced is then never as large as both.
        if !report.removed.is_empty() {
            journalled.push(Step::Remove { set: id, prefixes: report.removed.clone() });
        }
        let mut put = [&report.added[..], &report.refreshed[..]].concat();
        if !put.is_empty() {
            // Two runs in order, so this merges.
            put.sort();
            let Provenance { by, reason, .. } = provenance.clone();
            journalled.push(Step::Put { set: id, added: self.now, expires, by, reason, prefixes: put });
        }
        self.commit(steps, journalled, leaving.how())?;
        Ok(report)
    }

    /// Makes one change in the table, in the journal, and in the state: all three, or none.
    pub(super) fn commit(
        &mut self,
        steps: Vec<TableStep>,
        journalled: Vec<Step>,
        how: How,
    ) -> Result<(), EngineError> {
        if journalled.is_empty() {
            return Ok(());
        }
        // Appending asks as well; here nothing has been swapped yet.
        self.journal.log_file().check()?;
        if self.drifted {
            self.repair()?;
        }
        let steps = plan::order(steps);
        if self.state.policies.trial.is_some() {
            self.narrow_trial(&steps).map_err(|source| EngineError::Tables { source })?;
        }
        if self.rules_look_at(&journalled) {
            let contents = self.contents(&self.sets_after(&journalled), &[])?;
            return self.replace_and_record(&contents, OnTrial::AsBefore, || journalled);
        }
        if is_at_once(how, steps.len(), self.used.all()) {
            return self.commit_at_once(&steps, journalled);
        }
        match plan::apply(self.tables.as_mut(), &steps) {
            Err(EngineError::Table { source: TableError::Full | TableError::Unsettled, .. }) => {
                return self.commit_at_once(&steps, journalled);
            }
            Err(EngineError::NotUndone { cause, source }) => {
                self.drifted = true;
                // Putting back what was removed takes room, too. A replacement does not care what is half-done.
                let other_way = matches!(
                    *cause,
                    EngineError::Table { source: TableError::Full | TableError::Unsettled, .. }
                );
                let done = if other_way { self.commit_at_once(&steps, journalled) } else { Err(*cause) };
                return done.map_err(|cause| EngineError::NotUndone { cause: Box::new(cause), source });
            }
            applied => applied?,
        }
        let done = self.record(journalled).map_err(|cause| match plan::undo(self.tables.as_mut(), &steps) {
            Ok(()) => cause,
            Err(source) => {
                self.drifted = true;
                EngineError::NotUndone { cause: Box::new(cause), source }
            }
        });
        if done.is_ok() {
            self.used.take(&steps);
        }
        done
    }

    /// What a trial lets through of open connections meets the lists of before: not so of whom a change blocks.
    fn narrow_trial(&mut self, steps: &[TableStep]) -> Result<(), TableError> {
        let blocked: Vec<IpNet> = steps.iter().filter_map(TableStep::blocks).collect();
        let disallows = steps.iter().any(TableStep::disallows);
        if disallows {
            return self.tables.narrow_trial(None);
        }
        if blocked.is_empty() { Ok(()) } else { self.tables.narrow_trial(Some(&blocked)) }
    }

    /// The same by a new generation of the tables.
    fn commit_at_once(&mut self, steps: &[TableStep], journalled: Vec<Step>) -> Result<(), EngineError> {
        let begun = Instant::now();
        let contents = self.contents(&self.state, steps)?;
        debug!(steps = steps.len(), ms = begun.elapsed().as_millis(), "gathered the contents");
        self.replace_and_record(&contents, OnTrial::AsBefore, || journalled)
    }

    /// Puts tables in force and then records why; where that fails, those of before are in force again.
    pub(super) fn replace_and_record(
        &mut self,
        contents: &Contents,
        on_trial: OnTrial,
        steps: impl FnOnce() -> Vec<Step>,
    ) -> Result<(), EngineError> {
        let begun = Instant::now();
        self.tables.replace(contents, on_trial).map_err(|source| self.not_replaced(source))?;
        debug!(ms = begun.elapsed().as_millis(), "replaced the tables");
        match self.record(steps()) {
            Ok(()) => {
                self.tables.keep();
                self.used.set(contents);
                self.drifted = false;
                Ok(())
            }
            Err(cause) => Err(match self.tables.put_back() {
                Ok(()) => cause,
                Err(source) => {
                    self.drifted = true;
                    EngineError::NotUndone { cause: Box::new(cause), source }
                }
            }),
        }
    }

    /// Why new tables did not come into force, and whether those of before still are.
    pub(super) const fn not_replaced(&mut self, source: TableError) -> EngineError {
        if matches!(source, TableError::Divided { .. }) {
            self.drifted = true;
            return EngineError::Divided { source };
        }
        EngineError::Tables { source }
    }

    /// Journals a change and then takes it in the state.
    pub(super) fn record(&mut self, steps: Vec<Step>) -> Result<(), EngineError> {
        let begun = Instant::now();
        let record = Record::Change(Change { at: self.now, steps });
        self.journal.append(&record)?;
        debug!(ms = begun.elapsed().as_millis(), "journalled a change");
        if let Record::Change(change) = &record {
            // Steps are made from this very state, so they fit it.
            let fits = self.state.apply(change);
            debug_assert_eq!(fits, Ok(()));
        }
        debug!(ms = begun.elapsed().as_millis(), "took it as the state");
        Ok(())
    }

    /// Makes a set of what each table holds, all in one change; says how many prefixes. The sets' numbers reach the
    /// tables with [`Self::repair`].
    pub(super) fn adopt_tables(&mut self) -> Result<usize, EngineError> {
        let found = self.tables.found().map_err(|source| EngineError::Tables { source })?;
        let (mut adopted, mut set, added) = (0, 1, self.now);
        let mut steps = Vec::new();
        for kind in TableKind::LISTS {
            let prefixes: Vec<IpNet> = entries(&found, kind).into_keys().collect();
            if prefixes.is_empty() {
                continue;
            }
            adopted += prefixes.len();
            // What a former set of that number dropped is not this one's.
            self.tables.forget_set(set).map_err(|source| EngineError::Tables { source })?;
            steps.push(Step::CreateSet {
                id: set,
                name: SetName::adopted(kind),
                kind: SetKind::from(kind).into(),
                created: added,
            });
            steps.push(Step::Put {
                set,
                added,
                expires: None,
                by: ADOPTED_BY.to_owned(),
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

    /// Brings the tables to what the sets say, whatever they hold; says whether that took anything.
    pub(super) fn repair(&mut self) -> Result<Opened, EngineError> {
        self.drifted = true;
        let contents = self.contents(&self.state, &[])?;
        let on_trial = self.state.policies.trial.is_some();
        let opened = self.tables.open(&contents, on_trial).map_err(|source| self.not_replaced(source))?;
        self.used.set(&contents);
        self.drifted = false;
        Ok(opened)
    }
}

/// Whether so many steps are taken by a replacement of the tables, which hold so many entries, also if they would fit
/// into those in force.
pub(super) fn is_at_once(how: How, steps: usize, used: usize) -> bool {
    match how {
        How::AtOnce => steps > 1,
        How::OneByOne => steps > FEW.max(used / 4),
    }
}

/// Tells what putting `prefixes`, distinct and in order, into the set means, and taking others out.
pub(super) fn sort_put(
    sets: &Sets,
    name: &SetName,
    kind: SetKind,
    prefixes: Vec<IpNet>,
    leaving: &Leaving,
    provenance: &Provenance,
    now: SystemTime,
) -> Result<Put, EngineError> {
    let expires = provenance.check(now)?;
    let set = sets.set(name);
    if let Some(set) = set.filter(|set| set.kind != kind) {
        return Err(EngineError::OtherKind { name: name.clone(), is: set.kind, asked: kind });
    }
    let mut report = ChangeReport::default();
    sort_out(set, prefixes, leaving, |origin| provenance.refreshes(expires, origin), &mut report);
    let id = match set {
        Some(set) => set.id,
        None => sets.free_id().ok_or(EngineError::TooManySets)?,
    };
    let steps = plan::steps(sets, kind, id, &report.added, &report.removed);
    Ok(Put { id, is_new: set.is_none(), expires, report, steps })
}

/// Refuses a change after which a set would have more entries than it may, and more than it has.
pub(super) fn check_entries(
    sets: &Sets,
    name: &SetName,
    report: &ChangeReport,
    most: Option<u32>,
) -> Result<(), EngineError> {
    let Some(limit) = most else { return Ok(()) };
    let held = sets.set(name).map_or(0, |set| set.entries.len());
    let would = held + report.added.len() - report.removed.len();
    if would > held && would > limit as usize {
        return Err(EngineError::TooManyEntries { name: name.clone(), would, limit });
    }
    Ok(())
}

/// Tells what becomes of each prefix of a change. Both lists are in order, and so is the set: where they are long, all
/// are walked through side by side.
fn sort_out(
    set: Option<&Set>,
    prefixes: Vec<IpNet>,
    leaving: &Leaving,
    refreshes: impl Fn(&Origin) -> bool,
    report: &mut ChangeReport,
) {
    let Some(set) = set else {
        report.added = prefixes;
        if let Leaving::These(leaving) = leaving {
            report.unchanged.clone_from(leaving);
        }
        return;
    };
    match leaving {
        Leaving::None => {}
        Leaving::Others => {
            let mut staying = prefixes.iter().peekable();
            for prefix in set.entries.keys() {
                while staying.next_if(|staying| *staying < prefix).is_some() {}
                if staying.next_if_eq(&prefix).is_none() {
                    report.removed.push(*prefix);
                }
            }
        }
        Leaving::These(leaving) => {
            let is_there = |prefix: &IpNet| set.entries.contains_key(prefix);
            (report.removed, report.unchanged) = leaving.iter().copied().partition(is_there);
        }
    }
    let walk = prefixes.len() > set.entries.len() / 16;
    let mut there = set.entries.iter().peekable();
    for prefix in prefixes {
        let origin = if walk {
            while there.next_if(|(there, _)| **there < prefix).is_some() {}
            there.next_if(|(there, _)| **there == prefix).map(|(_, origin)| origin)
        } else {
            set.entries.get(&prefix)
        };
        match origin {
            None => report.added.push(prefix),
            Some(origin) if refreshes(origin) => report.refreshed.push(prefix),
            Some(_) => report.unchanged.push(prefix),
        }
    }
    if matches!(leaving, Leaving::These(_)) {
        report.unchanged.sort_unstable();
    }
}

/// The prefixes in order, each once, without host bits.
pub(super) fn distinct(prefixes: &[IpNet]) -> Vec<IpNet> {
    let mut distinct: Vec<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
    if !distinct.is_sorted_by(|a, b| a < b) {
        distinct.sort_unstable();
        distinct.dedup();
    }
    distinct
}
