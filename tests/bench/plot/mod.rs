//! The report as drawings: SVG on white, so that they can be read on a light and on a dark page.
//!
//! Decides: a filter has the same colour in all of them. What spans powers of ten is drawn on logarithmic axes.

mod bars;
mod lines;

use anyhow::Result;
use plotters::style::RGBColor;

use self::bars::Bars;
use self::lines::Lines;
use crate::figure::{Measure, Packets, Subject};
use crate::filter::Kind;
use crate::list::{self, Traffic};
use crate::report::Report;

/// A drawing.
pub struct Plot {
    /// Its name in the directory of the report.
    pub file: String,
    pub svg: String,
}

const SIZE: (u32, u32) = (880, 520);
const FONT: &str = "sans-serif";

/// All of them that there are figures for.
pub fn draw(report: &Report) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for (list, family) in [(list::Kind::Ipv4, "IPv4"), (list::Kind::Ipv6, "IPv6")] {
        for traffic in [Traffic::Hit, Traffic::Miss] {
            let packets = Packets { family, traffic };
            let title = format!("{}: every packet a {}", list.name(), traffic.name());
            let lines = Lines {
                title: &title,
                unit: "ns a packet beyond a bare XDP_DROP",
                series: by_entries(report, Measure::NsOverFloor, list, Some(packets)),
            };
            let file = format!("ns-{}-{}.svg", family.to_lowercase(), traffic.name());
            plots.extend(lines.draw()?.map(|svg| Plot { file, svg }));
        }
    }
    plots.extend(floods(report)?);
    for (measure, unit, file) in [
        (Measure::Load, "ms from the command to the list in force", "load.svg"),
        (Measure::Memory, "MB of kernel memory", "memory.svg"),
    ] {
        let title = format!("IPv4 /32: {}", measure.title());
        let series = by_entries(report, measure, list::Kind::Ipv4, None);
        let lines = Lines { title: &title, unit, series };
        plots.extend(lines.draw()?.map(|svg| Plot { file: file.to_owned(), svg }));
    }
    Ok(plots)
}

/// For each filter its medians, by list length.
fn by_entries(
    report: &Report,
    measure: Measure,
    list: list::Kind,
    packets: Option<Packets>,
) -> Vec<(Kind, Vec<(f64, f64)>)> {
    let points = |kind: Kind| {
        let figures = report.of(measure).into_iter();
        let wanted = figures.filter(|figure| {
            (figure.subject.filter, figure.subject.list, figure.packets) == (kind, list, packets)
        });
        wanted.map(|figure| (f64::from(figure.subject.entries), figure.series.median)).collect()
    };
    let series = Kind::ALL.map(|kind| (kind, points(kind)));
    series.into_iter().filter(|(_, points): &(_, Vec<_>)| !points.is_empty()).collect()
}

/// Floods against each length of the IPv4 list.
fn floods(report: &Report) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    let figures = report.of(Measure::Flood).into_iter();
    let mut lengths: Vec<u32> = figures
        .filter(|figure| figure.subject.list == list::Kind::Ipv4)
        .map(|figure| figure.subject.entries)
        .collect();
    lengths.dedup();
    for entries in lengths {
        let median = |filter, traffic| {
            let subject = Subject { filter, list: list::Kind::Ipv4, entries };
            report.median(Measure::Flood, subject, Some(Packets { family: "IPv4", traffic }))
        };
        let rows = Kind::ALL.map(|kind| (kind, median(kind, Traffic::Hit), median(kind, Traffic::Miss)));
        let rows = rows.into_iter().filter(|(_, hit, _)| hit.is_some()).collect();
        let title = format!("IPv4 /32, {entries} entries: packets a second that one core takes (veth)");
        let svg = Bars { title: &title, unit: "Mpps", rows }.draw()?;
        plots.push(Plot { file: format!("flood-{entries}.svg"), svg });
    }
    Ok(plots)
}

/// Okabe and Ito's colours, which people with colour blindness can tell apart.
const fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::BareDrop => RGBColor(0x99, 0x99, 0x99),
        Kind::Levee => RGBColor(0xd5, 0x5e, 0x00),
        Kind::Lpm => RGBColor(0x00, 0x72, 0xb2),
        Kind::Hash => RGBColor(0x00, 0x9e, 0x73),
        Kind::LruHash => RGBColor(0x56, 0xb4, 0xe9),
        Kind::XdpFilter => RGBColor(0x00, 0x00, 0x00),
        Kind::Nft => RGBColor(0xcc, 0x79, 0xa7),
        Kind::Ipset => RGBColor(0xe6, 0x9f, 0x00),
    }
}

/// As people write large numbers.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{}M", n / 1e6),
        n if n >= 1e3 => format!("{}k", n / 1e3),
        n => format!("{n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_short() {
        assert_eq!([1e3, 4e6, 0.1, 250.0].map(short), ["1k", "4M", "0.1", "250"]);
    }
}
