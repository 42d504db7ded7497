//! Sources that closed a connection of late: to their SYNs the kernel may want to say something itself.
//!
//! **What it decides.** A SYN may belong to a connection that this host still has: one in TIME-WAIT, which a client that comes
//! again from the same port may take up anew (RFC 6191), or one whose other end forgot it. To find out is to look for the socket, and in a
//! flood most of what a cookie costs. A connection comes to TIME-WAIT here by a FIN of the other end, so sources of FINs are
//! noted: a byte for each of 2^18 places of sources, the time in units of half a minute. For an hour a source there is looked up; that
//! is longer than the minute of TIME-WAIT, so that of addresses that many clients share, whose ports come back, all SYNs are.
//!
//! **What it trusts.** That every FIN to the service came by programs that note it, or a minute ago and longer: whoever
//! loads one says until when that is not so ([`SynSecrets::look_up_until`](crate::abi::SynSecrets)). Places are no secret: who forges FINs can
//! have every source looked up, which is slow as it was, not wrong. Nor is an old note that the wrapping time makes young again.
//!
//! **What it costs.** 256 KiB, a byte of it read for each SYN; for a FIN a byte that is written.

use crate::policy::observed::Observed;
use crate::table::lines::{LINE_BYTES, Line};

/// Lines of bytes.
pub const LINES: u32 = (1 << PLACE_BITS) / BYTES;
const PLACE_BITS: u32 = 18;
const BYTES: u32 = 64;
const _: () = assert!(BYTES as usize == LINE_BYTES);

/// Times are in units of 2^35 ns, 34 s.
const UNIT_BITS: u32 = 35;
/// For how many of them a note counts: an hour. The unit that it was made in is only begun.
const COUNTS: u8 = 105;

/// Where a source is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from the first of these on.
    pub line: u32,
    /// The byte of it.
    pub byte: u32,
}

impl Place {
    /// That of a packet's source.
    #[inline(always)]
    #[must_use]
    pub const fn of(observed: &Observed) -> Self {
        /// Odd, and its upper half as irregular as its lower (from SplitMix64; Steele, Lea and Flood, 2014).
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let [first, last] = observed.source;
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

/// A note of that time, in nanoseconds; never 0, which is none.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "it wraps, after more than two hours")]
pub const fn note_at(now_ns: u64) -> u8 {
    let unit = (now_ns >> UNIT_BITS) as u8;
    if unit == 0 { 1 } else { unit }
}

/// Whether a note still counts.
#[inline(always)]
#[must_use]
pub const fn counts(note: u8, now_ns: u64) -> bool {
    note != 0 && note_at(now_ns).wrapping_sub(note) <= COUNTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_note_counts_for_an_hour_whenever_it_was_made() {
        for minutes in 0..600 {
            let now = minutes * 60 * SECOND + 7;
            let note = note_at(now);
            assert!(
                [0, 1, 60, 1800, 3500].iter().all(|later| counts(note, now + later * SECOND)),
                "{minutes}"
            );
            assert!(!counts(note, now + 3800 * SECOND), "{minutes}");
        }
        assert!(!counts(0, 5 * SECOND));
    }

    #[test]
    fn sources_of_both_families_are_spread() {
        let place = |source| Place::of(&Observed { source, ..Observed::NONE });
        let mut lines = std::collections::HashSet::new();
        for number in 0..1000_u64 {
            lines.insert(place([number, 0]).line);
            lines.insert(place([0x2001_0db8 << 32, number]).line);
        }
        assert!(lines.len() > 1500 && lines.iter().all(|line| *line < LINES), "{}", lines.len());
    }
}
