//! A line of buckets: what its words mean, and which of them is a key's.

use crate::table::lines::{Line, WORDS};

/// Bits of a slot that tell keys of one line apart. Twenty make a flood's false matches rarer than the losses that
/// sources within their limit may have, also in small tables and at one packet a second; sixteen do not.
pub const TAG_BITS: u32 = 20;
/// What masks them: the lower part of a slot. The upper part is a time, in its limit's units, at which the bucket owes
/// nothing any more. There, times wrap by themselves when words are subtracted.
pub const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// Bits of a time.
pub const TIME_BITS: u32 = u64::BITS - TAG_BITS;

/// Slots of a line, as the index of a slot counts them.
#[expect(clippy::cast_possible_truncation, reason = "eight")]
const SLOTS: u32 = WORDS as u32;

/// An array of lines that all CPUs change.
pub trait Cells {
    /// One line of it.
    type Line: Slots;

    /// The line of an index; `None` past the end, which only a region that is not this array's can make of a key.
    fn line(&self, index: u32) -> Option<Self::Line>;
}

/// One line of it. No word says anything about another, so nothing need be ordered.
pub trait Slots: Line {
    /// Replaces the word at `slot`, of which only the lowest three bits count, if it still is `old`; whether it did.
    fn compare_exchange(self, slot: u32, old: u64, new: u64) -> bool;
}

/// The lines of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// The first.
    pub first: u32,
    /// How many; at most [`Self::MAX_LINES`].
    pub lines: u32,
}

impl Region {
    /// With more, the product in [`Self::place`] would not fit its word.
    pub const MAX_LINES: u32 = 1 << 20;

    /// The line and the tag of a key. Both are one number, the hash's part of all (line, tag) pairs in order, so that a
    /// pair of keys meets in both only if the upper bits of their hashes do: what [`super::keys`] bounds.
    #[inline(always)]
    #[must_use]
    pub const fn place(self, key_hash: u64) -> (u32, u64) {
        let scaled = (key_hash >> TAG_BITS).wrapping_mul(self.lines as u64);
        let tag = scaled >> (TIME_BITS - TAG_BITS) & TAG_MASK;
        // No tag is zero: a slot that was never used is no key's. Zero's keys have the tag of one's.
        let tag = tag + (tag.wrapping_sub(1) >> (u64::BITS - 1));
        (self.first.wrapping_add((scaled >> TIME_BITS) as u32), tag)
    }
}

/// Whether a word has this tag.
#[inline(always)]
#[must_use]
pub const fn holds(word: u64, tag: u64) -> bool {
    (word ^ tag) & TAG_MASK == 0
}

/// The slot of a key: the one that has its tag, else one that owes nothing at `now`, else the one that owes least.
/// Who takes the word at it looks for the tag again, since other CPUs change the line meanwhile.
#[inline(always)]
pub fn seek<S: Slots>(line: S, tag: u64, now: u64, horizon: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "20 bits")]
    let preferred = tag as u32 % SLOTS;
    let word = line.word(preferred);
    if holds(word, tag) {
        return preferred;
    }
    for slot in 0..SLOTS {
        if holds(line.word(slot), tag) {
            return slot;
        }
    }
    // The tag is in the way of a comparison by less than one unit of time.
    if word.wrapping_sub(now) > horizon | TAG_MASK { preferred } else { least(line, now, horizon) }
}

/// The slot that owes least. Times count from just behind the horizon, so that all that are past come before all that
/// are ahead; the slot's number takes the place of the tag and leaves with the smallest.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "three bits")]
fn least<S: Slots>(line: S, now: u64, horizon: u64) -> u32 {
    let behind = now.wrapping_add(horizon).wrapping_add(1 << TAG_BITS);
    // Of 63 bits, so that the sign of a difference says which is smaller.
    let mut least = u64::MAX >> 1;
    for slot in 0..SLOTS {
        let ranked = (line.word(slot).wrapping_sub(behind) & !TAG_MASK) >> 1 | u64::from(slot);
        let less = ranked.wrapping_sub(least);
        least = least.wrapping_add(less & S::sign(less));
    }
    least as u32 % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_region_and_no_tag_is_zero() {
        for lines in [1, 3, 1000, Region::MAX_LINES] {
            let region = Region { first: 7, lines };
            for hash in [0, 1, 1 << 43, u64::MAX / 3, u64::MAX] {
                let (line, tag) = region.place(hash);
                assert!((7..7 + lines).contains(&line) && (1..=TAG_MASK).contains(&tag), "{lines} {hash:x}");
            }
            assert_eq!(region.place(0), (7, 1));
            assert_eq!(region.place(u64::MAX).0, 6 + lines);
        }
    }

    #[test]
    fn every_line_and_every_bit_of_a_tag_is_used() {
        let region = Region { first: 0, lines: 5 };
        let (mut lines, mut tags) = (0_u32, 0);
        for step in 0..1000_u64 {
            let (line, tag) = region.place(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            lines |= 1 << line;
            tags |= tag;
        }
        assert_eq!((lines, tags), (0b1_1111, TAG_MASK));
    }
}
