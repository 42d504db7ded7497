//! IPv6 networks: what each /32 says about prefixes of 25 to 32 bits that cover it, and about longer ones within it.
//!
//! A prefix of 25 bits is 128 networks, one of 29, the usual allocation, eight.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::coarse::{Prefixes, truncated};
use super::guides::Guides;
use super::levels;
use super::slot::{CODES, GATHERED, GATHERED_MOST, SET_BITS};
use crate::keys::PrefixV6;

/// Bits of a network.
pub const BITS: u8 = 32;
/// Bits of the widest prefix that is told network by network.
pub const LEAST_BITS: u8 = 25;

/// A /32, by its bits, and its payload.
pub type Network = (u32, u32);

/// The /32 that a prefix begins in.
#[must_use]
pub const fn of(prefix: PrefixV6) -> u32 {
    (prefix.address().halves().0 >> 32) as u32
}

/// How a network's slot says both.
#[must_use]
pub const fn payload(set: u16, guide: u32) -> u32 {
    guide << SET_BITS | set as u32
}

/// The networks that a prefix of 25 to 32 bits is.
pub fn of_prefix((address, length): (u32, u8)) -> impl Iterator<Item = u32> {
    (0..1_u32 << (BITS - length)).map(move |offset| address | offset)
}

/// The set of the longest prefix of 25 to 32 bits that covers a network; 0 where there is none.
#[must_use]
pub fn set_of(prefixes: &Prefixes, network: u32) -> u16 {
    (LEAST_BITS..=BITS)
        .rev()
        .find_map(|length| prefixes.get(&(truncated(network, length), length)).copied())
        .unwrap_or(0)
}

/// Networks from the first to the last, which one set covers.
type Run = (u32, u32, u16);

/// Which set covers which networks: those of the longest prefix, in order, without overlap. There are no more runs than
/// two for each prefix, however wide the prefixes are.
fn runs(prefixes: &Prefixes) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut run = |from: u64, until: u64, set| {
        if let (Ok(first), Ok(last)) = (u32::try_from(from), u32::try_from(until.wrapping_sub(1)))
            && first <= last
        {
            runs.push((first, last, set));
        }
    };
    // Up to where the networks are told, and the prefixes that reach beyond it, each with its end.
    let (mut told, mut around): (u64, Vec<(u64, u16)>) = (0, Vec::new());
    for ((address, length), set) in prefixes {
        let begin = u64::from(*address);
        while let Some((end, outer)) = around.pop_if(|(end, _)| *end <= begin) {
            run(told, end, outer);
            told = told.max(end);
        }
        if let Some((_, outer)) = around.last() {
            run(told, begin, *outer);
        }
        told = begin;
        around.push((begin + (1 << (BITS - length)), *set));
    }
    while let Some((end, outer)) = around.pop() {
        run(told, end, outer);
        told = told.max(end);
    }
    runs
}

/// Networks that prefixes of 25 to 32 bits cover.
#[must_use]
pub fn count(prefixes: &Prefixes) -> u64 {
    runs(prefixes).into_iter().map(|(first, last, _)| u64::from(last - first) + 1).sum()
}

/// Entries in order, network by network.
pub fn groups(deep: &[(PrefixV6, u16)]) -> impl Iterator<Item = &[(PrefixV6, u16)]> {
    deep.chunk_by(|(a, _), (b, _)| of(*a) == of(*b))
}

/// Whether all that lies in a network is gathered in a new generation.
#[must_use]
pub const fn is_gathered(group: &[(PrefixV6, u16)]) -> bool {
    group.len() <= GATHERED_MOST
}

/// What every network says, and what the slots between its levels stand for. `prefixes` are of 25 to 32 bits, `deep`
/// longer and in order.
pub fn records(
    prefixes: &Prefixes,
    deep: &[(PrefixV6, u16)],
    guides: &mut Guides,
) -> (Vec<Network>, Vec<(PrefixV6, u32)>) {
    let runs = runs(prefixes).into_iter();
    let mut sets =
        runs.flat_map(|(first, last, set)| (first..=last).map(move |network| (network, set))).peekable();
    let (mut records, mut slots) = (Vec::new(), Vec::new());
    for group in groups(deep) {
        let network = of(group[0].0);
        while let Some((before, set)) = sets.next_if(|(other, _)| *other < network) {
            records.push((before, payload(set, 0)));
        }
        let set = sets.next_if(|(other, _)| *other == network).map_or(0, |(_, set)| set);
        let (guide, between) =
            if is_gathered(group) { (GATHERED, Vec::new()) } else { levels::divide(group, guides) };
        records.push((network, payload(set, guide)));
        slots.extend(between);
    }
    records.extend(sets.map(|(network, set)| (network, payload(set, 0))));
    (records, slots)
}

/// What most networks say, in the order of their codes, and how many of them say something that has no code.
#[must_use]
pub fn codes(records: &[Network]) -> (Vec<u32>, usize) {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for (_, payload) in records {
        *counts.entry(*payload).or_default() += 1;
    }
    let mut payloads: Vec<(u32, usize)> = counts.into_iter().collect();
    payloads.sort_unstable_by_key(|(payload, count)| (Reverse(*count), *payload));
    let spilled = payloads.split_off(payloads.len().min(CODES as usize));
    (
        payloads.into_iter().map(|(payload, _)| payload).collect(),
        spilled.into_iter().map(|(_, count)| count).sum(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_network_has_the_set_of_the_longest_prefix_around_it(
            prefixes in proptest::collection::btree_map(
                (prop_oneof![0..1024_u32, Just(u32::MAX)], LEAST_BITS..=BITS), 1..1023_u16, 0..12,
            ),
        ) {
            let key = |(address, length)| (truncated(address, length), length);
            let prefixes: Prefixes = prefixes.into_iter().map(|(prefix, set)| (key(prefix), set)).collect();
            let networks = prefixes.keys().flat_map(|prefix| of_prefix(*prefix));
            let mut expected: Vec<Network> =
                networks.map(|network| (network, payload(set_of(&prefixes, network), 0))).collect();
            expected.sort_unstable();
            expected.dedup();
            let (found, _) = records(&prefixes, &[], &mut Guides::default());
            prop_assert_eq!(count(&prefixes), found.len() as u64);
            prop_assert_eq!(found, expected);
        }
    }
}
