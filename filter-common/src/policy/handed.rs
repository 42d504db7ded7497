//! The headers of an IPv4 packet as numbers that a function of the program is handed in registers.
//!
//! A function that is verified apart is given numbers or addresses, five at most. What it is given by way of a map is written,
//! and read again a moment later, which costs several times what shifting it into place does.

use super::observed::Family;
use crate::keys::AddressV4;
use crate::parse::{Addresses, Fragment, Headers, L4, L4Kind, Layers};

/// An IPv4 packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The source in the lower half, the destination in the upper.
    pub addresses: u64,
    /// The ports in the lower half, as they are in the header; the length of the frame in the upper.
    pub ports: u64,
    /// From the lowest bit on: 16 of the offset of the IP header, 16 of that of what is behind it, a byte each of protocol,
    /// flags of TCP, which fragment it is, and which header is behind IP's.
    pub layers: u64,
}

impl Handed {
    /// Those of an IPv4 packet, and the length of its frame. Offsets are below 65,536: at most four tags and one header are
    /// before them.
    #[inline(always)]
    pub fn of<A: Family>(headers: &Headers<A>, frame_length: usize) -> Self {
        let Headers { addresses, protocol, fragment, l4, layers } = headers;
        let word = |address: A| address.words()[0] & 0xffff_ffff;
        let above = |number: u32, bits: u32| u64::from(number) << bits;
        Self {
            addresses: word(addresses.source) | word(addresses.destination) << 32,
            ports: u64::from(l4.port_word()) | (frame_length as u64) << 32,
            layers: u64::from(layers.network & 0xffff)
                | above(layers.transport & 0xffff, 16)
                | above((*protocol).into(), 32)
                | above(l4.flags().into(), 40)
                | above(*fragment as u32, 48)
                | above(l4.kind as u32, 56),
        }
    }

    /// The headers.
    #[inline(always)]
    #[must_use]
    pub const fn headers(self) -> Headers<AddressV4> {
        let fragment = match self.fragment() {
            0 => Fragment::None,
            1 => Fragment::First,
            _ => Fragment::Later,
        };
        let kind = match self.kind() {
            0 => L4Kind::None,
            1 => L4Kind::Tcp,
            _ => L4Kind::Udp,
        };
        Headers {
            addresses: Addresses { source: self.source(), destination: self.destination() },
            protocol: (self.protocol() & 0xff) as u8,
            fragment,
            l4: L4::from_words(kind, self.port_word(), self.flags()),
            layers: Layers { network: self.network(), transport: self.transport(), extensions: 0 },
        }
    }

    /// The source.
    #[inline(always)]
    #[must_use]
    pub const fn source(self) -> AddressV4 {
        AddressV4::from_bits(bits(self.addresses, 0, 0xffff_ffff))
    }

    /// The destination.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> AddressV4 {
        AddressV4::from_bits(bits(self.addresses, 32, 0xffff_ffff))
    }

    /// The ports, as [`L4::port_word`](crate::parse::L4::port_word) has them.
    #[inline(always)]
    #[must_use]
    pub const fn port_word(self) -> u32 {
        bits(self.ports, 0, 0xffff_ffff)
    }

    /// The offset of the IP header.
    #[inline(always)]
    #[must_use]
    pub const fn network(self) -> u32 {
        bits(self.layers, 0, 0xffff)
    }

    /// The offset of what is behind it.
    #[inline(always)]
    #[must_use]
    pub const fn transport(self) -> u32 {
        bits(self.layers, 16, 0xffff)
    }

    /// The protocol.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(self) -> u32 {
        bits(self.layers, 32, 0xff)
    }

    /// The flags of TCP; else zero.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u32 {
        bits(self.layers, 40, 0xff)
    }

    /// The number of its [`Fragment`].
    #[inline(always)]
    #[must_use]
    pub const fn fragment(self) -> u32 {
        bits(self.layers, 48, 0xff)
    }

    /// The number of its [`L4Kind`].
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u32 {
        bits(self.layers, 56, 0xff)
    }

    /// The length of the frame.
    #[inline(always)]
    #[must_use]
    pub const fn frame_length(self) -> usize {
        (self.ports >> 32) as usize
    }
}

/// The bits from one place on, as many as the mask has.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked")]
const fn bits(number: u64, from: u32, mask: u32) -> u32 {
    (number >> from) as u32 & mask
}

const _: () = assert!(Fragment::First as u32 == 1 && Fragment::Later as u32 == 2);
const _: () = assert!(L4Kind::Tcp as u32 == 1 && L4Kind::Udp as u32 == 2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::Ports;

    fn headers() -> impl Strategy<Value = Headers<AddressV4>> {
        let fragment = prop_oneof![Just(Fragment::None), Just(Fragment::First), Just(Fragment::Later)];
        let ports = any::<(u16, u16)>().prop_map(|(source, destination)| Ports { source, destination });
        let l4 = (0..3, ports, any::<u8>()).prop_map(|(kind, ports, flags)| match kind {
            0 => L4::NONE,
            1 => L4::tcp(ports, flags),
            _ => L4::udp(ports),
        });
        let offsets = any::<(u16, u16)>();
        (any::<(u32, u32, u8)>(), fragment, l4, offsets).prop_map(|(numbers, fragment, l4, offsets)| {
            let (source, destination, protocol) = numbers;
            let [source, destination] = [source, destination].map(AddressV4::from_bits);
            let layers = Layers { network: offsets.0.into(), transport: offsets.1.into(), extensions: 0 };
            Headers { addresses: Addresses { source, destination }, protocol, fragment, l4, layers }
        })
    }

    proptest! {
        #[test]
        fn headers_come_out_as_they_were_put_in(headers in headers(), length: u32) {
            let handed = Handed::of(&headers, length as usize);
            prop_assert_eq!(handed.headers(), headers);
            prop_assert_eq!(handed.frame_length(), length as usize);
        }
    }
}
