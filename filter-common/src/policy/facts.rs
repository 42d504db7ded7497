//! A packet's facts as the classifier asks for them: what was observed, and the classes of what has to be searched for.
//!
//! Addresses are searched for before, and not when the classifier comes to them: a search needs more stack than is left
//! below it (512 bytes in all, Linux). So a packet that no rule could match pays for them, too, where rules look at addresses.

use super::classifier::field::{ABSENT, Facts, Field, address_v4, address_v6};
use super::classifier::{RulesGeometry, ether};
use super::observed::{Observed, family};
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

impl Observed {
    /// Finds the classes of the addresses that rules look at, as the values of their fields.
    #[inline(always)]
    pub fn find_classes<C: AddressClass>(&mut self, used: u32, classes: &C) {
        if used & Field::Destination.bit() != 0 {
            let class = self.class(
                self.destination,
                |v4| classes.destination_v4(v4),
                |v6| classes.destination_v6(v6),
            );
            self.values[Field::Destination as usize] = class;
        }
        if used & Field::Source.bit() != 0 {
            let class = self.class(self.source, |v4| classes.source_v4(v4), |v6| classes.source_v6(v6));
            self.values[Field::Source as usize] = class;
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 address")]
    fn class(&self, address: [u64; 2], v4: impl FnOnce(u32) -> u32, v6: impl FnOnce([u64; 2]) -> u32) -> u32 {
        match self.family {
            family::V4 => address_v4(v4(address[0] as u32)),
            family::V6 => address_v6(v6(address)),
            _ => ABSENT,
        }
    }
}

/// One packet before the rules of a generation.
pub struct PacketFacts<'a, L> {
    /// What was observed of it, with the classes of its addresses.
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
