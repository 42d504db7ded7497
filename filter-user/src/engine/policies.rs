//! The policies that were applied: the one in force, those before it, and whether it waits to be confirmed.
//!
//! Decides which are kept: the last [`KEPT`], and never less than the one in force and the one that a trial goes back to.
//! Each was in force, so going back so many steps is going back in this list; one whose trial ended unconfirmed is not in it.

use serde::{Deserialize, Serialize};

/// Policies that are kept.
const KEPT: usize = 16;
/// Bytes of text that those before the one in force may have together.
const KEPT_BYTES: usize = 32 << 20;

/// A policy as it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyRecord {
    /// Its number, from 1 on.
    pub number: u32,
    /// When it was applied, in seconds of Unix time.
    pub at: u64,
    /// Who applied it.
    pub by: String,
    /// What it was read from, in words.
    pub origin: String,
    /// The policy itself, in TOML.
    pub text: String,
    /// What keys of limits are hashed with: the secret of this installation.
    pub seed: u64,
    /// The number of each rule's counters.
    pub slots: Vec<u32>,
}

/// That the policy in force waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// The policy before it; none where there was none.
    pub before: Option<u32>,
    /// When it is over, in milliseconds of Unix time.
    pub until_ms: u64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    /// The oldest first.
    records: Vec<PolicyRecord>,
    in_force: Option<u32>,
    pub trial: Option<Trial>,
}

impl Policies {
    /// The one in force.
    pub(super) fn in_force(&self) -> Option<&PolicyRecord> {
        self.record(self.in_force?)
    }

    fn record(&self, number: u32) -> Option<&PolicyRecord> {
        self.records.iter().find(|record| record.number == number)
    }

    /// All that are kept, the oldest first.
    pub(super) fn records(&self) -> &[PolicyRecord] {
        &self.records
    }

    /// The number of the next.
    pub(super) fn next_number(&self) -> u32 {
        self.records.last().map_or(1, |last| last.number.wrapping_add(1))
    }

    /// The one that was in force so many policies before the one that is now.
    pub(super) fn before(&self, steps: usize) -> Option<&PolicyRecord> {
        let now = self.records.iter().position(|record| Some(record.number) == self.in_force)?;
        self.records.get(now.checked_sub(steps)?)
    }

    /// How many policies were in force before the one that is now, and are kept.
    pub(super) fn count_before(&self) -> usize {
        self.records.iter().position(|record| Some(record.number) == self.in_force).unwrap_or(0)
    }

    /// Puts a policy in force.
    pub(super) fn apply(&mut self, record: PolicyRecord, until_ms: Option<u64>) {
        self.trial = until_ms.map(|until_ms| Trial { before: self.in_force, until_ms });
        self.in_force = Some(record.number);
        self.records.push(record);
        let bytes = |records: &[PolicyRecord]| records.iter().map(|record| record.text.len()).sum::<usize>();
        // The one in force and the one before it always stay.
        while self.records.len() > 2 && (self.records.len() > KEPT || bytes(&self.records) > KEPT_BYTES) {
            self.records.remove(0);
        }
    }

    /// The one on trial stays in force; whether there was one.
    pub(super) fn confirm(&mut self) -> bool {
        self.trial.take().is_some()
    }

    /// What was before the one on trial is in force again; whether there was one.
    pub(super) fn end_trial(&mut self) -> bool {
        let Some(trial) = self.trial.take() else { return false };
        self.records.retain(|record| Some(record.number) != self.in_force);
        self.in_force = trial.before;
        true
    }

    /// What a snapshot says, in order.
    pub(super) fn restore(&mut self, record: PolicyRecord, is_in_force: bool, trial: Option<Trial>) {
        if is_in_force {
            self.in_force = Some(record.number);
            self.trial = trial;
        }
        self.records.push(record);
    }

    /// Whether a record is the one in force.
    pub(super) fn is_in_force(&self, record: &PolicyRecord) -> bool {
        self.in_force == Some(record.number)
    }
}

/// Numbers of counters for rules that are known by these keys: a rule keeps the number that it had in `before`; the others
/// get numbers that `before` does not use, so that it can be in force again with its counters as they are. Also says which
/// numbers are new.
pub(super) fn slots(keys: &[String], before: &[(String, u32)]) -> (Vec<u32>, Vec<u32>) {
    let mut taken: std::collections::BTreeSet<u32> = before.iter().map(|(_, slot)| *slot).collect();
    let mut known: std::collections::HashMap<&str, u32> =
        before.iter().map(|(key, slot)| (key.as_str(), *slot)).collect();
    let (mut fresh, mut next) = (Vec::new(), 0);
    let slots = keys.iter().map(|key| {
        if let Some(slot) = known.remove(key.as_str()) {
            return slot;
        }
        while !taken.insert(next) {
            next += 1;
        }
        fresh.push(next);
        next
    });
    let slots = slots.collect();
    (slots, fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32, bytes: usize) -> PolicyRecord {
        let text = "#".repeat(bytes);
        PolicyRecord {
            number,
            at: 0,
            by: String::new(),
            origin: String::new(),
            text,
            seed: 0,
            slots: Vec::new(),
        }
    }

    #[test]
    fn sixteen_policies_are_kept_and_fewer_of_large_ones() {
        let mut policies = Policies::default();
        for _ in 0..40 {
            policies.apply(record(policies.next_number(), 10), None);
        }
        assert_eq!((policies.records().len(), policies.count_before()), (16, 15));
        assert_eq!(policies.before(1).map(|record| record.number), Some(39));
        assert_eq!(policies.before(15).map(|record| record.number), Some(25));
        assert_eq!(policies.before(16), None);
        for _ in 0..5 {
            policies.apply(record(policies.next_number(), KEPT_BYTES), None);
        }
        assert_eq!(policies.records().len(), 2);
    }

    #[test]
    fn a_trial_that_ends_leaves_what_was_before_and_no_trace_of_itself() {
        let mut policies = Policies::default();
        policies.apply(record(1, 0), Some(5));
        assert!(policies.end_trial() && policies.in_force().is_none() && policies.records().is_empty());
        policies.apply(record(1, 0), None);
        policies.apply(record(2, 0), Some(5));
        assert!(policies.confirm() && !policies.confirm() && !policies.end_trial());
        policies.apply(record(3, 0), Some(5));
        assert!(policies.end_trial());
        assert_eq!(policies.in_force().map(|record| record.number), Some(2));
        assert_eq!(policies.records().len(), 2);
    }

    #[test]
    fn rules_keep_their_counters_and_new_ones_take_none_from_others() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let before = [("a".to_owned(), 0), ("b".to_owned(), 1), ("c".to_owned(), 5)];
        let (slots, fresh) = slots(&keys(&["x", "c", "a", "y", "a"]), &before);
        assert_eq!((slots, fresh), (vec![2, 5, 0, 3, 4], vec![2, 3, 4]));
    }
}
