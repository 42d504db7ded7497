//! IPv6 networks: what each /32 says about prefixes of 25 to 32 bits that cover it, and about longer ones within it.
//!
//! A prefix of 25 bits is 128 networks, one of 29, the usual allocation, eight.

use std::collections::BTreeMap;

use super::coarse::{Prefixes, truncated};
use super::guides::Guides;
use super::levels;
use super::slot::SET_BITS;
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

/// What every network says, and what the slots between its levels stand for. `prefixes` are of 25 to 32 bits, `deep`
/// longer and in order.
pub fn records(
    prefixes: &Prefixes,
    deep: &[(PrefixV6, u16)],
    guides: &mut Guides,
) -> (Vec<Network>, Vec<(PrefixV6, u32)>) {
    // In order, so what is narrower comes later and stays on top.
    let mut sets = BTreeMap::new();
    for (prefix, set) in prefixes {
        sets.extend(of_prefix(*prefix).map(|network| (network, *set)));
    }
    let mut sets = sets.into_iter().peekable();
    let (mut records, mut slots) = (Vec::with_capacity(sets.len()), Vec::new());
    for group in deep.chunk_by(|(a, _), (b, _)| of(*a) == of(*b)) {
        let network = of(group[0].0);
        while let Some((before, set)) = sets.next_if(|(other, _)| *other < network) {
            records.push((before, payload(set, 0)));
        }
        let set = sets.next_if(|(other, _)| *other == network).map_or(0, |(_, set)| set);
        let (guide, between) = levels::divide(group, guides);
        records.push((network, payload(set, guide)));
        slots.extend(between);
    }
    records.extend(sets.map(|(network, set)| (network, payload(set, 0))));
    (records, slots)
}
