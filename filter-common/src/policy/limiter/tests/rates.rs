//! What sources get that send at a steady pace, alone.

use super::{Limiter, SECOND, is_within};

/// What conforms of `packets` frames of `frame_bytes` that come evenly, `percent` of a limit for which `per_second` of
/// them are just the rate; the burst is spent before.
fn passed(limiter: &Limiter, per_second: (u128, u128), percent: u64, packets: u64, frame_bytes: u32) -> u64 {
    let key = limiter.key(1);
    let start = 77 * SECOND + 123;
    while limiter.conforms(start, key, frame_bytes) {}
    // The time of a packet in exact arithmetic, so that none is added up that rounding left.
    let at = |packet: u64| {
        let time = u128::from(packet) * 100 * u128::from(SECOND) * per_second.1
            / (u128::from(percent) * per_second.0);
        start + u64::try_from(time).expect("centuries")
    };
    (1..=packets).filter(|packet| limiter.conforms(at(*packet), key, frame_bytes)).count() as u64
}

const PERCENTS: [u64; 9] = [50, 90, 99, 100, 101, 150, 200, 1_000, 10_000];
const BURST: u64 = 20;

fn expected(packets: u64, percent: u64) -> u64 {
    packets * 100 / percent.max(100)
}

#[test]
fn a_source_gets_its_rate_in_packets_whatever_it_sends() {
    let rates = [
        1,
        3,
        10,
        77,
        1_000,
        12_345,
        100_000,
        999_999,
        14_880_952,
        123_456_789,
        1_000_000_000,
        10_000_000_000,
    ];
    for rate in rates {
        for percent in PERCENTS {
            let limiter = Limiter::packets(rate, BURST, 1);
            let packets = 4_000 * percent.max(100) / 100;
            let passed = passed(&limiter, (u128::from(rate), 1), percent, packets, 60);
            let expected = expected(packets, percent);
            assert!(is_within(2, passed, expected), "{rate}/s, {percent}%: {passed} in place of {expected}");
        }
    }
}

#[test]
fn a_source_gets_its_rate_in_bits_whatever_it_sends() {
    let rates = [1_000, 64_000, 1_234_567, 100_000_000, 10_000_000_000, 400_000_000_000, 10_000_000_000_000];
    for rate in rates {
        for (percent, bytes) in
            PERCENTS.into_iter().flat_map(|percent| [60, 61, 590, 1514, 9018].map(|bytes| (percent, bytes)))
        {
            let bits = u64::from(bytes) * 8;
            let limiter = Limiter::bits(rate, BURST * 9018 * 8, 1);
            let packets = 1_000 * percent.max(100) / 100;
            let passed = passed(&limiter, (u128::from(rate), u128::from(bits)), percent, packets, bytes);
            let expected = expected(packets, percent);
            assert!(is_within(2, passed, expected), "{rate}bit/s, {percent}%, {bytes}: {passed}, {expected}");
        }
    }
}

#[test]
fn a_source_at_its_limit_loses_nothing_even_with_a_burst_of_one() {
    for rate in [1, 3, 7, 999, 1_000, 12_345, 1_000_003, 14_880_952] {
        let limiter = Limiter::packets(rate, 1, 1);
        let key = limiter.key(1);
        for packet in 0..20_000 {
            // Rounded up: not a nanosecond too early.
            let now = 5 * SECOND + (packet * SECOND).div_ceil(rate);
            assert!(limiter.conforms(now, key, 1514), "{rate}/s, packet {packet}");
        }
    }
}

#[test]
fn a_burst_of_packets_is_exact() {
    for rate in [1, 10, 1_000, 123_457, 10_000_000, 10_000_000_000] {
        for burst in [1, 2, 3, 100, 20_000] {
            let limiter = Limiter::packets(rate, burst, 4);
            let key = limiter.key(9);
            let passed = (0..2 * burst).filter(|_| limiter.conforms(SECOND, key, 1514)).count() as u64;
            assert_eq!(passed, burst, "{rate}/s");
        }
    }
}

#[test]
fn a_burst_of_bits_is_exact() {
    for rate in [1_000, 1_000_000, 100_000_000, 40_000_000_000] {
        for (burst, frame_bytes, fit) in
            [(12_144, 1518, 1), (12_143, 1518, 0), (10_000_000, 125, 10_000), (1_000, 60, 2)]
        {
            let limiter = Limiter::bits(rate, burst, 4);
            let passed =
                (0..2 * fit + 5).filter(|_| limiter.conforms(SECOND, limiter.key(9), frame_bytes)).count();
            // A frame's cost is rounded down by less than a tick: for frames of 60 bytes a 240th at most.
            assert!((fit..=fit + fit / 240).contains(&passed), "{rate}bit/s: {passed} in place of {fit}");
        }
    }
}

#[test]
fn over_the_limit_nothing_is_written() {
    let limiter = Limiter::packets(10, 5, 1);
    let key = limiter.key(1);
    while limiter.conforms(SECOND, key, 60) {}
    let before = limiter.words(0);
    assert!((0..100).all(|_| !limiter.conforms(SECOND + 5, key, 60)));
    assert_eq!(limiter.words(0), before);
    assert_eq!(before.iter().filter(|word| **word != 0).count(), 1);
}
