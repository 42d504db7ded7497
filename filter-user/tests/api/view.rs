//! What is answered while the engine is busy, and what the status warns of.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use filter_user::api::client::ClientError;
use filter_user::api::server::Limits;
use filter_user::api::types::{
    Action, AttachRequest, Attached, Fragments, ImportQuery, Imported, Mode, SetList, SetRemoved, Stats,
    Status,
};
use filter_user::tables::{
    Contents, Footprint, MemoryTables, OnTrial, Opened, PrefixTables, Resting, RestingMark, SetId, Settled,
    TableError, TableKind, TableMemory, Waited,
};
use ipnet::IpNet;

use crate::daemon::{Daemon, daemon, daemon_on};
use crate::{chunks, refusal};

/// Tables in memory that do as they are told.
#[derive(Clone)]
struct Told(Arc<Mutex<Inner>>);

/// Who comes there says that it has begun, and waits until it may go on.
type Gate = Option<(Sender<()>, Receiver<()>)>;

/// For the next plan of contents. Only one test has one.
static PLAN_GATE: Mutex<Gate> = Mutex::new(None);

struct Inner {
    tables: MemoryTables,
    /// For the next replacement.
    gate: Gate,
    /// Replacements divide the interfaces, and opening does not help.
    divide: bool,
    live: Option<u64>,
    /// Changes that something rests since, and where the wait for it ends.
    resting: Option<(u64, Gate)>,
    /// Marks that were waited for.
    settled: Vec<RestingMark>,
}

