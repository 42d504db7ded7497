//! Lines, one part behind the other.

use std::collections::HashMap;

use super::super::field::Field;
use super::super::geometry::{FieldTable, PAGE, PAGES_A_LINE};
use super::CompileError;
use crate::table::lines::WORDS;

/// The lines so far.
#[derive(Debug)]
pub(super) struct Layout {
    first: u32,
    most: u32,
    lines: Vec<[u64; WORDS]>,
}

impl Layout {
    /// None yet; at most so many, from a line on.
    pub(super) const fn new(first: u32, most: u32) -> Self {
        Self { first, most, lines: Vec::new() }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn lines(self) -> Vec<[u64; WORDS]> {
        self.lines
    }

    /// Whether so many more lines are allowed.
    pub(super) fn reserve(&self, lines: u64) -> Result<(), CompileError> {
        let all = lines.checked_add(self.lines.len() as u64);
        // Places of pages have 32 bits, and 32 entries share a line.
        let fits = |all: &u64| *all <= self.most.into() && *all + u64::from(self.first) < 1 << 27;
        all.filter(fits).map(|_| ()).ok_or(CompileError::TooLarge { most: self.most })
    }

    /// Adds words, up to the end of a line; where they begin.
    pub(super) fn put(&mut self, words: impl IntoIterator<Item = u64>) -> Result<u32, CompileError> {
        let begin = self.first + self.len();
        let mut words = words.into_iter().peekable();
        while words.peek().is_some() {
            self.reserve(1)?;
            let mut line = [0; WORDS];
            for (place, word) in line.iter_mut().zip(&mut words) {
                *place = word;
            }
            self.lines.push(line);
        }
        Ok(begin)
    }

    /// Adds numbers of which so many share a line, the first in the lowest bits.
    pub(super) fn put_packed(&mut self, numbers: &[u64], a_line: u32) -> Result<u32, CompileError> {
        let a_word = a_line as usize / WORDS;
        let packed = numbers.chunks(a_word).map(|numbers| {
            let bits = u64::BITS as usize / a_word;
            (0..).zip(numbers).fold(0, |word, (at, number)| word | number << (bits * at))
        });
        self.put(packed)
    }

    /// Adds what a field's values stand for, and says where that is.
    pub(super) fn put_table(
        &mut self,
        table: &mut FieldTable,
        field: Field,
        entries: &[u64],
        a_line: u32,
    ) -> Result<(), CompileError> {
        if !field.is_paged() {
            table.first = self.put_packed(entries, a_line)?;
            return Ok(());
        }
        let mut known: HashMap<&[u64], u64> = HashMap::new();
        let mut numbers = Vec::new();
        let mut pages = Vec::new();
        for page in entries.chunks(PAGE as usize) {
            let next = known.len() as u64;
            let number = *known.entry(page).or_insert(next);
            if number == next {
                pages.extend(page);
            }
            numbers.push(number);
        }
        // Pages follow one another without a gap.
        let begin = u64::from(self.put_packed(&pages, a_line)?) * u64::from(a_line);
        let places: Vec<u64> = numbers.iter().map(|number| begin + number * u64::from(PAGE)).collect();
        table.first = self.put_packed(&places, PAGES_A_LINE)?;
        Ok(())
    }
}
