//! From conditions to classes: values that the same rules accept share a row, a bit for each of those rules.

use std::collections::HashMap;

use super::super::geometry::RULES_A_WORD;
use super::super::spec::Values;

/// Rows, each once, in the order of their classes. Row 0 is empty.
#[derive(Debug)]
pub(super) struct Rows {
    words: usize,
    bits: Vec<u64>,
    classes: HashMap<Box<[u64]>, u32>,
}

impl Rows {
    pub(super) fn new(words: usize) -> Self {
        let empty = vec![0; words];
        Self { words, classes: HashMap::from([(empty.clone().into_boxed_slice(), 0)]), bits: empty }
    }

    /// The class of a row.
    pub(super) fn class(&mut self, row: &[u64]) -> u32 {
        if let Some(class) = self.classes.get(row) {
            return *class;
        }
        let class = self.len();
        self.classes.insert(row.into(), class);
        self.bits.extend(row);
        class
    }

    pub(super) fn row(&self, class: u32) -> &[u64] {
        let begin = class as usize * self.words;
        &self.bits[begin..begin + self.words]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.bits.chunks_exact(self.words)
    }

    /// How many classes there are. Never more than values, rows and columns that were counted before.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.classes.len()).unwrap_or(u32::MAX)
    }

    /// The classes of all pairs of a class of these and one of those, by rows; `None` where they are more than `most` pairs
    /// or rows.
    pub(super) fn pairs(&self, others: &Self, most_pairs: u32, most_rows: u32) -> Option<(Vec<u32>, Self)> {
        let count = self.len().checked_mul(others.len()).filter(|count| *count <= most_pairs)?;
        let mut pairs = Vec::with_capacity(count as usize);
        let mut common = Self::new(self.words);
        let mut both = vec![0; self.words];
        for ours in self.iter() {
            for theirs in others.iter() {
                for (word, (our, their)) in both.iter_mut().zip(ours.iter().zip(theirs)) {
                    *word = our & their;
                }
                pairs.push(common.class(&both));
            }
            if common.len() > most_rows {
                return None;
            }
        }
        Some((pairs, common))
    }
}

/// What a field's values stand for.
#[derive(Debug)]
pub(super) struct FieldRows {
    pub(super) rows: Rows,
    /// By value.
    pub(super) classes: Vec<u32>,
    pub(super) absent: u32,
}

/// Sets or clears the bit of a rule.
pub(super) fn flip(row: &mut [u64], rule: usize) {
    row[rule / RULES_A_WORD as usize] ^= 1 << (rule % RULES_A_WORD as usize);
}

impl FieldRows {
    /// Of a field with `domain` values, from what each rule wants of it. Rules that are not in `possible` match nothing.
    pub(super) fn new(domain: u32, conditions: &[Option<Values>], possible: &[u64]) -> Self {
        let mut rows = Rows::new(possible.len());
        let mut row = possible.to_vec();
        let mut absent = possible.to_vec();
        // Where a rule begins or ceases to accept.
        let mut changes: Vec<(u32, usize)> = Vec::new();
        let rule_bit =
            |rule: usize| possible[rule / RULES_A_WORD as usize] >> (rule % RULES_A_WORD as usize) & 1;
        for (rule, condition) in conditions.iter().enumerate() {
            let Some(values) = condition else { continue };
            if rule_bit(rule) == 0 {
                continue;
            }
            flip(&mut row, rule);
            if !values.absent() {
                flip(&mut absent, rule);
            }
            for (low, high) in values.ranges() {
                changes.extend([(*low, rule), (high + 1, rule)]);
            }
        }
        changes.sort_unstable();
        let mut classes = Vec::with_capacity(domain as usize);
        for same in changes.chunk_by(|one, other| one.0 == other.0) {
            let end = same[0].0.min(domain);
            if classes.len() < end as usize {
                classes.resize(end as usize, rows.class(&row));
            }
            for (_, rule) in same {
                flip(&mut row, *rule);
            }
        }
        if classes.len() < domain as usize {
            classes.resize(domain as usize, rows.class(&row));
        }
        let absent = rows.class(&absent);
        Self { rows, classes, absent }
    }
}
