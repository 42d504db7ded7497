//! What a controller makes of the pins that it finds.
//!
//! Decides what may be adopted, before anything is changed: what the map beside the pins vouches for or, where that is
//! missing, what runs programs of this build. Trusts of the rest what the kernel says of the links.

use super::generation::Generation;
use super::pins::Pins;
use super::report::{InterfaceReport, link_state, report, runs};
use super::swap::note_generation;
use super::values::read_meta;
use super::{Dataplane, DataplaneError, netlink, recovery};

/// What runs, without what was taken off or has lost its interface. Refuses what another ABI version made, and what
/// nothing tells the version of.
pub(super) fn adoptable(pins: &Pins) -> Result<Vec<InterfaceReport>, DataplaneError> {
    let is_vouched_for = read_meta(pins)?.is_some();
    let here = netlink::interfaces()?;
    let mut adopted = Vec::new();
    for index in pins.interfaces()? {
        let interface = pins.interface(index);
        if !interface.link().exists() {
            continue;
        }
        let link = link_state(&interface.link())?;
        if link.ifindex == 0 {
            continue;
        }
        if !is_vouched_for && recovery::loaded_with(link.program_id)?.is_none() {
            return Err(DataplaneError::Unrecoverable { path: pins.meta() });
        }
        adopted.push(report(&interface, index, &here)?);
    }
    Ok(adopted)
}

impl Dataplane {
    /// The generation in force, if it is that of every interface. It is not after a swap that could neither be done nor
    /// taken back, or where somebody has removed its pins.
    pub(super) fn generation_of_all(&self) -> Result<Option<&Generation>, DataplaneError> {
        let Some(generation) = &self.generation else { return Ok(None) };
        let interfaces = if self.lock.is_some() { self.interfaces()? } else { Vec::new() };
        let all = interfaces.iter().all(|report| runs(&self.pins, generation.number, report));
        Ok(all.then_some(generation))
    }

    /// Finishes the swap that an earlier controller was killed in, once its generation is seen to be the right one.
    pub(super) fn finish_swap(&self) -> Result<(), DataplaneError> {
        if let Some(number) = self.generation_number().filter(|_| self.lock.is_some()) {
            note_generation(&self.pins, number, self.pins.interfaces()?.into_iter());
        }
        self.remove_other_generations();
        Ok(())
    }

    /// Whether this controller's program is on an interface.
    pub(super) fn filters(&self) -> Result<bool, DataplaneError> {
        Ok(self.lock.is_some() && !self.interfaces()?.is_empty())
    }

    /// The oldest generation that an interface runs: the one in force, or, where a crash in a swap left interfaces
    /// with different ones, that of before. None where no interface runs one.
    pub(super) fn oldest_running(&self) -> Result<Option<Generation>, DataplaneError> {
        let reports = self.interfaces()?;
        let Some(first) = reports.first() else { return Ok(None) };
        let of = |number| reports.iter().find(|report| runs(&self.pins, number, report));
        let oldest = self.pins.generations()?.into_iter().find_map(|number| Some((number, of(number)?)));
        let (number, report) = oldest.unwrap_or((first.generation, first));
        let generation = Generation::adopt(&self.pins, number, report.program_id)?;
        // Not none: what nobody can read must not be taken for an empty list.
        let path = self.pins.generation(number).geometry();
        generation.map(Some).ok_or(DataplaneError::Unrecoverable { path })
    }
}
