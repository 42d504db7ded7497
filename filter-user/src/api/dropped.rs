//! What sets dropped, out of what their numbers did.
//!
//! Decides: a number counts for the set that has it, and whatever no set has a number of was dropped by sets that were
//! removed. So the figures of the sets and that remainder add up to what was dropped for a blocked source.

use std::collections::BTreeMap;

use filter_common::counters::Counter;

use super::types::{Count, SetSummary, Timestamp};
use super::view::View;
use crate::dataplane::Reading;
use crate::engine;
use crate::tables::SetId;

/// What each set number dropped, on some interfaces together.
pub(super) struct Dropped {
    numbers: Vec<Counter>,
    /// By numbers that no set has now.
    removed: Counter,
}

impl Dropped {
    pub(super) fn on(readings: &[Reading], view: &View) -> Self {
        let numbers = readings.iter().map(|reading| reading.dropped.len()).max().unwrap_or(0);
        let mut numbers = vec![Counter::default(); numbers];
        for reading in readings {
            numbers.iter_mut().zip(&reading.dropped).for_each(|(sum, counter)| sum.add(*counter));
        }
        let mut theirs = numbers.clone();
        for set in view.blocks() {
            theirs.get_mut(set.id as usize).into_iter().for_each(|counter| *counter = Counter::default());
        }
        let mut removed = Counter::default();
        theirs.into_iter().for_each(|counter| removed.add(counter));
        Self { numbers, removed }
    }

    fn of(&self, set: SetId) -> Count {
        self.numbers.get(set as usize).copied().unwrap_or_default().into()
    }

    /// By sets that are no more.
    pub(super) fn removed(&self) -> Count {
        self.removed.into()
    }

    /// By the name of each set that blocks.
    pub(super) fn by_name(&self, view: &View) -> BTreeMap<String, Count> {
        view.blocks().map(|set| (set.name.to_string(), self.of(set.id))).collect()
    }

    /// Every set, with what it dropped.
    pub(super) fn summaries(&self, view: &View) -> Vec<SetSummary> {
        let blocks = |set: &engine::SetSummary| set.kind == engine::SetKind::Block;
        let dropped = |set: &engine::SetSummary| if blocks(set) { self.of(set.id) } else { Count::default() };
        let summary = |set: &engine::SetSummary| SetSummary {
            name: set.name.to_string(),
            action: set.kind.into(),
            ipv4: set.v4 as u64,
            ipv6: set.v6 as u64,
            created: Timestamp(set.created),
            changed: Timestamp(set.changed),
            dropped: dropped(set),
        };
        view.sets.iter().map(summary).collect()
    }
}
