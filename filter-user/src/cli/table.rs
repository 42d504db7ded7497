//! Printing: aligned columns, and JSON.

use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// One document, indented, with a line end.
pub fn json(out: &mut impl Write, document: &impl Serialize) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, document).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// One document on one line.
pub fn json_line(out: &mut impl Write, document: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, document).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Rows in columns, two spaces apart; a header that begins with `>` marks a column of numbers, aligned right.
pub fn aligned(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| name.trim_start_matches('>')));
    for row in rows {
        table.add_row(row);
    }
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_right_and_lines_do_not_end_in_spaces() {
        let rows = [vec!["eth0".to_owned(), "1".to_owned()], vec!["e".to_owned(), "1,000".to_owned()]];
        assert_eq!(aligned(&["NAME", ">PACKETS"], rows), "NAME  PACKETS\neth0        1\ne       1,000\n");
    }
}
