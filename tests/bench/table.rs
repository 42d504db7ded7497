//! The report on a terminal; and the rows that the Markdown shares with it.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};

use crate::filter::{Kind, Traffic};
use crate::report::{FloodCell, FloorCell, Report, Series, State};

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
    for rows in [over_floor(report), flood(report), targets(report)] {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(&rows.head).add_rows(&rows.rows);
        for column in table.column_iter_mut().skip(rows.text_columns) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("\n{}\n{table}\n", rows.title);
    }
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

/// Nanoseconds over the floor.
pub fn over_floor(report: &Report) -> Rows {
    let row = |cell: &FloorCell| {
        let Series { median, min, max, .. } = cell.series;
        vec![
            cell.filter.to_string(),
            cell.traffic.name().to_owned(),
            cell.entries.to_string(),
            format!("{median:.0} ns"),
            format!("{min:.0} to {max:.0} ns"),
            format!("{:.0} ns", cell.floor_ns),
        ]
    };
    let mut cells: Vec<_> = report.over_floor.iter().collect();
    cells.sort_by_key(|cell| (position(cell.filter), cell.traffic == Traffic::Miss, cell.entries));
    Rows {
        title: "ns over floor: what a packet costs beyond a bare XDP_DROP (test run)",
        head: vec!["filter", "traffic", "entries", "median", "spread", "floor"],
        rows: cells.into_iter().map(row).collect(),
        text_columns: 2,
    }
}

/// Packets a second.
pub fn flood(report: &Report) -> Rows {
    let row = |cell: &FloodCell| {
        let Series { median, min, max, .. } = cell.series;
        let traffic = if cell.filter == Kind::BareDrop { "any" } else { cell.traffic.name() };
        vec![
            cell.filter.to_string(),
            traffic.to_owned(),
            cell.entries.to_string(),
            format!("{:.2} Mpps", median),
            format!("{min:.2} to {max:.2}"),
            format!("{:.0}%", cell.of_bare_drop * 100.0),
            cell.frames.processed.to_string(),
            cell.frames.lost.to_string(),
            if cell.verified { "yes" } else { "NO" }.to_owned(),
        ]
    };
    let mut cells: Vec<_> = report.flood.iter().collect();
    cells.sort_by_key(|cell| (cell.entries, cell.traffic == Traffic::Miss, position(cell.filter)));
    Rows {
        title: "flood: what one core takes, sender included (veth, live frames)",
        head: vec![
            "filter",
            "traffic",
            "entries",
            "median",
            "spread",
            "of bare drop",
            "frames",
            "lost",
            "verified",
        ],
        rows: cells.into_iter().map(row).collect(),
        text_columns: 2,
    }
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

/// A line for each filter that was not measured.
pub fn missing(report: &Report) -> BTreeSet<String> {
    let missing = report.filters.iter().filter_map(|described| match &described.state {
        State::Measured(_) => None,
        State::NotMeasured(why) => Some((described, why)),
    });
    missing
        .map(|(described, why)| format!("{} with {} entries: {why}", described.filter, described.entries))
        .collect()
}

fn position(kind: Kind) -> usize {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or(Kind::ALL.len())
}
