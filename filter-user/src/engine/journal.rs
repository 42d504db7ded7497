//! The desired state on disk: a snapshot, and a log of the changes since.
//!
//! Decides when a change is safe: when `append` returns, it outlives a crash; when it fails, it is gone. A new snapshot
//! gets the next generation and a new log of that generation; a log older than its snapshot is in it already and is
//! dropped. Each file comes into being whole: written beside, synced, renamed, its directory synced. So whatever moment
//! a crash picks, the next start finds the state of before or after a change. An unfinished record at the end of the
//! log is the change that was under way and is cut; any other damage is an error, never guessed around. Costs one
//! write and one fdatasync a change, and one rewrite of everything whenever the log has outgrown the snapshot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::log_file::LogFile;
use super::record::{Record, Unread, decode, encode, is_torn_tail};
use super::snapshot::write_snapshot;
use super::state::State;

pub(super) const SNAPSHOT: &str = "snapshot";
const LOG: &str = "log";
/// What the files begin with; the last byte is the version of the format.
const MAGIC: [(&str, [u8; 8]); 2] = [(SNAPSHOT, *b"LEVEE-S\x02"), (LOG, *b"LEVEE-L\x02")];
/// A log below this is never worth a snapshot.
const SMALL: u64 = 64 * 1024;

const ABOUT_LOG: &str = "move it away to go on with what the tables in force hold or, where none are, with the last \
    snapshot; then look through the sets";
const ABOUT_LOG_ALONE: &str = ABOUT_SNAPSHOT;
const ABOUT_SNAPSHOT: &str =
    "put back a copy of the state directory, or move it away and import the sets again";

/// The open journal of one state directory.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    log: File,
    /// What must be at its path for the log to count.
    log_file: LogFile,
    log_bytes: u64,
    /// Number of the next record in the log.
    next_record: u64,
    generation: u64,
    compact_at: u64,
    /// A write failed and could not be taken back, so what is on disk is not known.
    broken: bool,
    /// The log still bears its temporary name: what the state begins with is yet to be decided, and a start that fails
    /// before that must not count.
    is_pending: bool,
}

/// What opening found beside the state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Bytes of an unfinished record that were cut from the log.
    pub truncated_log_bytes: u64,
    /// The log was older than the snapshot, which holds all of it.
    pub stale_log: bool,
    /// There was a snapshot without a log.
    pub missing_log: bool,
    /// No change was ever recorded: the state begins here.
    pub fresh: bool,
}

impl Journal {
    /// Reads the state in `directory`, which the caller has locked.
    pub(super) fn open(directory: &Path) -> Result<(Self, State, Opened), JournalError> {
        let snapshot = read(&directory.join(SNAPSHOT))?;
        let snapshot_bytes = snapshot.as_ref().map_or(0, Vec::len) as u64;
        let has_snapshot = snapshot.is_some();
        let (mut state, generation) = match snapshot {
            Some(bytes) => load_snapshot(&directory.join(SNAPSHOT), &bytes)?,
            None => (State::default(), 0),
        };
        let path = directory.join(LOG);
        let mut opened = Opened::default();
        let whole = match read(&path)? {
            Some(bytes) => {
                let remedy = if has_snapshot { ABOUT_LOG } else { ABOUT_LOG_ALONE };
                load_log(&path, &bytes, generation, remedy, &mut state, &mut opened)?
            }
            None => None,
        };
        // A crash leaves no snapshot without a log, nor with one that does not say what it goes on from.
        opened.missing_log = has_snapshot && whole.is_none() && !opened.stale_log;
        let (log, log_bytes, next_record) = match whole {
            Some((bytes, records)) => (reopen_log(&path, bytes, &opened)?, bytes, records),
            None => {
                let (log, bytes) = begin_log(directory, generation)?;
                if !opened.missing_log {
                    put_in_place(directory, LOG)?;
                }
                (log, bytes, 1)
            }
        };
        // A log without one change is no state yet: a start that failed right after making it must not count.
        opened.fresh = !has_snapshot && next_record == 1;
        let log_file = LogFile::of(&path, &log).map_err(failed("look at", &path))?;
        let journal = Self {
            directory: directory.to_owned(),
            log,
            log_file,
            log_bytes,
            next_record,
            generation,
            compact_at: snapshot_bytes.max(SMALL),
            broken: false,
            is_pending: opened.missing_log,
        };
        Ok((journal, state, opened))
    }

