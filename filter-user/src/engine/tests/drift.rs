//! Tables that are not what the sets say, since a change could be neither done nor undone.

use super::*;

#[test]
fn interfaces_that_a_replacement_divided_are_repaired_by_the_next_change() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let before = dump(&engine);
    rig.kernel.inner().divided = true;
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    let failed = engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap_err();
    assert!(matches!(failed, EngineError::Divided { .. }), "{failed}");
    let text = failed.to_string();
    assert!(text.contains("eth7") && !text.contains("the tables are as they were"), "{text}");
    assert!(engine.has_drifted());
    assert_eq!(dump(&engine), before);
    rig.kernel.inner().calls.clear();
    add(&mut engine, "s", &["10.0.0.4/32"]).unwrap();
    assert!(!engine.has_drifted() && !rig.kernel.inner().divided);
    let left: Vec<IpNet> = rig.kernel.block().into_iter().map(|(prefix, _)| prefix).collect();
    assert_eq!(left, nets(&["10.0.0.1/32", "10.0.0.4/32"]));
}

#[test]
fn drift_is_repaired_without_a_change_as_soon_as_the_kernel_lets_it() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    assert!(!engine.repair_drift().unwrap());
    rig.kernel.inner().divided = true;
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap_err();
    rig.kernel.inner().stuck = true;
    let stuck = engine.repair_drift().unwrap_err();
    assert!(matches!(stuck, EngineError::Divided { .. }) && engine.has_drifted(), "{stuck}");
    rig.kernel.inner().stuck = false;
    assert!(engine.repair_drift().unwrap() && !engine.has_drifted());
    let left: Vec<IpNet> = rig.kernel.block().into_iter().map(|(prefix, _)| prefix).collect();
    assert_eq!(left, nets(&["10.0.0.1/32"]));
}
