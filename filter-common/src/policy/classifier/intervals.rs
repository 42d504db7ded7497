//! The classes of IPv4 addresses that stay as they are while the program runs: intervals of addresses, in lines.
//!
//! **What it decides.** The class of an address, where no group of prefixes in its direction can change but by a new
//! generation. Addresses of one class that follow one another are an interval, so of prefixes only the ends of intervals are
//! left: the *boundaries*. The first bits of an address say which *block* it is in, and so which line has the boundaries
//! around it; how many of those are not behind the address says which of the line's classes is its own. Blocks that say the
//! same share a line. The more blocks, the fewer boundaries are in each, and the more lines are read ([`Intervals::new`]
//! weighs that). Where more than ten boundaries are in one block of 65,536 addresses (six hosts apart), a direction has a
//! prefix table after all.
//!
//! **What it trusts.** Lines and geometry, as the whole classifier does; a damaged line gives a wrong class.
//!
//! **What it costs.** At most two lines, of few that are read all the time: ten rules on sources have a handful, a thousand
//! with 340 prefixes some hundred. No branch depends on the address; each boundary that a line may have takes four
//! instructions. The prefix table ([`crate::table`]) reads a word of 512 KiB, which random addresses find in no near cache,
//! and branches on what it says; but it takes changes one by one, so it stays for directions where rules name sets.

use super::geometry::IntervalTable;
use crate::table::lines::{Line, Lines};

/// Boundaries in a line: 32 bits each, in the first five words.
#[cfg(any(test, feature = "std"))]
const BOUNDARIES: u32 = 10;
/// The word from which on a line has classes: 16 bits each, of the addresses before the first boundary, then of those from
/// each on.
const CLASSES_FROM: u32 = 5;

/// The class of an address; 0 where no prefix covers it.
#[inline(always)]
pub fn find<L: Lines>(lines: &L, table: &IntervalTable, address: u32) -> u32 {
    let block = if table.shift == NO_BLOCKS {
        0
    } else {
        lines.quarter_at(table.blocks, address >> (table.shift & 31)).unwrap_or(0)
    };
    let Some(line) = lines.line(table.first.wrapping_add(block)) else { return 0 };
    let behind = u64::from(address) + 1;
    // Less than zero, so all ones, where the boundary is at the address or before it.
    let is_behind = |at| L::Line::sign(u64::from(line.half(0, at)).wrapping_sub(behind));
    let mut passed = 0_u64;
    // Without a loop, so that the verifier, which knows how many there are, prunes the others.
    macro_rules! pass {
        ($($at:literal)*) => {$(
            if table.boundaries > $at {
                passed = passed.wrapping_sub(is_behind($at));
            }
        )*};
    }
    pass!(0 1 2 3 4 5 6 7 8 9);
    line.quarter(CLASSES_FROM, (passed & 0xf) as u32)
}

/// The shift of addresses where there is one block.
const NO_BLOCKS: u32 = u32::BITS;

#[cfg(any(test, feature = "std"))]
pub use self::build::Intervals;

#[cfg(any(test, feature = "std"))]
mod build {
    use std::collections::{HashMap, HashSet};

    use super::super::geometry::CLASSES_A_LINE;
    use super::{BOUNDARIES, CLASSES_FROM, NO_BLOCKS};
    use crate::keys::PrefixV4;
    use crate::table::lines::WORDS;

    /// Bits that say which block an address is in, at most.
    const MOST_BITS: u32 = 16;
    /// Lines that are worth it: as many bytes as the root of the table that they are in place of.
    const MOST_LINES: usize = 8192;

