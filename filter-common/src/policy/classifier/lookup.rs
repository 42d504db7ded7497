//! The look-up: what the program and the host run.
//!
//! State is numbers alone, no pointer, so that it may lie on the stack or in a map between calls of a global function.

use super::field::{ABSENT, Facts, Field, Visitor, visit};
use super::geometry::{
    CLASSES_A_LINE, MAX_GROUPS, PAGE, PAGES_A_LINE, RULES_A_WORD, RulesGeometry, WORDS_A_LINE,
};
use crate::table::lines::{Line, Lines};

/// Words of a row that are ANDed together. Half a line: the registers that survive a call hold them.
const UNIT: u32 = 4;
/// Units of 64 words.
const UNITS: u32 = 64 / UNIT;

/// The rules, in order, whose conditions on header fields hold.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Candidates {
    /// Words that may not be zero and were not taken out yet, a bit each.
    left: u64,
    /// What is left of the word that was taken out last.
    bits: u64,
    /// Which that was.
    word: u32,
    /// Explicit padding.
    reserved: u32,
    /// The row of each group; those behind the last group are not looked at.
    rows: [u32; MAX_GROUPS],
}

const _: () = assert!(size_of::<Candidates>() == 24 + MAX_GROUPS * 4);

/// The rules that a packet may match.
#[inline(always)]
pub fn classify<L: Lines, F: Facts>(lines: &L, geometry: &RulesGeometry, facts: &F) -> Candidates {
    // Not zeroed, since LLVM has no stores for that in eBPF: it calls a loop over bytes, 20 ns here. Those behind the last
    // group are never looked at.
    let mut rows = [geometry.words; MAX_GROUPS];
    let (mut left, mut bits) = (0, 0);
    if geometry.words == 1 {
        let mut single = Single { lines, geometry, bits: u64::MAX };
        visit(geometry.used, facts, &mut single);
        bits = single.bits;
    } else if geometry.words > 1 {
        let mut many = Many { lines, geometry, class: 1, open: 1, group: 0, rows: &mut rows };
        visit(geometry.used, facts, &mut many);
        if many.open != 0 {
            // What fits into one unit is read as soon as its summary would be.
            let all = u64::MAX >> (64 - UNIT);
            left = if geometry.words <= UNIT { all } else { summary(lines, geometry, &rows) };
        }
    }
    let mut candidates = Candidates { left, bits, word: 0, reserved: 0, rows };
    if geometry.words > 1 {
        candidates.advance(lines, geometry);
    }
    candidates
}

/// Which words are not zero in the rows of all groups.
#[inline(always)]
fn summary<L: Lines>(lines: &L, geometry: &RulesGeometry, rows: &[u32; MAX_GROUPS]) -> u64 {
    let mut summary = u64::MAX;
    for (group, row) in (0..).zip(rows) {
        if group >= geometry.groups {
            break;
        }
        let Some(line) = lines.line(geometry.summaries.wrapping_add(row / WORDS_A_LINE)) else { return 0 };
        summary &= line.word(row % WORDS_A_LINE);
    }
    summary
}

impl Candidates {
    /// Whether there is certainly no rule, or none left. Before the first [`Self::next`] that is exact.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left | self.bits == 0
    }

    /// The next rule. Costs nothing but arithmetic where the word of the one before has more.
    #[inline(always)]
    pub fn next<L: Lines>(&mut self, lines: &L, geometry: &RulesGeometry) -> Option<u32> {
        if self.bits == 0 {
            self.advance(lines, geometry);
        }
        if self.bits == 0 {
            return None;
        }
        let rule = self.word * RULES_A_WORD + self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(rule)
    }

    /// Takes out the next word that is not zero.
    #[inline(always)]
    fn advance<L: Lines>(&mut self, lines: &L, geometry: &RulesGeometry) {
        for _ in 0..UNITS {
            if self.left == 0 {
                return;
            }
            let first = self.left.trailing_zeros() & (64 - UNIT);
            let [one, two, three, four] = self.unit(lines, geometry, first);
            // At most one branch that the CPU does not foresee.
            let (word, bits) = if one != 0 {
                (first, one)
            } else if two != 0 {
                (first + 1, two)
            } else if three != 0 {
                (first + 2, three)
            } else {
                (first + 3, four)
            };
            // Those before it are zero, and it is taken out. In two steps, as it may be the 64th.
            self.left &= (u64::MAX << (word & 63)) << 1;
            if bits != 0 {
                (self.word, self.bits) = (word, bits);
                return;
            }
        }
    }

    /// Four words from `first` on, a multiple of four, ANDed over all groups; zero where they are not left.
    #[inline(always)]
    fn unit<L: Lines>(&self, lines: &L, geometry: &RulesGeometry, first: u32) -> [u64; UNIT as usize] {
        let mut words = [u64::MAX; UNIT as usize];
        let from = geometry.rows.wrapping_add(first / WORDS_A_LINE);
        for (group, row) in (0..).zip(&self.rows) {
            if group >= geometry.groups {
                break;
            }
            let row = row.wrapping_mul(geometry.row_lines);
            let Some(line) = lines.line(from.wrapping_add(row)) else { return [0; UNIT as usize] };
            for (word, at) in words.iter_mut().zip(first % WORDS_A_LINE..) {
                *word &= line.word(at);
            }
        }
        for (word, at) in words.iter_mut().zip(first..) {
            *word &= (self.left >> (at & 63) & 1).wrapping_neg();
        }
        words
    }
}

