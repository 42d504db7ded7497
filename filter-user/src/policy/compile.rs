//! From rules as they are written to rules as the filter's classifier takes them.
//!
//! Decides what each condition means in values of the classifier's fields: negation and absence end here, as what a
//! packet does not have fulfils neither a condition nor its opposite. Trusts the policy's own checks: lists are sorted
//! and in bounds. Names of interfaces and sets become numbers; what they stand for is given by the caller. Costs time
//! linear in the rules and in the entries of the sets that they name.

use std::collections::HashMap;
use std::time::Duration;

use filter_common::abi::MAX_OWN_ADDRESSES;
use filter_common::keys::{PrefixV4, PrefixV6};
use filter_common::parse::Fragment;
use filter_common::policy::claimed::NOT_NOTED;
use filter_common::policy::classifier::addresses::AddressGroup;
use filter_common::policy::classifier::field::{Field as Fact, shape_v4, shape_v6};
use filter_common::policy::classifier::record::{self, PayloadTest};
use filter_common::policy::classifier::spec::{AddressTest, EtherTest, RuleSpec, RulesSpec, Values, most};
use filter_common::policy::syn;
use ipnet::IpNet;

use super::{
    Above, Action, Addresses, Defence, DefendBy, ExtensionHeaders, Field, FragmentStates, InterfaceName,
    Limit, MacAddress, Match, Mode, Payload, Per, Rate, Rule, TcpFlags, Test,
};
use crate::engine::SetName;
use crate::tables::TablePrefix;

/// The highest id of a VLAN tag, and the highest code point.
const MOST_VLAN: u16 = 4095;
const MOST_DSCP: u16 = 63;

/// What names in rules stand for.
pub trait Names {
    /// What a set holds now.
    fn set(&self, name: &SetName) -> Vec<IpNet>;
    /// The kernel's index of an interface; `None` where there is none of that name.
    fn interface_index(&self, name: &InterfaceName) -> Option<u32>;
}

/// Rules, ready for the classifier, and what they refer to by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rules. Their counters are their places.
    pub spec: RulesSpec,
    /// Interfaces that rules name: the first has class 1.
    pub interfaces: Vec<InterfaceName>,
    /// Limits, by the numbers that the rules' records have.
    pub limits: Vec<PlannedLimit>,
    /// Sets that rules name, and their groups.
    pub sets: HashMap<SetName, u16>,
}

/// Why rules cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A rule sends packets out of an interface that there is not.
    #[error("there is no interface {interface}, which rule {} redirects to", rule + 1)]
    NoInterface {
        /// The rule, from 0 on.
        rule: usize,
        /// The interface.
        interface: InterfaceName,
    },
    /// More groups of addresses than there are numbers for.
    #[error("the rules name more than 65,535 lists of addresses")]
    TooManyGroups,
}

/// Plans rules.
///
/// # Errors
/// [`PlanError`].
pub fn plan(rules: &[Rule], names: &impl Names) -> Result<Plan, PlanError> {
    let mut planner = Planner { plan: Plan::default(), lists: HashMap::new(), names };
    let mut specs = Vec::with_capacity(rules.len());
    for (number, rule) in rules.iter().enumerate() {
        specs.push(planner.rule(number, rule)?);
    }
    let mut plan = planner.plan;
    plan.spec.rules = specs;
    // Class 0 is that of interfaces which no rule names.
    plan.spec.interfaces = number(plan.interfaces.len() + 1);
    Ok(plan)
}

struct Planner<'a, N> {
    plan: Plan,
    lists: HashMap<Vec<IpNet>, u16>,
    names: &'a N,
}

