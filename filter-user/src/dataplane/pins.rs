//! Where a dataplane is pinned, and who may touch it.
//!
//! ```text
//! <root>/LEVEE_META               what made it, and for how many prefixes
//! <root>/tables/<MAP>             the prefix tables, shared by all interfaces
//! <root>/interfaces/<ifindex>/    link, program, COUNTERS, INTERFACE
//! ```
//!
//! Interfaces go by index, since bpffs takes no dots in a name. `link` is pinned last and unpinned first, so a
//! directory without one is what a crash left of an attach or a detach, and no program runs for it. The root exists
//! only while something is attached; whoever changes anything below it holds a lock on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use filter_common::abi::map;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;

use super::DataplaneError;
use super::link::{detach, is_defunct};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Paths below one pin directory.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

/// The exclusive right to change a pin directory; ends with the value or the process.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Pins {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn meta(&self) -> PathBuf {
        self.root.join(map::META)
    }

    pub(super) fn table(&self, name: &str) -> PathBuf {
        self.root.join("tables").join(name)
    }

    pub(super) fn interface(&self, index: u32) -> InterfacePins {
        InterfacePins { directory: self.root.join("interfaces").join(index.to_string()) }
    }

    /// Indexes of the interfaces that have a directory, attached or not.
    pub(super) fn interfaces(&self) -> Result<Vec<u32>, DataplaneError> {
        let path = self.root.join("interfaces");
        let mut indexes: Vec<u32> = list(&path)?.iter().filter_map(|name| name.parse().ok()).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    /// Refuses a root that is not on a BPF file system.
    pub(super) fn check_bpffs(&self) -> Result<(), DataplaneError> {
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).map_err(|errno| self.failed("look at", existing, errno.into()))?;
        if u64::try_from(kind.f_type).is_ok_and(|magic| magic & 0xffff_ffff == BPF_FS_MAGIC) {
            return Ok(());
        }
        let standard = Path::new("/sys/fs/bpf");
        let mount =
            if self.root.starts_with(standard) { standard } else { self.root.parent().unwrap_or(&self.root) };
        Err(DataplaneError::NoBpffs { path: self.root.clone(), mount: mount.to_owned() })
    }

    /// Makes the root and takes its lock, then makes the directories below it.
    pub(super) fn create(&self) -> Result<Lock, DataplaneError> {
        fs::create_dir_all(&self.root).map_err(|error| self.failed("make", &self.root, error))?;
        let lock = self.lock()?;
        for directory in [self.root.join("tables"), self.root.join("interfaces")] {
            fs::create_dir_all(&directory).map_err(|error| self.failed("make", &directory, error))?;
        }
        Ok(lock)
    }

    /// Takes the lock of an existing root.
    pub(super) fn lock(&self) -> Result<Lock, DataplaneError> {
        let failed = |error| self.failed("lock", &self.root, error);
        loop {
            let directory = File::open(&self.root).map_err(failed)?;
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(DataplaneError::Busy { path: self.root.clone() }),
                Err(errno) => return Err(failed(errno.into())),
            }
            // Between opening and locking, its holder may have removed it and another may have made it anew: the lock
            // of a directory that is gone keeps nobody out.
            let (held, now) = (directory.metadata().map_err(failed)?, fs::metadata(&self.root));
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino())) {
                return Ok(Lock(directory));
            }
        }
    }

    /// Whether anything is there.
    pub(super) fn exist(&self) -> Result<bool, DataplaneError> {
        Ok(!self.entries()?.is_empty())
    }

    /// Refuses a root with entries that Levee does not make.
    pub(super) fn check_entries(&self) -> Result<(), DataplaneError> {
        let known = [map::META, "tables", "interfaces"];
        match self.entries()?.into_iter().find(|name| !known.contains(&name.as_str())) {
            Some(what) => Err(DataplaneError::ForeignPins { path: self.root.clone(), what }),
            None => Ok(()),
        }
    }

    /// Names in the root, without those that the kernel itself puts into each new BPF file system.
    fn entries(&self) -> Result<Vec<String>, DataplaneError> {
        let mut names = list(&self.root)?;
        names.retain(|name| name != "maps.debug" && name != "progs.debug");
        Ok(names)
    }

    /// Removes interfaces whose link a crash left out, or whose link has lost its interface for good.
    pub(super) fn remove_defunct(&self) -> Result<(), DataplaneError> {
        for index in self.interfaces()? {
            let link = self.interface(index).link();
            let gone =
                !link.exists() || is_defunct(&link).map_err(|error| self.failed("look at", &link, error))?;
            if gone {
                self.remove_interface(index)?;
            }
        }
        Ok(())
    }

    /// Removes the shared pins and the directories; the last interface must be gone.
    pub(super) fn remove_shared(&self) -> Result<(), DataplaneError> {
        for name in list(&self.root.join("tables"))? {
            self.remove_file(&self.table(&name))?;
        }
        if self.meta().exists() {
            self.remove_file(&self.meta())?;
        }
        for directory in [self.root.join("tables"), self.root.join("interfaces"), self.root.clone()] {
            self.remove_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes one interface's pins, its link first: with it, the program leaves the interface.
    pub(super) fn remove_interface(&self, index: u32) -> Result<(), DataplaneError> {
        let pins = self.interface(index);
        if pins.link().exists() {
            detach(&pins.link()).map_err(|error| self.failed("detach", &pins.link(), error))?;
            self.remove_file(&pins.link())?;
        }
        for name in list(&pins.directory)? {
            self.remove_file(&pins.directory.join(name))?;
        }
        self.remove_directory(&pins.directory)
    }

    /// An error about a path below this root; a refusal for lack of rights says what would help.
    pub(super) fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> DataplaneError {
        if source.kind() == io::ErrorKind::PermissionDenied {
            return DataplaneError::NotPermitted { action: "reading the pinned dataplane", source };
        }
        DataplaneError::Pins { action, path: path.to_owned(), source }
    }

    fn remove_file(&self, path: &Path) -> Result<(), DataplaneError> {
        fs::remove_file(path).map_err(|error| self.failed("unpin", path, error))
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DataplaneError> {
        match fs::remove_dir(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // The root of a BPF file system that is mounted right there stays, with what the kernel put into it.
            Err(error)
                if path == self.root
                    && matches!(
                        error.kind(),
                        io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                    )
                    && self.entries()?.is_empty() =>
            {
                Ok(())
            }
            Err(error) => Err(self.failed("remove", path, error)),
        }
    }
}

/// Paths of one interface.
#[derive(Clone, Debug)]
pub(super) struct InterfacePins {
    directory: PathBuf,
}

impl InterfacePins {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn link(&self) -> PathBuf {
        self.directory.join("link")
    }

    pub(super) fn program(&self) -> PathBuf {
        self.directory.join("program")
    }

    pub(super) fn counters(&self) -> PathBuf {
        self.directory.join(map::COUNTERS)
    }

    pub(super) fn meta(&self) -> PathBuf {
        self.directory.join(map::INTERFACE)
    }
}

/// Names in a directory; none when it does not exist.
fn list(path: &Path) -> Result<Vec<String>, DataplaneError> {
    let failed = |error| Pins::new(path).failed("list", path, error);
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(failed))
        .collect()
}
