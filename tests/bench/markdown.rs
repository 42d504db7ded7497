//! The report as a page.

use std::collections::BTreeSet;

use crate::report::{Report, State};
use crate::table::{self, Rows};

/// The page.
pub fn render(report: &Report) -> String {
    let mut page = format!("# Levee benchmark\n\n{}\n\n**{}**\n", table::machine(report), report.caveat);
    for rows in [table::targets(report), table::over_floor(report), table::flood(report)] {
        render_table(&mut page, &rows);
    }
    page += "\n## What was measured\n\n";
    let described: BTreeSet<String> = report
        .filters
        .iter()
        .filter_map(|described| match &described.state {
            State::Measured(how) => Some(format!("- {}: {how}\n", described.filter)),
            State::NotMeasured(_) => None,
        })
        .collect();
    page.extend(described);
    page.extend(table::missing(report).into_iter().map(|line| format!("- not measured: {line}\n")));
    page += "\n## How\n\n";
    page.extend(report.method.iter().map(|line| format!("- {line}\n")));
    let settings = &report.settings;
    page += &format!(
        "- {} rounds a figure (median; spread is least to greatest), {} ms a flood, {} test runs a turn.\n",
        settings.rounds, settings.flood_round_ms, settings.test_runs_a_round
    );
    page
}

fn render_table(page: &mut String, rows: &Rows) {
    let rules = (0..rows.head.len()).map(|column| if column < rows.text_columns { "---" } else { "---:" });
    let rules: Vec<&str> = rules.collect();
    *page += &format!("\n## {}\n\n| {} |\n| {} |\n", rows.title, rows.head.join(" | "), rules.join(" | "));
    for row in &rows.rows {
        *page += &format!("| {} |\n", row.join(" | "));
    }
}
