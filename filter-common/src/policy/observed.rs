//! What rules and limits are told of a packet: read from it once, behind the stages that need less.
//!
//! Decides nothing. Trusts the parser: lengths and offsets were checked against the frame, and reads are checked again, as
//! all are. Costs no map look-up, and nothing for fields that no rule uses: which are in use is read-only data of the
//! program, so the verifier prunes the others.
//!
//! It is plain numbers at fixed places, so that the program can keep it in a map between functions that are verified
//! apart. Fields that are not in use keep what they had; nobody asks for them.

use super::asked::{self, AskedKey};
use super::claimed::{NOT_NOTED, NOTED};
use super::classifier::field::{
    ABSENT, ASKED, CLAIMED, DEFENDS, FIELDS, Field, KEYS, PAYLOAD, shape_v4, shape_v6,
};
use super::seen::{self, Seen};
use crate::keys::{AddressV4, AddressV6};
use crate::parse::{Fragment, Headers, L4Kind, PacketRead, ether_type, protocol};

#[cfg(test)]
mod tests;

/// Which IP a packet is.
pub mod family {
    /// None.
    pub const NONE: u32 = 0;
    /// IPv4.
    pub const V4: u32 = 4;
    /// IPv6.
    pub const V6: u32 = 6;
}

/// Where the byte with TCP's data offset lies in its header, and the length of UDP's.
const TCP_DATA_OFFSET: usize = 12;
const UDP_HEADER: u32 = 8;

/// A packet, as rules and limits see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Observed {
    /// IP source: an IPv4 address is the lower half of the first word.
    pub source: [u64; 2],
    /// IP destination, likewise.
    pub destination: [u64; 2],
    /// Ethernet source, its first octet the highest of six bytes.
    pub ether_source: u64,
    /// Ethernet destination.
    pub ether_destination: u64,
    /// One of [`family`].
    pub family: u32,
    /// The protocol, in IPv6 behind all extension headers; above its byte the number of the [`L4Kind`], that of none where there
    /// are no ports.
    pub protocol: u32,
    /// The ports as in the header; 0 without ports.
    pub ports: u32,
    /// Bytes of the frame.
    pub bytes: u32,
    /// Offset of the payload in the frame; [`NO_PAYLOAD`] where there is none to look at.
    pub payload: u32,
    /// Offset of the end of the IP packet in the frame.
    pub end: u32,
    /// By [`Field`]: see [`Self::value`].
    pub values: [u32; FIELDS],
    /// Where a defence wants it: the offset of the IP header in the lower half, that of what is behind it in the upper.
    pub headers: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// What it answers.
    pub asked: AskedKey,
}

/// The offset of what is not there.
pub const NO_PAYLOAD: u32 = u32::MAX;

const _: () = assert!(size_of::<Observed>() == 48 + 24 + FIELDS * 4 + 8 + size_of::<AskedKey>());

/// The parts of an IP header that differ between families.
pub trait Family: Copy {
    /// One of [`family`].
    const NUMBER: u32;
    /// Its protocol of control messages.
    const ICMP: u8;
    /// The type of its echo request.
    const ECHO_REQUEST: u16;
    /// The type of its echo reply.
    const ECHO_REPLY: u16;
    /// Type and code of the error that a port is closed.
    const PORT_UNREACHABLE: u16;
    /// The address as [`Observed`] has it.
    fn words(self) -> [u64; 2];
    /// The value of [`Field::Shape`] by the number of the [`Fragment`] and IPv6 extension headers.
    fn shape(fragment: u32, extensions: u32) -> u32;
    /// What the fixed header at `network` says; `None` past the end of the frame.
    fn fixed<P: PacketRead>(packet: &P, network: usize) -> Option<Fixed>;
    /// Whether a control message of that type quotes a packet.
    fn is_error(message: u16) -> bool;
    /// What a quoted header at `network` says; `None` past the end of the frame, and of what has no ports.
    fn quoted<P: PacketRead>(packet: &P, network: usize) -> Option<Quoted>;
}

