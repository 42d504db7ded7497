//! The report as a page.

use std::collections::BTreeSet;

use crate::report::Report;
use crate::table::{self, Rows};

/// The page, with the plots that lie beside it.
pub fn render(report: &Report, plots: &[String]) -> String {
    let mut page = format!("# Levee benchmark\n\n{}\n\n**{}**\n", table::machine(report), report.caveat);
    render_table(&mut page, &table::targets(report));
    page += "\n## plots\n\n";
    page.extend(plots.iter().map(|file| format!("![{}]({file})\n", file.trim_end_matches(".svg"))));
    for rows in table::measures(report) {
        render_table(&mut page, &rows);
    }
    page += "\n## What was measured\n\n";
    let described: BTreeSet<String> = report
        .filters
        .iter()
        .map(|described| format!("- {}: {}\n", described.subject.filter, described.what))
        .collect();
    page.extend(described);
    page += "\n## What was not\n\n";
    page.extend(table::missing(report).into_iter().map(|line| format!("- {line}\n")));
    page += "\n## How\n\n";
    page.extend(report.method.iter().map(|line| format!("- {line}\n")));
    let settings = &report.settings;
    page += &format!(
        "- figures are medians of n rounds, with the least and the greatest; {} ms a flood, {} ms a turn of test runs.\n",
        settings.flood_round_ms, settings.test_run_turn_ms
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
