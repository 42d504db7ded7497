//! How many lines a limit gets, and what that promises.
//!
//! With F packets a second from keys that nobody saw before, L lines, and a limit of R packets a second:
//!
//! * **A source within its limit** loses a packet only when one of them has its line and tag and came within the time
//!   that it costs: at most F / (L * 2^20 * R) of its packets ([`false_matches_ppm`]). What a false match takes from a
//!   bucket is one packet, so no packets but that one are lost by it, however bursts and pauses lie. At 10 M/s and a
//!   limit of 1/s, the least there is, that is 18 in a million with 32 MiB, and 582 with 1 MiB; at 1,000/s less than one.
//!   Being displaced costs it nothing.
//! * **A source over its limit** is held to it while its bucket stays. F / (L * R) keys of a line owe at a time; up to
//!   [`KEYS_A_LINE`] of them, one line in 4,000 has more than eight, and everyone is held ([`least_rate`]: with 32 MiB,
//!   from 10/s on under 10 M/s). Beyond, newcomers displace each other, but not who owes more than they: with a burst of
//!   ten packets or more, whoever sends more than F / (8 * L) a second (with 32 MiB, 2.4/s) is held all the same. Slower
//!   ones, and with a burst of one everyone, get up to that rate: nothing in the table tells them from the flood.
//!
//! The largest region is 32 MiB: memory that is not in a nearer cache is what a packet of a flood costs, and random
//! lines of 32 MiB are four times as far away as those of 8.

use crate::table::lines::LINE_BYTES;

use super::slots::TAG_MASK;

/// Lines of 32 MiB: the most that all limits have together, and what they have where nobody says otherwise.
pub const MAX_LINES: u32 = 1 << 19;
/// Keys that owe at a time, for each line, up to which displacing is rare.
pub const KEYS_A_LINE: u32 = 2;

/// Lines for a limit that so many keys meet within the time that a packet costs; at most [`MAX_LINES`].
#[must_use]
pub const fn lines(keys: u32) -> u32 {
    let lines = keys.div_ceil(KEYS_A_LINE);
    if lines == 0 {
        1
    } else if lines > MAX_LINES {
        MAX_LINES
    } else {
        lines
    }
}

/// Their memory.
#[must_use]
pub const fn bytes(lines: u32) -> u64 {
    lines as u64 * LINE_BYTES as u64
}

/// The least limit, in packets a second, that every source over it is held to under `new_keys` a second.
#[must_use]
pub const fn least_rate(new_keys: u64, lines: u32) -> u64 {
    let least = new_keys.div_ceil(KEYS_A_LINE as u64 * lines as u64);
    if least == 0 { 1 } else { least }
}

/// How many in a million packets of a source within its limit of `rate` packets a second are dropped at most, on
/// average, since one of `flood` packets a second had its line and its tag; rounded up.
#[must_use]
pub const fn false_matches_ppm(flood: u64, lines: u32, rate: u64) -> u64 {
    let places = TAG_MASK.saturating_mul(lines as u64).saturating_mul(rate);
    flood.saturating_mul(1_000_000).div_ceil(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: u64 = 10_000_000;

    #[test]
    fn a_million_keys_and_the_most_there_are_fit_in_32_mib() {
        assert_eq!(bytes(MAX_LINES), 32 << 20);
        assert_eq!((lines(1_000_000), lines(u32::MAX), lines(0)), (500_000, MAX_LINES, 1));
    }

    #[test]
    fn false_matches_stay_below_a_thousandth_in_every_size_and_at_every_rate() {
        let ppm = |mib: u32, rate| false_matches_ppm(FLOOD, mib << 14, rate);
        assert_eq!((ppm(32, 1), ppm(8, 1), ppm(1, 1), ppm(1, 1000)), (19, 73, 583, 1));
    }

    #[test]
    fn the_largest_table_holds_limits_of_ten_a_second_under_ten_million() {
        assert_eq!(
            (least_rate(FLOOD, MAX_LINES), least_rate(FLOOD, 1 << 14), least_rate(0, 1)),
            (10, 306, 1)
        );
    }
}
