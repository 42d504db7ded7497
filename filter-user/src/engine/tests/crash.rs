//! What a crash, a full disk or a damaged file leaves behind.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::*;

/// The state, what opening did, and the block table.
type Found = (Dump, Recovery, Vec<(IpNet, SetId)>);

/// Opens a copy of the state directory whose files were changed by `damage`, on empty tables.
fn open_copy(rig: &Rig, damage: impl FnOnce(&Path)) -> Result<Found, EngineError> {
    let copy = Rig::new();
    fs::create_dir(copy.path()).unwrap();
    for entry in fs::read_dir(rig.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    damage(&copy.path());
    let (engine, recovery) = copy.open_at(at(0))?;
    let state = dump(&engine);
    drop(engine);
    let again = copy.open_at(at(0))?;
    assert_eq!((dump(&again.0), again.1.truncated_log_bytes), (state.clone(), 0));
    Ok((state, recovery, copy.kernel.block()))
}

/// A state after three changes: the dumps before the first and after each, with the log's length then.
fn three_changes(rig: &Rig) -> Vec<(u64, Dump)> {
    let mut engine = rig.open();
    let log = rig.path().join("log");
    let state = |engine: &Engine| (fs::metadata(&log).unwrap().len(), dump(engine));
    let mut states = vec![state(&engine)];
    add(&mut engine, "a", &["10.0.0.1/32", "2001:db8::/32"]).unwrap();
    states.push(state(&engine));
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    engine.import(&name("a"), SetKind::Block, &list, true, &by(Some("why"), None), at(2)).unwrap();
    states.push(state(&engine));
    engine.delete(&name("a"), &list[..1]).unwrap();
    states.push(state(&engine));
    states
}

#[test]
fn a_log_cut_at_any_byte_gives_the_state_before_or_after_a_change() {
    let rig = Rig::new();
    let states = three_changes(&rig);
    let whole = fs::read(rig.path().join("log")).unwrap();
    assert_eq!(whole.len() as u64, states[3].0);
    for length in 0..=whole.len() {
        let cut = |path: &Path| fs::write(path.join("log"), &whole[..length]).unwrap();
        let (state, recovery, table) = open_copy(&rig, cut).unwrap();
        let length = length as u64;
        let (good, expected) = states
            .iter()
            .rev()
            .find(|(end, _)| *end <= length)
            .map_or((0, &states[0].1), |(end, state)| (*end, state));
        assert_eq!(&state, expected, "cut at {length}");
        assert_eq!(table.len(), expected.iter().map(|(_, entries)| entries.len()).sum::<usize>());
        // Of a log that is cut in its beginning nothing is kept.
        assert_eq!(recovery.truncated_log_bytes, length - good, "cut at {length}");
    }
}

#[test]
fn a_damaged_log_beside_a_snapshot_can_be_given_up_for_it() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.1/32"]).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    add(&mut engine, "a", &["10.0.0.2/32"]).unwrap();
    add(&mut engine, "a", &["10.0.0.3/32"]).unwrap();
    drop(engine);
    let damage = |path: &Path| {
        let mut bytes = fs::read(path.join("log")).unwrap();
        bytes[50] ^= 0x10;
        fs::write(path.join("log"), bytes).unwrap();
    };
    let error = open_copy(&rig, damage).expect_err("damage in the middle").to_string();
    assert!(error.contains("move it away to go on with what the tables in force hold"), "{error}");
}

#[test]
fn a_tail_of_zeros_is_cut_as_an_unfinished_write() {
    let rig = Rig::new();
    let states = three_changes(&rig);
    let mut bytes = fs::read(rig.path().join("log")).unwrap();
    bytes.truncate(usize::try_from(states[2].0).unwrap());
    bytes.resize(bytes.len() + 4096, 0);
    let (state, recovery, _) = open_copy(&rig, |path| fs::write(path.join("log"), &bytes).unwrap()).unwrap();
    assert_eq!((state, recovery.truncated_log_bytes), (states[2].1.clone(), 4096));
}

