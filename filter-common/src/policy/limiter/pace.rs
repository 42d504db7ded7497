//! A rate and a burst as time: what a packet costs, and how much a bucket may owe.
//!
//! Times and costs are in ticks of 2^n ns, n chosen for each limit: a packet, or 64 bytes of one, costs 256 to 511
//! ticks. Rounding that down makes a rate at most 1/256 too high and never too low, from five packets a minute (ticks
//! of 34 ms) to 10 G/s (of 0.24 ps), and 1/240 for bits in frames of 60 bytes. It leaves room for every burst of the language: 10 G packets owe less than 2^43
//! ticks, 10 Tbit less than 2^43.2, of the 2^44 that a slot's time counts.
//!
//! The time wraps after 2^44 ticks, which is 2^35 packets or more at the limit's rate: ten hours at 1 M/s, a year at
//! 1,000/s. A bucket that rests for just that long seems to owe again. The part of all times at which it does is what
//! the burst and the slack are of the wrap, 1 in 32,000 at 1 M/s with a burst of a second; it then has a part of its
//! burst, or, for the slack's share of that, none for up to [`Pace::SLACK_NS`].
//!
//! All numbers are shifted up by [`TAG_BITS`](super::slots::TAG_BITS), as times are in a slot.

use super::slots::TAG_MASK;
#[cfg(any(test, feature = "std"))]
use super::slots::{TAG_BITS, TIME_BITS};

/// What one limit's packets cost and may owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pace {
    /// Cost of each packet.
    per_packet: u64,
    /// Cost of each byte; only the sum over a frame is cut to ticks.
    per_byte: u64,
    /// The most that a bucket may owe after a packet.
    depth: u64,
    /// What is further ahead is stale.
    pub(super) horizon: u64,
    /// From nanoseconds to a slot's time: first down by so many bits,
    coarser: u32,
    /// then up by these.
    finer: u32,
}

impl Pace {
    /// How far the clocks of two CPUs may be apart, and how long one may pause between reading its own and writing; at
    /// rates above 500 M/s or 250 Gbit/s, 1/1024 of the wrap instead. Beyond it a bucket that owes all it may is taken for stale, which
    /// forgives it one burst.
    pub const SLACK_NS: u64 = 1 << 26;

    /// The same from [`Self::words`].
    #[inline(always)]
    #[must_use]
    pub const fn from_words([per_packet, per_byte, depth, horizon, shifts]: [u64; 5]) -> Self {
        let (coarser, finer) = ((shifts & 0xffff_ffff) as u32, (shifts >> 32) as u32);
        Self { per_packet, per_byte, depth, horizon, coarser, finer }
    }

    /// All of it, as words of a table.
    #[must_use]
    pub const fn words(&self) -> [u64; 5] {
        let shifts = self.coarser as u64 | (self.finer as u64) << 32;
        [self.per_packet, self.per_byte, self.depth, self.horizon, shifts]
    }

    /// The time of a clock, as slots have it.
    #[inline(always)]
    #[must_use]
    pub(super) const fn time(&self, now_ns: u64) -> u64 {
        now_ns >> (self.coarser % u64::BITS) << (self.finer % u64::BITS)
    }

    /// What a frame costs.
    #[inline(always)]
    #[must_use]
    pub(super) const fn cost(&self, frame_bytes: u32) -> u64 {
        self.per_packet + ((self.per_byte * frame_bytes as u64) & !TAG_MASK)
    }

    /// What the bucket of a word owes: nothing if its time is past, or stale.
    #[inline(always)]
    #[must_use]
    pub(super) const fn owed(&self, word: u64, now: u64) -> u64 {
        let ahead = (word & !TAG_MASK).wrapping_sub(now);
        if ahead > self.horizon { 0 } else { ahead }
    }

    /// The time at which a bucket that owes so much is full again once a packet is charged to it; `None` where the packet is
    /// over the limit.
    #[inline(always)]
    #[must_use]
    pub(super) const fn charged(&self, owed: u64, now: u64, cost: u64) -> Option<u64> {
        let after = owed + cost;
        if after > self.depth { None } else { Some(now.wrapping_add(after)) }
    }

