//! From a change of the sets to a change of a table, and back where it fails.
//!
//! Decides which table entries a change touches and in which order: what is new comes in before what is old goes out,
//! so that no address that is covered before and after is uncovered between. A search that is under way may have passed
//! the place of the new before it came, and come to that of the old after it went; where a prefix of either kind covers
//! one of the other, searches are waited for in between. That takes some milliseconds, up to tens of them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::error::EngineError;
use super::kind::SetKind;
use super::sets::{Set, Sets};
use crate::tables::{Contents, PrefixTables, SetId, TableError, TableKind, family, set_entries};

/// One entry of a table to change: the set it names now, and is to name. `None` is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableStep {
    table: TableKind,
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

    /// The prefix, where it comes to be blocked.
    pub(super) fn blocks(&self) -> Option<IpNet> {
        (self.table == TableKind::Block && self.adds()).then_some(self.prefix)
    }

    /// Whether something comes to be allowed no more.
    pub(super) fn disallows(&self) -> bool {
        self.table != TableKind::Block && self.removes()
    }
}

/// Entries in the tables, by kind and family.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<(TableKind, &'static str), usize>);

impl Used {
    /// What the tables hold.
    pub(super) fn set(&mut self, contents: &Contents) {
        for kind in TableKind::LISTS {
            self.0.insert((kind, FAMILIES[0]), contents.v4(kind).len());
            self.0.insert((kind, FAMILIES[1]), contents.v6(kind).len());
        }
    }

    /// What the table holds after `steps`.
    pub(super) fn take(&mut self, steps: &[TableStep]) {
        for step in steps {
            let used = self.0.entry((step.table, family(&step.prefix))).or_default();
            *used = (*used + usize::from(step.adds())).saturating_sub(usize::from(step.removes()));
        }
    }

    pub(super) fn of(&self, kind: TableKind, family: &'static str) -> usize {
        self.0.get(&(kind, family)).copied().unwrap_or(0)
    }

    /// Entries of all tables.
    pub(super) fn all(&self) -> usize {
        self.0.values().sum()
    }
}

pub(super) const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// What entering `put` and leaving `removed` means for the table of the set's kind; both are distinct and in order. The
/// set's entries are as before the change; `put` holds only prefixes that it has not, `removed` only those that it has.
pub(super) fn steps(
    sets: &Sets,
    kind: SetKind,
    id: SetId,
    put: &[IpNet],
    removed: &[IpNet],
) -> Vec<TableStep> {
    let Some(table) = kind.table() else { return Vec::new() };
    // Where a lower set holds it too, the table names that one, before and after.
    let names = |other: Option<SetId>| other.is_none_or(|other| other > id);
    let others = sets.owners_except(table, put, id);
    let enters = put.iter().zip(others).filter(|(_, other)| names(*other));
    let enters =
        enters.map(|(prefix, other)| TableStep { table, prefix: *prefix, old: other, new: Some(id) });
    let others = sets.owners_except(table, removed, id);
    let leaves = removed.iter().zip(others).filter(|(_, other)| names(*other));
    let leaves =
        leaves.map(|(prefix, other)| TableStep { table, prefix: *prefix, old: Some(id), new: other });
    enters.chain(leaves).collect()
}

/// The same for a set that loses all entries.
pub(super) fn steps_to_empty(sets: &Sets, set: &Set) -> Vec<TableStep> {
    let all: Vec<IpNet> = set.entries.keys().copied().collect();
    steps(sets, set.kind, set.id, &[], &all)
}

/// What the tables of lists hold with `steps`, all in one table, taken.
pub(super) fn contents(sets: &Sets, steps: &[TableStep]) -> Result<Contents, EngineError> {
    let mut contents = Contents::default();
    for kind in TableKind::LISTS {
        let mut entries = sets.table(kind);
        if steps.first().is_some_and(|step| step.table == kind) {
            entries = with_steps(entries, steps);
        }
        set_entries(&mut contents, kind, entries).map_err(|source| EngineError::Tables { source })?;
    }
    Ok(contents)
}

/// Entries in order, with these steps taken.
fn with_steps(entries: Vec<(IpNet, SetId)>, steps: &[TableStep]) -> Vec<(IpNet, SetId)> {
    if steps.is_empty() {
        return entries;
    }
    let mut steps: Vec<&TableStep> = steps.iter().collect();
    // Mostly in order already.
    steps.sort_by_key(|step| step.prefix);
    let mut steps = steps.into_iter().peekable();
    let mut changed = Vec::with_capacity(entries.len() + steps.len());
    for (prefix, set) in entries {
        while let Some(step) = steps.next_if(|step| step.prefix < prefix) {
            changed.extend(step.new.map(|set| (step.prefix, set)));
        }
        match steps.next_if(|step| step.prefix == prefix) {
            Some(step) => changed.extend(step.new.map(|set| (prefix, set))),
            None => changed.push((prefix, set)),
        }
    }
    changed.extend(steps.filter_map(|step| Some((step.prefix, step.new?))));
    changed
}

