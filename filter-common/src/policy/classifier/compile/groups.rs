//! Which fields are looked up together: as long as the table of their pairs of classes is small.

use super::super::field::Field;
use super::super::geometry::MAX_GROUPS;
use super::rows::{FieldRows, Rows};

/// Entries that a table of pairs may have. 128 KiB of them stay in a cache; one more group costs about as much as a read
/// from beyond it.
const MOST_PAIRS: u32 = 1 << 16;
/// Lines that the rows of fields that are combined may take, unless they take more apart: a megabyte.
const MOST_ROW_LINES: u32 = 1 << 14;
/// Rows that a table's 16 bits can name.
const MOST_ROWS: u32 = 1 << 16;
/// How often both may be made four times as large, where there would be more than [`MAX_GROUPS`] groups.
pub(super) const MOST_LENIENCY: u32 = 3;

/// Fields that are looked up together.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The last of them.
    pub(super) end: Field,
    first: &'a Rows,
    common: Option<Rows>,
    /// All but the first, with the classes of what they have in common with those before them.
    pub(super) joined: Vec<(Field, Vec<u32>)>,
}

impl Group<'_> {
    /// What all of them together accept.
    pub(super) fn rows(&self) -> &Rows {
        self.common.as_ref().unwrap_or(self.first)
    }
}

/// Groups of these fields, in their order; `None` where there would be too many.
pub(super) fn grouped(
    fields: &[(Field, FieldRows)],
    row_lines: u32,
    leniency: u32,
) -> Option<Vec<Group<'_>>> {
    let (most_pairs, most_lines) = (MOST_PAIRS << (2 * leniency), MOST_ROW_LINES << (2 * leniency));
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (field, FieldRows { rows, .. }) in fields {
        if let Some(group) = groups.last_mut() {
            let apart = group.rows().len() + rows.len();
            let most_rows = apart.max(most_lines / row_lines).min(MOST_ROWS);
            if let Some((pairs, common)) = group.rows().pairs(rows, most_pairs, most_rows) {
                group.joined.push((*field, pairs));
                (group.end, group.common) = (*field, Some(common));
                continue;
            }
        }
        if groups.len() == MAX_GROUPS {
            return None;
        }
        groups.push(Group { end: *field, first: rows, common: None, joined: Vec::new() });
    }
    Some(groups)
}
