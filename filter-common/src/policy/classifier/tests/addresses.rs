//! Classes of addresses: nesting, what changes lead to, and how many there may be.

use super::super::addresses::{AddressClasses, AddressGroup, MAX_CLASSES};
use super::super::compile::{CompileError, compile};
use super::super::field::Field;
use super::super::record::Action;
use super::super::spec::{AddressTest, RuleSpec, RulesSpec};
use super::{PLENTY, longest, single_v4};
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use crate::table::{HostTables, TableKind};

fn v4(octets: [u8; 4], length: u8) -> PrefixV4 {
    PrefixV4::containing(AddressV4::from_octets(octets), length)
}

const fn source(group: u16) -> AddressTest {
    AddressTest { group, negated: false, v4: true, v6: true }
}

/// A rule for each group, about sources.
fn rules(groups: Vec<AddressGroup>) -> RulesSpec {
    let rules = (0..).zip(&groups).map(|(group, _)| RuleSpec {
        source: Some(source(group)),
        ..RuleSpec::new(Action::Drop, group.into())
    });
    RulesSpec { rules: rules.collect(), groups, interfaces: 0 }
}

fn group(prefixes: &[PrefixV4], changes: bool) -> AddressGroup {
    AddressGroup { v4: prefixes.to_vec(), v6: Vec::new(), changes }
}

fn sources(groups: Vec<AddressGroup>) -> AddressClasses<PrefixV4> {
    compile(&rules(groups), 0, PLENTY).expect("within bounds").source.v4
}

#[test]
fn a_prefix_has_the_class_of_all_groups_that_cover_it() {
    let (wide, middle, narrow) = (v4([10, 0, 0, 0], 8), v4([10, 1, 0, 0], 16), v4([10, 1, 2, 0], 24));
    let apart = v4([10, 2, 0, 0], 16);
    let classes =
        sources(vec![group(&[wide, narrow], false), group(&[middle], false), group(&[narrow, apart], false)]);
    let class = |groups: &[u16]| classes.class_of(groups).expect("known");
    assert_eq!(
        classes.prefixes(),
        [(wide, class(&[0])), (middle, class(&[1, 0])), (narrow, class(&[0, 1, 2])), (apart, class(&[2, 0]))]
    );
    assert_eq!(class(&[]), 0);
    assert_eq!(classes.class_of(&[1]), None, "no address is in that one alone");
}

#[test]
fn every_ipv4_prefix_covers_all_when_it_has_no_bits() {
    let classes = sources(vec![group(&[v4([0; 4], 0)], false), group(&[v4([10, 0, 0, 0], 8)], false)]);
    assert_eq!(classes.prefixes().iter().map(|(_, class)| *class).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(&*classes.combinations()[2], [0, 1]);
}

#[test]
fn groups_of_the_other_direction_take_no_classes() {
    let mut spec = rules(vec![group(&[v4([10, 0, 0, 0], 8)], true), group(&[v4([10, 1, 0, 0], 16)], true)]);
    spec.rules[1].destination = spec.rules[1].source.take();
    let compiled = compile(&spec, 0, PLENTY).expect("within bounds");
    assert_eq!(compiled.source.v4.prefixes(), [(v4([10, 0, 0, 0], 8), 1)]);
    assert_eq!(compiled.destination.v4.prefixes(), [(v4([10, 1, 0, 0], 16), 1)]);
    assert_eq!(compiled.source.v4.class_of(&[0, 1]), Some(1));
    assert_eq!(compiled.destination.v4.class_of(&[0]), Some(0));
}

#[test]
fn only_addresses_that_stay_lie_as_intervals() {
    let (wide, narrow) = (v4([10, 0, 0, 0], 8), v4([11, 1, 0, 0], 16));
    let geometry = |first: bool, second: bool| {
        let mut spec = rules(vec![group(&[wide], first), group(&[narrow], second)]);
        spec.rules[1].destination = spec.rules[1].source.take();
        compile(&spec, 0, PLENTY).expect("within bounds").geometry
    };
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        let geometry = geometry(first, second);
        assert_eq!((geometry.source.is_there(), geometry.destination.is_there()), (!first, !second));
        assert_eq!(geometry.has_intervals(), !first && !second);
    }
    // Nobody asks for what no rule names, and families are apart.
    let only_v6 = AddressGroup {
        v6: vec![PrefixV6::containing(AddressV6::from_halves(0x2001 << 48, 0), 32)],
        ..AddressGroup::default()
    };
    let geometry = compile(&rules(vec![only_v6]), 0, PLENTY).expect("within bounds").geometry;
    assert!(geometry.source.is_there() && !geometry.destination.is_there() && geometry.has_intervals());
    let close: Vec<_> = (0..6).map(|last| v4([10, 0, 0, last * 2], 32)).collect();
    let compiled = compile(&rules(vec![group(&close, false)]), 0, PLENTY).expect("within bounds");
    assert!(!compiled.geometry.source.is_there() && !compiled.geometry.has_intervals());
    // Where there is no room for them, there is for the table.
    let few = rules(vec![group(&[wide], false)]);
    let lines = compile(&few, 0, PLENTY).expect("within bounds").geometry.lines;
    let tight = compile(&few, 0, lines - 1).expect("the table does");
    assert!(!tight.geometry.source.is_there());
}

