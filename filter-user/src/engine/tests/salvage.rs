//! A log that was lost beside its snapshot.

use std::fs;

use super::*;

/// A state with a snapshot and changes since, and tables that have followed them.
fn changed_since(rig: &Rig) -> Engine {
    let mut engine = rig.open();
    let origin = by(Some("an attack"), Some(at(5000)));
    engine.add(&name("a"), SetKind::Block, &nets(&["10.0.0.1/32", "10.0.0.2/32"]), &origin, at(1)).unwrap();
    add(&mut engine, "wide", &["192.0.2.0/24", "198.51.100.0/24"]).unwrap();
    engine.add(&name("friends"), SetKind::AllowSource, &nets(&["10.0.0.9/32"]), &forever(), at(1)).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    engine.delete(&name("a"), &nets(&["10.0.0.2/32"])).unwrap();
    engine.delete(&name("wide"), &nets(&["198.51.100.0/24"])).unwrap();
    add(&mut engine, "a", &["10.0.0.3/32"]).unwrap();
    engine.delete(&name("friends"), &nets(&["10.0.0.9/32"])).unwrap();
    engine
}

fn listed(engine: &Engine, set: &str) -> Vec<String> {
    engine.entries(&name(set)).unwrap().map(|(prefix, _)| prefix.to_string()).collect()
}

fn blocks(rig: &Rig) -> Vec<IpNet> {
    rig.kernel.block().into_iter().map(|(prefix, _)| prefix).collect()
}

#[test]
fn a_snapshot_without_its_log_does_not_overrule_the_tables_in_force() {
    for damage in ["removed", "emptied", "cut in its magic"] {
        let rig = Rig::new();
        drop(changed_since(&rig));
        let before = blocks(&rig);
        let log = rig.path().join("log");
        match damage {
            "removed" => fs::remove_file(&log).unwrap(),
            "emptied" => fs::write(&log, "").unwrap(),
            _ => fs::write(&log, "LEVEE").unwrap(),
        }
        let (engine, recovery) = rig.open_at(at(10)).unwrap();
        assert_eq!(
            (blocks(&rig), recovery.missing_log),
            (before.clone(), MissingLog::TablesBelieved),
            "{damage}"
        );
        assert_eq!(recovery.adopted, 1, "{damage}");
        // What the snapshot knows of what is in force stays known.
        let kept: Vec<_> = engine.entries(&name("a")).unwrap().collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1.reason.as_deref(), Some("an attack"));
        assert_eq!(kept[0].1.expires, Some(at(5000)));
        assert_eq!(listed(&engine, "wide"), ["192.0.2.0/24"]);
        assert_eq!(listed(&engine, "adopted-block"), ["10.0.0.3/32"]);
        assert!(listed(&engine, "friends").is_empty());
        let found = dump(&engine);
        drop(engine);
        // The beginning that was made is a state like any other.
        let (engine, recovery) = rig.open_at(at(10)).unwrap();
        assert_eq!((dump(&engine), recovery.missing_log), (found, MissingLog::No), "{damage}");
        assert_eq!(blocks(&rig), before);
    }
}

#[test]
fn tables_in_force_that_are_empty_are_believed_too() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.1/32"]).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    engine.flush(&name("a")).unwrap();
    drop(engine);
    fs::remove_file(rig.path().join("log")).unwrap();
    let (engine, recovery) = rig.open_at(at(10)).unwrap();
    assert_eq!((listed(&engine, "a"), blocks(&rig)), (vec![], vec![]));
    assert_eq!(recovery.missing_log, MissingLog::TablesBelieved);
}

#[test]
fn a_start_that_fails_before_it_has_made_a_beginning_does_not_count() {
    let rig = Rig::new();
    drop(changed_since(&rig));
    let before = blocks(&rig);
    fs::remove_file(rig.path().join("log")).unwrap();
    rig.kernel.inner().unreadable = true;
    rig.open_at(at(10)).err().expect("the tables cannot be read");
    rig.kernel.inner().unreadable = false;
    let (_, recovery) = rig.open_at(at(10)).unwrap();
    assert_eq!((blocks(&rig), recovery.missing_log), (before, MissingLog::TablesBelieved));
}

#[test]
fn wide_prefixes_that_come_back_joined_or_divided_stay_in_their_sets() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.0/24", "10.0.1.0/24", "172.16.0.0/16", "10.9.9.9/32"]).unwrap();
    add(&mut engine, "b", &["172.16.0.0/17", "2001:db8::/32", "10.7.0.0/16"]).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    drop(engine);
    fs::remove_file(rig.path().join("log")).unwrap();
    {
        let mut inner = rig.kernel.inner();
        let mut contents = Contents::default();
        let held = ["10.0.0.0/23", "10.9.9.9/32", "172.16.0.0/17", "172.16.128.0/17", "2001:db8::/32"];
        let held = nets(&held).into_iter().map(|prefix| (prefix, 1));
        crate::tables::set_entries(&mut contents, TableKind::Block, held).unwrap();
        inner.tables.replace(&contents, OnTrial::Ends).unwrap();
    }
    let (engine, recovery) = rig.open_at(at(10)).unwrap();
    assert_eq!(listed(&engine, "a"), ["10.0.0.0/24", "10.0.1.0/24", "10.9.9.9/32", "172.16.0.0/16"]);
    assert_eq!(listed(&engine, "b"), ["172.16.0.0/17", "2001:db8::/32"]);
    assert_eq!(recovery.adopted, 0);
}