    /// The same for the word of a bucket that is its key's alone and so has no tag: for the limiter that Levee's is
    /// measured against.
    #[cfg(feature = "harness")]
    #[inline(always)]
    #[must_use]
    pub const fn charged_alone(&self, word: u64, now_ns: u64, frame_bytes: u32) -> Option<u64> {
        let now = self.time(now_ns);
        self.charged(self.owed(word, now), now, self.cost(frame_bytes))
    }
}

#[cfg(any(test, feature = "std"))]
impl Pace {
    /// Packets a second, and packets of a burst.
    pub const PACKET_RATES: core::ops::RangeInclusive<u64> = 1..=10_000_000_000;
    /// Packets a minute.
    pub const MINUTE_RATES: core::ops::RangeInclusive<u64> = 5..=10_000_000_000;
    /// Bits a second, and bits of a burst.
    pub const BIT_RATES: core::ops::RangeInclusive<u64> = 1_000..=10_000_000_000_000;
    /// Least cost, in ticks, of a packet or of [`Self::BYTES`] of one.
    const LEAST_TICKS: u128 = 256;
    /// Bytes that cost as much as a packet: those of a small frame.
    const BYTES: u64 = 64;

    /// `rate` packets a second, `burst` of which may come at once; `None` where one is not in [`Self::PACKET_RATES`].
    #[must_use]
    pub fn packets(rate: u64, burst: u64) -> Option<Self> {
        if !Self::PACKET_RATES.contains(&rate) {
            return None;
        }
        Self::packets_in(1_000_000_000, rate, burst)
    }

    /// `rate` packets a minute, likewise; `None` where it is not in [`Self::MINUTE_RATES`], or the burst not in [`Self::PACKET_RATES`].
    #[must_use]
    pub fn packets_a_minute(rate: u64, burst: u64) -> Option<Self> {
        if !Self::MINUTE_RATES.contains(&rate) {
            return None;
        }
        Self::packets_in(60_000_000_000, rate, burst)
    }

    fn packets_in(time_ns: u64, rate: u64, burst: u64) -> Option<Self> {
        if !Self::PACKET_RATES.contains(&burst) {
            return None;
        }
        let (exponent, cost) = Self::ticks(time_ns, rate);
        let per_packet = cost >> TAG_BITS << TAG_BITS;
        Self::with(exponent, per_packet, 0, u128::from(per_packet) * u128::from(burst))
    }

    /// `rate` bits a second, `burst` of which may come at once; `None` where one is not in [`Self::BIT_RATES`]. A frame
    /// of more bits than the burst never conforms.
    #[must_use]
    pub fn bits(rate: u64, burst: u64) -> Option<Self> {
        if !Self::BIT_RATES.contains(&rate) || !Self::BIT_RATES.contains(&burst) {
            return None;
        }
        let (exponent, cost) = Self::ticks(Self::BYTES * 8 * 1_000_000_000, rate);
        let per_byte = cost / Self::BYTES;
        Self::with(exponent, 0, per_byte, u128::from(per_byte) * u128::from(burst) / 8)
    }

    /// For what takes `dividend / rate` ns: the power of two that a tick is of a nanosecond, and the cost, rounded down.
    fn ticks(dividend: u64, rate: u64) -> (i32, u64) {
        let mut exponent = 32;
        let cost =
            |exponent: i32| ((u128::from(dividend) << (32 + TAG_BITS)) / u128::from(rate)) >> (32 + exponent);
        while cost(exponent) >> TAG_BITS < Self::LEAST_TICKS {
            exponent -= 1;
        }
        (exponent, u64::try_from(cost(exponent)).expect("less than 512 ticks"))
    }

