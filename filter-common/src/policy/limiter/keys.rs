//! Keys: what has a bucket of its own, hashed with numbers that only this installation has.
//!
//! Whoever could make two keys meet in line and tag could use up the limit of a source by forging another. He would
//! have to know the multipliers. A word is multiplied by three secret odd numbers, and between them its upper half is
//! folded into its lower:
//!
//! * Each step is a bijection, so two different words reach the last product different. An odd multiplier chosen at
//!   random sends any two of them to within 1/n of the range with a probability of at most 2/n (Dietzfelbinger, Hagerup,
//!   Katajainen, Penttonen: "A reliable randomized algorithm for the closest-pair problem", 1997). Line and tag are one
//!   n-th of the range, n = lines * 2^20: 2^-38 for a pair of IPv4 addresses in the largest region, whichever two they
//!   are. That is proven, for whoever chooses them without having seen the hash.
//! * Nobody sees the hash, only whether two keys that he sends from share a limit, and to find one such pair takes as
//!   many tries. One multiplication would give him more with it: its differences carry over, so that every pair as far
//!   apart would meet as well. Products are linear over integers modulo 2^64 and folds over bits, neither over both, so
//!   behind two folds a difference says nothing about another pair. This is an argument and no proof; `SipHash` has
//!   withstood more of them and costs 130 instructions of eBPF in place of 15.
//! * Keys of several words are chained: the outcome of each is folded and the next added, as in CBC-MAC. Three products
//!   lie between any two words, so nobody can undo in a later one what he did to an earlier; a difference in the highest
//!   bit alone would pass a single product unchanged.

use crate::keys::{AddressV4, AddressV6};

/// Hashes keys. Each limit has a salt of its own, so that a pair of keys that meets under one does not under the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KeyHasher {
    multipliers: [u64; 3],
    salt: u64,
}

impl KeyHasher {
    /// For the limit of a number, from the secret of the installation.
    #[must_use]
    pub const fn new(seed: u64, limit: u32) -> Self {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014) makes four numbers of
        // one; they are as secret as the seed.
        let mut numbers = [0; 4];
        let mut state = seed ^ (limit as u64) << 32;
        let mut index = 0;
        while index < numbers.len() {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            numbers[index] = mixed ^ mixed >> 31;
            index += 1;
        }
        let [first, second, third, salt] = numbers;
        Self { multipliers: [first | 1, second | 1, third | 1], salt }
    }

    /// The same from [`Self::words`].
    #[inline(always)]
    #[must_use]
    pub const fn from_words([first, second, third, salt]: [u64; 4]) -> Self {
        Self { multipliers: [first, second, third], salt }
    }

    /// All of it, as words of a table.
    #[must_use]
    pub const fn words(&self) -> [u64; 4] {
        let [first, second, third] = self.multipliers;
        [first, second, third, self.salt]
    }

    /// The one key of a limit on everything together.
    #[inline(always)]
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.mix(self.salt)
    }

    /// An IPv4 address, or the first of a prefix.
    #[inline(always)]
    #[must_use]
    pub const fn v4(&self, address: AddressV4) -> u64 {
        self.mix(self.salt.wrapping_add(address.bits() as u64))
    }

    /// An IPv6 address, or the first of a prefix.
    #[inline(always)]
    #[must_use]
    pub const fn v6(&self, address: AddressV6) -> u64 {
        let (first, last) = address.halves();
        self.then(self.mix(self.salt.wrapping_add(first)), last)
    }

    /// A service at an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn service_v4(&self, address: AddressV4, protocol: u8, port: u16) -> u64 {
        let word = (address.bits() as u64) << 32 | (protocol as u64) << 16 | port as u64;
        self.mix(self.salt.wrapping_add(word))
    }

    /// A service at an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn service_v6(&self, address: AddressV6, protocol: u8, port: u16) -> u64 {
        self.then(self.v6(address), (protocol as u64) << 16 | port as u64)
    }

    /// A hash whose upper bits depend on all of a word's.
    #[inline(always)]
    const fn mix(&self, word: u64) -> u64 {
        let [first, second, third] = self.multipliers;
        let word = fold(word.wrapping_mul(first));
        let word = fold(word.wrapping_mul(second));
        word.wrapping_mul(third)
    }

    /// The hash of what hashed to `hash` and a further word.
    #[inline(always)]
    const fn then(&self, hash: u64, word: u64) -> u64 {
        self.mix(fold(hash).wrapping_add(word))
    }
}

