//! Where a dataplane is pinned, and who may touch it.
//!
//! ```text
//! <root>/LEVEE_META                       what made it
//! <root>/BANS, <root>/SAMPLES             where a policy has rules
//! <root>/ASKED, ASKED_HOSTS, WATCHED      where a policy asks what has left
//! <root>/lent                             for moments: the lines of a twin that is made
//! <root>/SYN_GATES, SYN_SECRETS, VERIFIED where it defends services
//! <root>/generations/<number>/            LINES, LEVEE_GEOMETRY, LEVEE_POLICY, BUCKETS, and a program for each interface by its index
//! <root>/generations/<number>/trial-<ifindex>/    program, fallback, TRIAL_END, TRIAL_TARGETS, TRIAL_WATCHED, TRIAL_BLOCKED: while it is on trial
//! <root>/interfaces/<ifindex>/            link, COUNTERS, SET_COUNTERS, RULE_COUNTERS, INTERFACE; asked where a policy asks
//! ```
//!
//! Interfaces go by index, since bpffs takes no dots in a name. `link` is pinned last and unpinned first, so a
//! directory without one is what a crash left of an attach or a detach, and no program runs for it. The program that a
//! link runs tells which generation is in force; the others are what a crash left of a swap. The root exists only
//! while something is attached; whoever changes anything below it holds a lock on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use filter_common::abi::map;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;

use super::link::{Link, is_defunct};
use super::{DataplaneError, asked};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Name of the pin by which a twin's loader opens its lines.
const LENT: &str = "lent";

/// A pin for the moment that a loader takes to open a map.
pub(super) struct Lent<'a> {
    pins: &'a Pins,
    path: PathBuf,
}

