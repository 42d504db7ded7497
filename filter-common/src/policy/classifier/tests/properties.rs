//! Random policies and packets: the same outcome, counters and effects as the plain reading, in the same order.

use proptest::prelude::*;

use super::super::walk::walk;
use super::generate::{INTERFACES, Policy, Random};
use super::plain::{World, read, spec};
use super::{PacketFacts, Written};

/// Packets that each policy meets.
const PACKETS: usize = 60;

fn agree(seed: u64, rules: usize, packets: usize) -> Result<(), TestCaseError> {
    let mut random = Random::new(seed);
    let policy = Policy::new(&mut random, rules);
    let written = Written::new(&spec(&policy.rules, policy.groups.clone(), INTERFACES));
    let lines = &*written.lines;
    let geometry = &written.compiled.geometry;
    for _ in 0..packets {
        let packet = policy.packet(&mut random);
        let facts = PacketFacts { packet: &packet, compiled: &written.compiled, lines: &lines };
        let world_seed = random.bits();
        let (mut plain, mut fast) = (World::new(&packet, world_seed), World::new(&packet, world_seed));
        let expected = read(&policy.rules, &policy.groups, &mut plain);
        let outcome = walk(&lines, geometry, &facts, &mut fast);
        prop_assert_eq!((outcome.kind, outcome.rule, outcome.interface), expected, "{:?}", packet);
        prop_assert_eq!(&fast.events, &plain.events, "{:?}", packet);
        prop_assert_eq!(fast.draws, plain.draws);
        prop_assert!(fast.clock_reads <= 1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn few_rules_are_read_as_they_are_written(seed: u64, rules in 1_usize..=64) {
        agree(seed, rules, PACKETS)?;
    }

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
