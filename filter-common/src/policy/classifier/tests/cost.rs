//! What a look-up costs: the lines that it reads, and how many different ones many packets touch.
//!
//! The figures are printed (`cargo test -p filter-common classifier::tests::cost -- --nocapture`); what may not grow is held.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::super::addresses::AddressGroup;
use super::super::field::Field;
use super::super::lookup::classify;
use super::super::record::Action;
use super::super::spec::{AddressTest, RuleSpec, RulesSpec, Values};
use super::generate::Random;
use super::{Address, Packet, PacketFacts, Written};
use crate::keys::{AddressV4, PrefixV4};
use crate::table::lines::Lines;
use crate::table::memory::LineCell;

/// Packets that are looked up.
const PACKETS: u32 = 4000;

/// Lines that count how often they are asked for, and which.
struct Counting<'a> {
    lines: &'a [LineCell],
    reads: Cell<u32>,
    touched: RefCell<HashSet<u32>>,
}

impl<'a> Lines for Counting<'a> {
    type Line = &'a LineCell;

    fn line(&self, index: u32) -> Option<&'a LineCell> {
        self.reads.set(self.reads.get() + 1);
        self.touched.borrow_mut().insert(index);
        self.lines.get(index as usize)
    }
}

/// How rules and packets are drawn.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// As people write them: protocol and destination port, two thirds with a source prefix or a source port.
    Usual,
    /// Each of five fields with a chance of one half: many rules say little, and packets match dozens.
    Loose,
}

fn group(random: &mut Random) -> AddressGroup {
    let address = AddressV4::from_bits((random.bits() & 0xffff_ffff) as u32);
    let length = random.one(&[16, 20, 24, 24, 32]);
    AddressGroup { v4: vec![PrefixV4::containing(address, length)], ..AddressGroup::default() }
}

fn rules(random: &mut Random, kind: Kind, count: usize) -> RulesSpec {
    let groups: Vec<AddressGroup> = (0..count.min(600)).map(|_| group(random)).collect();
    let rule = |random: &mut Random| {
        let mut rule = RuleSpec::new(Action::Drop, 0);
        let (wants_source, wants_port, often) = match kind {
            Kind::Usual => (random.percent(50), random.percent(35), 100),
            Kind::Loose => (random.percent(50), random.percent(50), 50),
        };
        let one = |value| Values::new([(value, value)], false);
        if random.percent(often) {
            rule.values.push((Field::Protocol, one(random.one(&[6, 17]))));
        }
        if random.percent(often) {
            rule.values.push((Field::DestinationPort, one(random.value(9999))));
        }
        if wants_port {
            let low = random.value(u16::MAX - 100);
            rule.values.push((Field::SourcePort, Values::new([(low, low + random.value(99))], false)));
        }
        if random.percent(often / 3) {
            rule.values.push((Field::Length, Values::new([(random.value(1500), u16::MAX)], false)));
        }
        if wants_source {
            let group = u16::try_from(random.below(groups.len())).expect("few");
            rule.source = Some(AddressTest { group, negated: false, v4: true, v6: false });
        }
        rule
    };
    let rules = (0..count).map(|_| rule(random)).collect();
    RulesSpec { rules, groups, interfaces: 0 }
}

/// A packet of random ports and source; half of the sources are in a prefix that rules name.
fn packet(random: &mut Random, spec: &RulesSpec) -> Packet {
    let source = if random.percent(50) {
        let group = random.below(spec.groups.len());
        spec.groups[group].v4[0].address().bits()
    } else {
        (random.bits() & 0xffff_ffff) as u32
    };
    let values = vec![
        (Field::Protocol, random.one(&[6, 17])),
        (Field::DestinationPort, random.value(9999)),
        (Field::SourcePort, random.value(u16::MAX)),
        (Field::Length, random.value(1500)),
    ];
    Packet { values, source: Some(Address::V4(source)), ..Packet::default() }
}

/// Lines read a packet, without records, in hundredths; the most; and what packets match, in hundredths.
fn cost(kind: Kind, count: usize) -> (u32, u32, u32) {
    let mut random = Random::new(7);
    let spec = rules(&mut random, kind, count);
    let written = Written::new(&spec);
    let geometry = &written.compiled.geometry;
    let lines = Counting { lines: &written.lines, reads: Cell::new(0), touched: RefCell::default() };
    let (mut most, mut matched) = (0, 0);
    for _ in 0..PACKETS {
        let packet = packet(&mut random, &spec);
        let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
        let before = lines.reads.get();
        let mut candidates = classify(&lines, geometry, &facts);
        while candidates.next(&lines, geometry).is_some() {
            matched += 1;
        }
        most = most.max(lines.reads.get() - before);
    }
    let mean = lines.reads.get() * 100 / PACKETS;
    println!(
        "{kind:?}, {count} rules: {mean}/100 lines a packet, at most {most}; {} lines of {} touched by {PACKETS} packets; \
         {} groups; {}/100 rules matched",
        lines.touched.borrow().len(),
        geometry.lines,
        geometry.groups,
        matched * 100 / PACKETS,
    );
    (mean, most, matched * 100 / PACKETS)
}

#[test]
fn ten_rules_read_a_line_for_each_field_and_two_for_each_port() {
    // Protocol 1, length 2, ports 2 each, source 1; fewer where no rule is left before.
    let (mean, most, _) = cost(Kind::Usual, 10);
    assert!(most <= 8 && mean <= 700, "{mean}/100, {most}");
    let (mean, most, _) = cost(Kind::Loose, 10);
    assert!(most <= 8 && mean <= 800, "{mean}/100, {most}");
}

#[test]
fn a_thousand_rules_read_few_lines_more() {
    let (mean, most, _) = cost(Kind::Usual, 1000);
    assert!(most <= 28 && mean <= 1200, "{mean}/100, {most}");
    let (mean, most, _) = cost(Kind::Loose, 1000);
    assert!(most <= 90 && mean <= 8500, "{mean}/100, {most}");
    cost(Kind::Usual, 100);
    cost(Kind::Usual, 4096);
}

#[test]
fn ten_rules_on_ports_take_a_few_pages() {
    let rules = (1..=10).map(|number| RuleSpec {
        values: vec![(Field::DestinationPort, Values::new([(number * 997, number * 997)], false))],
        ..RuleSpec::new(Action::Drop, 0)
    });
    let written = Written::new(&RulesSpec { rules: rules.collect(), ..RulesSpec::default() });
    // A table of pages, eleven pages of 32 lines, and a record for each rule.
    assert_eq!(written.compiled.geometry.lines, 16 + 11 * 32 + 10);
}

#[test]
fn a_packet_that_no_rule_can_match_is_not_searched_for_its_addresses() {
    let mut rules = vec![RuleSpec::new(Action::Drop, 0); 100];
    let test = AddressTest { group: 0, negated: false, v4: true, v6: true };
    for rule in &mut rules {
        rule.source = Some(test);
        rule.values.push((Field::Protocol, Values::new([(17, 17)], false)));
    }
    let spec = RulesSpec { rules, groups: vec![AddressGroup::default()], interfaces: 0 };
    let written = Written::new(&spec);
    let lines = Counting { lines: &written.lines, reads: Cell::new(0), touched: RefCell::default() };
    let packet =
        Packet { values: vec![(Field::Protocol, 6)], source: Some(Address::V4(1)), ..Packet::default() };
    let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
    let mut candidates = classify(&lines, &written.compiled.geometry, &facts);
    assert_eq!(candidates.next(&lines, &written.compiled.geometry), None);
    assert_eq!(lines.reads.get(), 1);
}
