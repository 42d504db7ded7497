//! The limits of a policy as the program reads them: what has a bucket, where its bucket lies, and what packets cost.
//!
//! Decides which key a packet has under a limit. Trusts whoever wrote the lines. A limit is two lines of a generation's
//! array; its buckets are lines of another array, which outlives generations, so that a list that is replaced, or a rule
//! that changes, forgives nobody. Costs two lines, one key's hash, and what [`limiter`](super::limiter) costs.
//!
//! | words | what |
//! |---|---|
//! | 0 to 3 | the numbers that keys are hashed with |
//! | 4 to 8 | the pace |
//! | 9 | the region: its first line, and in the upper half how many |
//! | 10 | the key: its kind, bits of an IPv4 source prefix, bits of an IPv6 source prefix, a byte each |
//! | 11 to 15 | nothing: zero |

use super::limiter::{Cells, Decision, KeyHasher, Limit, Pace, Region, decide};
use super::observed::{Observed, family};
use crate::keys::{AddressV4, AddressV6};
use crate::table::lines::{Line, Lines};

/// Lines of a limit.
pub const LIMIT_LINES: u32 = 2;
/// Words of its second line before those of the region and the key.
const SECOND: u32 = 8;

/// What has a bucket of its own under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// Each source prefix of these lengths.
    Source {
        /// Bits of an IPv4 prefix.
        v4: u8,
        /// Bits of an IPv6 prefix.
        v6: u8,
    },
    /// Each destination address.
    Destination,
    /// Each destination address with protocol and port.
    Service,
    /// Everything together.
    Total,
}

/// The numbers of their kinds.
mod kind {
    pub const SOURCE: u64 = 0;
    pub const DESTINATION: u64 = 1;
    pub const SERVICE: u64 = 2;
    pub const TOTAL: u64 = 3;
}

impl LimitKey {
    const fn word(self) -> u64 {
        match self {
            Self::Source { v4, v6 } => kind::SOURCE | (v4 as u64) << 8 | (v6 as u64) << 16,
            Self::Destination => kind::DESTINATION,
            Self::Service => kind::SERVICE,
            Self::Total => kind::TOTAL,
        }
    }
}

/// The words of a limit's lines.
#[must_use]
pub fn words(hasher: &KeyHasher, limit: &Limit, key: LimitKey) -> [u64; 16] {
    let mut words = [0; 16];
    words[..4].copy_from_slice(&hasher.words());
    words[4..9].copy_from_slice(&limit.pace.words());
    words[9] = u64::from(limit.region.first) | u64::from(limit.region.lines) << 32;
    words[10] = key.word();
    words
}

/// Charges a packet to the limit of a number, whose lines are the `number`th two from `first` on; whether it is over it.
/// One that is not there is over nothing.
#[inline(always)]
pub fn is_over<L: Lines, C: Cells>(
    lines: &L,
    first: u32,
    number: u32,
    cells: &C,
    now_ns: u64,
    packet: &Observed,
) -> bool {
    let index = first.wrapping_add(number.wrapping_mul(LIMIT_LINES));
    let (Some(line), Some(second)) = (lines.line(index), lines.line(index.wrapping_add(1))) else {
        return false;
    };
    let hasher = KeyHasher::from_words([line.word(0), line.word(1), line.word(2), line.word(3)]);
    let pace =
        Pace::from_words([line.word(4), line.word(5), line.word(6), line.word(7), second.word(8 - SECOND)]);
    let region = second.word(9 - SECOND);
    let region = Region { first: (region & 0xffff_ffff) as u32, lines: (region >> 32) as u32 };
    let hash = hash(&hasher, second.word(10 - SECOND), packet);
    matches!(decide(cells, now_ns, hash, &Limit { pace, region }, packet.bytes), Decision::Over)
}

/// The hash of a packet's key.
#[inline(always)]
fn hash(hasher: &KeyHasher, key: u64, packet: &Observed) -> u64 {
    let [source, destination] = [packet.source, packet.destination];
    let is_v4 = packet.family == family::V4;
    match key & 0xff {
        kind::SOURCE if is_v4 => hasher.v4(within_v4(source[0], key >> 8 & 0xff)),
        kind::SOURCE => hasher.v6(within_v6(source, key >> 16 & 0xff)),
        kind::DESTINATION if is_v4 => hasher.v4(within_v4(destination[0], 32)),
        kind::DESTINATION => hasher.v6(within_v6(destination, 128)),
        kind::SERVICE => {
            let (protocol, port) = ((packet.protocol & 0xff) as u8, (packet.port() & 0xffff) as u16);
            if is_v4 {
                hasher.service_v4(within_v4(destination[0], 32), protocol, port)
            } else {
                hasher.service_v6(within_v6(destination, 128), protocol, port)
            }
        }
        _ => hasher.total(),
    }
}

