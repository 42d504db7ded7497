//! Entries whose time is over, also where some of them cannot be taken out.

use super::*;

/// An engine with a set for each of `prefixes`, which are over at 10, 10, ... and 20 for the last.
fn sets_with_an_end(rig: &Rig, prefixes: &[IpNet]) -> Engine {
    let mut engine = rig.open();
    for (number, prefix) in prefixes.iter().enumerate() {
        let end = if number + 1 == prefixes.len() { at(20) } else { at(10) };
        let set = name(&format!("s{number}"));
        engine.add(&set, SetKind::Block, &[*prefix], &by(None, Some(end)), at(1)).unwrap();
    }
    engine
}

fn left(rig: &Rig) -> Vec<IpNet> {
    rig.kernel.block().into_iter().map(|(prefix, _)| prefix).collect()
}

#[test]
fn a_set_whose_entries_cannot_go_keeps_no_other_from_expiring() {
    let rig = Rig::new();
    let prefixes = nets(&["10.0.0.0/8", "192.0.2.1/32", "192.0.2.2/32", "198.51.100.1/32"]);
    let mut engine = sets_with_an_end(&rig, &prefixes);
    rig.kernel.inner().refused = Some(prefixes[0]);
    let failed = engine.expire(at(10)).unwrap_err();
    assert!(failed.to_string().starts_with("10.0.0.0/8 could not be changed"), "{failed}");
    assert_eq!(left(&rig), [prefixes[0], prefixes[3]]);
    // What comes next is not what cannot go.
    assert_eq!(engine.next_expiry_after(at(10)), Some(at(20)));
    assert_eq!(engine.next_expiry(), Some(at(10)));
    engine.expire(at(20)).unwrap_err();
    assert_eq!(left(&rig), [prefixes[0]]);
    let state = dump(&engine);
    assert_eq!(state.iter().map(|(_, entries)| entries.len()).collect::<Vec<_>>(), [1, 0, 0, 0]);

    rig.kernel.inner().refused = None;
    assert_eq!(engine.expire(at(20)).unwrap(), 1);
    assert_eq!((left(&rig), engine.next_expiry()), (vec![], None));
}

#[test]
fn of_several_sets_that_cannot_expire_the_first_is_told() {
    let rig = Rig::new();
    let prefixes = nets(&["10.0.0.0/8", "11.0.0.0/8", "192.0.2.1/32"]);
    let mut engine = sets_with_an_end(&rig, &prefixes);
    rig.kernel.fail_at(0, 2);
    let failed = engine.expire(at(20)).unwrap_err();
    assert!(failed.to_string().starts_with("10.0.0.0/8 could not be changed"), "{failed}");
    assert_eq!(left(&rig), prefixes[..2]);
}
