//! The dataplane as the controller sees it: load, attach, pin, adopt, count, detach. The only module that talks to
//! aya.
//!
//! Decides when a program may go on an interface (see [`DataplaneError`] for every refusal) and what a controller may
//! adopt. Trusts the kernel, and of the pin directory only what carries Levee's magic and this build's ABI version.
//!
//! Everything that runs is pinned ([`pins`]), so it outlives this process; [`Dataplane`] holds links open only to notice
//! what others do to them ([`watch`]), and dropping it changes nothing. Calls block (system calls, and up to a second for the verifier).

mod adoption;
mod asked;
mod bans;
mod clock;
mod connections;
mod error;
mod events;
mod generation;
mod kernel_tables;
mod link;
mod mapping;
mod netlink;
mod own;
mod parallel;
mod pins;
mod policy;
mod program;
mod recovery;
mod report;
mod samples;
mod secrets;
mod swap;
pub mod syncookies;
mod trial;
mod twin;
mod values;
mod watch;
mod without_controller;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use aya::programs::ProgramInfo;
use filter_common::abi::{ABI_VERSION, InterfaceMeta, META_MAGIC, Meta, map};
use filter_common::config::Switches;
use netlink_packet_route::link::LinkLayerType;

pub use asked::require_kernel as require_kernel_that_notes;
pub use bans::Ban;
pub use clock::Clock;
pub use error::DataplaneError;
pub use events::LinkEvents;
pub use kernel_tables::KernelTables;
pub use own::forwarded;
pub use report::{InterfaceReport, Place, Reading};
pub use samples::{Listener, Sample, Samples, interface_names};
pub use twin::{At, Judged, MAX_FRAME, Said, Twin, TwinMaps, TwinParts, TwinReading, TwinState};
pub use watch::{Trouble, TroubleKind};
pub use without_controller::{Inspected, inspect, remove};

use self::adoption::adoptable;
use self::generation::Generation;
use self::netlink::Interface;
use self::pins::{InterfacePins, Lock, Pins};
use self::report::{
    clear_set_counter, generation_of, names, padded, read_set_counters, report, reports, seconds,
};
use self::secrets::Changed;
use self::values::pin_value;
use self::watch::Held;
use crate::interface::InterfaceMode;
use crate::tables::SetId;

/// The kernel's index of an interface of this network namespace; none where there is none of that name.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    netlink::interface(name).ok().map(|interface| interface.index)
}

/// The right to change a dataplane.
pub struct Dataplane {
    pins: Pins,
    /// What the interfaces run with, or will: none before the first tables.
    generation: Option<Generation>,
    /// What is held of each interface, by its index.
    held: BTreeMap<u32, Held>,
    lock: Option<Lock>,
    secret: Changed,
}

impl Dataplane {
    /// Adopts what is pinned at `bpffs`. Pins nothing.
    ///
    /// # Errors
    /// Refuses what another controller owns, what another ABI version made, what is not Levee's, and a directory that
    /// is not on a BPF file system.
    pub fn open(bpffs: &Path) -> Result<(Self, Vec<InterfaceReport>), DataplaneError> {
        let pins = Pins::new(bpffs);
        pins.check_bpffs()?;
        let none = |pins| {
            Ok((
                Self { pins, generation: None, held: BTreeMap::new(), lock: None, secret: Changed::now() },
                Vec::new(),
            ))
        };
        if !pins.exist()? {
            return none(pins);
        }
        let lock = pins.lock()?;
        pins.check_entries()?;
        // What a crash left of a twin; the root goes with it where nothing else was there.
        pins.remove_lent()?;
        if !pins.exist()? {
            return none(pins);
        }
        // Whatever keeps it from being adopted is to be known before anything is removed.
        let adopted = adoptable(&pins)?;
        pins.remove_defunct()?;
        if pins.interfaces()?.is_empty() {
            // Nothing filters here: what a crash left before the first attach or after the last detach.
            pins.remove_shared()?;
            return none(pins);
        }
        let generation = match (generation_of(&pins, &adopted)?, adopted.first()) {
            (Some(number), Some(report)) => Generation::adopt(&pins, number, report.program_id)?,
            _ => None,
        };
        let (held, secret) = (BTreeMap::new(), Changed::now());
        let mut dataplane = Self { pins, generation, held, lock: Some(lock), secret };
        for report in &adopted {
            dataplane.hold(report.ifindex)?;
        }
        Ok((dataplane, adopted))
    }

    /// The generation in force; none when there are no tables yet, or when a crash in a swap left interfaces with
    /// different ones.
    const fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    fn generation_number(&self) -> Option<u32> {
        self.generation.as_ref().map(|generation| generation.number)
    }

    /// A number that no generation has.
    fn next_generation(&self) -> Result<u32, DataplaneError> {
        let pinned = self.pins.generations()?.into_iter().max();
        Ok(pinned.max(self.generation_number()).map_or(1, |number| number.wrapping_add(1)))
    }

