//! Whether one rule matches all that another matches.
//!
//! Decides field by field: each condition of the wider rule has to follow from what is known of the packets of the
//! narrower one. "No" means only that it could not be shown. Sets are compared by name alone, and chance follows from
//! nothing, so an answer of "yes" holds whatever sets contain.

use ipnet::IpNet;

use crate::policy::ast::{Addresses, Field, Match, Rule, Test};
use crate::policy::domain::{Domain, Families, IP, NON_IP, V4, V6};
use crate::policy::ranges::Ranges;
use crate::policy::value::{Payload, TcpFlags};

use super::{fragment_bits, fragment_places};

/// The values that a condition allows, as sets that can be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Values {
    Bytes(Ranges<u8>),
    Words(Ranges<u16>),
    Addresses { v4: Ranges<u32>, v6: Ranges<u128> },
}

impl Values {
    /// Those of a condition; `None` where they cannot be told, or not as such a set.
    pub(super) fn of(condition: &Match) -> Option<Self> {
        let negated = condition.negated;
        let bytes = |ranges: &Ranges<u8>, most| {
            Self::Bytes(if negated { ranges.complement(most) } else { ranges.clone() })
        };
        let words = |ranges: &Ranges<u16>, most| {
            Self::Words(if negated { ranges.complement(most) } else { ranges.clone() })
        };
        Some(match &condition.value {
            Test::EtherType(ranges)
            | Test::SourcePort(ranges)
            | Test::DestinationPort(ranges)
            | Test::Length(ranges) => words(ranges, u16::MAX),
            Test::Vlan(ranges) => words(ranges, 4095),
            Test::Protocol(ranges)
            | Test::IcmpType(ranges)
            | Test::IcmpCode(ranges)
            | Test::Icmpv6Type(ranges)
            | Test::Icmpv6Code(ranges)
            | Test::Ttl(ranges) => bytes(ranges, u8::MAX),
            Test::Dscp(ranges) => bytes(ranges, 63),
            Test::Fragment(states) => Self::Bytes(fragment_places(fragment_bits(*states, negated))),
            Test::TcpFlags(flags) => Self::Bytes(flag_bytes(*flags, negated)),
            Test::ExtensionHeader(headers) => {
                let present = move |all: &u8| (all & headers.bits() != 0) != negated;
                Self::Bytes(Ranges::new((0..=u8::MAX).filter(present).map(|all| (all, all))))
            }
            Test::Source(Addresses::Prefixes(list)) | Test::Destination(Addresses::Prefixes(list)) => {
                Self::of_prefixes(list, negated)
            }
            Test::Source(Addresses::Set(_))
            | Test::Destination(Addresses::Set(_))
            | Test::Interface(_)
            | Test::EtherSource(_)
            | Test::EtherDestination(_)
            | Test::Unasked
            | Test::Unclaimed
            | Test::Payload(_)
            | Test::Probability(_) => return None,
        })
    }

    /// Negation stays within the families that the list has.
    fn of_prefixes(list: &[IpNet], negated: bool) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for prefix in list {
            match prefix {
                IpNet::V4(prefix) => v4.push((prefix.network().to_bits(), prefix.broadcast().to_bits())),
                IpNet::V6(prefix) => v6.push((prefix.network().to_bits(), prefix.broadcast().to_bits())),
            }
        }
        let complement = |any: bool| negated && any;
        let (any_v4, any_v6) = (!v4.is_empty(), !v6.is_empty());
        let (v4, v6) = (Ranges::new(v4), Ranges::new(v6));
        Self::Addresses {
            v4: if complement(any_v4) { v4.complement(u32::MAX) } else { v4 },
            v6: if complement(any_v6) { v6.complement(u128::MAX) } else { v6 },
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(ranges) => ranges.is_empty(),
            Self::Words(ranges) => ranges.is_empty(),
            Self::Addresses { v4, v6 } => v4.is_empty() && v6.is_empty(),
        }
    }

    /// Whether they are all that the field can have, in packets of these families.
    fn is_all(&self, families: Families) -> bool {
        match self {
            Self::Bytes(ranges) => Ranges::up_to(u8::MAX).is_subset(ranges),
            Self::Words(ranges) => Ranges::up_to(u16::MAX).is_subset(ranges),
            Self::Addresses { v4, v6 } => {
                (families & V4 == 0 || Ranges::up_to(u32::MAX).is_subset(v4))
                    && (families & V6 == 0 || Ranges::up_to(u128::MAX).is_subset(v6))
            }
        }
    }

    /// Whether they are all among those of `wider`, in packets of these families.
    fn within(&self, wider: &Self, families: Families) -> bool {
        match (self, wider) {
            (Self::Bytes(ours), Self::Bytes(theirs)) => ours.is_subset(theirs),
            (Self::Words(ours), Self::Words(theirs)) => ours.is_subset(theirs),
            (Self::Addresses { v4, v6 }, Self::Addresses { v4: wider_v4, v6: wider_v6 }) => {
                (families & V4 == 0 || v4.is_subset(wider_v4))
                    && (families & V6 == 0 || v6.is_subset(wider_v6))
            }
            _ => false,
        }
    }
}

fn flag_bytes(flags: TcpFlags, negated: bool) -> Ranges<u8> {
    let meant = move |byte: &u8| flags.holds(*byte) != negated;
    Ranges::new((0..=u8::MAX).filter(meant).map(|byte| (byte, byte)))
}

/// A rule, and what comparing it needs.
pub(super) struct Known<'r> {
    pub(super) rule: &'r Rule,
    pub(super) domain: Domain,
    /// What each of its matches allows.
    pub(super) values: Vec<Option<Values>>,
}

