//! A packet's facts as the classifier asks for them: what was observed, and the classes of what has to be searched for.
//!
//! The classes of IP addresses are found beforehand: of what was noted by [`find_classes`], as in the program the search for
//! IPv6 is a function of its own, which below what the classifier keeps at hand would need more stack than a program has.

use super::classifier::field::{ABSENT, ADDRESSES, Facts, Field, address_v4, address_v6};
use super::classifier::{RulesGeometry, ether};
use super::observed::{Family, Observed, family};
use super::seen::{self, Seen};
use crate::parse::PacketRead;
use crate::table::lines::Lines;

/// The classes that the rules' prefix tables give addresses; 0 where no rule names them.
pub trait AddressClass {
    /// Of an IPv4 source.
    fn source_v4(&self, address: u32) -> u32;
    /// Of an IPv6 source.
    fn source_v6(&self, address: [u64; 2]) -> u32;
    /// Of an IPv4 destination.
    fn destination_v4(&self, address: u32) -> u32;
    /// Of an IPv6 destination.
    fn destination_v6(&self, address: [u64; 2]) -> u32;
}

/// Notes the classes of a packet's addresses, where rules look at them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "IPv4 addresses")]
pub fn find_classes<C: AddressClass>(observed: &mut Observed, used: u32, classes: &C) {
    if used & ADDRESSES == 0 {
        return;
    }
    if used & Field::Destination.bit() != 0 {
        let class = match observed.family {
            family::V4 => address_v4(classes.destination_v4(observed.destination[0] as u32)),
            family::V6 => address_v6(classes.destination_v6(observed.destination)),
            _ => ABSENT,
        };
        observed.set(Field::Destination, class);
    }
    if used & Field::Source.bit() != 0 {
        let class = match observed.family {
            family::V4 => address_v4(classes.source_v4(observed.source[0] as u32)),
            family::V6 => address_v6(classes.source_v6(observed.source)),
            _ => ABSENT,
        };
        observed.set(Field::Source, class);
    }
}

/// One packet before the rules of a generation.
pub struct PacketFacts<'a, L> {
    /// What was observed of it.
    pub observed: &'a Observed,
    /// The lines of the generation.
    pub lines: &'a L,
    /// Where the rules lie in them.
    pub geometry: &'a RulesGeometry,
    /// The class of the interface.
    pub interface: u32,
}

macro_rules! observed {
    ($($method:ident $field:ident)*) => {$(
        #[inline(always)]
        fn $method(&self) -> u32 {
            self.observed.value(Field::$field)
        }
    )*};
}

impl<L: Lines> Facts for PacketFacts<'_, L> {
    observed! {
        shape Shape
        ether_type EtherType
        vlan Vlan
        protocol Protocol
        tcp_flags TcpFlags
        icmp_type IcmpType
        icmp_code IcmpCode
        icmpv6_type Icmpv6Type
        icmpv6_code Icmpv6Code
        ttl Ttl
        dscp Dscp
        length Length
        source_port SourcePort
        destination_port DestinationPort
        claim Claim
        destination Destination
        source Source
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn ether_source(&self) -> u32 {
        ether::find(self.lines, &self.geometry.ether_source, self.observed.ether_source)
    }

    #[inline(always)]
    fn ether_destination(&self) -> u32 {
        ether::find(self.lines, &self.geometry.ether_destination, self.observed.ether_destination)
    }
}

/// One packet before the rules of a generation, of which nothing was noted.
pub struct SeenFacts<'a, P, A, L> {
    /// The packet.
    pub packet: &'a P,
    /// What its headers say.
    pub seen: Seen<'a, P, A>,
    /// The lines of the generation.
    pub lines: &'a L,
    /// Where the rules lie in them.
    pub geometry: &'a RulesGeometry,
    /// The class of the interface.
    pub interface: u32,
    /// The value of [`Field::Source`], where it is in use.
    pub source: u32,
    /// The value of [`Field::Destination`], likewise.
    pub destination: u32,
    /// The value of [`Field::Claim`], likewise.
    pub claim: u32,
}

macro_rules! seen {
    ($($method:ident)*) => {$(
        #[inline(always)]
        fn $method(&self) -> u32 {
            self.seen.$method()
        }
    )*};
}

impl<P: PacketRead, A: Family, L: Lines> Facts for SeenFacts<'_, P, A, L> {
    seen! {
        shape ether_type vlan protocol tcp_flags icmp_type icmp_code icmpv6_type icmpv6_code ttl dscp length
        source_port destination_port
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn ether_source(&self) -> u32 {
        ether::find(self.lines, &self.geometry.ether_source, seen::ether_source(self.packet))
    }

    #[inline(always)]
    fn ether_destination(&self) -> u32 {
        ether::find(self.lines, &self.geometry.ether_destination, seen::ether_destination(self.packet))
    }

    #[inline(always)]
    fn destination(&self) -> u32 {
        self.destination
    }

    #[inline(always)]
    fn claim(&self) -> u32 {
        self.claim
    }

    #[inline(always)]
    fn source(&self) -> u32 {
        self.source
    }
}
