//! Writing the whole state as one file.
//!
//! Entries with one origin go into records of a bounded number of prefixes, so that reading one back takes little memory.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::error::JournalError;
use super::journal::{SNAPSHOT, create, failed, magic, temporary};
use super::record::{Change, Record, Step, encode};
use super::state::{Origin, Set, State};

/// Prefixes in one record.
const CHUNK: usize = 4096;

/// A snapshot under its temporary name; its size.
pub(super) fn write_snapshot(directory: &Path, generation: u64, state: &State) -> Result<u64, JournalError> {
    let path = temporary(directory, SNAPSHOT);
    let mut writer = SnapshotWriter { out: BufWriter::new(create(&path)?), path: &path, number: 0, bytes: 0 };
    writer.write(&magic(SNAPSHOT))?;
    writer.record(&Record::Begin { generation })?;
    for set in state.sets() {
        writer.set(set)?;
    }
    let interfaces = state.interfaces.iter();
    let steps = interfaces.map(|(name, intent)| Step::SetInterface { name: name.clone(), intent: *intent });
    writer.record(&Record::Change(Change { at: 0, steps: steps.collect() }))?;
    for record in state.policies.records() {
        let in_force = state.policies.is_in_force(record);
        let trial = state.policies.trial.filter(|_| in_force);
        let step = Step::RestorePolicy { record: record.clone(), in_force, trial };
        writer.record(&Record::Change(Change { at: 0, steps: vec![step] }))?;
    }
    writer.record(&Record::End { entries: state.entries() as u64 })?;
    let bytes = writer.bytes;
    let file = writer.out.into_inner().map_err(|error| failed("write to", &path)(error.into_error()))?;
    file.sync_all().map_err(failed("sync", &path))?;
    Ok(bytes)
}

struct SnapshotWriter<'a> {
    out: BufWriter<File>,
    path: &'a Path,
    number: u64,
    bytes: u64,
}

impl SnapshotWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(failed("write to", self.path))
    }

    fn record(&mut self, record: &Record) -> Result<(), JournalError> {
        let frame = encode(self.number, record)?;
        self.number += 1;
        self.write(&frame)
    }

    fn set(&mut self, set: &Set) -> Result<(), JournalError> {
        let Set { id, name, kind, created, changed, .. } = set;
        let create = Step::CreateSet { id: *id, name: name.clone(), kind: (*kind).into(), created: *created };
        self.record(&Record::Change(Change { at: *changed, steps: vec![create] }))?;
        let mut run: Option<(&Arc<Origin>, Vec<IpNet>)> = None;
        for (prefix, origin) in set.entries.as_ref() {
            match &mut run {
                Some((of, prefixes)) if *of == origin && prefixes.len() < CHUNK => prefixes.push(*prefix),
                _ => {
                    if let Some((of, prefixes)) = run.replace((origin, vec![*prefix])) {
                        self.run(set, of, prefixes)?;
                    }
                }
            }
        }
        run.map_or(Ok(()), |(of, prefixes)| self.run(set, of, prefixes))
    }

    fn run(&mut self, set: &Set, origin: &Origin, prefixes: Vec<IpNet>) -> Result<(), JournalError> {
        let put = Step::Put {
            set: set.id,
            added: origin.added,
            expires: origin.expires,
            by: origin.by.as_ref().to_owned(),
            reason: origin.reason.as_deref().map(str::to_owned),
            prefixes,
        };
        self.record(&Record::Change(Change { at: set.changed, steps: vec![put] }))
    }
}
