//! Exact look-ups of very many IPv4 addresses, in less than three bytes each.
//!
//! A line is one bucket of 24 slots, three in each word. As in [`super::compact`] an address is permuted, the upper bits
//! of the outcome choose the line, and the slot stores what the line does not tell: a tag, and above it a code for the set,
//! of which a table has 15. All three slots of a word are compared at once. Large buckets fill evenly, so lines can be
//! three quarters full; addresses that find no slot, and those of sets without a code, lie among the prefixes of
//! [`super::exact`], and the line says so in its last bit, which a search reads last.
//!
//! That takes enough lines, [`LEAST_LINES`], however few addresses there are, so a table has either these or the slots
//! of [`super::compact`], whichever are smaller. A table's size decides its cost: of a million addresses, half of the
//! lines lie in a cache of 2 MiB.

use super::compact::{home, permute};
use super::geometry::{Packed, Region};
use super::lines::{Line, Lines, WORDS as LINE_WORDS};

/// Words of a line.
#[expect(clippy::cast_possible_truncation, reason = "eight")]
pub const WORDS: u32 = LINE_WORDS as u32;
/// Slots of a word.
pub const SLOTS_A_WORD: u32 = 3;
/// Slots of a line.
pub const SLOTS: u32 = SLOTS_A_WORD * WORDS;
/// Bits of a slot.
pub const SLOT_BITS: u32 = 21;
/// Bits of a tag.
pub const TAG_BITS: u32 = 17;
/// The tag of a slot; its code lies above.
pub const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// Codes of sets: 1 to this. A slot with code 0 is free.
pub const CODES: u32 = (1 << (SLOT_BITS - TAG_BITS)) - 1;
/// With fewer lines two addresses of one might have the same tag.
pub const LEAST_LINES: u32 = 1 << (u32::BITS - TAG_BITS);
/// How full a new generation's lines are, in percent. One in twenty-five has addresses elsewhere then.
pub const FULLNESS: u32 = 75;
/// Set in the last word of a line of which addresses lie elsewhere.
pub const SPILLED: u64 = 1 << 63;

/// A one in each slot of a word.
const EACH: u64 = 1 | 1 << SLOT_BITS | 1 << (2 * SLOT_BITS);

/// The set of an address; 0 where it is not there. `exact` is where the table's longer prefixes lie.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a code has four bits")]
pub fn find_packed<L: Lines>(lines: &L, multiplier: u64, packed: Packed, exact: Region, address: u32) -> u32 {
    let permuted = permute(multiplier, address);
    let Some(line) = lines.line(packed.first.wrapping_add(home(permuted, packed.lines))) else { return 0 };
    let wanted = (u64::from(permuted) & TAG_MASK).wrapping_mul(EACH);
    let (mut last, mut found) = (0, 0);
    for index in 0..WORDS {
        last = line.word(index);
        found |= last & codes_where_same(last, wanted);
    }
    let code = found >> TAG_BITS | found >> (TAG_BITS + SLOT_BITS) | found >> (TAG_BITS + 2 * SLOT_BITS);
    let code = (code & u64::from(CODES)) as u32;
    if code != 0 {
        return lines.line(packed.sets).map_or(0, |sets| sets.half(0, code));
    }
    if last & SPILLED == 0 { 0 } else { lines.narrow(multiplier, exact, address, u32::BITS) }
}

/// What masks the code of the slot whose tag is that of `wanted`, which has the tag in each slot.
#[inline(always)]
const fn codes_where_same(word: u64, wanted: u64) -> u64 {
    let differs = (word ^ wanted) & (TAG_MASK * EACH);
    // A one above each tag is borrowed from unless nothing differs.
    let above = EACH << TAG_BITS;
    let same = above.wrapping_sub(differs) & above;
    same * CODES as u64
}

/// The place of an address: the line, counted from the first, and its tag there.
#[must_use]
pub const fn place_of(multiplier: u64, lines: u32, address: u32) -> (u32, u64) {
    let permuted = permute(multiplier, address);
    (home(permuted, lines), permuted as u64 & TAG_MASK)
}

/// The permuted address whose tag a slot of `line`, of that many, holds.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "all addresses have 32 bits")]
pub const fn permuted_of(lines: u32, line: u32, tag: u64) -> u32 {
    let least = ((line as u64) << u32::BITS).div_ceil(lines as u64);
    (least + (tag.wrapping_sub(least) & TAG_MASK)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compact::unpermute;
    use super::*;

    proptest! {
        #[test]
        fn a_slot_tells_its_address(multiplier: u64, address: u32, more in 0_u32..1 << 20) {
            let (line, tag) = place_of(multiplier, LEAST_LINES + more, address);
            prop_assert_eq!(unpermute(multiplier, permuted_of(LEAST_LINES + more, line, tag)), address);
        }

        #[test]
        fn of_a_word_the_code_of_the_slot_with_the_tag_is_found(
            tags in prop::array::uniform3(0..=TAG_MASK), codes in prop::array::uniform3(0..=u64::from(CODES)),
            wanted in 0..=TAG_MASK, upper: bool,
        ) {
            let slots = (0..).zip(tags).zip(codes);
            let word = slots.fold(u64::from(upper) << 63, |word, ((slot, tag), code)| {
                word | (code << TAG_BITS | tag) << (slot * SLOT_BITS)
            });
            let masked = |wanted: u64| word & codes_where_same(word, wanted.wrapping_mul(EACH));
            for (slot, (tag, code)) in (0..).zip(tags.into_iter().zip(codes)) {
                let found = masked(tag) >> (slot * SLOT_BITS + TAG_BITS) & u64::from(CODES);
                prop_assert_eq!(found, code);
            }
            if !tags.contains(&wanted) {
                prop_assert_eq!(masked(wanted), 0);
            }
        }
    }
}
