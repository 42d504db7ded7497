//! From one generation to the next: a program for each interface is loaded beside the one that runs, then each link
//! gets its new program in one step.
//!
//! Decides: a swap is done on every interface or taken back on all. An interface that was removed meanwhile counts for
//! nothing: its pins go, and the others go on. Where a link can neither go on nor back, the interfaces are divided; then
//! both generations stay pinned, and the error says which interface runs the new one. Loading takes the time (the
//! verifier's), and changes nothing that filters; swapping is one system call an interface.

use std::path::PathBuf;

use aya::maps::MapData;
use filter_common::abi::{InterfaceMeta, map};

use super::generation::Generation;
use super::pins::Pins;
use super::program::{self, Loaded};
use super::report::{InterfaceReport, runs};
use super::trial::{self, Trial, Until, is_program};
use super::values::{read_value, write_value};
use super::{DataplaneError, asked, connections, own, parallel};

/// A generation whose programs are loaded, and run nowhere yet. Dropped without [`Self::swap`], it leaves nothing.
pub(super) struct Prepared<'a> {
    pins: &'a Pins,
    generation: &'a Generation,
    programs: Vec<Ready>,
    on_trial: Option<Until>,
    /// Whether what runs now notes connections, as what is loaded does, for good.
    continues: bool,
    in_force: bool,
}

/// Where the programs of a generation for an interface are pinned: its own, and what runs that on trial.
fn pin_of(pins: &Pins, generation: u32, index: u32) -> (PathBuf, PathBuf) {
    let pins = pins.generation(generation);
    (pins.program(index), pins.trial(index).program())
}

/// One interface's next program.
struct Ready {
    index: u32,
    loaded: Loaded,
    /// What runs it on trial.
    trial: Option<Trial>,
    /// The pin of the program that it runs now; none where nothing is pinned that it runs.
    before: Option<PathBuf>,
}

/// What became of a link that was to get a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Done,
    /// Its interface is gone.
    Gone,
}

/// Why interfaces do not all run what they should.
#[derive(Debug)]
pub(super) struct Refused {
    /// Of the first that was refused.
    pub cause: Box<DataplaneError>,
    /// Indexes of those that are left with the generation that should not be in force; none where all are as before.
    pub divided: Vec<u32>,
}

impl<'a> Prepared<'a> {
    /// Pins the generation and loads its program for each of these interfaces, all at once where there are CPUs; where it is
    /// to be on trial, with what sees to that. `continues` is whether what runs there now notes connections, as what is loaded does.
    pub(super) fn load(
        pins: &'a Pins,
        generation: &'a Generation,
        interfaces: &[InterfaceReport],
        on_trial: Option<Until>,
        continues: bool,
    ) -> Result<Self, DataplaneError> {
        // What runs again when a trial is over has seen nothing of what happens meanwhile.
        let continues = continues && on_trial.is_none();
        let mut prepared =
            Self { pins, generation, programs: Vec::new(), on_trial, continues, in_force: false };
        if interfaces.is_empty() {
            return Ok(prepared);
        }
        let earlier = pins.generations()?;
        generation.pin(pins, &pins.generation(generation.number))?;
        // Several programs, loaded at once, would each make those that are missing.
        program::pin_shared_maps(pins, generation)?;
        if let Some(policy) = &generation.policy {
            let here = interfaces.iter().filter_map(|report| Some((report.ifindex, report.name.as_deref()?)));
            asked::ensure(pins, policy, here)?;
            own::ensure(pins, policy)?;
        }
        let load = |report: &InterfaceReport| {
            let index = report.ifindex;
            let before = earlier.iter().find(|number| runs(pins, **number, report)).map(|number| {
                let (program, trial) = pin_of(pins, *number, index);
                if is_program(&program, report.program_id) { program } else { trial }
            });
            let name = report.name.as_deref().unwrap_or(&report.attached_as);
            let mut loaded =
                program::load(pins, generation, &pins.interface(index), (name, report.switches), continues)?;
            let own = pins.generation(generation.number);
            loaded.pin(&own.program(index))?;
            let trial = match on_trial {
                None => None,
                Some(until) => {
                    let before = trial::before(pins, &earlier, report)?;
                    Some(Trial::load(pins, &own.trial(index), &mut loaded, &before, until)?)
                }
            };
            Ok(Ready { index, loaded, trial, before })
        };
        let loaded: Vec<Result<_, DataplaneError>> = parallel::each(interfaces, load);
        prepared.programs = loaded.into_iter().collect::<Result<_, _>>()?;
        Ok(prepared)
    }

