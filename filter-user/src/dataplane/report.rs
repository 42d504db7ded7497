//! What runs on which interface, read from the pins and from the kernel; changes nothing.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aya::maps::{MapData, MapError, PerCpuArray, PerCpuValues};
use filter_common::abi::{InterfaceMeta, PROGRAM_FRAGS, SET_SLOTS, map};
use filter_common::config::Switches;
use filter_common::counters::{Counter, Counters, RuleCounter};

use super::link::{Link, LinkState};
use super::netlink::{self, Interface};
use super::pins::{InterfacePins, Pins};
use super::recovery::{self, open_counters_of};
use super::trial::is_program;
use super::values::read_value;
use super::{DataplaneError, asked};
use crate::interface::InterfaceMode;
use crate::tables::SetId;

/// Where the interface is that a program was put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this network namespace.
    Here,
    /// In another network namespace, where its packets still meet the program.
    Elsewhere,
    /// It was removed, or the program was taken off it by somebody else: nothing meets the program any more.
    Gone,
}

/// What runs on one interface.
#[derive(Clone, Debug)]
pub struct InterfaceReport {
    /// Its name now; none when it is not here.
    pub name: Option<String>,
    /// Where it is.
    pub place: Place,
    /// Its name when it was attached.
    pub attached_as: String,
    /// Its index when it was attached.
    pub ifindex: u32,
    /// The mode in force, as the kernel reports it; none when the program is not on the hook any more.
    pub mode: Option<InterfaceMode>,
    /// Id of the program, as in `bpftool prog`.
    pub program_id: u32,
    /// Id of the link, as in `bpftool link`.
    pub link_id: u32,
    /// The generation of tables that it runs with.
    pub generation: u32,
    /// Whether the program takes frames in several buffers.
    pub frags: bool,
    /// Whether what leaves it is noted, as a policy with `unasked` wants.
    pub notes: bool,
    /// The switches it was loaded with.
    pub switches: Switches,
    /// When it was attached.
    pub attached_at: SystemTime,
    /// Packets and bytes by reason, summed over CPUs, since it was attached.
    pub counters: Counters,
}

/// An interface with what each set number dropped there, read at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What runs there, and its counters.
    pub report: InterfaceReport,
    /// By set number; that of 0 is what numbers dropped before they were given to another set.
    pub dropped: Vec<Counter>,
}

impl InterfaceReport {
    /// That it runs otherwise than this: in what.
    pub(super) fn differs(&self, mode: InterfaceMode, switches: Switches) -> DataplaneError {
        let named = |name: &str, is_on: u32, on: &str, off: &str| {
            format!("{name} {}", if is_on == 0 { off } else { on })
        };
        let words = |mode: Option<InterfaceMode>, switches: Switches| {
            [
                format!("mode {}", mode.map_or("unknown", InterfaceMode::name)),
                named("bad-tcp-flags", switches.bad_tcp_flags, "checked", "not checked"),
                named("bogon-source", switches.bogon_source, "checked", "not checked"),
                named("fragments", switches.drop_fragments, "dropped", "passed"),
            ]
        };
        let (running, asked) = (words(self.mode, self.switches), words(Some(mode), switches));
        let other = running.into_iter().zip(asked).filter(|(running, asked)| running != asked);
        let (running, asked): (Vec<_>, Vec<_>) = other.unzip();
        DataplaneError::AttachedOtherwise {
            name: self.name.clone().unwrap_or_else(|| self.attached_as.clone()),
            running: running.join(", "),
            asked: asked.join(", "),
        }
    }
}

pub(super) fn reports(pins: &Pins) -> Result<Vec<InterfaceReport>, DataplaneError> {
    let here = netlink::interfaces()?;
    pins.interfaces()?
        .into_iter()
        .filter(|index| pins.interface(*index).link().exists())
        .map(|index| {
            let mut report = report(&pins.interface(index), index, &here)?;
            if report.generation == UNKNOWN {
                let numbers = pins.generations()?;
                let of = numbers.into_iter().find(|number| runs(pins, *number, &report));
                report.generation = of.unwrap_or(UNKNOWN);
            }
            Ok(report)
        })
        .collect()
}

