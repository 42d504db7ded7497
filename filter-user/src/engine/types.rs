//! What the engine is told and what it answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filter_common::config::Switches;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::EngineError;
use super::kind::SetKind;
use super::name::SetName;
use super::state::{Origin, Set};
use crate::interface::InterfaceMode;
use crate::tables::{Footprint, Opened, SetId, TableMemory};

/// The last second that RFC 3339 can write; no time lies behind it.
const LAST_SECOND: u64 = 253_402_300_799;
const LONGEST_AUTHOR: usize = 256;
const LONGEST_REASON: usize = 1024;

/// What is wanted of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceIntent {
    /// Where the program runs.
    pub mode: InterfaceMode,
    /// What it checks.
    #[serde(with = "SwitchWords")]
    pub switches: Switches,
}

/// The fields of [`Switches`], for serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Switches")]
struct SwitchWords {
    bad_tcp_flags: u32,
    bogon_source: u32,
    drop_fragments: u32,
    #[serde(skip)]
    reserved: u32,
}

/// Who adds entries, why, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Who; at most 256 bytes.
    pub by: String,
    /// Why; at most 1,024 bytes.
    pub reason: Option<String>,
    /// Until when; `None` is until they are removed.
    pub expires: Option<SystemTime>,
}

impl Provenance {
    /// The moment of expiry, once everything is seen to be in bounds.
    pub(super) fn check(&self, now: SystemTime) -> Result<Option<u64>, EngineError> {
        let reason = self.reason.as_deref().unwrap_or_default();
        for (field, text, limit) in
            [("name of the author", self.by.as_str(), LONGEST_AUTHOR), ("reason", reason, LONGEST_REASON)]
        {
            if text.len() > limit {
                return Err(EngineError::TextTooLong { field, length: text.len(), limit });
            }
        }
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(EngineError::AlreadyExpired);
        }
        Ok(self.expires.map(seconds_up))
    }

    /// Whether an entry of that origin would change by being added again.
    pub(super) fn refreshes(&self, expires: Option<u64>, origin: &Origin) -> bool {
        let new_reason = self.reason.is_some() && self.reason.as_deref() != origin.reason.as_deref();
        expires != origin.expires || new_reason
    }
}

/// One entry of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRecord {
    /// When it was first added, in whole seconds.
    pub added: SystemTime,
    /// When it goes, in whole seconds; `None` is never by itself.
    pub expires: Option<SystemTime>,
    /// Who added it or changed it last.
    pub by: Arc<str>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

impl From<&Origin> for EntryRecord {
    fn from(origin: &Origin) -> Self {
        Self {
            added: time(origin.added),
            expires: origin.expires.map(time),
            by: Arc::clone(&origin.by),
            reason: origin.reason.clone(),
        }
    }
}

/// What a change did to each prefix that it named; each in one list only, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeReport {
    /// Was not in the set and is now.
    pub added: Vec<IpNet>,
    /// Was in the set, and got another expiry or reason.
    pub refreshed: Vec<IpNet>,
    /// Was in the set and is no more.
    pub removed: Vec<IpNet>,
    /// Is as it was: there already when adding, not there when deleting.
    pub unchanged: Vec<IpNet>,
}

/// What an import did, in prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// New in the set.
    pub added: usize,
    /// Gone, since the list replaces the set and does not name them.
    pub removed: usize,
    /// There before with another expiry or reason.
    pub refreshed: usize,
    /// There before, and as they were.
    pub unchanged: usize,
    /// In the set now.
    pub total: usize,
}

impl ImportReport {
    pub(super) const fn new(report: &ChangeReport, total: usize) -> Self {
        Self {
            added: report.added.len(),
            removed: report.removed.len(),
            refreshed: report.refreshed.len(),
            unchanged: report.unchanged.len(),
            total,
        }
    }
}