#[inline(always)]
const fn fold(word: u64) -> u64 {
    word ^ word >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::limiter::Region;

    const REGION: Region = Region { first: 0, lines: 1 << 12 };

    fn v6(first: u64, last: u64) -> AddressV6 {
        AddressV6::from_halves(first, last)
    }

    /// How far counts are from even: about 1 for chance, in units of what chance makes of it.
    fn chi_square(counts: &[u64]) -> u64 {
        let sum: u64 = counts.iter().sum();
        let cells = counts.len() as u64;
        let squares: u64 = counts.iter().map(|count| count * count).sum();
        // 1,000 times the sum of squared differences over the mean, by each cell.
        squares * 1000 / sum - 1000 * sum / cells
    }

    fn spread(key: impl Fn(&KeyHasher, u32) -> u64) {
        for seed in 0..4 {
            let hasher = KeyHasher::new(seed, 0);
            let (mut lines, mut tags) = (vec![0; 1 << 12], vec![0; 1 << 12]);
            for number in 0..1 << 18 {
                let (line, tag) = REGION.place(key(&hasher, number));
                lines[line as usize] += 1;
                tags[usize::try_from(tag & 0xfff).expect("twelve bits")] += 1;
            }
            // The deviation of 4,096 cells is 22 in 1,000; a bijection may well be more even than chance.
            for (what, counts) in [("lines", lines), ("tags", tags)] {
                let deviation = chi_square(&counts);
                assert!(deviation < 1150, "{what}, seed {seed}: {deviation}");
            }
        }
    }

    #[test]
    fn neighbours_are_spread_over_lines_and_tags() {
        spread(|hasher, number| hasher.v4(AddressV4::from_bits(0x0a00_0000 + number)));
        spread(|hasher, number| hasher.v4(AddressV4::from_bits(number << 8)));
        spread(|hasher, number| hasher.v4(AddressV4::from_bits(number << 14)));
        spread(|hasher, number| hasher.v6(v6(0x2001_0db8_0000_0000, u64::from(number))));
        spread(|hasher, number| hasher.v6(v6(u64::from(number) << 40, 0)));
        spread(|hasher, number| hasher.v6(v6(u64::from(number) << 46, u64::from(number) << 46)));
        spread(|hasher, number| {
            let [_, protocol, high, low] = number.to_be_bytes();
            hasher.service_v4(AddressV4::from_bits(7), protocol, u16::from_be_bytes([high, low]))
        });
    }

    #[test]
    fn differences_that_pass_a_single_product_or_fold_do_not_meet() {
        let high = 1 << 63;
        let differences = [
            (high, 0),
            (0, high),
            (high, high),
            (high, high | 1 << 31),
            (high | 1 << 31, high),
            (1 << 31, high),
        ];
        for seed in 0..20_000 {
            let hasher = KeyHasher::new(seed, 0);
            let place = |first, last| REGION.place(hasher.v6(v6(first, last)));
            for (first, last) in differences {
                assert_ne!(place(0x2001_0db8, 5), place(0x2001_0db8 ^ first, 5 ^ last), "seed {seed}");
            }
        }
    }

    /// A pair that meets under one multiplication meets wherever else it is moved. Here a pair that meets in the line
    /// is moved, and meets again about as often as any other.
    #[test]
    fn a_pair_that_meets_says_nothing_about_pairs_as_far_apart() {
        let hasher = KeyHasher::new(1, 0);
        let small = Region { first: 0, lines: 256 };
        let line = |address: u32| small.place(hasher.v4(AddressV4::from_bits(address))).0;
        let distances = (1..100_000).filter(|distance| line(0) == line(*distance));
        let (mut tries, mut again) = (0, 0);
        for distance in distances {
            for moved in 1..200 {
                tries += 1;
                again += u32::from(
                    line(moved * 0x0101_0101) == line((moved * 0x0101_0101).wrapping_add(distance)),
                );
            }
        }
        assert!(tries > 50_000 && (tries / 280..tries / 235).contains(&again), "{again} of {tries}");
    }

    #[test]
    fn every_bit_of_a_key_counts() {
        let hasher = KeyHasher::new(3, 0);
        let of = |bits: u128, protocol: u8, port: u16| {
            let address = AddressV6::from_octets(bits.to_be_bytes());
            let narrow = AddressV4::from_octets([bits.to_be_bytes()[12], 2, 3, bits.to_be_bytes()[15]]);
            [
                hasher.v6(address),
                hasher.service_v6(address, protocol, port),
                hasher.v4(narrow),
                hasher.service_v4(narrow, protocol, port),
            ]
            .map(|hash| REGION.place(hash))
        };
        let base = 0x2001_0db8_0102_0304_0506_0708_090a_0b0c;
        let before = of(base, 6, 443);
        for bit in 0..128 {
            let after = of(base ^ 1 << bit, 6, 443);
            assert!(after[0] != before[0] && after[1] != before[1], "bit {bit}");
            let is_narrow = bit < 8 || (24..32).contains(&bit);
            assert_eq!((after[2] != before[2], after[3] != before[3]), (is_narrow, is_narrow), "bit {bit}");
        }
        for bit in 0..16 {
            let (port, protocol) = (of(base, 6, 443 ^ 1 << bit), of(base, 6 ^ 1 << (bit % 8), 443));
            assert!(
                [1, 3].iter().all(|kind| port[*kind] != before[*kind] && protocol[*kind] != before[*kind])
            );
        }
    }

    #[test]
    fn limits_and_kinds_of_keys_hash_apart() {
        let (one, two) = (KeyHasher::new(1, 0), KeyHasher::new(1, 1));
        let address = AddressV4::from_bits(80);
        let hashes = [
            one.total(),
            one.v4(address),
            one.v6(v6(0, 80)),
            one.v6(v6(80, 0)),
            one.service_v4(address, 6, 80),
            one.service_v4(address, 17, 80),
            one.service_v6(v6(0, 80), 6, 80),
            one.service_v6(v6(0, 80), 6, 443),
            two.total(),
            two.v4(address),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "{index}");
        }
    }
}
