//! From one generation to the next: a program for each interface is loaded beside the one that runs, then each link
//! gets its new program in one step.
//!
//! Decides: a swap is done on every interface or taken back on all. Loading takes the time (the verifier's), and
//! changes nothing that filters; swapping is one system call an interface.

use super::DataplaneError;
use super::generation::Generation;
use super::pins::Pins;
use super::program::{self, Loaded};
use super::report::InterfaceReport;
use super::values::{read_value, write_value};
use filter_common::abi::{InterfaceMeta, map};

/// A generation whose programs are loaded, and run nowhere yet. Dropped without [`Self::swap`], it leaves nothing.
pub(super) struct Prepared<'a> {
    pins: &'a Pins,
    generation: &'a Generation,
    programs: Vec<(u32, Loaded)>,
    swapped: bool,
}

impl<'a> Prepared<'a> {
    /// Pins the generation and loads its program for each of these interfaces, all at once where there are CPUs.
    pub(super) fn load(
        pins: &'a Pins,
        generation: &'a Generation,
        interfaces: &[InterfaceReport],
    ) -> Result<Self, DataplaneError> {
        let mut prepared = Self { pins, generation, programs: Vec::new(), swapped: false };
        if interfaces.is_empty() {
            return Ok(prepared);
        }
        generation.pin(pins, &pins.generation(generation.number))?;
        let load = |report: &InterfaceReport| {
            let mut loaded =
                program::load(pins, generation, &pins.interface(report.ifindex), report.switches)?;
            loaded.pin(&pins.generation(generation.number).program(report.ifindex))?;
            Ok((report.ifindex, loaded))
        };
        let loaded: Vec<Result<_, DataplaneError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = interfaces.iter().map(|report| scope.spawn(move || load(report))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        prepared.programs = loaded.into_iter().collect::<Result<_, _>>()?;
        Ok(prepared)
    }

    /// Puts the programs in force. `before` names the generation that runs, for the way back.
    pub(super) fn swap(mut self, before: Option<u32>) -> Result<(), DataplaneError> {
        let pins = self.pins;
        for turn in 0..self.programs.len() {
            let (index, loaded) = &mut self.programs[turn];
            let Err(error) = loaded.replace_on(&pins.interface(*index).link()) else { continue };
            if let Some(before) = before {
                for (index, _) in &self.programs[..turn] {
                    let old = pins.generation(before).program(*index);
                    if let Err(error) = program::put_back(&old, &pins.interface(*index).link()) {
                        tracing::error!(interface = index, %error, "cannot put the former tables back in force");
                        // What runs there must stay pinned.
                        self.swapped = true;
                    }
                }
            }
            return Err(error);
        }
        self.swapped = true;
        note_generation(pins, self.generation.number, self.programs.iter().map(|(index, _)| *index));
        Ok(())
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.swapped
            && let Err(error) = self.pins.remove_generation(self.generation.number)
        {
            tracing::warn!(%error, "cannot remove the pins of tables that were not put in force");
        }
    }
}

/// Puts an earlier generation, which is still pinned, back in force on these interfaces.
pub(super) fn swap_back(
    pins: &Pins,
    generation: u32,
    interfaces: &[InterfaceReport],
) -> Result<(), DataplaneError> {
    for report in interfaces {
        let pinned = pins.generation(generation).program(report.ifindex);
        let interface = pins.interface(report.ifindex);
        program::put_back(&pinned, &interface.link())?;
    }
    note_generation(pins, generation, interfaces.iter().map(|report| report.ifindex));
    Ok(())
}

/// Writes beside the pins of interfaces which generation they run. It is for reading only, so a failure is a warning.
pub(super) fn note_generation(pins: &Pins, generation: u32, interfaces: impl Iterator<Item = u32>) {
    for index in interfaces {
        let path = pins.interface(index).meta();
        let noted = read_value::<InterfaceMeta>(map::INTERFACE, &path)
            .and_then(|meta| write_value(map::INTERFACE, &path, InterfaceMeta { generation, ..meta }));
        if let Err(error) = noted {
            tracing::warn!(interface = index, %error, "cannot note the generation of an interface");
        }
    }
}