impl Lent<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.pins.remove_lent() {
            tracing::warn!(%error, "cannot remove the pin that a twin's tables were opened by");
        }
    }
}

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

    pub(super) fn bans(&self) -> PathBuf {
        self.root.join(map::BANS)
    }

    pub(super) fn samples(&self) -> PathBuf {
        self.root.join(map::SAMPLES)
    }

    pub(super) fn asked(&self) -> PathBuf {
        self.root.join(map::ASKED)
    }

    pub(super) fn asked_hosts(&self) -> PathBuf {
        self.root.join(map::ASKED_HOSTS)
    }

    pub(super) fn watched(&self) -> PathBuf {
        self.root.join(map::WATCHED)
    }

    pub(super) fn claimed(&self) -> PathBuf {
        self.root.join(map::CLAIMED)
    }

    pub(super) fn own_addresses(&self) -> PathBuf {
        self.root.join(map::OWN_ADDRESSES)
    }

    pub(super) fn syn_gates(&self) -> PathBuf {
        self.root.join(map::SYN_GATES)
    }

    pub(super) fn syn_secrets(&self) -> PathBuf {
        self.root.join(map::SYN_SECRETS)
    }

    pub(super) fn verified(&self) -> PathBuf {
        self.root.join(map::VERIFIED)
    }

    /// Maps that all interfaces share beside the notes of what has left, which are there where a policy wanted them.
    fn shared(&self) -> [PathBuf; 7] {
        [
            self.bans(),
            self.samples(),
            self.claimed(),
            self.own_addresses(),
            self.syn_gates(),
            self.syn_secrets(),
            self.verified(),
        ]
    }

    pub(super) fn generation(&self, number: u32) -> GenerationPins {
        GenerationPins { directory: self.root.join("generations").join(number.to_string()) }
    }

    /// Numbers of the generations that have a directory, whole or not.
    pub(super) fn generations(&self) -> Result<Vec<u32>, DataplaneError> {
        numbers(&self.root.join("generations"))
    }

    /// Removes a generation's pins. A program that still runs goes on: its link holds it.
    pub(super) fn remove_generation(&self, number: u32) -> Result<(), DataplaneError> {
        self.remove_all(&self.generation(number).directory)
    }

    pub(super) fn interface(&self, index: u32) -> InterfacePins {
        InterfacePins { directory: self.root.join("interfaces").join(index.to_string()) }
    }

    /// Indexes of the interfaces that have a directory, attached or not.
    pub(super) fn interfaces(&self) -> Result<Vec<u32>, DataplaneError> {
        numbers(&self.root.join("interfaces"))
    }

    /// Refuses a root that is not on a BPF file system.
    pub(super) fn check_bpffs(&self) -> Result<(), DataplaneError> {
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).map_err(|errno| self.failed("look at", existing, errno.into()))?;
        if u64::try_from(kind.f_type).is_ok_and(|magic| magic & 0xffff_ffff == BPF_FS_MAGIC) {
            return Ok(());
        }
        let standard = Path::new("/sys/fs/bpf");
        // Never a directory that may have other things in it: these would be hidden.
        let mount = if self.root.starts_with(standard) { standard } else { &self.root };
        let make = if mount.exists() { String::new() } else { format!("mkdir -p {} && ", mount.display()) };
        let remedy = format!("{make}mount -t bpf bpf {}", mount.display());
        Err(DataplaneError::NoBpffs { path: self.root.clone(), remedy })
    }

    /// Makes the root and takes its lock, then makes the directories below it.
    pub(super) fn create(&self) -> Result<Lock, DataplaneError> {
        fs::create_dir_all(&self.root).map_err(|error| self.failed("make", &self.root, error))?;
        let lock = self.lock()?;
        for directory in [self.root.join("generations"), self.root.join("interfaces")] {
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

    /// The process that holds the lock, as far as the kernel tells. Takes nothing, so it is in nobody's way.
    pub(super) fn holder(&self) -> Option<u32> {
        let root = fs::metadata(&self.root).ok()?;
        let (major, minor) = (rustix::fs::major(root.dev()), rustix::fs::minor(root.dev()));
        let file = format!("{major:02x}:{minor:02x}:{}", root.ino());
        let locks = fs::read_to_string("/proc/locks").ok()?;
        // `1: FLOCK  ADVISORY  WRITE 4711 00:2d:1234 0 EOF`
        locks.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, "WRITE", pid, of, ..] = words.as_slice() else { return None };
            (*of == file).then(|| pid.parse().ok())?
        })
    }

    /// Whether anything is there.
    pub(super) fn exist(&self) -> Result<bool, DataplaneError> {
        Ok(!self.entries()?.is_empty())
    }

    /// Pins a map for as long as the value lives. The root is there meanwhile, also while nothing is attached.
    pub(super) fn lend(&self, map: &MapData) -> Result<Lent<'_>, DataplaneError> {
        self.check_bpffs()?;
        fs::create_dir_all(&self.root).map_err(|error| self.failed("make", &self.root, error))?;
        let path = self.root.join(LENT);
        if path.exists() {
            self.remove_file(&path)?;
        }
        map.pin(&path).map_err(|source| DataplaneError::Pin { path: path.clone(), source })?;
        Ok(Lent { pins: self, path })
    }

    /// Removes what was pinned so, and the root where nothing else is in it.
    pub(super) fn remove_lent(&self) -> Result<(), DataplaneError> {
        let path = self.root.join(LENT);
        if path.exists() {
            self.remove_file(&path)?;
        }
        if self.exist()? { Ok(()) } else { self.remove_directory(&self.root) }
    }

    /// Refuses a root with entries that Levee does not make.
    pub(super) fn check_entries(&self) -> Result<(), DataplaneError> {
        // Tables are those of ABI version 1: its version says more than a word about files.
        let known = [
            map::META,
            map::ASKED,
            map::ASKED_HOSTS,
            map::WATCHED,
            LENT,
            "generations",
            "interfaces",
            "tables",
        ];
        let shared = self.shared();
        let is_known = |name: &str| known.contains(&name) || shared.iter().any(|path| path.ends_with(name));
        match self.entries()?.into_iter().find(|name| !is_known(name)) {
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
        for directory in ["tables", "generations"] {
            self.remove_all(&self.root.join(directory))?;
        }
        self.remove_notes()?;
        for file in self.shared().into_iter().chain([self.meta()]) {
            if file.exists() {
                self.remove_file(&file)?;
            }
        }
        for directory in [self.root.join("interfaces"), self.root.clone()] {
            self.remove_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes the notes of what has left.
    pub(super) fn remove_notes(&self) -> Result<(), DataplaneError> {
        let notes = [self.asked(), self.asked_hosts(), self.watched()];
        notes.iter().filter(|path| path.exists()).try_for_each(|path| self.remove_file(path))
    }

    /// Removes one interface's pins, its link first: with it, the program leaves the interface.
    pub(super) fn remove_interface(&self, index: u32) -> Result<(), DataplaneError> {
        let pins = self.interface(index);
        if pins.link().exists() {
            Link::open(&pins.link())
                .and_then(|link| link.detach())
                .map_err(|error| self.failed("detach", &pins.link(), error))?;
            self.remove_file(&pins.link())?;
        }
        asked::remove(self, index)?;
        for number in self.generations()? {
            let program = self.generation(number).program(index);
            if program.exists() {
                self.remove_file(&program)?;
            }
            self.remove_all(&self.generation(number).trial(index).directory)?;
        }
        self.remove_all(&pins.directory)
    }

    /// Removes what a generation needed while it was on trial on an interface.
    pub(super) fn remove_trial(&self, generation: u32, index: u32) -> Result<(), DataplaneError> {
        self.remove_all(&self.generation(generation).trial(index).directory)
    }

    /// An error about a path below this root; a refusal for lack of rights says what would help.
    pub(super) fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> DataplaneError {
        if source.kind() == io::ErrorKind::PermissionDenied {
            return DataplaneError::NotPermitted { action: "reading the pinned dataplane", source };
        }
        DataplaneError::Pins { action, path: path.to_owned(), source }
    }

    /// Removes a directory with all pins in it and below it; none is fine.
    fn remove_all(&self, directory: &Path) -> Result<(), DataplaneError> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", directory, error))
            }
            _ => Ok(()),
        }
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

    pub(super) fn counters(&self) -> PathBuf {
        self.directory.join(map::COUNTERS)
    }

    pub(super) fn set_counters(&self) -> PathBuf {
        self.directory.join(map::SET_COUNTERS)
    }

    pub(super) fn rule_counters(&self) -> PathBuf {
        self.directory.join(map::RULE_COUNTERS)
    }

    pub(super) fn meta(&self) -> PathBuf {
        self.directory.join(map::INTERFACE)
    }

    /// The link of the program that notes what leaves, where a policy asks.
    pub(super) fn asked(&self) -> PathBuf {
        self.directory.join("asked")
    }
}

