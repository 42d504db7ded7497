//! The named sets, to be read: by whoever plans a change, and by whoever only asks what one would do.
//!
//! A copy shares the entries, so it costs a few words a set, however many prefixes there are; who changes a set while
//! a copy is read pays for its entries once. Entries that were added together share one record, so a million of them
//! cost little more than their prefixes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::kind::SetKind;
use super::name::SetName;
use crate::tables::{MAX_SET, SetId, TableKind};

/// Every set.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    by_id: BTreeMap<SetId, Set>,
    ids: BTreeMap<SetName, SetId>,
}

/// A named set.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub id: SetId,
    pub name: SetName,
    pub kind: SetKind,
    pub created: u64,
    pub changed: u64,
    pub v4: usize,
    pub entries: Arc<Entries>,
}

impl Set {
    /// Whether it was made from tables whose state was lost. Of sets that bear such a name, it is the one that this
    /// engine filled itself.
    pub(super) fn is_adopted(&self) -> bool {
        self.kind.table().is_some_and(|table| self.name == SetName::adopted(table))
            && self.entries.values().next().is_some_and(|origin| origin.by.as_ref() == ADOPTED_BY)
    }
}

/// Who added what was found in tables without a state.
pub(super) const ADOPTED_BY: &str = "levee";

/// The entries of a set, in order.
pub(super) type Entries = BTreeMap<IpNet, Arc<Origin>>;

/// Where entries come from, shared by those that were added together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub added: u64,
    pub expires: Option<u64>,
    pub by: Arc<str>,
    pub reason: Option<Arc<str>>,
}

impl Sets {
    /// The number that the next new set gets: the lowest that no set has.
    pub(super) fn free_id(&self) -> Option<SetId> {
        (1..=MAX_SET).find(|id| !self.by_id.contains_key(id))
    }

    pub(super) fn set(&self, name: &SetName) -> Option<&Set> {
        self.by_id.get(self.ids.get(name)?)
    }

    pub(super) fn set_by_id(&self, id: SetId) -> Option<&Set> {
        self.by_id.get(&id)
    }

    /// The sets by number.
    pub(super) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.by_id.values()
    }

    /// The sets by name.
    pub(super) fn sets_by_name(&self) -> impl Iterator<Item = &Set> {
        self.ids.values().filter_map(|id| self.by_id.get(id))
    }

    /// Entries of all sets.
    pub(super) fn entries(&self) -> usize {
        self.by_id.values().map(|set| set.entries.len()).sum()
    }

    /// What the table of that kind should hold: each prefix once, in order, with the lowest set that holds it.
    pub(super) fn table(&self, kind: TableKind) -> Vec<(IpNet, SetId)> {
        let mut table: Vec<(IpNet, SetId)> = Vec::new();
        for set in self.by_id.values().filter(|set| set.kind.is_in(kind)) {
            table.extend(set.entries.keys().map(|prefix| (*prefix, set.id)));
        }
        if !table.is_sorted() {
            // Runs in order, so this merges.
            table.sort();
        }
        table.dedup_by_key(|(prefix, _)| *prefix);
        table
    }

    /// Takes a new set in; says whether its number and its name were free.
    pub(super) fn insert(&mut self, set: Set) -> bool {
        let free = !self.by_id.contains_key(&set.id) && !self.ids.contains_key(&set.name);
        if free {
            self.ids.insert(set.name.clone(), set.id);
            self.by_id.insert(set.id, set);
        }
        free
    }

    pub(super) fn remove(&mut self, id: SetId) {
        if let Some(set) = self.by_id.remove(&id) {
            self.ids.remove(&set.name);
        }
    }

    pub(super) fn set_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.by_id.get_mut(&id)
    }
}
