//! What a state is whose log was lost.
//!
//! Decides whom to believe. The snapshot alone is older than what filters: entries that were removed since would come
//! back into force, and those that were added since would go. So where tables are in force, they say which addresses
//! are in which kind of list, and the snapshot only what it still knows of those: their sets, reasons and ends. What
//! only the tables know becomes the sets `adopted-...`. Where no tables are in force, the snapshot is all there is.
//! Costs a walk through both.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Engine;
use super::error::EngineError;
use super::kind::SetKind;
use super::name::SetName;
use super::record::Step;
use super::sets::{ADOPTED_BY, Set};
use super::types::MissingLog;
use crate::tables::{MAX_SET, SetId, TableKind, entries};

/// Wide prefixes are found in the tables divided or joined; longer ones as they are.
const WIDE: (u8, u8) = (24, 32);

impl Engine {
    /// Makes a beginning of a state that has a snapshot and no log; says who was believed, and how many prefixes only
    /// the tables knew.
    pub(super) fn salvage(&mut self) -> Result<(MissingLog, usize), EngineError> {
        let tables = |source| EngineError::Tables { source };
        if !self.tables.are_in_force().map_err(tables)? {
            self.journal.put_log_in_place()?;
            return Ok((MissingLog::SnapshotBelieved, 0));
        }
        let found = self.tables.found().map_err(tables)?;
        let (mut steps, mut adopted, mut last) = (Vec::new(), 0, 0);
        for kind in TableKind::LISTS {
            let (gone, unknown) = self.compare(kind, &entries(&found, kind));
            steps.extend(gone);
            if unknown.is_empty() {
                continue;
            }
            adopted += unknown.len();
            let (set, create) = self.adopting(kind, last)?;
            if let Some(create) = create {
                last = set;
                self.tables.forget_set(set).map_err(tables)?;
                steps.push(create);
            }
            steps.push(Step::Put {
                set,
                added: self.now,
                expires: None,
                by: ADOPTED_BY.to_owned(),
                reason: Some("in the tables when the log was lost".to_owned()),
                prefixes: unknown,
            });
        }
        if steps.is_empty() {
            self.journal.put_log_in_place()?;
        } else {
            self.record(steps)?;
        }
        Ok((MissingLog::TablesBelieved, adopted))
    }

    /// What the sets of that kind hold beyond the table, and what it holds beyond them.
    fn compare(&self, kind: TableKind, table: &BTreeMap<IpNet, SetId>) -> (Vec<Step>, Vec<IpNet>) {
        let (mut gone, mut known) = (Vec::new(), BTreeMap::new());
        for set in self.state.sets().filter(|set| set.kind.is_in(kind)) {
            let (kept, prefixes): (Vec<IpNet>, Vec<IpNet>) =
                set.entries.keys().partition(|prefix| is_held(table, **prefix));
            known.extend(kept.into_iter().map(|prefix| (prefix, set.id)));
            if !prefixes.is_empty() {
                gone.push(Step::Remove { set: set.id, prefixes });
            }
        }
        let unknown = table.keys().copied().filter(|prefix| !is_held(&known, *prefix)).collect();
        (gone, unknown)
    }

    /// The set that takes what only the tables know of, and the step that makes it where there is none. Numbers up to
    /// `last` have been given away.
    fn adopting(&self, kind: TableKind, last: SetId) -> Result<(SetId, Option<Step>), EngineError> {
        let name = SetName::adopted(kind);
        if let Some(set) = self.state.set(&name) {
            let Set { id, kind: is, .. } = *set;
            return if is.is_in(kind) {
                Ok((id, None))
            } else {
                Err(EngineError::OtherKind { name, is, asked: kind.into() })
            };
        }
        let mut free = (last + 1..=MAX_SET).filter(|id| self.state.set_by_id(*id).is_none());
        let id = free.next().ok_or(EngineError::TooManySets)?;
        Ok((id, Some(Step::CreateSet { id, name, kind: SetKind::from(kind).into(), created: self.now })))
    }
}

/// Whether `held` has the prefix or, where it is wide, prefixes that cover all of it.
fn is_held(held: &BTreeMap<IpNet, SetId>, prefix: IpNet) -> bool {
    let wide = if matches!(prefix, IpNet::V4(_)) { WIDE.0 } else { WIDE.1 };
    if held.contains_key(&prefix) {
        return true;
    }
    if prefix.prefix_len() > wide {
        return false;
    }
    let mut covering = prefix;
    while let Some(wider) = covering.supernet() {
        covering = wider;
        if held.contains_key(&covering) {
            return true;
        }
    }
    are_parts_held(held, prefix, wide)
}

/// Whether prefixes that lie within this one cover all of it. Looks only where there are any.
fn are_parts_held(held: &BTreeMap<IpNet, SetId>, prefix: IpNet, wide: u8) -> bool {
    if held.contains_key(&prefix) {
        return true;
    }
    let has_any = held.range(prefix..).next().is_some_and(|(next, _)| prefix.contains(next));
    let halves = prefix.subnets(prefix.prefix_len() + 1);
    has_any
        && prefix.prefix_len() < wide
        && halves.is_ok_and(|mut halves| halves.all(|half| are_parts_held(held, half, wide)))
}
