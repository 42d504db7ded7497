//! Policies and packets by the seed, made so that they meet.

use super::super::addresses::AddressGroup;
use super::super::field::Field;
use super::super::record::Action;
use super::super::spec::{AddressTest, EtherTest};
use super::plain::{Condition, Rule};
use super::{Address, Packet};
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use crate::policy::asked::Asked;
use crate::policy::claimed::Claim;
use crate::policy::syn::{Defence, Mode};

/// A number whose bits look random (the finalizer of SplitMix64; Steele, Lea and Flood, 2014).
pub const fn mixed(number: u64) -> u64 {
    let bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Numbers by a seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() % bound as u64).expect("64 bits")
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Fields in values, with the highest of each.
pub const FIELDS: [(Field, u16); 16] = [
    (Field::Shape, 0x6ff),
    (Field::EtherType, u16::MAX),
    (Field::Vlan, 4095),
    (Field::Interface, 4),
    (Field::Protocol, 255),
    (Field::TcpFlags, 255),
    (Field::IcmpType, 255),
    (Field::IcmpCode, 255),
    (Field::Icmpv6Type, 255),
    (Field::Icmpv6Code, 255),
    (Field::Ttl, 255),
    (Field::Dscp, 63),
    (Field::Length, u16::MAX),
    (Field::SourcePort, u16::MAX),
    (Field::DestinationPort, u16::MAX),
    (Field::Claim, 1),
];

/// Classes of interfaces.
pub const INTERFACES: u16 = 5;

/// A policy's groups and rules, and the values that they and the packets are made of.
#[derive(Debug)]
pub struct Policy {
    pub groups: Vec<AddressGroup>,
    pub rules: Vec<Rule>,
    palette: Vec<(Field, Vec<u16>)>,
    ether: Vec<u64>,
}

impl Policy {
    /// So many rules. How many fields they use, how narrow they are and how soon one decides is by the seed, too.
    pub fn new(random: &mut Random, rules: usize) -> Self {
        let mut palette = Vec::new();
        let breadth = random.one(&[15, 60, 100]);
        for (field, most) in FIELDS {
            if random.percent(breadth) {
                let mut values = vec![0, 1, most, most - 1];
                let more = random.one(&[2, 6, 40]);
                values.extend((0..more).map(|_| random.value(most)));
                palette.push((field, values));
            }
        }
        let ether = (0..random.one(&[1, 3, 30])).map(|_| random.bits() >> 16).collect();
        let mut policy = Self { groups: groups(random), rules: Vec::new(), palette, ether };
        let density = random.one(&[3, 15, 40]);
        let decisive = random.one(&[2, 20, 80]);
        policy.rules = (0..rules).map(|_| policy.rule(random, density, decisive)).collect();
        policy
    }

    fn rule(&self, random: &mut Random, density: usize, decisive: usize) -> Rule {
        let mut rule = Rule::new(if random.percent(decisive) {
            random.one(&[Action::Drop, Action::Pass, Action::Redirect, Action::Ban])
        } else {
            random.one(&[Action::Count, Action::Sample, Action::Limit, Action::Defend])
        });
        rule.argument = match rule.action {
            Action::Sample => 1 << 31,
            // Now and then of an interface that is gone.
            Action::Redirect if random.percent(10) => 0,
            _ => u32::from(random.value(999)),
        };
        if rule.action == Action::Defend {
            let mode = random.one(&[Mode::Cookie, Mode::Verify, Mode::Limit]);
            rule.defence = Some(Defence { mode, gate: None, trust_s: 60 });
        }
        rule.counts_only = random.percent(10);
        for (field, values) in &self.palette {
            // Now and then two conditions on a field.
            for chance in [density, density / 8] {
                if random.percent(chance) {
                    rule.conditions.push(condition(random, *field, values));
                }
            }
        }
        rule.ether_source = self.ether_test(random, density / 3);
        rule.ether_destination = self.ether_test(random, density / 3);
        rule.source = self.address_test(random, density);
        rule.destination = self.address_test(random, density / 2);
        if random.percent(density / 4) {
            let length = 1 + random.below(16);
            let mask: Vec<u8> = (0..length).map(|_| random.one(&[0, 1, 3])).collect();
            let value = mask.iter().map(|mask| random.one(&[0, 1, 2]) & mask).collect();
            rule.payload =
                Some((u8::try_from(random.below(12)).expect("small"), value, mask, random.percent(30)));
        }
        if random.percent(density / 4) {
            rule.asked = Some(random.percent(50));
        }
        if random.percent(density / 4) {
            rule.claimed = Some(random.percent(50));
        }
        if random.percent(density / 4) {
            rule.chance = Some(random.one(&[0, 1, 1 << 31, (1 << 32) - 1, 1 << 32]));
        }
        rule
    }

