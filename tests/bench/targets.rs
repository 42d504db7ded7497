//! What Levee set out to reach, held against what was measured.

use serde::Serialize;

use crate::figure::{Measure, Packets, Subject};
use crate::filter::Kind;
use crate::list::{self, Traffic};
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
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Holds the targets against the report's figures.
pub fn judge(report: &Report) -> Vec<Target> {
    let v4 = |filter, entries| Subject { filter, list: list::Kind::Ipv4, entries };
    let ns = |subject, packets| report.median(Measure::NsOverFloor, subject, Some(packets));
    let flood = |filter| report.median(Measure::Flood, v4(filter, MILLION), Some(V4_HIT));
    let of_levee = |measure| report.median(measure, v4(Kind::Levee, MILLION), None);
    let ns_ratio =
        |packets, other| ratio(ns(v4(Kind::Levee, MILLION), packets), ns(v4(other, MILLION), packets));
    let flood_ratio = |other| ratio(flood(Kind::Levee), flood(other));
    let v6 = |filter| ns(Subject { filter, list: list::Kind::Ipv6, entries: MILLION }, V6_HIT);
    let two = report
        .figures
        .iter()
        .filter(|figure| figure.measure == Measure::TwoFloods && figure.subject.filter == Kind::Levee);
    let two = two.map(|figure| figure.series.median).reduce(f64::min);
    vec![
        Target::of(
            "1M IPv4 hits: at most 1/8 of the ns of an LPM trie",
            ns_ratio(V4_HIT, Kind::Lpm),
            Bound::AtMost(0.125),
            "",
        ),
        Target::of(
            "1M IPv4 hits: at most 1/2 of the ns of a kernel hash",
            ns_ratio(V4_HIT, Kind::Hash),
            Bound::AtMost(0.5),
            "",
        ),
        Target::of(
            "1M IPv4 misses: at most 1/10 of the ns of an LPM trie",
            ns_ratio(V4_MISS, Kind::Lpm),
            Bound::AtMost(0.1),
            "",
        ),
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
        Target::of(
            "1M IPv6 prefixes, hits: at most 1/5 of the ns of an LPM trie",
            ratio(v6(Kind::Levee), v6(Kind::Lpm)),
            Bound::AtMost(0.2),
            "",
        ),
        geo(report),
        Target::of(
            "1M IPv4: replaced by another list within 1 s",
            of_levee(Measure::Replace),
            Bound::AtMost(1000.0),
            " ms",
        ),
        Target::of(
            "1M IPv4: a single addition felt within 1 ms",
            of_levee(Measure::Latency),
            Bound::AtMost(1000.0),
            " us",
        ),
        Target::of(
            "1M IPv4: 100,000 additions at once within 200 ms",
            of_levee(Measure::Transaction),
            Bound::AtMost(200.0),
            " ms",
        ),
        Target::of(
            "1M IPv4: at most 29 MB of kernel memory",
            of_levee(Measure::Memory),
            Bound::AtMost(29.0),
            " MB",
        ),
        Target::of(
            "two floods: at least 1.8x one flood (the least of all lists)",
            two,
            Bound::AtLeast(1.8),
            "x",
        ),
    ]
}

/// IPv4 packets against the countries' list, or the one like it, over those against a thousand addresses.
fn geo(report: &Report) -> Target {
    let levee = |list| {
        let figures = report.of(Measure::NsOverFloor).into_iter();
        let mut found = figures.filter(move |figure| {
            figure.subject.filter == Kind::Levee
                && figure.subject.list == list
                && figure.packets == Some(V4_HIT)
        });
        found.next().map(|figure| figure.series.median)
    };
    let thousand = Subject { filter: Kind::Levee, list: list::Kind::Ipv4, entries: 1000 };
    let thousand = report.median(Measure::NsOverFloor, thousand, Some(V4_HIT));
    let geo = levee(list::Kind::Geo).or_else(|| levee(list::Kind::GeoLike));
    Target::of(
        "geo, IPv4 hits: at most 2x the ns of 1,000 addresses",
        ratio(geo, thousand),
        Bound::AtMost(2.0),
        "x",
    )
}

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

impl Target {
    fn of(wanted: &str, found: Option<f64>, bound: Bound, unit: &str) -> Self {
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
