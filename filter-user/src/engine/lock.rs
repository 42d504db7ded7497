//! The state directory, and who may write to it.
//!
//! Decides that one process at a time does: an advisory lock that the kernel drops with the process, so that no stale
//! lock outlives a crash.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::EngineError;

/// Holds the state directory until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory where it is missing, and takes it.
    pub(super) fn take(directory: &Path) -> Result<Self, EngineError> {
        prepare(directory)?;
        let unusable = |problem, source| EngineError::StateDirectory {
            path: directory.to_owned(),
            problem,
            source: Some(source),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(|source| unusable("its lock file cannot be opened for writing", source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // The number is a courtesy: an unreadable one must not hide that the lock is held.
                let _ = file.read_to_string(&mut pid);
                return Err(EngineError::Locked { path: directory.to_owned(), pid: pid.trim().parse().ok() });
            }
            Err(errno) => return Err(unusable("its lock file cannot be locked", errno.into())),
        }
        // A courtesy to whoever finds it locked; a full disk must not keep the daemon from starting.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn prepare(directory: &Path) -> Result<(), EngineError> {
    let unusable =
        |problem, source| EngineError::StateDirectory { path: directory.to_owned(), problem, source };
    match DirBuilder::new().mode(0o700).create(directory) {
        // Whatever the umask took away: the owner needs all three.
        Ok(()) => {
            return fs::set_permissions(directory, Permissions::from_mode(0o700))
                .map_err(|error| unusable("its mode cannot be set", Some(error)));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(unusable(
                "the directory above it does not exist; make it with mkdir -p",
                Some(error),
            ));
        }
        Err(error) => return Err(unusable("it cannot be made", Some(error))),
    }
    let metadata = fs::metadata(directory).map_err(|error| unusable("it cannot be read", Some(error)))?;
    if !metadata.is_dir() {
        return Err(unusable("it is not a directory", None));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(unusable("others may write to it; make it private with chmod 700", None));
    }
    Ok(())
}
