//! Which other set a table names for a prefix, asked for many prefixes at once.
//!
//! Decides how lists in order are compared: by a search for each prefix in a set that is much longer than the list, and
//! side by side otherwise, all sets along one piece of the list after the other. So a list that replaces a set costs a
//! walk through the other sets, not a search of each of them for each line. Nothing is kept between changes.

use std::ops::Bound;

use ipnet::IpNet;

use super::sets::Sets;
use crate::tables::{SetId, TableKind};

/// A search in a set costs as much as walking past so many of its entries.
const SEARCH: usize = 16;
/// So many prefixes stay in the cache while all sets are walked past them.
const PIECE: usize = 4096;

impl Sets {
    /// For each of `prefixes`, distinct and in order: the set that the table names for it when set `except` does not
    /// count, which is the lowest that holds it.
    pub(super) fn owners_except(
        &self,
        kind: TableKind,
        prefixes: &[IpNet],
        except: SetId,
    ) -> Vec<Option<SetId>> {
        debug_assert!(prefixes.is_sorted_by(|one, next| one < next));
        let mut owners = vec![None; prefixes.len()];
        let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else { return owners };
        let holds = |owner: &mut Option<SetId>, id: SetId| {
            *owner = Some(owner.map_or(id, |owner| owner.min(id)));
        };
        let mut walks = Vec::new();
        for set in self.sets().filter(|set| set.kind.is_in(kind) && set.id != except) {
            if prefixes.len() < set.entries.len() / SEARCH {
                let found = prefixes.iter().zip(&mut owners);
                let found = found.filter(|(prefix, _)| set.entries.contains_key(prefix));
                found.for_each(|(_, owner)| holds(owner, set.id));
            } else {
                let span = (Bound::Included(first), Bound::Included(last));
                walks.push((set.id, set.entries.range::<IpNet, _>(span).map(|(entry, _)| entry).peekable()));
            }
        }
        for (prefixes, owners) in prefixes.chunks(PIECE).zip(owners.chunks_mut(PIECE)) {
            for (id, entries) in &mut walks {
                let mut at = 0;
                while let Some(entry) = entries.next_if(|entry| prefixes.last() >= Some(entry)) {
                    at += leap(&prefixes[at..], entry);
                    if prefixes.get(at) == Some(entry) {
                        holds(&mut owners[at], *id);
                    }
                }
            }
        }
        owners
    }
}

/// How many of `prefixes` lie before `entry`. Costs the logarithm of that number.
fn leap(prefixes: &[IpNet], entry: &IpNet) -> usize {
    let mut reach = 1;
    while reach < prefixes.len() && prefixes[reach] < *entry {
        reach *= 2;
    }
    let from = reach / 2;
    let to = (reach + 1).min(prefixes.len());
    from + prefixes[from..to].partition_point(|prefix| prefix < entry)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::sets::{Origin, Set};
    use super::*;

    fn net(number: u16) -> IpNet {
        let [high, low] = number.to_be_bytes();
        match number % 3 {
            0 => IpNet::new_assert([10, 0, high, low].into(), 32),
            1 => IpNet::new_assert([10, high, low, 0].into(), 24),
            _ => IpNet::new_assert([0x2001, 0xdb8, number, 0, 0, 0, 0, 0].into(), 48),
        }
    }

    fn set(id: SetId, kind: TableKind, numbers: &[u16]) -> Set {
        let origin = Arc::new(Origin { added: 0, expires: None, by: "test".into(), reason: None });
        let entries = numbers.iter().map(|number| (net(*number), Arc::clone(&origin))).collect();
        let name = format!("s{id}").try_into().unwrap();
        Set { id, name, kind: kind.into(), created: 0, changed: 0, v4: 0, entries: Arc::new(entries) }
    }

    /// Across the pieces, too.
    #[test]
    fn a_list_of_several_pieces_is_found_whole() {
        let of = |id, first: u16, step: usize| {
            set(id, TableKind::Block, &(first..30_000).step_by(step).collect::<Vec<_>>())
        };
        let mut sets = Sets::default();
        for set in [of(1, 0, 7), of(2, 3, 5), of(3, 1, 2), of(4, 29_999, 1)] {
            assert!(sets.insert(set));
        }
        let mut prefixes: Vec<IpNet> = (0..30_000).map(net).collect();
        prefixes.sort();
        for except in [0, 1, 3] {
            let searched = |prefix: &IpNet| {
                let holds = |set: &&Set| set.id != except && set.entries.contains_key(prefix);
                sets.sets().find(holds).map(|set| set.id)
            };
            let expected: Vec<Option<SetId>> = prefixes.iter().map(searched).collect();
            assert_eq!(sets.owners_except(TableKind::Block, &prefixes, except), expected);
        }
    }

    fn numbers(most: usize) -> impl Strategy<Value = Vec<u16>> {
        prop::collection::vec(0..600u16, 0..most)
    }

    proptest! {
        #[test]
        fn owners_are_those_that_a_search_of_every_set_finds(
            lists in prop::collection::vec((numbers(300), any::<bool>()), 1..6),
            asked in numbers(300),
            few in any::<bool>(),
            except in 0..6u32,
        ) {
            let mut sets = Sets::default();
            for (id, (list, blocks)) in (1..).zip(&lists) {
                let kind = if *blocks { TableKind::Block } else { TableKind::AllowSource };
                prop_assert!(sets.insert(set(id, kind, list)));
            }
            let asked = if few { &asked[..asked.len().min(3)] } else { &asked };
            let mut prefixes: Vec<IpNet> = asked.iter().map(|number| net(*number)).collect();
            prefixes.sort();
            prefixes.dedup();
            let searched = |prefix: &IpNet| {
                let holds = |set: &&Set| {
                    set.kind.is_in(TableKind::Block) && set.id != except && set.entries.contains_key(prefix)
                };
                sets.sets().find(holds).map(|set| set.id)
            };
            let expected: Vec<Option<SetId>> = prefixes.iter().map(searched).collect();
            prop_assert_eq!(sets.owners_except(TableKind::Block, &prefixes, except), expected);
        }
    }

    #[test]
    fn a_leap_stops_before_the_first_that_is_not_less() {
        let prefixes: Vec<IpNet> = (0..200).map(|number| net(number * 3)).collect();
        for from in [0, 1, 7, 199, 200] {
            for number in 0..620 {
                let entry = net(number);
                let expected = prefixes[from..].iter().take_while(|prefix| **prefix < entry).count();
                assert_eq!(leap(&prefixes[from..], &entry), expected, "{from} {entry}");
            }
        }
    }
}
