//! The slots of IPv6 prefixes of more than 32 bits: of those that are looked up by their length, and of those that are
//! gathered where their network belongs.

use super::super::geometry::TableV6;
use super::super::networks;
use super::super::slot::SET_MASK;
use super::exact::Table;
use super::keys::{Gathered, Lower, Upper};
use super::{Full, Place};
use crate::keys::{AddressV6, PrefixV6};

/// Bits of the longest prefix whose key is one word.
const UPPER_BITS: u8 = 64;

/// The slots of prefixes of more than 32 bits.
#[derive(Debug)]
pub(in crate::table) struct Slots {
    upper: Table<Upper>,
    lower: Table<Lower>,
    gathered: Table<Gathered>,
    /// Gathered ones that are told by their lengths now: searches that began before that look for them here.
    leaving: Vec<PrefixV6>,
}

const fn gathered(prefix: PrefixV6) -> Gathered {
    let (first, last) = prefix.address().halves();
    Gathered(Lower(first, last, prefix.length()))
}

const fn prefix_of(Gathered(Lower(first, last, length)): Gathered) -> PrefixV6 {
    PrefixV6::containing(AddressV6::from_halves(first, last), length)
}

impl Slots {
    pub(super) const fn new(table: &TableV6) -> Self {
        Self {
            upper: Table::new(table.upper),
            lower: Table::new(table.lower),
            gathered: Table::new(table.gathered),
            leaving: Vec::new(),
        }
    }

    /// Those of a table that holds some already, and of whose networks `has_left` tells which are not gathered any more:
    /// what still is there was left by a writer that ended before searches had.
    pub(super) fn read(table: &TableV6, place: Place<'_>, has_left: impl Fn(PrefixV6) -> bool) -> Self {
        let mut slots = Self {
            upper: Table::read(table.upper, place),
            lower: Table::read(table.lower, place),
            gathered: Table::read(table.gathered, place),
            leaving: Vec::new(),
        };
        let prefixes = slots.gathered.entries(place).map(|(key, _)| prefix_of(key));
        slots.leaving = prefixes.filter(|prefix| has_left(*prefix)).collect();
        slots
    }

    /// What a prefix's slot stands for; 0 where there is none.
    pub(super) fn find(&self, place: Place<'_>, prefix: PrefixV6) -> u32 {
        let (first, last) = prefix.address().halves();
        if prefix.length() <= UPPER_BITS {
            self.upper.find(place, Upper(first, prefix.length()))
        } else {
            self.lower.find(place, Lower(first, last, prefix.length()))
        }
    }

    /// The set of a prefix; 0 where it is not there.
    pub(super) fn set(&self, place: Place<'_>, prefix: PrefixV6) -> u16 {
        (self.find(place, prefix) & SET_MASK) as u16
    }

    /// Brings a prefix's slot to what it shall stand for; takes it away for nothing.
    pub(super) fn put(&mut self, place: Place<'_>, prefix: PrefixV6, payload: u32) -> Result<(), Full> {
        let (first, last) = prefix.address().halves();
        let (upper, lower) = (Upper(first, prefix.length()), Lower(first, last, prefix.length()));
        match (prefix.length() <= UPPER_BITS, payload) {
            (true, 0) => _ = self.upper.remove(place, upper),
            (false, 0) => _ = self.lower.remove(place, lower),
            (true, _) => _ = self.upper.insert(place, upper, payload)?,
            (false, _) => _ = self.lower.insert(place, lower, payload)?,
        }
        Ok(())
    }

    /// Whether all these, none of which is there, have room in slots of their own.
    pub(super) fn fit(&self, place: Place<'_>, all: &[(PrefixV6, u16)]) -> bool {
        let (upper, lower): (Vec<_>, Vec<_>) =
            all.iter().map(|(prefix, _)| *prefix).partition(|prefix| prefix.length() <= UPPER_BITS);
        let upper = upper.iter().map(|prefix| Upper(prefix.address().halves().0, prefix.length()));
        self.upper.fit(place, upper) && self.lower.fit(place, lower.iter().map(|prefix| gathered(*prefix).0))
    }

    /// The set of a gathered prefix; 0 where it is not there.
    pub(super) fn gathered_set(&self, place: Place<'_>, prefix: PrefixV6) -> u16 {
        (self.gathered.find(place, gathered(prefix)) & SET_MASK) as u16
    }

    /// What is gathered in a network.
    pub(super) fn gathered_in(&self, place: Place<'_>, network: u32) -> Vec<(PrefixV6, u16)> {
        let reached = self.gathered.around(place, Gathered(Lower(u64::from(network) << 32, 0, 0)));
        let prefixes = reached.map(|(key, payload)| (prefix_of(key), (payload & SET_MASK) as u16));
        prefixes.filter(|(prefix, _)| networks::of(*prefix) == network).collect()
    }

    /// Adds a prefix to those that are gathered, or changes its set.
    pub(super) fn gather(&self, place: Place<'_>, prefix: PrefixV6, set: u16) -> Result<(), Full> {
        self.gathered.insert(place, gathered(prefix), set.into()).map(drop)
    }

    /// Takes a prefix from those that are gathered; says whether it was there.
    pub(super) fn ungather(&mut self, place: Place<'_>, prefix: PrefixV6) -> bool {
        self.gathered.remove(place, gathered(prefix))
    }

    /// Takes prefixes from those that are gathered once the searches that are under way have ended.
    pub(super) fn leave(&mut self, prefixes: impl Iterator<Item = PrefixV6>) {
        self.leaving.extend(prefixes);
    }

    /// Slots of prefixes that have a set, without those that leave.
    pub(super) fn count(&self, place: Place<'_>) -> usize {
        let has_set = |payload: u32| payload & SET_MASK != 0;
        let apart = self.upper.count(place, has_set) + self.lower.count(place, has_set);
        apart + self.gathered.count(place, has_set) - self.leaving.len()
    }

    /// Slots that rest.
    pub(super) fn resting(&self) -> u32 {
        let leaving = u32::try_from(self.leaving.len()).unwrap_or(u32::MAX);
        self.upper.resting() + self.lower.resting() + self.gathered.resting() + leaving
    }

    /// Every search that began before the last change has ended.
    pub(super) fn settle(&mut self, place: Place<'_>) {
        for prefix in std::mem::take(&mut self.leaving) {
            self.gathered.remove(place, gathered(prefix));
        }
        self.upper.settle(place);
        self.lower.settle(place);
        self.gathered.settle(place);
    }
}
