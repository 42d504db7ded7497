//! Adding and removing in one change.

use super::*;

fn change(
    engine: &mut Engine,
    set: &str,
    put: &[&str],
    remove: &[&str],
) -> Result<ChangeReport, EngineError> {
    engine.change(&name(set), SetKind::Block, &nets(put), &nets(remove), &forever(), at(2))
}

#[test]
fn one_change_adds_and_removes_and_outlives_a_restart() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32"]).unwrap();
    let report = change(
        &mut engine,
        "s",
        &["10.0.0.3/32", "10.0.0.2/32"],
        &["10.0.0.9/32", "10.0.0.1/32", "10.0.0.1/32"],
    );
    let report = report.unwrap();
    assert_eq!((report.added, report.removed), (nets(&["10.0.0.3/32"]), nets(&["10.0.0.1/32"])));
    assert_eq!(report.unchanged, nets(&["10.0.0.2/32", "10.0.0.9/32"]));
    let wanted = nets(&["10.0.0.2/32", "10.0.0.3/32"]).into_iter().map(|net| (net, 1)).collect::<Vec<_>>();
    assert_eq!(rig.kernel.block(), wanted);
    let before = dump(&engine);
    drop(engine);
    assert_eq!(dump(&rig.open()), before);
}

#[test]
fn a_change_that_fails_at_any_step_changes_nothing() {
    for call in 0..4 {
        let rig = Rig::new();
        let mut engine = rig.open();
        add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32"]).unwrap();
        let (before, table) = (dump(&engine), rig.kernel.block());
        rig.kernel.fail_at(call, 1);
        let put = ["10.0.0.3/32", "10.0.0.4/32"];
        let failed = change(&mut engine, "s", &put, &["10.0.0.1/32", "10.0.0.2/32"]).unwrap_err();
        assert!(matches!(failed, EngineError::Table { .. }), "{call}: {failed}");
        assert_eq!((dump(&engine), rig.kernel.block()), (before.clone(), table), "{call}");
        drop(engine);
        assert_eq!(dump(&rig.open()), before, "{call}");
    }
}

#[test]
fn removing_from_a_set_that_is_not_there_does_not_make_it() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let refused = change(&mut engine, "s", &[], &["10.0.0.1/32"]).unwrap_err();
    assert!(matches!(refused, EngineError::UnknownSet { .. }), "{refused}");
    assert_eq!(engine.sets().count(), 0);
}
