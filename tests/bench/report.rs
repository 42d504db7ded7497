//! What was found, as it is written in JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::filter::{Kind, Traffic};
use crate::machine::Machine;
use crate::targets::Target;

/// Raised whenever a field changes its name or meaning.
pub const SCHEMA: u32 = 1;

/// What these figures are, and what they are not.
pub const CAVEAT: &str = "These are veth results on this machine, not NIC line rate.";

/// How each figure came about.
pub const METHOD: &[&str] = &[
    "ns over floor: BPF_PROG_TEST_RUN of a driver program that gives a 60-byte UDP frame (62 bytes over IPv6) a \
     pseudo-random source of the list (hit) or of 2^20 others (miss) and tail-calls the program under test; the floor \
     is the same driver into a bare XDP_DROP. The two take turns; a round is the difference of one turn each, to whole \
     nanoseconds.",
    "flood: live frames (BPF_F_TEST_XDP_LIVE_FRAMES) from one pinned core, each with another source than the one \
     before (the sources of the list in turn, or 2^20 others), redirected into a veth whose peer, in another network \
     namespace, runs the filter; that core does the sender's and the receiver's work. All filters of one list length \
     take turns, round by round. The rate counts frames that the victim's driver took, over the time that the kernel's \
     test run counts, which holds the receiver's work and leaves out the set-up and the time that other processes had \
     the core; that time comes in whole nanoseconds a frame. Lost frames are those that the victim's ring had no room \
     for.",
    "verified: the filter's own drop counter, the victim driver's receive counter and the victim stack's count of \
     packets that got through agree to the packet, over all rounds.",
    "a miss passes to the stack, whose part is the same for all filters: the packet is addressed to the victim's MAC \
     but to an IP address that is neither local nor routed, so it is freed after the route look-up. A bare drop has no \
     misses. Generic receive offload is on for all, as a veth needs it to take redirected frames without XDP.",
    "list entries are single addresses, spread over 2^28 addresses by Fibonacci hashing (IPv6: over 2^32 networks).",
];

/// The whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub caveat: &'static str,
    pub method: &'static [&'static str],
    pub machine: Machine,
    pub settings: Settings,
    pub filters: Vec<Described>,
    pub over_floor: Vec<FloorCell>,
    pub flood: Vec<FloodCell>,
    pub targets: Vec<Target>,
}

/// How long and how often.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub quick: bool,
    pub rounds: usize,
    pub flood_round_ms: u128,
    pub test_runs_a_round: u32,
    pub entries: Vec<u32>,
}

/// One filter at one list length.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    pub filter: Kind,
    pub entries: u32,
    /// What was measured, or why it was not.
    #[serde(flatten)]
    pub state: State,
}

/// Whether a filter could be had.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Measured(String),
    NotMeasured(String),
}

/// Rounds of one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: Vec<f64>,
}

/// Frames of all rounds of one figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Handed to the attacker's interface.
    pub sent: u64,
    /// Of those, the ones that the victim's ring had no room for.
    pub lost: u64,
    /// Taken from the ring by the victim's driver.
    pub processed: u64,
    /// Dropped, as the filter says; none where it counts nothing.
    pub dropped: Option<u64>,
    /// Got through to the victim's route look-up.
    pub reached_stack: u64,
}

/// Packets a second.
#[derive(Clone, Debug, Serialize)]
pub struct FloodCell {
    pub filter: Kind,
    pub entries: u32,
    pub traffic: Traffic,
    #[serde(flatten)]
    pub series: Series,
    /// Median over the median of the bare drop beside it.
    pub of_bare_drop: f64,
    pub frames: Tally,
    pub verified: bool,
}

/// Nanoseconds a packet.
#[derive(Clone, Debug, Serialize)]
pub struct FloorCell {
    pub filter: Kind,
    pub entries: u32,
    pub traffic: Traffic,
    #[serde(flatten)]
    pub series: Series,
    /// Median of driver and bare drop.
    pub floor_ns: f64,
    /// Median of driver and program.
    pub program_ns: f64,
}

