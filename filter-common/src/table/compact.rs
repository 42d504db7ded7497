//! Exact look-ups of 32-bit keys that take less room than the keys: IPv4 addresses and IPv6 networks.
//!
//! A key is permuted, which loses nothing. The upper bits of the outcome say which bucket it belongs to, so a slot
//! stores only the lower ones, its tag: within the [`Shape::REACH`] buckets that a key may lie in, no two keys have
//! the same (quotienting; Cleary, "Compact hash tables using bidirectional linear probing", 1984). That takes enough
//! buckets, [`Shape::LEAST_BUCKETS`], however few keys there are.
//!
//! A slot is sixteen bits of the tag in one part of the line, and the rest of it with the payload in another, which
//! says also whether the slot is in use. Buckets overflow as those of [`super::exact`] do.
//!
//! A table's size decides its cost: what the CPU's nearer caches and its address translation do not hold is two to
//! four times as far away.

use super::geometry::Region;
use super::lines::{Line, Lines};

/// Bits of a tag beside the rest.
const TAG_BITS: u32 = 16;
/// What masks them.
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;

/// How a line is divided into slots.
pub trait Shape {
    /// Slots of a line.
    const SLOTS: u32;
    /// Buckets that a key may lie in: the one that it belongs to and those after it.
    const REACH: u32;
    /// How full a new generation's are, in percent: above it keys whose whole reach is taken are no longer rare.
    const FULLNESS: u32;
    /// Bits of what a key stands for.
    const PAYLOAD_BITS: u32;
    /// Bits of the tag that lie above the payload.
    const REST_BITS: u32;
    /// What masks the payload in the rest of a slot.
    const PAYLOAD_MASK: u32 = (1 << Self::PAYLOAD_BITS) - 1;
    /// Fewer buckets, and two keys might have one tag.
    const LEAST_BUCKETS: u32 = Self::REACH << (u32::BITS - TAG_BITS - Self::REST_BITS);

    /// What a slot stores beside the first bits of the tag: zero where it was never taken.
    fn rest<L: Line>(line: L, slot: u32) -> u32;
}

/// Sixteen slots a line for a set: tags in the first four words, the rest in the others.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// Ten slots a line for a network's payload: tags in two words and a half, the rest in the last five.
#[derive(Clone, Copy, Debug)]
pub struct Network;

/// First word of the rests of [`Single`].
pub const SINGLE_RESTS: u32 = 4;
/// First word of the rests of [`Network`].
pub const NETWORK_RESTS: u32 = 3;

impl Shape for Single {
    const SLOTS: u32 = 16;
    const REACH: u32 = 8;
    const FULLNESS: u32 = 60;
    const PAYLOAD_BITS: u32 = 10;
    const REST_BITS: u32 = 6;

    #[inline(always)]
    fn rest<L: Line>(line: L, slot: u32) -> u32 {
        line.quarter(SINGLE_RESTS, slot)
    }
}

impl Shape for Network {
    const SLOTS: u32 = 10;
    const REACH: u32 = 16;
    const FULLNESS: u32 = 60;
    const PAYLOAD_BITS: u32 = 24;
    const REST_BITS: u32 = 8;

    #[inline(always)]
    fn rest<L: Line>(line: L, slot: u32) -> u32 {
        line.half(NETWORK_RESTS, slot)
    }
}

/// Two odd numbers to multiply by.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn multipliers(multiplier: u64) -> (u32, u32) {
    (multiplier as u32 | 1, (multiplier >> 32) as u32 | 1)
}

/// A bijection whose upper bits depend on all of the key's: shifts and multiplications by odd numbers, each of which
/// is one.
#[inline(always)]
#[must_use]
pub const fn permute(multiplier: u64, key: u32) -> u32 {
    let (first, second) = multipliers(multiplier);
    let mixed = (key ^ key >> 16).wrapping_mul(first);
    (mixed ^ mixed >> 15).wrapping_mul(second)
}

/// The key of what [`permute`] made of it.
#[must_use]
pub const fn unpermute(multiplier: u64, permuted: u32) -> u32 {
    let (first, second) = multipliers(multiplier);
    let mixed = permuted.wrapping_mul(inverse(second));
    let mixed = (mixed ^ mixed >> 15 ^ mixed >> 30).wrapping_mul(inverse(first));
    mixed ^ mixed >> 16
}

/// What undoes a multiplication by an odd number: Newton's iteration, which doubles the bits that are right.
const fn inverse(odd: u32) -> u32 {
    let (mut inverse, mut right) = (odd, 3);
    while right < u32::BITS {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        right *= 2;
    }
    inverse
}

/// The bucket that a permuted key belongs to.
#[inline(always)]
#[must_use]
pub const fn home(permuted: u32, buckets: u32) -> u32 {
    ((permuted as u64 * buckets as u64) >> u32::BITS) as u32
}

/// The first bits of a permuted key's tag.
#[inline(always)]
#[must_use]
pub const fn tag(permuted: u32) -> u32 {
    permuted & TAG_MASK
}

/// The rest of a slot of that shape for a permuted key and its payload.
#[inline(always)]
#[must_use]
pub const fn rest<S: Shape>(permuted: u32, payload: u32) -> u32 {
    (permuted >> TAG_BITS & ((1 << S::REST_BITS) - 1)) << S::PAYLOAD_BITS | payload
}