pub(super) fn report(
    pins: &InterfacePins,
    ifindex: u32,
    here: &[Interface],
) -> Result<InterfaceReport, DataplaneError> {
    let link = link_state(&pins.link())?;
    let running = running(here, link.program_id);
    let place = match (running, link.ifindex) {
        (Some(_), _) => Place::Here,
        (None, 0) => Place::Gone,
        (None, _) => Place::Elsewhere,
    };
    let name = running.map(|(interface, _)| interface.name.clone());
    let meta = meta(pins, ifindex, link.program_id, name.as_deref())?;
    Ok(InterfaceReport {
        name,
        place,
        attached_as: name_of(&meta),
        ifindex,
        mode: running.map(|(_, mode)| mode),
        program_id: link.program_id,
        link_id: link.id,
        generation: meta.generation,
        frags: meta.frags != 0,
        notes: asked::is_there(&pins.asked()),
        switches: meta.switches,
        attached_at: SystemTime::UNIX_EPOCH + Duration::from_secs(meta.attached_at_s),
        counters: read_counters(pins, link.program_id)?,
    })
}

/// The number that no generation has: which one it is, is not pinned any more.
const UNKNOWN: u32 = 0;

/// What lies beside an interface's pins, or, where that is missing, what its program tells of it.
pub(super) fn meta(
    pins: &InterfacePins,
    ifindex: u32,
    program_id: u32,
    name: Option<&str>,
) -> Result<InterfaceMeta, DataplaneError> {
    let path = pins.meta();
    if path.exists() {
        return read_value(map::INTERFACE, &path);
    }
    let loaded = recovery::loaded_with(program_id)?.ok_or(DataplaneError::Unrecoverable { path })?;
    let program = recovery::program(program_id)?;
    let unnamed = || format!("if{ifindex}");
    Ok(InterfaceMeta {
        switches: loaded.switches,
        generation: UNKNOWN,
        frags: u32::from(program.name_as_str() == Some(PROGRAM_FRAGS)),
        attached_at_s: program.loaded_at().map_or(0, seconds),
        name: padded(&name.map_or_else(unnamed, str::to_owned)),
    })
}

/// A name as the kernel stores it; the kernel allows at most 15 bytes.
pub(super) fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes().take(15)).for_each(|(to, from)| *to = from);
    bytes
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The interface whose hook the program is on, and its mode. A program is loaded for one interface, so there is one.
pub(super) fn running(here: &[Interface], program_id: u32) -> Option<(&Interface, InterfaceMode)> {
    here.iter().find_map(|interface| {
        let attached = interface.xdp.iter().find(|attached| attached.id == program_id)?;
        Some((interface, attached.mode))
    })
}

/// Id of the program that a pinned link holds; none without a link.
pub(super) fn program_on(pins: &InterfacePins) -> Result<Option<u32>, DataplaneError> {
    let link = pins.link();
    if link.exists() { Ok(Some(link_state(&link)?.program_id)) } else { Ok(None) }
}

/// The generation whose programs these interfaces run; none where they run those of different ones.
pub(super) fn generation_of(pins: &Pins, reports: &[InterfaceReport]) -> Result<Option<u32>, DataplaneError> {
    let mut numbers = pins.generations()?.into_iter();
    Ok(numbers.find(|number| reports.iter().all(|report| runs(pins, *number, report))))
}

/// Whether an interface runs the program of that generation, be it on trial.
pub(super) fn runs(pins: &Pins, generation: u32, report: &InterfaceReport) -> bool {
    let pins = pins.generation(generation);
    is_program(&pins.program(report.ifindex), report.program_id)
        || is_program(&pins.trial(report.ifindex).program(), report.program_id)
}

/// The name that an interface was attached by.
pub(super) fn name_of(meta: &InterfaceMeta) -> String {
    String::from_utf8_lossy(&meta.name).trim_end_matches('\0').to_owned()
}

fn not_readable(path: &Path, source: io::Error) -> DataplaneError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return DataplaneError::NotPermitted { action: "reading the pinned dataplane", source };
    }
    DataplaneError::Pins { action: "look at", path: path.to_owned(), source }
}

pub(super) fn link_state(path: &Path) -> Result<LinkState, DataplaneError> {
    Link::open(path).and_then(|link| link.state()).map_err(|source| not_readable(path, source))
}

