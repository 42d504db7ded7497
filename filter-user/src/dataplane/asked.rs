//! The program that notes what leaves an interface, and what it notes: there while a policy asks (`unasked`).
//!
//! Decides where it has to be: on each interface that is filtered, before a generation that asks comes in force, until none
//! that is pinned does. It sits at the head of the interface's tcx egress hook, so no other program there keeps packets from
//! it, and lets all of them go on. Its link is pinned beside the interface's own. Trusts no pin to be in place: each second it
//! is seen to ([`Dataplane::look_after`]), so a link that somebody removed is back then. Notes are of the installation, as an
//! answer may come by another interface than the question left by.

use std::path::Path;

use aya::EbpfLoader;
use aya::maps::{Array, MapData};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use filter_common::abi::{ASKED_PROGRAM, map};
use filter_common::policy::asked::{WATCHED_WORDS, watched_bit};
use filter_common::policy::tables::PolicyTables;

use super::link::Link;
use super::pins::Pins;
use super::program::{load_error, program_error};
use super::report::InterfaceReport;
use super::values::open_map;
use super::{Dataplane, DataplaneError};
use crate::object;

/// First kernel with tcx links, which outlive their maker when pinned.
const KERNEL_LEAST: KernelVersion = KernelVersion::new(6, 6, 0);

/// Refuses a policy that asks, on a kernel where nothing can be noted.
///
/// # Errors
/// [`DataplaneError::KernelTooOld`].
pub fn require_kernel() -> Result<(), DataplaneError> {
    let kernel = KernelVersion::current().map_err(|error| DataplaneError::Netlink(error.to_string()))?;
    if kernel >= KERNEL_LEAST {
        return Ok(());
    }
    let feature = "the match `unasked`";
    Err(DataplaneError::KernelTooOld { found: format!("{kernel:?}"), needed: "6.6", feature })
}

/// Sees to it that what leaves these interfaces is noted, as the policy wants. Maps must be pinned.
pub(super) fn ensure<'a>(
    pins: &Pins,
    policy: &PolicyTables,
    interfaces: impl Iterator<Item = (u32, &'a str)>,
) -> Result<(), DataplaneError> {
    if !policy.asks() {
        return Ok(());
    }
    require_kernel()?;
    watch(&pins.watched(), &policy.watched)?;
    for (index, name) in interfaces {
        if !is_there(&pins.interface(index).asked()) {
            attach(pins, index, name)?;
        }
    }
    Ok(())
}

/// Has answers from these ports known, beside those that are already.
fn watch(path: &Path, ports: &[(u32, u32)]) -> Result<(), DataplaneError> {
    let failed = DataplaneError::map(map::WATCHED);
    let map: MapData = open_map(map::WATCHED, path)?;
    let mut map =
        Array::<_, u64>::try_from(aya::maps::Map::Array(map)).map_err(DataplaneError::map(map::WATCHED))?;
    let mut wanted = vec![0; WATCHED_WORDS as usize];
    for port in ports.iter().flat_map(|(low, high)| *low..=*high).filter_map(|port| u16::try_from(port).ok())
    {
        let (word, bit) = watched_bit(port);
        wanted[word as usize] |= bit;
    }
    let set = (0..).zip(wanted).filter(|(_, bits)| *bits != 0).try_for_each(|(word, bits)| {
        let known = map.get(&word, 0)?;
        if known & bits == bits { Ok(()) } else { map.set(word, known | bits, 0) }
    });
    set.map_err(failed)
}

/// Whether the link pinned there is on its interface.
pub(super) fn is_there(path: &Path) -> bool {
    path.exists() && Link::open(path).and_then(|link| link.state()).is_ok_and(|state| state.ifindex != 0)
}

fn attach(pins: &Pins, index: u32, name: &str) -> Result<(), DataplaneError> {
    let (asked, hosts, watched) = (pins.asked(), pins.asked_hosts(), pins.watched());
    let mut loader = EbpfLoader::new();
    loader
        .map_pin_path(map::ASKED, &asked)
        .map_pin_path(map::ASKED_HOSTS, &hosts)
        .map_pin_path(map::WATCHED, &watched);
    let mut ebpf = loader.load(object::ASKED).map_err(load_error)?;
    let program = ebpf.program_mut(ASKED_PROGRAM).ok_or(ProgramError::NotLoaded)?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load().map_err(program_error)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(name, TcAttachType::Egress, options).map_err(program_error)?;
    let link = FdLink::try_from(program.take_link(id)?)
        .map_err(|source| DataplaneError::Link { name: name.to_owned(), source })?;
    // What is pinned there is of no use, or it would not be attached.
    remove(pins, index)?;
    let path = pins.interface(index).asked();
    link.pin(&path).map(drop).map_err(|source| DataplaneError::Pin { path, source })
}

/// Takes it off an interface.
pub(super) fn remove(pins: &Pins, index: u32) -> Result<(), DataplaneError> {
    let path = pins.interface(index).asked();
    if !path.exists() {
        return Ok(());
    }
    Link::open(&path)
        .and_then(|link| link.detach())
        .and_then(|()| std::fs::remove_file(&path))
        .map_err(|error| pins.failed("detach", &path, error))
}

impl Dataplane {
    /// Sees to it that what leaves is noted where the generation in force asks, and nowhere if none that is pinned does: one
    /// that is on trial may give way to one that asks.
    pub(super) fn see_to_notes(&self) -> Result<(), DataplaneError> {
        let Some(generation) = &self.generation else { return Ok(()) };
        let policy = match &generation.policy {
            Some(policy) if policy.asks() => policy,
            None if generation.geometry.policy_lines > 0 => return Ok(()),
            _ => {
                let is_alone = self.pins.generations()?.iter().all(|number| *number == generation.number);
                let wanted = !is_alone || self.trial_end()?.is_some();
                return if wanted { Ok(()) } else { self.forget_notes() };
            }
        };
        let reports = self.interfaces()?;
        let missing = reports.iter().filter(|report| !is_there(&self.pins.interface(report.ifindex).asked()));
        let missing: Vec<&InterfaceReport> = missing.filter(|report| report.name.is_some()).collect();
        if missing.is_empty() && self.pins.watched().exists() {
            return Ok(());
        }
        super::program::pin_shared_maps(&self.pins, generation)?;
        let named = missing.iter().filter_map(|report| Some((report.ifindex, report.name.as_deref()?)));
        ensure(&self.pins, policy, named)?;
        for report in missing {
            tracing::warn!(interface = report.attached_as, "what leaves it was not noted, and is again");
        }
        Ok(())
    }

    fn forget_notes(&self) -> Result<(), DataplaneError> {
        for index in self.pins.interfaces()? {
            remove(&self.pins, index)?;
        }
        self.pins.remove_notes()
    }
}