/// The permuted key whose slot lies in `bucket` of `buckets`, by the slot's tag and rest.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "all keys have 32 bits")]
pub const fn permuted_of<S: Shape>(buckets: u32, bucket: u32, tag: u32, rest: u32) -> u32 {
    let whole = (rest >> S::PAYLOAD_BITS) << TAG_BITS | tag;
    // The least that belongs to the first bucket from which it may have come here.
    let first = bucket.saturating_sub(S::REACH - 1) as u64;
    let least = (first << u32::BITS).div_ceil(buckets as u64) as u32;
    least.wrapping_add(whole.wrapping_sub(least) & ((1 << (TAG_BITS + S::REST_BITS)) - 1))
}

/// The same sixteen bits in each quarter of a word.
#[inline(always)]
const fn in_each_quarter(bits: u32) -> u64 {
    bits as u64 * 0x0001_0001_0001_0001
}

/// All bits but the highest of each quarter.
const BELOW_TOP: u64 = in_each_quarter(0x7fff);
/// The bits of a rest that are the tag's, in each quarter.
const REST_MASKS: u64 = in_each_quarter(TAG_MASK & !Single::PAYLOAD_MASK);

/// All bits but the highest of each quarter that is zero: the additions carry into its highest bit where any other is
/// set, and never beyond.
#[inline(always)]
const fn zero_quarters(word: u64) -> u64 {
    let tops = !(((word & BELOW_TOP) + BELOW_TOP) | word | BELOW_TOP);
    tops - (tops >> 15)
}

/// The set of an address; 0 where it is not there. Four slots at once, and no branch that depends on which it is.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a set has 10 bits")]
pub fn find_single<L: Lines>(lines: &L, multiplier: u64, region: Region, address: u32) -> u32 {
    let permuted = permute(multiplier, address);
    let (tags, rests) = (in_each_quarter(tag(permuted)), in_each_quarter(rest::<Single>(permuted, 0)));
    let mut index = region.first.wrapping_add(home(permuted, region.buckets));
    for _ in 0..Single::REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for word in 0..SINGLE_RESTS {
            // The rest goes first: a slot that is being filled shows its tag before its rest.
            last = line.word(SINGLE_RESTS + word);
            let rest = last ^ rests;
            found |= rest & zero_quarters(line.word(word) ^ tags | rest & REST_MASKS);
        }
        found |= found >> 32;
        found |= found >> 16;
        let set = found as u32 & Single::PAYLOAD_MASK;
        // Found, or the last slot was never taken.
        if set != 0 || last >> 48 == 0 {
            return set;
        }
        index = index.wrapping_add(1);
    }
    0
}

/// What a network stands for; 0 where it is not there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "all bits of the sign are the same")]
pub fn find_network<L: Lines>(lines: &L, multiplier: u64, region: Region, network: u32) -> u32 {
    let permuted = permute(multiplier, network);
    let (tag, wanted) = (tag(permuted), rest::<Network>(permuted, 0) >> Network::PAYLOAD_BITS);
    let mut index = region.first.wrapping_add(home(permuted, region.buckets));
    for _ in 0..Network::REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for slot in 0..Network::SLOTS {
            last = Network::rest(line, slot);
            let differs = last >> Network::PAYLOAD_BITS ^ wanted | line.quarter(0, slot) ^ tag;
            // Only where there is no difference does this borrow, and the sign is all ones.
            found |= last & L::Line::sign(u64::from(differs).wrapping_sub(1)) as u32;
        }
        let payload = found & Network::PAYLOAD_MASK;
        if payload != 0 || last == 0 {
            return payload;
        }
        index = index.wrapping_add(1);
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_permutation_is_undone(multiplier: u64, key: u32) {
            prop_assert_eq!(unpermute(multiplier, permute(multiplier, key)), key);
        }

        #[test]
        fn a_quarter_is_found_where_it_is_zero_and_nowhere_else(quarters in proptest::array::uniform4(prop_oneof![Just(0), Just(1), Just(0x8000), any::<u16>()])) {
            let word = quarters.iter().rev().fold(0, |word, quarter| word << 16 | u64::from(*quarter));
            let zero = quarters.iter().rev().fold(0, |word, quarter| word << 16 | if *quarter == 0 { 0x7fff } else { 0 });
            prop_assert_eq!(zero_quarters(word), zero);
        }

        #[test]
        fn a_slot_tells_its_key_wherever_it_may_lie(permuted: u32, more in 0_u32..1 << 20, overflow in 0..8_u32) {
            fn told<S: Shape>(permuted: u32, more: u32, overflow: u32) -> u32 {
                let buckets = S::LEAST_BUCKETS + more;
                let bucket = home(permuted, buckets) + overflow * (S::REACH - 1) / 7;
                permuted_of::<S>(buckets, bucket, tag(permuted), rest::<S>(permuted, 1))
            }
            prop_assert_eq!(told::<Single>(permuted, more, overflow), permuted);
            prop_assert_eq!(told::<Network>(permuted, more, overflow), permuted);
        }
    }
}
