//! What the controller holds of each interface, so that it can tell when the filter was taken off it, and pin again what
//! somebody unpinned.
//!
//! The link is held open: without its pin it would go with its last user, and the filter with it. Counters are held, as
//! they are the evidence. A look costs a system call and some path look-ups an interface, and asks the kernel nothing
//! about other interfaces. Only what is lost for good is reported as lost; an interface in another network namespace
//! still has its link.

use std::path::PathBuf;

use aya::maps::MapData;
use filter_common::abi::{InterfaceMeta, map};
use tracing::warn;

use super::link::{Link, LinkState};
use super::pins::{InterfacePins, Pins};
use super::recovery::open_map_of;
use super::report::{self, name_of, running};
use super::trial::is_program;
use super::values::pin_value;
use super::{Dataplane, DataplaneError, netlink, program};

/// Something is wrong with an interface that was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The name that it was attached by.
    pub name: String,
    /// What.
    pub what: TroubleKind,
}

/// What can be wrong with an interface that was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// The interface is there, and its link was told to let go.
    Detached,
    /// The interface was removed.
    Removed,
    /// It is filtered, but its pins were removed and cannot be made again, for this reason.
    Unpinned(String),
}

/// One interface's objects.
#[derive(Debug)]
pub(super) struct Held {
    link: Link,
    counters: MapData,
    set_counters: MapData,
    meta: InterfaceMeta,
    /// Why it could not be pinned again.
    unpinned: Option<String>,
}

impl Held {
    /// What is pinned there for the interface of that index; what is not, as the program has it.
    pub(super) fn open(pins: &InterfacePins, index: u32) -> Result<Self, DataplaneError> {
        let path = pins.link();
        let failed = |source| DataplaneError::Pins { action: "open", path: path.clone(), source };
        let link = Link::open(&path).map_err(failed)?;
        let program_id = link.state().map_err(failed)?.program_id;
        let here = netlink::interfaces()?;
        let name = running(&here, program_id).map(|(interface, _)| interface.name.as_str());
        Ok(Self {
            counters: open_map_of(map::COUNTERS, &pins.counters(), program_id)?,
            set_counters: open_map_of(map::SET_COUNTERS, &pins.set_counters(), program_id)?,
            meta: report::meta(pins, index, program_id, name)?,
            link,
            unpinned: None,
        })
    }

    fn name(&self) -> String {
        name_of(&self.meta)
    }

    fn state(&self) -> Result<LinkState, DataplaneError> {
        let failed =
            |source| DataplaneError::Pins { action: "look at the link of", path: self.name().into(), source };
        self.link.state().map_err(failed)
    }
}

