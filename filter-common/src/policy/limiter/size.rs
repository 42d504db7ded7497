//! How many lines a limit gets, and what that promises.
//!
//! Each packet that conforms makes its key owe for as long as the packet costs, 1 / R. So with F packets a second there
//! are F / R keys that owe, at most and on average, however many there are in all and whatever the burst is: that, and
//! not the number of sources, is what [`lines()`] has room for. A limit of 1,000/s under 10 M/s needs 320 KiB.
//!
//! With F packets a second, each from a source that nobody saw before, L lines, and a limit of R packets a second:
//!
//! * **A source within its limit** loses a packet only when one of them has its line and tag and came within the time
//!   that it costs: at most F / (L * 2^20 * R) of its packets ([`false_matches_ppm`]). What a false match takes from a
//!   bucket is one packet, so no packets but that one are lost by it, however bursts and pauses lie. That is two in a
//!   million with as many lines as [`lines()`] says. At 10 M/s and a limit of 1/s it is 18 with
//!   32 MiB, 73 with 8 MiB, and 582 with 1 MiB; of five a minute, the least there is, 218, 873 and 6,991. Being displaced costs it nothing.
//! * **A source over its limit** is held to it while its bucket stays. With at most [`KEYS_A_LINE`] keys a line that owe,
//!   one line in 4,000 has more than eight, and everyone is held: limits of [`least_rate`] and more. Below it, newcomers
//!   displace each other, but not who owes more than they: with a burst of ten packets or more, whoever sends more than
//!   F / (8 * L) a second (2.4 with 32 MiB, 9.5 with 8 MiB) is held all the same. Slower ones, and with a burst of one
//!   everyone, get up to that rate: nothing in the table tells them from the flood.
//!
//! For limits in bits, F is the bits of a second and R the limit's; for those by the minute both are a minute's.
//!
//! A table's size is its cost. Under a million sources, all of them new, a packet took 25 ns more than a program without
//! a limit with 320 KiB, 29 to 33 with 1 MiB, 60 with 3 MiB, 80 to 180 with 8 MiB and 150 to 220 with 32 MiB, as busy as
//! the machine was; the same algorithm on the kernel's LRU hash of a million keys took 240 to 320. So a limit takes no
//! more than it has use for, and 8 MiB at most where nobody says otherwise.

use super::slots::TAG_MASK;
use crate::table::lines::LINE_BYTES;

/// Lines of 32 MiB: the most that all limits have together.
pub const MAX_LINES: u32 = 1 << 19;
/// Lines of 8 MiB: the most that a limit gets where nobody says otherwise.
pub const DEFAULT_LINES: u32 = 1 << 17;
/// The fewest lines of a limit that has many keys. Fewer are no faster, and CPUs would meet in them more often.
pub const LEAST_LINES: u32 = 1 << 6;
/// Keys that owe at a time, for each line, up to which displacing is rare.
pub const KEYS_A_LINE: u32 = 2;

/// Lines for a limit of `rate` on all the keys of `load`, packets or bits a second like the rate; at most `most`. A limit
/// that has a single key needs one line.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "less than `most`")]
pub const fn lines(load: u64, rate: u64, most: u32) -> u32 {
    let rate = if rate == 0 { 1 } else { rate };
    let lines = load.div_ceil(rate.saturating_mul(KEYS_A_LINE as u64));
    if lines >= most as u64 {
        most
    } else if lines <= LEAST_LINES as u64 {
        if LEAST_LINES < most { LEAST_LINES } else { most }
    } else {
        lines as u32
    }
}

/// Their memory.
#[must_use]
pub const fn bytes(lines: u32) -> u64 {
    lines as u64 * LINE_BYTES as u64
}

/// The least limit that every source over it is held to under `load`, both in packets or both in bits a second.
#[must_use]
pub const fn least_rate(load: u64, lines: u32) -> u64 {
    let least = load.div_ceil(KEYS_A_LINE as u64 * lines as u64);
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
    fn a_limit_has_as_many_lines_as_its_keys_owe_at_a_time() {
        assert_eq!((bytes(MAX_LINES), bytes(DEFAULT_LINES)), (32 << 20, 8 << 20));
        assert_eq!(lines(FLOOD, 1_000, DEFAULT_LINES), 5_000);
        assert_eq!(lines(FLOOD, 10, MAX_LINES), 500_000);
        assert_eq!(lines(FLOOD, 10, DEFAULT_LINES), DEFAULT_LINES);
        assert_eq!(
            (lines(FLOOD, FLOOD, MAX_LINES), lines(FLOOD, 1_000, 9), lines(0, 0, 9)),
            (LEAST_LINES, 9, 9)
        );
        for rate in [39, 100, 999, 77_777] {
            assert!(least_rate(FLOOD, lines(FLOOD, rate, DEFAULT_LINES)) <= rate);
        }
    }

    #[test]
    fn false_matches_stay_below_a_thousandth_with_eight_mib_at_every_rate() {
        let ppm = |mib: u32, rate| false_matches_ppm(FLOOD, mib << 14, rate);
        assert_eq!((ppm(32, 1), ppm(8, 1), ppm(1, 1), ppm(1, 1000)), (19, 73, 583, 1));
        let by_the_minute = |mib: u32, rate| false_matches_ppm(60 * FLOOD, mib << 14, rate);
        assert_eq!((by_the_minute(32, 5), by_the_minute(8, 5), by_the_minute(8, 60)), (219, 874, 73));
        for rate in [39, 100, 999, 77_777] {
            assert!(false_matches_ppm(FLOOD, lines(FLOOD, rate, DEFAULT_LINES), rate) <= 2);
        }
    }

    #[test]
    fn the_largest_table_holds_limits_of_ten_a_second_under_ten_million() {
        let least = [MAX_LINES, DEFAULT_LINES, 1 << 14].map(|lines| least_rate(FLOOD, lines));
        assert_eq!((least, least_rate(0, 1)), ([10, 39, 306], 1));
    }
}
