//! Which file the log is.
//!
//! Decides when a change must be refused although it could be written: the file that is open is not the one at its
//! path any more, so the next start would not find what is written to it. Costs one stat. While the file is open its
//! number is not given to another one, so the two numbers tell.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::JournalError;

/// The log that is open, and where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl LogFile {
    /// The file that is open, which was made or found at `path`.
    pub(super) fn of(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// That it is in its place.
    ///
    /// # Errors
    /// [`JournalError::Displaced`].
    pub fn check(&self) -> Result<(), JournalError> {
        let displaced = |what| Err(JournalError::Displaced { path: self.path.clone(), what });
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => displaced("was replaced by another file".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => displaced("was removed".to_owned()),
            Err(error) => displaced(format!("cannot be found any more ({error})")),
        }
    }
}
