//! The prefix table: longest-prefix match over exact look-ups.
//!
//! A table is a store of exact prefixes ([`PrefixStore`]; in the kernel a hash map) and a bit for each prefix length
//! in use ([`Lengths`]). A search tries the lengths in use, longest first, so it costs one exact look-up for each:
//! one where all entries are single addresses, which is what block lists mostly are; none in an empty table.
//!
//! Trusts its writer to keep the order that a concurrent search needs: a length's bit is set before its first prefix
//! is told to be there and cleared only after the last is gone.

#[cfg(any(test, feature = "std"))]
mod host;

#[cfg(any(test, feature = "std"))]
pub use host::HostTables;

use crate::keys::{AddressV4, AddressV6, KeyV4, KeyV6};

/// A key that stands for one prefix.
pub trait Prefix: Copy {
    /// An address of the family.
    type Address: Copy;
    /// Bits in an address.
    const BITS: u32;
    /// The lengths in use in this family.
    fn lengths(lengths: &Lengths) -> &[u64];
    /// The prefix of `address` whose length the bit `bit` of word `word` stands for. Free of branches once the word
    /// is known, which keeps the verifier's count of paths down.
    fn at(address: &Self::Address, word: usize, bit: u32) -> Self;
    /// Its length in bits.
    fn length(self) -> u32;
}

impl Prefix for KeyV4 {
    type Address = AddressV4;
    const BITS: u32 = 32;

    #[inline(always)]
    fn lengths(lengths: &Lengths) -> &[u64] {
        &lengths.v4
    }

    #[inline(always)]
    fn at(address: &AddressV4, _word: usize, bit: u32) -> Self {
        Self::containing(*address, Self::BITS.wrapping_sub(bit))
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.length()
    }
}

impl Prefix for KeyV6 {
    type Address = AddressV6;
    const BITS: u32 = 128;

    #[inline(always)]
    fn lengths(lengths: &Lengths) -> &[u64] {
        &lengths.v6
    }

    #[inline(always)]
    fn at(address: &AddressV6, word: usize, bit: u32) -> Self {
        let mask = u64::MAX << (bit & 63);
        match word {
            0 => Self::masked(*address, u64::MAX, mask, 128 - bit),
            1 => Self::masked(*address, mask, 0, 64 - bit),
            _ => Self::masked(*address, 0, 0, 0),
        }
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.length()
    }
}

/// Exact look-up of prefixes.
pub trait PrefixStore<K> {
    /// The set that `key` belongs to, if it is there.
    fn find(&self, key: &K) -> Option<u32>;
}

/// Which prefix lengths one table holds: bit `i` stands for the length `BITS - i`, so that the lowest set bit is the
/// longest prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lengths {
    /// IPv4: 33 lengths.
    pub v4: [u64; 1],
    /// IPv6: 129 lengths.
    pub v6: [u64; 3],
}

/// The lengths of every table; the value of the `LENGTHS` map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LengthTable {
    /// Blocked sources.
    pub block: Lengths,
    /// Allowed sources.
    pub allow_source: Lengths,
    /// Allowed destinations.
    pub allow_destination: Lengths,
}

const _: () = assert!(size_of::<LengthTable>() == 96);

/// Sets or clears the bit of `length` in a family of `bits` bits; lengths out of range are left alone.
pub fn mark(words: &mut [u64], bits: u32, length: u32, present: bool) {
    let Some(index) = bits.checked_sub(length) else { return };
    if let Some(word) = words.get_mut(index as usize / 64) {
        let bit = 1 << (index % 64);
        if present { *word |= bit } else { *word &= !bit }
    }
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Length of the prefix, in bits.
    pub length: u32,
    /// Its set.
    pub set: u32,
}

/// The longest prefix in `store` that covers `address`.
#[inline(always)]
pub fn longest_match<K: Prefix, S: PrefixStore<K>>(
    store: &S,
    lengths: &Lengths,
    address: &K::Address,
) -> Option<Match> {
    longest_match_within(store, lengths, address, |_| true)
}