/// The first address of the prefix of that many bits, 1 to 32.
#[inline(always)]
const fn within_v4(address: u64, bits: u64) -> AddressV4 {
    let mask = u64::MAX << ((32 - bits) & 63);
    AddressV4::from_bits((address & mask & 0xffff_ffff) as u32)
}

/// The first address of the prefix of that many bits, 1 to 128.
#[inline(always)]
const fn within_v6([first, last]: [u64; 2], bits: u64) -> AddressV6 {
    if bits > 64 {
        AddressV6::from_halves(first, last & u64::MAX << ((128 - bits) & 63))
    } else {
        AddressV6::from_halves(first & u64::MAX << ((64 - bits) & 63), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limiter::memory::zeroed as buckets;
    use super::*;
    use crate::table::memory::{LineCell, zeroed};

    const REGION: Region = Region { first: 0, lines: 64 };

    fn v4(source: u64, destination: u64, port: u32) -> Observed {
        Observed {
            source: [source, 0],
            destination: [destination, 0],
            family: family::V4,
            protocol: 17,
            ports: port,
            bytes: 100,
            ..Observed::NONE
        }
    }

    fn v6(source: [u64; 2], destination: [u64; 2], port: u32) -> Observed {
        Observed {
            source,
            destination,
            family: family::V6,
            protocol: 6,
            ports: port,
            bytes: 100,
            ..Observed::NONE
        }
    }

    /// How many of the packets, all at one time, a limit of two takes.
    fn taken(key: LimitKey, packets: &[Observed]) -> usize {
        let pace = Pace::packets(1, 2).expect("in bounds");
        let words = words(&KeyHasher::new(7, 0), &Limit { pace, region: REGION }, key);
        let memory = zeroed(LIMIT_LINES);
        for (line, words) in memory.iter().zip(words.chunks(8)) {
            (0..).zip(words).for_each(|(index, word)| line.store(index, *word));
        }
        let lines: &[LineCell] = &memory;
        let cells = buckets(REGION.lines);
        packets.iter().filter(|packet| !is_over(&lines, 0, 0, &&*cells, 1 << 40, packet)).count()
    }

    #[test]
    fn a_limit_is_one_for_each_key_and_no_more() {
        let per_source = LimitKey::Source { v4: 32, v6: 128 };
        let per_prefix = LimitKey::Source { v4: 24, v6: 48 };
        let (a, b) = (v4(0xc000_0201, 0xc633_6401, 53), v4(0xc000_0202, 0xc633_6402, 54));
        let (c, d) = (v6([0x2001_0db8_0001_0002, 3], [1, 1], 53), v6([0x2001_0db8_0001_0003, 4], [1, 2], 53));
        for (key, takes) in [
            (per_source, [2, 4, 2, 4]),
            (per_prefix, [2, 2, 2, 2]),
            (LimitKey::Destination, [2, 4, 2, 4]),
            (LimitKey::Service, [2, 4, 2, 4]),
            (LimitKey::Total, [2, 2, 2, 2]),
        ] {
            for (packets, takes) in [[a; 4], [a, b, a, b], [c; 4], [c, d, c, d]].iter().zip(takes) {
                assert_eq!(taken(key, packets), takes, "{key:?}");
            }
        }
        // Families apart, but not of the total; ports apart where services are.
        assert_eq!(taken(per_prefix, &[a, c, a, c, a, c]), 4);
        assert_eq!(taken(LimitKey::Total, &[a, c, a, c, a, c]), 2);
        let other_port = Observed { ports: 99, ..a };
        assert_eq!(taken(LimitKey::Service, &[a, other_port, a, other_port, a]), 4);
        assert_eq!(taken(LimitKey::Destination, &[a, other_port, a, other_port, a]), 2);
    }

    #[test]
    fn prefixes_end_where_they_say() {
        assert_eq!(within_v4(0xffff_ffff, 1), AddressV4::from_bits(0x8000_0000));
        assert_eq!(within_v4(0xffff_ffff, 32), AddressV4::from_bits(0xffff_ffff));
        for (bits, first, last) in
            [(1, 1 << 63, 0), (64, u64::MAX, 0), (65, u64::MAX, 1 << 63), (128, u64::MAX, u64::MAX)]
        {
            assert_eq!(within_v6([u64::MAX; 2], bits), AddressV6::from_halves(first, last), "{bits}");
        }
    }

    #[test]
    fn a_limit_that_is_not_there_is_over_nothing() {
        let memory = zeroed(1);
        let lines: &[LineCell] = &memory;
        assert!(!is_over(&lines, 0, 5, &&*buckets(1), 0, &v4(1, 2, 3)));
    }
}
