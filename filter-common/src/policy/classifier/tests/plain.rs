//! The language read plainly: rules one after the other, their conditions one after the other, nothing prepared.

use super::super::field::Field;
use super::super::record::{Action, PayloadTest};
use super::super::simple::Counts;
use super::super::spec::{AddressTest, EtherTest, RuleSpec, RulesSpec, Values};
use super::super::walk::{Effects, OutcomeKind};
use super::{Address, Packet};
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use crate::policy::asked::Asked;
use crate::policy::claimed::Claim;
use crate::policy::syn::reply::Answer;
use crate::policy::syn::{Defence, Defender, Mode, Segment};

/// A condition on a field, as a policy writes it.
#[derive(Clone, Debug)]
pub struct Condition {
    pub field: Field,
    pub ranges: Vec<(u16, u16)>,
    pub negated: bool,
    /// Whether the absence of the field will do as well, which no policy can say yet.
    pub or_absent: bool,
}

/// A rule, as a policy writes it.
#[derive(Clone, Debug)]
pub struct Rule {
    pub conditions: Vec<Condition>,
    pub ether_source: Option<EtherTest>,
    pub ether_destination: Option<EtherTest>,
    pub source: Option<AddressTest>,
    pub destination: Option<AddressTest>,
    /// Offset, value, mask, negated.
    pub payload: Option<(u8, Vec<u8>, Vec<u8>, bool)>,
    /// Whether the host has to have asked.
    pub asked: Option<bool>,
    /// Whether a socket has to take it.
    pub claimed: Option<bool>,
    pub chance: Option<u64>,
    pub action: Action,
    pub argument: u32,
    pub defence: Option<Defence>,
    pub counts_only: bool,
}

impl Rule {
    /// One that matches everything.
    pub const fn new(action: Action) -> Self {
        Self {
            conditions: Vec::new(),
            ether_source: None,
            ether_destination: None,
            source: None,
            destination: None,
            payload: None,
            asked: None,
            claimed: None,
            chance: None,
            action,
            argument: 0,
            defence: None,
            counts_only: false,
        }
    }
}

/// What the compiler is given for rules.
pub fn spec(
    rules: &[Rule],
    groups: Vec<super::super::addresses::AddressGroup>,
    interfaces: u16,
) -> RulesSpec {
    let rules = (1000..).zip(rules).map(|(counter, rule)| RuleSpec {
        values: rule.conditions.iter().map(|condition| (condition.field, values(condition))).collect(),
        ether_source: rule.ether_source.clone(),
        ether_destination: rule.ether_destination.clone(),
        source: rule.source,
        destination: rule.destination,
        payload: rule.payload.as_ref().map(|(offset, value, mask, negated)| PayloadTest {
            offset: *offset,
            length: u8::try_from(value.len()).expect("at most 16"),
            negated: *negated,
            value: words(value),
            mask: words(mask),
        }),
        asked: rule.asked,
        claimed: rule.claimed,
        chance: rule.chance,
        argument: rule.argument,
        defence: rule.defence,
        counts_only: rule.counts_only,
        ..RuleSpec::new(rule.action, counter)
    });
    RulesSpec { rules: rules.collect(), groups, interfaces }
}

fn values(condition: &Condition) -> Values {
    if !condition.negated {
        return Values::new(condition.ranges.iter().copied(), condition.or_absent);
    }
    let accepted = |value: &u16| !condition.ranges.iter().any(|(low, high)| (low..=high).contains(&value));
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for value in (0..=u16::MAX).filter(accepted) {
        match ranges.last_mut() {
            Some((_, high)) if u32::from(*high) + 1 == value.into() => *high = value,
            _ => ranges.push((value, value)),
        }
    }
    Values::new(ranges, condition.or_absent)
}

fn words(bytes: &[u8]) -> [u64; 2] {
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    let (first, second) = padded.split_at(8);
    [first, second].map(|half| u64::from_be_bytes(half.try_into().expect("eight bytes")))
}

