//! Addresses and prefixes.
//!
//! An address is a number here, so that arithmetic on it is plain and the eBPF compiler can keep it in aligned words;
//! byte order is confined to the constructors.

/// An IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct AddressV4(u32);

impl AddressV4 {
    /// From the number whose most significant byte is the first octet.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// From octets in the order they are written.
    #[must_use]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(octets))
    }

    /// The number whose most significant byte is the first octet.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// An IPv6 address, in two halves, as eBPF has no 128-bit arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct AddressV6 {
    first: u64,
    last: u64,
}

impl AddressV6 {
    /// From the numbers that the first and the last eight octets stand for.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves(first: u64, last: u64) -> Self {
        Self { first, last }
    }

    /// From octets in the order they are written.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a u128")]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(octets);
        Self { first: (bits >> 64) as u64, last: bits as u64 }
    }

    /// The numbers that the first and the last eight octets stand for.
    #[inline(always)]
    #[must_use]
    pub const fn halves(self) -> (u64, u64) {
        (self.first, self.last)
    }
}

/// An IPv4 prefix: host bits are always zero. Prefixes are in order of their first address; of those with the same, the
/// wider goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixV4 {
    address: AddressV4,
    length: u8,
}

impl PrefixV4 {
    /// The prefix of `length` bits (0..=32) that `address` lies in; longer lengths count as 32.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low word of the mask is meant")]
    pub const fn containing(address: AddressV4, length: u8) -> Self {
        let length = if length > 32 { 32 } else { length };
        // In 64 bits, since a shift of a u32 by 32 is undefined.
        let mask = (0xffff_ffff_0000_0000_u64 >> length) as u32;
        Self { address: AddressV4(address.0 & mask), length }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> AddressV4 {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

/// An IPv6 prefix: host bits are always zero. Ordered as [`PrefixV4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixV6 {
    address: AddressV6,
    length: u8,
}

impl PrefixV6 {
    /// The prefix of `length` bits (0..=128) that `address` lies in; longer lengths count as 128.
    #[must_use]
    pub const fn containing(address: AddressV6, length: u8) -> Self {
        let (first, last) = match length {
            0 => (0, 0),
            1..=64 => (u64::MAX << (64 - length), 0),
            65..=127 => (u64::MAX, u64::MAX << (128 - length)),
            _ => (u64::MAX, u64::MAX),
        };
        let length = if length > 128 { 128 } else { length };
        Self { address: AddressV6 { first: address.first & first, last: address.last & last }, length }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> AddressV6 {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_at_every_ipv4_length() {
        for length in 0..=32 {
            let bits = PrefixV4::containing(AddressV4::from_octets([255; 4]), length).address().bits();
            assert_eq!(bits.count_ones(), u32::from(length));
            assert_eq!(bits.leading_ones(), u32::from(length));
        }
    }

    #[test]
    fn host_bits_are_cleared_at_every_ipv6_length() {
        for length in 0..=128 {
            let (first, last) =
                PrefixV6::containing(AddressV6::from_octets([255; 16]), length).address().halves();
            let bits = u128::from(first) << 64 | u128::from(last);
            assert_eq!(bits.count_ones(), u32::from(length));
            assert_eq!(bits.leading_ones(), u32::from(length));
        }
    }

    #[test]
    fn a_wider_prefix_goes_before_those_within_it() {
        let prefix = |octets, length| PrefixV4::containing(AddressV4::from_octets(octets), length);
        assert!(prefix([10, 0, 0, 0], 8) < prefix([10, 0, 0, 0], 32));
        assert!(prefix([10, 0, 0, 0], 8) < prefix([10, 0, 0, 1], 32));
        assert!(prefix([10, 0, 0, 0], 32) < prefix([11, 0, 0, 0], 8));
    }
}
