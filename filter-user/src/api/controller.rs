//! What a request does, without HTTP: blocking calls on the engine and the dataplane.
//!
//! Two locks, always taken in this order: engine, dataplane. Counters are read under the second alone, so figures
//! come also while an import is applied. Lists are parsed before any lock is taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use filter_common::abi::ABI_VERSION;
use filter_common::config::Switches;
use filter_common::counters::Counter;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::error::{ApiError, chain};
use super::problem::Problem;
use super::types::{
    Action, ControllerStatus, Count, Entry, Interface, InterfaceStats, Memory, PrefixMatch, SCHEMA,
    SetEntries, SetList, SetSummary, Stats, StatsController, Status, TableStatus, TestRequest, TestResult,
    Tested, Timestamp, Traffic,
};
use crate::dataplane::{Dataplane, DataplaneError, InterfaceReport};
use crate::engine::{self, Engine, EngineError, SetName};
use crate::feeds::parse_prefix;
use crate::interface::InterfaceMode;
use crate::tables::{SetId, TableKind};

/// What the controller needs of the dataplane; the kernel's is [`Dataplane`].
pub trait Interfaces: Send {
    /// Puts the program on an interface, or leaves it there when it is there in that way.
    ///
    /// # Errors
    /// When the interface cannot take it; nothing has changed then.
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError>;

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    fn detach(&mut self, name: &str) -> Result<(), DataplaneError>;

    /// Takes the program off every interface, whose names are returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError>;

    /// Every interface that the program is on, with its counters.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError>;

    /// What each of these sets dropped on the interface that runs this program.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_counters(&self, program_id: u32, sets: &[SetId]) -> Result<SetCounters, DataplaneError>;
}

/// Counters by set number.
pub type SetCounters = Vec<(SetId, Counter)>;

impl Interfaces for Arc<Mutex<Dataplane>> {
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        held(self).attach(name, mode, switches)
    }

    fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        held(self).detach(name)
    }

    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError> {
        held(self).detach_all()
    }

    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        held(self).interfaces()
    }

    fn set_counters(&self, program_id: u32, sets: &[SetId]) -> Result<SetCounters, DataplaneError> {
        let dataplane = held(self);
        let reports = dataplane.interfaces()?;
        match reports.iter().find(|report| report.program_id == program_id) {
            Some(report) => dataplane.set_counters(report.ifindex, sets),
            None => Ok(Vec::new()),
        }
    }
}

/// What a panic can leave half-done is told by the kernel, not by this value.
fn held(dataplane: &Mutex<Dataplane>) -> MutexGuard<'_, Dataplane> {
    dataplane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's state.
pub struct Controller {
    engine: Mutex<Engine>,
    interfaces: Mutex<Box<dyn Interfaces>>,
    /// The sets as last seen, for counters that are asked for while a change is under way.
    sets: Mutex<Vec<(SetId, SetName)>>,
    state_dir: PathBuf,
    started: SystemTime,
    pub(super) changed: Notify,
}

/// Setting up, and what happens without a request.
impl Controller {
    /// A controller of these two, whose engine keeps its state in `state_dir`.
    #[must_use]
    pub fn new(engine: Engine, interfaces: Box<dyn Interfaces>, state_dir: &Path) -> Self {
        Self {
            engine: Mutex::new(engine),
            interfaces: Mutex::new(interfaces),
            sets: Mutex::default(),
            state_dir: state_dir.to_owned(),
            started: SystemTime::now(),
            changed: Notify::new(),
        }
    }

    /// Removes entries whose time is over, and shortens the journal when that is due; says in how long the next
    /// entry's time will be.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn expire(&self) -> Result<Option<Duration>, ApiError> {
        let now = SystemTime::now();
        let mut engine = self.engine()?;
        engine.maintain();
        let expired = engine.expire(now)?;
        if expired > 0 {
            tracing::info!(expired, "removed entries whose time is over");
        }
        Ok(engine.next_expiry().map(|next| next.duration_since(now).unwrap_or_default()))
    }

    /// Ends when an entry with an end was added since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn engine(&self) -> Result<MutexGuard<'_, Engine>, ApiError> {
        self.engine.lock().map_err(|_| ApiError::Panicked)
    }

    pub(super) fn dataplane(&self) -> Result<MutexGuard<'_, Box<dyn Interfaces>>, ApiError> {
        self.interfaces.lock().map_err(|_| ApiError::Panicked)
    }
}

