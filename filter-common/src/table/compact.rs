//! Exact look-ups of 32-bit keys that take less room than the keys: IPv4 addresses and IPv6 networks.
//!
//! A key is permuted, which loses nothing. The upper bits of the outcome say which bucket it belongs to, so a slot
//! stores only the lower ones, its tag: within the [`Shape::REACH`] buckets that a key may lie in, no two keys have
//! the same (quotienting; Cleary, "Compact hash tables using bidirectional linear probing", 1984). That takes enough
//! buckets, [`Shape::LEAST_BUCKETS`], however few keys there are.
//!
//! Buckets overflow as those of [`super::exact`] do. A table's size decides its cost: what the CPU's nearer caches and
//! its address translation do not hold is two to four times as far away.

use super::geometry::{BUCKETS_A_LINE, Region};
use super::lines::{Line, Lines};

/// How buckets are divided into slots.
pub trait Shape {
    /// Slots of a bucket.
    const SLOTS: u32;
    /// Buckets that a key may lie in: the one that it belongs to and those after it.
    const REACH: u32;
    /// How full a new generation's are, in percent: above it keys whose whole reach is taken are no longer rare.
    const FULLNESS: u32;
    /// Bits of what a key stands for.
    const PAYLOAD_BITS: u32;
    /// Bits of a tag.
    const TAG_BITS: u32;
    /// What masks the payload in the value of a slot.
    const PAYLOAD_MASK: u32 = (1 << Self::PAYLOAD_BITS) - 1;
    /// With fewer buckets two keys might have one tag.
    const LEAST_BUCKETS: u32 = Self::REACH << (u32::BITS - Self::TAG_BITS);
}

/// A set, or a network's code: buckets of half a line, and slots of half a word, the payload below the tag. One store
/// changes a slot.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// The payload of a network that has no code for it: buckets of a line, with sixteen bits of each tag in the first two
/// words and a half, and the rest of it above the payload in the last five.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Shape for Single {
    const SLOTS: u32 = 8;
    const REACH: u32 = 16;
    const FULLNESS: u32 = 55;
    const PAYLOAD_BITS: u32 = 10;
    const TAG_BITS: u32 = 22;
}

impl Shape for Network {
    const SLOTS: u32 = 10;
    const REACH: u32 = 16;
    const FULLNESS: u32 = 60;
    const PAYLOAD_BITS: u32 = 24;
    const TAG_BITS: u32 = 24;
}

/// First word of the values of networks.
pub const NETWORK_VALUES: u32 = 3;
/// Bits of a network's tag that lie apart from its value.
const APART_BITS: u32 = 16;

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

/// The permuted key whose tag a slot of `bucket`, of that many, holds.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "all keys have 32 bits")]
pub const fn permuted_of<S: Shape>(buckets: u32, bucket: u32, tag: u32) -> u32 {
    // The least that belongs to the first bucket from which it may have come here.
    let first = bucket.saturating_sub(S::REACH - 1) as u64;
    let least = (first << u32::BITS).div_ceil(buckets as u64) as u32;
    least.wrapping_add(tag.wrapping_sub(least) & ((1 << S::TAG_BITS) - 1))
}

/// The value of a single's slot; the upper bits of the permuted key are those that its place tells.
#[inline(always)]
#[must_use]
pub const fn single_value(permuted: u32, set: u32) -> u32 {
    permuted << Single::PAYLOAD_BITS | set
}

/// The tag of such a slot.
#[must_use]
pub const fn single_tag(value: u32) -> u32 {
    value >> Single::PAYLOAD_BITS
}

/// The bits of a network's tag that lie apart, and the value of its slot.
#[inline(always)]
#[must_use]
pub const fn network_value(permuted: u32, payload: u32) -> (u32, u32) {
    (permuted & ((1 << APART_BITS) - 1), (permuted >> APART_BITS) << Network::PAYLOAD_BITS | payload)
}

/// The tag of such a slot.
#[must_use]
pub const fn network_tag(apart: u32, value: u32) -> u32 {
    (value >> Network::PAYLOAD_BITS) << APART_BITS | apart
}

/// The set of an address, or the code of a network; 0 where it is not there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "all bits of the sign are the same")]
pub fn find_single<L: Lines>(lines: &L, multiplier: u64, region: Region, address: u32) -> u32 {
    let permuted = permute(multiplier, address);
    let wanted = single_value(permuted, 0);
    let mut bucket = home(permuted, region.buckets);
    for _ in 0..Single::REACH {
        let Some(line) = lines.line(region.first.wrapping_add(bucket / BUCKETS_A_LINE)) else { return 0 };
        let first = bucket % BUCKETS_A_LINE * Single::SLOTS;
        let (mut last, mut found) = (0, 0);
        for slot in 0..Single::SLOTS {
            last = line.half(0, first + slot);
            let set = last ^ wanted;
            // Only where the tags are the same does this borrow, and the sign is all ones.
            found |= set & L::Line::sign(u64::from(set).wrapping_sub(1 << Single::PAYLOAD_BITS)) as u32;
        }
        // Found, or the last slot was never taken.
        if found != 0 || last == 0 {
            return found;
        }
        bucket = bucket.wrapping_add(1);
    }
    0
}

/// The payload of a network without a code; 0 where it is not there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "all bits of the sign are the same")]
pub fn find_network<L: Lines>(lines: &L, multiplier: u64, region: Region, network: u32) -> u32 {
    let permuted = permute(multiplier, network);
    let (apart, wanted) = network_value(permuted, 0);
    let mut index = region.first.wrapping_add(home(permuted, region.buckets));
    for _ in 0..Network::REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for slot in 0..Network::SLOTS {
            // The value goes first: a slot that is being filled shows its tag before its value.
            last = line.half(NETWORK_VALUES, slot);
            let differs = (last ^ wanted) >> Network::PAYLOAD_BITS | line.quarter(0, slot) ^ apart;
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
        fn a_slot_tells_its_key_wherever_it_may_lie(permuted: u32, more in 0_u32..1 << 20, overflow in 0..16_u32) {
            let told = |buckets: u32| (buckets + more, home(permuted, buckets + more) + overflow);
            let (buckets, bucket) = told(Single::LEAST_BUCKETS);
            let tag = single_tag(single_value(permuted, 1023));
            prop_assert_eq!(permuted_of::<Single>(buckets, bucket, tag), permuted);
            let (buckets, bucket) = told(Network::LEAST_BUCKETS);
            let (apart, value) = network_value(permuted, 0x12_3456);
            prop_assert_eq!(permuted_of::<Network>(buckets, bucket, network_tag(apart, value)), permuted);
        }
    }
}
