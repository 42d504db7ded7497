//! From a change of the sets to a change of a table, and back where it fails.
//!
//! Decides which table entries a change touches, in which order, and whether they fit. Order: what is new comes in
//! before what is old goes out, so that no address that is covered before and after is uncovered between; only where
//! the table cannot hold both do as many as needed go first.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::error::EngineError;
use super::state::{Set, State};
use crate::tables::{PrefixTables, SetId, TableError, TableKind, family};

/// One entry of a table to change: the set it names now, and is to name. `None` is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableStep {
    prefix: IpNet,
    old: Option<SetId>,
    new: Option<SetId>,
}

impl TableStep {
    const fn adds(&self) -> bool {
        self.old.is_none() && self.new.is_some()
    }

    const fn removes(&self) -> bool {
        self.old.is_some() && self.new.is_none()
    }
}

/// Entries in the tables, by kind and family.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<(TableKind, &'static str), usize>);

impl Used {
    /// What the table holds.
    pub(super) fn set(&mut self, kind: TableKind, prefixes: impl Iterator<Item = IpNet>) {
        for family in FAMILIES {
            self.0.insert((kind, family), 0);
        }
        for prefix in prefixes {
            *self.0.entry((kind, family(&prefix))).or_default() += 1;
        }
    }

    /// What the table holds after `steps`.
    pub(super) fn take(&mut self, kind: TableKind, steps: &[TableStep]) {
        for step in steps {
            let used = self.0.entry((kind, family(&step.prefix))).or_default();
            *used = (*used + usize::from(step.adds())).saturating_sub(usize::from(step.removes()));
        }
    }

    pub(super) fn of(&self, kind: TableKind, family: &'static str) -> usize {
        self.0.get(&(kind, family)).copied().unwrap_or(0)
    }
}

pub(super) const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// What entering `put` and leaving `removed` means for the table of the set's kind. The set's entries are as before the
/// change; `put` holds only prefixes that it has not, `removed` only those that it has.
pub(super) fn steps(
    state: &State,
    kind: TableKind,
    id: SetId,
    put: &[IpNet],
    removed: &[IpNet],
) -> Vec<TableStep> {
    let enters = put.iter().filter_map(|prefix| {
        let other = state.owner_except(kind, prefix, id);
        (other.is_none_or(|other| other > id)).then_some(TableStep {
            prefix: *prefix,
            old: other,
            new: Some(id),
        })
    });
    let leaves = removed.iter().filter_map(|prefix| {
        let other = state.owner_except(kind, prefix, id);
        (other.is_none_or(|other| other > id)).then_some(TableStep {
            prefix: *prefix,
            old: Some(id),
            new: other,
        })
    });
    enters.chain(leaves).collect()
}

/// The same for a set that loses all entries.
pub(super) fn steps_to_empty(state: &State, set: &Set) -> Vec<TableStep> {
    let all: Vec<IpNet> = set.entries.keys().copied().collect();
    steps(state, set.kind, set.id, &[], &all)
}

/// What turns a table that holds `is` into one that holds `wanted`.
pub(super) fn repair(is: &BTreeMap<IpNet, SetId>, wanted: &BTreeMap<IpNet, SetId>) -> Vec<TableStep> {
    let set = wanted.iter().filter_map(|(prefix, new)| {
        let old = is.get(prefix).copied();
        (old != Some(*new)).then_some(TableStep { prefix: *prefix, old, new: Some(*new) })
    });
    let surplus = is.iter().filter(|(prefix, _)| !wanted.contains_key(prefix));
    let surplus = surplus.map(|(prefix, old)| TableStep { prefix: *prefix, old: Some(*old), new: None });
    set.chain(surplus).collect()
}

/// How many steps add, change and remove an entry.
pub(super) fn count(steps: &[TableStep]) -> (usize, usize, usize) {
    let adds = steps.iter().filter(|step| step.adds()).count();
    let removes = steps.iter().filter(|step| step.removes()).count();
    (adds, steps.len() - adds - removes, removes)
}

/// Brings the steps into an order in which they fit into the table.
pub(super) fn order(
    steps: Vec<TableStep>,
    kind: TableKind,
    used: &Used,
    capacity: usize,
) -> Result<Vec<TableStep>, EngineError> {
    let mut first = BTreeMap::new();
    for family in FAMILIES {
        let of_family = steps.iter().filter(|step| self::family(&step.prefix) == family);
        let (mut adds, mut removes) = (0, 0);
        for step in of_family {
            adds += usize::from(step.adds());
            removes += usize::from(step.removes());
        }
        let used = used.of(kind, family);
        let needed = (used + adds).saturating_sub(removes);
        // A table that is over its capacity already may still shrink.
        if needed > capacity && adds > removes {
            return Err(EngineError::NoRoom { kind, family, capacity, needed });
        }
        let both = used + adds;
        first.insert(family, if adds == 0 { 0 } else { both.saturating_sub(capacity) });
    }
    let goes_first = |step: &TableStep| {
        let left = first.entry(family(&step.prefix)).or_default();
        let first = step.removes() && *left > 0;
        *left -= usize::from(first);
        first
    };
    let (mut ordered, rest): (Vec<_>, Vec<_>) = steps.into_iter().partition(goes_first);
    let (removes, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(TableStep::removes);
    ordered.extend(rest);
    ordered.extend(removes);
    Ok(ordered)
}

/// Takes all steps, or the table is as before.
pub(super) fn apply(
    tables: &mut dyn PrefixTables,
    kind: TableKind,
    steps: &[TableStep],
) -> Result<(), EngineError> {
    for (done, step) in steps.iter().enumerate() {
        let Err(source) = change(tables, kind, step.prefix, step.new) else { continue };
        let cause = EngineError::Table { kind, prefix: step.prefix, source };
        return Err(match undo(tables, kind, &steps[..done]) {
            Ok(()) => cause,
            Err(source) => EngineError::NotUndone { cause: Box::new(cause), source },
        });
    }
    Ok(())
}

/// Takes all steps back, the last first.
pub(super) fn undo(
    tables: &mut dyn PrefixTables,
    kind: TableKind,
    steps: &[TableStep],
) -> Result<(), TableError> {
    steps.iter().rev().try_for_each(|step| change(tables, kind, step.prefix, step.old))
}

fn change(
    tables: &mut dyn PrefixTables,
    kind: TableKind,
    prefix: IpNet,
    set: Option<SetId>,
) -> Result<(), TableError> {
    match set {
        Some(set) => tables.insert(kind, prefix, set),
        None => tables.remove(kind, prefix).map(drop),
    }
}