    /// Intervals, ready to be written.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Intervals {
        /// How far an address is shifted for the number of its block.
        pub shift: u32,
        /// For each block, which line has its intervals.
        pub blocks: Vec<u64>,
        /// Those lines.
        pub lines: Vec<[u64; WORDS]>,
        /// Boundaries that one of them has, at most.
        pub boundaries: u32,
    }

    impl Intervals {
        /// Of prefixes in order, each with the class of those addresses that no longer one covers; `None` where they lie too close
        /// together in one place, or are too many.
        #[must_use]
        pub fn new(prefixes: &[(PrefixV4, u16)]) -> Option<Self> {
            let boundaries = boundaries(prefixes);
            let divisions = (0..=MOST_BITS).map(|bits| Division::new(&boundaries, NO_BLOCKS - bits));
            let possible = divisions.filter(|division| {
                division.boundaries <= BOUNDARIES as usize && division.lines <= MOST_LINES
            });
            possible.min_by_key(Division::cost).map(|division| Self::divided(&boundaries, division))
        }

        fn divided(boundaries: &[(u32, u16)], Division { shift, boundaries: most, .. }: Division) -> Self {
            let mut known = HashMap::new();
            let (mut blocks, mut lines) = (Vec::new(), Vec::new());
            let mut rest = boundaries;
            let mut class = 0;
            for block in 0..1_u64 << (NO_BLOCKS - shift) {
                let (first, behind) = (block << shift, (block + 1) << shift);
                let count = rest.iter().take_while(|(start, _)| u64::from(*start) < behind).count();
                let (mut within, after) = rest.split_at(count);
                rest = after;
                if let Some(((start, at_first), others)) = within.split_first()
                    && u64::from(*start) == first
                {
                    (class, within) = (*at_first, others);
                }
                let line = line(class, within);
                class = within.last().map_or(class, |(_, last)| *last);
                let next = lines.len() as u64;
                let place = *known.entry(line).or_insert(next);
                if place == next {
                    lines.push(line);
                }
                blocks.push(place);
            }
            Self { shift, blocks, lines, boundaries: u32::try_from(most).unwrap_or(BOUNDARIES) }
        }
    }

    /// Where the class changes: the first address of each interval, and its class. The first is that of address 0, or there is
    /// class 0 before it.
    fn boundaries(prefixes: &[(PrefixV4, u16)]) -> Vec<(u32, u16)> {
        let mut boundaries = Boundaries(Vec::with_capacity(2 * prefixes.len()));
        // The prefixes around the next one, the widest first: the address behind each, and its class.
        let mut around: Vec<(u64, u16)> = Vec::new();
        for (prefix, class) in prefixes {
            let start = u64::from(prefix.address().bits());
            boundaries.leave(&mut around, start);
            boundaries.begin(start, *class);
            around.push((start + (1 << (32 - prefix.length())), *class));
        }
        boundaries.leave(&mut around, u64::MAX);
        boundaries.0
    }

    struct Boundaries(Vec<(u32, u16)>);

    impl Boundaries {
        /// From an address on, the class is this.
        fn begin(&mut self, start: u64, class: u16) {
            // Behind the last address nothing begins.
            let Ok(start) = u32::try_from(start) else { return };
            // What begins where another begins is within that, and comes later.
            self.0.pop_if(|(last, _)| *last == start);
            if self.0.last().map_or(0, |(_, class)| *class) != class {
                self.0.push((start, class));
            }
        }

        /// Leaves the prefixes that end before an address.
        fn leave(&mut self, around: &mut Vec<(u64, u16)>, start: u64) {
            while let Some((behind, _)) = around.pop_if(|(behind, _)| *behind <= start) {
                self.begin(behind, around.last().map_or(0, |(_, class)| *class));
            }
        }
    }

    /// A way to divide the addresses into blocks.
    struct Division {
        shift: u32,
        /// Boundaries within a block, at most.
        boundaries: usize,
        /// Lines at most: of blocks that have any, of those that have none, and of what says where they are.
        lines: usize,
    }

    impl Division {
        fn new(boundaries: &[(u32, u16)], shift: u32) -> Self {
            let block = |start: u32| u64::from(start) >> shift;
            let within = boundaries.chunk_by(|one, other| block(one.0) == block(other.0)).map(|starts| {
                // One at the first address of its block is that address's class.
                starts.iter().filter(|(start, _)| block(*start) << shift != u64::from(*start)).count()
            });
            let blocks = 1_usize << (NO_BLOCKS - shift);
            // Blocks without a boundary within share the line of their class.
            let classes: HashSet<u16> = boundaries.iter().map(|(_, class)| *class).collect();
            let shared = (classes.len() + 1).min(blocks);
            let index = blocks.div_ceil(CLASSES_A_LINE as usize) + shared;
            let (most, lines) = within
                .filter(|count| *count > 0)
                .fold((0, index), |(most, lines), count| (count.max(most), lines + 1));
            Self { shift, boundaries: most, lines }
        }

        /// What a look-up takes, in instructions: those for each boundary and for finding the block, and what it waits for lines
        /// that are not in the nearest cache.
        const fn cost(&self) -> usize {
            const A_BOUNDARY: usize = 4;
            const A_BLOCK: usize = 10;
            const WAITING: usize = 8;
            /// Lines that stay near among all else that a packet takes: 8 KiB.
            const NEAR: usize = 128;
            let block = if self.shift == NO_BLOCKS { 0 } else { A_BLOCK };
            self.boundaries * A_BOUNDARY + block + (self.lines / NEAR + 1).ilog2() as usize * WAITING
        }
    }

    /// The line of a block: the class of its first address, and the boundaries within.
    fn line(class: u16, within: &[(u32, u16)]) -> [u64; WORDS] {
        let mut line = [0; WORDS];
        let last = within.last().map_or(class, |(_, last)| *last);
        let starts = within.iter().map(|(start, _)| *start).chain(std::iter::repeat(u32::MAX));
        for (at, start) in starts.take(BOUNDARIES as usize).enumerate() {
            line[at / 2] |= u64::from(start) << (at % 2 * 32);
        }
        // Behind the last boundary nothing changes: the highest address passes those that are not there, too.
        let classes = std::iter::once(class).chain(within.iter().map(|(_, class)| *class));
        let classes = classes.chain(std::iter::repeat(last)).take(BOUNDARIES as usize + 1);
        for (at, class) in classes.enumerate() {
            line[CLASSES_FROM as usize + at / 4] |= u64::from(class) << (at % 4 * 16);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AddressV4, PrefixV4};
    use crate::table::memory::{LineCell, zeroed};

    /// Lines before those of the intervals.
    const BEFORE: u32 = 3;

    fn v4(octets: [u8; 4], length: u8) -> PrefixV4 {
        PrefixV4::containing(AddressV4::from_octets(octets), length)
    }

    /// The intervals where a look-up finds them: lines first, the blocks behind them.
    fn written(intervals: &Intervals) -> (IntervalTable, Box<[LineCell]>) {
        let count = u32::try_from(intervals.lines.len()).expect("few");
        let Intervals { shift, boundaries, .. } = *intervals;
        let table = IntervalTable { first: BEFORE, blocks: BEFORE + count, shift, boundaries };
        let mut all = intervals.lines.clone();
        for blocks in intervals.blocks.chunks(32) {
            let mut line = [0; 8];
            for (at, block) in blocks.iter().enumerate() {
                line[at / 4] |= block << (at % 4 * 16);
            }
            all.push(line);
        }
        let memory = zeroed(BEFORE + u32::try_from(all.len()).expect("few"));
        for (cell, line) in memory[BEFORE as usize..].iter().zip(&all) {
            (0..).zip(line).for_each(|(index, word)| cell.store(index, *word));
        }
        (table, memory)
    }

    /// The class of the longest prefix that covers an address.
    fn longest(prefixes: &[(PrefixV4, u16)], address: u32) -> u32 {
        let covers = |prefix: &PrefixV4| {
            PrefixV4::containing(AddressV4::from_bits(address), prefix.length()) == *prefix
        };
        let covering = prefixes.iter().filter(|(prefix, _)| covers(prefix));
        covering.max_by_key(|(prefix, _)| prefix.length()).map_or(0, |(_, class)| (*class).into())
    }

    /// Asks for both sides of each end of each prefix, and for the ends of everything.
    fn holds(mut prefixes: Vec<(PrefixV4, u16)>) -> Intervals {
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        let intervals = Intervals::new(&prefixes).expect("not too close");
        let (table, memory) = written(&intervals);
        let ends = prefixes.iter().flat_map(|(prefix, _)| {
            let first = prefix.address().bits();
            let last = first | u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            [
                first.wrapping_sub(1),
                first,
                first.wrapping_add(1),
                last.wrapping_sub(1),
                last,
                last.wrapping_add(1),
            ]
        });
        for address in ends.chain([0, u32::MAX]) {
            let found = find(&&*memory, &table, address);
            assert_eq!(found, longest(&prefixes, address), "{address:08x} among {prefixes:?}");
        }
        intervals
    }

    #[test]
    fn few_prefixes_are_one_line() {
        let intervals = holds(vec![
            (v4([10, 0, 0, 0], 8), 1),
            (v4([10, 1, 0, 0], 16), 2),
            (v4([10, 1, 2, 3], 32), 3),
            (v4([192, 0, 2, 0], 24), 1),
        ]);
        // Of eight boundaries, four at most are in one block, and 254 blocks have none and share a line.
        assert_eq!((intervals.shift, intervals.blocks.len(), intervals.lines.len()), (24, 256, 3));
        assert_eq!(intervals.boundaries, 4);
    }

    #[test]
    fn both_ends_of_the_address_space_have_their_class() {
        holds(vec![(v4([0; 4], 0), 1), (v4([255; 4], 32), 2), (v4([0; 4], 32), 3)]);
        holds(vec![(v4([255; 4], 32), 2)]);
        holds(vec![(v4([0; 4], 1), 4), (v4([128, 0, 0, 0], 1), 4)]);
        holds(Vec::new());
    }

    #[test]
    fn prefixes_that_begin_or_end_together_have_that_of_the_longest() {
        holds(vec![(v4([10, 0, 0, 0], 8), 1), (v4([10, 0, 0, 0], 16), 2), (v4([10, 0, 0, 0], 24), 1)]);
        holds(vec![
            (v4([10, 0, 0, 0], 8), 1),
            (v4([10, 255, 0, 0], 16), 2),
            (v4([10, 255, 255, 255], 32), 3),
        ]);
        holds(vec![(v4([10, 0, 0, 0], 9), 1), (v4([10, 128, 0, 0], 9), 2)]);
    }

    #[test]
    fn many_are_divided_into_blocks_that_share_lines() {
        let scattered = (0..1000_u32).map(|number| {
            let address = AddressV4::from_bits(number.wrapping_mul(0x9e37_79b1));
            let length = [16, 20, 24, 32][number as usize % 4];
            (PrefixV4::containing(address, length), u16::try_from(number % 50 + 1).expect("small"))
        });
        let intervals = holds(scattered.collect());
        assert!(intervals.boundaries <= 4 && intervals.lines.len() < 1_100, "{}", intervals.lines.len());
        assert!(intervals.blocks.len() > 2 * intervals.lines.len(), "{} blocks", intervals.blocks.len());
        let apart = (0..200_u8).map(|third| (v4([10, third, 0, 0], 16), u16::from(third) + 1));
        let intervals = holds(apart.collect());
        assert!(intervals.lines.len() < 300 && intervals.boundaries <= 4, "{}", intervals.lines.len());
    }

    #[test]
    fn what_lies_too_close_together_is_left_to_the_table() {
        let close = |count: u8| (0..count).map(|last| (v4([10, 0, 0, last * 2], 32), 1)).collect::<Vec<_>>();
        assert_eq!(Intervals::new(&close(6)), None);
        holds(close(5));
    }
}