    /// Puts the programs in force. Returned is what the trial calls, to be held as long as that lasts.
    pub(super) fn swap(mut self) -> Result<Vec<MapData>, Refused> {
        let pins = self.pins;
        if !self.continues {
            // Once more: while programs were loaded, somebody may have looked, and found those before them noting.
            let failed = |cause| Refused { cause: Box::new(cause), divided: Vec::new() };
            connections::doubt(pins).map_err(failed)?;
        }
        let indexes: Vec<u32> = self.programs.iter().map(|ready| ready.index).collect();
        let befores: Vec<Option<PathBuf>> = self.programs.iter().map(|ready| ready.before.clone()).collect();
        let programs = &mut self.programs;
        // Loading took its time, which is not that of the trial.
        let end_ns = self.on_trial.map_or(0, Until::end_ns);
        let swapped = all_or_none(
            indexes.len(),
            |turn| {
                let Ready { loaded, trial, .. } = &mut programs[turn];
                let entry = match trial {
                    Some(trial) => trial.begin(end_ns)?,
                    None => loaded,
                };
                gone_or(entry.replace_on(&pins.interface(indexes[turn]).link()))
            },
            |turn| {
                let before =
                    befores[turn].as_deref().ok_or(DataplaneError::NothingBefore { index: indexes[turn] })?;
                gone_or(program::put_back(before, &pins.interface(indexes[turn]).link()))
            },
        );
        let number = self.generation.number;
        match swapped {
            Ok(turns) => {
                self.in_force = true;
                settle(pins, number, indexes.iter().copied().zip(turns));
                let programs = std::mem::take(&mut self.programs).into_iter();
                Ok(programs.filter_map(|ready| ready.trial).map(Trial::into_targets).collect())
            }
            Err((cause, kept)) => {
                let divided: Vec<u32> = kept.into_iter().map(|turn| indexes[turn]).collect();
                // What runs somewhere must stay pinned.
                self.in_force = !divided.is_empty();
                note_generation(pins, number, divided.iter().copied());
                Err(Refused { cause, divided })
            }
        }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.in_force
            && let Err(error) = self.pins.remove_generation(self.generation.number)
        {
            tracing::warn!(%error, "cannot remove the pins of tables that were not put in force");
        }
    }
}

/// Puts an earlier generation, which is still pinned, back in force on these interfaces, on as many as take it.
pub(super) fn swap_back(pins: &Pins, generation: u32, interfaces: &[InterfaceReport]) -> Result<(), Refused> {
    let (mut turns, mut refused) = (Vec::new(), Vec::new());
    // What ran meanwhile may not have noted connections.
    if let Err(error) = connections::doubt(pins) {
        tracing::warn!(%error, "cookies may be made for connections that are there still");
    }
    for index in interfaces.iter().map(|report| report.ifindex) {
        let (program, trial) = pin_of(pins, generation, index);
        let pinned = if trial.exists() { trial } else { program };
        match gone_or(program::put_back(&pinned, &pins.interface(index).link())) {
            Ok(turn) => turns.push((index, turn)),
            Err(error) => refused.push((index, error)),
        }
    }
    settle(pins, generation, turns.into_iter());
    let divided = refused.iter().map(|(index, _)| *index).collect();
    match refused.into_iter().next() {
        None => Ok(()),
        Some((_, cause)) => Err(Refused { cause: Box::new(cause), divided }),
    }
}

/// Puts the own programs of a generation in the place of what runs them on trial, on as many interfaces as take them, and
/// unpins the trial there.
pub(super) fn end_trial(
    pins: &Pins,
    generation: u32,
    interfaces: &[InterfaceReport],
) -> Result<(), DataplaneError> {
    let mut first = Ok(());
    for report in interfaces {
        let index = report.ifindex;
        let (program, _) = pin_of(pins, generation, index);
        let replaced = if is_program(&program, report.program_id) {
            Ok(Turn::Done)
        } else {
            gone_or(program::put_back(&program, &pins.interface(index).link()))
        };
        let ended = replaced.and_then(|_| pins.remove_trial(generation, index));
        // Why the others were refused is mostly the same.
        first = first.and(ended);
    }
    first
}

