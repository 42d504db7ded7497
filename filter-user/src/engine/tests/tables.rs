//! How the tables follow the sets: one by one and at once, when they are full, fail, or were changed by something else.

use super::*;

#[test]
fn a_replacement_is_one_step_and_tells_what_it_did() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32"]).unwrap();
    rig.kernel.inner().calls.clear();
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    let report = engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap();
    let expected = ImportReport { added: 1, removed: 1, refreshed: 0, unchanged: 1, total: 2 };
    assert_eq!(report, expected);
    assert_eq!(rig.kernel.inner().calls, [Call::Replace(2)]);
    assert_eq!(rig.kernel.block(), [(list[0], 1), (list[1], 1)]);
}

#[test]
fn single_changes_add_before_they_remove() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    rig.kernel.inner().calls.clear();
    let (gone, new) = (nets(&["10.0.0.1/32"]), nets(&["10.0.0.9/32"]));
    engine.change(&name("s"), SetKind::Block, &new, &gone, &forever(), at(2)).unwrap();
    assert_eq!(rig.kernel.inner().calls, [Call::Change(new[0], Some(1)), Call::Change(gone[0], None)]);
}

#[test]
fn what_does_not_fit_into_the_tables_gets_larger_ones() {
    let rig = Rig::new();
    let mut engine = rig.open();
    rig.kernel.inner().tables.limit(1, 100);
    let prefixes = nets(&["10.0.0.1/32", "10.0.0.2/32", "::1/128"]);
    engine.add(&name("s"), SetKind::Block, &prefixes, &forever(), at(1)).unwrap();
    let expected: Vec<_> = prefixes.iter().map(|prefix| (*prefix, 1)).collect();
    assert_eq!(rig.kernel.block(), expected);
    let calls = &rig.kernel.inner().calls;
    // The first fits and is taken back before all come at once.
    let tried = Call::Change(prefixes[0], Some(1));
    assert!(calls.contains(&tried) && calls.last() == Some(&Call::Replace(3)), "{calls:?}");
}

#[test]
fn what_finds_no_room_and_cannot_be_taken_back_either_gets_larger_tables() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let prefixes = nets(&["10.0.0.1/32", "10.0.0.2/32"]);
    // The first fits, the second does not, and the first cannot be taken back.
    rig.kernel.inner().full = Some(1);
    rig.kernel.fail_at(2, 1);
    engine.add(&name("s"), SetKind::Block, &prefixes, &forever(), at(1)).unwrap();
    assert_eq!(rig.kernel.block(), [(prefixes[0], 1), (prefixes[1], 1)]);
    assert_eq!(rig.kernel.inner().calls.last(), Some(&Call::Replace(2)));
    assert!(!engine.drifted && engine.sets().next().unwrap().v4 == 2);

    let more = nets(&["10.0.0.3/32", "10.0.0.4/32"]);
    rig.kernel.inner().full = Some(1);
    rig.kernel.fail_at(2, 2);
    let before = dump(&engine);
    let failed = engine.add(&name("s"), SetKind::Block, &more, &forever(), at(2)).unwrap_err();
    assert!(matches!(failed, EngineError::NotUndone { .. }) && engine.drifted, "{failed}");
    assert_eq!(dump(&engine), before);
    engine.add(&name("s"), SetKind::Block, &more, &forever(), at(2)).unwrap();
    assert_eq!(rig.kernel.block().len(), 4);
}

#[test]
fn a_replacement_that_cannot_be_journalled_is_put_back() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let before = (dump(&engine), rig.kernel.block());
    let read_only = std::fs::File::open(rig.path().join("log")).unwrap();
    engine.journal.replace_log(read_only);
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    let failed = engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap_err();
    assert!(matches!(failed, EngineError::Journal(_)), "{failed}");
    assert_eq!((dump(&engine), rig.kernel.block()), before);
}

#[test]
fn whichever_table_call_fails_the_change_is_undone() {
    type Operation = fn(&mut Engine) -> Result<(), EngineError>;
    let operations: [Operation; 5] = [
        |engine| add(engine, "new", &["10.0.0.8/32", "::8/128", "10.0.0.1/32"]).map(drop),
        |engine| engine.delete(&name("a"), &nets(&["10.0.0.1/32", "10.0.0.2/32"])).map(drop),
        |engine| {
            let list = nets(&["10.0.0.2/32", "10.0.0.6/32", "10.0.0.7/32"]);
            engine.import(&name("a"), SetKind::Block, &list, true, &forever(), at(2)).map(drop)
        },
        |engine| engine.flush(&name("a")).map(drop),
        |engine| engine.remove_set(&name("a")).map(drop),
    ];
    for operation in operations {
        for call in 0.. {
            let rig = Rig::new();
            let mut engine = rig.open();
            add(&mut engine, "a", &["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"]).unwrap();
            add(&mut engine, "b", &["10.0.0.1/32", "10.0.0.4/32"]).unwrap();
            let before = (dump(&engine), rig.kernel.block());
            rig.kernel.fail_at(call, 1);
            match operation(&mut engine) {
                Ok(()) => {
                    assert!(call >= 1, "the operation makes at least one call");
                    break;
                }
                Err(error) => {
                    let expected = matches!(error, EngineError::Table { .. } | EngineError::Tables { .. });
                    assert!(expected, "{error}");
                }
            }
            assert_eq!((dump(&engine), rig.kernel.block()), before);
            drop(engine);
            assert_eq!(dump(&rig.open()), before.0);
        }
    }
}