/// Up to 64 rules: the values' words themselves.
struct Single<'a, L> {
    lines: &'a L,
    geometry: &'a RulesGeometry,
    bits: u64,
}

impl<L: Lines> Visitor for Single<'_, L> {
    #[inline(always)]
    fn is_open(&self) -> bool {
        self.bits != 0
    }

    #[inline(always)]
    fn see(&mut self, field: Field, value: u32) {
        self.bits &= match place(self.lines, self.geometry, field, value, WORDS_A_LINE) {
            Place::Absent(bits) => bits,
            Place::Entry(first, at) => match self.lines.line(first.wrapping_add(at / WORDS_A_LINE)) {
                Some(line) => line.word(at % WORDS_A_LINE),
                None => 0,
            },
        };
    }
}

/// More rules: classes, combined to rows.
struct Many<'a, L> {
    lines: &'a L,
    geometry: &'a RulesGeometry,
    /// Of the fields of this group so far.
    class: u32,
    /// 0 once no rule is left, else 1.
    open: u64,
    group: usize,
    rows: &'a mut [u32; MAX_GROUPS],
}

impl<L: Lines> Many<'_, L> {
    /// The class at `at` of the table that begins at a line.
    #[inline(always)]
    fn class(&self, first: u32, at: u32) -> u32 {
        match self.lines.line(first.wrapping_add(at / CLASSES_A_LINE)) {
            Some(line) => line.quarter(0, at % CLASSES_A_LINE),
            None => 0,
        }
    }
}

impl<L: Lines> Visitor for Many<'_, L> {
    #[inline(always)]
    fn is_open(&self) -> bool {
        self.open != 0
    }

    #[inline(always)]
    fn see(&mut self, field: Field, value: u32) {
        let table = &self.geometry.fields[field as usize];
        let class = match place(self.lines, self.geometry, field, value, CLASSES_A_LINE) {
            Place::Absent(class) => (class & 0xffff_ffff) as u32,
            Place::Entry(first, at) => self.class(first, at),
        };
        self.class = if self.geometry.joins & field.bit() == 0 {
            class
        } else {
            self.class(table.pairs, self.class.wrapping_mul(table.classes).wrapping_add(class))
        };
        // Without a branch, see `Field::is_searched`.
        self.open &= (u64::from(self.class) + u64::from(u32::MAX)) >> 32;
        if self.geometry.ends & field.bit() != 0
            && let Some(row) = self.rows.get_mut(self.group)
        {
            *row = table.rows.wrapping_add(self.class);
            self.group += 1;
        }
    }
}

/// Where it is said what a value stands for.
enum Place {
    /// Here: the packet does not have the field.
    Absent(u64),
    /// At that number behind a line.
    Entry(u32, u32),
}

/// The place of a value's entry, of which so many share a line.
#[inline(always)]
fn place<L: Lines>(lines: &L, geometry: &RulesGeometry, field: Field, value: u32, a_line: u32) -> Place {
    let table = &geometry.fields[field as usize];
    if value == ABSENT {
        return Place::Absent(table.absent);
    }
    if !field.is_paged() {
        return Place::Entry(table.first, value);
    }
    let page = value / PAGE;
    match lines.line(table.first.wrapping_add(page / PAGES_A_LINE)) {
        Some(line) => {
            let page = line.half(0, page % PAGES_A_LINE).wrapping_mul(PAGE / a_line);
            Place::Entry(table.pages.wrapping_add(page), value % PAGE)
        }
        None => Place::Absent(0),
    }
}
