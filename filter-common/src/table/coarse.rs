//! Prefixes of at most 24 bits: what the root and the chunks say, from the prefixes that they stand for.
//!
//! Both families share this, an IPv6 prefix by its first 32 bits. Wider prefixes come before narrower ones that lie in
//! them when prefixes are in order, so painting them in order leaves the longest on top.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::chunk::{Encoded, Values, encode};
use super::slot::CHUNK_VALUES;

/// Bits of the longest prefix that the root itself can tell.
pub const ROOT_BITS: u8 = 16;
/// Bits of the longest prefix here.
pub const COARSE_BITS: u8 = 24;

/// Prefixes of at most 24 bits, by first address and length, with their sets.
pub type Prefixes = BTreeMap<(u32, u8), u16>;

/// The last address of a prefix.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
pub const fn last_address((address, length): (u32, u8)) -> u32 {
    // In 64 bits, since a shift of a u32 by 32 is undefined.
    address | (0xffff_ffff_u64 >> length) as u32
}

/// The root slots that a prefix touches.
#[must_use]
pub const fn roots_of(prefix: (u32, u8)) -> RangeInclusive<u16> {
    (prefix.0 >> 16) as u16..=(last_address(prefix) >> 16) as u16
}

/// The longest of these prefixes that covers the first `length` bits of `address`.
#[must_use]
pub fn covering(prefixes: &Prefixes, address: u32, length: u8) -> Option<((u32, u8), u16)> {
    (0..=length.min(COARSE_BITS)).rev().find_map(|length| {
        let key = (truncated(address, length), length);
        prefixes.get(&key).map(|set| (key, *set))
    })
}

/// The first bits of an address.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
pub const fn truncated(address: u32, length: u8) -> u32 {
    address & (0xffff_ffff_0000_0000_u64 >> length) as u32
}

/// What the slots of a whole root say, from the first on; those that are left out say nothing.
#[must_use]
pub fn paint_all(prefixes: &Prefixes) -> Vec<Encoded> {
    if prefixes.is_empty() { Vec::new() } else { paint(prefixes, 0..=u16::MAX) }
}

/// What the slots of `roots`, which are all of some prefix's, say.
#[must_use]
pub fn paint(prefixes: &Prefixes, roots: RangeInclusive<u16>) -> Vec<Encoded> {
    let (first, last) = (*roots.start(), *roots.end());
    let count = usize::from(last - first) + 1;
    let (low, high) = (u32::from(first) << 16, u32::from(last) << 16 | 0xffff);
    // What covers all of the range: a prefix that is shorter than it, or as long.
    let around = ROOT_BITS - u8::try_from(count.ilog2()).unwrap_or(ROOT_BITS);
    let mut background = vec![covering(prefixes, low, around).map_or(0, |(_, set)| set); count];
    let within = || prefixes.range((low, 0)..=(high, u8::MAX));
    for (prefix, set) in within().filter(|((_, length), _)| (around..=ROOT_BITS).contains(length)) {
        let slots = roots_of(*prefix);
        background[usize::from(*slots.start() - first)..=usize::from(*slots.end() - first)].fill(*set);
    }
    let mut slots: Vec<Encoded> = background.iter().map(|set| Encoded::Uniform(*set)).collect();
    let mut finer = within().filter(|((_, length), _)| *length > ROOT_BITS).peekable();
    while let Some(((address, _), _)) = finer.peek() {
        let root = address >> 16;
        let slot = (root - u32::from(first)) as usize;
        let mut values: Values = [background[slot]; CHUNK_VALUES];
        while let Some((prefix, set)) = finer.next_if(|((address, _), _)| address >> 16 == root) {
            let from = (prefix.0 >> 8 & 0xff) as usize;
            values[from..=(last_address(*prefix) >> 8 & 0xff) as usize].fill(*set);
        }
        slots[slot] = encode(&values);
    }
    slots
}