#[test]
fn when_undoing_fails_too_the_next_change_repairs_the_tables() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    rig.kernel.fail_at(1, 2);
    let error = add(&mut engine, "s", &["10.0.0.2/32", "10.0.0.3/32"]).unwrap_err();
    assert!(matches!(error, EngineError::NotUndone { .. }), "{error}");
    assert_eq!(rig.kernel.block().len(), 2);
    add(&mut engine, "s", &["10.0.0.4/32"]).unwrap();
    let left: Vec<IpNet> = rig.kernel.block().into_iter().map(|(prefix, _)| prefix).collect();
    assert_eq!(left, nets(&["10.0.0.1/32", "10.0.0.4/32"]));
}

#[test]
fn opening_repairs_tables_that_something_else_changed() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32"]).unwrap();
    let before = rig.kernel.block();
    drop(engine);
    let [missing, wrong, surplus] = nets(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"])[..] else {
        panic!()
    };
    {
        let tables = &mut rig.kernel.inner().tables;
        tables.remove(TableKind::Block, missing).unwrap();
        tables.insert(TableKind::Block, wrong, 9).unwrap();
        tables.insert(TableKind::Block, surplus, 1).unwrap();
        tables.insert(TableKind::AllowSource, surplus, 1).unwrap();
    }
    let (_engine, recovery) = rig.open_at(at(0)).unwrap();
    assert_eq!(recovery.tables, Opened::Replaced);
    assert_eq!(rig.kernel.block(), before);
}

#[test]
fn a_lost_state_takes_over_what_the_tables_hold_instead_of_emptying_them() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "2001:db8::/32"]).unwrap();
    let allowed = &nets(&["192.0.2.0/24"]);
    engine.add(&name("a"), SetKind::AllowSource, allowed, &forever(), at(0)).unwrap();
    drop(engine);
    std::fs::remove_dir_all(rig.path()).unwrap();
    let (engine, recovery) = rig.open_at(at(1)).unwrap();
    assert_eq!(recovery.adopted, 3);
    let found = engine.test(TableKind::Block, "10.0.0.1/32".parse().unwrap()).unwrap().unwrap();
    assert_eq!(found.set, name("adopted-block"));
    let kept: Vec<IpNet> =
        engine.entries(&name("adopted-allow")).unwrap().map(|(prefix, _)| prefix).collect();
    assert_eq!(&kept, allowed);
    drop(engine);
    let (engine, recovery) = rig.open_at(at(2)).unwrap();
    assert_eq!((recovery.adopted, recovery.prefixes, engine.sets().count()), (0, 3, 2));
}

#[test]
fn a_new_set_gets_the_lowest_number_that_is_free() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.1/32"]).unwrap();
    add(&mut engine, "b", &["10.0.0.2/32"]).unwrap();
    engine.remove_set(&name("a")).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    drop(engine);
    let mut engine = rig.open();
    add(&mut engine, "c", &["10.0.0.3/32"]).unwrap();
    let numbers: Vec<_> = engine.sets().map(|set| (set.name.to_string(), set.id)).collect();
    assert_eq!(numbers, [("b".to_owned(), 2), ("c".to_owned(), 1)]);
}

#[test]
fn more_sets_than_there_are_numbers_are_refused() {
    let rig = Rig::new();
    let mut engine = rig.open();
    for set in 0..crate::tables::MAX_SET {
        add(&mut engine, &format!("s{set}"), &["10.0.0.1/32"]).unwrap();
    }
    let refused = add(&mut engine, "one-more", &["10.0.0.1/32"]).unwrap_err().to_string();
    assert_eq!(refused, "there are 1023 sets, and there can be no more; remove one with `levee set rm`");
}

#[test]
fn a_plan_of_an_import_is_what_the_import_does_and_changes_nothing() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32", "10.0.0.5/32"]).unwrap();
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"]);
    // In the second import, all that the new set would block is blocked already: no table changes.
    for (set, replace, bytes, way) in [
        ("s", false, 5 * 16, PlannedWay::InPlace),
        ("t", true, 5 * 16, PlannedWay::Untouched),
        ("s", true, 3 * 16, PlannedWay::Replaced),
    ] {
        let before = (dump(&engine), rig.kernel.block(), rig.kernel.inner().calls.len());
        let planned = engine
            .planner()
            .plan_import(&name(set), SetKind::Block, &list, replace, &forever(), at(2))
            .unwrap();
        assert_eq!((dump(&engine), rig.kernel.block(), rig.kernel.inner().calls.len()), before);
        assert_eq!(planned.footprint.bytes, bytes, "{set} {replace}");
        let generation = engine.table_memory().generation;
        let done = engine.import(&name(set), SetKind::Block, &list, replace, &forever(), at(2)).unwrap();
        assert_eq!((planned.report, planned.way), (done, way));
        assert_eq!(way == PlannedWay::Replaced, engine.table_memory().generation > generation);
        assert_eq!(engine.table_memory().live, bytes);
        let live = planned.memory.live;
        let expected = if way == PlannedWay::Untouched { (live, live) } else { (bytes, live + bytes) };
        assert_eq!((planned.after(), planned.peak()), expected);
    }
}