fn read_counters(pins: &InterfacePins, program_id: u32) -> Result<Counters, DataplaneError> {
    let map = open_counters_of::<Counters>(map::COUNTERS, &pins.counters(), program_id)?;
    let values = map.get(&0, 0).map_err(DataplaneError::map(map::COUNTERS))?;
    let mut total = Counters::default();
    values.iter().for_each(|counters| total.add(counters));
    Ok(total)
}

type SetCounters = PerCpuArray<MapData, Counter>;

/// The number that no set has: what others dropped before they were given away is kept under it.
const FORMER: SetId = 0;

fn set_counters(pins: &InterfacePins) -> Result<SetCounters, DataplaneError> {
    let path = pins.set_counters();
    // A link is there wherever something runs; counters can be pinned without.
    let program_id = if path.exists() { 0 } else { link_state(&pins.link())?.program_id };
    open_counters_of(map::SET_COUNTERS, &path, program_id)
}

/// What each set number dropped on one interface, summed over CPUs. Costs a system call a number, about a millisecond
/// in all.
pub(super) fn read_set_counters(pins: &InterfacePins) -> Result<Vec<Counter>, DataplaneError> {
    let map = set_counters(pins)?;
    let read = |set: SetId| {
        let mut total = Counter::default();
        let cpus = map.get(&set, 0).map_err(DataplaneError::map(map::SET_COUNTERS))?;
        cpus.iter().for_each(|counter| total.add(*counter));
        Ok(total)
    };
    (0..SET_SLOTS).map(read).collect()
}

/// Lets a set number's counters begin at zero; no program counts there now. What it has counted is kept with what
/// other numbers had before, so that the sum over all stays.
pub(super) fn clear_set_counter(pins: &InterfacePins, set: SetId) -> Result<(), DataplaneError> {
    let error = || DataplaneError::map(map::SET_COUNTERS);
    let mut map = set_counters(pins)?;
    let (mut former, gone) =
        (map.get(&FORMER, 0).map_err(error())?.to_vec(), map.get(&set, 0).map_err(error())?);
    if gone.iter().all(|counter| *counter == Counter::default()) {
        return Ok(());
    }
    former.iter_mut().zip(gone.iter()).for_each(|(former, gone)| former.add(*gone));
    let zero = vec![Counter::default(); gone.len()];
    for (set, values) in [(FORMER, former), (set, zero)] {
        let values = PerCpuValues::try_from(values).map_err(|source| error()(MapError::IoError(source)))?;
        map.set(set, values, 0).map_err(error())?;
    }
    Ok(())
}

/// What the rules with these numbers of counters counted on one interface, summed over CPUs; zeros where no rule ever ran
/// there. Costs a system call a rule.
pub(super) fn read_rule_counters(
    pins: &InterfacePins,
    slots: &[u32],
) -> Result<Vec<RuleCounter>, DataplaneError> {
    let Some(map) = rule_counters(pins)? else { return Ok(vec![RuleCounter::default(); slots.len()]) };
    let read = |slot: &u32| {
        let mut total = RuleCounter::default();
        let cpus = map.get(slot, 0).map_err(DataplaneError::map(map::RULE_COUNTERS))?;
        cpus.iter().for_each(|counter| total.add(*counter));
        Ok(total)
    };
    slots.iter().map(read).collect()
}

/// Lets the counters of these numbers begin at zero; no program counts there now.
pub(super) fn clear_rule_counters(pins: &InterfacePins, slots: &[u32]) -> Result<(), DataplaneError> {
    let error = || DataplaneError::map(map::RULE_COUNTERS);
    let Some(mut map) = rule_counters(pins)? else { return Ok(()) };
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| error()(MapError::IoError(source)))?;
    for slot in slots {
        let zero = PerCpuValues::try_from(vec![RuleCounter::default(); cpus])
            .map_err(|source| error()(MapError::IoError(source)))?;
        map.set(*slot, zero, 0).map_err(error())?;
    }
    Ok(())
}

fn rule_counters(pins: &InterfacePins) -> Result<Option<PerCpuArray<MapData, RuleCounter>>, DataplaneError> {
    let path = pins.rule_counters();
    if path.exists() { open_counters_of(map::RULE_COUNTERS, &path, 0).map(Some) } else { Ok(None) }
}

pub(super) fn names(reports: &[InterfaceReport]) -> Vec<String> {
    let name = |report: &InterfaceReport| {
        report.name.clone().unwrap_or_else(|| format!("(interface {})", report.ifindex))
    };
    reports.iter().map(name).collect()
}
