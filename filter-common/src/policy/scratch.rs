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
    /// Sockets that took cookies of late.
    pub services: Services,
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

/// Where a socket listens that took a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    /// The address that SYNs are for, as [`Observed`] has addresses.
    pub destination: [u64; 2],
    /// The port in the lower half, the family in the upper.
    pub what: u64,
    /// The time until which it is not looked for again, in nanoseconds.
    pub until: u64,
}

/// The services of a host, as far as this CPU has met them: each has one place, which the next one takes that has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Services([Service; SERVICES]);

const SERVICES: usize = 16;

impl Services {
    /// The place of a service.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "all but its lowest bits are cut off")]
    fn place(&mut self, destination: [u64; 2], what: u64) -> Option<&mut Service> {
        let [first, last] = destination;
        let place = first ^ first >> 4 ^ last ^ last >> 4 ^ what;
        self.0.get_mut(place as usize % SERVICES)
    }

    /// Whether the packet is for one that took a cookie of late.
    #[inline(always)]
    pub fn know(&mut self, observed: &Observed, port: u32, now_ns: u64) -> bool {
        let what = what(observed, port);
        let Some(service) = self.place(observed.destination, what) else { return false };
        service.until > now_ns && service.what == what && service.destination == observed.destination
    }

    /// Notes that it did, until a time.
    #[inline(always)]
    pub fn note(&mut self, observed: &Observed, port: u32, until: u64) {
        let what = what(observed, port);
        if let Some(service) = self.place(observed.destination, what) {
            *service = Service { destination: observed.destination, what, until };
        }
    }
}

#[inline(always)]
fn what(observed: &Observed, port: u32) -> u64 {
    u64::from(port & 0xffff) | u64::from(observed.family) << 32
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

const _: () = assert!(
    size_of::<Scratch>() == size_of::<Observed>() + size_of::<Candidates>() + 24 + 16 + 144 + SERVICES * 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_until_its_time_and_to_the_last_bit() {
        let mut services = Services([Service { destination: [0; 2], what: 0, until: 0 }; SERVICES]);
        let observed = |family, destination| Observed { family, destination, ..Observed::NONE };
        let service = observed(4, [7, 0]);
        assert!(!services.know(&service, 443, 0));
        services.note(&service, 443, 10);
        assert!(services.know(&service, 443, 9) && services.know(&service, 0x9c40_01bb, 9));
        assert!(!services.know(&service, 443, 10) && !services.know(&service, 444, 9));
        assert!(!services.know(&observed(6, [7, 0]), 443, 9) && !services.know(&observed(4, [7, 1]), 443, 9));
        assert!((0..1000).all(|other| !services.know(&observed(4, [1000 + other, 0]), 443, 9)));
    }

    #[test]
    fn the_clock_is_asked_once_a_tick() {
        let mut clock = CoarseClock { tick: 0, ns: 0 };
        assert_eq!(clock.at(7, || 70), 70);
        assert_eq!(clock.at(7, || 71), 70);
        assert_eq!(clock.at(8, || 80), 80);
    }
}
