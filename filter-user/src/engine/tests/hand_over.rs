//! Addresses that a change takes from one prefix to another: a search that is under way finds one of the two.

use super::*;

/// The calls of a change that adds and removes, on a set that holds `held`.
fn calls(held: &[&str], put: &[&str], gone: &[&str]) -> Vec<Call> {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", held).unwrap();
    rig.kernel.inner().calls.clear();
    engine.change(&name("s"), SetKind::Block, &nets(put), &nets(gone), &forever(), at(2)).unwrap();
    std::mem::take(&mut rig.kernel.inner().calls)
}

fn comes(prefix: &str) -> Call {
    Call::Change(prefix.parse().unwrap(), Some(1))
}

fn goes(prefix: &str) -> Call {
    Call::Change(prefix.parse().unwrap(), None)
}

#[test]
fn searches_are_waited_for_before_what_the_new_covers_goes() {
    let held = ["10.1.2.3/32", "10.9.0.1/32", "192.0.2.0/25", "2001:db8::/64"];
    for (put, gone) in [
        ("10.1.2.0/24", "10.1.2.3/32"),
        ("0.0.0.0/0", "10.1.2.3/32"),
        ("192.0.2.7/32", "192.0.2.0/25"),
        ("2001:db8::7/128", "2001:db8::/64"),
    ] {
        assert_eq!(calls(&held, &[put], &[gone]), [comes(put), Call::Wait, goes(gone)], "{put} for {gone}");
    }
    let several = calls(&held, &["10.0.0.0/8", "11.0.0.0/8"], &["10.1.2.3/32", "192.0.2.0/25"]);
    let expected =
        [comes("10.0.0.0/8"), comes("11.0.0.0/8"), Call::Wait, goes("10.1.2.3/32"), goes("192.0.2.0/25")];
    assert_eq!(several, expected);
}

#[test]
fn nothing_is_waited_for_where_no_address_is_handed_over() {
    let held = ["10.1.2.3/32", "10.1.2.9/32", "192.0.2.0/25", "2001:db8::/64"];
    for (put, gone) in [
        (&["10.1.2.4/32"][..], &["10.1.2.3/32"][..]),
        (&["192.0.2.128/25", "10.1.3.0/24"], &["192.0.2.0/25", "10.1.2.3/32", "10.1.2.9/32"]),
        (&["10.1.2.0/24"], &["2001:db8::/64"]),
        (&["10.1.2.0/24"], &[]),
    ] {
        assert!(!calls(&held, put, gone).contains(&Call::Wait), "{put:?} for {gone:?}");
    }
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &held).unwrap();
    engine.delete(&name("s"), &nets(&held[..1])).unwrap();
    assert!(!rig.kernel.inner().calls.contains(&Call::Wait));
}

#[test]
fn taking_a_change_back_waits_before_the_new_goes_again() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.1.2.3/32"]).unwrap();
    let before = (dump(&engine), rig.kernel.block());
    let read_only = std::fs::File::open(rig.path().join("log")).unwrap();
    engine.journal.replace_log(read_only);
    rig.kernel.inner().calls.clear();
    let (put, gone) = (nets(&["10.1.2.0/24"]), nets(&["10.1.2.3/32"]));
    let failed = engine.change(&name("s"), SetKind::Block, &put, &gone, &forever(), at(2)).unwrap_err();
    assert!(matches!(failed, EngineError::Journal(_)), "{failed}");
    let there = [comes("10.1.2.0/24"), Call::Wait, goes("10.1.2.3/32")];
    let back = [comes("10.1.2.3/32"), Call::Wait, goes("10.1.2.0/24")];
    assert!(rig.kernel.inner().calls.iter().eq(there.iter().chain(&back)), "{:?}", rig.kernel.inner().calls);
    assert_eq!((dump(&engine), rig.kernel.block()), before);
}

#[test]
fn where_searches_cannot_be_waited_for_the_tables_are_replaced() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.1.2.3/32", "10.9.0.1/32"]).unwrap();
    rig.kernel.inner().unsettled = true;
    let (put, gone) = (nets(&["10.1.2.0/24"]), nets(&["10.1.2.3/32"]));
    engine.change(&name("s"), SetKind::Block, &put, &gone, &forever(), at(2)).unwrap();
    assert_eq!(rig.kernel.inner().calls.last(), Some(&Call::Replace(2)));
    assert_eq!(rig.kernel.block(), [(put[0], 1), ("10.9.0.1/32".parse().unwrap(), 1)]);
    assert!(!engine.has_drifted());
}
