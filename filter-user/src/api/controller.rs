//! What a request does, without HTTP: blocking calls on the engine and the dataplane.
//!
//! Two locks, always taken in this order: engine, dataplane. Counters are read under the second alone, so figures
//! come also while an import is applied. Lists are parsed before any lock is taken.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use filter_common::abi::ABI_VERSION;
use filter_common::config::Switches;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::error::{ApiError, list_problem};
use super::peer::Peer;
use super::problem::Problem;
use super::server::MAX_LIST_BYTES;
use super::types::{
    Action, AddRequest, Change, ChangeOutcome, Changed, ControllerStatus, Entry, ImportQuery, Imported,
    Interface, InterfaceStats, PrefixMatch, RemoveRequest, SCHEMA, SetEntries, SetList, SetRemoved,
    SetSummary, Span, Stats, StatsController, Status, TableStatus, TestRequest, TestResult, Tested,
    Timestamp, Traffic,
};
use crate::dataplane::{Dataplane, DataplaneError, InterfaceReport};
use crate::engine::{self, ChangeReport, Engine, EngineError, Provenance, SetName};
use crate::feeds::{ParseOptions, parse_list, parse_prefix};
use crate::interface::InterfaceMode;
use crate::tables::TableKind;

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
}

impl Interfaces for Dataplane {
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        Self::attach(self, name, mode, switches)
    }

    fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        Self::detach(self, name)
    }

    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError> {
        Self::detach_all(self)
    }

    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        Self::interfaces(self)
    }
}

/// The daemon's state.
pub struct Controller {
    engine: Mutex<Engine>,
    interfaces: Mutex<Box<dyn Interfaces>>,
    state_dir: PathBuf,
    started: SystemTime,
    changed: Notify,
}

/// Setting up, and what happens without a request.
impl Controller {
    /// A controller of these two, whose engine keeps its state in `state_dir`.
    #[must_use]
    pub fn new(engine: Engine, interfaces: Box<dyn Interfaces>, state_dir: &Path) -> Self {
        Self {
            engine: Mutex::new(engine),
            interfaces: Mutex::new(interfaces),
            state_dir: state_dir.to_owned(),
            started: SystemTime::now(),
            changed: Notify::new(),
        }
    }

    /// Removes entries whose time is over; says in how long the next one's will be.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn expire(&self) -> Result<Option<Duration>, ApiError> {
        let now = SystemTime::now();
        let mut engine = self.engine()?;
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
        let (sets, tables) = {
            let engine = self.engine()?;
            let sets = engine.sets().map(SetSummary::from).collect();
            (sets, TableKind::ALL.into_iter().flat_map(|kind| tables(&engine, kind)).collect())
        };
        let interfaces = self.attached()?;
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
            },
            total: Traffic::total(&interfaces),
            interfaces,
            tables: Some(tables),
            sets: Some(sets),
        })
    }

    /// The counters alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stats(&self) -> Result<Stats, ApiError> {
        let interfaces = self.attached()?;
        Ok(Stats {
            schema: SCHEMA,
            time: Timestamp(SystemTime::now()),
            controller: StatsController { running: true },
            total: Traffic::total(&interfaces),
            interfaces: interfaces.into_iter().map(InterfaceStats::from).collect(),
        })
    }

    /// Every set.
    ///
    /// # Errors
    /// After a panic only.
    pub fn sets(&self) -> Result<SetList, ApiError> {
        Ok(SetList { schema: SCHEMA, sets: self.engine()?.sets().map(SetSummary::from).collect() })
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

/// Changing sets.
impl Controller {
    /// Adds prefixes to a set.
    ///
    /// # Errors
    /// When one of them is no prefix, or the set does something else, or the table is full; nothing changes then.
    pub fn add(&self, name: &str, request: AddRequest, peer: &Peer) -> Result<Changed, ApiError> {
        let AddRequest { action, prefixes, ttl, reason } = request;
        let name = SetName::try_from(name)?;
        let prefixes = parse(&prefixes)?;
        let now = SystemTime::now();
        let provenance = provenance(peer, reason, ttl, now)?;
        let report = self.engine()?.add(&name, action.table(), &prefixes, &provenance, now)?;
        self.changed.notify_one();
        Ok(changed(&name, action, &prefixes, &report, ChangeOutcome::AlreadyPresent))
    }

    /// Removes prefixes from a set.
    ///
    /// # Errors
    /// When one of them is no prefix, or there is no such set, or it does something else; nothing changes then.
    pub fn remove(&self, name: &str, request: &RemoveRequest) -> Result<Changed, ApiError> {
        let name = SetName::try_from(name)?;
        let prefixes = parse(&request.prefixes)?;
        let mut engine = self.engine()?;
        let (action, report) = match action(&engine, &name) {
            Ok(is) => {
                if let Some(asked) = request.action.filter(|asked| *asked != is) {
                    return Err(ApiError::OtherAction { name: name.to_string(), is, asked });
                }
                (is, engine.delete(&name, &prefixes)?)
            }
            Err(error) => match request.action.filter(|asked| asked.default_set() == name.as_str()) {
                Some(action) => {
                    (action, ChangeReport { unchanged: prefixes.clone(), ..ChangeReport::default() })
                }
                None => return Err(error),
            },
        };
        Ok(changed(&name, action, &prefixes, &report, ChangeOutcome::NotPresent))
    }

    /// Imports a list into a set.
    ///
    /// # Errors
    /// When the list has a bad line (unless those are skipped), is too long, or does not fit; nothing changes then.
    pub fn import(
        &self,
        name: &str,
        query: ImportQuery,
        list: impl Read,
        peer: &Peer,
    ) -> Result<Imported, ApiError> {
        let ImportQuery { action, replace, ttl, reason, skip_bad, source } = query;
        let name = SetName::try_from(name)?;
        let source = source.unwrap_or_else(|| "(list)".to_owned());
        let options = ParseOptions { skip_bad, max_bytes: MAX_LIST_BYTES, ..ParseOptions::default() };
        // What a long list would be refused for anyway is asked before it is read.
        if let Ok(is) = self::action(&*self.engine()?, &name)
            && is != action
        {
            return Err(ApiError::OtherAction { name: name.to_string(), is, asked: action });
        }
        let list = parse_list(list, &source, options).map_err(ApiError::BadList)?;
        let now = SystemTime::now();
        let provenance = provenance(peer, reason, ttl, now)?;
        let report =
            self.engine()?.import(&name, action.table(), &list.prefixes, replace, &provenance, now)?;
        self.changed.notify_one();
        Ok(Imported {
            schema: SCHEMA,
            set: name.to_string(),
            action,
            lines: list.lines,
            entries: list.entries,
            added: report.added as u64,
            updated: report.refreshed as u64,
            unchanged: report.unchanged as u64,
            removed: report.removed as u64,
            duplicates: list.duplicates as u64,
            overlapping: list.overlapping as u64,
            skipped: list.bad_total,
            skipped_lines: list.bad.iter().map(list_problem).collect(),
            total: report.total as u64,
        })
    }

    /// Removes every prefix of a set.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn flush(&self, name: &str) -> Result<SetRemoved, ApiError> {
        let name = SetName::try_from(name)?;
        let removed = self.engine()?.flush(&name)? as u64;
        Ok(SetRemoved { schema: SCHEMA, set: name.to_string(), removed })
    }

    /// Removes a set and every prefix of it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_set(&self, name: &str) -> Result<SetRemoved, ApiError> {
        let name = SetName::try_from(name)?;
        let removed = self.engine()?.remove_set(&name)? as u64;
        Ok(SetRemoved { schema: SCHEMA, set: name.to_string(), removed })
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
        }
    }
}

