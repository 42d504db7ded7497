//! The command line: what is measured and how long. The defaults take about three minutes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::filter::Kind;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              everything: about three minutes
  cargo xtask bench --quick                      the same in less than one, with fewer rounds
  cargo xtask bench --filter levee --entries 1000
  cargo xtask bench --filter levee --filter nft --json /tmp/bench.json

A bare XDP_DROP is measured in every run: it is what the others are compared with.
Targets that are missed are reported and do not fail the run; counters that do not agree do (exit code 1).";

/// Measures Levee beside a bare XDP_DROP, nft, ipset and xdp-filter, in network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "levee-bench", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Fewer and shorter rounds: less than a minute, wider spread.
    #[arg(long)]
    pub quick: bool,
    /// Only this filter beside the bare drop; may be given more than once.
    #[arg(long = "filter", value_name = "NAME", value_enum)]
    pub filters: Vec<Kind>,
    /// Lengths of the block list, in addresses.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,1000,10000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub entries: Vec<u32>,
    /// Rounds of each figure, whatever --quick says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// The CPU that everything is measured on; the last one unless told.
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<usize>,
    /// Where the JSON report goes.
    #[arg(long, value_name = "PATH", default_value = "target/bench/report.json")]
    pub json: PathBuf,
    /// Where the Markdown report goes.
    #[arg(long, value_name = "PATH", default_value = "target/bench/report.md")]
    pub markdown: PathBuf,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rounds that are reported.
    pub rounds: usize,
    /// Wanted length of one flood.
    pub flood: Duration,
    /// Test runs in one turn of the floor measurement.
    pub repeat: u32,
}

impl Arguments {
    /// The pace that was asked for.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let (rounds, flood_ms, repeat) = if self.quick { (7, 50, 250_000) } else { (9, 100, 750_000) };
        let rounds = self.rounds.map_or(rounds, |rounds| rounds as usize);
        Pace { rounds, flood: Duration::from_millis(flood_ms), repeat }
    }

    /// The filters that were asked for: the bare drop first, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let wanted =
            |kind: &Kind| self.filters.is_empty() || *kind == Kind::BareDrop || self.filters.contains(kind);
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// The list lengths that were asked for, ascending, each once.
    #[must_use]
    pub fn lengths(&self) -> Vec<u32> {
        let mut lengths = self.entries.clone();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }
}