/// Paths of one generation.
#[derive(Clone, Debug)]
pub(super) struct GenerationPins {
    directory: PathBuf,
}

impl GenerationPins {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lines(&self) -> PathBuf {
        self.directory.join(map::LINES)
    }

    pub(super) fn geometry(&self) -> PathBuf {
        self.directory.join(map::GEOMETRY)
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.directory.join(map::POLICY)
    }

    pub(super) fn buckets(&self) -> PathBuf {
        self.directory.join(map::BUCKETS)
    }

    /// The program that was loaded for the interface of that index.
    pub(super) fn program(&self, index: u32) -> PathBuf {
        self.directory.join(index.to_string())
    }

    /// What runs that program on trial.
    pub(super) fn trial(&self, index: u32) -> TrialPins {
        TrialPins { directory: self.directory.join(format!("trial-{index}")) }
    }
}

/// Paths of a trial on one interface.
#[derive(Clone, Debug)]
pub(super) struct TrialPins {
    directory: PathBuf,
}

impl TrialPins {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The program that is on the interface meanwhile.
    pub(super) fn program(&self) -> PathBuf {
        self.directory.join("program")
    }

    /// The program that runs when the trial is over; none where nothing ran before.
    pub(super) fn fallback(&self) -> PathBuf {
        self.directory.join("fallback")
    }

    pub(super) fn end(&self) -> PathBuf {
        self.directory.join(map::TRIAL_END)
    }

    pub(super) fn targets(&self) -> PathBuf {
        self.directory.join(map::TRIAL_TARGETS)
    }

    pub(super) fn watched(&self) -> PathBuf {
        self.directory.join(map::TRIAL_WATCHED)
    }

    pub(super) fn blocked(&self) -> PathBuf {
        self.directory.join(map::TRIAL_BLOCKED)
    }
}

/// Numbers among the names in a directory, ascending.
fn numbers(path: &Path) -> Result<Vec<u32>, DataplaneError> {
    let mut numbers: Vec<u32> = list(path)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
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
