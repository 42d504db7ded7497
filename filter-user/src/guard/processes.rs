//! What `/proc` says of processes: which are of a name, what they hold open, what they were started with.
//!
//! Processes come and go while they are read, and most of those of others may not be read at all: what cannot be read is
//! as good as not there.

use std::collections::HashSet;
use std::ffi::OsString;

use procfs::process::{FDTarget, Process, all_processes};

use super::GuardError;

/// Every process whose name is one of these.
pub(super) fn named(names: &[&str]) -> Result<Vec<Process>, GuardError> {
    let all = all_processes().map_err(|source| GuardError::Processes { source })?;
    let is_named = |process: &Process| process.stat().is_ok_and(|it| names.contains(&it.comm.as_str()));
    Ok(all.filter_map(Result::ok).filter(is_named).collect())
}

/// The numbers of the sockets that these processes hold open.
pub(super) fn sockets(processes: &[Process]) -> HashSet<u64> {
    let open = processes.iter().filter_map(|process| process.fd().ok()).flatten().filter_map(Result::ok);
    open.filter_map(|open| match open.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    })
    .collect()
}

/// A variable of the environment that a process was started with.
pub(super) fn variable(process: &Process, name: &str) -> Option<OsString> {
    process.environ().ok()?.remove(&OsString::from(name))
}

/// The process and those that it comes from, itself first; at most `most`.
pub(super) fn ancestry(pid: u32, most: usize) -> impl Iterator<Item = Process> {
    let process = |pid: i32| (pid > 0).then(|| Process::new(pid).ok()).flatten();
    let first = i32::try_from(pid).ok().and_then(process);
    std::iter::successors(first, move |child| process(child.stat().ok()?.ppid)).take(most)
}
