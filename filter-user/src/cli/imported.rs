//! What an import did, or would do, in words.

use super::render::{grouped, size};
use crate::api::types::{Imported, PlannedMemory};

/// Sets of fewer prefixes may change as they like.
const LARGE: u64 = 1_000;

/// What there is to say where an import takes more than half out of a large set.
pub fn shrunk(imported: &Imported) -> Option<String> {
    let before = (imported.total + imported.removed).saturating_sub(imported.added);
    let is_much = before >= LARGE && imported.removed > before / 2;
    is_much.then(|| {
        let (removed, before, set) = (grouped(imported.removed), grouped(before), &imported.set);
        let (were, refuse) = if imported.dry_run { ("would be", "refuses it") } else { ("were", "refuses such lists") };
        format!(
            "{removed} of the {before} prefixes of {set} {were} removed, more than half: was the list cut off on its way? \
             `--max-change 30%` {refuse}"
        )
    })
}

/// What became of a list, in one line, and what its tables take.
pub fn summary(imported: &Imported) -> String {
    let would = if imported.dry_run { "would be " } else { "" };
    let mut parts = vec![format!("{} {would}added", grouped(imported.added))];
    for (count, what) in [
        (imported.unchanged, "already there".to_owned()),
        (imported.updated, format!("already there and {would}renewed")),
        (imported.removed, format!("{would}removed")),
        (imported.duplicates, "duplicates".to_owned()),
        (imported.overlapping, "overlapping".to_owned()),
        (imported.skipped, "bad lines skipped".to_owned()),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    let (set, total) = (&imported.set, grouped(imported.total));
    let (action, parts) = (imported.action.name(), parts.join(", "));
    let text = format!("{set} ({action}): {parts}; {total} prefixes {would}in the set");
    match &imported.memory {
        Some(memory) => format!("{text}\n{}", planned(memory)),
        None => text,
    }
}

/// What the tables would take.
fn planned(memory: &PlannedMemory) -> String {
    let PlannedMemory { now, after: _, peak, made_anew, limit, replaces_tables } = *memory;
    let touches_tables = peak != now;
    let [now, peak, made_anew, limit] = [now, peak, made_anew, limit].map(size);
    let change = if replaces_tables {
        format!("{made_anew} after it, {peak} while both are there")
    } else if touches_tables {
        format!(
            "no more after it if they have room for it, else new ones of {made_anew}, at most {peak} while both are there"
        )
    } else {
        "no more after it, as it changes nothing in them".to_owned()
    };
    format!("kernel memory of the tables: {now} now, {change}; the limit is {limit}\nnothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Action, SCHEMA};

    fn imported() -> Imported {
        Imported {
            schema: SCHEMA,
            set: "ipsum".to_owned(),
            action: Action::Block,
            lines: 119_010,
            entries: 119_005,
            added: 119_000,
            updated: 0,
            unchanged: 3,
            removed: 0,
            duplicates: 2,
            overlapping: 0,
            skipped: 0,
            skipped_lines: Vec::new(),
            total: 119_003,
            dry_run: false,
            memory: None,
        }
    }

    #[test]
    fn the_summary_of_an_import_leaves_out_what_is_zero() {
        let expected =
            "ipsum (block): 119,000 added, 3 already there, 2 duplicates; 119,003 prefixes in the set";
        assert_eq!(summary(&imported()), expected);
    }

    #[test]
    fn a_list_that_takes_more_than_half_out_of_a_large_set_is_warned_of() {
        let of = |total, added, removed| shrunk(&Imported { total, added, removed, ..imported() });
        let warning = of(559_897, 0, 1_000_000 - 440_103 + 1).unwrap_or_default();
        assert!(warning.contains("559,898 of the 1,119,795 prefixes of ipsum were removed"), "{warning}");
        assert!(of(500, 0, 501).is_some_and(|warning| warning.contains("501 of the 1,001")));
        assert_eq!(of(500, 0, 500), None);
        // All of it is another list: what came does not count for what was there.
        assert!(of(1_000, 1_000, 1_000).is_some());
        assert_eq!(of(0, 0, 999), None);
    }

    #[test]
    fn the_summary_of_a_dry_run_says_what_would_be_and_what_that_takes() {
        let memory = PlannedMemory {
            now: 2 << 20,
            after: 5 << 20,
            peak: 7 << 20,
            made_anew: 5 << 20,
            limit: 512 << 20,
            replaces_tables: true,
        };
        let planned = Imported { removed: 4, dry_run: true, memory: Some(memory), ..imported() };
        let expected = [
            "ipsum (block): 119,000 would be added, 3 already there, 4 would be removed, 2 duplicates; \
             119,003 prefixes would be in the set",
            "kernel memory of the tables: 2 MiB now, 5 MiB after it, 7 MiB while both are there; \
             the limit is 512 MiB",
            "nothing was changed",
        ];
        assert_eq!(summary(&planned).lines().collect::<Vec<_>>(), expected);
        let says = |memory, text| {
            let planned = Imported { memory: Some(memory), ..planned.clone() };
            assert!(summary(&planned).contains(text), "{}", summary(&planned));
        };
        let in_place = PlannedMemory { replaces_tables: false, ..memory };
        says(
            in_place,
            "2 MiB now, no more after it if they have room for it, else new ones of 5 MiB, at most 7 MiB while both are \
             there; the limit",
        );
        let untouched = PlannedMemory { after: 2 << 20, peak: 2 << 20, ..in_place };
        says(untouched, "2 MiB now, no more after it, as it changes nothing in them; the limit");
    }
}
