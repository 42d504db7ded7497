//! Exact look-ups: hash tables whose buckets are one line each.
//!
//! A key lies in the bucket that it hashes to or, where that is full, in one of the [`REACH`] - 1 after it. A bucket
//! whose last slot was never taken has not overflowed, so the search ends there: nearly every look-up, hit or miss,
//! reads one line. Slots are never moved, so a search beside a change sees each key where it was.
//!
//! Prefixes that are gathered ([`find_gathered`]) have the width of the longest and belong where their network does, so that
//! one look-up compares all of them.
//!
//! Three widths of key share that shape: 32 bits (eight slots a line, key and value in one word), 64 bits (five slots:
//! five words of keys, then their values of 32 bits), 128 bits (three slots). Most keys of 32 bits are IPv4 addresses
//! and IPv6 networks; those lie in [`super::compact`] slots.

use super::geometry::{REACH, Region};
use super::lines::{Line, Lines};
use super::slot::{GOES_ON, PAYLOAD_MASK, PAYLOAD_MASK_HALF, SET_MASK, narrow_key};

/// Slots of a line for 64-bit keys.
pub const UPPER_SLOTS: u32 = 5;
/// Slots of a line for 128-bit keys.
pub const LOWER_SLOTS: u32 = 3;
/// Slots of a line for 32-bit keys.
pub const NARROW_SLOTS: u32 = 8;
/// First word of the values behind 64-bit keys.
pub const UPPER_VALUES: u32 = 5;
/// First word of the values behind 128-bit keys.
pub const LOWER_VALUES: u32 = 6;

/// The bucket of a product's high half, without a division (Lemire, "Fast random integer generation in an interval",
/// 2019).
#[inline(always)]
const fn bucket(product: u64, buckets: u32) -> u32 {
    (((product >> 32) * buckets as u64) >> 32) as u32
}

/// Where a 32-bit key belongs.
#[inline(always)]
#[must_use]
pub const fn narrow_home(multiplier: u64, buckets: u32, key: u32, length: u32) -> u32 {
    bucket(narrow_key(key, length).wrapping_mul(multiplier), buckets)
}

/// Where a 64-bit key belongs.
#[inline(always)]
#[must_use]
pub const fn upper_home(multiplier: u64, buckets: u32, key: u64, length: u32) -> u32 {
    bucket((key ^ length as u64).wrapping_mul(multiplier), buckets)
}

/// Where a 128-bit key belongs.
#[inline(always)]
#[must_use]
pub const fn lower_home(multiplier: u64, buckets: u32, (first, last): (u64, u64), length: u32) -> u32 {
    let mixed = first.wrapping_mul(multiplier).rotate_left(32) ^ last ^ length as u64;
    bucket(mixed.wrapping_mul(multiplier), buckets)
}

/// Where all prefixes of a gathered network belong.
#[inline(always)]
#[must_use]
pub const fn gathered_home(multiplier: u64, buckets: u32, network: u32) -> u32 {
    bucket((network as u64).wrapping_mul(multiplier), buckets)
}

/// What `key` of that length stands for; 0 where it is not there.
#[inline(always)]
pub fn find_narrow<L: Lines>(lines: &L, multiplier: u64, region: Region, key: u32, length: u32) -> u32 {
    let wanted = narrow_key(key, length);
    let mut index = region.first.wrapping_add(narrow_home(multiplier, region.buckets, key, length));
    for _ in 0..REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for slot in 0..NARROW_SLOTS {
            last = line.word(slot);
            // Keys have 40 bits, so only where there is no difference does this borrow, and the sign is all ones.
            let same = L::Line::sign((last >> 24 ^ wanted).wrapping_sub(1));
            found |= last & same;
        }
        // Found, or the last slot was never taken.
        if found != 0 || last == 0 {
            return (found & PAYLOAD_MASK) as u32;
        }
        index = index.wrapping_add(1);
    }
    0
}

/// All ones where there is no difference, else zero, without a branch.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "all bits are the same")]
fn same<L: Lines>(differs: u64) -> u32 {
    !L::Line::sign(differs | differs.wrapping_neg()) as u32
}

/// What a 64-bit key of that length stands for; 0 where it is not there.
#[inline(always)]
pub fn find_upper<L: Lines>(lines: &L, multiplier: u64, region: Region, key: u64, length: u32) -> u32 {
    let mut index = region.first.wrapping_add(upper_home(multiplier, region.buckets, key, length));
    for _ in 0..REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for slot in 0..UPPER_SLOTS {
            // The value goes first: a slot that is being filled shows its key before its value.
            last = line.half(UPPER_VALUES, slot);
            found |= last & same::<L>(u64::from(last >> 24 ^ length) | (line.word(slot) ^ key));
        }
        if found != 0 || last == 0 {
            return found & PAYLOAD_MASK_HALF;
        }
        index = index.wrapping_add(1);
    }
    0
}

/// What a 128-bit key of that length stands for; 0 where it is not there.
#[inline(always)]
pub fn find_lower<L: Lines>(
    lines: &L,
    multiplier: u64,
    region: Region,
    (first, second): (u64, u64),
    length: u32,
) -> u32 {
    let home = lower_home(multiplier, region.buckets, (first, second), length);
    let mut index = region.first.wrapping_add(home);
    for _ in 0..REACH {
        let Some(line) = lines.line(index) else { return 0 };
        let (mut last, mut found) = (0, 0);
        for slot in 0..LOWER_SLOTS {
            last = line.half(LOWER_VALUES, slot);
            let differs = line.word(2 * slot) ^ first | line.word(2 * slot + 1) ^ second;
            found |= last & same::<L>(u64::from(last >> 24 ^ length) | differs);
        }
        if found != 0 || last == 0 {
            return found & PAYLOAD_MASK_HALF;
        }
        index = index.wrapping_add(1);
    }
    0
}

/// What the longest prefix that covers an address stands for, among those of gathered networks; 0 where there is none.
///
/// Where to read depends on the network alone, so the CPU need not wait for what the network's slot says.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a value has 32 bits")]
pub fn find_gathered<L: Lines>(
    lines: &L,
    multiplier: u64,
    region: Region,
    (first, second): (u64, u64),
) -> u32 {
    let home = gathered_home(multiplier, region.buckets, (first >> 32) as u32);
    let mut index = region.first.wrapping_add(home);
    let mut longest = 0;
    for _ in 0..REACH {
        let Some(line) = lines.line(index) else { break };
        let mut last = 0;
        for slot in 0..LOWER_SLOTS {
            // The value goes first: a slot that is being filled shows its key before its value.
            last = line.half(LOWER_VALUES, slot);
            let length = u64::from(last >> 24);
            // The bits of the prefix in the word that it ends in, and whether that is the second.
            let mask = u64::MAX << (length.wrapping_neg() & 63);
            let ends_in_second = L::Line::sign(64_u64.wrapping_sub(length));
            let differs = (line.word(2 * slot) ^ first) & (mask | ends_in_second)
                | (line.word(2 * slot + 1) ^ second) & mask & ends_in_second;
            let found = u64::from(last & same::<L>(differs));
            // The greater one: of prefixes that cover the same address, the longer one.
            let more = found.wrapping_sub(longest);
            longest = longest.wrapping_add(more & !L::Line::sign(more));
        }
        // A longer one may lie behind one that was found.
        if last & GOES_ON == 0 {
            break;
        }
        index = index.wrapping_add(1);
    }
    longest as u32 & SET_MASK
}
