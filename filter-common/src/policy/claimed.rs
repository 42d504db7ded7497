//! Whose a packet is: which packets a socket of this host takes, and for how long that is remembered.
//!
//! **What it decides.** Most floods from forged sources are about nothing that there is: segments of connections that nobody has,
//! datagrams to ports where nobody listens. The kernel knows its sockets, so it is asked. TCP is [claimed](Claim::Yes) by a
//! connection between the same addresses and ports, half-open ones and those in TIME-WAIT among them; a SYN also by a socket that
//! listens, another segment by that only where it brings a SYN cookie that the kernel made. UDP is claimed by a socket that is
//! bound to its destination. What is for no address of this host, group addresses and forwarded traffic above all, is
//! [no question of it](Claim::Neither), and so is what has no ports.
//!
//! To ask the kernel takes longer than all else that a packet meets, so what a socket took is noted: a tag of 15 bits in a table
//! of 2^16 words of four, by addresses, ports, protocol and the time in units of 2^16 ticks, of UDP 2^11; of sockets of UDP that
//! take what anybody sends, without the source. A word forgets its oldest tag. Rules see the note as a field,
//! [`Field::Claim`](super::classifier::field::Field::Claim): where it is there, rules for `unclaimed` are none of the packet's
//! candidates, and the kernel is asked about the others.
//!
//! Even to look for a note is a line of memory for each of many flows, far from the CPU. So where only limits want to know
//! ([`SAMPLED`](super::classifier::field::SAMPLED)), which let some packets through anyhow, one packet in 64 of each CPU is asked
//! about, until one is unclaimed: that opens a gate, and all are asked about until none was for a while ([`opened`]).
//!
//! **What it trusts.** The kernel's sockets, and the list of own addresses, which the controller keeps. Connections leave notes once
//! they are open, those that bring a cookie with it, and sockets of UDP; what a socket that listens takes and half-open
//! connections leave none, so a flood of forged packets to this host writes none but that of its service. Places depend on two
//! random keys, so nobody can work out which packets share the note of a connection of his; of forged ones, four in 2^15 do by
//! chance while all notes are in use. What was claimed counts so for the rest of its unit of time, also where its socket is closed
//! meanwhile: UDP 2 s at 1,000 ticks a second, 8 s at 250, 20 s at 100, segments of the very same connection 32 times as long.
//!
//! **What it costs.** 512 KiB for all interfaces. While the gate is closed, a word of it and a counter. Else a word for each packet
//! that has ports, two for UDP; and for those that are not noted, for each rule that asks, one look-up among own addresses and one
//! or two among sockets, some 100 to 200 ns: once a unit of time for each flow, as long as there are no more than a quarter of a
//! million, and for each packet of a flood.

use super::observed::{Observed, family};
use crate::parse::L4Kind;
use crate::table::lines::{LINE_BYTES, Line};

/// Whether a socket of this host takes a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Claim {
    /// That is no question of it.
    #[default]
    Neither,
    /// One does.
    Yes,
    /// None does.
    No,
}

/// The value of [`Field::Claim`](super::classifier::field::Field::Claim) of a packet that may be unclaimed.
pub const NOT_NOTED: u16 = 0;
/// Of one that is not, as is noted or as it has no ports.
pub const NOTED: u16 = 1;

/// Lines of notes, and behind them that of the gate.
pub const LINES: u32 = GATE_LINE + 1;
/// The line whose first word is the tick until which all packets are asked about, where only limits want to know; then two keys.
pub const GATE_LINE: u32 = (1 << WORD_BITS) / WORDS_A_LINE;
const WORD_BITS: u32 = 16;
const WORDS_A_LINE: u32 = 8;
const _: () = assert!(WORDS_A_LINE as usize * 8 == LINE_BYTES);

/// Bits of a time in ticks below those that tell one unit from the next: of flows of TCP, which end by themselves and are many,
/// and of UDP, where a note stands for a service that may end.
const FLOW_UNIT_BITS: u32 = 16;
const SERVICE_UNIT_BITS: u32 = 11;