    /// The log, to be looked at without this value.
    pub(super) const fn log_file(&self) -> &LogFile {
        &self.log_file
    }

    /// Makes `change` outlive a crash, or fails and leaves no trace of it.
    pub(super) fn append(&mut self, change: &Record) -> Result<(), JournalError> {
        if !self.is_pending {
            self.log_file.check()?;
        }
        let path = self.directory.join(LOG);
        if self.broken {
            return Err(JournalError::Broken { path });
        }
        let frame = encode(self.next_record, change)?;
        if let Err(source) = self.log.write_all_at(&frame, self.log_bytes) {
            self.broken = self.log.set_len(self.log_bytes).and_then(|()| self.log.sync_data()).is_err();
            return Err(JournalError::File { action: "write to", path, source });
        }
        if let Err(source) = self.log.sync_data() {
            // The kernel may have dropped what it could not write, and says so only once: no later sync can be
            // believed about this file.
            self.broken = true;
            let _ = self.log.set_len(self.log_bytes);
            return Err(JournalError::File { action: "sync", path, source });
        }
        self.log_bytes += frame.len() as u64;
        self.next_record += 1;
        self.put_log_in_place()
    }

    /// Makes a log that was begun in place of one that was lost the one that counts.
    pub(super) fn put_log_in_place(&mut self) -> Result<(), JournalError> {
        if self.is_pending {
            put_in_place(&self.directory, LOG)?;
            self.is_pending = false;
        }
        Ok(())
    }

    /// Lets a test put a file that cannot be written in place of the log.
    #[cfg(test)]
    pub(super) fn replace_log(&mut self, log: File) {
        self.log = log;
    }

    /// Whether the log has outgrown the snapshot.
    pub(super) const fn is_compaction_due(&self) -> bool {
        self.log_bytes > self.compact_at
    }

    /// Writes `state`, which is all that was appended, as a new snapshot, and begins a new log.
    pub(super) fn compact(&mut self, state: &State) -> Result<(), JournalError> {
        // Should this fail, the log goes on growing, and the next attempt is not at the very next change.
        self.compact_at = self.log_bytes.saturating_mul(2);
        // Whatever is in the directory now, it is not this state's to write over.
        self.log_file.check()?;
        let generation = self.generation + 1;
        let (log, log_bytes) = begin_log(&self.directory, generation)?;
        let snapshot_bytes = write_snapshot(&self.directory, generation, state)?;
        // From here on the old log may count for nothing, so no change may go there.
        self.broken = true;
        put_in_place(&self.directory, SNAPSHOT)?;
        put_in_place(&self.directory, LOG)?;
        let path = self.directory.join(LOG);
        self.log_file = LogFile::of(&path, &log).map_err(failed("look at", &path))?;
        self.broken = false;
        (self.log, self.log_bytes, self.next_record, self.generation) = (log, log_bytes, 1, generation);
        self.compact_at = snapshot_bytes.max(SMALL);
        Ok(())
    }
}

