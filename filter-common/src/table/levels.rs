//! Networks with prefixes of many lengths: told in levels, so that a search does not try each of them.
//!
//! Country lists cut ranges into prefixes of every length, down to /128, all within one /32; tried one by one, that is
//! up to 96 look-ups for every address of it. In such a network each prefix of a length in [`BOUNDARIES`] that longer
//! ones lie in has a slot, if need be without a set, which names the guide of the next level. So a search goes down
//! the levels as far as its address has slots there, and then tries, from the longest, only what those levels name.
//!
//! A network is divided into levels when a generation is drafted, never later. What is added to it keeps its levels
//! whole.

use std::collections::BTreeMap;

use super::guides::{Guides, LengthBits, length_bit, union};
use super::networks::payload;
use super::slot::{BOUNDARIES, DEEPER};
use crate::keys::PrefixV6;

/// Lengths of a network from which on levels are worth their slots.
const MANY_LENGTHS: u32 = 5;

/// A guide that says only that the next level has slots.
pub const ONLY_DEEPER: LengthBits = [0, DEEPER];

/// Whether a guide says so.
#[must_use]
pub const fn goes_deeper([_, upper]: LengthBits) -> bool {
    upper & DEEPER != 0
}

/// The boundary that a prefix's level begins at, or ends with where it is the prefix's own length: the slots that
/// lead to it, from the widest.
pub fn leading_to(prefix: PrefixV6) -> impl DoubleEndedIterator<Item = PrefixV6> {
    let boundaries = BOUNDARIES.into_iter().filter(move |boundary| *boundary < u32::from(prefix.length()));
    boundaries.map(move |boundary| PrefixV6::containing(prefix.address(), length_of(boundary)))
}

/// What the guide of the level that a prefix lies in says of it.
#[must_use]
pub fn named_as(prefix: PrefixV6) -> LengthBits {
    if BOUNDARIES.contains(&u32::from(prefix.length())) { ONLY_DEEPER } else { length_bit(prefix.length()) }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 112")]
const fn length_of(boundary: u32) -> u8 {
    boundary as u8
}

/// The guide of a network, and what its slots at boundaries stand for where it has levels. `group` is all that lies in
/// it, in order.
pub fn divide(group: &[(PrefixV6, u16)], guides: &mut Guides) -> (u32, Vec<(PrefixV6, u32)>) {
    let lengths = group
        .iter()
        .fold(LengthBits::default(), |lengths, (prefix, _)| union(lengths, length_bit(prefix.length())));
    let [lower, upper] = lengths;
    // The longest decides whether there is more than one level.
    let reaches = lower != 0 || upper.trailing_zeros() <= 64 - BOUNDARIES[0];
    if !reaches || lower.count_ones() + upper.count_ones() < MANY_LENGTHS {
        return (guides.number(lengths), Vec::new());
    }
    guides.name_everywhere(lengths);
    let mut top = LengthBits::default();
    let mut slots: BTreeMap<PrefixV6, LengthBits> = BTreeMap::new();
    for (prefix, _) in group {
        let mut parent = &mut top;
        for boundary in leading_to(*prefix) {
            *parent = union(*parent, ONLY_DEEPER);
            parent = slots.entry(boundary).or_default();
        }
        *parent = union(*parent, named_as(*prefix));
    }
    let set_of =
        |slot| group.binary_search_by_key(&slot, |(prefix, _)| *prefix).map_or(0, |index| group[index].1);
    let slots =
        slots.into_iter().map(|(slot, lengths)| (slot, payload(set_of(slot), guides.number(lengths))));
    let slots = slots.collect();
    (guides.number(top), slots)
}
