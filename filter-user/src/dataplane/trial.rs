//! A generation on trial: its programs run until a time, and then those of before, whatever becomes of the controller.
//!
//! On each interface lies a small program that asks the clock and calls one of the two
//! (`filter-ebpf/src/bin/trial.rs`), and that lets a few segments of connections that are cut off meet what ran
//! before (`filter_common::trial`): it knows how long the trial takes, and of connections what it has seen, also
//! where other programs go on with it. Confirming puts the generation's own program in its place. Decides what runs
//! when the time is over: what ran when the trial began, also where the tables are replaced meanwhile; on an
//! interface that was not filtered then, nothing. Trusts the kernel's monotonic clock. Costs a packet the clock and a
//! tail call while the trial lasts, TCP what that module says, and each interface 2 MiB of kernel memory.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::{ProgramInfo, Xdp};
use aya_obj::programs::XdpAttachType;
use filter_common::abi::{FALLBACK, MAX_BLOCKED_SINCE, ON_TRIAL, TRIAL_ENDS, TRIAL_TAKES, map};
use ipnet::IpNet;
use rustix::time::{ClockId, clock_gettime};

use super::DataplaneError;
use super::link::pin_descriptor;
use super::pins::{Pins, TrialPins};
use super::program::{self, Loaded};
use super::report::InterfaceReport;
use super::values::{open_map, read_element, read_value, write_element, write_value};

/// How long after the controller's own end of a trial the programs end it: it takes the former policy, and whatever
/// lists have changed meanwhile, back in force by itself.
const GRACE: Duration = Duration::from_millis(300);
/// The end of a trial that is confirmed.
const NEVER: u64 = u64::MAX;

/// One interface's part of a trial, on no interface yet.
pub(super) struct Trial {
    loaded: Loaded,
    targets: MapData,
    pins: TrialPins,
}

impl Trial {
    /// Loads what runs `next` on trial, and pins all of it. Where that goes on with a trial, it knows of connections
    /// what that knew.
    pub(super) fn load(
        root: &Pins,
        pins: &TrialPins,
        next: &mut Loaded,
        Before { fallback, trial }: &Before,
        until: Until,
    ) -> Result<Self, DataplaneError> {
        let directory = pins.directory();
        std::fs::create_dir_all(directory).map_err(|error| root.failed("make", directory, error))?;
        let goes_on = trial.as_ref().filter(|_| matches!(until, Until::At(_)));
        let takes_ns = match (goes_on, until) {
            (Some(trial), _) => read_element(map::TRIAL_END, &trial.end(), TRIAL_TAKES)?,
            (None, until) => until.end_ns().saturating_sub(now_ns()),
        };
        let known = goes_on.unwrap_or(pins);
        let mut loaded = program::load_trial(next.takes_frags(), known)?;
        if goes_on.is_some() {
            for (name, from, path) in [
                (map::TRIAL_WATCHED, known.watched(), pins.watched()),
                (map::TRIAL_BLOCKED, known.blocked(), pins.blocked()),
            ] {
                let map = open_map(name, &from)?;
                map.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
            }
        }
        let targets = loaded.take_map(map::TRIAL_TARGETS)?;
        let wrong = || DataplaneError::map(map::TRIAL_TARGETS);
        let mut targets = ProgramArray::try_from(targets).map_err(wrong())?;
        targets.set(ON_TRIAL, &next.fd()?, 0).map_err(wrong())?;
        if let Some(fallback) = fallback.as_deref() {
            let program = Xdp::from_pin(fallback, XdpAttachType::Interface)?;
            let program = program.fd()?;
            targets.set(FALLBACK, program, 0).map_err(wrong())?;
            pin_descriptor(program.as_fd().as_raw_fd(), &pins.fallback())
                .map_err(|error| root.failed("pin", &pins.fallback(), error))?;
        }
        let end = loaded.take_map(map::TRIAL_END)?;
        let mut end = Array::<_, u64>::try_from(end).map_err(DataplaneError::map(map::TRIAL_END))?;
        for (place, time) in [(TRIAL_ENDS, until.end_ns()), (TRIAL_TAKES, takes_ns)] {
            end.set(place, time, 0).map_err(DataplaneError::map(map::TRIAL_END))?;
        }
        // Without a pin, the kernel empties an array of programs with its last descriptor.
        let path = pins.targets();
        targets.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
        let targets = open_map(map::TRIAL_TARGETS, &pins.targets())?;
        let path = pins.end();
        end.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
        loaded.pin(&pins.program())?;
        Ok(Self { loaded, targets, pins: pins.clone() })
    }

    /// What goes on the interface; the trial is to end at that time.
    pub(super) fn begin(&mut self, end_ns: u64) -> Result<&mut Loaded, DataplaneError> {
        set_end(&self.pins, Some(end_ns))?;
        Ok(&mut self.loaded)
    }

