//! How much of a prefix is blocked, by entries that lie within it.
//!
//! The tables tell which entry covers all of a prefix, and nothing of what lies within; that is told by the sets, which
//! the tables follow. Decides nothing: packets meet the tables. Prefixes are nested or apart, so the widest ones are
//! walked side by side, and the walk ends as soon as some of it is seen to be blocked and some is not. Costs a search in
//! each set for a prefix, and nothing for an address.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;

use super::Engine;
use super::state::{Origin, Set, State};
use super::types::Match;
use crate::tables::{SetId, TableKind};

/// Entries that are counted; there may be more.
pub const COUNTED: u64 = 1000;

/// How much of a prefix is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every address.
    All,
    /// Some addresses, and others not.
    Part,
    /// None.
    Nothing,
}

/// Entries of one kind that lie within a prefix, and are narrower than it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// How many there are, up to [`COUNTED`].
    pub count: u64,
    /// The first of them.
    pub first: Option<Match>,
}

/// How much of a prefix is blocked, and what lies within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// How much of it is blocked.
    pub extent: Extent,
    /// Block entries.
    pub blocks: Inside,
    /// Allow entries for sources.
    pub allows: Inside,
}

impl Engine {
    /// How much of `prefix` is blocked as a source, where no allow entry covers all of it. `covered` tells whether a
    /// block entry does.
    #[must_use]
    pub fn coverage(&self, prefix: IpNet, covered: bool) -> Coverage {
        let prefix = prefix.trunc();
        let walk = |kind| Walk::new(&self.state, kind, prefix);
        let intervals = |kind| walk(kind).map(|(prefix, _)| interval(&prefix));
        let whole = interval(&prefix);
        let block = if covered { Some(whole) } else { None };
        let blocks = block.into_iter().chain(intervals(TableKind::Block));
        let extent = extent(whole, blocks, intervals(TableKind::AllowSource));
        let inside = |kind| {
            let first = walk(kind).next().and_then(|(prefix, id)| {
                let set = self.state.set_by_id(id)?;
                Some(Match { prefix, set: set.name.clone() })
            });
            let most = usize::try_from(COUNTED).unwrap_or(usize::MAX);
            Inside { count: walk(kind).take(most).count() as u64, first }
        };
        Coverage { extent, blocks: inside(TableKind::Block), allows: inside(TableKind::AllowSource) }
    }
}

/// First and last address.
type Interval = (u128, u128);

fn interval(prefix: &IpNet) -> Interval {
    match prefix {
        IpNet::V4(prefix) => (prefix.network().to_bits().into(), prefix.broadcast().to_bits().into()),
        IpNet::V6(prefix) => (prefix.network().to_bits(), prefix.broadcast().to_bits()),
    }
}

/// How much of `whole` is in `blocks` and not in `allows`. Both are in order, wider ones first, and lie within it.
fn extent(
    whole: Interval,
    blocks: impl Iterator<Item = Interval>,
    allows: impl Iterator<Item = Interval>,
) -> Extent {
    let mut allows = widest(allows).peekable();
    let (mut drops, mut passes) = (false, allows.peek().is_some());
    let mut next = Some(whole.0);
    for block in widest(blocks) {
        passes |= next != Some(block.0);
        next = block.1.checked_add(1);
        drops = drops || !is_within(block, &mut allows);
        if drops && passes {
            return Extent::Part;
        }
    }
    passes |= next != whole.1.checked_add(1);
    match (drops, passes) {
        (false, _) => Extent::Nothing,
        (true, false) => Extent::All,
        (true, true) => Extent::Part,
    }
}

/// Those that lie within no other.
fn widest(intervals: impl Iterator<Item = Interval>) -> impl Iterator<Item = Interval> {
    let mut end = None;
    intervals.filter(move |(_, last)| {
        let is_outer = end.is_none_or(|end| *last > end);
        if is_outer {
            end = Some(*last);
        }
        is_outer
    })
}

/// Whether others, in order, cover all of it. Those that end before it are taken.
fn is_within(interval: Interval, others: &mut Peekable<impl Iterator<Item = Interval>>) -> bool {
    let mut from = interval.0;
    while others.next_if(|other| other.1 < from).is_some() {}
    while let Some(other) = others.peek().filter(|other| other.0 <= from) {
        if other.1 >= interval.1 {
            return true;
        }
        from = other.1 + 1;
        others.next();
    }
    false
}

