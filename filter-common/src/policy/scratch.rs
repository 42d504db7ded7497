//! What the program keeps of a packet between functions that are verified apart, and of the time between packets.

use super::asked::AskedKey;
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
    /// Packets that were not asked about ([`is_sample`](super::claimed::is_sample)).
    pub unasked: u64,
    /// A key of what was asked of everybody.
    pub everybody: AskedKey,
}

/// Copies of headers of a SYN; behind the end of each is what was there before.
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

/// Where a socket listens that took cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    /// The address that SYNs are for, as [`Observed`] has addresses.
    pub destination: [u64; 2],
    /// The port in the lower half, the family in the upper.
    pub what: u64,
    /// The tick until which it is not looked for again.
    pub until: u64,
    /// The largest maximum segment size of a SYN whose cookie was that of the headers alone. Of larger ones the socket may
    /// have a say.
    pub most: u64,
}

/// The services of a host, as far as this CPU has met them: each has one place, which the next one takes that has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Services([Service; SERVICES]);

const SERVICE_BITS: u32 = 6;
const SERVICES: usize = 1 << SERVICE_BITS;

impl Services {
    /// The place of a service.
    #[inline(always)]
    fn place(&mut self, [first, last]: [u64; 2], what: u64) -> Option<&mut Service> {
        /// As for places of sources.
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = (first ^ last ^ what.rotate_left(32)).wrapping_mul(MULTIPLIER);
        self.0.get_mut((hash >> (64 - SERVICE_BITS)) as usize)
    }

    /// Whether the packet is for one that took a cookie of late, of a SYN with at least that maximum segment size.
    #[inline(always)]
    pub fn know(&mut self, observed: &Observed, port: u32, most: u32, tick: u64) -> bool {
        let what = what(observed, port);
        let Some(service) = self.place(observed.destination, what) else { return false };
        service.until > tick
            && service.what == what
            && service.destination == observed.destination
            && service.most >= u64::from(most)
    }

    /// Notes that it did, until a tick.
    #[inline(always)]
    pub fn note(&mut self, observed: &Observed, port: u32, most: u32, until: u64) {
        let what = what(observed, port);
        if let Some(service) = self.place(observed.destination, what) {
            *service = Service { destination: observed.destination, what, until, most: most.into() };
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
    size_of::<Scratch>()
        == size_of::<Observed>()
            + size_of::<Candidates>()
            + 24
            + 16
            + 144
            + SERVICES * 40
            + 8
            + size_of::<AskedKey>()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_until_its_time_and_to_the_last_bit() {
        let none = Service { destination: [0; 2], what: 0, until: 0, most: 0 };
        let mut services = Services([none; SERVICES]);
        let observed = |family, destination| Observed { family, destination, ..Observed::NONE };
        let service = observed(4, [7, 0]);
        assert!(!services.know(&service, 443, 1460, 0));
        services.note(&service, 443, 1460, 10);
        assert!(services.know(&service, 443, 1460, 9) && services.know(&service, 0x9c40_01bb, 536, 9));
        assert!(!services.know(&service, 443, 1461, 9));
        assert!(!services.know(&service, 443, 1460, 10) && !services.know(&service, 444, 1460, 9));
        for other in [observed(6, [7, 0]), observed(4, [7, 1])] {
            assert!(!services.know(&other, 443, 1460, 9));
        }
        assert!((0..1000).all(|other| !services.know(&observed(4, [1000 + other, 0]), 443, 1460, 9)));
    }

    #[test]
    fn common_ports_of_one_address_seldom_share_a_place() {
        let none = Service { destination: [0; 2], what: 0, until: 0, most: 0 };
        let shares = |address: u64, ports: [u32; 2]| {
            let mut services = Services([none; SERVICES]);
            let observed = Observed { family: 4, destination: [address, 0], ..Observed::NONE };
            ports.iter().for_each(|port| services.note(&observed, *port, 1460, 10));
            !ports.iter().all(|port| services.know(&observed, *port, 1460, 9))
        };
        for ports in [[80, 8080], [443, 8443], [80, 443], [25, 587]] {
            let shared = (0..1000).filter(|host| shares(0xcb00_7100 + host, ports)).count();
            assert!(shared < 60, "{ports:?}: {shared}");
        }
    }

    #[test]
    fn the_clock_is_asked_once_a_tick() {
        let mut clock = CoarseClock { tick: 0, ns: 0 };
        assert_eq!(clock.at(7, || 70), 70);
        assert_eq!(clock.at(7, || 71), 70);
        assert_eq!(clock.at(8, || 80), 80);
    }
}