/// The longest prefix in `store` that covers `address` and whose length `admits` accepts.
#[inline(always)]
pub fn longest_match_within<K: Prefix, S: PrefixStore<K>>(
    store: &S,
    lengths: &Lengths,
    address: &K::Address,
    admits: impl Fn(u32) -> bool,
) -> Option<Match> {
    for (index, word) in K::lengths(lengths).iter().enumerate() {
        let mut rest = *word;
        // The bound is what a word holds; it is there for the verifier.
        for _ in 0..u64::BITS {
            if rest == 0 {
                break;
            }
            let key = K::at(address, index, rest.trailing_zeros());
            rest &= rest - 1;
            if admits(key.length())
                && let Some(set) = store.find(&key)
            {
                return Some(Match { length: key.length(), set });
            }
        }
    }
    None
}

/// The questions that the stages ask about an address of one family.
pub trait Tables<A> {
    /// Is this source allowed?
    fn allows_source(&self, source: &A) -> bool;
    /// Is this destination allowed?
    fn allows_destination(&self, destination: &A) -> bool;
    /// Is this source blocked?
    fn blocks(&self, source: &A) -> bool;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    struct Plain<K>(HashMap<K, u32>);

    impl<K: Eq + std::hash::Hash> PrefixStore<K> for Plain<K> {
        fn find(&self, key: &K) -> Option<u32> {
            self.0.get(key).copied()
        }
    }

    /// Addresses that share long prefixes, so that nested entries are common.
    fn near_address() -> impl Strategy<Value = u128> {
        (0..=128_u32, any::<u128>()).prop_map(|(shared, noise)| {
            let base = 0x2001_0db8_1234_5678_9abc_def0_1234_5678_u128;
            base ^ noise.checked_shr(shared).unwrap_or(0)
        })
    }

    fn covers(prefix: u128, length: u32, address: u128, bits: u32) -> bool {
        (prefix ^ address).checked_shr(bits - length).unwrap_or(0) == 0
    }

    proptest! {
        #[test]
        fn the_longest_covering_ipv6_prefix_is_found(
            entries in prop::collection::vec((near_address(), 0..=128_u32), 0..40),
            address in near_address(),
        ) {
            let mut lengths = Lengths::default();
            let mut store = HashMap::new();
            for (set, (prefix, length)) in entries.iter().enumerate() {
                mark(&mut lengths.v6, 128, *length, true);
                let key = KeyV6::containing(AddressV6::from_octets(prefix.to_be_bytes()), *length);
                store.insert(key, u32::try_from(set).expect("few entries"));
            }
            let found = longest_match::<KeyV6, _>(
                &Plain(store), &lengths, &AddressV6::from_octets(address.to_be_bytes()));
            let longest = entries.iter().map(|(prefix, length)| (*length, *prefix))
                .filter(|(length, prefix)| covers(*prefix, *length, address, 128)).map(|(length, _)| length).max();
            prop_assert_eq!(found.map(|found| found.length), longest);
        }

        #[test]
        fn the_longest_covering_ipv4_prefix_is_found(
            entries in prop::collection::vec((near_address(), 0..=32_u32), 0..40),
            address in near_address(),
        ) {
            let low = |bits: u128| u32::try_from(bits & 0xffff_ffff).expect("masked");
            let mut lengths = Lengths::default();
            let mut store = HashMap::new();
            for (prefix, length) in &entries {
                mark(&mut lengths.v4, 32, *length, true);
                store.insert(KeyV4::containing(AddressV4::from_bits(low(*prefix)), *length), *length);
            }
            let found = longest_match::<KeyV4, _>(&Plain(store), &lengths, &AddressV4::from_bits(low(address)));
            let longest = entries.iter()
                .filter(|(prefix, length)| covers(low(*prefix).into(), *length, low(address).into(), 32))
                .map(|(_, length)| *length).max();
            prop_assert_eq!(found.map(|found| found.length), longest);
            prop_assert_eq!(found.map(|found| found.set), longest);
        }
    }

    #[test]
    fn an_unmarked_length_is_not_searched() {
        let mut lengths = Lengths::default();
        let key = KeyV4::containing(AddressV4::from_bits(1), 32);
        let store = Plain(HashMap::from([(key, 7)]));
        let search = |lengths: &Lengths| longest_match::<KeyV4, _>(&store, lengths, &AddressV4::from_bits(1));
        assert_eq!(search(&lengths), None);
        mark(&mut lengths.v4, 32, 32, true);
        assert_eq!(search(&lengths), Some(Match { length: 32, set: 7 }));
        mark(&mut lengths.v4, 32, 32, false);
        assert_eq!(search(&lengths), None);
    }
}