/// What happened in a walk, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Counted(u32),
    Charged(u32, u64),
    Banned(u32, u64),
    Shown(u32),
}

/// A world in which chance and limits are functions of a seed.
#[derive(Debug)]
pub struct World<'a> {
    pub packet: &'a Packet,
    pub seed: u64,
    pub draws: u64,
    pub clock_reads: u32,
    pub events: Vec<Event>,
}

pub const TIME: u64 = 1_234_567_890_123;

impl<'a> World<'a> {
    pub const fn new(packet: &'a Packet, seed: u64) -> Self {
        Self { packet, seed, draws: 0, clock_reads: 0, events: Vec::new() }
    }
}

impl Counts for World<'_> {
    fn count(&mut self, counter: u32) {
        self.events.push(Event::Counted(counter));
    }

    fn meets(&mut self, _: u32) {}
}

impl Effects for World<'_> {
    fn count(&mut self, counter: u32) {
        self.events.push(Event::Counted(counter));
    }

    fn now(&mut self) -> u64 {
        self.clock_reads += 1;
        TIME
    }

    fn random(&mut self) -> u32 {
        self.draws += 1;
        u32::try_from(super::generate::mixed(self.seed ^ self.draws) >> 32).expect("32 bits")
    }

    fn is_over(&mut self, limit: u32, now: u64) -> bool {
        self.events.push(Event::Charged(limit, now));
        super::generate::mixed(self.seed ^ u64::from(limit)).is_multiple_of(2)
    }

    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)> {
        let begin = offset as usize;
        let bytes = self.packet.payload.as_ref()?.get(begin..begin + length as usize)?;
        let [first, second] = words(bytes);
        Some((first, second))
    }

    fn asked(&mut self) -> Asked {
        self.packet.asked
    }

    fn claim(&mut self) -> Claim {
        self.packet.claim
    }

    fn ban(&mut self, seconds: u32, now: u64) {
        self.events.push(Event::Banned(seconds, now));
    }

    fn sample(&mut self, counter: u32) {
        self.events.push(Event::Shown(counter));
    }
}

/// The packets here have no segments, so a defence meets them as SYNs that nobody can answer.
impl Defender for World<'_> {
    fn open_until(&mut self, _: u32) -> u64 {
        0
    }

    fn open(&mut self, _: u32, _: u64) {}

    fn verified_until(&mut self) -> u64 {
        0
    }

    fn verify(&mut self, _: u64, _: u64) {}

    fn number(&mut self, _: &Segment, _: bool) -> u32 {
        0
    }

    fn cookie(&mut self, _: &Segment, _: bool) -> Option<u64> {
        None
    }

    fn answer(&mut self, _: &Segment, _: Answer) -> bool {
        false
    }

    fn segment(&mut self) -> Segment {
        Segment { network: 0, transport: 0, ports: 0, sequence: 0, flags: 2, is_plain: 0 }
    }
}

fn holds(condition: &Condition, packet: &Packet) -> bool {
    match packet.value(condition.field) {
        None => condition.or_absent,
        Some(value) => {
            let is_in = condition.ranges.iter().any(|(low, high)| *low <= value && value <= *high);
            is_in != condition.negated
        }
    }
}

fn ether_holds(test: &EtherTest, address: u64) -> bool {
    test.addresses.contains(&address) != test.negated
}

fn address_holds(
    test: AddressTest,
    groups: &[super::super::addresses::AddressGroup],
    address: Option<Address>,
) -> bool {
    let group = &groups[usize::from(test.group)];
    let covers_v4 = |bits: u32, prefix: &PrefixV4| {
        PrefixV4::containing(AddressV4::from_bits(bits), prefix.length()) == *prefix
    };
    let covers_v6 = |bits: u128, prefix: &PrefixV6| {
        PrefixV6::containing(AddressV6::from_octets(bits.to_be_bytes()), prefix.length()) == *prefix
    };
    match address {
        None => false,
        Some(Address::V4(bits)) => {
            let is_in = group.v4.iter().any(|prefix| covers_v4(bits, prefix));
            if test.negated { test.v4 && !is_in } else { is_in }
        }
        Some(Address::V6(bits)) => {
            let is_in = group.v6.iter().any(|prefix| covers_v6(bits, prefix));
            if test.negated { test.v6 && !is_in } else { is_in }
        }
    }
}

