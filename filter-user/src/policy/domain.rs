//! Which packets a rule can be about at all: their family, protocol, fragment state and least length.
//!
//! Decides which matches exclude each other (`saddr` of IPv4 and `daddr` of IPv6, `dport` and `icmp`), and tells the
//! warnings what a rule implies without saying it. Everything here errs to one side: a packet that the rule matches
//! always lies in its domain.

use super::ast::{Action, Addresses, Field, Match, Rule, Test};
use super::draft::Located;
use super::error::Fault;
use super::problem::Findings;
use super::ranges::Ranges;
use super::source::Span;
use super::value::{FragmentStates, Per};

/// Kinds of frames, as bits.
pub(super) type Families = u8;
/// IPv4.
pub(super) const V4: Families = 1;
/// IPv6.
pub(super) const V6: Families = 2;
/// Everything else.
pub(super) const NON_IP: Families = 4;
/// Either family.
pub(super) const IP: Families = V4 | V6;
const ANY: Families = IP | NON_IP;

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What a rule, or one part of it, confines packets to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) families: Families,
    /// Of IP packets.
    pub(super) protocols: Ranges<u8>,
    /// Bits of [`FragmentStates`], of IP packets.
    pub(super) fragments: u8,
    /// There is a TCP or UDP header in the packet.
    pub(super) has_ports: bool,
    /// Bytes that a packet's payload has at least.
    pub(super) payload: u16,
}

impl Domain {
    fn families(families: Families) -> Self {
        Self {
            families,
            protocols: Ranges::up_to(u8::MAX),
            fragments: FragmentStates::ALL,
            has_ports: false,
            payload: 0,
        }
    }

    /// Of packets with a header of one of these protocols in them, which later fragments have not.
    fn headed(families: Families, protocols: &[u8]) -> Self {
        Self {
            protocols: Ranges::new(protocols.iter().map(|protocol| (*protocol, *protocol))),
            fragments: FragmentStates::NO | FragmentStates::FIRST,
            ..Self::families(families)
        }
    }

    fn with_ports(protocols: &[u8]) -> Self {
        Self { has_ports: true, ..Self::headed(IP, protocols) }
    }

    /// The packets that one condition can hold for.
    fn of_condition(condition: &Match) -> Self {
        match &condition.value {
            Test::Interface(_)
            | Test::EtherSource(_)
            | Test::EtherDestination(_)
            | Test::Vlan(_)
            | Test::Probability(_) => Self::families(ANY),
            Test::EtherType(types) => Self::families(of_ether_types(types, condition.negated)),
            Test::Source(addresses) | Test::Destination(addresses) => Self::families(of_addresses(addresses)),
            Test::Protocol(protocols) => {
                let protocols =
                    if condition.negated { protocols.complement(u8::MAX) } else { protocols.clone() };
                Self { protocols, ..Self::families(IP) }
            }
            Test::SourcePort(_) | Test::DestinationPort(_) => Self::with_ports(&[TCP, UDP]),
            Test::TcpFlags(_) => Self::with_ports(&[TCP]),
            Test::IcmpType(_) | Test::IcmpCode(_) => Self::headed(V4, &[ICMP]),
            Test::Icmpv6Type(_) | Test::Icmpv6Code(_) => Self::headed(V6, &[ICMPV6]),
            Test::Length(_) | Test::Ttl(_) | Test::Dscp(_) => Self::families(IP),
            Test::Fragment(states) => {
                let bits = states.bits();
                let fragments = if condition.negated { FragmentStates::ALL & !bits } else { bits };
                Self { fragments, ..Self::families(IP) }
            }
            Test::ExtensionHeader(_) => Self::families(V6),
            Test::Unasked => {
                let protocols = [ICMP, TCP, UDP, ICMPV6].map(|protocol| (protocol, protocol));
                Self { protocols: Ranges::new(protocols), ..Self::families(IP) }
            }
            Test::Unclaimed => Self::with_ports(&[TCP, UDP]),
            Test::Payload(payload) => Self {
                payload: u16::try_from(payload.end()).unwrap_or(u16::MAX),
                protocols: Ranges::up_to(u8::MAX),
                ..Self::headed(IP, &[])
            },
        }
    }