/// For how many ticks the gate is open behind a packet that is unclaimed: 2 s at 1,000 ticks a second, 8 s at 250, 20 s at 100.
const OPEN_TICKS: u64 = 1 << 11;

/// Of so many packets that a CPU meets, whether this one is asked about while the gate is closed: one in 64.
#[inline(always)]
#[must_use]
pub const fn is_sample(packets: u64) -> bool {
    packets & 63 == 0
}

/// Whether the gate is open, by its word.
#[inline(always)]
#[must_use]
pub const fn is_open(until: u64, tick: u64) -> bool {
    until > tick
}

/// What the gate's word is to be once a packet is unclaimed; `None` where it is recent enough, so that a flood hardly writes it.
#[inline(always)]
#[must_use]
pub const fn opened(until: u64, tick: u64) -> Option<u64> {
    if until > tick + OPEN_TICKS / 2 { None } else { Some(tick + OPEN_TICKS) }
}

/// Where a flow is noted in a unit of time, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from the first of these on.
    pub line: u32,
    /// The word of it.
    pub word: u32,
    tag: u64,
}

impl Place {
    /// That of all UDP to one address and port, and of TCP as in [`Self::of_flow`].
    #[inline(always)]
    #[must_use]
    pub const fn of_service_or_flow(observed: &Observed, tick: u64, keys: [u64; 2]) -> Self {
        if observed.transport() == L4Kind::Udp as u32 {
            Self::of_service(observed, tick, keys)
        } else {
            Self::of_flow(observed, tick, keys)
        }
    }

    /// That of all packets with its protocol, destination and destination port, in that tick.
    #[inline(always)]
    #[must_use]
    pub const fn of_service(observed: &Observed, tick: u64, keys: [u64; 2]) -> Self {
        let Observed { family, destination, ports, .. } = observed;
        Self::of(*family, ([0; 2], *destination), (*ports & 0xffff, observed.transport()), tick, keys)
    }

    /// That of all packets between its addresses and ports, in that tick.
    #[inline(always)]
    #[must_use]
    pub const fn of_flow(observed: &Observed, tick: u64, keys: [u64; 2]) -> Self {
        let Observed { family, source, destination, ports, .. } = observed;
        Self::of(*family, (*source, *destination), (*ports, observed.transport()), tick, keys)
    }

    /// What a sender can choose goes through multiplications of its own, behind a key.
    #[inline(always)]
    const fn of(
        of_family: u32,
        (source, destination): ([u64; 2], [u64; 2]),
        (ports, transport): (u32, u32),
        tick: u64,
        [first, second]: [u64; 2],
    ) -> Self {
        /// Odd, and their upper halves as irregular as their lower ones (from SplitMix64; Steele, Lea and Flood, 2014).
        const MULTIPLIERS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
        let [one, other, last] = MULTIPLIERS;
        let bits = if transport == L4Kind::Udp as u32 { SERVICE_UNIT_BITS } else { FLOW_UNIT_BITS };
        let rest = ports as u64 | (transport as u64) << 32 | tick >> bits << 34;
        // IPv4 addresses are the lower halves of the first words, so nothing of theirs is lost here.
        let ends = source[0].rotate_left(32) ^ destination[0] ^ first;
        let mut mixed = (ends ^ rest.wrapping_mul(other)).wrapping_mul(one);
        if of_family == family::V6 {
            mixed = (mixed ^ mixed >> 32 ^ source[1]).wrapping_mul(other);
            mixed ^= destination[1].rotate_left(32);
        }
        let hash = (mixed ^ mixed >> 32 ^ second).wrapping_mul(last);
        let word = (hash >> (64 - WORD_BITS)) as u32;
        // Never 0, which is what a word begins with.
        Self { line: word / WORDS_A_LINE, word: word % WORDS_A_LINE, tag: hash >> 24 & 0xffff | 1 }
    }