/// Reading.
impl Controller {
    fn attached(&self) -> Result<Vec<Interface>, ApiError> {
        Ok(self.dataplane()?.interfaces()?.into_iter().map(Interface::from).collect())
    }

    /// Everything about the daemon, its tables and its interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn status(&self) -> Result<Status, ApiError> {
        let (sets, tables, memory, mut warnings, wanted) = {
            let engine = self.engine()?;
            let warning = engine
                .compaction_failure()
                .map(|error| format!("the journal grows, as it cannot be shortened: {}", chain(error)));
            let tables = TableKind::ALL.into_iter().flat_map(|kind| tables(&engine, kind)).collect();
            let wanted: Vec<String> = engine.interfaces().keys().cloned().collect();
            let memory = engine.table_memory();
            let memory = Memory { tables: memory.live, limit: memory.limit };
            (engine.sets().collect(), tables, memory, Vec::from_iter(warning), wanted)
        };
        let interfaces = self.attached()?;
        let is_attached =
            |name: &String| interfaces.iter().any(|interface| interface.name.as_ref() == Some(name));
        warnings.extend(wanted.iter().filter(|name| !is_attached(name)).map(|name| {
            format!(
                "{name} is to be filtered and is not; it is tried again, or `levee detach {name}` forgets it"
            )
        }));
        Ok(Status {
            schema: SCHEMA,
            time: Timestamp(SystemTime::now()),
            controller: ControllerStatus {
                running: true,
                pid: Some(std::process::id()),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                started: Some(Timestamp(self.started)),
                abi_version: ABI_VERSION,
                state_dir: Some(self.state_dir.display().to_string()),
                warnings,
            },
            total: Traffic::total(&interfaces),
            interfaces,
            tables: Some(tables),
            memory: Some(memory),
            sets: Some(self.summaries(sets)?),
        })
    }

    /// The counters alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stats(&self) -> Result<Stats, ApiError> {
        let interfaces = self.attached()?;
        let sets = self.known_sets()?;
        let total = Traffic::total(&interfaces);
        let interfaces = interfaces.into_iter().map(InterfaceStats::from).map(|mut interface| {
            let counters = self.set_counters(interface.program_id, &sets)?;
            interface.sets = Some(
                counters.into_iter().map(|(name, counter)| (name.to_string(), counter.into())).collect(),
            );
            Ok(interface)
        });
        Ok(Stats {
            schema: SCHEMA,
            time: Timestamp(SystemTime::now()),
            controller: StatsController { running: true },
            total,
            interfaces: interfaces.collect::<Result<_, ApiError>>()?,
        })
    }

    /// The sets that block; while a change is under way, those of before.
    fn known_sets(&self) -> Result<Vec<(SetId, SetName)>, ApiError> {
        let mut known = self.sets.lock().map_err(|_| ApiError::Panicked)?;
        match self.engine.try_lock() {
            Ok(engine) => {
                let blocks = engine.sets().filter(|set| set.kind == TableKind::Block);
                *known = blocks.map(|set| (set.id, set.name)).collect();
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Poisoned(_)) => return Err(ApiError::Panicked),
        }
        Ok(known.clone())
    }

    /// What each of these sets dropped on the interface that runs this program.
    fn set_counters(
        &self,
        program_id: u32,
        sets: &[(SetId, SetName)],
    ) -> Result<Vec<(SetName, Counter)>, ApiError> {
        let ids: Vec<SetId> = sets.iter().map(|(id, _)| *id).collect();
        let counters = self.dataplane()?.set_counters(program_id, &ids)?;
        let name = |id| sets.iter().find(|(set, _)| *set == id).map(|(_, name)| name.clone());
        Ok(counters.into_iter().filter_map(|(id, counter)| Some((name(id)?, counter))).collect())
    }

    /// The sets with what each dropped on all interfaces.
    fn summaries(&self, sets: Vec<engine::SetSummary>) -> Result<Vec<SetSummary>, ApiError> {
        let blocks = sets.iter().filter(|set| set.kind == TableKind::Block);
        let ids: Vec<(SetId, SetName)> = blocks.map(|set| (set.id, set.name.clone())).collect();
        let mut dropped: BTreeMap<SetName, Counter> = BTreeMap::new();
        for interface in self.attached()? {
            for (name, counter) in self.set_counters(interface.program_id, &ids)? {
                dropped.entry(name).or_default().add(counter);
            }
        }
        let count = |name: &SetName| dropped.get(name).copied().unwrap_or_default().into();
        Ok(sets.into_iter().map(|set| SetSummary { dropped: count(&set.name), ..set.into() }).collect())
    }

    /// Every set.
    ///
    /// # Errors
    /// After a panic only.
    pub fn sets(&self) -> Result<SetList, ApiError> {
        let sets = self.engine()?.sets().collect();
        Ok(SetList { schema: SCHEMA, sets: self.summaries(sets)? })
    }

    /// One set with its prefixes.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn entries(&self, name: &str) -> Result<SetEntries, ApiError> {
        let name = SetName::try_from(name)?;
        let engine = self.engine()?;
        let entries = engine
            .entries(&name)?
            .map(|(prefix, record)| Entry {
                prefix,
                by: record.by.to_string(),
                reason: record.reason.map(|reason| reason.to_string()),
                added: Timestamp(record.added),
                expires: record.expires.map(Timestamp),
            })
            .collect();
        let action = action(&engine, &name)?;
        Ok(SetEntries { schema: SCHEMA, name: name.to_string(), action, entries })
    }

    /// What the kernel's tables say about prefixes as sources.
    ///
    /// # Errors
    /// When one of them is no prefix, or the kernel refuses.
    pub fn test(&self, request: &TestRequest) -> Result<Tested, ApiError> {
        let prefixes = parse(&request.prefixes)?;
        let engine = self.engine()?;
        let results: Vec<TestResult> =
            prefixes.into_iter().map(|prefix| test(&engine, prefix)).collect::<Result<_, ApiError>>()?;
        let blocked = results.iter().filter(|result| result.blocked).count();
        let not_blocked = (results.len() - blocked) as u64;
        Ok(Tested { schema: SCHEMA, blocked: blocked as u64, not_blocked, results })
    }
}