#[test]
fn damage_before_the_last_record_is_an_error_at_every_byte() {
    let rig = Rig::new();
    let states = three_changes(&rig);
    let whole = fs::read(rig.path().join("log")).unwrap();
    for offset in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        let opened = open_copy(&rig, |path| fs::write(path.join("log"), &bytes).unwrap());
        if (offset as u64) < states[2].0 {
            let error = opened.expect_err("damage in the middle").to_string();
            assert!(error.contains("/log is"), "{offset}: {error}");
            // There is no snapshot to go on with.
            assert!(!error.contains("last snapshot"), "{offset}: {error}");
            assert!(error.contains("put back a copy of the state directory"), "{offset}: {error}");
            if offset >= 8 {
                let begin = states.iter().rev().map(|(end, _)| *end).find(|end| *end <= offset as u64);
                let place = format!("at byte {}:", begin.unwrap_or(8));
                assert!(error.contains(&place), "{offset}: {error}");
            }
        } else {
            assert_eq!(opened.expect("damage at the end").0, states[2].1, "{offset}");
        }
    }
}

#[test]
fn damage_before_an_unfinished_record_is_an_error() {
    let rig = Rig::new();
    let states = three_changes(&rig);
    let mut bytes = fs::read(rig.path().join("log")).unwrap();
    bytes.pop();
    bytes[usize::try_from(states[2].0).unwrap() - 1] ^= 1;
    let error = open_copy(&rig, |path| fs::write(path.join("log"), &bytes).unwrap());
    let error = error.expect_err("the last but one is damaged").to_string();
    assert!(error.contains(&format!("damaged at byte {}", states[1].0)), "{error}");
}

#[test]
fn a_missing_record_is_an_error() {
    let rig = Rig::new();
    let states = three_changes(&rig);
    let mut bytes = fs::read(rig.path().join("log")).unwrap();
    let [begin, end] = [states[1].0, states[2].0].map(|at| usize::try_from(at).unwrap());
    bytes.drain(begin..end);
    let error = open_copy(&rig, |path| fs::write(path.join("log"), &bytes).unwrap());
    let error = error.expect_err("a record is missing").to_string();
    assert!(error.contains("record 3 where record 2 belongs"), "{error}");
}

#[test]
fn any_damage_to_a_snapshot_is_an_error() {
    let rig = Rig::new();
    three_changes(&rig);
    let mut engine = rig.open();
    engine.journal.compact(&engine.state).unwrap();
    drop(engine);
    let whole = fs::read(rig.path().join("snapshot")).unwrap();
    let refused = |bytes: &[u8]| {
        let opened = open_copy(&rig, |path| fs::write(path.join("snapshot"), bytes).unwrap());
        let error = opened.expect_err("the snapshot is damaged").to_string();
        assert!(error.contains("/snapshot is") && error.contains("put back a copy"), "{error}");
    };
    let emptied = open_copy(&rig, |path| fs::write(path.join("snapshot"), "").unwrap());
    let emptied = emptied.expect_err("the snapshot is empty").to_string();
    assert!(emptied.contains("snapshot is empty"), "{emptied}");
    for offset in 0..whole.len() {
        refused(&whole[..offset]);
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        refused(&bytes);
    }
    refused(&[&whole[..], b"x"].concat());
    let opened = open_copy(&rig, |path| fs::remove_file(path.join("snapshot")).unwrap());
    let error = opened.expect_err("the snapshot is missing").to_string();
    assert!(error.contains("the log goes on from snapshot 1, but the snapshot is 0"), "{error}");
}

#[test]
fn a_crash_at_any_step_of_a_compaction_loses_and_repeats_nothing() {
    let rig = Rig::new();
    three_changes(&rig);
    let mut engine = rig.open();
    let old_log = fs::read(rig.path().join("log")).unwrap();
    let expected = dump(&engine);
    engine.journal.compact(&engine.state).unwrap();
    let snapshot = fs::read(rig.path().join("snapshot")).unwrap();
    let new_log = fs::read(rig.path().join("log")).unwrap();
    assert!(new_log.len() < old_log.len());

    let write = |path: &Path, name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
    for written in 0..=new_log.len() {
        let state = open_copy(&rig, |path| {
            fs::remove_file(path.join("snapshot")).unwrap();
            write(path, "log", &old_log);
            write(path, "log.tmp", &new_log[..written]);
        });
        assert_eq!(state.unwrap().0, expected, "while the log is written");
    }
    for written in 0..=snapshot.len() {
        let state = open_copy(&rig, |path| {
            fs::remove_file(path.join("snapshot")).unwrap();
            write(path, "log", &old_log);
            write(path, "log.tmp", &new_log);
            write(path, "snapshot.tmp", &snapshot[..written]);
        });
        assert_eq!(state.unwrap().0, expected, "while the snapshot is written");
    }
    let (state, recovery, _) = open_copy(&rig, |path| write(path, "log", &old_log)).unwrap();
    assert_eq!((state, recovery.stale_log), (expected.clone(), true));
    assert_eq!(open_copy(&rig, |_| ()).unwrap().0, expected);

    add(&mut engine, "later", &["10.0.0.9/32"]).unwrap();
    let later = dump(&engine);
    assert_eq!(open_copy(&rig, |_| ()).unwrap().0, later);
    let (state, recovery, _) = open_copy(&rig, |path| fs::remove_file(path.join("log")).unwrap()).unwrap();
    assert_eq!((state, recovery.missing_log), (expected, MissingLog::SnapshotBelieved));
}

