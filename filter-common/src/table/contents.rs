//! What a generation of the tables holds, before it has a shape.

use super::TableKind;
use super::geometry::KINDS;
use crate::keys::{PrefixV4, PrefixV6};

/// Prefixes with the set that each belongs to.
pub type Entries<P> = Vec<(P, u16)>;

/// Every entry of every table, by [`TableKind`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    v4: [Entries<PrefixV4>; KINDS],
    v6: [Entries<PrefixV6>; KINDS],
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

    /// How many entries there are in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.iter().map(Vec::len).sum::<usize>() + self.v6.iter().map(Vec::len).sum::<usize>()
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
