//! The look-up against a plain reading of the rules, and what it costs.

mod addresses;
mod bounds;
mod cost;
mod generate;
mod plain;
mod properties;
mod walking;

use super::addresses::Prefix;
use super::compile::{Compiled, compile};
use super::ether;
use super::field::{ABSENT, Facts, Field, address_v4, address_v6};
use super::spec::RulesSpec;
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use crate::policy::asked::Asked;
use crate::policy::claimed::Claim;
use crate::table::lines::Lines;
use crate::table::memory::{LineCell, zeroed};

/// Lines before those of the rules, which are not zero: nothing may be read from them.
const BEFORE: u32 = 7;
/// More lines than any test takes.
const PLENTY: u32 = 1 << 20;

/// Rules where a look-up finds them.
struct Written {
    compiled: Compiled,
    prefixes: Prefixes,
    lines: Box<[LineCell]>,
}

impl Written {
    fn new(spec: &RulesSpec) -> Self {
        let compiled = compile(spec, BEFORE, PLENTY).expect("within bounds");
        assert_eq!(compiled.geometry.lines as usize, compiled.lines.len());
        let lines = zeroed(BEFORE + compiled.geometry.lines);
        for before in &lines[..BEFORE as usize] {
            (0..8).for_each(|word| before.store(word, u64::MAX));
        }
        for (cell, line) in lines[BEFORE as usize..].iter().zip(&compiled.lines) {
            (0..).zip(line).for_each(|(index, word)| cell.store(index, *word));
        }
        let (source, destination) = (&compiled.source, &compiled.destination);
        let prefixes = Prefixes {
            v4: [source.v4.prefixes().to_vec(), destination.v4.prefixes().to_vec()],
            v6: [source.v6.prefixes().to_vec(), destination.v6.prefixes().to_vec()],
        };
        Self { compiled, prefixes, lines }
    }
}

/// What the prefix tables say: of sources, of destinations.
struct Prefixes {
    v4: [Vec<(PrefixV4, u16)>; 2],
    v6: [Vec<(PrefixV6, u16)>; 2],
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    V4(u32),
    V6(u128),
}

/// What is known of a packet, as it would be written down.
#[derive(Clone, Debug, Default)]
struct Packet {
    /// Fields that are not addresses.
    values: Vec<(Field, u16)>,
    ether_source: u64,
    ether_destination: u64,
    source: Option<Address>,
    destination: Option<Address>,
    payload: Option<Vec<u8>>,
    asked: Asked,
    claim: Claim,
}

impl Packet {
    fn value(&self, field: Field) -> Option<u16> {
        self.values.iter().find(|(of, _)| *of == field).map(|(_, value)| *value)
    }
}

/// The facts of a packet, as the program would find them. The prefix tables are stood in for by a search of all prefixes.
struct PacketFacts<'a, L> {
    packet: &'a Packet,
    written: &'a Written,
    lines: &'a L,
}

fn longest<P: Prefix>(prefixes: &[(P, u16)], address: P) -> u32 {
    let covering = prefixes.iter().filter(|(prefix, _)| prefix.covers(address));
    covering.max_by_key(|(prefix, _)| *prefix).map_or(0, |(_, class)| u32::from(*class))
}

fn single_v4(bits: u32) -> PrefixV4 {
    PrefixV4::containing(AddressV4::from_bits(bits), 32)
}

fn single_v6(bits: u128) -> PrefixV6 {
    PrefixV6::containing(AddressV6::from_octets(bits.to_be_bytes()), 128)
}

impl<L> PacketFacts<'_, L> {
    fn value(&self, field: Field) -> u32 {
        self.packet.value(field).map_or(ABSENT, u32::from)
    }

    fn address(&self, address: Option<Address>, direction: usize) -> u32 {
        let prefixes = &self.written.prefixes;
        match address {
            None => ABSENT,
            Some(Address::V4(bits)) => address_v4(longest(&prefixes.v4[direction], single_v4(bits))),
            Some(Address::V6(bits)) => address_v6(longest(&prefixes.v6[direction], single_v6(bits))),
        }
    }
}

macro_rules! plain_fields {
    ($($method:ident $field:ident)*) => {
        $(fn $method(&self) -> u32 {
            self.value(Field::$field)
        })*
    };
}

impl<L: Lines> Facts for PacketFacts<'_, L> {
    plain_fields! {
        shape Shape
        ether_type EtherType
        vlan Vlan
        interface Interface
        protocol Protocol
        tcp_flags TcpFlags
        icmp_type IcmpType
        icmp_code IcmpCode
        icmpv6_type Icmpv6Type
        icmpv6_code Icmpv6Code
        ttl Ttl
        dscp Dscp
        claim Claim
        length Length
        source_port SourcePort
        destination_port DestinationPort
    }

    fn ether_source(&self) -> u32 {
        let table = &self.written.compiled.geometry.ether_source;
        ether::find(self.lines, table, self.packet.ether_source)
    }

    fn ether_destination(&self) -> u32 {
        let table = &self.written.compiled.geometry.ether_destination;
        ether::find(self.lines, table, self.packet.ether_destination)
    }

    fn source(&self) -> u32 {
        self.address(self.packet.source, 0)
    }

    fn destination(&self) -> u32 {
        self.address(self.packet.destination, 1)
    }
}