    fn with(exponent: i32, per_packet: u64, per_byte: u64, depth: u128) -> Option<Self> {
        let depth = u64::try_from(depth).ok()? & !TAG_MASK;
        let coarser = exponent.max(0).cast_unsigned();
        let finer = (-exponent).max(0).cast_unsigned();
        let wrap_part = 1 << (TIME_BITS - 10);
        let slack = (Self::SLACK_NS << finer >> coarser).clamp(1, wrap_part) << TAG_BITS;
        let horizon = depth.checked_add(slack)?;
        Some(Self { per_packet, per_byte, depth, horizon, coarser, finer: finer + TAG_BITS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates from `least` to `most`, a tenth apart, and the last.
    fn rates(least: u64, most: u64) -> impl Iterator<Item = u64> {
        let next = |rate: &u64| Some(rate + rate.div_ceil(10)).filter(|rate| *rate < 10_000_000_000_000);
        core::iter::successors(Some(least), next).take_while(move |rate| *rate < most).chain([most])
    }

    /// Nanoseconds, times 2^40, of a cost.
    fn span(pace: &Pace, cost: u64) -> u128 {
        u128::from(cost) << 40 << pace.coarser >> pace.finer
    }

    #[test]
    fn a_packet_costs_what_it_takes_at_every_rate_and_at_most_one_in_256_less() {
        for rate in rates(1, 10_000_000_000) {
            let pace = Pace::packets(rate, 1).expect("a rate of the language");
            let exact = (1_000_000_000_u128 << 40) / u128::from(rate);
            let cost = span(&pace, pace.cost(1500));
            assert!(cost <= exact && cost >= exact - exact / 256 - 1, "{rate}/s: {cost} in place of {exact}");
        }
        for rate in rates(5, 10_000_000_000) {
            let pace = Pace::packets_a_minute(rate, 1).expect("a rate of the language");
            let exact = (60_000_000_000_u128 << 40) / u128::from(rate);
            let cost = span(&pace, pace.cost(1500));
            assert!(cost <= exact && cost >= exact - exact / 256 - 1, "{rate}/minute: {cost}, {exact}");
        }
    }

    #[test]
    fn a_frame_costs_what_it_takes_at_every_rate_and_at_most_one_in_200_less() {
        for rate in rates(1_000, 10_000_000_000_000) {
            let pace = Pace::bits(rate, rate).expect("a rate of the language");
            for bytes in [60, 64, 65, 127, 576, 1514, 9018, 65_550] {
                let exact = ((u128::from(bytes) * 8_000_000_000) << 40) / u128::from(rate);
                let cost = span(&pace, pace.cost(bytes));
                assert!(
                    cost <= exact && cost >= exact - exact / 200 - 1,
                    "{rate}bit/s, {bytes}: {cost}, {exact}"
                );
            }
        }
    }

    #[test]
    fn every_burst_of_the_language_fits_with_every_rate() {
        for rate in rates(1, 10_000_000_000) {
            let pace = Pace::packets(rate, 10_000_000_000).expect("it fits");
            assert_eq!(pace.depth, pace.cost(0) * 10_000_000_000);
            assert!(pace.depth < pace.horizon && pace.horizon.leading_zeros() >= 1);
        }
        for rate in rates(5, 10_000_000_000) {
            let pace = Pace::packets_a_minute(rate, 10_000_000_000).expect("it fits");
            assert!(pace.depth < pace.horizon && pace.horizon.leading_zeros() >= 1);
        }
        for rate in rates(1_000, 10_000_000_000_000) {
            let pace = Pace::bits(rate, 10_000_000_000_000).expect("it fits");
            let ratio = pace.depth / pace.cost(1250);
            assert!((1_000_000_000..1_000_500_000).contains(&ratio), "{rate}: {ratio}");
            assert!(pace.horizon.checked_add(pace.cost(u32::MAX)).is_some());
        }
    }

    #[test]
    fn clocks_may_differ_by_the_slack() {
        for rate in rates(1, 500_000_000) {
            let pace = Pace::packets(rate, 1).expect("a rate of the language");
            let slack = span(&pace, pace.horizon - pace.depth) >> 40;
            assert!(slack >= u128::from(Pace::SLACK_NS), "{rate}/s: {slack}");
        }
    }

    #[test]
    fn what_the_language_does_not_have_is_refused() {
        for (rate, burst) in [(0, 1), (1, 0), (10_000_000_001, 1), (1, 10_000_000_001)] {
            assert_eq!(Pace::packets(rate, burst), None);
        }
        for (rate, burst) in [(4, 1), (5, 0), (10_000_000_001, 1), (5, 10_000_000_001)] {
            assert_eq!(Pace::packets_a_minute(rate, burst), None);
        }
        for (rate, burst) in
            [(999, 1_000), (1_000, 999), (10_000_000_000_001, 1_000), (1_000, 10_000_000_000_001)]
        {
            assert_eq!(Pace::bits(rate, burst), None);
        }
    }
}
