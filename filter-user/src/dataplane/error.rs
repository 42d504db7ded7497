//! What can go wrong between Levee and the kernel, each with what to do about it.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

use crate::interface::InterfaceMode;
use crate::object::ObjectError;

/// The dataplane could not be opened, changed or read; nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// No such interface in this network namespace.
    #[error("there is no interface `{name}` here; `ip -br link` lists those that there are")]
    UnknownInterface {
        /// As given.
        name: String,
    },
    /// The interface carries no Ethernet frames.
    #[error(
        "{name} does not carry Ethernet frames (link type {link_type}), which is all that Levee parses; \
         attach to the interface under it"
    )]
    NotEthernet {
        /// The interface.
        name: String,
        /// What it carries, as the kernel names it.
        link_type: String,
    },
    /// A loopback interface, where every source is a loopback address.
    #[error(
        "{name} is a loopback interface, where every packet is its own destination's; attach with `--skip-check bogon-source`"
    )]
    Loopback {
        /// The interface.
        name: String,
    },
    /// Another program holds the hook.
    #[error(
        "{name} already runs an XDP program that is not Levee's: `{program}` (id {program_id}, {mode} mode); \
         take it off first, with the tool that put it there (another levee: `levee detach {name}` with its --socket or \
         --bpffs; `bpftool net` and `bpftool link` tell more)"
    )]
    Occupied {
        /// The interface.
        name: String,
        /// Name of the other program.
        program: String,
        /// Its id.
        program_id: u32,
        /// Its mode, as the kernel reports it.
        mode: String,
    },
    /// Levee runs there, but otherwise.
    #[error("{name} is attached already, with {running}, not with {asked}; `levee detach {name}` first")]
    AttachedOtherwise {
        /// The interface.
        name: String,
        /// What of it is otherwise, as it runs.
        running: String,
        /// The same, as it was asked for.
        asked: String,
    },
    /// It runs there, but no other controller could find it.
    #[error(
        "its pins were removed and cannot be made again ({why}), so it is filtered only as long as this process runs"
    )]
    Unpinned {
        /// The interface.
        name: String,
        /// What keeps it from being pinned.
        why: String,
    },
    /// Its pins would have the place of another's.
    #[error(
        "{name} has the index that {other} had, which is in another network namespace now and still filtered; `levee detach {other}` first"
    )]
    IndexTaken {
        /// The interface.
        name: String,
        /// The one elsewhere, by the name that it was attached by.
        other: String,
    },
    /// The interface cannot run a program in that mode.
    #[error("{name} cannot run an XDP program in {mode} mode: {source}; {hint}")]
    ModeRefused {
        /// The interface.
        name: String,
        /// The mode asked for.
        mode: InterfaceMode,
        /// What to do.
        hint: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Levee is not attached there.
    #[error("Levee is not attached to {name}; `levee status` shows where it is")]
    NotAttached {
        /// The interface.
        name: String,
    },
    /// An interface is to be attached before there are tables.
    #[error("there are no prefix tables yet")]
    NoTables,
    /// What an interface ran before is not pinned any more, so it cannot be put back.
    #[error("what interface {index} filtered by before is not pinned any more")]
    NothingBefore {
        /// Of the interface.
        index: u32,
    },
    /// A program that was asked about a packet did not say what becomes of it.
    #[error("the program ran and decided nothing: an error of Levee's own")]
    Undecided,
    /// No BPF file system to pin in.
    #[error(
        "{path} is not on a BPF file system, so nothing could outlive the controller; mount one: `{remedy}`"
    )]
    NoBpffs {
        /// Where the pins were to go.
        path: PathBuf,
        /// The command that mounts one.
        remedy: String,
    },
    /// The pinned dataplane was made by another Levee.
    #[error(
        "the dataplane pinned at {path} speaks ABI version {found}, this levee speaks {expected}: run the levee that \
         made it, or remove it with `levee detach --all`"
    )]
    AbiMismatch {
        /// The pin directory.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version of this build.
        expected: u32,
    },
    /// A pin is missing, and the program that runs does not tell what it held.
    #[error(
        "the pin {path} is missing, and the program that runs was made by another build, so this levee cannot tell what \
         it held: start the levee that made it, or take the filter off with `levee detach --all` and attach it again"
    )]
    Unrecoverable {
        /// The pin.
        path: PathBuf,
    },
    /// Something in the pin directory is not Levee's.
    #[error("{path} holds something that is not Levee's ({what}); choose another directory with --bpffs")]
    ForeignPins {
        /// The pin directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another controller owns the pins.
    #[error("another levee owns the dataplane at {path}; only one controller may run on it")]
    Busy {
        /// The pin directory.
        path: PathBuf,
    },
    /// Another controller made pins after this one found none, and has ended.
    #[error(
        "another levee made a dataplane at {path} since this one started, and has ended; start this one again to \
         adopt it"
    )]
    MadeMeanwhile {
        /// The pin directory.
        path: PathBuf,
    },
    /// The caller lacks the right.
    #[error("{action} needs root (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON): run it with sudo")]
    NotPermitted {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers")]
    Random {
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The kernel is too old.
    #[error("this kernel ({found}) is too old: Levee needs {needed} or later for {feature}")]
    KernelTooOld {
        /// This kernel.
        found: String,
        /// The first that will do.
        needed: &'static str,
        /// What it is needed for.
        feature: &'static str,
    },
    /// A file system call on the pins failed.
    #[error("cannot {action} {path}: {source}")]
    Pins {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A BPF object could not be pinned.
    #[error("cannot pin {path}: {source}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: PinError,
    },
    /// The embedded object could not be made for one program.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The program could not be loaded.
    #[error("the kernel did not take Levee's program: {source}")]
    Load {
        /// What it said, with the verifier's log.
        source: EbpfError,
    },
    /// The program could not be verified or attached.
    #[error("the kernel did not take Levee's program: {source}")]
    Program {
        /// What it said, with the verifier's log.
        #[from]
        source: ProgramError,
    },
    /// A map call failed.
    #[error("cannot use the map {name}: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A link call failed.
    #[error("cannot use the link of {name}: {source}")]
    Link {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: LinkError,
    },
    /// The kernel did not answer about its interfaces.
    #[error("cannot ask the kernel about its interfaces: {0}")]
    Netlink(String),
}

impl DataplaneError {
    /// A map error on the map of that name.
    pub(super) fn map(name: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { name, source }
    }
}