/// Brings the steps into the order in which they are taken one by one.
pub(super) fn order(steps: Vec<TableStep>) -> Vec<TableStep> {
    let (removes, mut ordered): (Vec<_>, Vec<_>) = steps.into_iter().partition(TableStep::removes);
    ordered.extend(removes);
    ordered
}

/// Whether an address may be covered by what the steps remove before them, and by what they add after them.
fn hand_over(steps: &[TableStep]) -> bool {
    if !steps.iter().any(TableStep::adds) || !steps.iter().any(TableStep::removes) {
        return false;
    }
    let mut steps: Vec<&TableStep> = steps.iter().filter(|step| step.adds() || step.removes()).collect();
    // The wider first; prefixes lie within each other or apart, so the last outermost one of each kind tells.
    steps.sort_by_key(|step| step.prefix);
    let mut outer: [Option<IpNet>; 2] = [None; 2];
    for step in steps {
        let [own, other] = if step.adds() { [0, 1] } else { [1, 0] };
        let within = |outer: Option<IpNet>| outer.is_some_and(|outer| outer.contains(&step.prefix));
        if within(outer[other]) {
            return true;
        }
        if !within(outer[own]) {
            outer[own] = Some(step.prefix);
        }
    }
    false
}

/// Takes all steps, or the table is as before. They are in the order of [`order`].
pub(super) fn apply(tables: &mut dyn PrefixTables, steps: &[TableStep]) -> Result<(), EngineError> {
    let mut wait = hand_over(steps);
    for (done, step) in steps.iter().enumerate() {
        let waited = if wait && step.removes() {
            wait = false;
            tables.wait_for_searches()
        } else {
            Ok(())
        };
        let Err(source) = waited.and_then(|()| change(tables, step, step.new)) else { continue };
        let cause = EngineError::Table { kind: step.table, prefix: step.prefix, source };
        return Err(match undo(tables, &steps[..done]) {
            Ok(()) => cause,
            Err(source) => EngineError::NotUndone { cause: Box::new(cause), source },
        });
    }
    Ok(())
}

/// Takes all steps back, the last first.
pub(super) fn undo(tables: &mut dyn PrefixTables, steps: &[TableStep]) -> Result<(), TableError> {
    let mut wait = hand_over(steps);
    steps.iter().rev().try_for_each(|step| {
        if wait && step.adds() {
            wait = false;
            tables.wait_for_searches()?;
        }
        change(tables, step, step.old)
    })
}

fn change(tables: &mut dyn PrefixTables, step: &TableStep, set: Option<SetId>) -> Result<(), TableError> {
    match set {
        Some(set) => tables.insert(step.table, step.prefix, set),
        None => tables.remove(step.table, step.prefix).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        let v4 =
            (0..16u8, 26..33u8).prop_map(|(host, length)| IpNet::new_assert([10, 0, 0, host].into(), length));
        let v6 = (0..4u16, 120..129u8)
            .prop_map(|(host, length)| IpNet::new_assert([0, 0, 0, 0, 0, 0, 0, host].into(), length));
        prop_oneof![v4, v6].prop_map(|net| net.trunc())
    }

    proptest! {
        #[test]
        fn addresses_are_handed_over_where_a_new_prefix_and_an_old_one_meet(
            steps in prop::collection::btree_map(net(), 0..3usize, 0..8),
        ) {
            let [none, one, two] = [None, Some(1), Some(2)];
            let kinds = [(none, one), (one, none), (one, two)];
            let step = |(prefix, kind): (&IpNet, &usize)| TableStep { table: TableKind::Block, prefix: *prefix, old: kinds[*kind].0, new: kinds[*kind].1 };
            let steps: Vec<TableStep> = steps.iter().map(step).collect();
            let meet = |one: &TableStep, two: &TableStep| {
                one.adds() && two.removes()
                    && (one.prefix.contains(&two.prefix) || two.prefix.contains(&one.prefix))
            };
            let expected = steps.iter().any(|one| steps.iter().any(|two| meet(one, two)));
            prop_assert_eq!(hand_over(&order(steps)), expected);
        }
    }
}
