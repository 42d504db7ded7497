//! Nanoseconds over the floor: what a program costs beyond a bare `XDP_DROP`.
//!
//! A test run feeds one packet again and again, which would always hit the same cache lines; so a driver program
//! gives it another source each time and tail-calls the program under test. The same driver into a bare drop is the
//! floor. The two take turns, and medians are reported, so that a machine that changes its pace does not matter.

use anyhow::{Context as _, Result, bail};
use aya::maps::ProgramArray;
use aya::programs::{ProgramFd, Xdp};
use filter_common::harness::name;

use crate::flood::pin;
use crate::object::Object;
use crate::packet::Frame;
use crate::runner::{Action, Outcome, Run};
use crate::source_table::SourceTable;
use crate::sources::SourcePattern;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The packet.
    pub frame: Frame,
    /// Its sources.
    pub sources: SourcePattern,
    /// The table that they come from, where they do.
    pub table: Option<SourceTable>,
    /// Turns of each; at least 7 for a figure that is reported.
    pub rounds: usize,
    /// Runs a turn.
    pub repeat: u32,
    /// The CPU to stay on.
    pub cpu: usize,
    /// The target takes frames in several buffers (`xdp.frags`): its floor does then, too.
    pub frags: bool,
}

impl Plan {
    /// Nine turns of a million runs on CPU 0, for a target that takes frames in one buffer.
    #[must_use]
    pub const fn new(frame: Frame, sources: SourcePattern) -> Self {
        Self { frame, sources, table: None, rounds: 9, repeat: 1_000_000, cpu: 0, frags: false }
    }

    /// Measures `target`, a loaded XDP program.
    ///
    /// # Errors
    /// When the target cannot be tail-called (it must be of the driver's kind: see [`Plan::frags`]) or run.
    pub fn measure(&self, target: &ProgramFd) -> Result<Measurement> {
        self.compare(&[target])?.pop().context("a measurement for each target")
    }

    /// Measures several, which all take turns with one floor: round `n` of one lies beside round `n` of the others, so
    /// that differences between them can be told round by round.
    ///
    /// # Errors
    /// As [`Plan::measure`].
    pub fn compare(&self, targets: &[&ProgramFd]) -> Result<Vec<Measurement>> {
        std::thread::scope(|scope| {
            let measured = scope.spawn(|| {
                pin(self.cpu)?;
                self.alternate(targets)
            });
            match measured.join() {
                Ok(measurements) => measurements,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn alternate(&self, targets: &[&ProgramFd]) -> Result<Vec<Measurement>> {
        if self.rounds == 0 {
            bail!("a measurement needs at least one round");
        }
        let (driver, drop, slots) = if self.frags {
            (name::DRIVER_FRAGS, name::BARE_DROP_FRAGS, name::TARGETS_FRAGS)
        } else {
            (name::DRIVER, name::BARE_DROP, name::TARGETS)
        };
        let mut object = Object::with(&[], self.table.as_ref())?;
        object.aim(&[(&self.frame, self.sources)], 0)?;
        object.xdp(driver)?;
        let floor = object.xdp(drop)?.fd()?.try_clone()?;
        let mut measured = vec![(Vec::with_capacity(self.rounds), Action::Aborted); targets.len()];
        // The first round warms caches and is not kept.
        for round in 0..=self.rounds {
            let floor_ns = self.turn(&mut object, driver, slots, &floor)?.duration.as_nanos();
            for (target, (pairs, action)) in targets.iter().zip(&mut measured) {
                let outcome = self.turn(&mut object, driver, slots, target)?;
                *action = outcome.action;
                if *action == Action::Aborted {
                    bail!("the target did not run or aborted");
                }
                if round > 0 {
                    pairs.push((floor_ns, outcome.duration.as_nanos()));
                }
            }
        }
        measured.iter().map(|(pairs, action)| Measurement::of(pairs, *action)).collect()
    }

    fn turn(&self, object: &mut Object, driver: &str, targets: &str, target: &ProgramFd) -> Result<Outcome> {
        let map = object.ebpf().map_mut(targets).with_context(|| format!("no map {targets}"))?;
        ProgramArray::try_from(map)?.set(0, target, 0).with_context(|| {
            let kind = if self.frags { "xdp.frags" } else { "plain XDP" };
            format!("the driver cannot tail-call the target: is it a {kind} program?")
        })?;
        let program: &Xdp = object.xdp(driver)?;
        Run::of(&self.frame).repeat(self.repeat).on(program)
    }
}

/// What was measured; nanoseconds a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Median of the driver and a bare drop.
    pub floor_ns: f64,
    /// Median of the driver and the target.
    pub target_ns: f64,
    /// Least of the driver and the target: of the turn that others on the machine left alone the most.
    pub quietest_ns: f64,
    /// Median of the differences, round by round.
    pub over_floor_ns: f64,
    /// The difference of each round, in the order they were run.
    pub rounds_ns: Vec<f64>,
    /// Least and greatest difference of a round.
    pub spread_ns: (f64, f64),
    /// What the target returned last: a hit must drop, a miss must pass.
    pub action: Action,
}

impl Measurement {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds a packet stay far below 2^53")]
    fn of(pairs: &[(u128, u128)], action: Action) -> Result<Self> {
        let rounds_ns: Vec<f64> =
            pairs.iter().map(|(floor, target)| *target as f64 - *floor as f64).collect();
        let differences = sorted(rounds_ns.iter().copied());
        let (Some(least), Some(greatest)) = (differences.first(), differences.last()) else {
            bail!("there was no round");
        };
        let targets = sorted(pairs.iter().map(|(_, target)| *target as f64));
        Ok(Self {
            floor_ns: median(&sorted(pairs.iter().map(|(floor, _)| *floor as f64))),
            target_ns: median(&targets),
            quietest_ns: targets.first().copied().unwrap_or_default(),
            over_floor_ns: median(&differences),
            spread_ns: (*least, *greatest),
            rounds_ns,
            action,
        })
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}
