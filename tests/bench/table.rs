//! The report on a terminal; and the rows that the Markdown shares with it.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};

use crate::figure::{Detail, Figure, Measure};
use crate::filter::Kind;
use crate::policy;
use crate::report::Report;

/// A table before it has a look.
pub struct Rows {
    pub title: &'static str,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// Columns of text, which come first; the others are numbers.
    pub text_columns: usize,
}

/// Everything, aligned.
pub fn render(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", machine(report), report.caveat);
    for rows in measures(report).into_iter().chain([targets(report)]) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(&rows.head).add_rows(&rows.rows);
        for column in table.column_iter_mut().skip(rows.text_columns) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("\n{}\n{table}\n", rows.title);
    }
    text += "\nnot measured\n";
    for line in missing(report) {
        text += &format!("{line}\n");
    }
    text + "\n"
}

/// The machine in one line.
pub fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let busy = if machine.load_before > 0.5 {
        format!(" (busy: load {:.1} before the run, so expect a wide spread)", machine.load_before)
    } else {
        String::new()
    };
    format!(
        "{}, Linux {}, {}, {} cores, measured on CPU {}{busy}",
        machine.date, machine.kernel, machine.cpu_model, machine.cores, machine.measured_on_cpu
    )
}

/// A table for each measure that has figures.
pub fn measures(report: &Report) -> Vec<Rows> {
    let measured = Measure::ALL.into_iter().map(|measure| of(report, measure));
    let of_policies = report.policies.iter().flat_map(policy::rows);
    measured.filter(|rows| !rows.rows.is_empty()).chain(of_policies).collect()
}

fn of(report: &Report, measure: Measure) -> Rows {
    let figures = report.of(measure);
    let has_packets = figures.iter().any(|figure| figure.packets.is_some());
    let mut head = vec!["list"];
    if has_packets {
        head.push("packets");
    }
    head.push("filter");
    let text_columns = head.len();
    head.extend(["entries", "median", "least", "greatest", "n"]);
    head.extend_from_slice(match measure {
        Measure::NsOverFloor => &["floor"],
        Measure::TwoFloods => &["one", "two"],
        Measure::Memory => &["kernel's growth"],
        Measure::Flood => &["of bare drop", "frames", "lost", "verified"],
        _ => &[],
    });
    let rows = figures.into_iter().map(|figure| row(figure, has_packets)).collect();
    Rows { title: measure.title(), head, rows, text_columns }
}

fn row(figure: &Figure, has_packets: bool) -> Vec<String> {
    let number = |value: f64| {
        let (digits, unit) = (figure.measure.digits(), figure.measure.unit());
        format!("{value:.digits$} {unit}")
    };
    let mut row = vec![figure.subject.list.name().to_owned()];
    if has_packets {
        row.push(match figure.packets {
            Some(packets) if figure.subject.filter == Kind::BareDrop => format!("{} any", packets.family),
            Some(packets) => format!("{} {}", packets.family, packets.traffic.name()),
            None => String::new(),
        });
    }
    let series = &figure.series;
    row.extend([figure.subject.filter.to_string(), figure.subject.entries.to_string()]);
    row.extend([series.median, series.min, series.max].map(number));
    row.push(series.n.to_string());
    match &figure.detail {
        Detail::None {} => {}
        Detail::Floor { floor_ns, .. } => row.push(format!("{floor_ns:.0} ns")),
        Detail::Memory { growth_mb } => row.push(format!("{growth_mb:.1} MB")),
        Detail::TwoFloods { one_mpps, two_mpps } => {
            row.extend([one_mpps, two_mpps].map(|rate| format!("{rate:.2} Mpps")));
        }
        Detail::Flood { of_bare_drop, frames, verified } => row.extend([
            format!("{:.0}%", of_bare_drop * 100.0),
            frames.processed.to_string(),
            frames.lost.to_string(),
            if *verified { "yes" } else { "NO" }.to_owned(),
        ]),
    }
    row
}

/// Targets and outcomes.
pub fn targets(report: &Report) -> Rows {
    let rows = report.targets.iter().map(|target| {
        let measured = target.measured.clone().unwrap_or_else(|| "-".to_owned());
        vec![target.wanted.clone(), target.outcome().to_owned(), measured]
    });
    Rows {
        title: "targets",
        head: vec!["wanted", "outcome", "measured"],
        rows: rows.collect(),
        text_columns: 2,
    }
}

/// A line for each filter and reason that it was not measured for, with the lists.
pub fn missing(report: &Report) -> Vec<String> {
    let mut lists: BTreeMap<(Kind, Option<Measure>, &str), BTreeSet<_>> = BTreeMap::new();
    for missing in &report.missing {
        let subject = missing.subject;
        let key = (subject.filter, missing.measure, missing.why.as_str());
        lists.entry(key).or_default().insert((subject.list, subject.entries));
    }
    let line = |((filter, measure, why), lists): (_, BTreeSet<(crate::list::Kind, u32)>)| {
        let measure: Option<Measure> = measure;
        let lists = lists.into_iter().map(|(list, entries)| match entries {
            0 => list.name().to_owned(),
            entries => format!("{} {entries}", list.name()),
        });
        let lists = lists.collect::<Vec<_>>().join(", ");
        let what = measure.map_or_else(String::new, |measure| {
            format!(", {}", measure.title().split(':').next().unwrap_or_default())
        });
        format!("{filter}{what} ({lists}): {why}")
    };
    lists.into_iter().map(line).collect()
}
