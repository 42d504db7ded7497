//! Random policies and packets: the same outcome, counters and effects as the plain reading, in the same order; again after
//! a prefix came or went.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::RulesGeometry;
use super::super::addresses::{AddressGroup, Prefix as _};
use super::super::record::Action;
use super::super::simple::{begin, begin_few};
use super::super::walk::{Outcome, Step, Walk, walk};
use super::generate::{INTERFACES, Policy, Random};
use super::plain::{Rule, World, read, spec};
use super::{PacketFacts, Written};
use crate::keys::{AddressV4, PrefixV4};
use crate::table::lines::Lines;

/// Packets that each policy meets.
const PACKETS: usize = 40;

fn agree(seed: u64, rules: usize, packets: usize) -> Result<(), TestCaseError> {
    let mut random = Random::new(seed);
    let mut policy = Policy::new(&mut random, rules);
    let mut written = Written::new(&spec(&policy.rules, policy.groups.clone(), INTERFACES));
    agree_on(&policy, &written, &mut random, packets)?;
    if change(&mut policy.groups, &mut written, &mut random) {
        agree_on(&policy, &written, &mut random, packets)?;
    }
    Ok(())
}

fn agree_on(
    policy: &Policy,
    written: &Written,
    random: &mut Random,
    packets: usize,
) -> Result<(), TestCaseError> {
    let lines = &*written.lines;
    for _ in 0..packets {
        let packet = policy.packet(random);
        let facts = PacketFacts { packet: &packet, written, lines: &lines };
        let world_seed = random.bits();
        let (mut plain, mut fast) = (World::new(&packet, world_seed), World::new(&packet, world_seed));
        let expected = read(&policy.rules, &policy.groups, &mut plain);
        let outcome = walk(&lines, &written.compiled.geometry, &facts, &mut fast);
        prop_assert_eq!((outcome.kind, outcome.rule, outcome.interface), expected, "{:?}", packet);
        prop_assert_eq!(&fast.events, &plain.events, "{:?}", packet);
        prop_assert_eq!(fast.draws, plain.draws);
        prop_assert!(fast.clock_reads <= 1);
        if written.compiled.geometry.is_simple() {
            let mut begun = World::new(&packet, world_seed);
            let outcome = begun_simply(&lines, &written.compiled.geometry, &facts, &mut begun);
            prop_assert_eq!((outcome.kind, outcome.rule, outcome.interface), expected, "{:?}", packet);
            prop_assert_eq!(&begun.events, &plain.events, "{:?}", packet);
        }
    }
    Ok(())
}

/// The walk along simple rules, which begins in another way.
fn begun_simply<L: Lines>(
    lines: &L,
    geometry: &RulesGeometry,
    facts: &PacketFacts<'_, L>,
    world: &mut World<'_>,
) -> Outcome {
    let mut walk = Walk::NONE;
    let begun = if geometry.words == 1 {
        let (begun, left) = begin_few(lines, geometry, facts, world);
        walk.go_on_with(left);
        begun
    } else {
        begin(lines, geometry, facts, world, &mut walk)
    };
    if begun.has_ended() {
        return begun.outcome();
    }
    loop {
        match walk.step(lines, geometry, world) {
            Step::Next => {}
            Step::Over => return Outcome::NONE,
            Step::Decided => return walk.outcome,
            Step::Defend => panic!("simple rules do not defend"),
        }
    }
}

/// Moves a prefix out of, or into, a group that changes, and gives the prefixes the classes that were made beforehand;
/// whether there was such a group.
fn change(groups: &mut [AddressGroup], written: &mut Written, random: &mut Random) -> bool {
    let Some(at) = groups.iter().position(|group| group.changes) else { return false };
    let pool: Vec<PrefixV4> = groups.iter().flat_map(|group| group.v4.clone()).collect();
    let group = &mut groups[at];
    if random.percent(40) && !group.v4.is_empty() {
        let gone = random.below(group.v4.len());
        let gone = group.v4[gone];
        group.v4.retain(|prefix| *prefix != gone);
    } else if !pool.is_empty() && random.percent(50) {
        group.v4.push(random.one(&pool));
    } else {
        let address = AddressV4::from_bits((random.bits() & 0xff80_0000) as u32);
        group.v4.push(PrefixV4::containing(address, random.one(&[0, 1, 9])));
    }
    let classes = [&written.compiled.source.v4, &written.compiled.destination.v4];
    let prefixes: BTreeSet<PrefixV4> = groups.iter().flat_map(|group| group.v4.clone()).collect();
    for (known, classes) in written.prefixes.v4.iter_mut().zip(classes) {
        let class = |prefix: PrefixV4| {
            let covers = |group: &AddressGroup| group.v4.iter().any(|wider| wider.covers(prefix));
            let covering: Vec<u16> =
                (0..).zip(&*groups).filter(|(_, group)| covers(group)).map(|(at, _)| at).collect();
            classes.class_of(&covering).expect("one change away")
        };
        *known = prefixes.iter().map(|prefix| (*prefix, class(*prefix))).collect();
    }
    true
}

/// The same of rules that are simple.
fn agree_simply(seed: u64, rules: usize) -> Result<(), TestCaseError> {
    let mut random = Random::new(seed);
    let mut policy = Policy::new(&mut random, rules);
    for rule in &mut policy.rules {
        let action = match rule.action {
            Action::Drop | Action::Pass => rule.action,
            _ => Action::Count,
        };
        *rule = Rule {
            action,
            argument: 0,
            payload: None,
            asked: None,
            claimed: None,
            chance: None,
            defence: None,
            ..rule.clone()
        };
    }
    let written = Written::new(&spec(&policy.rules, policy.groups.clone(), INTERFACES));
    prop_assert!(written.compiled.geometry.is_simple());
    agree_on(&policy, &written, &mut random, PACKETS)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn simple_rules_are_read_as_they_are_written(seed: u64, few in 1_usize..=64, many in 65_usize..=300) {
        agree_simply(seed, few)?;
        agree_simply(!seed, many)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn few_rules_are_read_as_they_are_written(seed: u64, rules in 1_usize..=64) {
        agree(seed, rules, PACKETS)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn many_rules_are_read_as_they_are_written(seed: u64, rules in 65_usize..=300) {
        agree(seed, rules, PACKETS)?;
    }
}

#[test]
fn as_many_rules_as_there_can_be_are_read_as_they_are_written() {
    for seed in 0..6 {
        agree(seed, 4096, 100).expect("the same");
        agree(seed + 100, 1500, 100).expect("the same");
    }
}
