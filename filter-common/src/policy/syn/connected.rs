//! Sources that have connections here: their SYNs may be about one that is there still.
//!
//! **What it decides.** A SYN may have the addresses and ports of a connection that this host still has: in TIME-WAIT, which a client that
//! comes again from the same port may take up anew (RFC 6191), or one that its other end forgot, which the kernel resets by
//! and by. To find out is to look for the socket, and in a flood most of what a cookie costs. So sources of segments that
//! belong to a connection here are noted, a byte for each of 2^18 places of sources: the time, in units of the kernel's
//! tick. For as long as a note [counts](COUNTS) the SYNs of what has that place are looked up: long enough for TIME-WAIT, which takes a
//! minute, and for whoever sent something lately.
//!
//! **What it trusts.** That a segment is noted only where the kernel says that there is a connection, so that forged ones leave no
//! note. That all segments that pass to the host
//! are seen by programs that note: until when that is not so, [`UNTIL_LINE`] says. Places are no
//! secret, and an old note may be taken for a young one when the time wraps: then a SYN is looked up needlessly, no more.
//! A connection whose other end has been silent for longer than a note counts, or since before programs noted, and
//! that comes back from the same port, gets a cookie, which the kernel does not take up: its client hangs as long as it waits.
//!
//! **What it costs.** 256 KiB. A byte of it is read for each SYN that would be answered, and for each segment of TCP that passes; for one whose source
//! is not noted in the unit of now the look-up of a socket, and a byte that is written.

use crate::table::lines::{LINE_BYTES, Line};

/// Lines of notes.
pub const LINES: u32 = (1 << PLACE_BITS) / BYTES;
/// The line behind them, whose first word is a time of the monotonic clock, in nanoseconds: until then all SYNs are looked up;
/// where it is 0, as in a new map, always.
pub const UNTIL_LINE: u32 = LINES;
const PLACE_BITS: u32 = 18;
const BYTES: u32 = 64;
const _: () = assert!(BYTES as usize == LINE_BYTES);

/// Times are in units of 2^13 ticks: 8 s where there are 1,000 in a second, 33 s at 250, 82 s at 100.
const UNIT_BITS: u32 = 13;
/// For how many of them a note counts: from 16 minutes to nearly three hours. The unit that it was made in is only begun.
const COUNTS: u8 = 120;

/// Where a source is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from the first of these on.
    pub line: u32,
    /// The byte of it.
    pub byte: u32,
}

impl Place {
    /// That of a source, as [`Observed`](crate::policy::observed::Observed) has addresses.
    #[inline(always)]
    #[must_use]
    pub const fn of([first, last]: [u64; 2]) -> Self {
        /// Odd, and its upper half as irregular as its lower (from SplitMix64; Steele, Lea and Flood, 2014).
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = (first ^ last.rotate_left(32)).wrapping_mul(MULTIPLIER);
        let place = (hash >> (64 - PLACE_BITS)) as u32;
        Self { line: place / BYTES, byte: place % BYTES }
    }

    /// What its line says of it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a byte of a word")]
    pub fn note<L: Line>(self, line: L) -> u8 {
        (line.word(self.byte / 8) >> (self.byte % 8 * 8)) as u8
    }
}

/// A note of that tick; never 0, which is none.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
pub const fn note_at(tick: u64) -> u8 {
    let unit = (tick >> UNIT_BITS) as u8;
    if unit == 0 { 1 } else { unit }
}

/// Whether the time of [`UNTIL_LINE`] is over.
#[inline(always)]
#[must_use]
pub const fn is_over(until: u64, now: u64) -> bool {
    until.wrapping_sub(1) < now
}

/// Whether a note still counts: also one that another CPU has made a moment later, in the next unit.
#[inline(always)]
#[must_use]
pub const fn counts(note: u8, tick: u64) -> bool {
    // Two units ahead where the next one, 0, is left out.
    note != 0 && note_at(tick).wrapping_sub(note).wrapping_add(2) <= COUNTS + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_for_its_units_whenever_it_was_made() {
        for begun in 0..1000 {
            let tick = (begun << UNIT_BITS) + 7;
            let note = note_at(tick);
            let later = |units: u64| tick + (units << UNIT_BITS);
            assert!([0, 1, 60, 119].iter().all(|units| counts(note, later(*units))), "{begun}");
            assert!(!counts(note, later(122)) && !counts(note, later(250)), "{begun}");
        }
        assert!(!counts(0, 5));
    }

    #[test]
    fn a_note_of_the_next_unit_counts() {
        for unit in 0..1000 {
            let tick = unit << UNIT_BITS;
            assert!(counts(note_at(tick + (1 << UNIT_BITS)), tick), "{unit}");
        }
    }

    #[test]
    fn a_new_map_never_says_that_notes_are_complete() {
        assert!(![0, u64::MAX, 6].iter().any(|until| is_over(*until, 5)));
        assert!([1, 5].iter().all(|until| is_over(*until, 5)));
    }

    /// With 1,000 ticks a second.
    #[test]
    fn a_note_outlasts_time_wait() {
        assert!((u64::from(COUNTS) << UNIT_BITS) / 1_000 > 2 * 60);
    }

    #[test]
    fn sources_of_both_families_are_spread() {
        let mut lines = std::collections::HashSet::new();
        for number in 0..1000_u64 {
            lines.insert(Place::of([number, 0]).line);
            lines.insert(Place::of([0x2001_0db8 << 32, number]).line);
        }
        assert!(lines.len() > 1500 && lines.iter().all(|line| *line < LINES), "{}", lines.len());
    }
}