#[test]
fn the_log_is_compacted_when_it_outgrows_the_snapshot() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let many: Vec<IpNet> = (0..200u8).map(|last| format!("10.0.0.{last}/32").parse().unwrap()).collect();
    for round in 0..200 {
        let provenance = by(Some(&format!("round {round}")), None);
        engine.add(&name("s"), SetKind::Block, &many, &provenance, at(round)).unwrap();
        engine.maintain();
    }
    assert!(engine.compaction_failure().is_none());
    let log = fs::metadata(rig.path().join("log")).unwrap().len();
    let snapshot = fs::metadata(rig.path().join("snapshot")).unwrap().len();
    assert!(log < 66_000 && snapshot < 4_000, "log {log}, snapshot {snapshot}");
    let before = dump(&engine);
    drop(engine);
    assert_eq!(dump(&rig.open()), before);
}

/// A file that has room for exactly what the log holds, as on a full disk.
fn full_disk(rig: &Rig) -> File {
    let file = memfd_create("full", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, fs::metadata(rig.path().join("log")).unwrap().len()).unwrap();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    file.into()
}

#[test]
fn a_change_that_cannot_be_journalled_is_undone_in_the_tables() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let before = (dump(&engine), rig.kernel.block());
    engine.journal.replace_log(full_disk(&rig));
    for _ in 0..2 {
        let error = add(&mut engine, "s", &["10.0.0.2/32"]).unwrap_err();
        assert!(error.to_string().starts_with("cannot write to "), "{error}");
        assert_eq!((dump(&engine), rig.kernel.block()), before);
    }
    drop(engine);
    assert_eq!(dump(&rig.open()), before.0);
}

#[test]
fn a_journal_in_an_unknown_state_takes_no_more_changes() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let before = (dump(&engine), rig.kernel.block());
    // What cannot be written cannot be cut either.
    engine.journal.replace_log(File::open(rig.path().join("log")).unwrap());
    add(&mut engine, "s", &["10.0.0.2/32"]).unwrap_err();
    let error = add(&mut engine, "s", &["10.0.0.2/32"]).unwrap_err();
    assert!(matches!(error, EngineError::Journal(JournalError::Broken { .. })), "{error}");
    assert_eq!((dump(&engine), rig.kernel.block()), before);
}

#[test]
fn one_process_at_a_time_holds_the_state_directory() {
    let rig = Rig::new();
    let engine = rig.open();
    let error = rig.open_at(at(0)).err().expect("held").to_string();
    assert!(error.starts_with("another levee holds the state directory "), "{error}");
    assert!(error.contains(&format!(", pid {};", std::process::id())), "{error}");
    let mode = fs::metadata(rig.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(engine);
    rig.open();
}

#[test]
fn a_state_directory_that_cannot_be_used_says_why() {
    let rig = Rig::new();
    let open = |path: &Path| {
        Engine::open(path, Box::new(rig.kernel.clone()), at(0)).err().expect("unusable").to_string()
    };
    let missing = open(&rig.path().join("below"));
    assert!(missing.ends_with("the directory above it does not exist; make it with mkdir -p"), "{missing}");
    fs::write(rig.path(), "").unwrap();
    assert!(open(&rig.path()).ends_with("it is not a directory"));
    fs::remove_file(rig.path()).unwrap();
    fs::create_dir(rig.path()).unwrap();
    fs::set_permissions(rig.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(&rig.path()).ends_with("others may write to it; make it private with chmod 700"));
    let read_only = open(Path::new("/proc/levee"));
    assert!(read_only.starts_with("cannot use the state directory /proc/levee: "), "{read_only}");
}
