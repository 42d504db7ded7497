//! The start of TCP (RFC 9293) and UDP (RFC 768): ports, flags, and whether the lengths can be true.
//!
//! Other protocols are not looked into: address rules apply to them all the same.

use super::{PacketRead, ParseError};

/// IP protocol and IPv6 next-header numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol.
    pub const HIP: u8 = 139;
    /// Shim6.
    pub const SHIM6: u8 = 140;
}

/// Flags of TCP.
pub mod tcp_flag {
    /// No more comes.
    pub const FIN: u8 = 0x01;
    /// Sequence numbers begin.
    pub const SYN: u8 = 0x02;
    /// There is no such connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Ports of TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl Ports {
    #[inline(always)]
    fn read<P: PacketRead>(packet: &P, segment: Segment) -> Result<Self, ParseError> {
        let word: u32 = packet.read(segment.start).ok_or(segment.cut_short())?;
        Ok(Self { source: (word >> 16) as u16, destination: (word & 0xffff) as u16 })
    }

    #[inline(always)]
    const fn word(self) -> u32 {
        (self.source as u32) << 16 | self.destination as u32
    }
}

/// Which L4 header a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum L4Kind {
    /// That of a protocol that is not looked into, or none, as in a later fragment.
    None,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What is known of a packet above IP.
///
/// Every field always has a value, and 32 bits. In an enum with fields, LLVM copies those that a variant does not have
/// from a register that nothing was written to, and the verifier refuses a program that reads one. Shorter fields it
/// copies together, from odd places of the stack, which the verifier refuses as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4 {
    /// The header.
    pub kind: L4Kind,
    /// The ports as they are in the header; zero without one.
    ports: u32,
    /// The flag byte of TCP, from CWR (0x80) down to FIN (0x01); else zero.
    flags: u32,
}

impl L4 {
    /// No header.
    pub const NONE: Self = Self { kind: L4Kind::None, ports: 0, flags: 0 };

    /// A TCP header.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(ports: Ports, flags: u8) -> Self {
        Self { kind: L4Kind::Tcp, ports: ports.word(), flags: flags as u32 }
    }

    /// A UDP header.
    #[inline(always)]
    #[must_use]
    pub const fn udp(ports: Ports) -> Self {
        Self { kind: L4Kind::Udp, ports: ports.word(), flags: 0 }
    }

    /// What has such a header, such ports ([`Self::port_word`]) and such flags.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(kind: L4Kind, ports: u32, flags: u32) -> Self {
        Self { kind, ports, flags }
    }

    /// The ports; zero without a header.
    #[inline(always)]
    #[must_use]
    pub const fn ports(self) -> Ports {
        Ports { source: (self.ports >> 16) as u16, destination: (self.ports & 0xffff) as u16 }
    }

    /// The ports as they are in the header; zero without one.
    #[inline(always)]
    #[must_use]
    pub const fn port_word(self) -> u32 {
        self.ports
    }

    /// The flag byte of TCP, from CWR (0x80) down to FIN (0x01); else zero.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u8 {
        (self.flags & 0xff) as u8
    }
}

/// Where an L4 header lies.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    /// Offset of its first byte in the frame.
    pub start: usize,
    /// Offset of the end of the IP payload in the frame; checked to be within it.
    pub end: usize,
    /// Whether this is the first fragment of a packet.
    pub fragmented: bool,
    /// Whether more fragments follow, so that the packet is longer than this frame.
    pub more: bool,
    /// Whether this is a jumbogram, whose UDP length may be zero.
    pub jumbo: bool,
}

impl Segment {
    /// The error for a header that the packet, or its first fragment, does not hold.
    #[inline(always)]
    const fn cut_short(self) -> ParseError {
        if self.fragmented { ParseError::TinyFragment } else { ParseError::MalformedL4 }
    }
}

/// The L4 header at `segment`.
#[inline(always)]
pub(super) fn parse<P: PacketRead>(packet: &P, protocol: u8, segment: Segment) -> Result<L4, ParseError> {
    match protocol {
        protocol::TCP => tcp(packet, segment),
        protocol::UDP => udp(packet, segment),
        _ => Ok(L4::NONE),
    }
}

#[inline(always)]
fn tcp<P: PacketRead>(packet: &P, segment: Segment) -> Result<L4, ParseError> {
    if segment.start + TCP_HEADER > segment.end {
        return Err(segment.cut_short());
    }
    // Bytes 12 to 15: data offset, reserved bits, flags, window.
    let word: u32 = packet.read(segment.start + 12).ok_or(segment.cut_short())?;
    let header_length = (word >> 28) as usize * 4;
    let flags = (word >> 16 & 0xff) as u8;
    if header_length < TCP_HEADER {
        return Err(ParseError::MalformedL4);
    }
    if segment.start + header_length > segment.end {
        return Err(segment.cut_short());
    }
    let ports = Ports::read(packet, segment)?;
    Ok(L4::tcp(ports, flags))
}

#[inline(always)]
fn udp<P: PacketRead>(packet: &P, segment: Segment) -> Result<L4, ParseError> {
    if segment.start + UDP_HEADER > segment.end {
        return Err(segment.cut_short());
    }
    let ports = Ports::read(packet, segment)?;
    let length = usize::from(packet.read::<u16>(segment.start + 4).ok_or(segment.cut_short())?);
    let plausible = length >= UDP_HEADER || (length == 0 && segment.jumbo);
    let fits = segment.more || segment.start + length <= segment.end;
    if plausible && fits { Ok(L4::udp(ports)) } else { Err(ParseError::MalformedL4) }
}