/// A packet that a control message quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted {
    /// Who it was for, as [`Observed`] has addresses.
    pub destination: [u64; 2],
    /// What it carried; of IPv6 what follows the fixed header.
    pub protocol: u8,
    /// Offset in the frame of what it carried.
    pub transport: u32,
}

/// What both families have in their fixed headers.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// TTL or hop limit.
    pub ttl: u32,
    /// The differentiated services code point.
    pub dscp: u32,
    /// Bytes of the packet from its header on.
    pub length: u32,
}

impl Family for AddressV4 {
    const NUMBER: u32 = family::V4;
    const ICMP: u8 = protocol::ICMP;
    const ECHO_REQUEST: u16 = 8;
    const ECHO_REPLY: u16 = 0;
    const PORT_UNREACHABLE: u16 = 0x0303;

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [self.bits() as u64, 0]
    }

    #[inline(always)]
    fn shape(fragment: u32, _: u32) -> u32 {
        shape_v4(Fragment::None) | fragment << 8
    }

    #[inline(always)]
    fn fixed<P: PacketRead>(packet: &P, network: usize) -> Option<Fixed> {
        // From the type of service to the TTL: a read of a packet is eight instructions.
        let word: u64 = packet.read(network + 1)?;
        Some(Fixed {
            ttl: (word & 0xff) as u32,
            dscp: (word >> 58) as u32,
            length: (word >> 40 & 0xffff) as u32,
        })
    }

    #[inline(always)]
    fn is_error(message: u16) -> bool {
        matches!(message, 3..=5 | 11 | 12)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
    fn quoted<P: PacketRead>(packet: &P, network: usize) -> Option<Quoted> {
        const OFFSET: u16 = 0x1fff;
        let first: u16 = packet.read(network)?;
        let fragment: u16 = packet.read(network + 6)?;
        if first >> 12 != 4 || fragment & OFFSET != 0 {
            return None;
        }
        let carried: u16 = packet.read(network + 8)?;
        let destination: u32 = packet.read(network + 16)?;
        Some(Quoted {
            destination: [destination.into(), 0],
            protocol: (carried & 0xff) as u8,
            transport: network as u32 + u32::from(first >> 8 & 0xf) * 4,
        })
    }
}