    fn ether_test(&self, random: &mut Random, chance: usize) -> Option<EtherTest> {
        random.percent(chance).then(|| EtherTest {
            addresses: (0..random.below(4)).map(|_| random.one(&self.ether)).collect(),
            negated: random.percent(40),
        })
    }

    fn address_test(&self, random: &mut Random, chance: usize) -> Option<AddressTest> {
        random.percent(chance).then(|| AddressTest {
            group: u16::try_from(random.below(self.groups.len())).expect("few"),
            negated: random.percent(30),
            v4: random.percent(70),
            v6: random.percent(70),
        })
    }

    /// A packet that may well meet some of the rules.
    pub fn packet(&self, random: &mut Random) -> Packet {
        let mut packet = Packet::default();
        for (field, most) in FIELDS {
            if random.percent(85) {
                let known = self.palette.iter().find(|(of, _)| *of == field);
                let value = match known {
                    Some((_, values)) if random.percent(90) => random.one(values),
                    _ => random.value(most),
                };
                let beside = value.wrapping_add(random.one(&[0, 0, 0, 1, u16::MAX]));
                packet.values.push((field, if beside > most { value } else { beside }));
            }
        }
        let ether = |random: &mut Random| {
            if random.percent(80) { random.one(&self.ether) } else { random.bits() >> 16 }
        };
        (packet.ether_source, packet.ether_destination) = (ether(random), ether(random));
        if random.percent(90) {
            let is_v6 = random.percent(40);
            let address = |random: &mut Random| {
                if is_v6 { Address::V6(address_v6(random)) } else { Address::V4(address_v4(random)) }
            };
            (packet.source, packet.destination) = (Some(address(random)), Some(address(random)));
        }
        packet.asked = random.one(&[Asked::Neither, Asked::Yes, Asked::No]);
        packet.claim = random.one(&[Claim::Neither, Claim::Yes, Claim::No]);
        if random.percent(80) {
            let length = random.below(30);
            packet.payload = Some((0..length).map(|_| random.one(&[0, 0, 1, 2, 3, 4])).collect());
        }
        packet
    }
}

impl Random {
    pub fn value(&mut self, most: u16) -> u16 {
        u16::try_from(self.below(usize::from(most) + 1)).expect("16 bits")
    }
}

fn condition(random: &mut Random, field: Field, values: &[u16]) -> Condition {
    let mut ranges = Vec::new();
    for _ in 0..random.one(&[1, 1, 1, 2, 5]) {
        let low = random.one(values);
        let high = if random.percent(60) { low } else { random.one(values) };
        ranges.push((low.min(high), low.max(high)));
    }
    Condition { field, ranges, negated: random.percent(25), or_absent: random.percent(10) }
}

/// Addresses with few different bits, so that prefixes of any length cover some.
fn address_v4(random: &mut Random) -> u32 {
    let octet = |random: &mut Random| u32::from(random.one(&[0_u8, 1, 128, 255]));
    octet(random) << 24 | octet(random) << 16 | octet(random) << 8 | octet(random)
}

fn address_v6(random: &mut Random) -> u128 {
    (0..8).fold(0, |bits, _| bits << 16 | u128::from(random.one(&[0_u16, 1, 0x8000])))
}

fn groups(random: &mut Random) -> Vec<AddressGroup> {
    let count = random.one(&[1, 3, 6]);
    let prefixes = random.one(&[1, 4, 12]);
    let group = |random: &mut Random| AddressGroup {
        v4: (0..random.below(prefixes + 1))
            .map(|_| {
                let address = AddressV4::from_bits(address_v4(random));
                PrefixV4::containing(address, random.one(&[0, 1, 7, 8, 9, 16, 17, 24, 31, 32]))
            })
            .collect(),
        v6: (0..random.below(prefixes + 1))
            .map(|_| {
                let address = AddressV6::from_octets(address_v6(random).to_be_bytes());
                PrefixV6::containing(address, random.one(&[0, 1, 15, 16, 32, 48, 63, 64, 65, 128]))
            })
            .collect(),
        changes: random.percent(30),
    };
    (0..count).map(|_| group(random)).collect()
}
