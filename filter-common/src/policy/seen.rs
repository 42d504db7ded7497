//! What an IP packet's headers say of the fields that rules look at, each where it is asked for.
//!
//! Decides nothing. Trusts the parser, as [`observed`](super::observed) does, which takes note of all of it for functions
//! that are verified apart. Costs a read of the packet for those fields that the parser did not come by.

use core::marker::PhantomData;

use super::classifier::field::{ABSENT, Field, PAYLOAD};
use super::handed::Handed;
use super::observed::{Family, Fixed, family};
use crate::keys::AddressV4;
use crate::parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, Headers, L4Kind, PacketRead, is_tag, protocol};

/// Where Ethernet addresses and the outermost tag lie in a frame.
const ETHER_DESTINATION: usize = 0;
const ETHER_SOURCE: usize = 6;
const ETHER_TYPE: usize = 12;
const VLAN_TAG: usize = 14;
/// Bits of a tag that are its id.
const VLAN_ID: u16 = 0x0fff;
const MOST_LENGTH: u32 = 65_535;
/// What the fixed header is read for: what it says, and where the packet ends.
const OF_FIXED: u32 = PAYLOAD
    | Field::Ttl.bit()
    | Field::Dscp.bit()
    | Field::Length.bit()
    | Field::IcmpType.bit()
    | Field::IcmpCode.bit()
    | Field::Icmpv6Type.bit()
    | Field::Icmpv6Code.bit();

/// An IP packet, as its headers tell of it. Numbers alone: of an enum made of a number the verifier walks each variant for
/// itself, through all that follows.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a, P, A> {
    packet: &'a P,
    family: PhantomData<A>,
    /// The number of a [`Fragment`], and IPv6 extension headers.
    fragment: u32,
    extensions: u32,
    protocol: u32,
    /// The number of an [`L4Kind`], what [`L4::port_word`](crate::parse::L4::port_word) says, and flags of TCP.
    kind: u32,
    ports: u32,
    flags: u32,
    /// The offset of what is behind the IP headers.
    transport: u32,
    /// The offset of what is behind the packet.
    end: u32,
    fixed: Fixed,
}

impl<'a, P: PacketRead, A: Family> Seen<'a, P, A> {
    /// A packet that is asked for the fields in `used`.
    #[inline(always)]
    pub fn of(packet: &'a P, headers: &Headers<A>, used: u32) -> Self {
        let Headers { protocol, fragment, l4, layers, .. } = headers;
        let nothing = Fixed { ttl: 0, dscp: 0, length: 0 };
        let fixed = fixed::<P, A>(packet, layers.network, used).unwrap_or(nothing);
        Self {
            packet,
            family: PhantomData,
            fragment: *fragment as u32,
            extensions: layers.extensions,
            protocol: (*protocol).into(),
            kind: l4.kind as u32,
            ports: l4.port_word(),
            flags: l4.flags().into(),
            transport: layers.transport,
            end: layers.network + fixed.length,
            fixed,
        }
    }

