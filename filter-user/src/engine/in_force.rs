//! The policy in force, read and compiled: what it makes of the sets, and what of them it bounds.
//!
//! Decides what a set's change means for the rules that look at it: they are compiled with what the set holds then. An interface
//! that rules redirect to and that is gone is no reason to refuse tables: such a rule counts and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filter_common::policy::tables::PolicyTables;
use ipnet::IpNet;

use super::Engine;
use super::error::EngineError;
use super::name::SetName;
use super::plan;
use super::policies::PolicyRecord;
use super::record::{Change, Step};
use super::sets::Sets;
use crate::policy::compile::Names;
use crate::policy::tables::tables;
use crate::policy::{Action, Checked, InterfaceName, Policy, Rule};
use crate::tables::{Contents, PrefixTables, TableKind};

/// The policy in force, as it was read.
pub(super) struct InForce {
    pub(super) checked: Checked,
    /// Sets that its rules look at.
    pub(super) uses: BTreeSet<SetName>,
    pub(super) seed: u64,
    pub(super) slots: Vec<u32>,
    /// Interfaces that its rules redirect to, as they were when the tables were made.
    pub(super) redirected: Vec<Option<u32>>,
}

impl InForce {
    pub(super) fn new(checked: Checked, record: &PolicyRecord, tables: &dyn PrefixTables) -> Self {
        let uses = checked.policy.sets_used().map(|used| used.set.clone()).collect();
        let slots = numbered(&record.slots, checked.policy.rules.len());
        let seed = record.seed;
        let mut policy = Self { checked, uses, seed, slots, redirected: Vec::new() };
        policy.redirected = policy.redirects(tables);
        policy
    }

    /// Indexes of the interfaces that rules redirect to, by rule.
    pub(super) fn redirects(&self, tables: &dyn PrefixTables) -> Vec<Option<u32>> {
        let rules = self.checked.policy.rules.iter();
        let of = |rule: &Rule| match &rule.action {
            Action::Redirect(interface) => Some(tables.interface_index(interface.as_str())),
            _ => None,
        };
        rules.filter_map(of).collect()
    }

    /// What names each rule's counters.
    pub(super) fn keys(&self) -> Vec<(String, u32)> {
        keys(&self.checked.policy).into_iter().zip(self.slots.iter().copied()).collect()
    }
}

/// Numbers of counters for so many rules. Another version of Levee may have brought more rules in a profile than this
/// policy had when it was applied; they get numbers that are free.
fn numbered(slots: &[u32], rules: usize) -> Vec<u32> {
    let free = (0..).filter(|slot| !slots.contains(slot));
    slots.iter().copied().chain(free).take(rules).collect()
}

/// What tells a rule from others across policies: its own name, or all that it says.
pub(super) fn keys(policy: &Policy) -> Vec<String> {
    let key = |rule: &Rule| match &rule.name {
        Some(name) => format!("name {name}"),
        None => rule.to_string(),
    };
    policy.rules.iter().map(key).collect()
}

impl Engine {
    pub(super) fn compile(
        &self,
        policy: &Policy,
        sets: &Sets,
        slots: &[u32],
        seed: u64,
        lenient: bool,
    ) -> Result<Arc<PolicyTables>, EngineError> {
        let names = Known { sets, tables: self.tables.as_ref(), lenient };
        tables(policy, &names, slots, seed).map(Arc::new).map_err(|source| EngineError::Rules { source })
    }

    /// What the tables hold with these sets and steps, and the policy in force.
    pub(super) fn contents(&self, sets: &Sets, steps: &[plan::TableStep]) -> Result<Contents, EngineError> {
        self.contents_with(sets, steps, self.policy.as_ref())
    }

    pub(super) fn contents_with(
        &self,
        sets: &Sets,
        steps: &[plan::TableStep],
        policy: Option<&InForce>,
    ) -> Result<Contents, EngineError> {
        let mut contents = plan::contents(sets, steps)?;
        if let Some(InForce { checked, slots, seed, .. }) = policy {
            let tables = self.compile(&checked.policy, sets, slots, *seed, true)?;
            if !tables.is_empty() {
                contents.set_policy(tables);
            }
        }
        Ok(contents)
    }

    /// The lists that allow, and a policy: what decides whom that policy cuts off.
    ///
    /// # Errors
    /// [`EngineError::Tables`].
    pub fn allowing(&self, policy: Arc<PolicyTables>) -> Result<Contents, EngineError> {
        let mut contents = plan::contents(&self.state, &[])?;
        contents.set_v4(TableKind::Block, Vec::new());
        contents.set_v6(TableKind::Block, Vec::new());
        contents.set_policy(policy);
        Ok(contents)
    }

