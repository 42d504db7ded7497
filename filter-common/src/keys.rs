//! Keys of the prefix tables: network-order bytes behind constructors, so byte order cannot leak.

/// An IPv4 prefix as a table key: host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct KeyV4 {
    length: u32,
    address: [u8; 4],
}

impl KeyV4 {
    /// The prefix of `length` bits (0..=32) that `address` lies in; longer lengths count as 32.
    #[inline(always)]
    #[must_use]
    pub const fn containing(address: [u8; 4], length: u32) -> Self {
        // A shift by 32 is undefined for u32, so the mask is made in 64 bits.
        let mask = (0xffff_ffff_0000_0000_u64 >> if length > 32 { 32 } else { length }) as u32;
        Self { length, address: (u32::from_be_bytes(address) & mask).to_be_bytes() }
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// The network address.
    #[must_use]
    pub const fn address(self) -> [u8; 4] {
        self.address
    }
}

/// An IPv6 prefix as a table key: host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct KeyV6 {
    length: u32,
    address: [u8; 16],
}

impl KeyV6 {
    /// The prefix of `length` bits (0..=128) that `address` lies in; longer lengths count as 128.
    #[inline(always)]
    #[must_use]
    pub const fn containing(address: [u8; 16], length: u32) -> Self {
        // Two halves in place of a u128: eBPF has no 128-bit shifts.
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]) & leading_ones(length);
        let low =
            u64::from_be_bytes([i, j, k, l, m, n, o, p]) & leading_ones(length.saturating_sub(64));
        let [a, b, c, d, e, f, g, h] = high.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = low.to_be_bytes();
        Self { length, address: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] }
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// The network address.
    #[must_use]
    pub const fn address(self) -> [u8; 16] {
        self.address
    }
}

/// A word whose `bits` highest bits are set; all of them from 64 on.
#[inline(always)]
const fn leading_ones(bits: u32) -> u64 {
    if bits == 0 {
        0
    } else if bits >= 64 {
        u64::MAX
    } else {
        u64::MAX << (64 - bits)
    }
}

const _: () = assert!(size_of::<KeyV4>() == 8);
const _: () = assert!(size_of::<KeyV6>() == 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_at_every_ipv4_length() {
        for length in 0..=32 {
            let key = KeyV4::containing([255; 4], length);
            assert_eq!(u32::from_be_bytes(key.address()).count_ones(), length);
            assert_eq!(u32::from_be_bytes(key.address()).leading_ones(), length);
        }
    }

    #[test]
    fn host_bits_are_cleared_at_every_ipv6_length() {
        for length in 0..=128 {
            let key = KeyV6::containing([255; 16], length);
            assert_eq!(u128::from_be_bytes(key.address()).count_ones(), length);
            assert_eq!(u128::from_be_bytes(key.address()).leading_ones(), length);
        }
    }
}