    /// The packets that the action can do something about: without a source there is nothing to ban.
    fn of_action(action: &Action) -> Self {
        match action {
            Action::Ban(_) => Self::families(IP),
            Action::Defend(_) => Self::with_ports(&[TCP]),
            Action::Limit(limit) => match limit.per {
                Per::Source { .. } | Per::Destination | Per::Service => Self::families(IP),
                Per::Total => Self::families(ANY),
            },
            Action::Drop | Action::Pass | Action::Count | Action::Sample(_) | Action::Redirect(_) => {
                Self::families(ANY)
            }
        }
    }

    /// The packets that a rule can be about.
    pub(super) fn of(rule: &Rule) -> Self {
        rule.matches
            .iter()
            .map(Self::of_condition)
            .fold(Self::of_action(&rule.action), |all, one| all.and(&one))
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            families: self.families & other.families,
            protocols: self.protocols.intersection(&other.protocols),
            fragments: self.fragments & other.fragments,
            has_ports: self.has_ports || other.has_ports,
            payload: self.payload.max(other.payload),
        }
    }

    /// Whether no packet is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.families == 0
            || self.families & NON_IP == 0 && (self.protocols.is_empty() || self.fragments == 0)
    }

    /// Bytes of the shortest packet in it, as far as its headers are known.
    pub(super) fn least_length(&self) -> u16 {
        let ip = if self.families & V4 != 0 { 20 } else { 40 };
        let l4 = match (self.has_ports, self.protocols.contains(UDP)) {
            (false, _) => 0,
            (true, true) => 8,
            (true, false) => 20,
        };
        ip + l4 + self.payload
    }
}

fn of_ether_types(types: &Ranges<u16>, negated: bool) -> Families {
    let types = if negated { types.complement(u16::MAX) } else { types.clone() };
    let ip = Ranges::new([(ETHER_IPV4, ETHER_IPV4), (ETHER_IPV6, ETHER_IPV6)]);
    let mut families = if types.is_subset(&ip) { 0 } else { NON_IP };
    families |= if types.contains(ETHER_IPV4) { V4 } else { 0 };
    families | if types.contains(ETHER_IPV6) { V6 } else { 0 }
}

fn of_addresses(addresses: &Addresses) -> Families {
    match addresses {
        Addresses::Prefixes(prefixes) => {
            let family = |prefix: &ipnet::IpNet| if prefix.addr().is_ipv4() { V4 } else { V6 };
            prefixes.iter().map(family).fold(0, |all, one| all | one)
        }
        Addresses::Set(_) => IP,
    }
}

/// One part of a rule and what it confines packets to.
struct Part {
    words: &'static str,
    field: Option<Field>,
    span: Span,
    domain: Domain,
}

/// Notes the first two parts of the rule that exclude each other; whether there are none.
pub(super) fn check(located: &Located, findings: &mut Findings) -> bool {
    let rule = &located.rule;
    let action = Part {
        words: "the action",
        field: None,
        span: located.spans.action,
        domain: Domain::of_action(&rule.action),
    };
    let mut parts = vec![action];
    parts.extend(rule.matches.iter().map(|condition| {
        let field = condition.value.field();
        let span = located.spans.field(field);
        Part { words: field.words(), field: Some(field), span, domain: Domain::of_condition(condition) }
    }));
    // What can never match by itself is a warning of its own.
    parts.retain(|part| !part.domain.is_empty());
    // In the order of the text, so that the later part is the one at fault.
    parts.sort_by_key(|part| part.span);
    for (index, second) in parts.iter().enumerate() {
        for first in &parts[..index] {
            if let Some(fault) = conflict(first, second) {
                let note = asks(first, &fault.1);
                findings.related(fault.0, second.span, first.span, note);
                return false;
            }
        }
    }
    true
}