impl Family for AddressV6 {
    const NUMBER: u32 = family::V6;
    const ICMP: u8 = protocol::ICMPV6;
    const ECHO_REQUEST: u16 = 128;
    const ECHO_REPLY: u16 = 129;
    const PORT_UNREACHABLE: u16 = 0x0104;

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        let (first, last) = self.halves();
        [first, last]
    }

    #[inline(always)]
    fn shape(fragment: u32, extensions: u32) -> u32 {
        shape_v6(Fragment::None, (extensions & 0xff) as u8) | fragment << 8
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked, and frames are far below 4 GiB")]
    fn fixed<P: PacketRead>(packet: &P, network: usize) -> Option<Fixed> {
        const HEADER: u32 = 40;
        let word: u64 = packet.read(network)?;
        let payload = (word >> 16 & 0xffff) as u32;
        let jumbo = payload == 0 && (word >> 8 & 0xff) as u8 == protocol::HOP_BY_HOP;
        let rest = packet.frame_length().saturating_sub(network) as u32;
        Some(Fixed {
            ttl: (word & 0xff) as u32,
            dscp: (word >> 54 & 0x3f) as u32,
            length: if jumbo { rest } else { HEADER + payload },
        })
    }

    #[inline(always)]
    fn is_error(message: u16) -> bool {
        matches!(message, 1..=4)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
    fn quoted<P: PacketRead>(packet: &P, network: usize) -> Option<Quoted> {
        let first: u16 = packet.read(network)?;
        let carried: u16 = packet.read(network + 6)?;
        let (high, low): (u64, u64) = (packet.read(network + 24)?, packet.read(network + 32)?);
        let quoted = Quoted {
            destination: [high, low],
            protocol: (carried >> 8) as u8,
            transport: network as u32 + 40,
        };
        (first >> 12 == 6).then_some(quoted)
    }
}

impl Observed {
    /// Of no packet.
    pub const NONE: Self = Self {
        source: [0; 2],
        destination: [0; 2],
        ether_source: 0,
        ether_destination: 0,
        family: family::NONE,
        protocol: 0,
        ports: 0,
        bytes: 0,
        payload: NO_PAYLOAD,
        end: 0,
        values: [ABSENT; FIELDS],
        headers: 0,
        reserved: 0,
        asked: AskedKey::NONE,
    };

    /// The value of a field that is in use and not found by a search.
    #[inline(always)]
    #[must_use]
    pub const fn value(&self, field: Field) -> u32 {
        self.values[field as usize]
    }

    /// The offsets of the IP header and of what is behind it, where a defence wants them.
    #[inline(always)]
    #[must_use]
    pub const fn offsets(&self) -> (u32, u32) {
        (self.headers & 0xffff, self.headers >> 16)
    }

    /// Whether it is no fragment and has no IPv6 extension headers; where [`Field::Shape`] is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        let shape = self.value(Field::Shape);
        if self.family == family::V4 {
            shape == shape_v4(Fragment::None)
        } else {
            shape == shape_v6(Fragment::None, 0)
        }
    }

    /// The number of the [`L4Kind`].
    #[inline(always)]
    #[must_use]
    pub const fn transport(&self) -> u32 {
        self.protocol >> 8
    }

    /// The destination port; 0 without ports.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.ports & 0xffff
    }

    /// Whether there are ports that a socket can have; where sockets are asked for.
    #[inline(always)]
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        self.transport() != L4Kind::None as u32
    }

    /// Takes whether it is settled that it is not unclaimed, where rules look at that: as what has no ports is, and what is noted.
    #[inline(always)]
    pub fn settle(&mut self, is_settled: bool) {
        self.set(Field::Claim, u32::from(if is_settled { NOTED } else { NOT_NOTED }));
    }

    /// Takes what a frame without IP says of the fields in `used`.
    #[inline(always)]
    pub fn frame<P: PacketRead>(&mut self, packet: &P, used: u32) {
        self.family = family::NONE;
        self.payload = NO_PAYLOAD;
        if used & ASKED != 0 {
            self.asked.what = AskedKey::NONE.what;
        }
        if used & CLAIMED != 0 {
            self.protocol = 0;
        }
        for field in Field::ALL {
            if used & field.bit() != 0 {
                self.set(field, ABSENT);
            }
        }
        let carried = || ether_type(packet).map_or(ABSENT, u32::from);
        self.ethernet(packet, used, carried);
    }

    /// Takes what an IP packet says of the fields in `used`, and what limits ask.
    #[inline(always)]
    pub fn packet<P: PacketRead, A: Family>(&mut self, packet: &P, headers: &Headers<A>, used: u32) {
        self.family = A::NUMBER;
        if used & (KEYS | CLAIMED | Field::Source.bit()) != 0 {
            self.source = headers.addresses.source.words();
        }
        if used & (KEYS | CLAIMED | Field::Destination.bit()) != 0 {
            self.destination = headers.addresses.destination.words();
        }
        if used & (KEYS | CLAIMED) != 0 {
            self.protocol = u32::from(headers.protocol) | (headers.l4.kind as u32) << 8;
            self.ports = headers.l4.port_word();
        }
        if used & (DEFENDS | CLAIMED) != 0 {
            self.headers = headers.layers.transport << 16 | headers.layers.network & 0xffff;
        }
        let seen = Seen::of(packet, headers, used);
        if used & PAYLOAD != 0 {
            self.payload = payload_of(packet, headers);
            self.end = seen.end();
        }
        self.fill(used, Field::Shape, || seen.shape());
        self.fill(used, Field::Protocol, || seen.protocol());
        self.fill(used, Field::TcpFlags, || seen.tcp_flags());
        self.fill(used, Field::IcmpType, || seen.icmp_type());
        self.fill(used, Field::IcmpCode, || seen.icmp_code());
        self.fill(used, Field::Icmpv6Type, || seen.icmpv6_type());
        self.fill(used, Field::Icmpv6Code, || seen.icmpv6_code());
        self.fill(used, Field::Ttl, || seen.ttl());
        self.fill(used, Field::Dscp, || seen.dscp());
        self.fill(used, Field::Length, || seen.length());
        self.fill(used, Field::SourcePort, || seen.source_port());
        self.fill(used, Field::DestinationPort, || seen.destination_port());
        self.ethernet(packet, used, || seen.ether_type());
        if used & ASKED != 0 {
            // Where there is nothing, that alone is noted.
            self.asked.what = AskedKey::NONE.what;
            if asked::may_answer(headers) {
                self.asked = asked::answered(packet, headers);
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
    fn ethernet<P: PacketRead>(&mut self, packet: &P, used: u32, carried: impl Fn() -> u32) {
        self.bytes = packet.frame_length() as u32;
        self.fill(used, Field::EtherType, carried);
        self.fill(used, Field::Vlan, || seen::vlan(packet));
        if used & Field::EtherSource.bit() != 0 {
            self.ether_source = seen::ether_source(packet);
        }
        if used & Field::EtherDestination.bit() != 0 {
            self.ether_destination = seen::ether_destination(packet);
        }
    }

    #[inline(always)]
    fn fill(&mut self, used: u32, field: Field, value: impl FnOnce() -> u32) {
        if used & field.bit() != 0 {
            self.set(field, value());
        }
    }

    #[inline(always)]
    pub(super) fn set(&mut self, field: Field, value: u32) {
        // Every field has its place; a program that could panic is refused.
        if let Some(place) = self.values.get_mut(field as usize) {
            *place = value;
        }
    }

    /// So many bytes (1 to 16) of payload from an offset on, as the numbers that eight of them each are in network order,
    /// zero behind the last; `None` where the packet does not have all of them.
    #[inline(always)]
    pub fn payload<P: PacketRead>(&self, packet: &P, offset: u32, length: u32) -> Option<(u64, u64)> {
        if self.payload == NO_PAYLOAD || length == 0 || length > 16 {
            return None;
        }
        let start = self.payload + offset;
        if start + length > self.end {
            return None;
        }
        if length <= 8 {
            return Some((bytes(packet, start, length)?, 0));
        }
        Some((bytes(packet, start, 8)?, bytes(packet, start + 8, length - 8)?))
    }
}

/// One to eight bytes, from the highest of the number on. They are read with what is before them, as there may be nothing
/// behind; an Ethernet header is before every payload.
#[inline(always)]
fn bytes<P: PacketRead>(packet: &P, start: u32, length: u32) -> Option<u64> {
    let word: u64 = packet.read((start + length) as usize - 8)?;
    Some(word << (64 - 8 * length))
}

/// Where the payload begins: behind the header of TCP and UDP, of other protocols behind the IP headers.
#[inline(always)]
fn payload_of<P: PacketRead, A>(packet: &P, headers: &Headers<A>) -> u32 {
    let transport = headers.layers.transport;
    if headers.fragment == Fragment::Later {
        return NO_PAYLOAD;
    }
    match headers.l4.kind {
        L4Kind::None => transport,
        L4Kind::Udp => transport + UDP_HEADER,
        L4Kind::Tcp => match packet.read::<u16>(transport as usize + TCP_DATA_OFFSET) {
            Some(word) => transport + u32::from(word >> 12) * 4,
            None => NO_PAYLOAD,
        },
    }
}
