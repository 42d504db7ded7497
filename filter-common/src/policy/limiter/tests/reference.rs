//! The limiter against plain token buckets in exact arithmetic, a key each, as long as its table is not crowded.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Limiter, SECOND};

/// Buckets of tokens, each of which is a billionth of what the rate counts.
struct Buckets {
    rate: u64,
    burst: u64,
    levels: HashMap<u32, (u128, u64)>,
}

impl Buckets {
    fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, levels: HashMap::new() }
    }

    fn conforms(&mut self, now_ns: u64, source: u32, amount: u64) -> bool {
        let full = u128::from(self.burst) * u128::from(SECOND);
        let (level, since) = self.levels.entry(source).or_insert((full, now_ns));
        *level = full.min(*level + u128::from(now_ns - *since) * u128::from(self.rate));
        *since = now_ns;
        let price = u128::from(amount) * u128::from(SECOND);
        let conforms = *level >= price;
        *level -= if conforms { price } else { 0 };
        conforms
    }
}

/// A packet: how long after the last, in thousandths of what a packet costs at the rate; its source; its bytes.
type Packet = (u64, u32, u32);

fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let gap = prop_oneof![4 => 0..100_u64, 2 => 0..3_000_u64, 1 => Just(1_000), 1 => 0..100_000_u64];
    prop::collection::vec((gap, 0..12_u32, prop_oneof![Just(60), Just(1514), 14..9018_u32]), 1..400)
}

/// Long enough for all sources' times to wrap at fast rates, and not a round number.
const START: u64 = 8_640_123 * SECOND + 4_567_890_123;

proptest! {
    /// At these rates a packet costs a whole number of ticks, so nothing is rounded, and the verdicts are the same.
    #[test]
    fn verdicts_are_those_of_exact_buckets_in_packets(
        rate in prop::sample::select(vec![15_625, 31_250, 78_125, 125_000, 1_000_000, 2_500_000, 10_000_000, 1_000_000_000]),
        burst in 1..50_u64,
        packets in packets(),
    ) {
        let limiter = Limiter::packets(rate, burst, 64);
        let mut exact = Buckets::new(rate, burst);
        let mut now = START / 128 * 128;
        for (gap, source, bytes) in packets {
            // Whole ticks of the slowest.
            now += (gap * SECOND / rate / 1_000) / 128 * 128;
            let verdict = exact.conforms(now, source, 1);
            prop_assert_eq!(limiter.conforms(now, limiter.key(source), bytes), verdict);
        }
    }

    #[test]
    fn verdicts_are_those_of_exact_buckets_in_bits(
        rate in prop::sample::select(vec![1_953_125, 7_812_500, 62_500_000, 125_000_000, 1_000_000_000, 4_000_000_000]),
        burst in 1_000..200_000_u64,
        packets in packets(),
    ) {
        let limiter = Limiter::bits(rate, burst, 64);
        let mut exact = Buckets::new(rate, burst);
        let mut now = START / 1024 * 1024;
        for (gap, source, bytes) in packets {
            now += (gap * 8 * SECOND / rate) / 1024 * 1024;
            let verdict = exact.conforms(now, source, u64::from(bytes) * 8);
            prop_assert_eq!(limiter.conforms(now, limiter.key(source), bytes), verdict);
        }
    }

    /// At all rates: what exact buckets let through, the limiter lets through, whole ticks or not.
    #[test]
    fn sources_within_their_limit_are_never_over_it(
        rate in prop_oneof![1..100_u64, 1..1_000_000_u64, 1..=10_000_000_000_u64],
        burst in prop_oneof![1..50_u64, 1..100_000_u64],
        packets in packets(),
    ) {
        let limiter = Limiter::packets(rate, burst, 64);
        let mut exact = Buckets::new(rate, burst);
        let mut now = START;
        for (gap, source, bytes) in packets {
            now += gap * SECOND / rate / 1_000;
            if exact.conforms(now, source, 1) {
                prop_assert!(limiter.conforms(now, limiter.key(source), bytes));
            }
        }
    }

    #[test]
    fn sources_within_their_limit_in_bits_are_never_over_it(
        rate in prop_oneof![1_000..100_000_u64, 1_000..=10_000_000_000_000_u64],
        burst in 1_000..200_000_u64,
        packets in packets(),
    ) {
        let limiter = Limiter::bits(rate, burst, 64);
        let mut exact = Buckets::new(rate, burst);
        let mut now = START;
        for (gap, source, bytes) in packets {
            now += gap * 8 * SECOND / rate;
            if exact.conforms(now, source, u64::from(bytes) * 8) {
                prop_assert!(limiter.conforms(now, limiter.key(source), bytes));
            }
        }
    }

    /// And not more in any time than an exact bucket that is filled by a 256th more.
    #[test]
    fn no_source_gets_more_than_its_rate_and_burst_by_a_256th(
        rate in prop_oneof![1..100_u64, 1..1_000_000_u64, 1..=10_000_000_000_u64],
        burst in 1..50_u64,
        packets in packets(),
    ) {
        let limiter = Limiter::packets(rate, burst, 64);
        let (mut now, mut passed) = (START, [0_u64; 12]);
        for (gap, source, bytes) in packets {
            now += gap * SECOND / rate / 1_000;
            passed[source as usize] += u64::from(limiter.conforms(now, limiter.key(source), bytes));
            let filled = u128::from(now - START) * u128::from(rate) * 257 / 256 / u128::from(SECOND);
            prop_assert!(u128::from(passed[source as usize]) <= u128::from(burst) + filled + 1);
        }
    }
}
