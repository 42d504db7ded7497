//! Sources that answered a challenge: where they are known, and for how long.
//!
//! Decides: a source has one line of eight places, and in each place a word: a tag of the source in the upper half, and in the
//! lower the time until which it is let through, in [units](UNIT_BITS) of the kernel's clock. Where all eight are taken, the one
//! that ends first gives way; its source is challenged again. In front of those lines lie marks: a byte for each line, in which
//! a place that is taken has one of eight bits by its tag. In a flood nearly all sources are in no line, and the marks, 16 KiB
//! that stay in a core's innermost cache, mostly say so: of forged sources 7 % need the line as well while 10,000 sources are
//! known, 26 % while 40,000 are, and 59 % where all places are taken.
//!
//! Trusts that nobody knows what sources are hashed with ([`KeyHasher`]). Line and tag are 46 bits of that, so a forged source
//! is taken for one that answered about eight times in 2^32, where all places are taken. Words and marks are written whole; of
//! two CPUs that write one at once one is lost, and that source is challenged again. Memory is fixed: little more than 1 MiB.
//! Costs a hash and a line of marks; a second line where the mark is there; and no clock where the source is not.

use crate::keys::{AddressV4, AddressV6};
use crate::policy::limiter::KeyHasher;
use crate::policy::observed::{Observed, family};
use crate::table::lines::{LINE_BYTES, Line, WORDS};

/// Lines, marks first.
pub const LINES: u32 = MARK_LINES + (1 << LINE_BITS);
const MARK_LINES: u32 = (1 << LINE_BITS) / BYTES;
/// Marks in a line, and places.
const BYTES: u32 = 64;
const SLOTS: u32 = 8;

const _: () = assert!(BYTES as usize == LINE_BYTES && SLOTS as usize == WORDS);

/// Lines of sources are 2 to the power of this.
const LINE_BITS: u32 = 14;
/// Times are in units of 2^30 ns, a little more than a second: 32 bits of those are a hundred years.
const UNIT_BITS: u32 = 30;

/// Where a source is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its line, counted behind the marks.
    line: u32,
    /// What tells it from others there.
    tag: u32,
}

/// What is to be written so that a source is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The slot of [`Place::line`] that is to be its own.
    pub slot: u32,
    /// The word to write there.
    pub word: u64,
    /// The marks of that line from then on.
    pub marks: u8,
}

impl Place {
    /// That of a packet's source.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "that is what they are cut to")]
    pub fn of(hasher: &KeyHasher, observed: &Observed) -> Self {
        let [first, last] = observed.source;
        let hash = if observed.family == family::V4 {
            hasher.v4(AddressV4::from_bits(first as u32))
        } else {
            hasher.v6(AddressV6::from_halves(first, last))
        };
        Self { line: (hash >> (64 - LINE_BITS)) as u32, tag: (hash >> (32 - LINE_BITS)) as u32 }
    }

    /// The number of the line that it would be in.
    #[inline(always)]
    #[must_use]
    pub const fn line(self) -> u32 {
        MARK_LINES + self.line
    }

    /// The number of the line in which the marks of that line are, and which of its bytes they are.
    #[inline(always)]
    #[must_use]
    pub const fn marks(self) -> (u32, u32) {
        (self.line / BYTES, self.line % BYTES)
    }

    /// Whether its line of marks says that it may be known.
    #[inline(always)]
    pub fn is_marked<L: Line>(self, marks: L) -> bool {
        let (_, byte) = self.marks();
        marks.word(byte / 8) >> (byte % 8 * 8) & u64::from(mark(self.tag)) != 0
    }

    /// The time until which it is let through, in nanoseconds, by its line; 0 where it is not there.
    #[inline(always)]
    pub fn until<L: Line>(self, line: L) -> u64 {
        let mut until = 0;
        for slot in 0..SLOTS {
            let (tag, units) = parts(line.word(slot));
            // Free places look like those of tag 0, and end before any.
            if tag == self.tag && units > until {
                until = units;
            }
        }
        u64::from(until) << UNIT_BITS
    }

