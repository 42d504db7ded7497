//! Policies: what is in force after each step, after each failure, and after a restart.

use filter_common::table::TableKind;

use super::*;
use crate::policy::{Checked, Policy};

fn checked(text: &str) -> Checked {
    Policy::parse("test", text).unwrap()
}

fn rules(lines: &str) -> String {
    format!("rules = \"\"\"\n{lines}\n\"\"\"\n")
}

fn origin() -> PolicyOrigin {
    PolicyOrigin { by: "test".to_owned(), file: "test".to_owned() }
}

fn apply(
    engine: &mut Engine,
    text: &str,
    confirm: Option<u64>,
    now: SystemTime,
) -> Result<PolicySummary, EngineError> {
    engine.apply_policy(checked(text), text, origin(), confirm.map(Duration::from_secs), now)
}

/// The text in force, and the number of rules in the tables.
fn in_force(engine: &Engine, rig: &Rig) -> (String, u32) {
    let policy = engine.policies().into_iter().find(|policy| policy.in_force);
    let tables = rig.kernel.inner().tables.policy().map_or(0, |policy| policy.rules.rules);
    (policy.map(|policy| policy.text).unwrap_or_default(), tables)
}

#[test]
fn a_policy_is_in_the_tables_and_outlives_a_restart_and_a_snapshot() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let text = rules("drop udp dport 9\npass tcp");
    apply(&mut engine, &text, None, at(1)).unwrap();
    assert_eq!(in_force(&engine, &rig), (text.clone(), 2));
    for compact in [false, true] {
        if compact {
            engine.journal.compact(&engine.state).unwrap();
        }
        let slots: Vec<u32> = engine.rules().into_iter().map(|(.., slot)| slot).collect();
        drop(engine);
        let (opened, recovery) = rig.open_at(at(2)).unwrap();
        engine = opened;
        assert_eq!(recovery.tables, Opened::Adopted);
        assert_eq!(in_force(&engine, &rig), (text.clone(), 2));
        assert_eq!(engine.rules().into_iter().map(|(.., slot)| slot).collect::<Vec<_>>(), slots);
    }
}

#[test]
fn a_trial_ends_in_time_and_leaves_what_was_before() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let (one, two) = (rules("drop udp"), rules("drop tcp\ndrop udp"));
    apply(&mut engine, &one, None, at(1)).unwrap();
    apply(&mut engine, &two, Some(10), at(2)).unwrap();
    assert_eq!(in_force(&engine, &rig), (two.clone(), 2));
    assert!(matches!(apply(&mut engine, &one, None, at(3)), Err(EngineError::OnTrial)));
    assert!(!engine.end_trial_in_time(at(11)).unwrap());
    // Lists change meanwhile, and what is on trial stays.
    engine.add(&name("s"), SetKind::Block, &nets(&["10.0.0.1/32"]), &forever(), at(5)).unwrap();
    engine
        .import(&name("s"), SetKind::Block, &nets(&["10.0.0.2/32", "10.0.0.3/32"]), true, &forever(), at(6))
        .unwrap();
    assert!(rig.kernel.inner().tables.trial_left().unwrap().is_some());
    // What comes to be blocked meets no lists of before, and where something is allowed no more, nothing does.
    let mut narrowed = vec![Some(nets(&["10.0.0.1/32"])), Some(nets(&["10.0.0.2/32", "10.0.0.3/32"]))];
    assert_eq!(rig.kernel.inner().narrowed, narrowed);
    engine.delete(&name("s"), &nets(&["10.0.0.2/32"])).unwrap();
    engine.add(&name("a"), SetKind::AllowSource, &nets(&["10.0.0.2/32"]), &forever(), at(7)).unwrap();
    assert_eq!(rig.kernel.inner().narrowed, narrowed);
    engine.flush(&name("a")).unwrap();
    narrowed.push(None);
    assert_eq!(rig.kernel.inner().narrowed, narrowed);
    engine.add(&name("s"), SetKind::Block, &nets(&["10.0.0.2/32"]), &forever(), at(7)).unwrap();
    assert!(engine.end_trial_in_time(at(12)).unwrap());
    assert_eq!(in_force(&engine, &rig), (one, 1));
    assert_eq!((engine.policies().len(), rig.kernel.block().len()), (1, 2));
    assert!(rig.kernel.inner().tables.trial_left().unwrap().is_none());
    assert!(matches!(engine.confirm_policy(at(13)), Err(EngineError::NoTrial)));
}