/// The entries of a kind within a prefix, in order, each once with the lowest set that holds it.
struct Walk<'a> {
    sets: Vec<btree_map::Range<'a, IpNet, Arc<Origin>>>,
    /// The next entry of each set that has one, the set, and its place above.
    next: BinaryHeap<Reverse<(IpNet, SetId, usize)>>,
    last: Option<IpNet>,
}

impl<'a> Walk<'a> {
    fn new(state: &'a State, kind: TableKind, prefix: IpNet) -> Self {
        let mut walk = Self { sets: Vec::new(), next: BinaryHeap::new(), last: None };
        if prefix.prefix_len() == prefix.max_prefix_len() {
            return walk;
        }
        // An address is in order behind all that it lies within.
        let end = Bound::Included(IpNet::from(prefix.broadcast()));
        let within = |set: &'a Set| set.entries.range((Bound::Excluded(prefix), end));
        for set in state.sets().filter(|set| set.kind.is_in(kind)) {
            let mut entries = within(set);
            if let Some((first, _)) = entries.next() {
                walk.next.push(Reverse((*first, set.id, walk.sets.len())));
                walk.sets.push(entries);
            }
        }
        walk
    }
}

impl Iterator for Walk<'_> {
    type Item = (IpNet, SetId);

    fn next(&mut self) -> Option<(IpNet, SetId)> {
        loop {
            let Reverse((prefix, id, place)) = self.next.pop()?;
            if let Some((next, _)) = self.sets[place].next() {
                self.next.push(Reverse((*next, id, place)));
            }
            if self.last.replace(prefix) != Some(prefix) {
                return Some((prefix, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ipnet::Ipv4Net;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A prefix among the addresses of 10.0.0.0/26.
    fn small_prefix() -> impl Strategy<Value = IpNet> {
        (0..64_u8, 26..=32_u8).prop_map(|(host, length)| {
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, host), length).trunc())
        })
    }

    /// What an address meets, asked one by one.
    fn one_by_one(prefix: IpNet, blocks: &[IpNet], allows: &[IpNet]) -> Extent {
        let (first, last) = interval(&prefix);
        let has = |list: &[IpNet], address: u128| {
            list.iter().map(interval).any(|(first, last)| (first..=last).contains(&address))
        };
        let blocked = (first..=last).filter(|it| has(blocks, *it) && !has(allows, *it)).count();
        match blocked as u128 {
            0 => Extent::Nothing,
            all if all == last - first + 1 => Extent::All,
            _ => Extent::Part,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn the_extent_is_what_each_address_meets(
            prefix in small_prefix(),
            mut blocks in vec(small_prefix(), 0..24),
            mut allows in vec(small_prefix(), 0..6),
        ) {
            // Where an allow entry covers all of it, nobody asks.
            allows.retain(|entry| !entry.contains(&prefix));
            let expected = one_by_one(prefix, &blocks, &allows);
            let covers = |list: &[IpNet]| list.iter().any(|entry| entry.contains(&prefix));
            let within = |list: &mut Vec<IpNet>| {
                list.retain(|entry| *entry != prefix && prefix.contains(entry));
                list.sort();
                list.iter().map(interval).collect::<Vec<_>>()
            };
            let covered = covers(&blocks).then(|| interval(&prefix));
            let (blocks, allows) = (within(&mut blocks), within(&mut allows));
            let blocks = covered.into_iter().chain(blocks);
            prop_assert_eq!(extent(interval(&prefix), blocks, allows.into_iter()), expected);
        }
    }

    #[test]
    fn the_last_address_of_a_family_has_nothing_behind_it() {
        let all = (0, u128::MAX);
        let halves = [(0, u128::MAX / 2), (u128::MAX / 2 + 1, u128::MAX)];
        assert_eq!(extent(all, halves.into_iter(), std::iter::empty()), Extent::All);
        assert_eq!(extent(all, halves[..1].iter().copied(), std::iter::empty()), Extent::Part);
        assert_eq!(extent(all, halves.into_iter(), halves.into_iter()), Extent::Nothing);
    }
}
