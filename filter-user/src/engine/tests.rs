mod change;
mod crash;
mod displaced;
mod drift;
mod expiry;
mod hand_over;
mod model;
mod policy;
mod salvage;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use filter_common::config::Switches;
use tempfile::TempDir;

use super::*;
use crate::interface::InterfaceMode;
use crate::tables::{
    Contents, Footprint, MemoryTables, OnTrial, Opened, Resting, SetId, Settled, TableError, Waited,
};

const CAPACITY: usize = 1000;

/// Tables that outlive an engine, keep a record of calls, and fail when told.
#[derive(Clone)]
struct Kernel(Arc<Mutex<Inner>>);

struct Inner {
    tables: MemoryTables,
    calls: Vec<Call>,
    /// Calls until one fails, and how many fail then.
    fail: Option<(usize, usize)>,
    /// Changes of single entries until one finds no room.
    full: Option<usize>,
    /// The next replacement divides the interfaces; until they are opened anew, they stay divided.
    divided: bool,
    /// Opening them anew does not help.
    stuck: bool,
    /// It is never told when searches have ended.
    unsettled: bool,
    /// What they hold cannot be read.
    unreadable: bool,
    /// The programs have ended the trial.
    trial_over: bool,
    /// How a trial was narrowed, time after time.
    narrowed: Vec<Option<Vec<IpNet>>>,
    /// This prefix cannot be changed, for a reason that stays.
    refused: Option<IpNet>,
}

/// A call that changes the tables.
#[derive(Debug, PartialEq)]
enum Call {
    /// One entry comes, changes, or goes.
    Change(IpNet, Option<SetId>),
    /// All tables are replaced by so many entries.
    Replace(usize),
    /// Searches that are under way have ended.
    Wait,
}