impl Told {
    fn new() -> Self {
        let tables = MemoryTables::new(1000, 1000);
        Self(Arc::new(Mutex::new(Inner {
            tables,
            gate: None,
            divide: false,
            live: None,
            resting: None,
            settled: vec![],
        })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn divided(&self) -> Result<(), TableError> {
        let source = std::io::Error::from(std::io::ErrorKind::OutOfMemory).into();
        let divided = TableError::Divided { action: "swap", interfaces: "eth7".to_owned(), source };
        if self.with(|inner| inner.divide) { Err(divided) } else { Ok(()) }
    }
}

impl PrefixTables for Told {
    fn open(&mut self, contents: &Contents, on_trial: bool) -> Result<Opened, TableError> {
        self.divided()?;
        self.with(|inner| inner.tables.open(contents, on_trial))
    }

    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        self.with(|inner| inner.tables.insert(table, prefix, set))
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        self.with(|inner| inner.tables.remove(table, prefix))
    }

    fn wait_for_searches(&mut self) -> Result<(), TableError> {
        Ok(())
    }

    fn resting(&self) -> Option<Resting> {
        let (changes, gate) = self.with(|inner| {
            let (changes, gate) = inner.resting.as_mut()?;
            Some((*changes, gate.take()))
        })?;
        Some(Resting::new(RestingMark { tables: 1, changes }, move || {
            if let Some((begun, go_on)) = gate {
                begun.send(()).unwrap();
                go_on.recv().unwrap();
            }
            Ok(())
        }))
    }

    fn settle(&mut self, waited: Waited) -> Settled {
        self.with(|inner| {
            inner.settled.push(waited.mark());
            let is_younger = |(changes, _): &mut (u64, Gate)| *changes != waited.mark().changes;
            if inner.resting.as_mut().is_some_and(is_younger) {
                return Settled::Not;
            }
            inner.resting = None;
            Settled::All
        })
    }

    fn replace(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError> {
        if let Some((begun, go_on)) = self.with(|inner| inner.gate.take()) {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.divided()?;
        self.with(|inner| inner.tables.replace(contents, on_trial))
    }

    fn put_back(&mut self) -> Result<(), TableError> {
        self.with(|inner| inner.tables.put_back())
    }

    fn keep(&mut self) {
        self.with(|inner| inner.tables.keep());
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Option<(IpNet, SetId)> {
        self.with(|inner| inner.tables.longest_match(table, prefix))
    }

    fn found(&self) -> Result<Contents, TableError> {
        self.with(|inner| inner.tables.found())
    }

    fn are_in_force(&self) -> Result<bool, TableError> {
        self.with(|inner| inner.tables.are_in_force())
    }

    fn forget_set(&mut self, set: SetId) -> Result<(), TableError> {
        self.with(|inner| inner.tables.forget_set(set))
    }

    fn trial_left(&self) -> Result<Option<Duration>, TableError> {
        self.with(|inner| inner.tables.trial_left())
    }

    fn have_policy(&self) -> Result<bool, TableError> {
        self.with(|inner| inner.tables.have_policy())
    }

    fn trial_is_over(&self) -> Result<bool, TableError> {
        self.with(|inner| inner.tables.trial_is_over())
    }

    fn hold_trial(&mut self) -> Result<(), TableError> {
        self.with(|inner| inner.tables.hold_trial())
    }

    fn resume_trial(&mut self) -> Result<(), TableError> {
        self.with(|inner| inner.tables.resume_trial())
    }

    fn narrow_trial(&mut self, blocked: Option<&[IpNet]>) -> Result<(), TableError> {
        self.with(|inner| inner.tables.narrow_trial(blocked))
    }

    fn end_trial(&mut self) -> Result<(), TableError> {
        self.with(|inner| inner.tables.end_trial())
    }

    fn forget_rules(&mut self, slots: &[u32]) -> Result<(), TableError> {
        self.with(|inner| inner.tables.forget_rules(slots))
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        self.with(|inner| inner.tables.interface_index(name))
    }

    fn planner(&self) -> fn(&Contents) -> Result<Footprint, TableError> {
        |contents| {
            let gate = PLAN_GATE.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((begun, go_on)) = gate {
                begun.send(()).unwrap();
                go_on.recv().unwrap();
            }
            MemoryTables::new(0, 0).plan(contents)
        }
    }

    fn memory(&self) -> TableMemory {
        self.with(|inner| {
            let memory = inner.tables.memory();
            TableMemory { live: inner.live.unwrap_or(memory.live), ..memory }
        })
    }
}

async fn attach(daemon: &Daemon) {
    let request = AttachRequest {
        interfaces: vec!["a".to_owned()],
        mode: Mode::Native,
        skip_checks: Vec::new(),
        fragments: Fragments::Pass,
    };
    let _: Attached = daemon.client.post("/v1/attach", &request).await.unwrap();
}

async fn import(daemon: &Daemon, set: &str, list: &'static str) -> Result<Imported, ClientError> {
    let query = ImportQuery { replace: true, ..ImportQuery::default() };
    daemon.client.import(set, &query, chunks(vec![Bytes::from_static(list.as_bytes())])).await
}

async fn warnings(daemon: &Daemon) -> Vec<String> {
    daemon.client.get::<Status>("/v1/status").await.unwrap().controller.warnings
}

fn packets(stats: &Stats) -> BTreeMap<&str, u64> {
    let sets = stats.interfaces[0].sets.as_ref().unwrap();
    sets.iter().map(|(name, count)| (name.as_str(), count.packets)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_every_set_while_a_change_is_under_way_also_the_first_after_a_start() {
    let tables = Told::new();
    let daemon = Arc::new(daemon_on(Box::new(tables.clone()), Limits::default()));
    attach(&daemon).await;
    daemon.add(Action::Block, "x", &["192.0.2.1"]).await.unwrap();
    daemon.add(Action::Block, "y", &["192.0.2.2"]).await.unwrap();
    let ((begun, has_begun), (may_go_on, go_on)) = (channel(), channel());
    tables.with(|inner| inner.gate = Some((begun, go_on)));
    let importing = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { import(&daemon, "z", "192.0.2.3\n192.0.2.4\n").await }
    });
    tokio::task::spawn_blocking(move || has_begun.recv_timeout(Duration::from_secs(20)).unwrap())
        .await
        .unwrap();
    let patience = Duration::from_secs(10);
    let asked = async {
        let stats: Stats = daemon.client.get("/v1/stats").await.unwrap();
        let sets: SetList = daemon.client.get("/v1/sets").await.unwrap();
        let status: Status = daemon.client.get("/v1/status").await.unwrap();
        (stats, sets, status)
    };
    let (stats, sets, status) =
        tokio::time::timeout(patience, asked).await.expect("readers do not wait for the import");
    assert_eq!(packets(&stats), BTreeMap::from([("x", 1), ("y", 2)]));
    assert_eq!(sets.sets.iter().map(|set| set.dropped.packets).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(status.sets.unwrap().len(), 2);
    may_go_on.send(()).unwrap();
    importing.await.unwrap().unwrap();
    let stats: Stats = daemon.client.get("/v1/stats").await.unwrap();
    assert_eq!(packets(&stats), BTreeMap::from([("x", 1), ("y", 2), ("z", 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_keeps_no_change_waiting() {
    let daemon = Arc::new(daemon_on(Box::new(Told::new()), Limits::default()));
    daemon.add(Action::Block, "x", &["192.0.2.1"]).await.unwrap();
    let ((begun, has_begun), (may_go_on, go_on)) = (channel(), channel());
    *PLAN_GATE.lock().unwrap() = Some((begun, go_on));
    let planning = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move {
            let query = ImportQuery { replace: true, dry_run: true, ..ImportQuery::default() };
            let list = chunks(vec![Bytes::from_static(b"192.0.2.3\n192.0.2.4\n")]);
            daemon.client.import("x", &query, list).await
        }
    });
    tokio::task::spawn_blocking(move || has_begun.recv_timeout(Duration::from_secs(20)).unwrap())
        .await
        .unwrap();
    let add = daemon.add(Action::Block, "x", &["192.0.2.7"]);
    let added = tokio::time::timeout(Duration::from_secs(10), add).await.expect("an addition does not wait");
    assert_eq!(added.unwrap().added, 1);
    may_go_on.send(()).unwrap();
    let planned = planning.await.unwrap().unwrap();
    // Of the moment that it was asked for.
    assert_eq!((planned.added, planned.removed, planned.total), (2, 1, 2));
    assert!(daemon.test("192.0.2.7").await.results[0].blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_removed_sets_dropped_is_told_beside_the_others() {
    let daemon = daemon();
    attach(&daemon).await;
    for set in ["x", "y", "z"] {
        daemon.add(Action::Block, set, &["192.0.2.1"]).await.unwrap();
    }
    let sums = |removed, sets: &[u64]| (removed, sets.iter().sum::<u64>() + removed);
    assert_eq!(sums(1000, &[1, 2, 3]).1, 1006);
    for (removed, left) in [("x", 1001), ("z", 1004)] {
        let _: SetRemoved = daemon.client.delete(&format!("/v1/sets/{removed}")).await.unwrap();
        let stats: Stats = daemon.client.get("/v1/stats").await.unwrap();
        assert_eq!(stats.interfaces[0].removed_sets.unwrap().packets, left);
        assert_eq!(daemon.sets().await.removed_sets.packets, left);
        let status: Status = daemon.client.get("/v1/status").await.unwrap();
        assert_eq!(status.removed_sets.unwrap().packets, left);
        assert_eq!(packets(&stats).values().sum::<u64>() + left, 1006, "everything is somebody's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn divided_tables_are_told_warned_of_and_repaired_by_the_expiry_task() {
    let tables = Told::new();
    let daemon = daemon_on(Box::new(tables.clone()), Limits::default());
    daemon.add(Action::Block, "x", &["192.0.2.1"]).await.unwrap();
    assert_eq!(warnings(&daemon).await, [""; 0]);
    tables.with(|inner| inner.divide = true);
    let (status, detail) = refusal(import(&daemon, "x", "192.0.2.3\n192.0.2.4\n").await);
    assert!(status == 500 && detail.code == "half_done", "{detail:?}");
    let text = detail.message;
    assert!(text.contains("eth7") && !text.contains("the tables are as they were"), "{text}");
    // The task is woken by it, and tries again soon.
    tokio::time::timeout(Duration::from_secs(20), daemon.controller.changed()).await.unwrap();
    let again = daemon.controller.expire().unwrap().unwrap();
    assert!(again <= Duration::from_secs(10), "{again:?}");
    let warned = warnings(&daemon).await;
    assert!(warned.len() == 1 && warned[0].contains("made anew every few seconds"), "{warned:?}");
    tables.with(|inner| inner.divide = false);
    daemon.controller.expire().unwrap();
    assert_eq!(warnings(&daemon).await, [""; 0]);
    assert!(daemon.test("192.0.2.1").await.results[0].blocked);
    assert!(!daemon.test("192.0.2.3").await.results[0].blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_is_gone_is_warned_of_and_changes_are_refused() {
    let daemon = daemon();
    daemon.add(Action::Block, "x", &["192.0.2.1"]).await.unwrap();
    assert_eq!(warnings(&daemon).await, [""; 0]);
    let (state, away) = (daemon.dir.path().join("state"), daemon.dir.path().join("away"));
    std::fs::rename(&state, &away).unwrap();
    let warned = warnings(&daemon).await;
    assert!(warned.len() == 1 && warned[0].contains("/state/log was removed"), "{warned:?}");
    let (status, detail) = refusal(daemon.add(Action::Block, "x", &["2.2.2.2"]).await);
    assert!(status == 500 && detail.message.contains("/state/log was removed"), "{detail:?}");
    assert!(!daemon.test("2.2.2.2").await.results[0].blocked);
    std::fs::rename(&away, &state).unwrap();
    assert_eq!(warnings(&daemon).await, [""; 0]);
    daemon.add(Action::Block, "x", &["2.2.2.2"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_a_lost_state_are_warned_of_until_they_are_removed() {
    let mut tables = MemoryTables::new(1000, 1000);
    for (table, prefix) in [(TableKind::Block, "192.0.2.0/24"), (TableKind::AllowSource, "192.0.2.9/32")] {
        tables.insert(table, prefix.parse().unwrap(), 7).unwrap();
    }
    let daemon = daemon_on(Box::new(tables), Limits::default());
    for (left, gone) in
        [("adopted-allow, adopted-block", "adopted-allow"), ("adopted-block", "adopted-block")]
    {
        let warned = warnings(&daemon).await;
        assert!(warned.len() == 1 && warned[0].contains(&format!("went on as {left}:")), "{warned:?}");
        assert!(warned[0].contains(&format!("levee set rm {gone}")), "{warned:?}");
        let _: SetRemoved = daemon.client.delete(&format!("/v1/sets/{gone}")).await.unwrap();
    }
    assert_eq!(warnings(&daemon).await, [""; 0]);
    // A set that only bears the name is nobody's loss.
    daemon.add(Action::Block, "adopted-block", &["192.0.2.1"]).await.unwrap();
    assert_eq!(warnings(&daemon).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_take_more_than_they_may_are_warned_of() {
    let tables = Told::new();
    tables.with(|inner| inner.live = Some(64 << 20));
    let daemon = daemon_on(Box::new(tables), Limits::default());
    let warned = warnings(&daemon).await;
    let told = warned.len() == 1 && warned[0].contains("take 64 MiB") && warned[0].contains("--max-memory");
    assert!(told, "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_does_not_wait_for_what_rests_to_be_given_back() {
    let tables = Told::new();
    let daemon = daemon_on(Box::new(tables.clone()), Limits::default());
    let ((begun, has_begun), (may_go_on, go_on)) = (channel(), channel());
    tables.with(|inner| inner.resting = Some((5, Some((begun, go_on)))));
    let controller = Arc::clone(&daemon.controller);
    let settling = tokio::task::spawn_blocking(move || controller.settle());
    let waits = move || has_begun.recv_timeout(Duration::from_secs(20)).unwrap();
    tokio::task::spawn_blocking(waits).await.unwrap();
    let patience = Duration::from_secs(10);
    let added = tokio::time::timeout(patience, daemon.add(Action::Block, "x", &["192.0.2.1"])).await;
    assert_eq!(added.expect("it waits for programs").unwrap().added, 1);
    // What comes to rest meanwhile is waited for anew.
    tables.with(|inner| inner.resting = Some((6, None)));
    assert!(tables.with(|inner| inner.settled.is_empty()));
    may_go_on.send(()).unwrap();
    settling.await.unwrap().unwrap();
    let marks: Vec<u64> = tables.with(|inner| inner.settled.iter().map(|mark| mark.changes).collect());
    assert_eq!((marks, tables.with(|inner| inner.resting.is_none())), (vec![5, 6], true));
}
