//! The walk: what counts, what decides, and what the world is asked for.

use super::super::record::Action;
use super::super::walk::{Outcome, OutcomeKind, walk};
use super::plain::{Event, Rule, TIME, World, spec};
use super::{Packet, PacketFacts, Written};

/// Walks a packet with four bytes of payload along rules.
fn walked(rules: &[Rule], seed: u64) -> (Outcome, Vec<Event>, u32, u64) {
    let written = Written::new(&spec(rules, Vec::new(), 0));
    let lines = &*written.lines;
    let packet = Packet { payload: Some(vec![0x11, 0x22, 0x33, 0x44]), ..Packet::default() };
    let facts = PacketFacts { packet: &packet, written: &written, lines: &lines };
    let mut world = World::new(&packet, seed);
    let outcome = walk(&lines, &written.compiled.geometry, &facts, &mut world);
    (outcome, world.events, world.clock_reads, world.draws)
}

fn acting(action: Action, argument: u32) -> Rule {
    Rule { argument, ..Rule::new(action) }
}

fn counting(action: Action, argument: u32) -> Rule {
    Rule { counts_only: true, ..acting(action, argument) }
}

const ALWAYS: u32 = u32::MAX;
/// A limit that the world of seed 0 says is exceeded, and one that is not.
const OVER: u32 = 2;
const WITHIN: u32 = 1;

#[test]
fn limits_of_the_world_are_as_the_tests_say() {
    let is_over = |limit| super::generate::mixed(limit).is_multiple_of(2);
    assert!(is_over(OVER.into()) && !is_over(WITHIN.into()));
}

#[test]
fn each_action_ends_the_walk_as_it_should() {
    for (action, argument, kind, interface) in [
        (Action::Drop, 0, OutcomeKind::Drop, 0),
        (Action::Pass, 0, OutcomeKind::Pass, 0),
        (Action::Ban, 60, OutcomeKind::Ban, 0),
        (Action::Redirect, 4, OutcomeKind::Redirect, 4),
        (Action::Limit, OVER, OutcomeKind::Limit, 0),
    ] {
        let rules = [acting(Action::Count, 0), acting(action, argument), acting(Action::Count, 0)];
        let (outcome, events, ..) = walked(&rules, 0);
        assert_eq!(outcome, Outcome { kind, rule: 1, interface });
        assert!(events.contains(&Event::Counted(1001)) && !events.contains(&Event::Counted(1002)));
        let (outcome, events, ..) = walked(&[counting(action, argument), acting(Action::Count, 0)], 0);
        assert_eq!(outcome, Outcome::NONE, "{action:?} in mode count");
        assert!(events.contains(&Event::Counted(1000)) && events.contains(&Event::Counted(1001)));
        assert!(!events.iter().any(|event| matches!(event, Event::Banned(..))));
    }
}

#[test]
fn a_limit_counts_what_is_over_it_and_is_charged_in_mode_count_too() {
    for mode in [acting, counting] {
        let (outcome, events, ..) = walked(&[mode(Action::Limit, WITHIN), acting(Action::Drop, 0)], 0);
        assert_eq!((outcome.kind, outcome.rule), (OutcomeKind::Drop, 1));
        assert_eq!(events, [Event::Charged(WITHIN, TIME), Event::Counted(1001)]);
    }
}

#[test]
fn the_clock_is_read_once_and_only_for_limits_and_bans() {
    let (.., reads, _) = walked(&[acting(Action::Count, 0), acting(Action::Drop, 0)], 0);
    assert_eq!(reads, 0);
    let limits = [acting(Action::Limit, WITHIN), acting(Action::Limit, WITHIN), acting(Action::Ban, 5)];
    let (_, events, reads, _) = walked(&limits, 0);
    assert_eq!(reads, 1);
    assert_eq!(events.last(), Some(&Event::Banned(5, TIME)));
}

#[test]
fn chance_is_drawn_for_each_rule_that_leaves_something_to_it() {
    let chance = |hits| Rule { chance: Some(hits), ..Rule::new(Action::Count) };
    let (_, events, _, draws) =
        walked(&[chance(0), chance(1 << 32), chance(1 << 31), chance((1 << 32) - 1)], 3);
    assert_eq!(draws, 2, "never and always are not drawn");
    assert!(events.contains(&Event::Counted(1001)) && !events.contains(&Event::Counted(1000)));
    let hits = (0..1000).filter(|seed| walked(&[chance(1 << 30)], *seed << 8).1.len() == 1).count();
    assert!((200..300).contains(&hits), "{hits} of 1000 at a quarter");
    let (_, events, ..) = walked(&[acting(Action::Sample, ALWAYS)], 0);
    assert_eq!(events, [Event::Shown(1000), Event::Counted(1000)]);
    let (_, events, ..) = walked(&[counting(Action::Sample, ALWAYS)], 0);
    assert_eq!(events, [Event::Counted(1000)], "mode count shows nothing");
}

#[test]
fn payload_is_compared_within_its_mask_and_has_to_be_there() {
    let is_met = |offset, value: &[u8], mask: &[u8], negated| {
        let payload = Some((offset, value.to_vec(), mask.to_vec(), negated));
        walked(&[Rule { payload, ..Rule::new(Action::Drop) }], 0).0.kind == OutcomeKind::Drop
    };
    assert!(is_met(0, &[0x11, 0x22, 0x33, 0x44], &[0xff; 4], false));
    assert!(is_met(1, &[0x20, 0x03], &[0xf0, 0x0f], false));
    assert!(!is_met(1, &[0x20, 0x04], &[0xf0, 0x0f], false));
    assert!(is_met(1, &[0x20, 0x04], &[0xf0, 0x0f], true));
    for negated in [false, true] {
        assert!(!is_met(3, &[0x44, 0], &[0xff, 0], negated), "two bytes are not there");
        assert!(!is_met(255, &[0; 16], &[1; 16], negated));
    }
}
