mod change;
mod crash;
mod model;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use filter_common::config::Switches;
use tempfile::TempDir;

use super::*;
use crate::interface::InterfaceMode;
use crate::tables::{MemoryTables, SetId, TableError};

const CAPACITY: usize = 1000;

/// Tables that outlive an engine, keep a record of calls, and fail when told.
#[derive(Clone)]
struct Kernel(Arc<Mutex<Inner>>);

struct Inner {
    tables: MemoryTables,
    capacity: usize,
    calls: Vec<(IpNet, Option<SetId>)>,
    /// Calls until one fails, and how many fail then.
    fail: Option<(usize, usize)>,
}

impl Kernel {
    fn new() -> Self {
        let tables = MemoryTables::new(CAPACITY);
        Self(Arc::new(Mutex::new(Inner { tables, capacity: CAPACITY, calls: Vec::new(), fail: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn block(&self) -> Vec<(IpNet, SetId)> {
        self.inner().tables.entries(TableKind::Block).unwrap()
    }

    fn fail_at(&self, call: usize, failures: usize) {
        self.inner().fail = Some((call, failures));
    }
}

impl Inner {
    fn call(&mut self, prefix: IpNet, set: Option<SetId>) -> Result<(), TableError> {
        match &mut self.fail {
            Some((0, 0)) => self.fail = None,
            Some((0, failures)) => {
                *failures -= 1;
                return Err(TableError::Full { family: "IPv4", capacity: 0 });
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        self.calls.push((prefix, set));
        Ok(())
    }
}

impl PrefixTables for Kernel {
    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        let mut inner = self.inner();
        inner.call(prefix, Some(set))?;
        inner.tables.insert(table, prefix, set)
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        let mut inner = self.inner();
        inner.call(prefix, None)?;
        inner.tables.remove(table, prefix)
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Result<Option<(IpNet, SetId)>, TableError> {
        self.inner().tables.longest_match(table, prefix)
    }

    fn entries(&self, table: TableKind) -> Result<Vec<(IpNet, SetId)>, TableError> {
        self.inner().tables.entries(table)
    }

    fn capacity(&self, _table: TableKind) -> usize {
        self.inner().capacity
    }
}

struct Rig {
    directory: TempDir,
    kernel: Kernel,
}

impl Rig {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), kernel: Kernel::new() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    fn open(&self) -> Engine {
        self.open_at(at(0)).unwrap().0
    }

    fn open_at(&self, now: SystemTime) -> Result<(Engine, Recovery), EngineError> {
        Engine::open(&self.path(), Box::new(self.kernel.clone()), now)
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn name(text: &str) -> SetName {
    text.try_into().unwrap()
}

fn nets(text: &[&str]) -> Vec<IpNet> {
    text.iter().map(|prefix| prefix.parse().unwrap()).collect()
}

fn by(reason: Option<&str>, expires: Option<SystemTime>) -> Provenance {
    Provenance { by: "test".into(), reason: reason.map(str::to_owned), expires }
}

fn forever() -> Provenance {
    by(None, None)
}

fn add(engine: &mut Engine, set: &str, prefixes: &[&str]) -> Result<ChangeReport, EngineError> {
    engine.add(&name(set), SetKind::Block, &nets(prefixes), &forever(), at(1))
}

type Dump = Vec<(SetSummary, Vec<(IpNet, EntryRecord)>)>;

fn dump(engine: &Engine) -> Dump {
    engine.sets().map(|set| (set.clone(), engine.entries(&set.name).unwrap().collect())).collect()
}

#[test]
fn a_prefix_in_two_sets_stays_until_both_let_go_of_it() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let net = nets(&["192.0.2.0/24"]);
    add(&mut engine, "first", &["192.0.2.0/24"]).unwrap();
    add(&mut engine, "second", &["192.0.2.0/24"]).unwrap();
    assert_eq!(rig.kernel.block(), [(net[0], 1)]);
    engine.delete(&name("first"), &net).unwrap();
    assert_eq!(rig.kernel.block(), [(net[0], 2)]);
    add(&mut engine, "first", &["192.0.2.0/24"]).unwrap();
    assert_eq!(rig.kernel.block(), [(net[0], 1)]);
    let inside = "192.0.2.7/32".parse().unwrap();
    let found = engine.test(TableKind::Block, inside).unwrap().unwrap();
    assert_eq!((found.prefix, found.set), (net[0], name("first")));
    assert_eq!(engine.test(TableKind::AllowSource, inside).unwrap(), None);
    engine.remove_set(&name("first")).unwrap();
    engine.flush(&name("second")).unwrap();
    assert_eq!(rig.kernel.block(), []);
}

#[test]
fn what_is_there_already_does_not_fail_the_rest_of_a_batch() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let report = add(&mut engine, "s", &["10.0.0.2/32", "10.0.0.1/32", "10.0.0.2/32"]).unwrap();
    assert_eq!((report.added, report.unchanged), (nets(&["10.0.0.2/32"]), nets(&["10.0.0.1/32"])));
    let report = engine.delete(&name("s"), &nets(&["10.0.0.1/32", "10.0.0.9/32"])).unwrap();
    assert_eq!((report.removed, report.unchanged), (nets(&["10.0.0.1/32"]), nets(&["10.0.0.9/32"])));
}

#[test]
fn a_new_expiry_or_reason_refreshes_an_entry() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let (set, net) = (name("s"), nets(&["10.0.0.1/32"]));
    let mut put = |expires, reason, now| {
        let report = engine.add(&set, SetKind::Block, &net, &by(reason, expires), at(now)).unwrap();
        let record = engine.entries(&set).unwrap().next().unwrap().1;
        (report.refreshed.len(), record.added, record.expires, record.reason)
    };
    let why: Option<Arc<str>> = Some("scan".into());
    assert_eq!(put(Some(at(60)), Some("scan"), 1), (0, at(1), Some(at(60)), why.clone()));
    assert_eq!(put(Some(at(60)), None, 2), (0, at(1), Some(at(60)), why.clone()));
    assert_eq!(put(Some(at(90)), None, 3), (1, at(1), Some(at(90)), why.clone()));
    assert_eq!(put(None, None, 4), (1, at(1), None, why));
    assert_eq!(put(None, Some("flood"), 5), (1, at(1), None, Some("flood".into())));
    assert_eq!(engine.next_expiry(), None);
    let before = dump(&engine);
    drop(engine);
    assert_eq!(dump(&rig.open()), before);
}

#[test]
fn entries_go_when_their_time_is_over_and_not_before() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let (early, late) = (nets(&["10.0.0.1/32"]), nets(&["10.0.0.2/32"]));
    let half = Duration::from_millis(500);
    engine.add(&name("a"), SetKind::Block, &early, &by(None, Some(at(10) + half)), at(1)).unwrap();
    engine.add(&name("b"), SetKind::Block, &early, &by(None, Some(at(10) + half)), at(1)).unwrap();
    engine.add(&name("a"), SetKind::Block, &late, &by(None, Some(at(20))), at(1)).unwrap();
    assert_eq!(engine.next_expiry(), Some(at(11)));
    assert_eq!(engine.expire(at(10) + half).unwrap(), 0);
    assert_eq!(engine.expire(at(11)).unwrap(), 2);
    assert_eq!(rig.kernel.block(), [(late[0], 1)]);
    let past = engine.add(&name("a"), SetKind::Block, &early, &by(None, Some(at(11))), at(11));
    assert!(matches!(past, Err(EngineError::AlreadyExpired)));
    drop(engine);
    let (engine, recovery) = rig.open_at(at(20)).unwrap();
    assert_eq!((recovery.expired, recovery.removed, recovery.prefixes), (1, 1, 0));
    assert_eq!((rig.kernel.block(), engine.next_expiry()), (vec![], None));
}

#[test]
fn refusals_name_what_is_wrong_and_change_nothing() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32"]).unwrap();
    let before = dump(&engine);
    let kind = engine.add(&name("s"), SetKind::AllowSource, &nets(&["10.0.0.2/32"]), &forever(), at(1));
    let message = kind.unwrap_err().to_string();
    assert_eq!(
        message,
        "set s is of kind block, expected allow-source; choose another name or remove the set first"
    );
    let unknown = engine.delete(&name("t"), &[]).unwrap_err().to_string();
    assert_eq!(unknown, "there is no set t; `levee set list` shows those that there are");
    rig.kernel.inner().capacity = 2;
    let full = add(&mut engine, "new", &["10.0.0.2/32", "10.0.0.3/32", "::1/128"]).unwrap_err().to_string();
    assert_eq!(full, "the block table has room for 2 IPv4 prefixes, and this change needs 3");
    let long = by(Some(&"x".repeat(1025)), None);
    let long = engine.add(&name("s"), SetKind::Block, &nets(&["10.0.0.2/32"]), &long, at(1)).unwrap_err();
    assert_eq!(long.to_string(), "found 1025 bytes of reason, expected at most 1024");
    assert_eq!(dump(&engine), before);
    assert_eq!(rig.kernel.block().len(), 1);
}

#[test]
fn a_replacement_adds_before_it_removes_and_leaves_alone_what_stays() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "10.0.0.2/32"]).unwrap();
    rig.kernel.inner().calls.clear();
    let list = nets(&["10.0.0.2/32", "10.0.0.3/32"]);
    let report = engine.import(&name("s"), SetKind::Block, &list, true, &forever(), at(2)).unwrap();
    let expected = ImportReport { added: 1, removed: 1, refreshed: 0, unchanged: 1, total: 2 };
    assert_eq!(report, expected);
    assert_eq!(rig.kernel.inner().calls, [(list[1], Some(1)), (nets(&["10.0.0.1/32"])[0], None)]);
    rig.kernel.inner().capacity = 2;
    rig.kernel.inner().calls.clear();
    let other = nets(&["10.0.0.4/32", "10.0.0.5/32"]);
    engine.import(&name("s"), SetKind::Block, &other, true, &forever(), at(2)).unwrap();
    assert_eq!(rig.kernel.block(), [(other[0], 1), (other[1], 1)]);
    let kept = engine.import(&name("s"), SetKind::Block, &list, false, &forever(), at(2));
    assert!(matches!(kept, Err(EngineError::NoRoom { needed: 4, capacity: 2, .. })));
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
                    assert!(call >= 2, "the operation makes at least two calls");
                    break;
                }
                Err(error) => assert!(matches!(error, EngineError::Table { .. }), "{error}"),
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
    assert_eq!((recovery.inserted, recovery.corrected, recovery.removed), (1, 1, 2));
    assert_eq!(rig.kernel.block(), before);
}