impl Series {
    /// Of at least one round.
    pub fn of(unit: &'static str, rounds: Vec<f64>) -> Result<Self> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first().copied(), sorted.last().copied()) else {
            anyhow::bail!("a figure needs at least one round");
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Ok(Self { unit, median, min, max, rounds })
    }
}

impl Tally {
    /// Adds another round's.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.processed += other.processed;
        self.reached_stack += other.reached_stack;
        self.dropped = match (self.dropped, other.dropped) {
            (Some(mine), Some(theirs)) => Some(mine + theirs),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Whether every frame is where it belongs.
    pub fn agrees(&self, traffic: Traffic) -> bool {
        let (dropped, passed) = match traffic {
            Traffic::Hit => (self.processed, 0),
            Traffic::Miss => (0, self.processed),
        };
        self.processed > 0
            && self.processed + self.lost == self.sent
            && self.dropped.is_none_or(|counted| counted == dropped)
            && self.reached_stack == passed
    }
}

impl Report {
    /// The flood figure of that cell.
    pub fn flood_of(&self, filter: Kind, entries: u32, traffic: Traffic) -> Option<&FloodCell> {
        self.flood.iter().find(|cell| (cell.filter, cell.entries, cell.traffic) == (filter, entries, traffic))
    }

    /// The nanoseconds of that cell.
    pub fn floor_of(&self, filter: Kind, entries: u32, traffic: Traffic) -> Option<&FloorCell> {
        self.over_floor
            .iter()
            .find(|cell| (cell.filter, cell.entries, cell.traffic) == (filter, entries, traffic))
    }

    /// Cells whose counters do not agree, in words.
    pub fn unverified(&self) -> Vec<String> {
        let wrong = self.flood.iter().filter(|cell| !cell.verified);
        wrong
            .map(|cell| {
                format!(
                    "{}, {} entries, {}: {:?}",
                    cell.filter,
                    cell.entries,
                    cell.traffic.name(),
                    cell.frames
                )
            })
            .collect()
    }

    /// Writes JSON and Markdown; returns where.
    pub fn write(&self, arguments: &Arguments) -> Result<[PathBuf; 2]> {
        let json = serde_json::to_string_pretty(self).context("the report has no JSON form")?;
        let files = [(&arguments.json, json + "\n"), (&arguments.markdown, crate::markdown::render(self))];
        for (path, text) in &files {
            write(path, text)?;
        }
        Ok(files.map(|(path, _)| path.clone()))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_of_rounds_lies_between_the_middle_two() -> Result<()> {
        let series = Series::of("ns", vec![4.0, 1.0, 3.0, 10.0])?;
        assert!((series.median - 3.5).abs() < 1e-9 && series.min < 1.5 && series.max > 9.5);
        Ok(())
    }

    #[test]
    fn a_tally_agrees_only_when_no_frame_is_unaccounted_for() {
        let hit = Tally { sent: 10, lost: 1, processed: 9, dropped: Some(9), reached_stack: 0 };
        assert!(hit.agrees(Traffic::Hit));
        assert!(!hit.agrees(Traffic::Miss));
        for wrong in [
            Tally { lost: 0, ..hit },
            Tally { dropped: Some(8), ..hit },
            Tally { reached_stack: 1, ..hit },
            Tally { sent: 0, lost: 0, processed: 0, dropped: None, reached_stack: 0 },
        ] {
            assert!(!wrong.agrees(Traffic::Hit), "{wrong:?}");
        }
        assert!(Tally { dropped: None, ..hit }.agrees(Traffic::Hit), "a filter may count nothing");
        assert!(Tally { dropped: Some(0), reached_stack: 9, ..hit }.agrees(Traffic::Miss));
    }
}
