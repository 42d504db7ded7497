//! What Levee set out to reach, held against what was measured.

use serde::Serialize;

use crate::figure::{Figure, Measure, Packets, Subject};
use crate::filter::Kind;
use crate::list::{self, Traffic};
use crate::policy;
use crate::report::Report;

const MILLION: u32 = 1_000_000;
const V4_HIT: Packets = Packets { family: "IPv4", traffic: Traffic::Hit };
const V4_MISS: Packets = Packets { family: "IPv4", traffic: Traffic::Miss };
const V6_HIT: Packets = Packets { family: "IPv6", traffic: Traffic::Hit };

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

/// Which way a figure must lie.
#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Holds the targets against the report's figures.
pub fn judge(report: &Report) -> Vec<Target> {
    let mut targets = of_packets(report);
    targets.extend(of_changes(report));
    targets.extend(policy::targets::judge(report));
    targets
}

/// What a packet costs.
fn of_packets(report: &Report) -> Vec<Target> {
    let v4 = |filter, entries| Subject { filter, list: list::Kind::Ipv4, entries };
    let ns = |subject, packets| report.median(Measure::NsOverFloor, subject, Some(packets));
    let flood = |filter| report.median(Measure::Flood, v4(filter, MILLION), Some(V4_HIT));
    let ns_ratio =
        |packets, other| ratio(ns(v4(Kind::Levee, MILLION), packets), ns(v4(other, MILLION), packets));
    let flood_ratio = |other| ratio(flood(Kind::Levee), flood(other));
    let v6 = |filter| ns(Subject { filter, list: list::Kind::Ipv6, entries: MILLION }, V6_HIT);
    let at_most = |wanted, found, most| Target::of(wanted, found, Bound::AtMost(most), "");
    vec![
        at_most("1M IPv4 hits: at most 1/8 of the ns of an LPM trie", ns_ratio(V4_HIT, Kind::Lpm), 0.125),
        at_most("1M IPv4 hits: at most 1/2 of the ns of a kernel hash", ns_ratio(V4_HIT, Kind::Hash), 0.5),
        at_most("1M IPv4 misses: at most 1/10 of the ns of an LPM trie", ns_ratio(V4_MISS, Kind::Lpm), 0.1),
        Target::of(
            "1M IPv4 hits, flood: at least 50% of a bare XDP_DROP",
            flood_ratio(Kind::BareDrop),
            Bound::AtLeast(0.5),
            "",
        ),
        Target::of("1M IPv4 hits, flood: at least 2x nft", flood_ratio(Kind::Nft), Bound::AtLeast(2.0), "x"),
        Target::of(
            "10,000 IPv4 hits: at most 25 ns over the floor",
            ns(v4(Kind::Levee, 10_000), V4_HIT),
            Bound::AtMost(25.0),
            " ns",
        ),
        at_most(
            "1M IPv6 prefixes, hits: at most 1/5 of the ns of an LPM trie",
            ratio(v6(Kind::Levee), v6(Kind::Lpm)),
            0.2,
        ),
        geo(report, V4_HIT, list::Kind::Ipv4),
        geo(report, V6_HIT, list::Kind::Ipv6),
    ]
}

/// What a change, the memory and a second core come to.
fn of_changes(report: &Report) -> Vec<Target> {
    let million = Subject { filter: Kind::Levee, list: list::Kind::Ipv4, entries: MILLION };
    let at_most = |wanted, measure, most, unit| {
        Target::of(wanted, report.median(measure, million, None), Bound::AtMost(most), unit)
    };
    let is_levees =
        |figure: &&Figure| figure.measure == Measure::TwoFloods && figure.subject.filter == Kind::Levee;
    let two = report.figures.iter().filter(is_levees).map(|figure| figure.series.median).reduce(f64::min);
    vec![
        at_most("1M IPv4: replaced by another list within 1 s", Measure::Replace, 1000.0, " ms"),
        at_most("1M IPv4: a single addition felt within 1 ms", Measure::Latency, 1000.0, " us"),
        at_most("1M IPv4: 100,000 additions at once within 200 ms", Measure::Transaction, 200.0, " ms"),
        at_most("1M IPv4: at most 29 MB of kernel memory", Measure::Memory, 29.0, " MB"),
        Target::of(
            "two floods: at least 1.8x one flood (the least of all lists)",
            two,
            Bound::AtLeast(1.8),
            "x",
        ),
    ]
}

/// Packets of a family against the countries' list, or the one like it, over those against a thousand entries of that
/// family.
fn geo(report: &Report, packets: Packets, thousand: list::Kind) -> Target {
    let levee = |list| {
        let figures = report.of(Measure::NsOverFloor).into_iter();
        let mut found = figures.filter(move |figure| {
            figure.subject.filter == Kind::Levee
                && figure.subject.list == list
                && figure.packets == Some(packets)
        });
        found.next().map(|figure| figure.series.median)
    };
    let thousand = Subject { filter: Kind::Levee, list: thousand, entries: 1000 };
    let thousand = report.median(Measure::NsOverFloor, thousand, Some(packets));
    let geo = levee(list::Kind::Geo).or_else(|| levee(list::Kind::GeoLike));
    let wanted = format!("geo, {} hits: at most 2x the ns of 1,000 entries", packets.family);
    Target::of(&wanted, ratio(geo, thousand), Bound::AtMost(2.0), "x")
}

/// One over the other, where there are both.
pub fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

impl Target {
    /// Holds a figure against its bound.
    pub fn of(wanted: &str, found: Option<f64>, bound: Bound, unit: &str) -> Self {
        let met = found.map(|found| match bound {
            Bound::AtMost(most) => found <= most,
            Bound::AtLeast(least) => found >= least,
        });
        let measured =
            found.map(
                |found| if found < 10.0 { format!("{found:.3}{unit}") } else { format!("{found:.0}{unit}") },
            );
        Self { wanted: wanted.to_owned(), measured, met }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_on_its_bound_missed_beyond_it_and_open_without_a_figure() {
        let outcome = |found, bound| Target::of("x", found, bound, "").outcome();
        assert_eq!(outcome(Some(2.0), Bound::AtMost(2.0)), "met");
        assert_eq!(outcome(Some(2.1), Bound::AtMost(2.0)), "missed");
        assert_eq!(outcome(Some(2.0), Bound::AtLeast(2.0)), "met");
        assert_eq!(outcome(Some(1.9), Bound::AtLeast(2.0)), "missed");
        assert_eq!(outcome(None, Bound::AtLeast(2.0)), "not measured");
    }
}
