//! The layers that a frame is made of, before they are bytes.

use etherparse::{IpAuthHeader, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader};

/// TCP flags, to be or-ed.
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// What a header is, to find it again in a built frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Ethernet.
    Ethernet,
    /// A VLAN tag: from its tag control information on (its type is the last field of what precedes it).
    Tag,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Any IPv6 extension header except the fragment header; also AH.
    Extension,
    /// The IPv6 fragment header.
    Fragment,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP or ICMPv6.
    Icmp,
    /// GRE, ESP, SCTP or another header given as bytes.
    Other,
    /// What follows the headers.
    Payload,
}

/// IANA protocol numbers that this module writes.
pub(super) mod number {
    pub(in crate::packet) const HOP_BY_HOP: u8 = 0;
    pub(in crate::packet) const ICMP: u8 = 1;
    pub(in crate::packet) const IPV4: u8 = 4;
    pub(in crate::packet) const TCP: u8 = 6;
    pub(in crate::packet) const UDP: u8 = 17;
    pub(in crate::packet) const IPV6: u8 = 41;
    pub(in crate::packet) const ROUTING: u8 = 43;
    pub(in crate::packet) const FRAGMENT: u8 = 44;
    pub(in crate::packet) const GRE: u8 = 47;
    pub(in crate::packet) const ESP: u8 = 50;
    pub(in crate::packet) const AUTH: u8 = 51;
    pub(in crate::packet) const ICMPV6: u8 = 58;
    pub(in crate::packet) const NO_NEXT: u8 = 59;
    pub(in crate::packet) const DESTINATION: u8 = 60;
    pub(in crate::packet) const SCTP: u8 = 132;
    pub(in crate::packet) const MOBILITY: u8 = 135;
    pub(in crate::packet) const HIP: u8 = 139;
    pub(in crate::packet) const SHIM6: u8 = 140;
    /// For experiments, RFC 3692.
    pub(in crate::packet) const EXPERIMENT: u8 = 253;
}

/// EtherTypes that this module writes.
pub(super) mod ether_type {
    pub(in crate::packet) const IPV4: u16 = 0x0800;
    pub(in crate::packet) const ARP: u16 = 0x0806;
    pub(in crate::packet) const VLAN: u16 = 0x8100;
    pub(in crate::packet) const IPV6: u16 = 0x86dd;
    pub(in crate::packet) const QINQ: u16 = 0x88a8;
    /// For local experiments.
    pub(in crate::packet) const EXPERIMENT: u16 = 0x88b5;
}

#[derive(Clone, Debug)]
pub(super) enum Header {
    Ethernet {
        source: [u8; 6],
        destination: [u8; 6],
    },
    Tag {
        ether_type: u16,
        id: u16,
    },
    Arp(Vec<u8>),
    Ipv4(Box<Ipv4Header>),
    Ipv6(Ipv6Header),
    /// Next header, length in units of eight bytes, then the body.
    Extension {
        number: u8,
        body: Vec<u8>,
    },
    Fragment(Ipv6FragmentHeader),
    Auth(Box<IpAuthHeader>),
    Udp(UdpHeader),
    Tcp(Box<TcpHeader>),
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    Icmpv6 {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    Sctp {
        source: u16,
        destination: u16,
    },
    Gre,
    Esp {
        spi: u32,
    },
    Payload(Vec<u8>),
}

impl Header {
    pub(in crate::packet) const fn kind(&self) -> Kind {
        match self {
            Self::Ethernet { .. } => Kind::Ethernet,
            Self::Tag { .. } => Kind::Tag,
            Self::Arp(_) => Kind::Arp,
            Self::Ipv4(_) => Kind::Ipv4,
            Self::Ipv6(_) => Kind::Ipv6,
            Self::Extension { .. } | Self::Auth(_) => Kind::Extension,
            Self::Fragment(_) => Kind::Fragment,
            Self::Udp(_) => Kind::Udp,
            Self::Tcp(_) => Kind::Tcp,
            Self::Icmp { .. } | Self::Icmpv6 { .. } => Kind::Icmp,
            Self::Sctp { .. } | Self::Gre | Self::Esp { .. } => Kind::Other,
            Self::Payload(_) => Kind::Payload,
        }
    }

    /// What an IP header calls it.
    pub(in crate::packet) const fn protocol(&self) -> Option<u8> {
        Some(match self {
            Self::Ethernet { .. } | Self::Tag { .. } | Self::Arp(_) | Self::Payload(_) => return None,
            Self::Ipv4(_) => number::IPV4,
            Self::Ipv6(_) => number::IPV6,
            Self::Extension { number, .. } => *number,
            Self::Fragment(_) => number::FRAGMENT,
            Self::Auth(_) => number::AUTH,
            Self::Udp(_) => number::UDP,
            Self::Tcp(_) => number::TCP,
            Self::Icmp { .. } => number::ICMP,
            Self::Icmpv6 { .. } => number::ICMPV6,
            Self::Sctp { .. } => number::SCTP,
            Self::Gre => number::GRE,
            Self::Esp { .. } => number::ESP,
        })
    }

    /// What an Ethernet header, VLAN tag or GRE header calls it.
    pub(in crate::packet) const fn ether_type(&self) -> Option<u16> {
        match self {
            Self::Tag { ether_type, .. } => Some(*ether_type),
            Self::Arp(_) => Some(ether_type::ARP),
            Self::Ipv4(_) => Some(ether_type::IPV4),
            Self::Ipv6(_) => Some(ether_type::IPV6),
            _ => None,
        }
    }
}

/// A header, and what a test wants different about it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) header: Header,
    /// In place of the number of what follows.
    pub(super) next: Option<u16>,
    /// In place of the length that follows from the frame.
    pub(super) length: Option<u16>,
}