impl<'r> Known<'r> {
    pub(super) fn new(rule: &'r Rule) -> Self {
        Self { rule, domain: Domain::of(rule), values: rule.matches.iter().map(Values::of).collect() }
    }

    /// Whether `wider`, as far as can be shown, matches and acts on every packet that this rule matches.
    pub(super) fn is_covered_by(&self, wider: &Self) -> bool {
        self.domain.families & !wider.domain.families == 0
            && wider
                .rule
                .matches
                .iter()
                .zip(&wider.values)
                .all(|(condition, values)| self.implies(condition, values.as_ref()))
    }

    /// Whether the condition, which allows `values`, holds for every packet that this rule matches.
    fn implies(&self, wider: &Match, values: Option<&Values>) -> bool {
        let field = wider.value.field();
        let ours = self.rule.matches.iter().zip(&self.values);
        let mut ours = ours.filter(|(condition, _)| condition.value.field() == field);
        match (ours.next(), values) {
            (Some((narrower, _)), _) if narrower == wider && field != Field::Probability => true,
            (Some((_, Some(ours))), Some(theirs)) => {
                ours.within(theirs, self.domain.families) || self.follows(wider, theirs)
            }
            (_, Some(theirs)) => self.follows(wider, theirs),
            (Some((narrower, _)), None) => lists_imply(narrower, wider),
            (None, None) => false,
        }
    }

    /// Whether the condition, which allows these values, follows from what the rule says of other fields.
    fn follows(&self, wider: &Match, values: &Values) -> bool {
        let domain = &self.domain;
        let only_ip = domain.families & NON_IP == 0;
        let all = values.is_all(domain.families);
        match wider.value.field() {
            // Known from the family.
            Field::EtherType => {
                let types = [(V4, 0x0800), (V6, 0x86dd)].into_iter();
                let types = types.filter(|(family, _)| domain.families & family != 0);
                let ours = Values::Words(Ranges::new(types.map(|(_, number)| (number, number))));
                only_ip && ours.within(values, IP)
            }
            Field::Protocol => only_ip && Values::Bytes(domain.protocols.clone()).within(values, IP),
            Field::Fragment => only_ip && Values::Bytes(fragment_places(domain.fragments)).within(values, IP),
            // There in every packet of the family.
            // All addresses of a family, which a list of the other family never has.
            Field::Source | Field::Destination => only_ip && all,
            Field::Length => {
                let lengths = Values::Words(Ranges::new([(domain.least_length(), u16::MAX)]));
                only_ip && lengths.within(values, IP)
            }
            Field::Ttl => only_ip && all,
            Field::Dscp => only_ip && Values::Bytes(Ranges::up_to(63)).within(values, IP),
            Field::ExtensionHeader => all && domain.families == V6,
            // There in every packet that has another field of the same header.
            Field::SourcePort | Field::DestinationPort => all && domain.has_ports,
            Field::TcpFlags => all && domain.has_ports && domain.protocols == Ranges::one(6),
            Field::IcmpType | Field::IcmpCode => all && self.says_any(&[Field::IcmpType, Field::IcmpCode]),
            Field::Icmpv6Type | Field::Icmpv6Code => {
                all && self.says_any(&[Field::Icmpv6Type, Field::Icmpv6Code])
            }
            Field::Interface
            | Field::EtherSource
            | Field::EtherDestination
            | Field::Vlan
            | Field::Unasked
            | Field::Unclaimed
            | Field::Payload
            | Field::Probability => false,
        }
    }

    fn says_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.rule.matches.get(*field).is_some())
    }
}

/// Whether one condition on a field whose values are names or bytes implies another on the same field.
fn lists_imply(narrower: &Match, wider: &Match) -> bool {
    let signs = (narrower.negated, wider.negated);
    match (&narrower.value, &wider.value) {
        (Test::Interface(ours), Test::Interface(theirs)) => list_implies(ours, theirs, signs),
        (Test::EtherSource(ours), Test::EtherSource(theirs))
        | (Test::EtherDestination(ours), Test::EtherDestination(theirs)) => list_implies(ours, theirs, signs),
        (Test::Payload(ours), Test::Payload(theirs)) => payload_implies(ours, theirs, signs),
        (_, Test::Probability(ratio)) => {
            if wider.negated {
                ratio.is_zero()
            } else {
                ratio.is_one()
            }
        }
        _ => false,
    }
}

fn list_implies<T: PartialEq>(ours: &[T], theirs: &[T], (negated, wider_negated): (bool, bool)) -> bool {
    match (negated, wider_negated) {
        (false, false) => ours.iter().all(|value| theirs.contains(value)),
        (true, true) => theirs.iter().all(|value| ours.contains(value)),
        (false, true) => ours.iter().all(|value| !theirs.contains(value)),
        (true, false) => false,
    }
}

/// Only a payload that is known to be this can imply anything about the bytes in it; and it has to be long enough for
/// the other condition to be looked at.
fn payload_implies(ours: &Payload, theirs: &Payload, (negated, wider_negated): (bool, bool)) -> bool {
    if negated || theirs.end() > ours.end() {
        return false;
    }
    let known = |at: usize| {
        let index = at.checked_sub(usize::from(ours.offset()));
        index.map_or((0, 0), |index| (ours.value()[index], ours.mask()[index]))
    };
    let mut bytes = theirs.value().iter().zip(theirs.mask()).enumerate().map(|(index, (value, mask))| {
        let (our_value, our_mask) = known(usize::from(theirs.offset()) + index);
        (our_value, our_mask, *value, *mask)
    });
    if wider_negated {
        bytes.any(|(our_value, our_mask, value, mask)| (our_value ^ value) & our_mask & mask != 0)
    } else {
        bytes.all(|(our_value, our_mask, value, mask)| mask & !our_mask == 0 && our_value & mask == value)
    }
}