    /// The offset of what is behind the packet, where `used` has it.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.end
    }

    /// Family, fragment state and extension headers.
    #[inline(always)]
    pub fn shape(&self) -> u32 {
        A::shape(self.fragment, self.extensions)
    }

    /// The EtherType behind all tags.
    #[inline(always)]
    pub fn ether_type(&self) -> u32 {
        u32::from(if A::NUMBER == family::V4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 })
    }

    /// The id of the outermost tag.
    #[inline(always)]
    pub fn vlan(&self) -> u32 {
        vlan(self.packet)
    }

    /// The protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> u32 {
        self.protocol
    }

    /// The flags of TCP.
    #[inline(always)]
    pub const fn tcp_flags(&self) -> u32 {
        or_absent(self.kind == L4Kind::Tcp as u32, self.flags)
    }

    /// The type of an ICMP packet.
    #[inline(always)]
    pub fn icmp_type(&self) -> u32 {
        self.message_of(protocol::ICMP).map_or(ABSENT, |word| word >> 8)
    }

    /// The code of an ICMP packet.
    #[inline(always)]
    pub fn icmp_code(&self) -> u32 {
        self.message_of(protocol::ICMP).map_or(ABSENT, |word| word & 0xff)
    }

    /// The type of an ICMPv6 packet.
    #[inline(always)]
    pub fn icmpv6_type(&self) -> u32 {
        self.message_of(protocol::ICMPV6).map_or(ABSENT, |word| word >> 8)
    }

    /// The code of an ICMPv6 packet.
    #[inline(always)]
    pub fn icmpv6_code(&self) -> u32 {
        self.message_of(protocol::ICMPV6).map_or(ABSENT, |word| word & 0xff)
    }

    /// TTL or hop limit.
    #[inline(always)]
    pub const fn ttl(&self) -> u32 {
        self.fixed.ttl
    }

    /// The differentiated services code point.
    #[inline(always)]
    pub const fn dscp(&self) -> u32 {
        self.fixed.dscp
    }

    /// Bytes of the packet.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.fixed.length.min(MOST_LENGTH)
    }

    /// The source port.
    #[inline(always)]
    pub const fn source_port(&self) -> u32 {
        or_absent(self.kind != L4Kind::None as u32, self.ports >> 16)
    }

    /// The destination port.
    #[inline(always)]
    pub const fn destination_port(&self) -> u32 {
        or_absent(self.kind != L4Kind::None as u32, self.ports & 0xffff)
    }

    /// Type and code of a control message, where the protocol is the family's own.
    #[inline(always)]
    fn message_of(&self, ours: u8) -> Option<u32> {
        let is_one = A::ICMP == ours && self.protocol == ours.into();
        if !is_one
            || self.fragment == Fragment::Later as u32
            || u64::from(self.transport) + 2 > u64::from(self.end)
        {
            return None;
        }
        self.packet.read::<u16>(self.transport as usize).map(u32::from)
    }
}

impl<'a, P: PacketRead> Seen<'a, P, AddressV4> {
    /// An IPv4 packet whose headers are handed on. `None` where its fixed header cannot be read, and the parser has read it:
    /// to go on with zeros, as [`Self::of`] does, would have all that follows verified once more with them.
    #[inline(always)]
    pub fn of_handed(packet: &'a P, handed: Handed, used: u32) -> Option<Self> {
        let network = handed.network();
        let fixed = fixed::<P, AddressV4>(packet, network, used)?;
        Some(Self {
            packet,
            family: PhantomData,
            fragment: handed.fragment(),
            extensions: 0,
            protocol: handed.protocol(),
            kind: handed.kind(),
            ports: handed.port_word(),
            flags: handed.flags(),
            transport: handed.transport(),
            end: network + fixed.length,
            fixed,
        })
    }
}

/// The fixed header, as far as one of the fields in `used` wants it.
#[inline(always)]
fn fixed<P: PacketRead, A: Family>(packet: &P, network: u32, used: u32) -> Option<Fixed> {
    if used & OF_FIXED == 0 {
        return Some(Fixed { ttl: 0, dscp: 0, length: 0 });
    }
    A::fixed(packet, network as usize)
}

#[inline(always)]
const fn or_absent(is_there: bool, value: u32) -> u32 {
    if is_there { value } else { ABSENT }
}

/// The id of a frame's outermost tag.
#[inline(always)]
pub fn vlan<P: PacketRead>(packet: &P) -> u32 {
    match packet.read::<u16>(ETHER_TYPE) {
        Some(outermost) if is_tag(outermost) => {
            packet.read::<u16>(VLAN_TAG).map_or(ABSENT, |tag| u32::from(tag & VLAN_ID))
        }
        _ => ABSENT,
    }
}

/// A frame's Ethernet source, its first octet the highest of six bytes.
#[inline(always)]
pub fn ether_source<P: PacketRead>(packet: &P) -> u64 {
    packet.read::<u64>(ETHER_SOURCE).unwrap_or(0) >> 16
}

/// A frame's Ethernet destination, likewise.
#[inline(always)]
pub fn ether_destination<P: PacketRead>(packet: &P) -> u64 {
    packet.read::<u64>(ETHER_DESTINATION).unwrap_or(0) >> 16
}
