//! No rules, too many, and what damaged lines can do.

use super::super::MAX_RULES;
use super::super::compile::{CompileError, compile};
use super::super::ether;
use super::super::field::Field;
use super::super::geometry::{MAX_GROUPS, RulesGeometry};
use super::super::lookup::classify;
use super::super::record::Action;
use super::super::spec::{AddressTest, EtherTest, RuleSpec, RulesSpec, Values};
use super::super::walk::{Outcome, OutcomeKind, walk};
use super::generate::{INTERFACES, Policy, Random, mixed};
use super::plain::{World, spec};
use super::{PLENTY, Packet, PacketFacts, Written};
use crate::table::memory::zeroed;

fn outcome(spec: &RulesSpec, packet: &Packet) -> Outcome {
    let written = Written::new(spec);
    let lines = &*written.lines;
    let facts = PacketFacts { packet, written: &written, lines: &lines };
    walk(&lines, &written.compiled.geometry, &facts, &mut World::new(packet, 0))
}

#[test]
fn no_rules_take_nothing_and_decide_nothing() {
    let compiled = compile(&RulesSpec::default(), 5, 0).expect("nothing");
    assert_eq!(compiled.geometry, RulesGeometry { first: 5, ..RulesGeometry::NONE });
    assert_eq!(outcome(&RulesSpec::default(), &Packet::default()), Outcome::NONE);
}

#[test]
fn rules_without_conditions_match_packets_without_fields() {
    for count in [1, 64, 65, MAX_RULES] {
        let mut rules = vec![RuleSpec::new(Action::Count, 0); count as usize];
        let packet = Packet::default();
        let none = outcome(&RulesSpec { rules: rules.clone(), ..RulesSpec::default() }, &packet);
        assert_eq!(none, Outcome::NONE);
        rules.last_mut().expect("one at least").action = Action::Drop;
        let last = outcome(&RulesSpec { rules, ..RulesSpec::default() }, &packet);
        assert_eq!(last, Outcome { kind: OutcomeKind::Drop, rule: count - 1, interface: 0 });
    }
}

#[test]
fn what_is_too_much_is_said() {
    let error = |spec: &RulesSpec| compile(spec, 0, PLENTY).expect_err("too much");
    let many = vec![RuleSpec::new(Action::Drop, 0); MAX_RULES as usize + 1];
    assert_eq!(error(&RulesSpec { rules: many, ..RulesSpec::default() }), CompileError::TooManyRules(4097));
    let one = |rule: RuleSpec| RulesSpec { rules: vec![rule], ..RulesSpec::default() };
    let rule = || RuleSpec::new(Action::Drop, 0);
    let test = AddressTest { group: 3, negated: false, v4: true, v6: true };
    assert_eq!(
        error(&one(RuleSpec { source: Some(test), ..rule() })),
        CompileError::UnknownGroup { rule: 0, group: 3 }
    );
    let values = vec![(Field::Source, Values::new([(1, 1)], false))];
    assert_eq!(
        error(&one(RuleSpec { values, ..rule() })),
        CompileError::NotValues { rule: 0, field: Field::Source }
    );
    // Two rules that between them tell every port and its absence from all others: 16 rules with a bit of the port each.
    let bit = |bit: u32| {
        let set = (0..=u16::MAX).filter(move |port| port >> bit & 1 != 0);
        Values::new(set.map(|port| (port, port)), bit == 0)
    };
    let rules = (0..16).map(|number| RuleSpec { values: vec![(Field::SourcePort, bit(number))], ..rule() });
    let told_apart = RulesSpec { rules: rules.chain([rule()]).collect(), ..RulesSpec::default() };
    assert_eq!(error(&told_apart), CompileError::TooManyValues(Field::SourcePort));
    assert_eq!(
        compile(&one(rule()), 0, 2).expect_err("more lines than that"),
        CompileError::TooLarge { most: 2 }
    );
}

#[test]
fn every_value_of_a_port_can_have_a_rule() {
    let rules = (0..4096_u16).map(|rule| {
        let ports = (0..16).map(|port| (rule * 16 + port, rule * 16 + port));
        RuleSpec {
            values: vec![(Field::DestinationPort, Values::new(ports, false))],
            ..RuleSpec::new(Action::Drop, 0)
        }
    });
    let spec = RulesSpec { rules: rules.collect(), ..RulesSpec::default() };
    let written = Written::new(&spec);
    let lines = &*written.lines;
    for port in (0..=u16::MAX).step_by(97) {
        let packet = Packet { values: vec![(Field::DestinationPort, port)], ..Packet::default() };
        let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
        let mut candidates = classify(&lines, &written.compiled.geometry, &facts);
        assert_eq!(candidates.next(&lines, &written.compiled.geometry), Some(u32::from(port) / 16));
        assert_eq!(candidates.next(&lines, &written.compiled.geometry), None);
    }
}