#[test]
fn a_trial_whose_time_was_over_before_a_restart_is_over_after_it() {
    let rig = Rig::new();
    let (one, two) = (rules("drop udp"), rules("drop tcp\ndrop udp"));
    for (now, expected) in [(5, &two), (20, &one)] {
        let mut engine = rig.open_at(at(0)).unwrap().0;
        if engine.policies().is_empty() {
            apply(&mut engine, &one, None, at(1)).unwrap();
            apply(&mut engine, &two, Some(10), at(2)).unwrap();
        }
        drop(engine);
        let engine = rig.open_at(at(now)).unwrap().0;
        assert_eq!(in_force(&engine, &rig).0, *expected, "{now}");
        assert_eq!(engine.trial_until().is_some(), now == 5);
    }
}

#[test]
fn a_confirmed_policy_stays_and_going_back_is_a_policy_of_its_own() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let (one, two) = (rules("drop udp"), rules("drop tcp\ndrop udp"));
    apply(&mut engine, &one, Some(10), at(1)).unwrap();
    engine.confirm_policy(at(2)).unwrap();
    assert!(!engine.end_trial_in_time(at(100)).unwrap());
    apply(&mut engine, &two, None, at(3)).unwrap();
    assert_eq!(engine.policy_before(1).unwrap().0, one);
    assert_eq!(engine.policy_before(2).unwrap(), (String::new(), 0));
    assert!(matches!(engine.policy_before(3), Err(EngineError::NoSuchPolicy { steps: 3, kept: 1 })));
    apply(&mut engine, &one, None, at(4)).unwrap();
    assert_eq!(engine.policy_before(1).unwrap().0, two);
}

#[test]
fn what_the_kernel_or_the_disk_refuses_changes_nothing() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let (one, two) = (rules("drop udp"), "rules = \"drop saddr @new\"\n[set.new]\n".to_owned());
    apply(&mut engine, &one, None, at(1)).unwrap();
    rig.kernel.fail_at(0, 1);
    assert!(matches!(apply(&mut engine, &two, None, at(2)), Err(EngineError::Tables { .. })));
    assert_eq!((in_force(&engine, &rig), engine.sets().count()), ((one.clone(), 1), 0));
    engine.journal.replace_log(std::fs::File::open("/dev/null").unwrap());
    for confirm in [None, Some(10)] {
        assert!(matches!(apply(&mut engine, &two, confirm, at(3)), Err(EngineError::Journal(_))));
        assert_eq!((in_force(&engine, &rig), engine.sets().count()), ((one.clone(), 1), 0));
        assert!(rig.kernel.inner().tables.trial_left().unwrap().is_none());
    }
}

#[test]
fn sets_that_rules_look_at_are_in_their_tables_and_stay() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let text = "rules = \"drop saddr @bad\"\n[set.bad]\nmax-entries = 2\n";
    apply(&mut engine, text, None, at(1)).unwrap();
    let classes = |rig: &Rig| {
        let inner = rig.kernel.inner();
        inner.tables.policy().unwrap().source.v4.prefixes().len()
    };
    assert_eq!(classes(&rig), 0);
    engine
        .add(&name("bad"), SetKind::Match, &nets(&["10.0.0.1/32", "10.0.0.2/32"]), &forever(), at(2))
        .unwrap();
    assert_eq!(classes(&rig), 2);
    assert!(rig.kernel.inner().tables.entries(TableKind::Block).is_empty());
    let more = engine.add(&name("bad"), SetKind::Match, &nets(&["10.0.0.3/32"]), &forever(), at(3));
    assert!(matches!(more, Err(EngineError::TooManyEntries { would: 3, limit: 2, .. })));
    let end = by(None, Some(at(9)));
    engine.delete(&name("bad"), &nets(&["10.0.0.2/32"])).unwrap();
    engine.add(&name("bad"), SetKind::Match, &nets(&["10.0.0.1/32"]), &end, at(4)).unwrap();
    engine.expire(at(10)).unwrap();
    assert_eq!(classes(&rig), 0);
    assert!(matches!(engine.remove_set(&name("bad")), Err(EngineError::SetInUse { .. })));
    let unknown = checked("rules = \"drop saddr @nobody\"\n");
    assert!(matches!(engine.plan_policy(&unknown), Err(EngineError::Policy(_))));
    let other = checked("[set.bad]\naction = \"block\"\n");
    assert!(matches!(engine.plan_policy(&other), Err(EngineError::OtherKind { .. })));
}
