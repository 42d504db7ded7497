//! A rule, independent of how it was written.
//!
//! The one-line text and the TOML tables give the same values here, so equal meanings that differ only in spelling
//! (`{80, 81}` and `80-81`, `tcp` and `proto 6`) are equal. Where a rule stands in its file is kept apart, in
//! [`super::Checked`].
//!
//! What a match means where a packet does not have the field (a port in a later fragment, a VLAN id in an untagged
//! frame): it does not hold, and neither does its negation. Negation is about the value.

use std::time::Duration;

use ipnet::IpNet;

use super::ranges::Ranges;
use super::value::{
    Defence, ExtensionHeaders, FragmentStates, InterfaceName, Limit, MacAddress, Payload, Ratio, RuleName,
    TcpFlags,
};
use crate::engine::SetName;

/// One rule of a policy. It matches a packet when all its matches hold; without any it matches every packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its own name, where it has one. [`super::Policy::rule_name`] names every rule.
    pub name: Option<RuleName>,
    /// What becomes of the packet.
    pub action: Action,
    /// Whether that happens, or is only counted.
    pub mode: Mode,
    /// What it matches.
    pub matches: Matches,
}

/// Whether a rule acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It counts what it would have done, and the walk goes on.
    Count,
}

impl Mode {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Count => "count",
        }
    }
}

/// What becomes of a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is dropped.
    Drop,
    /// It passes, whatever later rules say.
    Pass,
    /// Over the limit it is dropped; within it the walk goes on.
    Limit(Limit),
    /// It is dropped, and so is everything from its source for that long, in whole seconds.
    Ban(Duration),
    /// The rule's counters count it, and the walk goes on.
    Count,
    /// That part of the packets, chosen at random and more than none, is shown to whoever listens; the walk goes on.
    Sample(Ratio),
    /// It leaves by that interface.
    Redirect(InterfaceName),
    /// If it is a SYN, it is met by the defence; what that lets through goes on, as does everything else.
    Defend(Defence),
}

impl Action {
    /// Whether it ends the walk for every packet that the rule matches.
    #[must_use]
    pub const fn is_decisive(&self) -> bool {
        match self {
            Self::Drop | Self::Pass | Self::Ban(_) | Self::Redirect(_) => true,
            Self::Limit(_) | Self::Count | Self::Sample(_) | Self::Defend(_) => false,
        }
    }
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negatable<T> {
    /// The value is meant not to be this.
    pub negated: bool,
    /// The value.
    pub value: T,
}

/// One condition of a rule, or its negation.
pub type Match = Negatable<Test>;

/// What is looked at, and what it has to be. Lists are sorted and name nothing twice; any of their values will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The interface that the frame came in by.
    Interface(Vec<InterfaceName>),
    /// The Ethernet source.
    EtherSource(Vec<MacAddress>),
    /// The Ethernet destination.
    EtherDestination(Vec<MacAddress>),
    /// The EtherType behind all VLAN tags.
    EtherType(Ranges<u16>),
    /// The id in the outermost VLAN tag, 0 to 4095.
    Vlan(Ranges<u16>),
    /// The IP source.
    Source(Addresses),
    /// The IP destination.
    Destination(Addresses),
    /// The protocol: in IPv6, behind the extension headers.
    Protocol(Ranges<u8>),
    /// The source port of TCP or UDP.
    SourcePort(Ranges<u16>),
    /// The destination port of TCP or UDP.
    DestinationPort(Ranges<u16>),
    /// TCP flags.
    TcpFlags(TcpFlags),
    /// The type of an ICMP packet.
    IcmpType(Ranges<u8>),
    /// The code of an ICMP packet.
    IcmpCode(Ranges<u8>),
    /// The type of an ICMPv6 packet.
    Icmpv6Type(Ranges<u8>),
    /// The code of an ICMPv6 packet.
    Icmpv6Code(Ranges<u8>),
    /// Bytes of the IP packet, header included; more than 65,535 count as that.
    Length(Ranges<u16>),
    /// TTL or hop limit.
    Ttl(Ranges<u8>),
    /// The differentiated services code point, 0 to 63.
    Dscp(Ranges<u8>),
    /// Which part of an IP packet it is.
    Fragment(FragmentStates),
    /// IPv6 extension headers, any of which is there.
    ExtensionHeader(ExtensionHeaders),
    /// It answers something that this host has not sent; negated, something that it has. What answers nothing has neither.
    Unasked,
    /// It is for an address of this host, and no socket takes it; negated, one does. What is no socket's matter has neither.
    Unclaimed,
    /// Bytes of the payload: behind the header of TCP and UDP, for other protocols behind the IP headers.
    Payload(Payload),
    /// Chance, drawn for each packet.
    Probability(Ratio),
}

/// Addresses of one end of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Any of these prefixes, sorted.
    Prefixes(Vec<IpNet>),
    /// Any that the set holds.
    Set(SetName),
}

/// What a condition looks at. The order is that of the packet, and of the canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the field that the test of the same name looks at")]
pub enum Field {
    Interface,
    EtherSource,
    EtherDestination,
    EtherType,
    Vlan,
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    TcpFlags,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
    Length,
    Ttl,
    Dscp,
    Fragment,
    ExtensionHeader,
    Unasked,
    Unclaimed,
    Payload,
    Probability,
}