    const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes note of the generation that is in force now; returns the one before.
    const fn install(&mut self, generation: Generation) -> Option<Generation> {
        self.generation.replace(generation)
    }

    /// What runs where, of what this controller may change: nothing where another one has pinned there meanwhile. What
    /// an interface that is gone has left is removed first.
    fn own_interfaces(&mut self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        if self.generation.is_none() {
            // The next programs count in the maps that are pinned, and make those that are not.
            self.pin_all_held()?;
        }
        if self.lock.is_some()
            && let Err(error) = self.remove_unused()
        {
            tracing::warn!(%error, "cannot remove the pins of interfaces that are gone");
        }
        if self.lock.is_some() { self.interfaces() } else { Ok(Vec::new()) }
    }

    /// Unpins every generation but the one in force.
    fn remove_other_generations(&self) {
        if self.lock.is_none() {
            return;
        }
        let removed = self.pins.generations().and_then(|numbers| {
            let others = numbers.into_iter().filter(|number| Some(*number) != self.generation_number());
            others.map(|number| self.pins.remove_generation(number)).collect::<Result<Vec<()>, _>>()
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove tables that are not in force any more");
        }
    }

    /// Lets the counters of a set number begin at zero, on every interface.
    fn clear_set_counters(&self, set: SetId) -> Result<(), DataplaneError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let clear = |index| clear_set_counter(&self.pins.interface(index), set);
        self.pins.interfaces()?.into_iter().try_for_each(clear)
    }

    /// What runs where, with what each set number dropped there.
    ///
    /// # Errors
    /// When pins cannot be read or the kernel does not answer.
    pub fn readings(&self) -> Result<Vec<Reading>, DataplaneError> {
        let read = |report: InterfaceReport| {
            let dropped = read_set_counters(&self.pins.interface(report.ifindex))?;
            Ok(Reading { report, dropped })
        };
        self.interfaces()?.into_iter().map(read).collect()
    }