    /// Whether its word has it.
    #[inline(always)]
    #[must_use]
    pub fn is_noted<L: Line>(self, line: L) -> bool {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const HIGHEST: u64 = ONES << 15;
        // A quarter is zero where it was the tag. The lowest zero is found exactly, and whether there is one.
        let differing = line.word(self.word) ^ self.tag.wrapping_mul(ONES);
        differing.wrapping_sub(ONES) & !differing & HIGHEST != 0
    }

    /// What its word is to be, of what it was: the oldest tag goes.
    #[inline(always)]
    #[must_use]
    pub const fn noted_in(self, word: u64) -> u64 {
        word << 16 | self.tag
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::table::memory::{LineCell, zeroed};

    const KEYS: [u64; 2] = [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321];

    fn packet(source: u64, ports: u32) -> Observed {
        Observed {
            family: family::V4,
            source: [source, 0],
            destination: [0xc0a8_0101, 0],
            ports,
            protocol: 6 | (L4Kind::Tcp as u32) << 8,
            ..Observed::NONE
        }
    }

    fn note(place: Place, lines: &[LineCell]) {
        let line = &lines[place.line as usize];
        line.store(place.word, place.noted_in(line.word(place.word)));
    }

    fn is_noted(place: Place, lines: &[LineCell]) -> bool {
        place.is_noted(&lines[place.line as usize])
    }

    #[test]
    fn a_note_is_about_one_flow_and_one_unit_of_time() {
        let lines = zeroed(LINES);
        let tick = 1_000_000 << FLOW_UNIT_BITS;
        let noted = packet(7, 443);
        assert!(!is_noted(Place::of_flow(&noted, tick, KEYS), &lines));
        note(Place::of_flow(&noted, tick, KEYS), &lines);
        assert!(is_noted(Place::of_flow(&noted, tick + (1 << FLOW_UNIT_BITS) - 1, KEYS), &lines));
        assert!(!is_noted(Place::of_flow(&noted, tick + (1 << FLOW_UNIT_BITS), KEYS), &lines));
        assert!(!is_noted(Place::of_flow(&noted, tick - 1, KEYS), &lines));
        let udp = 17 | (L4Kind::Udp as u32) << 8;
        let others = [
            packet(8, 443),
            packet(7, 444),
            packet(7, 443 | 1 << 16),
            Observed { protocol: udp, ..noted },
            Observed { destination: [0xc0a8_0102, 0], ..noted },
            // The other way round.
            Observed { source: noted.destination, destination: noted.source, ..noted },
        ];
        assert!(others.iter().all(|other| !is_noted(Place::of_flow(other, tick, KEYS), &lines)));
    }

    #[test]
    fn nobody_can_choose_sources_that_share_a_note() {
        let of_source = |source| Observed {
            family: family::V6,
            source,
            destination: [0x2001_0db8 << 32, 2],
            ..packet(0, 40_000 << 16 | 443)
        };
        let source = [0x2001_0db8_0000_0001_u64, 7];
        let noted = Place::of_flow(&of_source(source), 5, KEYS);
        for change in (0..64).map(|bit| 1_u64 << bit) {
            for other in [
                [source[0] ^ change, source[1]],
                [source[0], source[1] ^ change],
                [source[0] ^ change, source[1] ^ change],
                [source[0] ^ change, source[1] ^ change.rotate_left(32)],
            ] {
                assert_ne!(Place::of_flow(&of_source(other), 5, KEYS), noted, "{other:x?}");
            }
        }
        let of_key = |key| Place::of_flow(&of_source(source), 5, key);
        assert_ne!(of_key([KEYS[0] ^ 1, KEYS[1]]), noted);
        assert_ne!(of_key([KEYS[0], KEYS[1] ^ 1]), noted);
    }

    #[test]
    fn a_service_is_noted_whoever_sends() {
        let udp =
            |source, ports| Observed { protocol: 17 | (L4Kind::Udp as u32) << 8, ..packet(source, ports) };
        let place = |packet: &Observed| Place::of_service(packet, 5, KEYS);
        assert_eq!(place(&udp(7, 9 << 16 | 443)), place(&udp(8, 10 << 16 | 443)));
        assert_ne!(place(&udp(7, 443)), place(&udp(7, 444)));
        assert_ne!(place(&udp(7, 443)), place(&packet(7, 443)));
        assert_eq!(Place::of_service_or_flow(&udp(7, 443), 5, KEYS), place(&udp(8, 443)));
        assert_eq!(
            Place::of_service_or_flow(&packet(7, 443), 5, KEYS),
            Place::of_flow(&packet(7, 443), 5, KEYS)
        );
    }

    #[test]
    fn a_word_has_the_last_four() {
        let lines = zeroed(LINES);
        let mut same: Vec<Place> = Vec::new();
        let first = Place::of_flow(&packet(0, 0), 0, KEYS);
        for source in 0.. {
            let place = Place::of_flow(&packet(source, 0), 0, KEYS);
            if (place.line, place.word) == (first.line, first.word) {
                same.push(place);
            }
            if same.len() == 6 {
                break;
            }
        }
        for (count, place) in (1..).zip(&same) {
            note(*place, &lines);
            let known = same.iter().filter(|place| is_noted(**place, &lines)).count();
            assert_eq!(known, 4.min(count), "after {count}");
        }
        assert!(!is_noted(same[1], &lines) && is_noted(same[2], &lines));
    }

    #[test]
    fn the_gate_stays_open_while_packets_are_unclaimed_and_is_seldom_written() {
        let tick = 1_000_000;
        assert!(!is_open(0, tick));
        let until = opened(0, tick).unwrap();
        assert!(is_open(until, tick) && is_open(until, until - 1) && !is_open(until, until));
        assert_eq!(opened(until, tick + 1), None);
        assert_eq!(opened(until, until - OPEN_TICKS / 2), Some(until + OPEN_TICKS / 2));
        assert_eq!((1..=6400).filter(|packets| is_sample(*packets)).count(), 100);
    }

    #[test]
    fn flows_have_room_beside_each_other_and_strangers_are_seldom_taken_for_them() {
        const FLOWS: u32 = 1 << 16;
        let of_many_sources = |flow: u32| packet(0x0b00_0000 + u64::from(flow) * 977, 40_000);
        let of_one_source = |flow: u32| packet(0x0b00_0000, flow << 16 | 443);
        let of_many_networks = |flow: u32| Observed {
            family: family::V6,
            source: [0x2001_0db8 << 32 | u64::from(flow), 1],
            destination: [0x2001_0db8 << 32, 2],
            ..packet(0, 40_000 << 16 | 443)
        };
        for kind in [of_many_sources, of_one_source, of_many_networks] {
            let lines = zeroed(LINES);
            let flows: Vec<Observed> = (0..FLOWS).map(kind).collect();
            flows.iter().for_each(|flow| note(Place::of_flow(flow, 5, KEYS), &lines));
            let known = flows.iter().filter(|flow| is_noted(Place::of_flow(flow, 5, KEYS), &lines)).count();
            // Of a random placement 0.4 % would have been pushed out.
            assert!(known > FLOWS as usize / 1000 * 992, "{known}");
            let strangers = (0..1_000_000).map(|flow| packet(0xac00_0000 + flow * 7, 40_000));
            let taken = strangers.filter(|flow| is_noted(Place::of_flow(flow, 5, KEYS), &lines)).count();
            // A full word has four of 2^15 tags; these have one on average.
            assert!(taken < 200, "{taken}");
            let places: HashSet<u32> = flows.iter().map(|flow| Place::of_flow(flow, 5, KEYS).line).collect();
            // Of a random placement three would be empty.
            assert!(places.len() > LINES as usize - 50, "{}", places.len());
        }
    }
}
