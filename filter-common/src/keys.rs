//! Addresses and the keys of the prefix tables.
//!
//! An address is a number here, so that arithmetic on it is plain and the eBPF compiler can keep it in aligned words;
//! byte order is confined to the constructors. A key holds network-order bytes, so that a dump of a table reads as
//! addresses.

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

/// An IPv4 prefix as a table key: host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct KeyV4 {
    length: u32,
    /// In network order.
    address: u32,
}

impl KeyV4 {
    /// The prefix of `length` bits (0..=32) that `address` lies in; longer lengths count as 32.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low word of the mask is meant")]
    pub const fn containing(address: AddressV4, length: u32) -> Self {
        let length = if length > 32 { 32 } else { length };
        // In 64 bits, since a shift of a u32 by 32 is undefined.
        let mask = (0xffff_ffff_0000_0000_u64 >> length) as u32;
        Self { length, address: (address.bits() & mask).to_be() }
    }

    /// The prefix length in bits.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// The octets of the network address, in the order they are written.
    #[must_use]
    pub const fn octets(self) -> [u8; 4] {
        self.address.to_ne_bytes()
    }
}

/// An IPv6 prefix as a table key: host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct KeyV6 {
    length: u32,
    /// Explicit padding, always zero: a hash map compares every byte of a key.
    reserved: u32,
    /// In network order.
    address: [u64; 2],
}

impl KeyV6 {
    /// The prefix of `length` bits (0..=128) that `address` lies in; longer lengths count as 128.
    #[must_use]
    pub const fn containing(address: AddressV6, length: u32) -> Self {
        match length {
            0 => Self::masked(address, 0, 0, 0),
            1..=64 => Self::masked(address, u64::MAX << (64 - length), 0, length),
            65..=128 => Self::masked(address, u64::MAX, u64::MAX << (128 - length), length),
            _ => Self::masked(address, u64::MAX, u64::MAX, 128),
        }
    }

    /// The prefix of `length` bits, whose mask is `first` and `last`.
    #[inline(always)]
    pub(crate) const fn masked(address: AddressV6, first: u64, last: u64, length: u32) -> Self {
        let (high, low) = address.halves();
        Self { length, reserved: 0, address: [(high & first).to_be(), (low & last).to_be()] }
    }

    /// The prefix length in bits.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// The octets of the network address, in the order they are written.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let [first, last] = self.address;
        let bits = (u64::from_be(first) as u128) << 64 | u64::from_be(last) as u128;
        bits.to_be_bytes()
    }
}

const _: () = assert!(size_of::<KeyV4>() == 8);
const _: () = assert!(size_of::<KeyV6>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_at_every_ipv4_length() {
        for length in 0..=32 {
            let key = KeyV4::containing(AddressV4::from_octets([255; 4]), length);
            assert_eq!(u32::from_be_bytes(key.octets()).count_ones(), length);
            assert_eq!(u32::from_be_bytes(key.octets()).leading_ones(), length);
        }
    }

    #[test]
    fn host_bits_are_cleared_at_every_ipv6_length() {
        for length in 0..=128 {
            let key = KeyV6::containing(AddressV6::from_octets([255; 16]), length);
            assert_eq!(u128::from_be_bytes(key.octets()).count_ones(), length);
            assert_eq!(u128::from_be_bytes(key.octets()).leading_ones(), length);
        }
    }

    #[test]
    fn a_key_of_full_length_holds_the_octets_as_written() {
        let octets = *b"\x20\x01\x0d\xb8\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b";
        assert_eq!(KeyV6::containing(AddressV6::from_octets(octets), 128).octets(), octets);
        assert_eq!(KeyV4::containing(AddressV4::from_octets([192, 0, 2, 7]), 32).octets(), [192, 0, 2, 7]);
    }
}