#[test]
fn a_lost_state_takes_over_what_the_tables_hold_instead_of_emptying_them() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "s", &["10.0.0.1/32", "2001:db8::/32"]).unwrap();
    let allowed = &nets(&["192.0.2.0/24"]);
    engine.add(&name("a"), TableKind::AllowSource, allowed, &forever(), at(0)).unwrap();
    drop(engine);
    std::fs::remove_dir_all(rig.path()).unwrap();
    let (engine, recovery) = rig.open_at(at(1)).unwrap();
    assert_eq!((recovery.adopted, recovery.inserted, recovery.removed), (3, 0, 0));
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
fn a_start_that_recorded_nothing_does_not_count_as_a_state() {
    let rig = Rig::new();
    drop(rig.open());
    rig.kernel.inner().tables.insert(TableKind::Block, "10.0.0.1/32".parse().unwrap(), 7).unwrap();
    let (_engine, recovery) = rig.open_at(at(1)).unwrap();
    assert_eq!((recovery.adopted, recovery.removed), (1, 0));
}

#[test]
fn wanted_interfaces_outlive_the_engine() {
    let rig = Rig::new();
    let mut engine = rig.open();
    let intent = InterfaceIntent { mode: InterfaceMode::Generic, switches: Switches::DEFAULT };
    engine.set_interface("eth0", intent).unwrap();
    engine.set_interface("eth1", intent).unwrap();
    assert!(engine.clear_interface("eth1").unwrap());
    assert!(!engine.clear_interface("eth1").unwrap());
    for compact in [false, true] {
        if compact {
            engine.journal.compact(&engine.state).unwrap();
        }
        drop(engine);
        engine = rig.open();
        assert_eq!(engine.interfaces().iter().collect::<Vec<_>>(), [(&"eth0".to_owned(), &intent)]);
    }
}

#[test]
fn the_number_of_a_removed_set_is_never_used_again() {
    let rig = Rig::new();
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.1/32"]).unwrap();
    engine.remove_set(&name("a")).unwrap();
    engine.journal.compact(&engine.state).unwrap();
    drop(engine);
    let mut engine = rig.open();
    add(&mut engine, "a", &["10.0.0.1/32"]).unwrap();
    assert_eq!(engine.sets().next().unwrap().id, 2);
}
