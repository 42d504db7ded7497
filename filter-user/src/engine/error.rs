//! What the engine refuses, and what can go wrong beneath it.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;

use super::kind::SetKind;
use super::name::SetName;
use crate::policy::PolicyErrors;
use crate::policy::tables::TablesError;
use crate::tables::{MAX_SET, SetId, TableError, TableKind};

/// A change that was not made, or a question that has no answer. Nothing changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}: {problem}")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: &'static str,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// Another process uses the state directory.
    #[error("another levee holds the state directory {path}{}; stop it or choose another --state-dir", Pid(*.pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, as far as it can be told.
        pid: Option<u32>,
    },
    /// The journal on disk cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No set has that name.
    #[error("there is no set {name}; `levee set list` shows those that there are")]
    UnknownSet {
        /// The name.
        name: SetName,
    },
    /// A set holds prefixes of one kind only.
    #[error("the set {name} has the action {}, not {}; choose another name, or remove the set first", is.name(), asked.name())]
    OtherKind {
        /// The set.
        name: SetName,
        /// Its kind.
        is: SetKind,
        /// The kind asked for.
        asked: SetKind,
    },
    /// The tables as a whole could not be changed or read.
    #[error("the tables are as they were: {source}")]
    Tables {
        /// Why.
        source: TableError,
    },
    /// New tables came into force on some interfaces only, and could not be taken off those. The sets are as they were,
    /// and so are the tables of the other interfaces.
    #[error(
        "{source}; the sets are as they were, and the tables are made anew from them as soon as the kernel takes them"
    )]
    Divided {
        /// Why.
        source: TableError,
    },
    /// A table call failed; what the change had done until then was undone.
    #[error("{prefix} could not be changed in the {} table", SetKind::from(*.kind).name())]
    Table {
        /// The table.
        kind: TableKind,
        /// The prefix.
        prefix: IpNet,
        /// Why.
        #[source]
        source: TableError,
    },
    /// A change failed and could not be undone: the tables differ from the sets until they are repaired, by the next
    /// change or by [`super::Engine::repair_drift`].
    #[error("{cause}; undoing it failed too, and the tables are made anew as soon as the kernel takes them")]
    NotUndone {
        /// Why the change failed.
        cause: Box<EngineError>,
        /// Why undoing it failed.
        #[source]
        source: TableError,
    },
    /// A planned change is refused if the tables in force have no room for it, which only trying tells.
    #[error(
        "it may be refused: should the tables in force have no room for it, new ones would take {}, and the limit is {}; \
         raise it with `levee run --max-memory`",
        humansize::format_size(*.needed, humansize::BINARY),
        humansize::format_size(*.limit, humansize::BINARY)
    )]
    MayNotFit {
        /// Bytes that new tables would take.
        needed: u64,
        /// Bytes that they may take.
        limit: u64,
    },
    /// An entry would be gone before it is there.
    #[error("the entries would expire before they are added; choose a later time")]
    AlreadyExpired,
    /// A text of the provenance is too long.
    #[error("found {length} bytes of {field}, expected at most {limit}")]
    TextTooLong {
        /// "reason" or "name of the author".
        field: &'static str,
        /// Its bytes.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A prefix in the tables names a set that does not exist: something else writes to them.
    #[error("{prefix} in the {} table belongs to set number {id}, which does not exist; restart levee run to repair the tables", SetKind::from(*.kind).name())]
    ForeignEntry {
        /// The table.
        kind: TableKind,
        /// The prefix.
        prefix: IpNet,
        /// The number beside it.
        id: SetId,
    },
    /// Rules of the policy in force look at a set that is to be removed.
    #[error("rules of the policy in force look at the set {name}; apply a policy without them first")]
    SetInUse {
        /// The set.
        name: SetName,
    },
    /// The policy says something that the sets of now contradict.
    #[error("{}", _0.render(crate::policy::Drawing::Plain))]
    Policy(Box<PolicyErrors>),
    /// Rules that cannot be compiled.
    #[error("the rules of the policy cannot be used: {source}")]
    Rules {
        /// Why.
        source: TablesError,
    },
    /// A policy is on trial.
    #[error(
        "a policy waits to be confirmed; `levee confirm` keeps it and `levee rollback` gives it up, and before that no interface can be attached and no other can be applied"
    )]
    OnTrial,
    /// What filters has a policy that the state does not know.
    #[error(
        "a policy is in force that the state directory does not know, so the state was lost; it filters on, and nothing was          changed. Put back a copy of the state directory, or take the filter off with `levee detach --all` and begin anew"
    )]
    PolicyLost,
    /// No policy is on trial.
    #[error(
        "no policy waits to be confirmed, and one that was not confirmed in time has gone back; `levee policy list` tells which is in force"
    )]
    NoTrial,
    /// There is no policy.
    #[error("no policy is in force")]
    NoPolicy,
    /// There were not so many policies.
    #[error(
        "there is no policy {steps} before the one in force: {kept} of those before it are kept (`levee policy list`)"
    )]
    NoSuchPolicy {
        /// How many were to be gone back.
        steps: usize,
        /// How many there are.
        kept: usize,
    },
    /// A set would have more entries than the policy lets it have.
    #[error("the set {name} would have {would} entries, and the policy in force lets it have {limit}")]
    TooManyEntries {
        /// The set.
        name: SetName,
        /// Entries that it would have.
        would: usize,
        /// Entries that it may have.
        limit: u32,
    },
    /// Every set number is taken.
    #[error("there are {MAX_SET} sets, and there can be no more; remove one with `levee set rm`")]
    TooManySets,
}

struct Pid(Option<u32>);

impl std::fmt::Display for Pid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(out, ", pid {pid}"))
    }
}

/// The journal on disk cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("cannot {action} {path}")]
    File {
        /// "read", "write" and the like.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is there and holds nothing.
    #[error("{path} is empty, and was written whole: something else has emptied it; {remedy}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// The file was written by something else or by another version.
    #[error(
        "{path} is not a journal that this levee can read: it begins with {found}, expected {expected}; {remedy}"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: String,
        /// What they should be.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The file is damaged where no crash can have damaged it.
    #[error("{path} is damaged at byte {offset}: {what}; {remedy}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What was found.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A change is too big for one record.
    #[error("a change of {bytes} bytes does not fit into the journal; split it")]
    TooBig {
        /// Its size.
        bytes: usize,
    },
    /// The file that the daemon writes to is not the one that the next start would read.
    #[error(
        "{path} {what} while levee run was writing to it, so whatever changes now would be lost: move it back to where \
         it was, or restart levee run, which goes on with the state that it finds there, or without one with what the \
         tables hold"
    )]
    Displaced {
        /// The file.
        path: PathBuf,
        /// What became of it.
        what: String,
    },
    /// An earlier write failed half-way, so what the file holds is not known.
    #[error(
        "{path} could not be written earlier, so no further change is safe; make room on the disk and restart levee run"
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
}