    /// Whether rules of the policy in force look at a set.
    #[must_use]
    pub fn looks_at(&self, set: &SetName) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.uses.contains(set))
    }

    /// The policy in force, compiled as it is; `None` where none is.
    ///
    /// # Errors
    /// [`EngineError::Rules`].
    pub fn rules_now(&self) -> Result<Option<Arc<PolicyTables>>, EngineError> {
        let Some(InForce { checked, slots, seed, .. }) = &self.policy else { return Ok(None) };
        self.compile(&checked.policy, &self.state, slots, *seed, true).map(Some)
    }

    /// The policy in force, compiled as it is or with other entries of a set; `None` where its rules do not look at that set.
    ///
    /// # Errors
    /// [`EngineError::Rules`].
    pub fn rules_with(
        &self,
        set: &SetName,
        entries: Option<Vec<IpNet>>,
    ) -> Result<Option<Arc<PolicyTables>>, EngineError> {
        let Some(InForce { checked, slots, seed, .. }) =
            self.policy.as_ref().filter(|policy| policy.uses.contains(set))
        else {
            return Ok(None);
        };
        let known = Known { sets: &self.state, tables: self.tables.as_ref(), lenient: true };
        let compiled = match entries {
            None => tables(&checked.policy, &known, slots, *seed),
            Some(entries) => tables(&checked.policy, &With { known: &known, set, entries }, slots, *seed),
        };
        compiled.map(|tables| Some(Arc::new(tables))).map_err(|source| EngineError::Rules { source })
    }

    /// Whether rules look at a set: of the policy in force, or of the one that it may give way to.
    pub(super) fn is_looked_at(&self, set: &SetName) -> bool {
        let looks = |policy: &InForce| policy.uses.contains(set);
        let before = || {
            let mut after = self.state.policies.clone();
            after.end_trial().then(|| after.in_force().map(|record| read(record, self.tables.as_ref())))?
        };
        self.policy.as_ref().is_some_and(looks)
            || before().is_some_and(|read| read.is_ok_and(|it| looks(&it)))
    }

    /// Whether rules look at a set that these steps change.
    pub(super) fn rules_look_at(&self, steps: &[Step]) -> bool {
        let Some(InForce { uses, .. }) = &self.policy else { return false };
        let is_used = |id: &u32| self.state.set_by_id(*id).is_some_and(|set| uses.contains(&set.name));
        steps.iter().any(|step| match step {
            Step::Put { set, .. }
            | Step::Remove { set, .. }
            | Step::Flush { set }
            | Step::RemoveSet { set } => is_used(set),
            Step::CreateSet { .. }
            | Step::SetInterface { .. }
            | Step::ClearInterface { .. }
            | Step::ApplyPolicy { .. }
            | Step::ConfirmPolicy
            | Step::EndTrial
            | Step::RestorePolicy { .. } => false,
        })
    }

    /// The sets as they are after a change.
    pub(super) fn sets_after(&self, steps: &[Step]) -> Sets {
        let mut after = self.state.clone();
        let fits = after.apply(&Change { at: self.now, steps: steps.to_vec() });
        debug_assert_eq!(fits, Ok(()));
        Sets::clone(&after)
    }

    /// Entries that the policy in force lets a set have, and the part of them that one refresh may change, in millionths.
    #[must_use]
    pub fn set_limits(&self, name: &SetName) -> (Option<u32>, Option<crate::policy::Ratio>) {
        let declared = self.policy().and_then(|policy| policy.sets.get(name));
        (declared.and_then(|set| set.max_entries), declared.and_then(|set| set.max_change))
    }

    /// Entries that sets may have, where the policy in force says so.
    pub(super) fn entry_limits(&self) -> BTreeMap<SetName, u32> {
        let sets = self.policy().map(|policy| policy.sets.iter()).into_iter().flatten();
        sets.filter_map(|(name, entry)| Some((name.clone(), entry.max_entries?))).collect()
    }

    /// Prefixes that the policy in force protects.
    #[must_use]
    pub fn protected(&self) -> Vec<IpNet> {
        self.policy().map(|policy| policy.protect.clone()).unwrap_or_default()
    }
}

/// A policy that was applied, and so had no error then.
pub(super) fn read(record: &PolicyRecord, tables: &dyn PrefixTables) -> Result<InForce, EngineError> {
    let checked = Policy::parse(&record.origin, &record.text);
    let checked = checked.map_err(|errors| EngineError::Policy(Box::new(errors)))?;
    Ok(InForce::new(checked, record, tables))
}

/// The names of a policy, as sets and tables have them.
struct Known<'a> {
    sets: &'a Sets,
    tables: &'a dyn PrefixTables,
    /// An interface that is not there is none of a number, which the program takes for one that is gone; not an error.
    lenient: bool,
}

impl Names for Known<'_> {
    fn set(&self, name: &SetName) -> Vec<IpNet> {
        self.sets.set(name).map(|set| set.entries.keys().copied().collect()).unwrap_or_default()
    }

    fn interface_index(&self, name: &InterfaceName) -> Option<u32> {
        let index = self.tables.interface_index(name.as_str());
        if self.lenient { index.or(Some(0)) } else { index }
    }
}

/// The same, but for what one set holds.
struct With<'a> {
    known: &'a Known<'a>,
    set: &'a SetName,
    entries: Vec<IpNet>,
}

impl Names for With<'_> {
    fn set(&self, name: &SetName) -> Vec<IpNet> {
        if name == self.set { self.entries.clone() } else { self.known.set(name) }
    }

    fn interface_index(&self, name: &InterfaceName) -> Option<u32> {
        self.known.interface_index(name)
    }
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn rules_that_a_profile_has_gained_get_counters_that_are_free() {
        assert_eq!(numbered(&[5, 0], 2), [5, 0]);
        assert_eq!(numbered(&[5, 0], 4), [5, 0, 1, 2]);
        assert_eq!(numbered(&[5, 0], 1), [5]);
    }
}
