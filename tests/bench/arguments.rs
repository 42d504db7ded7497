//! The command line: what is measured and how long. The defaults take about twenty minutes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::{filter, list};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              everything: about twenty minutes
  cargo xtask bench --quick                      less than two, with fewer lists and rounds
  cargo xtask bench --filter levee --list ipv4 --entries 1000
  cargo xtask bench --only policies              rules and limits alone
  cargo xtask bench --filter levee --filter nft --output /tmp/bench

A bare XDP_DROP is measured in every run: it is what the others are compared with.
Targets that are missed are reported and do not fail the run; counters that do not agree do (exit code 1).";

/// Longest list of IPv6 prefixes.
const MOST_IPV6: u32 = 1_000_000;

/// Measures Levee beside a bare XDP_DROP, plain XDP programs with the kernel's maps, xdp-filter, nft and ipset, in
/// network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "levee-bench", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Fewer lists, fewer and shorter rounds: less than two minutes, wider spread.
    #[arg(long)]
    pub quick: bool,
    /// Only this filter beside the bare drop; may be given more than once.
    #[arg(long = "filter", value_name = "NAME", value_enum, value_delimiter = ',')]
    pub filters: Vec<filter::Kind>,
    /// Only this list; may be given more than once [default: all; geo-like only where geo is not at hand].
    #[arg(long = "list", value_name = "NAME", value_enum, value_delimiter = ',')]
    pub lists: Vec<list::Kind>,
    /// Lengths of the generated lists [default: 1000 to 4000000 by tens, IPv6 to a million; quick: 1000,100000,
    /// IPv6 1000].
    #[arg(long, value_name = "N,...", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub entries: Vec<u32>,
    /// Only this part.
    #[arg(long, value_name = "PART", value_enum)]
    pub only: Option<Part>,
    /// Rounds of each figure, whatever --quick says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// The CPU that everything on one core is measured on; the last one unless told.
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<usize>,
    /// The directory that the reports go to: report.json, report.md and plots.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub output: PathBuf,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Lists of sources, and all filters beside each other.
    Lists,
    /// Rules and limits, beside the same program without them.
    Policies,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rounds that are reported.
    pub rounds: usize,
    /// Rounds of floods.
    pub floods: usize,
    /// Wanted length of one flood.
    pub flood: Duration,
    /// Wanted length of one turn of the floor measurement.
    pub turn: Duration,
    /// Window of two floods, and rounds of it.
    pub window: Duration,
    pub windows: usize,
    /// Loads of a list at most, and the time after which no further one begins.
    pub loads: usize,
    pub loading: Duration,
    /// How long a tool may take to load a list.
    pub limit: Duration,
    /// How long the kernel's memory must have stayed as it is before a list is loaded: it begins to free what a map held
    /// some hundred milliseconds after the map's end.
    pub settled: Duration,
    /// Trials of the latency of a change.
    pub trials: usize,
    /// Rounds of single changes and of transactions.
    pub changes: usize,
    /// Replacements of a list by another and back.
    pub replacements: usize,
    /// Sources that are in no list.
    pub misses: u32,
}

impl Arguments {
    /// The pace that was asked for.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let ms = Duration::from_millis;
        let pace = if self.quick {
            Pace {
                rounds: 7,
                floods: 5,
                flood: ms(25),
                turn: ms(10),
                window: ms(100),
                windows: 3,
                loads: 2,
                loading: ms(1500),
                limit: ms(15_000),
                settled: ms(60),
                trials: 20,
                changes: 2,
                replacements: 1,
                misses: 1 << 18,
            }
        } else {
            Pace {
                rounds: 9,
                floods: 9,
                flood: ms(80),
                turn: ms(60),
                window: ms(200),
                windows: 5,
                loads: 5,
                loading: ms(6000),
                limit: ms(90_000),
                settled: ms(300),
                trials: 25,
                changes: 5,
                replacements: 2,
                misses: 1 << 20,
            }
        };
        match self.rounds {
            Some(rounds) => Pace { rounds: rounds as usize, floods: rounds as usize, ..pace },
            None => pace,
        }
    }

    /// The filters that were asked for: the bare drop first, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<filter::Kind> {
        let wanted = |kind: &filter::Kind| {
            self.filters.is_empty() || *kind == filter::Kind::BareDrop || self.filters.contains(kind)
        };
        filter::Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// The lists that were asked for, with their lengths where those can be chosen: short ones first.
    #[must_use]
    pub fn lists(&self) -> Vec<(list::Kind, u32)> {
        if self.only == Some(Part::Policies) {
            return Vec::new();
        }
        let kinds = list::Kind::ALL.into_iter().filter(|kind| self.wants(*kind));
        kinds
            .flat_map(|kind| {
                let mut lengths = if kind.has_any_length() { self.lengths() } else { vec![0] };
                if kind == list::Kind::Ipv6 {
                    let most = if self.quick && self.entries.is_empty() { 1_000 } else { MOST_IPV6 };
                    lengths.retain(|length| *length <= most);
                }
                lengths.into_iter().map(move |length| (kind, length))
            })
            .collect()
    }

    /// Whether policies are measured: where Levee is, unless only lists were asked for.
    #[must_use]
    pub fn wants_policies(&self) -> bool {
        let measures_levee = self.kinds().contains(&filter::Kind::Levee);
        match self.only {
            Some(Part::Policies) => true,
            Some(Part::Lists) => false,
            None => measures_levee && self.lists.is_empty(),
        }
    }

    fn wants(&self, kind: list::Kind) -> bool {
        let real = harness::data::directory("lists").is_ok();
        match kind {
            _ if !self.lists.is_empty() => self.lists.contains(&kind),
            list::Kind::Ipv4 | list::Kind::Ipv6 | list::Kind::Geo => true,
            list::Kind::Ipsum => !self.quick,
            list::Kind::GeoLike => !real,
        }
    }

    /// The list lengths that were asked for, ascending, each once.
    #[must_use]
    pub fn lengths(&self) -> Vec<u32> {
        let mut lengths = match (self.entries.is_empty(), self.quick) {
            (false, _) => self.entries.clone(),
            (true, true) => vec![1_000, 100_000],
            (true, false) => vec![1_000, 10_000, 100_000, 1_000_000, 4_000_000],
        };
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }
}