/// What an import would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportPlan {
    /// To the set.
    pub report: ImportReport,
    /// What tables that are made anew with the outcome take.
    pub footprint: Footprint,
    /// What the tables take now, and may take.
    pub memory: TableMemory,
    /// How they come to it.
    pub way: PlannedWay,
}

/// How tables would come to what an import wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedWay {
    /// They name the same sets for the same prefixes before and after.
    Untouched,
    /// They are changed in place; should they have no room for that, new ones take their place all the same.
    InPlace,
    /// New ones take their place.
    Replaced,
}

impl ImportPlan {
    /// Bytes that the tables take after it; at most, where they may be changed in place.
    #[must_use]
    pub fn after(&self) -> u64 {
        match self.way {
            PlannedWay::Untouched => self.memory.live,
            PlannedWay::InPlace => self.memory.live.max(self.footprint.bytes),
            PlannedWay::Replaced => self.footprint.bytes,
        }
    }

    /// Bytes that they take at most, while tables are there beside those that take their place.
    #[must_use]
    pub const fn peak(&self) -> u64 {
        match self.way {
            PlannedWay::Untouched => self.memory.live,
            PlannedWay::InPlace | PlannedWay::Replaced => self.memory.live + self.footprint.bytes,
        }
    }
}

/// One set, without its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSummary {
    /// Its name.
    pub name: SetName,
    /// Its number in the tables.
    pub id: SetId,
    /// What it is for.
    pub kind: SetKind,
    /// IPv4 prefixes.
    pub v4: usize,
    /// IPv6 prefixes.
    pub v6: usize,
    /// When it was made.
    pub created: SystemTime,
    /// When it last changed; a removal counts as of the last time that the engine was told.
    pub changed: SystemTime,
}

impl From<&Set> for SetSummary {
    fn from(set: &Set) -> Self {
        Self {
            name: set.name.clone(),
            id: set.id,
            kind: set.kind,
            v4: set.v4,
            v6: set.entries.len() - set.v4,
            created: time(set.created),
            changed: time(set.changed),
        }
    }
}

/// The entry that decides about an address or prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The longest prefix in the table that covers it.
    pub prefix: IpNet,
    /// The set that the table names for it; others may hold it too.
    pub set: SetName,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableUse {
    /// IPv4 prefixes in it.
    pub v4: usize,
    /// IPv6 prefixes in it.
    pub v6: usize,
}

/// What opening the state found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Sets.
    pub sets: usize,
    /// Entries of all sets.
    pub prefixes: usize,
    /// Wanted interfaces.
    pub interfaces: usize,
    /// Entries that were over and were dropped.
    pub expired: usize,
    /// Prefixes of tables in use that a new state took over, in sets named after it.
    pub adopted: usize,
    /// Whether the tables were found to hold all that, or were replaced.
    pub tables: Opened,
    /// Bytes of an unfinished change that were cut from the log.
    pub truncated_log_bytes: u64,
    /// A crash in a compaction had left a log that the snapshot holds already.
    pub stale_log: bool,
    /// Whether there was a snapshot without a log.
    pub missing_log: MissingLog,
}

/// What a state was made from whose log was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLog {
    /// It was not lost.
    No,
    /// Tables were in force, and the sets are what they hold; reasons and ends that were given since the snapshot are
    /// lost.
    TablesBelieved,
    /// No tables were in force, and the sets are those of the snapshot: changes since are lost.
    SnapshotBelieved,
}

/// Whole seconds of Unix time, rounded down.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST_SECOND)
}

/// Whole seconds of Unix time, rounded up: nothing expires early.
pub(super) fn seconds_up(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0)).min(LAST_SECOND)
}

/// Whole milliseconds of Unix time.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(LAST_SECOND * 1000)
}

pub(super) fn time_ms(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds.min(LAST_SECOND * 1000))
}

pub(super) fn time(seconds: u64) -> SystemTime {
    // Journals may hold any number; none behind the last second overflows.
    UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}