impl Dataplane {
    /// Looks whether every interface still has the filter, and pins again what somebody unpinned. Tells what has gone
    /// wrong since the last look.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn look_after(&mut self) -> Result<Vec<Trouble>, DataplaneError> {
        self.change_secret();
        let mut trouble = self.pin_again();
        if self.lock.is_some() {
            self.rely_on_connections();
        }
        if self.lock.is_some()
            && let Err(error) = self.see_to_notes()
        {
            warn!(%error, "cannot see to it that what leaves is noted");
        }
        if self.lock.is_some()
            && let Err(error) = self.see_to_own_addresses()
        {
            warn!(%error, "cannot see to it that programs know the addresses of this host");
        }
        let mut lost = Vec::new();
        for (index, held) in &self.held {
            if held.state()?.ifindex == 0 {
                lost.push(*index);
            }
        }
        if lost.is_empty() {
            return Ok(trouble);
        }
        let here = netlink::interfaces()?;
        for index in lost {
            let is_here = here.iter().any(|interface| interface.index == index);
            let what = if is_here { TroubleKind::Detached } else { TroubleKind::Removed };
            trouble.extend(self.held.remove(&index).map(|held| Trouble { name: held.name(), what }));
        }
        Ok(trouble)
    }

    /// Holds what is pinned for the interface of that index.
    pub(super) fn hold(&mut self, index: u32) -> Result<(), DataplaneError> {
        let held = Held::open(&self.pins.interface(index), index)?;
        self.held.insert(index, held);
        Ok(())
    }

    /// Lets go of an interface whose pins are about to go. Where they are gone already, this takes the filter off.
    pub(super) fn release(&mut self, index: u32) {
        if let Some(held) = self.held.remove(&index)
            && let Err(error) = held.link.detach()
        {
            warn!(interface = held.name(), %error, "cannot detach the link that is held");
        }
    }

    /// The programs that interfaces run, by index.
    pub(super) fn held_programs(&self) -> Result<Vec<(u32, u32)>, DataplaneError> {
        self.held.iter().map(|(index, held)| Ok((*index, held.state()?.program_id))).collect()
    }

    /// The index of an interface that is held under that name.
    pub(super) fn held_as(&self, name: &str) -> Option<u32> {
        self.held.iter().find(|(_, held)| held.name() == name).map(|(index, _)| *index)
    }

    /// Pins again what somebody unpinned while it filters. Tells once that it cannot be; it filters all the same.
    pub(super) fn pin_again(&mut self) -> Vec<Trouble> {
        let mut trouble = Vec::new();
        let indexes: Vec<u32> = self.held.keys().copied().collect();
        for index in indexes {
            let Some(held) = self.held.get(&index) else { continue };
            let is_attached = held.state().is_ok_and(|state| state.ifindex != 0);
            if !is_attached || self.is_whole(index) {
                continue;
            }
            let (name, is_told) = (held.name(), held.unpinned.is_some());
            let why = self.pin_held(index).err().map(|error| error.to_string());
            if let Some(held) = self.held.get_mut(&index) {
                held.unpinned.clone_from(&why);
            }
            match why {
                None => {
                    warn!(interface = name, "its pins were removed; it still filtered, and is pinned again");
                }
                Some(why) if !is_told => trouble.push(Trouble { name, what: TroubleKind::Unpinned(why) }),
                Some(_) => {}
            }
        }
        trouble
    }

    /// Whether an interface runs a program that is held, and only held.
    pub(super) fn unpinned(&self, name: &str, program_id: u32) -> Option<DataplaneError> {
        let runs = |held: &&Held| held.state().is_ok_and(|state| state.program_id == program_id);
        let why = self.held.values().find(runs)?.unpinned.clone()?;
        Some(DataplaneError::Unpinned { name: name.to_owned(), why })
    }

    /// Whether everything is pinned that another controller would need.
    fn is_whole(&self, index: u32) -> bool {
        let pins = self.pins.interface(index);
        let own = [pins.link(), pins.counters(), pins.set_counters(), pins.meta(), self.pins.meta()];
        let generation = self.generation().map(|generation| self.pins.generation(generation.number));
        let shared = generation.map(|pins| [pins.lines(), pins.geometry(), pins.program(index)]);
        let all: Vec<PathBuf> = own.into_iter().chain(shared.into_iter().flatten()).collect();
        all.iter().all(|path| path.exists())
    }

    /// Pins what of the interfaces is not pinned, whatever they run.
    pub(super) fn pin_all_held(&mut self) -> Result<(), DataplaneError> {
        let missing: Vec<u32> = self.held.keys().copied().filter(|index| !self.is_whole(*index)).collect();
        missing.into_iter().try_for_each(|index| self.pin_held(index))
    }

    fn pin_held(&mut self, index: u32) -> Result<(), DataplaneError> {
        self.ensure_pinned()?;
        let Some(held) = self.held.get(&index) else { return Ok(()) };
        let pins = self.pins.interface(index);
        make_directory(&self.pins, &pins)?;
        for (map, path) in [(&held.counters, pins.counters()), (&held.set_counters, pins.set_counters())] {
            if !path.exists() {
                map.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
            }
        }
        if !pins.meta().exists() {
            let generation = self.generation().map_or(held.meta.generation, |generation| generation.number);
            let meta = InterfaceMeta { generation, ..held.meta };
            pin_value(map::INTERFACE, &pins.meta(), meta)?;
        }
        if !pins.link().exists() {
            let failed = |error| self.pins.failed("pin", &pins.link(), error);
            held.link.pin(&pins.link()).map_err(failed)?;
        }
        let Some(generation) = self.generation() else { return Ok(()) };
        // The program that runs may be of an earlier generation, if the tables were replaced meanwhile.
        let program = self.pins.generation(generation.number).program(index);
        let running = held.state()?.program_id;
        let trial = self.pins.generation(generation.number).trial(index).program();
        if is_program(&program, running) || is_program(&trial, running) {
            return Ok(());
        }
        if program.exists() {
            std::fs::remove_file(&program).map_err(|error| self.pins.failed("unpin", &program, error))?;
        }
        let name = name_of(&held.meta);
        program::pin_shared_maps(&self.pins, generation)?;
        let mut loaded = program::load(&self.pins, generation, &pins, (&name, held.meta.switches), false)?;
        loaded.pin(&program)?;
        loaded.replace_on(&pins.link())
    }
}

fn make_directory(root: &Pins, pins: &InterfacePins) -> Result<(), DataplaneError> {
    std::fs::create_dir_all(pins.directory()).map_err(|error| root.failed("make", pins.directory(), error))
}