    /// What is to be written so that it is let through until then; never a moment less, and at most a unit more.
    #[inline(always)]
    pub fn entry<L: Line>(self, line: L, now_ns: u64, until_ns: u64) -> Entry {
        let (mut chosen, mut least) = (0, u64::MAX);
        for slot in 0..SLOTS {
            let (tag, units) = parts(line.word(slot));
            // Its own comes before any other.
            let rank = if tag == self.tag { 0 } else { 1 + u64::from(units) };
            if rank < least {
                (chosen, least) = (slot, rank);
            }
        }
        // In a loop of its own, as both together have no room in the registers.
        let mut marks = mark(self.tag);
        for slot in 0..SLOTS {
            let (tag, units) = parts(line.word(slot));
            // The one that gives way is marked a while longer, which costs some source a look at the line.
            if u64::from(units) > now_ns >> UNIT_BITS {
                marks |= mark(tag);
            }
        }
        Entry { slot: chosen, word: u64::from(self.tag) << 32 | ((until_ns >> UNIT_BITS) + 1), marks }
    }
}

/// The tag and the units of a word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two halves")]
const fn parts(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[inline(always)]
const fn mark(tag: u32) -> u8 {
    1 << (tag & 7)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::policy::limiter::Slots as _;
    use crate::policy::limiter::memory::SlotLine;

    const SECOND: u64 = 1_000_000_000;
    const UNIT: u64 = 1 << UNIT_BITS;

    /// A line of sources and its marks.
    #[derive(Default)]
    struct Known {
        line: SlotLine,
        marks: SlotLine,
    }

    impl Known {
        fn verify(&self, place: Place, now_ns: u64, until_ns: u64) {
            let Entry { slot, word, marks } = place.entry(&self.line, now_ns, until_ns);
            assert!((&self.line).compare_exchange(slot, (&self.line).word(slot), word));
            assert_eq!(place.marks(), (0, 3));
            let old = (&self.marks).word(0);
            let new = old & !(0xff << 24) | u64::from(marks) << 24;
            assert!((&self.marks).compare_exchange(0, old, new));
        }

        fn until(&self, tag: u32) -> u64 {
            let place = place(tag);
            if place.is_marked(&self.marks) { place.until(&self.line) } else { 0 }
        }
    }

    fn place(tag: u32) -> Place {
        Place { line: 3, tag }
    }

    #[test]
    fn a_source_is_known_for_as_long_as_was_asked_and_at_most_a_unit_more() {
        let known = Known::default();
        for (tag, until) in [(0, 1), (7, 600 * SECOND), (u32::MAX, 5 * UNIT)] {
            assert_eq!(known.until(tag), 0, "{tag} is not known yet");
            known.verify(place(tag), 0, until);
            let found = known.until(tag);
            assert!(until < found && found <= until + UNIT, "{until} became {found}");
        }
    }

    #[test]
    fn who_answers_again_keeps_the_place_and_who_ends_first_gives_way() {
        let known = Known::default();
        for tag in 0..8 {
            known.verify(place(tag), 0, u64::from(10 + tag) * UNIT);
        }
        known.verify(place(0), 0, 99 * UNIT);
        assert!((0..8).all(|tag| known.until(tag) > 0), "all eight have their places");
        known.verify(place(8), 0, 20 * UNIT);
        assert_eq!(known.until(1), 0);
        assert!([0, 2, 3, 4, 5, 6, 7, 8].into_iter().all(|tag| known.until(tag) > 0));
    }

    #[test]
    fn marks_of_sources_whose_time_is_over_go_as_another_comes() {
        let known = Known::default();
        known.verify(place(1), 0, UNIT);
        assert!(place(9).is_marked(&known.marks), "another of the same mark has to be looked for");
        known.verify(place(2), 9 * UNIT, 20 * UNIT);
        assert!(!place(1).is_marked(&known.marks) && place(2).is_marked(&known.marks));
    }

    #[test]
    fn sources_of_both_families_have_places_all_over() {
        let hasher = KeyHasher::new(5, 0);
        let (mut lines, mut bytes) = (HashSet::new(), HashSet::new());
        for number in 0..1_000 {
            for (family, source) in [(family::V4, [number, 0]), (family::V6, [0x2001_0db8 << 32, number])] {
                let place = Place::of(&hasher, &Observed { source, family, ..Observed::NONE });
                assert!((MARK_LINES..LINES).contains(&place.line()) && place.marks().0 < MARK_LINES);
                lines.insert(place.line());
                bytes.insert(place.marks());
            }
        }
        // 2,000 balls in 16,384 bins leave about 118 collisions.
        assert!(lines.len() > 1_800, "{} lines", lines.len());
        assert_eq!(lines.len(), bytes.len(), "each line has marks of its own");
    }
}
