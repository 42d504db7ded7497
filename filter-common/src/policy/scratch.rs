//! What the program keeps of a packet between functions that are verified apart, and of the time between packets.

use super::classifier::{Candidates, Walk};
use super::observed::Observed;

/// One packet's facts, and where its walk stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// What was observed.
    pub observed: Observed,
    /// The walk along its rules.
    pub walk: Walk,
    /// The coarse clock.
    pub clock: CoarseClock,
    /// Headers of a SYN, for the kernel to make its cookie of.
    pub syn: SynHeaders,
}

/// Copies of headers as they are in the frame, zero behind the end of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SynHeaders {
    /// The IP header, without options.
    pub ip: [u32; 10],
    /// The TCP header with its options.
    pub tcp: [u32; 16],
    /// Addresses and ports.
    pub tuple: [u32; 10],
}

/// What a clock said that only goes on with the kernel's tick. To ask for the tick is one load in the program, and to ask for
/// the clock a call, some 15 ns for each rule that counts; so the clock is asked once a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CoarseClock {
    /// The tick in which it was asked; no tick has the number 0.
    pub tick: u64,
    /// What it said, in nanoseconds.
    pub ns: u64,
}

impl CoarseClock {
    /// The time in this tick.
    #[inline(always)]
    pub fn at(&mut self, tick: u64, ask: impl FnOnce() -> u64) -> u64 {
        if self.tick != tick {
            *self = Self { tick, ns: ask() };
        }
        self.ns
    }
}

const _: () =
    assert!(size_of::<Scratch>() == size_of::<Observed>() + size_of::<Candidates>() + 24 + 16 + 144);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_asked_once_a_tick() {
        let mut clock = CoarseClock { tick: 0, ns: 0 };
        assert_eq!(clock.at(7, || 70), 70);
        assert_eq!(clock.at(7, || 71), 70);
        assert_eq!(clock.at(8, || 80), 80);
    }
}