pub(super) fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |source| JournalError::File { action, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

pub(super) fn magic(name: &str) -> [u8; 8] {
    MAGIC.into_iter().find(|(file, _)| *file == name).map_or([0; 8], |(_, magic)| magic)
}

fn check_magic(path: &Path, bytes: &[u8], name: &str, remedy: &'static str) -> Result<(), JournalError> {
    let expected = magic(name);
    if bytes.starts_with(&expected) {
        return Ok(());
    }
    if bytes.is_empty() {
        return Err(JournalError::Empty { path: path.to_owned(), remedy });
    }
    let found = bytes[..bytes.len().min(expected.len())].escape_ascii().to_string();
    let expected = expected.escape_ascii().to_string();
    Err(JournalError::Foreign { path: path.to_owned(), found, expected, remedy })
}

fn load_snapshot(path: &Path, bytes: &[u8]) -> Result<(State, u64), JournalError> {
    check_magic(path, bytes, SNAPSHOT, ABOUT_SNAPSHOT)?;
    let damaged = |offset: usize, what: String| JournalError::Damaged {
        path: path.to_owned(),
        offset: offset as u64,
        what,
        remedy: ABOUT_SNAPSHOT,
    };
    let mut state = State::default();
    let mut generation = 0;
    let (mut offset, mut number) = (magic(SNAPSHOT).len(), 0);
    loop {
        let (record, next) = decode(bytes, offset, number).map_err(|unread| match unread {
            Unread::Unfinished(what) => damaged(offset, what.to_owned()),
            Unread::Damaged(what) => damaged(offset, what),
        })?;
        match record {
            Record::Begin { generation: of } if number == 0 => {
                generation = of;
            }
            Record::Change(change) if number > 0 => {
                state.apply(&change).map_err(|misfit| damaged(offset, misfit.0))?;
            }
            Record::End { entries } if number > 0 => {
                if next != bytes.len() || entries != state.entries() as u64 {
                    return Err(damaged(
                        offset,
                        "an end that does not fit what is before and behind it".into(),
                    ));
                }
                return Ok((state, generation));
            }
            _ => return Err(damaged(offset, "a record that does not belong there".into())),
        }
        (offset, number) = (next, number + 1);
    }
}

/// Replays the log and says how many bytes and records of it are good; `None` when a new one must be begun.
fn load_log(
    path: &Path,
    bytes: &[u8],
    generation: u64,
    remedy: &'static str,
    state: &mut State,
    opened: &mut Opened,
) -> Result<Option<(u64, u64)>, JournalError> {
    let damaged = |offset: usize, what: String| JournalError::Damaged {
        path: path.to_owned(),
        offset: offset as u64,
        what,
        remedy,
    };
    if magic(LOG).starts_with(bytes) {
        opened.truncated_log_bytes = bytes.len() as u64;
        return Ok(None);
    }
    check_magic(path, bytes, LOG, remedy)?;
    let (mut offset, mut number) = (magic(LOG).len(), 0);
    while offset < bytes.len() {
        let (record, next) = match decode(bytes, offset, number) {
            Ok(read) => read,
            Err(Unread::Unfinished(_)) if is_torn_tail(bytes, offset) => {
                opened.truncated_log_bytes = (bytes.len() - offset) as u64;
                break;
            }
            Err(Unread::Unfinished(what)) => {
                return Err(damaged(offset, format!("{what}, with whole records behind it")));
            }
            Err(Unread::Damaged(what)) => return Err(damaged(offset, what)),
        };
        match record {
            Record::Begin { generation: of } if number == 0 => {
                if of < generation {
                    opened.stale_log = true;
                    return Ok(None);
                }
                if of > generation {
                    let what =
                        format!("the log goes on from snapshot {of}, but the snapshot is {generation}");
                    return Err(damaged(offset, what));
                }
            }
            Record::Change(change) if number > 0 => {
                state.apply(&change).map_err(|misfit| damaged(offset, misfit.0))?;
            }
            _ => return Err(damaged(offset, "a record that does not belong there".into())),
        }
        (offset, number) = (next, number + 1);
    }
    if number == 0 {
        opened.truncated_log_bytes = bytes.len() as u64;
        return Ok(None);
    }
    Ok(Some((offset as u64, number)))
}

fn reopen_log(path: &Path, bytes: u64, opened: &Opened) -> Result<File, JournalError> {
    let log = OpenOptions::new().write(true).open(path).map_err(failed("write to", path))?;
    if opened.truncated_log_bytes > 0 {
        log.set_len(bytes).and_then(|()| log.sync_all()).map_err(failed("cut", path))?;
    }
    Ok(log)
}

pub(super) fn temporary(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.tmp"))
}

pub(super) fn create(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(failed("make", path))
}

/// Renames the finished file into its place.
fn put_in_place(directory: &Path, name: &str) -> Result<(), JournalError> {
    let path = directory.join(name);
    fs::rename(temporary(directory, name), &path).map_err(failed("replace", &path))?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("sync", directory))
}

/// An empty log under its temporary name, and its size.
fn begin_log(directory: &Path, generation: u64) -> Result<(File, u64), JournalError> {
    let path = temporary(directory, LOG);
    let mut log = create(&path)?;
    let mut bytes = magic(LOG).to_vec();
    bytes.extend(encode(0, &Record::Begin { generation })?);
    log.write_all(&bytes).and_then(|()| log.sync_all()).map_err(failed("write to", &path))?;
    Ok((log, bytes.len() as u64))
}