#[test]
fn thousands_of_ethernet_addresses_are_each_found_in_one_line() {
    let addresses: Vec<u64> =
        (0..20_000).map(|number| mixed(number) >> 16).chain([0, (1 << 48) - 1]).collect();
    let rules = addresses.chunks(64).map(|addresses| RuleSpec {
        ether_source: Some(EtherTest { addresses: addresses.to_vec(), negated: false }),
        ..RuleSpec::new(Action::Drop, 0)
    });
    let spec = RulesSpec { rules: rules.collect(), ..RulesSpec::default() };
    let written = Written::new(&spec);
    let lines = &*written.lines;
    let table = &written.compiled.geometry.ether_source;
    assert!(table.buckets <= 1 << 15, "{}", table.buckets);
    // Classes are numbered in the order of their lowest addresses.
    let lowest: Vec<u64> = addresses.chunks(64).filter_map(|chunk| chunk.iter().min().copied()).collect();
    for (chunk, own) in addresses.chunks(64).zip(&lowest) {
        let before = lowest.iter().filter(|other| *other < own).count();
        for address in chunk {
            assert_eq!(ether::find(&lines, table, *address) as usize, 1 + before, "{address:x}");
        }
    }
    assert_eq!(ether::find(&lines, table, 0x0200_0000_0001), 0);
    assert_eq!(ether::find(&lines, &written.compiled.geometry.ether_destination, addresses[0]), 0);
}

#[test]
fn every_bit_of_an_ethernet_address_counts() {
    let address = 0x0200_5e10_0001;
    let test = EtherTest { addresses: vec![address], negated: false };
    let rule = RuleSpec { ether_destination: Some(test), ..RuleSpec::new(Action::Drop, 0) };
    let written = Written::new(&RulesSpec { rules: vec![rule], ..RulesSpec::default() });
    let table = &written.compiled.geometry.ether_destination;
    // All in one bucket.
    assert_eq!(table.buckets, 1);
    assert_eq!(ether::find(&&*written.lines, table, address), 1);
    for bit in 0..48 {
        assert_eq!(ether::find(&&*written.lines, table, address ^ 1 << bit), 0, "bit {bit}");
    }
    assert_eq!(ether::find(&&*written.lines, table, 0), 0, "what a free slot looks like");
}

/// A reader may meet lines of anything: it ends, and reads nothing that is not there.
#[test]
fn damaged_lines_end_every_walk() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let policy = Policy::new(&mut random, if seed % 2 == 0 { 40 } else { 200 });
        let written = Written::new(&spec(&policy.rules, policy.groups.clone(), INTERFACES));
        let damaged = zeroed(written.compiled.geometry.lines / 2);
        for line in &*damaged {
            (0..8).for_each(|word| line.store(word, random.bits() & random.bits() & random.bits()));
        }
        let lines = &*damaged;
        for _ in 0..50 {
            let packet = policy.packet(&mut random);
            let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
            let mut world = World::new(&packet, seed);
            let outcome = walk(&lines, &written.compiled.geometry, &facts, &mut world);
            assert!(outcome.rule < MAX_RULES);
            assert!(world.events.len() <= 2 * MAX_RULES as usize);
        }
    }
}

/// Eight rules for each of so many fields, which between them tell 256 of its values apart, so that nothing is small
/// together.
fn entangled(fields: usize) -> RulesSpec {
    let rules = super::generate::FIELDS[..fields].iter().flat_map(|(field, _)| {
        (0..8_u16).map(|bit| {
            let set = (0..=255).filter(move |value| value >> bit & 1 != 0);
            let values = vec![(*field, Values::new(set.map(|value| (value, value)), false))];
            RuleSpec { values, ..RuleSpec::new(Action::Count, 0) }
        })
    });
    RulesSpec { rules: rules.collect(), interfaces: 256, ..RulesSpec::default() }
}

#[test]
fn fields_that_cannot_be_combined_are_groups_as_far_as_there_are_any() {
    let most = MAX_GROUPS;
    let spec = entangled(most);
    let written = Written::new(&spec);
    let geometry = &written.compiled.geometry;
    assert_eq!((geometry.groups as usize, geometry.joins), (most, 0));
    let lines = &*written.lines;
    for value in [0, 1, 0x55, 255] {
        let values = super::generate::FIELDS.map(|(field, _)| (field, value)).to_vec();
        let packet = Packet { values, ..Packet::default() };
        let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
        let mut candidates = classify(&lines, geometry, &facts);
        for rule in (0..8 * most).filter(|rule| value >> (rule % 8) & 1 != 0) {
            assert_eq!(candidates.next(&lines, geometry).map(|rule| rule as usize), Some(rule));
        }
        assert_eq!(candidates.next(&lines, geometry), None);
    }
    assert_eq!(compile(&entangled(most + 1), 0, PLENTY).expect_err("one more"), CompileError::TooManyGroups);
}