/// What two parts disagree about.
enum About {
    Family,
    Protocol,
    Fragment,
}

fn conflict(first: &Part, second: &Part) -> Option<(Fault, About)> {
    let both = first.domain.and(&second.domain);
    let about = if both.families == 0 {
        About::Family
    } else if both.protocols.is_empty() && both.families & NON_IP == 0 {
        About::Protocol
    } else if both.fragments == 0 {
        About::Fragment
    } else if icmp_of_other_family(&both).is_some() {
        About::Family
    } else {
        return None;
    };
    let hint = hint(first, second, &both, &about);
    let name = |part: &Part| match part.field {
        Some(_) => format!("`{}`", part.words),
        None => part.words.to_owned(),
    };
    let asks_first = asks(first, &about);
    let asks_second = asks(second, &about);
    let between = format!(
        "no packet can match both: {} is about {asks_first}, {} about {asks_second}",
        name(first),
        name(second)
    );
    let fault = Fault::Conflict { between: between.into(), asks: asks_second.into(), hint: None };
    Some((fault.with_hint(hint), about))
}

/// ICMP in IPv6 or the other way, which no host sends and no rule means; the protocol that is meant.
fn icmp_of_other_family(domain: &Domain) -> Option<&'static str> {
    match domain.families {
        V6 if domain.protocols == Ranges::one(ICMP) => Some("icmpv6"),
        V4 if domain.protocols == Ranges::one(ICMPV6) => Some("icmp"),
        _ => None,
    }
}

/// What a part wants of packets.
fn asks(part: &Part, about: &About) -> String {
    let domain = &part.domain;
    match about {
        About::Family => match domain.families {
            IP if domain.protocols == Ranges::one(ICMP) => "ICMP, which is IPv4's",
            IP if domain.protocols == Ranges::one(ICMPV6) => "ICMPv6, which is IPv6's",
            V4 => "IPv4",
            V6 => "IPv6",
            IP => "IP",
            NON_IP => "frames other than IP",
            0 => "nothing",
            families if families & V4 == 0 => "anything but IPv4",
            _ => "anything but IPv6",
        }
        .to_owned(),
        About::Protocol => match domain.protocols.as_slice() {
            [(TCP, TCP)] => "TCP".to_owned(),
            [(UDP, UDP)] => "UDP".to_owned(),
            [(TCP, TCP), (UDP, UDP)] => "TCP or UDP".to_owned(),
            [(ICMP, ICMP)] => "ICMP".to_owned(),
            [(ICMPV6, ICMPV6)] => "ICMPv6".to_owned(),
            [(low, high)] if low == high => format!("protocol {low}"),
            _ => "other protocols".to_owned(),
        },
        About::Fragment => match domain.fragments {
            FragmentStates::LATER => "later fragments",
            0 => "nothing",
            _ if domain.fragments & FragmentStates::LATER == 0 => "packets with their headers",
            _ => "fragments",
        }
        .to_owned(),
    }
}

fn hint(first: &Part, second: &Part, both: &Domain, about: &About) -> String {
    match about {
        About::Family => match icmp_of_other_family(both) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if first.domain.families | second.domain.families == IP => {
                "write a rule for each family".to_owned()
            }
            None => "only IP packets have addresses, ports and the like".to_owned(),
        },
        About::Protocol => {
            let has = |field| first.field == Some(field) || second.field == Some(field);
            if has(Field::TcpFlags) {
                "only TCP has flags".to_owned()
            } else if has(Field::SourcePort) || has(Field::DestinationPort) {
                "only TCP and UDP have ports here".to_owned()
            } else {
                "write a rule for each protocol".to_owned()
            }
        }
        About::Fragment => "later fragments have no ports, flags, types or payload to look at".to_owned(),
    }
}