/// Takes `count` turns, or, where one is refused, none: those before it are taken back, the last first. The error has
/// the turns that could not be taken back.
fn all_or_none(
    count: usize,
    mut take: impl FnMut(usize) -> Result<Turn, DataplaneError>,
    mut take_back: impl FnMut(usize) -> Result<Turn, DataplaneError>,
) -> Result<Vec<Turn>, (Box<DataplaneError>, Vec<usize>)> {
    let mut turns = Vec::with_capacity(count);
    for turn in 0..count {
        match take(turn) {
            Ok(done) => turns.push(done),
            Err(cause) => {
                let mut kept = Vec::new();
                for turn in (0..turn).rev().filter(|turn| turns[*turn] == Turn::Done) {
                    if let Err(error) = take_back(turn) {
                        tracing::error!(%error, "an interface cannot be given its former tables again");
                        kept.push(turn);
                    }
                }
                return Err((Box::new(cause), kept));
            }
        }
    }
    Ok(turns)
}

/// Whether a link took its program; one that has lost its interface took nothing, and need not.
fn gone_or(taken: Result<(), DataplaneError>) -> Result<Turn, DataplaneError> {
    match taken {
        Ok(()) => Ok(Turn::Done),
        Err(error) if program::is_gone(&error) => Ok(Turn::Gone),
        Err(error) => Err(error),
    }
}

/// Notes what the interfaces run now, and removes the pins of those that are gone.
fn settle(pins: &Pins, generation: u32, turns: impl Iterator<Item = (u32, Turn)>) {
    let (gone, done): (Vec<_>, Vec<_>) = turns.partition(|(_, turn)| *turn == Turn::Gone);
    note_generation(pins, generation, done.into_iter().map(|(index, _)| index));
    for (index, _) in gone {
        tracing::info!(interface = index, "an interface is gone, and so are its pins");
        if let Err(error) = pins.remove_interface(index) {
            tracing::warn!(interface = index, %error, "cannot remove the pins of an interface that is gone");
        }
    }
}

/// Writes beside the pins of interfaces which generation they run. It is for reading only, so a failure is a warning.
pub(super) fn note_generation(pins: &Pins, generation: u32, interfaces: impl Iterator<Item = u32>) {
    for index in interfaces {
        let path = pins.interface(index).meta();
        if !path.exists() {
            // It is made again with what is noted then.
            continue;
        }
        let noted = read_value::<InterfaceMeta>(map::INTERFACE, &path)
            .and_then(|meta| write_value(map::INTERFACE, &path, InterfaceMeta { generation, ..meta }));
        if let Err(error) = noted {
            tracing::warn!(interface = index, %error, "cannot note the generation of an interface");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> DataplaneError {
        DataplaneError::NoTables
    }

    #[test]
    fn a_refused_turn_takes_those_before_it_back_the_last_first() {
        let mut back = Vec::new();
        let take = |turn| if turn == 3 { Err(refusal()) } else { Ok(Turn::Done) };
        let (_, kept) = all_or_none(5, take, |turn| {
            back.push(turn);
            Ok(Turn::Done)
        })
        .unwrap_err();
        assert_eq!((back, kept), (vec![2, 1, 0], vec![]));
    }

    #[test]
    fn what_cannot_be_taken_back_is_told_and_the_rest_is_taken_back() {
        let mut back = Vec::new();
        let take = |turn| if turn == 3 { Err(refusal()) } else { Ok(Turn::Done) };
        let (_, kept) = all_or_none(4, take, |turn| {
            back.push(turn);
            if turn == 1 { Err(refusal()) } else { Ok(Turn::Done) }
        })
        .unwrap_err();
        assert_eq!((back, kept), (vec![2, 1, 0], vec![1]));
    }

    #[test]
    fn a_link_whose_interface_is_gone_refuses_nothing_and_is_not_taken_back() {
        let gone = |turn| if turn == 0 { Ok(Turn::Gone) } else { Ok(Turn::Done) };
        let all = all_or_none(2, gone, |_| unreachable!("nothing was refused")).unwrap();
        assert_eq!(all, [Turn::Gone, Turn::Done]);
        let mut back = Vec::new();
        let take = |turn| if turn == 2 { Err(refusal()) } else { gone(turn) };
        let (_, kept) = all_or_none(3, take, |turn| {
            back.push(turn);
            // It went in between: nothing is left that runs the wrong tables.
            Ok(Turn::Gone)
        })
        .unwrap_err();
        assert_eq!((back, kept), (vec![1], vec![]));
    }
}
