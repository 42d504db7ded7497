//! Packets and bytes by reason: one [`Counters`] an interface and CPU.
//!
//! The dataplane adds to its own CPU's copy, without atomics: XDP runs with softirqs off, so nothing else on that
//! CPU touches it. A reader adds up the copies; every figure only grows, so a difference of two readings is exact.
//! Cost: one per-CPU array look-up a packet.

use crate::abi::REASON_SLOTS;
use crate::verdict::Reason;

/// Packets and bytes, since the interface was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}

impl Counter {
    /// Adds one packet of `bytes`.
    #[inline(always)]
    pub const fn count(&mut self, bytes: u64) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Adds another counter's figures.
    pub const fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// One counter a reason, indexed by the reason's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters(pub [Counter; REASON_SLOTS]);

impl Default for Counters {
    fn default() -> Self {
        Self([Counter { packets: 0, bytes: 0 }; REASON_SLOTS])
    }
}

impl Counters {
    /// The counter of `reason`.
    #[must_use]
    pub const fn of(&self, reason: Reason) -> Counter {
        self.0[reason as usize]
    }

    /// Adds one packet that ended with `reason`.
    #[inline(always)]
    pub const fn count(&mut self, reason: Reason, bytes: u64) {
        // The mask is a no-op (reasons are below REASON_SLOTS); it is what bounds the index for the verifier.
        self.0[reason as usize & (REASON_SLOTS - 1)].count(bytes);
    }

    /// Adds another CPU's figures.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.add(*theirs);
        }
    }
}

/// What one rule counted on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleCounter {
    /// Packets and bytes.
    pub hits: Counter,
    /// When it last counted, in nanoseconds of the coarse monotonic clock; 0 where it never did.
    pub last_ns: u64,
}

impl RuleCounter {
    /// Adds one packet of `bytes`.
    #[inline(always)]
    pub const fn count(&mut self, bytes: u64, now_ns: u64) {
        self.hits.count(bytes);
        self.last_ns = now_ns;
    }

    /// Adds another CPU's figures.
    pub fn add(&mut self, other: Self) {
        self.hits.add(other.hits);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

const _: () = assert!(size_of::<RuleCounter>() == 24);
const _: () = assert!(REASON_SLOTS.is_power_of_two());
const _: () = assert!(size_of::<Counters>() == 16 * REASON_SLOTS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_touches_only_its_own_reason() {
        let mut counters = Counters::default();
        counters.count(Reason::BlockedSource, 60);
        counters.count(Reason::BlockedSource, 1500);
        for reason in Reason::ALL {
            let expected = if *reason == Reason::BlockedSource {
                Counter { packets: 2, bytes: 1560 }
            } else {
                Counter::default()
            };
            assert_eq!(counters.of(*reason), expected, "{}", reason.name());
        }
    }
}
