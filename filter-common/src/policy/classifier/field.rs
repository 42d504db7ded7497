//! What rules look at, and in which order a look-up does.

use crate::parse::Fragment;

/// The value of a field that the packet does not have.
pub const ABSENT: u32 = 1 << 16;

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $field:ident $method:ident)*) => {
        /// A part of a packet that rules look at; its number is the bit of [`Self::bit`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $($(#[doc = $doc])+ $field,)*
        }

        impl Field {
            /// All of them, in the order in which a look-up meets them: what a packet is first, what costs a search last.
            pub const ALL: [Self; FIELDS] = [$(Self::$field,)*];
        }

        /// Fields that there are.
        pub const FIELDS: usize = [$(stringify!($field),)*].len();

        /// What a packet says: for each field its value, below 65,536, or [`ABSENT`]. Each is asked for at most once,
        /// and only where a rule looks at it.
        pub trait Facts {
            $($(#[doc = $doc])+ fn $method(&self) -> u32;)*
        }

        /// Shows the values of the fields in `used`, in order; those that cost a search only where they are wanted.
        /// Without a loop, so that the verifier, which knows `used`, prunes the others.
        #[inline(always)]
        pub fn visit<F: Facts, V: Visitor>(used: u32, facts: &F, visitor: &mut V) {
            $(
                if used & Field::$field.bit() != 0 && (!Field::$field.is_searched() || visitor.is_open()) {
                    visitor.see(Field::$field, facts.$method());
                }
            )*
        }
    };
}

/// Whoever is shown the values of fields.
pub trait Visitor {
    /// Whether a value that costs a search is wanted.
    fn is_open(&self) -> bool;
    /// Takes the value of a field.
    fn see(&mut self, field: Field, value: u32);
}

fields! {
    /// Family, fragment state and IPv6 extension headers, as [`shape_v4`] and [`shape_v6`] say; absent without IP.
    Shape shape
    /// The EtherType behind all VLAN tags.
    EtherType ether_type
    /// The id in the outermost VLAN tag.
    Vlan vlan
    /// The class of the interface that the frame came in by: 0 for those that no rule names.
    Interface interface
    /// The protocol, in IPv6 behind all extension headers.
    Protocol protocol
    /// The flags of TCP.
    TcpFlags tcp_flags
    /// The type of an ICMP packet.
    IcmpType icmp_type
    /// The code of an ICMP packet.
    IcmpCode icmp_code
    /// The type of an ICMPv6 packet.
    Icmpv6Type icmpv6_type
    /// The code of an ICMPv6 packet.
    Icmpv6Code icmpv6_code
    /// TTL or hop limit.
    Ttl ttl
    /// The differentiated services code point.
    Dscp dscp
    /// Bytes of the IP packet, at most 65,535.
    Length length
    /// The source port.
    SourcePort source_port
    /// The destination port.
    DestinationPort destination_port
    /// The class of the Ethernet source: what [`super::ether::find`] says.
    EtherSource ether_source
    /// The class of the Ethernet destination.
    EtherDestination ether_destination
    /// What is noted of whether a socket of this host takes the packet ([`NOTED`](crate::policy::claimed::NOTED)).
    Claim claim
    /// The class of the IP destination, as [`address_v4`] and [`address_v6`] say; absent without IP.
    Destination destination
    /// The class of the IP source, likewise.
    Source source
}

impl Field {
    /// Its bit.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether its value is found by a search. Only before those a look-up asks whether any rule is left: the answer depends
    /// on the packet, and a branch that the CPU does not foresee costs as much as two or three tables.
    #[inline(always)]
    #[must_use]
    pub const fn is_searched(self) -> bool {
        matches!(self, Self::EtherSource | Self::EtherDestination | Self::Destination | Self::Source)
    }

    /// Whether its values are spread so widely that a table of all of them would be mostly the same: it has pages of 256
    /// values then, equal ones stored once, and a table of the pages. A port field's 65,536 values would take 2,048 lines,
    /// which random ports touch all; ten rules on ports take some 20 pages of eight.
    #[inline(always)]
    #[must_use]
    pub const fn is_paged(self) -> bool {
        matches!(
            self,
            Self::Shape
                | Self::EtherType
                | Self::Vlan
                | Self::Length
                | Self::SourcePort
                | Self::DestinationPort
        )
    }
}

/// The fields of IP addresses, which are the last: whoever runs a look-up in steps finds their classes before it comes to them.
pub const ADDRESSES: u32 = Field::Destination.bit() | Field::Source.bit();

/// Set beside the fields' bits where a rule looks at the payload.
pub const PAYLOAD: u32 = 1 << 31;

/// Set beside the fields' bits where a rule charges a limit or bans: addresses, protocol and port are wanted as they are.
pub const KEYS: u32 = 1 << 30;

/// Set beside the fields' bits where a rule wants to know whether this host asked for a packet.
pub const ASKED: u32 = 1 << 29;

/// Set beside the fields' bits where a rule defends a service: where the headers are is wanted.
pub const DEFENDS: u32 = 1 << 28;

/// Set beside the fields' bits where a rule holds by chance.
pub const CHANCE: u32 = 1 << 27;

/// Set beside the fields' bits where a rule does more than count, drop or pass.
pub const ELABORATE: u32 = 1 << 26;

/// Set beside the fields' bits where a rule wants to know whether a socket of this host takes a packet.
pub const CLAIMED: u32 = 1 << 25;

/// Set beside [`CLAIMED`] where only limits want to know it: they let packets through anyhow, so while none is unclaimed some are asked
/// about ([`is_sample`](crate::policy::claimed::is_sample)).
pub const SAMPLED: u32 = 1 << 24;

const _: () = assert!(FIELDS <= 24);

/// Classes of an address field below this are of IPv4, those from it on of IPv6.
pub const V6_CLASSES: u32 = 1024;

/// The value of an IPv4 address to which the rules' prefix table gives that class, or 0.
#[inline(always)]
#[must_use]
pub const fn address_v4(class: u32) -> u32 {
    class
}

/// The value of an IPv6 address to which the rules' prefix table gives that class, or 0.
#[inline(always)]
#[must_use]
pub const fn address_v6(class: u32) -> u32 {
    V6_CLASSES + class
}

/// Values that [`Field::Shape`] can have are below this.
pub const SHAPES: u32 = 7 << 8;

/// The shape of an IPv4 packet.
#[inline(always)]
#[must_use]
pub const fn shape_v4(fragment: Fragment) -> u32 {
    (fragment as u32) << 8
}

/// The shape of an IPv6 packet with these extension headers: hop-by-hop 0x01, routing 0x02, fragment 0x04, destination
/// 0x08, AH 0x10, mobility 0x20, HIP 0x40, shim6 0x80.
#[inline(always)]
#[must_use]
pub const fn shape_v6(fragment: Fragment, extensions: u8) -> u32 {
    (4 | fragment as u32) << 8 | extensions as u32
}