#[test]
fn one_insertion_or_removal_has_its_class_beforehand() {
    let wide = v4([10, 0, 0, 0], 8);
    let classes =
        sources(vec![group(&[wide], false), group(&[], true), group(&[v4([10, 1, 0, 0], 16)], true)]);
    for groups in [&[][..], &[0], &[1], &[2], &[0, 1], &[0, 2], &[0, 1, 2]] {
        let class = classes.class_of(groups).expect("one change away");
        assert_eq!(&*classes.combinations()[usize::from(class)], groups);
    }
    assert!(classes.class_of(&[1, 2]).is_some(), "two changes away, while there are few");
    // What does not change needs no class that no address has.
    let still = sources(vec![group(&[wide], false), group(&[v4([11, 0, 0, 0], 8)], false)]);
    assert_eq!(still.combinations().len(), 3);
}

#[test]
fn changes_get_classes_only_as_long_as_there_is_room() {
    let groups = |count: u16, changes| -> Vec<AddressGroup> {
        let prefix = |group: u16| v4([10, (group >> 8) as u8, (group & 0xff) as u8, 0], 24);
        (0..count).map(|number| group(&[prefix(number)], changes)).collect()
    };
    let crowded = sources(groups(600, true));
    assert_eq!(crowded.combinations().len(), usize::from(MAX_CLASSES) + 1);
    assert!((0..600).all(|group| crowded.class_of(&[group]).is_some()));
    assert_eq!(crowded.class_of(&[598, 599]), None);
    assert_eq!(sources(groups(MAX_CLASSES, false)).prefixes().len(), usize::from(MAX_CLASSES));
    let error = compile(&rules(groups(MAX_CLASSES + 1, false)), 0, PLENTY).expect_err("one too many");
    assert_eq!(error, CompileError::TooManyClasses { field: Field::Source, is_v6: false, found: 1023 });
    assert_eq!(
        error.to_string(),
        "the rules' IPv4 source prefixes and sets overlap in 1023 ways; at most 1022 are possible"
    );
}

#[test]
fn the_prefix_table_says_what_all_prefixes_say() {
    let v6 = |first: u64, length| PrefixV6::containing(AddressV6::from_halves(first, 0), length);
    let mut spec = rules(vec![
        group(&[v4([10, 0, 0, 0], 8), v4([10, 1, 2, 3], 32)], false),
        group(&[v4([10, 1, 0, 0], 16), v4([10, 1, 2, 0], 25), v4([0; 4], 0)], true),
    ]);
    spec.groups[0].v6 = vec![v6(0x2001_0db8_0000_0000, 32), v6(0x2001_0db8_0001_0000, 48)];
    spec.groups[1].v6 = vec![v6(0x2001_0db8_0001_0002, 64), v6(0, 0)];
    let classes = compile(&spec, 0, PLENTY).expect("within bounds").source;
    let mut tables = HostTables::default();
    for (prefix, class) in classes.v4.prefixes() {
        tables.insert_v4(TableKind::Block, *prefix, *class);
    }
    for (prefix, class) in classes.v6.prefixes() {
        tables.insert_v6(TableKind::Block, *prefix, *class);
    }
    for octets in [[10, 1, 2, 3], [10, 1, 2, 4], [10, 1, 2, 130], [10, 9, 9, 9], [11, 0, 0, 0]] {
        let address = AddressV4::from_octets(octets);
        let found = crate::table::Tables::blocked_by(&tables, &address);
        assert_eq!(found, longest(classes.v4.prefixes(), single_v4(address.bits())), "{octets:?}");
    }
    for (first, groups) in [
        (0x2001_0db8_0001_0002, &[0, 1][..]),
        (0x2001_0db8_0001_0003, &[0, 1]),
        (0x2001_0db8_0002_0000, &[0, 1]),
        (0x2001_0db9_0000_0000, &[1]),
    ] {
        let found = crate::table::Tables::blocked_by(&tables, &AddressV6::from_halves(first, 7));
        assert_eq!(Some(found), classes.v6.class_of(groups).map(u32::from), "{first:x}");
    }
}