impl Kernel {
    fn new() -> Self {
        let tables = MemoryTables::new(CAPACITY, CAPACITY);
        Self(Arc::new(Mutex::new(Inner {
            tables,
            calls: Vec::new(),
            fail: None,
            full: None,
            divided: false,
            stuck: false,
            unsettled: false,
            unreadable: false,
            trial_over: false,
            narrowed: Vec::new(),
            refused: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn block(&self) -> Vec<(IpNet, SetId)> {
        self.inner().tables.entries(TableKind::Block)
    }

    fn fail_at(&self, call: usize, failures: usize) {
        self.inner().fail = Some((call, failures));
    }
}

impl Inner {
    fn call(&mut self, call: Call) -> Result<(), TableError> {
        match &mut self.fail {
            Some((0, 0)) => self.fail = None,
            Some((0, failures)) => {
                *failures -= 1;
                let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
                return Err(TableError::Kernel { action: "take a change", source: source.into() });
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        if matches!(&call, Call::Change(prefix, _) if Some(*prefix) == self.refused) {
            let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
            return Err(TableError::Kernel { action: "take this prefix", source: source.into() });
        }
        match (&mut self.full, &call) {
            (Some(0), Call::Change(..)) => {
                self.full = None;
                return Err(TableError::Full);
            }
            (Some(changes), Call::Change(..)) => *changes -= 1,
            (None, _) | (_, Call::Replace(_) | Call::Wait) => {}
        }
        self.calls.push(call);
        Ok(())
    }
}

fn divided() -> TableError {
    let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory).into();
    TableError::Divided { action: "swap", interfaces: "eth7".to_owned(), source }
}

impl PrefixTables for Kernel {
    fn open(&mut self, contents: &Contents, on_trial: bool) -> Result<Opened, TableError> {
        let mut inner = self.inner();
        if inner.stuck {
            return Err(divided());
        }
        inner.divided = false;
        inner.tables.open(contents, on_trial)
    }

    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        let mut inner = self.inner();
        inner.call(Call::Change(prefix, Some(set)))?;
        inner.tables.insert(table, prefix, set)
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        let mut inner = self.inner();
        inner.call(Call::Change(prefix, None))?;
        inner.tables.remove(table, prefix)
    }

    fn wait_for_searches(&mut self) -> Result<(), TableError> {
        let mut inner = self.inner();
        if inner.unsettled {
            return Err(TableError::Unsettled);
        }
        inner.call(Call::Wait)
    }

    fn resting(&self) -> Option<Resting> {
        self.inner().tables.resting()
    }

    fn settle(&mut self, waited: Waited) -> Settled {
        self.inner().tables.settle(waited)
    }

    fn replace(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError> {
        let mut inner = self.inner();
        inner.call(Call::Replace(contents.len()))?;
        if inner.divided {
            return Err(divided());
        }
        inner.tables.replace(contents, on_trial)
    }

    fn put_back(&mut self) -> Result<(), TableError> {
        self.inner().tables.put_back()
    }

    fn keep(&mut self) {
        self.inner().tables.keep();
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Option<(IpNet, SetId)> {
        self.inner().tables.longest_match(table, prefix)
    }

    fn found(&self) -> Result<Contents, TableError> {
        let inner = self.inner();
        if inner.unreadable {
            let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            return Err(TableError::Kernel { action: "read the tables", source: source.into() });
        }
        inner.tables.found()
    }

    fn are_in_force(&self) -> Result<bool, TableError> {
        self.inner().tables.are_in_force()
    }

    fn forget_set(&mut self, set: SetId) -> Result<(), TableError> {
        self.inner().tables.forget_set(set)
    }

    fn trial_left(&self) -> Result<Option<Duration>, TableError> {
        self.inner().tables.trial_left()
    }

    fn have_policy(&self) -> Result<bool, TableError> {
        self.inner().tables.have_policy()
    }

    fn trial_is_over(&self) -> Result<bool, TableError> {
        Ok(self.inner().trial_over)
    }

    fn hold_trial(&mut self) -> Result<(), TableError> {
        self.inner().tables.hold_trial()
    }

    fn resume_trial(&mut self) -> Result<(), TableError> {
        self.inner().tables.resume_trial()
    }

    fn narrow_trial(&mut self, blocked: Option<&[IpNet]>) -> Result<(), TableError> {
        let mut inner = self.inner();
        inner.narrowed.push(blocked.map(<[IpNet]>::to_vec));
        inner.tables.narrow_trial(blocked)
    }

    fn end_trial(&mut self) -> Result<(), TableError> {
        self.inner().tables.end_trial()
    }

    fn forget_rules(&mut self, slots: &[u32]) -> Result<(), TableError> {
        self.inner().tables.forget_rules(slots)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        self.inner().tables.interface_index(name)
    }

    fn planner(&self) -> fn(&Contents) -> Result<Footprint, TableError> {
        self.inner().tables.planner()
    }

    fn memory(&self) -> TableMemory {
        self.inner().tables.memory()
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
    assert_eq!((recovery.expired, recovery.tables, recovery.prefixes), (1, Opened::Replaced, 0));
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
        "the set s has the action block, not allow; choose another name, or remove the set first"
    );
    let unknown = engine.delete(&name("t"), &[]).unwrap_err().to_string();
    assert_eq!(unknown, "there is no set t; `levee set list` shows those that there are");
    rig.kernel.inner().tables.limit(1, 2);
    let full = add(&mut engine, "new", &["10.0.0.2/32", "10.0.0.3/32", "::1/128"]).unwrap_err().to_string();
    let expected = "the tables are as they were: the tables would take 64 B in the kernel, and the limit is 32 B; \
                    raise it with `levee run --max-memory`";
    assert_eq!(full, expected);
    let long = by(Some(&"x".repeat(1025)), None);
    let long = engine.add(&name("s"), SetKind::Block, &nets(&["10.0.0.2/32"]), &long, at(1)).unwrap_err();
    assert_eq!(long.to_string(), "found 1025 bytes of reason, expected at most 1024");
    assert_eq!(dump(&engine), before);
    assert_eq!(rig.kernel.block().len(), 1);
}

#[test]
fn a_start_that_recorded_nothing_does_not_count_as_a_state() {
    let rig = Rig::new();
    drop(rig.open());
    rig.kernel.inner().tables.insert(TableKind::Block, "10.0.0.1/32".parse().unwrap(), 7).unwrap();
    let (_engine, recovery) = rig.open_at(at(1)).unwrap();
    assert_eq!(recovery.adopted, 1);
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
