//! What each rule wants of a field, as ranges of the field's values, and how many values those are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::addresses::AddressClasses;
use super::super::field::{ABSENT, Field, SHAPES, V6_CLASSES};
use super::super::spec::{AddressTest, EtherTest, RuleSpec, Values};
use super::{CompileError, DirectionClasses};

/// The Ethernet addresses of a field, in order, each with its class: the same rules name those of a class.
#[derive(Debug, Default)]
pub(super) struct EtherClasses {
    pub(super) addresses: Vec<(u64, u16)>,
    /// Classes, 0 among them: the addresses that no rule names.
    count: usize,
}

impl EtherClasses {
    /// From each rule's test.
    pub(super) fn new<'a>(
        field: Field,
        tests: impl Iterator<Item = Option<&'a EtherTest>>,
    ) -> Result<Self, CompileError> {
        let mut names: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (rule, test) in tests.enumerate() {
            for address in test.iter().flat_map(|test| &test.addresses) {
                let rules = names.entry(*address).or_default();
                if rules.last() != Some(&rule) {
                    rules.push(rule);
                }
            }
        }
        let mut known: HashMap<Vec<usize>, u16> = HashMap::new();
        let mut classes = Self { addresses: Vec::with_capacity(names.len()), count: 1 };
        for (address, rules) in names {
            let next = u16::try_from(classes.count).map_err(|_| CompileError::TooManyValues(field))?;
            let class = *known.entry(rules).or_insert(next);
            classes.count += usize::from(class == next);
            classes.addresses.push((address, class));
        }
        Ok(classes)
    }

    fn values(&self, test: &EtherTest) -> Values {
        let place = |address: &u64| self.addresses.binary_search_by_key(address, |(known, _)| *known).ok();
        let named: BTreeSet<u16> =
            test.addresses.iter().filter_map(place).map(|at| self.addresses[at].1).collect();
        let all = (0..=u16::MAX).take(self.count);
        let wanted = all.filter(|class| named.contains(class) != test.negated);
        Values::new(wanted.map(|class| (class, class)), false)
    }

    fn domain(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(ABSENT)
    }
}

fn address_values(classes: &DirectionClasses, test: AddressTest) -> Values {
    let wanted = |combination: &[u16], counts: bool| {
        let is_in = combination.binary_search(&test.group).is_ok();
        if test.negated { counts && !is_in } else { is_in }
    };
    let of = |combinations: &[Box<[u16]>], first: u32, counts: bool| -> Vec<(u16, u16)> {
        let classes = (u16::try_from(first).unwrap_or(0)..).zip(combinations);
        let wanted = classes.filter(|(_, combination)| wanted(combination, counts));
        wanted.map(|(class, _)| (class, class)).collect()
    };
    let v4 = of(classes.v4.combinations(), 0, test.v4);
    let v6 = of(classes.v6.combinations(), V6_CLASSES, test.v6);
    Values::new(v4.into_iter().chain(v6), false)
}

/// What all rules want, by field.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    pub(super) rules: &'a [RuleSpec],
    pub(super) interfaces: u16,
    pub(super) source: &'a DirectionClasses,
    pub(super) destination: &'a DirectionClasses,
    pub(super) ether_source: &'a EtherClasses,
    pub(super) ether_destination: &'a EtherClasses,
}

impl Conditions<'_> {
    /// What each rule wants of a field; `None` where none wants anything.
    pub(super) fn of(&self, field: Field) -> Option<Vec<Option<Values>>> {
        let wanted = self.rules.iter().map(|rule| match field {
            Field::EtherSource => rule.ether_source.as_ref().map(|test| self.ether_source.values(test)),
            Field::EtherDestination => {
                rule.ether_destination.as_ref().map(|test| self.ether_destination.values(test))
            }
            Field::Source => rule.source.map(|test| address_values(self.source, test)),
            Field::Destination => rule.destination.map(|test| address_values(self.destination, test)),
            _ => {
                let conditions = rule.values.iter().filter(|(of, _)| *of == field);
                conditions.map(|(_, values)| values.clone()).reduce(|all, one| all.and(&one))
            }
        });
        let wanted: Vec<_> = wanted.collect();
        wanted.iter().any(Option::is_some).then_some(wanted)
    }

    /// How many values a field has.
    pub(super) fn domain(&self, field: Field) -> u32 {
        let addresses = |classes: &DirectionClasses| V6_CLASSES + count(&classes.v6);
        match field {
            Field::Shape => SHAPES,
            Field::Vlan => 4096,
            Field::EtherType | Field::Length | Field::SourcePort | Field::DestinationPort => ABSENT,
            Field::Claim => 2,
            Field::Interface => u32::from(self.interfaces.max(1)),
            Field::EtherSource => self.ether_source.domain(),
            Field::EtherDestination => self.ether_destination.domain(),
            Field::Source => addresses(self.source),
            Field::Destination => addresses(self.destination),
            Field::Protocol
            | Field::TcpFlags
            | Field::IcmpType
            | Field::IcmpCode
            | Field::Icmpv6Type
            | Field::Icmpv6Code
            | Field::Ttl
            | Field::Dscp => 256,
        }
    }
}

fn count(classes: &AddressClasses<crate::keys::PrefixV6>) -> u32 {
    u32::try_from(classes.combinations().len()).unwrap_or(V6_CLASSES)
}