impl Field {
    /// Every field, in order.
    pub const ALL: [Self; 24] = [
        Self::Interface,
        Self::EtherSource,
        Self::EtherDestination,
        Self::EtherType,
        Self::Vlan,
        Self::Source,
        Self::Destination,
        Self::Protocol,
        Self::SourcePort,
        Self::DestinationPort,
        Self::TcpFlags,
        Self::IcmpType,
        Self::IcmpCode,
        Self::Icmpv6Type,
        Self::Icmpv6Code,
        Self::Length,
        Self::Ttl,
        Self::Dscp,
        Self::Fragment,
        Self::ExtensionHeader,
        Self::Unasked,
        Self::Unclaimed,
        Self::Payload,
        Self::Probability,
    ];

    /// How rules as text write it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::EtherSource => "ether src",
            Self::EtherDestination => "ether dst",
            Self::EtherType => "ether type",
            Self::IcmpType => "icmp type",
            Self::IcmpCode => "icmp code",
            Self::Icmpv6Type => "icmpv6 type",
            Self::Icmpv6Code => "icmpv6 code",
            other => other.key(),
        }
    }

    /// Its key in a `match` table.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Interface => "iif",
            Self::EtherSource => "ether-src",
            Self::EtherDestination => "ether-dst",
            Self::EtherType => "ether-type",
            Self::Vlan => "vlan",
            Self::Source => "saddr",
            Self::Destination => "daddr",
            Self::Protocol => "proto",
            Self::SourcePort => "sport",
            Self::DestinationPort => "dport",
            Self::TcpFlags => "flags",
            Self::IcmpType => "icmp-type",
            Self::IcmpCode => "icmp-code",
            Self::Icmpv6Type => "icmpv6-type",
            Self::Icmpv6Code => "icmpv6-code",
            Self::Length => "length",
            Self::Ttl => "ttl",
            Self::Dscp => "dscp",
            Self::Fragment => "fragment",
            Self::ExtensionHeader => "exthdr",
            Self::Unasked => "unasked",
            Self::Unclaimed => "unclaimed",
            Self::Payload => "payload",
            Self::Probability => "probability",
        }
    }
}

impl Test {
    /// What looks at a field that has no values but that it holds or does not.
    #[must_use]
    pub const fn of_bare(field: Field) -> Option<Self> {
        match field {
            Field::Unasked => Some(Self::Unasked),
            Field::Unclaimed => Some(Self::Unclaimed),
            _ => None,
        }
    }

    /// What it looks at.
    #[must_use]
    pub const fn field(&self) -> Field {
        match self {
            Self::Interface(_) => Field::Interface,
            Self::EtherSource(_) => Field::EtherSource,
            Self::EtherDestination(_) => Field::EtherDestination,
            Self::EtherType(_) => Field::EtherType,
            Self::Vlan(_) => Field::Vlan,
            Self::Source(_) => Field::Source,
            Self::Destination(_) => Field::Destination,
            Self::Protocol(_) => Field::Protocol,
            Self::SourcePort(_) => Field::SourcePort,
            Self::DestinationPort(_) => Field::DestinationPort,
            Self::TcpFlags(_) => Field::TcpFlags,
            Self::IcmpType(_) => Field::IcmpType,
            Self::IcmpCode(_) => Field::IcmpCode,
            Self::Icmpv6Type(_) => Field::Icmpv6Type,
            Self::Icmpv6Code(_) => Field::Icmpv6Code,
            Self::Length(_) => Field::Length,
            Self::Ttl(_) => Field::Ttl,
            Self::Dscp(_) => Field::Dscp,
            Self::Fragment(_) => Field::Fragment,
            Self::ExtensionHeader(_) => Field::ExtensionHeader,
            Self::Unasked => Field::Unasked,
            Self::Unclaimed => Field::Unclaimed,
            Self::Payload(_) => Field::Payload,
            Self::Probability(_) => Field::Probability,
        }
    }
}

/// The conditions of a rule, at most one for each field, in the order of [`Field`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches(Vec<Match>);

impl Matches {
    /// Adds a condition; `false`, and nothing is changed, where the field has one already.
    pub fn insert(&mut self, condition: Match) -> bool {
        let field = condition.value.field();
        match self.0.binary_search_by_key(&field, |known| known.value.field()) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, condition);
                true
            }
        }
    }

    /// The condition on that field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Match> {
        self.0.iter().find(|condition| condition.value.field() == field)
    }

    /// Removes the condition on that field.
    pub fn remove(&mut self, field: Field) -> Option<Match> {
        let at = self.0.iter().position(|condition| condition.value.field() == field)?;
        Some(self.0.remove(at))
    }

    /// All of them, in the order of [`Field`].
    pub fn iter(&self) -> std::slice::Iter<'_, Match> {
        self.0.iter()
    }

    /// Whether there is none, so that every packet matches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Matches {
    type Item = &'a Match;
    type IntoIter = std::slice::Iter<'a, Match>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
