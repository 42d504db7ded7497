//! What a generation of the tables holds, before it has a shape.

use std::sync::Arc;

use super::TableKind;
use super::geometry::KINDS;
use crate::keys::{PrefixV4, PrefixV6};
use crate::policy::tables::PolicyTables;

/// Prefixes with the set that each belongs to.
pub type Entries<P> = Vec<(P, u16)>;

/// Every entry of every table, by [`TableKind`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    v4: [Entries<PrefixV4>; KINDS],
    v6: [Entries<PrefixV6>; KINDS],
    policy: Option<Arc<PolicyTables>>,
}

impl Contents {
    /// The IPv4 entries of a table, in order, each prefix once.
    #[must_use]
    pub fn v4(&self, kind: TableKind) -> &[(PrefixV4, u16)] {
        &self.v4[kind as usize]
    }

    /// The IPv6 entries of a table, in order, each prefix once.
    #[must_use]
    pub fn v6(&self, kind: TableKind) -> &[(PrefixV6, u16)] {
        &self.v6[kind as usize]
    }

    /// Sets the IPv4 entries of a table. Of a prefix that is there more than once, the lowest set counts. Costs a pass
    /// where they are in order already.
    pub fn set_v4(&mut self, kind: TableKind, entries: Entries<PrefixV4>) {
        self.v4[kind as usize] = in_order(entries);
    }

    /// Sets the IPv6 entries of a table, as [`Self::set_v4`].
    pub fn set_v6(&mut self, kind: TableKind, entries: Entries<PrefixV6>) {
        self.v6[kind as usize] = in_order(entries);
    }

    /// The policy; none where it says nothing that packets meet.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<PolicyTables>> {
        self.policy.as_ref()
    }

    /// Sets the policy, and with it the tables of the rules' addresses.
    pub fn set_policy(&mut self, policy: Arc<PolicyTables>) {
        for (kind, classes) in
            [(TableKind::RuleSource, &policy.source), (TableKind::RuleDestination, &policy.destination)]
        {
            let v4 = if policy.has_intervals(kind) { Vec::new() } else { classes.v4.prefixes().to_vec() };
            self.set_v4(kind, v4);
            self.set_v6(kind, classes.v6.prefixes().to_vec());
        }
        self.policy = Some(policy);
    }

    /// Whether there is a table of a kind and family: those of rules are there only where rules look at such addresses, and do
    /// not have them as intervals.
    #[must_use]
    pub fn has_table(&self, kind: TableKind, is_v6: bool) -> bool {
        let is_searched =
            |policy: &Arc<PolicyTables>| policy.looks_at(kind) && (is_v6 || !policy.has_intervals(kind));
        !kind.is_of_rules() || self.policy.as_ref().is_some_and(is_searched)
    }

    /// How many entries the lists have in all, without what rules make of them.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |kind: TableKind| self.v4(kind).len() + self.v6(kind).len();
        TableKind::LISTS.into_iter().map(count).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn in_order<P: Ord + Copy>(mut entries: Entries<P>) -> Entries<P> {
    if !entries.is_sorted() {
        entries.sort_unstable();
    }
    entries.dedup_by_key(|(prefix, _)| *prefix);
    entries
}