    /// Puts the filter on an interface; where it already runs so, reports that.
    ///
    /// # Errors
    /// See [`DataplaneError`]; the interface is then as it was.
    pub fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        self.check_owner()?;
        self.pin_again();
        let interface = netlink::interface(name)?;
        check_link_type(&interface, switches)?;
        if let Some(running) = self.running_on(&interface)? {
            let same = running.mode == Some(mode) && running.switches == switches;
            return if same { Ok(running) } else { Err(running.differs(mode, switches)) };
        }
        if let Some(other) = interface.xdp.first() {
            if let Some(unpinned) = self.unpinned(name, other.id) {
                return Err(unpinned);
            }
            return Err(DataplaneError::Occupied {
                name: name.to_owned(),
                program: program_name(other.id),
                program_id: other.id,
                mode: other.mode.to_string(),
            });
        }
        if let Some(other) = self.interfaces()?.into_iter().find(|other| other.ifindex == interface.index) {
            return Err(DataplaneError::IndexTaken { name: name.to_owned(), other: other.attached_as });
        }
        self.ensure_pinned()?;
        let pins = self.pins.interface(interface.index);
        let attached = self.attach_pinned(&interface, &pins, mode, switches);
        if attached.is_err()
            && let Err(error) = self.remove_leftovers(interface.index)
        {
            // What the caller wants to know is why attaching failed.
            tracing::warn!(interface = name, %error, "cannot remove the pins of a failed attach");
        }
        let attached = attached?;
        self.hold(attached.ifindex)?;
        Ok(attached)
    }

    /// Takes the filter off an interface, and the last pins with the last interface.
    ///
    /// # Errors
    /// When Levee is not there, or the kernel refuses.
    pub fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        self.check_owner()?;
        let held = self.held_as(name);
        match self.index_of(name).or_else(|error| held.ok_or(error)) {
            Ok(index) => self.remove_leftovers(index),
            Err(error) => {
                // It may have been there until the interface was removed.
                self.remove_unused()?;
                Err(error)
            }
        }
    }

    /// Takes the filter off every interface and removes all pins; names them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError> {
        self.check_owner()?;
        self.pin_again();
        let names = names(&self.interfaces()?);
        let held: Vec<u32> = self.held.keys().copied().collect();
        for index in held {
            self.release(index);
        }
        for index in self.pins.interfaces()? {
            self.pins.remove_interface(index)?;
        }
        self.remove_unused()?;
        Ok(names)
    }

    /// What runs where.
    ///
    /// # Errors
    /// When pins cannot be read or the kernel does not answer.
    pub fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        reports(&self.pins)
    }

    /// Refuses pins that came after [`Dataplane::open`] found none: their tables are not the ones held here, so what
    /// is changed here would change nothing that filters.
    fn check_owner(&self) -> Result<(), DataplaneError> {
        if self.lock.is_some() || !self.pins.exist()? {
            return Ok(());
        }
        let _lock = self.pins.lock()?;
        Err(DataplaneError::MadeMeanwhile { path: self.pins.root().to_owned() })
    }

    /// Levee's program on this interface, if it runs there. Found by the program, since an interface that went to
    /// another network namespace and came back may have another index than it was attached under.
    fn running_on(&self, interface: &Interface) -> Result<Option<InterfaceReport>, DataplaneError> {
        self.pins.remove_defunct()?;
        Ok(self.interfaces()?.into_iter().find(|report| report.name.as_deref() == Some(&interface.name)))
    }

    /// The index that the interface is pinned under: by its name now, else by the name that it was attached by.
    fn index_of(&self, name: &str) -> Result<u32, DataplaneError> {
        let reports = self.interfaces()?;
        let now = reports.iter().find(|report| report.name.as_deref() == Some(name));
        let then = || reports.iter().find(|report| report.name.is_none() && report.attached_as == name);
        match now.or_else(then) {
            Some(report) => Ok(report.ifindex),
            None => netlink::interface(name)
                .and_then(|_| Err(DataplaneError::NotAttached { name: name.to_owned() })),
        }
    }

    /// Makes sure that what is pinned is what is held here, and that the lock is.
    fn ensure_pinned(&mut self) -> Result<(), DataplaneError> {
        if !self.pins.exist()? {
            // Nothing is left to hold a lock on, should somebody have removed it all by hand.
            self.lock = None;
        }
        self.pins.check_bpffs()?;
        let had_lock = self.lock.is_some();
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.pins.create()?,
        };
        match self.pin_shared() {
            Ok(()) => {
                self.lock = Some(lock);
                Ok(())
            }
            Err(error) if had_lock => {
                self.lock = Some(lock);
                Err(error)
            }
            Err(error) => {
                if let Err(error) = self.pins.remove_shared() {
                    tracing::warn!(%error, "cannot remove the pins of a failed attach");
                }
                Err(error)
            }
        }
    }

    /// Pins the generation in force.
    fn pin_shared(&self) -> Result<(), DataplaneError> {
        if let Some(generation) = &self.generation {
            generation.pin(&self.pins, &self.pins.generation(generation.number))?;
        }
        if self.pins.meta().exists() {
            return Ok(());
        }
        // Last, as it vouches for the rest.
        pin_value(map::META, &self.pins.meta(), Meta { magic: META_MAGIC, abi_version: ABI_VERSION })
    }

    fn attach_pinned(
        &self,
        interface: &Interface,
        pins: &InterfacePins,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        let generation = self.generation.as_ref().ok_or(DataplaneError::NoTables)?;
        std::fs::create_dir_all(pins.directory())
            .map_err(|error| self.pins.failed("make", pins.directory(), error))?;
        program::pin_shared_maps(&self.pins, generation)?;
        let mut loaded = program::load(&self.pins, generation, pins, (&interface.name, switches), false)?;
        loaded.pin(&self.pins.generation(generation.number).program(interface.index))?;
        let meta = InterfaceMeta {
            switches,
            generation: generation.number,
            frags: u32::from(loaded.takes_frags()),
            attached_at_s: seconds(SystemTime::now()),
            name: padded(&interface.name),
        };
        pin_value(map::INTERFACE, &pins.meta(), meta)?;
        if let Some(policy) = &generation.policy {
            asked::ensure(&self.pins, policy, std::iter::once((interface.index, &*interface.name)))?;
            own::ensure(&self.pins, policy)?;
        }
        let link = loaded.attach(&interface.name, interface.index, mode)?;
        let path = pins.link();
        link.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
        report(pins, interface.index, &netlink::interfaces()?)
    }

    /// Removes an interface's pins, and the shared ones when it was the last.
    fn remove_leftovers(&mut self, index: u32) -> Result<(), DataplaneError> {
        self.release(index);
        self.pins.remove_interface(index)?;
        self.remove_unused()
    }

    /// Removes interfaces that are gone, and the shared pins when none is left.
    fn remove_unused(&mut self) -> Result<(), DataplaneError> {
        self.pins.remove_defunct()?;
        if self.lock.is_some() && self.pins.interfaces()?.is_empty() {
            self.pins.remove_shared()?;
            self.lock = None;
        }
        Ok(())
    }
}

fn check_link_type(interface: &Interface, switches: Switches) -> Result<(), DataplaneError> {
    let name = interface.name.clone();
    match interface.link_type {
        LinkLayerType::Ether => Ok(()),
        LinkLayerType::Loopback if switches.bogon_source == 0 => Ok(()),
        LinkLayerType::Loopback => Err(DataplaneError::Loopback { name }),
        other => Err(DataplaneError::NotEthernet { name, link_type: format!("{other:?}").to_lowercase() }),
    }
}

/// The name of a program that is not ours; its id says the rest.
fn program_name(id: u32) -> String {
    let program = aya::programs::loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    let name = program.as_ref().and_then(ProgramInfo::name_as_str).filter(|name| !name.is_empty());
    name.unwrap_or("unnamed").to_owned()
}