fn matches(rule: &Rule, groups: &[super::super::addresses::AddressGroup], world: &mut World<'_>) -> bool {
    let packet = world.packet;
    let headers = rule.conditions.iter().all(|condition| holds(condition, packet))
        && rule.ether_source.as_ref().is_none_or(|test| ether_holds(test, packet.ether_source))
        && rule.ether_destination.as_ref().is_none_or(|test| ether_holds(test, packet.ether_destination))
        && rule.source.is_none_or(|test| address_holds(test, groups, packet.source))
        && rule.destination.is_none_or(|test| address_holds(test, groups, packet.destination));
    if !headers || rule.chance == Some(0) {
        return false;
    }
    if let Some((offset, value, mask, negated)) = &rule.payload {
        let begin = usize::from(*offset);
        let Some(bytes) = packet.payload.as_ref().and_then(|bytes| bytes.get(begin..begin + value.len()))
        else {
            return false;
        };
        let same = bytes.iter().zip(mask).map(|(byte, mask)| byte & mask).eq(value.iter().copied());
        if same == *negated {
            return false;
        }
    }
    let has_asked = match packet.asked {
        Asked::Neither => None,
        Asked::Yes => Some(true),
        Asked::No => Some(false),
    };
    if rule.asked.is_some() && rule.asked != has_asked {
        return false;
    }
    let is_claimed = match packet.claim {
        Claim::Neither => None,
        Claim::Yes => Some(true),
        Claim::No => Some(false),
    };
    if rule.claimed.is_some() && rule.claimed != is_claimed {
        return false;
    }
    match rule.chance {
        None => true,
        Some(hits) => hits > u64::from(u32::MAX) || u64::from(world.random()) < hits,
    }
}

/// How the walk ends, and by which rule; what happened on the way is in the world.
pub fn read(
    rules: &[Rule],
    groups: &[super::super::addresses::AddressGroup],
    world: &mut World<'_>,
) -> (OutcomeKind, u32, u32) {
    for (number, rule) in (0..).zip(rules) {
        if !matches(rule, groups, world) {
            continue;
        }
        let kind = match rule.action {
            Action::Count => OutcomeKind::None,
            Action::Drop => OutcomeKind::Drop,
            Action::Pass => OutcomeKind::Pass,
            // Of an interface that is gone: there is nowhere to send it.
            Action::Redirect if rule.argument == 0 => OutcomeKind::None,
            Action::Redirect => OutcomeKind::Redirect,
            Action::Ban => OutcomeKind::Ban,
            Action::Limit => {
                if !world.is_over(rule.argument, TIME) {
                    continue;
                }
                OutcomeKind::Limit
            }
            // Of no gate: what cannot be answered is dropped, and what is over the limit.
            Action::Defend => match rule.defence.map(|defence| defence.mode) {
                Some(Mode::Limit) if !world.is_over(rule.argument, TIME) => continue,
                Some(Mode::Limit) => OutcomeKind::SynLimit,
                Some(Mode::Cookie | Mode::Verify) => OutcomeKind::Unanswerable,
                None => panic!("a defence is made with one"),
            },
            Action::Sample => {
                if world.random() > rule.argument {
                    continue;
                }
                if !rule.counts_only {
                    world.sample(1000 + number);
                }
                OutcomeKind::None
            }
        };
        Effects::count(world, 1000 + number);
        if rule.counts_only || kind == OutcomeKind::None {
            continue;
        }
        if kind == OutcomeKind::Ban {
            world.ban(rule.argument, TIME);
        }
        return (kind, number, if kind == OutcomeKind::Redirect { rule.argument } else { 0 });
    }
    (OutcomeKind::None, 0, 0)
}
