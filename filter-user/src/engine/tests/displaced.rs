//! A state directory that is removed or replaced under a running engine.

use super::*;

fn displaced(error: &EngineError) -> String {
    assert!(matches!(error, EngineError::Journal(JournalError::Displaced { .. })), "{error}");
    error.to_string()
}

#[test]
fn a_change_is_refused_once_the_state_directory_is_gone_and_nothing_changes() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    std::fs::remove_dir_all(rig.path()).unwrap();
    let (before, calls) = ((dump(&engine), rig.kernel.block()), rig.kernel.inner().calls.len());
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    let intent = InterfaceIntent { mode: InterfaceMode::Native, switches: Switches::DEFAULT };
    let refusals = [
        add(&mut engine, "s", &["2.2.2.2/32"]).unwrap_err(),
        engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap_err(),
        engine.delete(&name("s"), &nets(&["10.0.0.1/32"])).unwrap_err(),
        engine.remove_set(&name("s")).unwrap_err(),
        engine.set_interface("eth0", intent).unwrap_err(),
    ];
    for refusal in refusals {
        let text = displaced(&refusal);
        assert!(text.contains("/log was removed") && text.contains("restart levee run"), "{text}");
    }
    assert_eq!((dump(&engine), rig.kernel.block()), before);
    assert_eq!(rig.kernel.inner().calls.len(), calls, "no table was touched");
    engine.journal.compact(&engine.state).unwrap_err();
    assert!(!rig.path().exists());
}

#[test]
fn a_state_directory_that_another_was_put_in_place_of_is_not_written_over() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let (away, other) = (rig.directory.path().join("away"), Rig::new());
    drop(other.open());
    std::fs::rename(rig.path(), &away).unwrap();
    std::fs::rename(other.path(), rig.path()).unwrap();
    let restored = std::fs::read(rig.path().join("log")).unwrap();
    let text = displaced(&add(&mut engine, "s", &["2.2.2.2/32"]).unwrap_err());
    assert!(text.contains("/log was replaced by another file"), "{text}");
    engine.journal.compact(&engine.state).unwrap_err();
    assert_eq!(std::fs::read(rig.path().join("log")).unwrap(), restored);
    assert!(!rig.path().join("snapshot").exists());

    // What was moved away counts again once it is back.
    std::fs::remove_dir_all(rig.path()).unwrap();
    std::fs::rename(&away, rig.path()).unwrap();
    for turn in 0..2 {
        add(&mut engine, "s", &[&format!("2.2.2.{turn}/32")]).unwrap();
        engine.journal.compact(&engine.state).unwrap();
    }
    let before = dump(&engine);
    drop(engine);
    assert_eq!(dump(&rig.open()), before);
}