fn tables(engine: &Engine, kind: TableKind) -> [TableStatus; 2] {
    let table = engine.table_use(kind);
    [("IPv4", table.v4), ("IPv6", table.v6)].map(|(family, entries)| TableStatus {
        kind: Action::from(kind).name().to_owned(),
        family: family.to_owned(),
        entries: entries as u64,
        capacity: table.capacity as u64,
    })
}

fn action(engine: &Engine, name: &SetName) -> Result<Action, ApiError> {
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
fn parse(texts: &[String]) -> Result<Vec<IpNet>, ApiError> {
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
        Err(ApiError::BadPrefixes { problems, given: texts.len() })
    }
}

fn provenance(
    peer: &Peer,
    reason: Option<String>,
    ttl: Option<Span>,
    now: SystemTime,
) -> Result<Provenance, ApiError> {
    let end = |ttl: Span| {
        now.checked_add(ttl.0)
            .ok_or(ApiError::Meaningless("the ttl ends behind the end of time; choose a shorter one"))
    };
    Ok(Provenance { by: peer.name().to_owned(), reason, expires: ttl.map(end).transpose()? })
}

/// What became of each prefix, in the order of the request.
fn changed(
    name: &SetName,
    action: Action,
    asked: &[IpNet],
    report: &ChangeReport,
    unchanged: ChangeOutcome,
) -> Changed {
    let ChangeReport { added, refreshed, removed, .. } = report;
    let outcomes = [
        (added, ChangeOutcome::Added),
        (refreshed, ChangeOutcome::Updated),
        (removed, ChangeOutcome::Removed),
    ];
    let mut seen = std::collections::HashSet::new();
    let changes: Vec<Change> = asked
        .iter()
        .map(IpNet::trunc)
        .filter(|prefix| seen.insert(*prefix))
        .map(|prefix| {
            let found = outcomes.iter().find(|(prefixes, _)| prefixes.binary_search(&prefix).is_ok());
            Change { prefix, outcome: found.map_or(unchanged, |(_, outcome)| *outcome) }
        })
        .collect();
    let count = |outcome| changes.iter().filter(|change| change.outcome == outcome).count() as u64;
    Changed {
        schema: SCHEMA,
        set: name.to_string(),
        action,
        added: count(ChangeOutcome::Added),
        updated: count(ChangeOutcome::Updated),
        removed: count(ChangeOutcome::Removed),
        unchanged: count(unchanged),
        changes,
    }
}