/// A count of things that rules name, of which there are at most 4,096 times 64.
fn number(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A limit of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLimit {
    /// As the rule has it.
    pub limit: Limit,
    /// The keys that it can have; none where there may be any number.
    pub keys: Option<u32>,
}

/// How many keys a limit of that rule can have.
fn keys(per: Per, rule: &Rule) -> Option<u32> {
    // Only what is for addresses of this host is claimed or unclaimed. In a replay of what is for more, they share buckets,
    // and what gives way is forgiven.
    let is_own = per == Per::Destination && rule.matches.get(Field::Unclaimed).is_some();
    is_own.then_some(MAX_OWN_ADDRESSES)
}

impl<N: Names> Planner<'_, N> {
    fn rule(&mut self, place: usize, rule: &Rule) -> Result<RuleSpec, PlanError> {
        let (action, argument) = self.action(place, rule)?;
        let counter = u32::try_from(place).unwrap_or(u32::MAX);
        let mut spec = RuleSpec::new(action, counter);
        spec.argument = argument;
        if let Action::Defend(defence) = &rule.action {
            spec.defence = Some(self.defence(defence));
            let verifies = matches!(defence.by, DefendBy::Verify(_));
            let flags = (0..=u8::MAX).filter(|flags| syn::concerns(*flags, verifies)).map(u16::from);
            spec.values.push((Fact::TcpFlags, Values::new(flags.map(|flags| (flags, flags)), false)));
        }
        spec.counts_only = rule.mode == Mode::Count;
        if needs_ip(&rule.action) {
            spec.values.push((Fact::Shape, shapes(FragmentStates::ALL, |_| true, true)));
        }
        for condition in &rule.matches {
            self.condition(&mut spec, condition)?;
        }
        Ok(spec)
    }

    fn action(&mut self, place: usize, rule: &Rule) -> Result<(record::Action, u32), PlanError> {
        Ok(match &rule.action {
            Action::Drop => (record::Action::Drop, 0),
            Action::Pass => (record::Action::Pass, 0),
            Action::Count => (record::Action::Count, 0),
            Action::Ban(time) => (record::Action::Ban, u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            Action::Sample(part) => (record::Action::Sample, most(part.of_u32()).unwrap_or(0)),
            Action::Limit(limit) => (record::Action::Limit, self.limit(*limit, keys(limit.per, rule))),
            Action::Defend(Defence { by: DefendBy::Limit(limit), .. }) => {
                (record::Action::Defend, self.limit(*limit, keys(limit.per, rule)))
            }
            Action::Defend(_) => (record::Action::Defend, 0),
            Action::Redirect(interface) => {
                let index = self.names.interface_index(interface);
                let missing = || PlanError::NoInterface { rule: place, interface: interface.clone() };
                (record::Action::Redirect, index.ok_or_else(missing)?)
            }
        })
    }

    /// The number of another limit.
    fn limit(&mut self, limit: Limit, keys: Option<u32>) -> u32 {
        self.plan.limits.push(PlannedLimit { limit, keys });
        u32::try_from(self.plan.limits.len() - 1).unwrap_or(u32::MAX)
    }

    /// A defence, with the two limits of its gate.
    fn defence(&mut self, defence: &Defence) -> syn::Defence {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let gate = defence.above.map(|Above { rate, hold }| {
            let [limit, _] = [rate, rate.div_ceil(2)]
                .map(|rate| Limit { rate: Rate::Packets(rate), burst: rate, per: Per::Total })
                .map(|limit| self.limit(limit, None));
            syn::Gate { limit, hold_s: u16::try_from(hold.as_secs()).unwrap_or(u16::MAX) }
        });
        let (mode, trust_s) = match defence.by {
            DefendBy::Cookie => (syn::Mode::Cookie, 0),
            DefendBy::Verify(trust) => (syn::Mode::Verify, seconds(trust)),
            DefendBy::Limit(_) => (syn::Mode::Limit, 0),
        };
        syn::Defence { mode, gate, trust_s }
    }

    fn condition(&mut self, spec: &mut RuleSpec, condition: &Match) -> Result<(), PlanError> {
        let negated = condition.negated;
        let wide = |ranges: &super::Ranges<u8>| ranges.widen();
        let (fact, wanted) = match &condition.value {
            Test::Interface(list) => (Fact::Interface, self.interfaces(list, negated)),
            Test::EtherSource(list) => {
                spec.ether_source = Some(ether(list, negated));
                return Ok(());
            }
            Test::EtherDestination(list) => {
                spec.ether_destination = Some(ether(list, negated));
                return Ok(());
            }
            Test::Source(addresses) => {
                spec.source = Some(self.addresses(addresses, negated)?);
                return Ok(());
            }
            Test::Destination(addresses) => {
                spec.destination = Some(self.addresses(addresses, negated)?);
                return Ok(());
            }
            Test::Payload(payload) => {
                spec.payload = Some(payload_test(payload, negated));
                return Ok(());
            }
            Test::Unasked => {
                spec.asked = Some(negated);
                return Ok(());
            }
            Test::Unclaimed => {
                spec.claimed = Some(negated);
                if negated {
                    return Ok(());
                }
                // What is known not to be unclaimed is none of the rule's candidates.
                (Fact::Claim, Values::new([(NOT_NOTED, NOT_NOTED)], false))
            }
            Test::Probability(part) => {
                let hits = part.of_u32();
                spec.chance = Some(if negated { (1 << 32) - hits } else { hits });
                return Ok(());
            }
            Test::EtherType(ranges) => (Fact::EtherType, values(ranges, u16::MAX, negated)),
            Test::Vlan(ranges) => (Fact::Vlan, values(ranges, MOST_VLAN, negated)),
            Test::Protocol(ranges) => (Fact::Protocol, values(&wide(ranges), 255, negated)),
            Test::SourcePort(ranges) => (Fact::SourcePort, values(ranges, u16::MAX, negated)),
            Test::DestinationPort(ranges) => (Fact::DestinationPort, values(ranges, u16::MAX, negated)),
            Test::TcpFlags(flags) => (Fact::TcpFlags, tcp_flags(*flags, negated)),
            Test::IcmpType(ranges) => (Fact::IcmpType, values(&wide(ranges), 255, negated)),
            Test::IcmpCode(ranges) => (Fact::IcmpCode, values(&wide(ranges), 255, negated)),
            Test::Icmpv6Type(ranges) => (Fact::Icmpv6Type, values(&wide(ranges), 255, negated)),
            Test::Icmpv6Code(ranges) => (Fact::Icmpv6Code, values(&wide(ranges), 255, negated)),
            Test::Length(ranges) => (Fact::Length, values(ranges, u16::MAX, negated)),
            Test::Ttl(ranges) => (Fact::Ttl, values(&wide(ranges), 255, negated)),
            Test::Dscp(ranges) => (Fact::Dscp, values(&wide(ranges), MOST_DSCP, negated)),
            Test::Fragment(states) => (Fact::Shape, fragments(*states, negated)),
            Test::ExtensionHeader(headers) => (Fact::Shape, extensions(*headers, negated)),
        };
        spec.values.push((fact, wanted));
        Ok(())
    }

    fn interfaces(&mut self, list: &[InterfaceName], negated: bool) -> Values {
        let known = &mut self.plan.interfaces;
        let classes: Vec<u16> = list
            .iter()
            .map(|name| {
                let place = known.iter().position(|other| other == name).unwrap_or_else(|| {
                    known.push(name.clone());
                    known.len() - 1
                });
                number(place + 1)
            })
            .collect();
        let named = super::Ranges::new(classes.into_iter().map(|class| (class, class)));
        values(&named, u16::MAX, negated)
    }

    fn addresses(&mut self, addresses: &Addresses, negated: bool) -> Result<AddressTest, PlanError> {
        match addresses {
            Addresses::Prefixes(list) => {
                let group = match self.lists.get(list) {
                    Some(group) => *group,
                    None => {
                        let group = self.group(list, false)?;
                        self.lists.insert(list.clone(), group);
                        group
                    }
                };
                let v4 = list.iter().any(|prefix| prefix.addr().is_ipv4());
                let v6 = list.iter().any(|prefix| prefix.addr().is_ipv6());
                Ok(AddressTest { group, negated, v4, v6 })
            }
            Addresses::Set(name) => {
                let group = match self.plan.sets.get(name) {
                    Some(group) => *group,
                    None => {
                        let group = self.group(&self.names.set(name), true)?;
                        self.plan.sets.insert(name.clone(), group);
                        group
                    }
                };
                Ok(AddressTest { group, negated, v4: true, v6: true })
            }
        }
    }

    fn group(&mut self, list: &[IpNet], changes: bool) -> Result<u16, PlanError> {
        let (mut v4, mut v6): (Vec<PrefixV4>, Vec<PrefixV6>) = (Vec::new(), Vec::new());
        for prefix in list {
            match TablePrefix::from(*prefix) {
                TablePrefix::V4(prefix) => v4.push(prefix),
                TablePrefix::V6(prefix) => v6.push(prefix),
            }
        }
        let group = u16::try_from(self.plan.spec.groups.len()).map_err(|_| PlanError::TooManyGroups)?;
        self.plan.spec.groups.push(AddressGroup { v4, v6, changes });
        Ok(group)
    }
}

/// Whether an action is about IP packets alone.
const fn needs_ip(action: &Action) -> bool {
    match action {
        Action::Ban(_) | Action::Defend(_) => true,
        Action::Limit(Limit { per, .. }) => !matches!(per, Per::Total),
        Action::Drop | Action::Pass | Action::Count | Action::Sample(_) | Action::Redirect(_) => false,
    }
}

/// These numbers, or, of those up to `most`, the others.
fn values(ranges: &super::Ranges<u16>, most: u16, negated: bool) -> Values {
    let complement = negated.then(|| ranges.complement(most));
    Values::new(complement.as_ref().unwrap_or(ranges).as_slice().iter().copied(), false)
}

fn ether(list: &[MacAddress], negated: bool) -> EtherTest {
    let number =
        |MacAddress([a, b, c, d, e, f]): &MacAddress| u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    EtherTest { addresses: list.iter().map(number).collect(), negated }
}

fn tcp_flags(flags: TcpFlags, negated: bool) -> Values {
    let hold = (0..=u8::MAX).filter(|byte| flags.holds(*byte) != negated).map(u16::from);
    Values::new(hold.map(|byte| (byte, byte)), false)
}

/// IP packets in these fragment states: of IPv6 those whose extension headers will do, of IPv4 all or none.
fn shapes(states: u8, headers: impl Fn(u8) -> bool, v4: bool) -> Values {
    let fragments = [Fragment::None, Fragment::First, Fragment::Later];
    let wanted = fragments.into_iter().enumerate().filter(|(bit, _)| states >> bit & 1 != 0);
    let mut ranges = Vec::new();
    let mut push = |shape: u32| ranges.extend(u16::try_from(shape).map(|shape| (shape, shape)));
    for (_, fragment) in wanted {
        if v4 {
            push(shape_v4(fragment));
        }
        (0..=u8::MAX).filter(|bits| headers(*bits)).for_each(|bits| push(shape_v6(fragment, bits)));
    }
    Values::new(ranges, false)
}

fn fragments(states: FragmentStates, negated: bool) -> Values {
    let states = if negated { FragmentStates::ALL & !states.bits() } else { states.bits() };
    shapes(states, |_| true, true)
}

fn extensions(headers: ExtensionHeaders, negated: bool) -> Values {
    shapes(FragmentStates::ALL, |bits| (bits & headers.bits() != 0) != negated, false)
}

fn payload_test(payload: &Payload, negated: bool) -> PayloadTest {
    let words = |bytes: &[u8]| {
        let mut padded = [0; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        let [first, second] = [0, 8].map(|at| std::array::from_fn(|byte| padded[at + byte]));
        [u64::from_be_bytes(first), u64::from_be_bytes(second)]
    };
    PayloadTest {
        offset: payload.offset(),
        length: u8::try_from(payload.value().len()).unwrap_or(u8::MAX),
        negated,
        value: words(payload.value()),
        mask: words(payload.mask()),
    }
}