#[test]
fn a_plan_of_what_may_find_no_room_bounds_what_comes_of_it() {
    let list = nets(&["10.0.0.2/32", "2001:db8::/48", "2001:db8:1::/48"]);
    for room in [0, 2, 3] {
        let rig = Rig::new();
        let mut engine = rig.open();
        rig.kernel.inner().tables.limit(1, 4);
        add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
        rig.kernel.inner().tables.limit(room, 4);
        let plan = engine.planner();
        let plan = plan.plan_import(&name("s"), SetKind::Block, &list, false, &forever(), at(2)).unwrap();
        assert_eq!((plan.way, plan.after(), plan.peak()), (PlannedWay::InPlace, 4 * 16, 5 * 16), "{room}");
        let generation = engine.table_memory().generation;
        engine.import(&name("s"), SetKind::Block, &list, false, &forever(), at(2)).unwrap();
        let after = engine.table_memory();
        assert_eq!(after.generation > generation, room < 3);
        assert!(after.live <= plan.after());
    }
}

/// Exit code 0 of a dry run promises that the import is not refused for memory.
#[test]
fn what_would_not_fit_into_new_tables_is_refused_by_its_plan_whether_or_not_it_fits_into_these() {
    let list = nets(&["10.0.0.2/32", "2001:db8::/48", "2001:db8:1::/48"]);
    for room in [0, 2, 3] {
        let rig = Rig::new();
        let mut engine = rig.open();
        add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
        rig.kernel.inner().tables.limit(room, 3);
        let planner = engine.planner();
        let plan =
            |list: &[IpNet]| planner.plan_import(&name("s"), SetKind::Block, list, false, &forever(), at(2));
        let planned = plan(&list).unwrap_err();
        assert!(matches!(planned, EngineError::MayNotFit { needed: 64, limit: 48 }), "{room}: {planned}");
        let text = planned.to_string();
        assert!(text.contains("take 64 B, and the limit is 48 B; raise it with"), "{text}");
        assert!(plan(&list[..2]).is_ok());
        let imported = engine.import(&name("s"), SetKind::Block, &list, false, &forever(), at(2));
        assert_eq!(imported.is_ok(), room == 3);
    }
}

#[test]
fn a_plan_is_refused_as_the_import_would_be() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    rig.kernel.inner().tables.limit(100, 2);
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"]);
    let over = by(None, Some(at(1)));
    let long = by(Some(&"x".repeat(2000)), None);
    for (kind, replace, provenance) in [
        (SetKind::AllowSource, false, &forever()),
        (SetKind::Block, true, &forever()),
        (SetKind::Block, false, &over),
        (SetKind::Block, false, &long),
    ] {
        let planned =
            engine.planner().plan_import(&name("s"), kind, &list, replace, provenance, at(2)).unwrap_err();
        let refused = engine.import(&name("s"), kind, &list, replace, provenance, at(2)).unwrap_err();
        assert_eq!(format!("{planned:?}"), format!("{refused:?}"));
    }
}

/// Long lists take another way through the state than short ones; both come to the same.
#[test]
fn long_lists_change_a_set_as_short_ones_do() {
    let net = |number: u32| IpNet::from(std::net::IpAddr::from(number.to_be_bytes()));
    let start: Vec<IpNet> = (0..5000).map(|number| net(number * 2)).collect();
    let list: Vec<IpNet> = (2000..6000).map(|number| net(number * 3)).collect();
    let gone: Vec<IpNet> = start.iter().copied().skip(100).step_by(2).filter(|p| !list.contains(p)).collect();
    let engines: Vec<(Dump, Vec<(IpNet, SetId)>)> = [usize::MAX, 100]
        .into_iter()
        .map(|piece| {
            let rig = Rig::new();
            rig.kernel.inner().tables.limit(100_000, 100_000);
            let mut engine = rig.open();
            engine.add(&name("s"), SetKind::Block, &start, &by(Some("one"), Some(at(90))), at(1)).unwrap();
            for piece in list.chunks(piece.min(list.len())) {
                engine.add(&name("s"), SetKind::Block, piece, &by(None, Some(at(80))), at(2)).unwrap();
            }
            for piece in gone.chunks(piece.min(gone.len())) {
                engine.delete(&name("s"), piece).unwrap();
            }
            assert_eq!(engine.next_expiry(), Some(at(80)));
            let dumped = dump(&engine);
            drop(engine);
            let engine = rig.open();
            assert_eq!(dump(&engine), dumped);
            (dumped, rig.kernel.block())
        })
        .collect();
    assert_eq!(engines[0], engines[1]);
}
