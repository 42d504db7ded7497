//! What Levee set out to reach, held against what was measured.

use serde::Serialize;

use crate::filter::{Kind, Traffic};
use crate::report::Report;

/// The list length that the targets speak of.
const ENTRIES: u32 = 1_000;

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What is wanted, in words.
    pub wanted: String,
    /// What was measured, in words; none where the run did not measure it.
    pub measured: Option<String>,
    /// Whether that is good enough.
    pub met: Option<bool>,
}

/// Holds the targets against the report's figures.
pub fn judge(report: &Report) -> Vec<Target> {
    let hits = |kind| report.flood_of(kind, ENTRIES, Traffic::Hit).map(|cell| cell.series.median);
    let levee = hits(Kind::Levee);
    let ratio = |other| Some(levee? / hits(other)?);
    let times = |other: Kind| {
        let wanted = format!("flood, {ENTRIES} blocked sources: at least 2x {other}");
        Target::of(wanted, ratio(other).map(|ratio| (format!("{ratio:.2}x"), ratio >= 2.0)))
    };
    let nanoseconds = report.floor_of(Kind::Levee, ENTRIES, Traffic::Hit).map(|cell| cell.series.median);
    vec![
        Target::of(
            format!("flood, {ENTRIES} blocked sources: at least 60% of a bare XDP_DROP"),
            ratio(Kind::BareDrop).map(|ratio| (format!("{:.0}%", ratio * 100.0), ratio >= 0.6)),
        ),
        times(Kind::Nft),
        times(Kind::Ipset),
        Target::of(
            format!("ns over floor, {ENTRIES} blocked IPv4 sources, all hits: at most 100 ns"),
            nanoseconds.map(|nanoseconds| (format!("{nanoseconds:.0} ns"), nanoseconds <= 100.0)),
        ),
    ]
}

impl Target {
    fn of(wanted: String, found: Option<(String, bool)>) -> Self {
        let (measured, met) = found.unzip();
        Self { wanted, measured, met }
    }

    /// "met", "missed" or "not measured".
    pub const fn outcome(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        }
    }
}