    /// What it calls. The kernel empties the array with its last pin and descriptor, and the trial would let
    /// everything pass.
    pub(super) fn into_targets(self) -> MapData {
        self.targets
    }
}

/// When a trial is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// So long after it has begun.
    After(Duration),
    /// At a time of the monotonic clock, in nanoseconds: as that of the trial before it.
    At(u64),
}

impl Until {
    /// As a time of the monotonic clock, for a trial that begins now.
    pub(super) fn end_ns(self) -> u64 {
        match self {
            Self::After(time) => now_ns().saturating_add(nanoseconds(time + GRACE)),
            Self::At(end_ns) => end_ns,
        }
    }
}

/// What runs on an interface before it gets a program.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// The pin of what runs there when its trial is over; none where nothing does.
    fallback: Option<PathBuf>,
    /// The trial that runs there.
    trial: Option<TrialPins>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

/// The clock that programs read, in nanoseconds.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// What runs on an interface. When a trial of what comes is over, that runs on, or, where it is a program on trial
/// itself, what was to run when that is over. One that was confirmed runs on.
pub(super) fn before(
    pins: &Pins,
    generations: &[u32],
    report: &InterfaceReport,
) -> Result<Before, DataplaneError> {
    let index = report.ifindex;
    for own in generations.iter().map(|number| pins.generation(*number)) {
        let (program, trial) = (own.program(index), own.trial(index));
        if is_program(&program, report.program_id) {
            return Ok(Before { fallback: Some(program), trial: None });
        }
        if is_program(&trial.program(), report.program_id) {
            let confirmed = end_of(&trial)?.is_none();
            let fallback = if confirmed { program } else { trial.fallback() };
            let fallback = fallback.exists().then_some(fallback);
            return Ok(Before { fallback, trial: (!confirmed).then_some(trial) });
        }
    }
    Err(DataplaneError::NothingBefore { index })
}

/// Whether the program pinned there has that number.
pub(super) fn is_program(path: &Path, id: u32) -> bool {
    path.exists() && ProgramInfo::from_pin(path).is_ok_and(|program| program.id() == id)
}

/// When the trial of a generation is over on an interface, in nanoseconds of the monotonic clock; none where it is
/// not on trial there, or was confirmed.
pub(super) fn end_of(pins: &TrialPins) -> Result<Option<u64>, DataplaneError> {
    let path = pins.end();
    if !path.exists() {
        return Ok(None);
    }
    read_value(map::TRIAL_END, &path).map(|end| (end != NEVER).then_some(end))
}

/// Lets a trial end then; `None` is never.
pub(super) fn set_end(pins: &TrialPins, end_ns: Option<u64>) -> Result<(), DataplaneError> {
    let path = pins.end();
    if path.exists() { write_value(map::TRIAL_END, &path, end_ns.unwrap_or(NEVER)) } else { Ok(()) }
}

/// Lets a trial hand nothing more of connections from these prefixes to what was before it; of none at all where none
/// are named, or there is no room for all that were.
pub(super) fn narrow(pins: &TrialPins, blocked: Option<&[IpNet]>) -> Result<(), DataplaneError> {
    let path = pins.end();
    if !path.exists() {
        return Ok(());
    }
    let has_room = |blocked: &[IpNet]| blocked.len() <= MAX_BLOCKED_SINCE as usize;
    if let Some(blocked) = blocked.filter(|blocked| has_room(blocked)) {
        let map = Map::LpmTrie(open_map(map::TRIAL_BLOCKED, &pins.blocked())?);
        let mut since =
            LpmTrie::<_, [u32; 4], u32>::try_from(map).map_err(DataplaneError::map(map::TRIAL_BLOCKED))?;
        if blocked.iter().all(|prefix| since.insert(&trie_key(prefix), 0, 0).is_ok()) {
            return Ok(());
        }
    }
    write_element(map::TRIAL_END, &path, TRIAL_TAKES, 0_u64)
}

fn trie_key(prefix: &IpNet) -> Key<[u32; 4]> {
    let (bits, address) = match prefix {
        IpNet::V4(prefix) => (96, prefix.network().to_ipv6_mapped()),
        IpNet::V6(prefix) => (0, prefix.network()),
    };
    let words = address.to_bits().to_be_bytes();
    let word = |at: usize| u32::from_ne_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
    Key::new(bits + u32::from(prefix.prefix_len()), [word(0), word(4), word(8), word(12)])
}

/// How much of a trial is left to its end; none where it is over.
pub(super) fn left(end_ns: u64) -> Option<Duration> {
    end_ns.checked_sub(now_ns()).filter(|left| *left > 0).map(Duration::from_nanos)
}