impl From<engine::SetSummary> for SetSummary {
    fn from(set: engine::SetSummary) -> Self {
        Self {
            name: set.name.to_string(),
            action: set.kind.into(),
            ipv4: set.v4 as u64,
            ipv6: set.v6 as u64,
            created: Timestamp(set.created),
            changed: Timestamp(set.changed),
            dropped: Count::default(),
        }
    }
}

fn tables(engine: &Engine, kind: TableKind) -> [TableStatus; 2] {
    let table = engine.table_use(kind);
    [("IPv4", table.v4), ("IPv6", table.v6)].map(|(family, entries)| TableStatus {
        kind: Action::from(kind).name().to_owned(),
        family: family.to_owned(),
        entries: entries as u64,
    })
}

pub(super) fn action(engine: &Engine, name: &SetName) -> Result<Action, ApiError> {
    let set = engine.sets().find(|set| set.name == *name);
    let set = set.ok_or_else(|| EngineError::UnknownSet { name: name.clone() })?;
    Ok(set.kind.into())
}

fn test(engine: &Engine, prefix: IpNet) -> Result<TestResult, ApiError> {
    let find = |kind| match engine.test(kind, prefix) {
        Ok(found) => {
            Ok(found.map(|found| PrefixMatch { prefix: found.prefix, set: Some(found.set.to_string()) }))
        }
        // It drops packets, whoever it belongs to.
        Err(EngineError::ForeignEntry { prefix, .. }) => Ok(Some(PrefixMatch { prefix, set: None })),
        Err(error) => Err(error),
    };
    let (block, allow) = (find(TableKind::Block)?, find(TableKind::AllowSource)?);
    Ok(TestResult { prefix, blocked: block.is_some() && allow.is_none(), block, allow })
}

/// All of them, or every one that is no prefix.
pub(super) fn parse(texts: &[String]) -> Result<Vec<IpNet>, ApiError> {
    if texts.is_empty() {
        return Err(ApiError::Meaningless("`prefixes` is empty; expected at least one address or prefix"));
    }
    let mut prefixes = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse_prefix(text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(error) => problems.push(Problem {
                index: Some(index as u64),
                message: error.to_string(),
                ..Problem::default()
            }),
        }
    }
    if problems.is_empty() {
        Ok(prefixes)
    } else {
        Err(ApiError::BadPrefixes { bad: problems.len(), problems, given: texts.len() })
    }
}
