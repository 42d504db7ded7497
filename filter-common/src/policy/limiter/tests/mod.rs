//! The limiter driven by simulated time, keys and chance.

mod flood;
mod rates;
mod reference;
mod threads;
mod time;

use super::memory::{SlotLine, zeroed};
use super::{Decision, KeyHasher, Limit, Pace, Region, Slots as _, decide};
use crate::keys::AddressV4;
use crate::table::lines::{Line as _, WORDS};

const SECOND: u64 = 1_000_000_000;
const SEED: u64 = 0x7f4a_1c0d_93b2_e865;

/// Chance that is the same every time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One of 0 to `end` - 1.
    fn below(&mut self, end: u32) -> u32 {
        (((self.number() >> 32) * u64::from(end)) >> 32) as u32
    }
}

/// A limit and its buckets.
struct Limiter {
    cells: Box<[SlotLine]>,
    limit: Limit,
    hasher: KeyHasher,
}

impl Limiter {
    fn new(pace: Pace, lines: u32) -> Self {
        let region = Region { first: 0, lines };
        Self { cells: zeroed(lines), limit: Limit { pace, region }, hasher: KeyHasher::new(SEED, 1) }
    }

    fn packets(rate: u64, burst: u64, lines: u32) -> Self {
        Self::new(Pace::packets(rate, burst).expect("a rate and burst of the language"), lines)
    }

    fn bits(rate: u64, burst: u64, lines: u32) -> Self {
        Self::new(Pace::bits(rate, burst).expect("a rate and burst of the language"), lines)
    }

    fn key(&self, source: u32) -> u64 {
        self.hasher.v4(AddressV4::from_bits(source))
    }

    fn words(&self, line: usize) -> [u64; WORDS] {
        core::array::from_fn(|slot| (&self.cells[line]).word(u32::try_from(slot).expect("one of eight")))
    }

    /// Makes all words of the first line this one.
    fn fill(&self, word: u64) {
        for slot in 0..8 {
            assert!((&self.cells[0]).compare_exchange(slot, self.words(0)[slot as usize], word));
        }
    }

    fn conforms(&self, now_ns: u64, key: u64, frame_bytes: u32) -> bool {
        decide(&&*self.cells, now_ns, key, &self.limit, frame_bytes) == Decision::Conforms
    }
}

/// Whether `number` is within `percent` of `expected`.
fn is_within(percent: u64, number: u64, expected: u64) -> bool {
    u128::from(number.abs_diff(expected)) * 100 <= u128::from(expected) * u128::from(percent)
}
