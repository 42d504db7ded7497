//! The look-up: what the program and the host run.
//!
//! State is numbers alone, no pointer, so that it may lie in a map between calls of global functions.

use super::field::{ABSENT, Facts, Field, Visitor, visit};
use super::geometry::{MAX_GROUPS, PAGE, RULES_A_WORD, RulesGeometry, WORDS_A_LINE};
use crate::table::lines::{Line, Lines};

/// Words of a row that are ANDed together. Half a line: the registers that survive a call hold them.
const UNIT: u32 = 4;
/// Units of 64 words.
const UNITS: u32 = 64 / UNIT;

/// The rules, in order, whose conditions on header fields hold; until [`Self::end`], how far the look-up is.
///
/// It is made in steps, where it lies: so the program can find the classes of addresses between two of them, and no function
/// has more on its stack than a few numbers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Candidates {
    /// Words that may not be zero and were not taken out yet, a bit each. Until the end: 0 once no rule is left, else 1.
    left: u64,
    /// What is left of the word that was taken out last; with up to 64 rules, of the only one.
    bits: u64,
    /// Which that was.
    word: u32,
    /// The class of the fields of this group so far.
    class: u32,
    /// The group.
    group: u32,
    /// Explicit padding.
    reserved: u32,
    /// The row of each group; those behind the last group are not looked at.
    rows: [u32; MAX_GROUPS],
}

const _: () = assert!(size_of::<Candidates>() == 32 + MAX_GROUPS * 4);

/// The rules that a packet may match.
#[inline(always)]
pub fn classify<L: Lines, F: Facts>(lines: &L, geometry: &RulesGeometry, facts: &F) -> Candidates {
    let mut candidates = Candidates::NONE;
    candidates.begin();
    candidates.narrow(lines, geometry, geometry.used, facts);
    candidates.end(lines, geometry);
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
        let Some(word) = lines.word_at(geometry.summaries, *row) else { return 0 };
        summary &= word;
    }
    summary
}

impl Candidates {
    /// No rule.
    pub const NONE: Self =
        Self { left: 0, bits: 0, word: 0, class: 0, group: 0, reserved: 0, rows: [0; MAX_GROUPS] };

    /// Before any field. Rows are left as they are: LLVM has no stores for zeroing them in eBPF, it calls a loop over bytes,
    /// 20 ns here.
    #[inline(always)]
    pub const fn begin(&mut self) {
        (self.left, self.bits, self.word, self.class, self.group) = (1, u64::MAX, 0, 1, 0);
    }

    /// Looks at these fields of those in use, which are behind all that were looked at before.
    #[inline(always)]
    pub fn narrow<L: Lines, F: Facts>(
        &mut self,
        lines: &L,
        geometry: &RulesGeometry,
        fields: u32,
        facts: &F,
    ) {
        if geometry.words == 1 {
            let mut single = Single { lines, geometry, bits: self.bits };
            visit(fields, facts, &mut single);
            self.bits = single.bits;
        } else if geometry.words > 1 {
            let Self { left, class, group, .. } = *self;
            let mut many = Many { lines, geometry, left, class, group, rows: &mut self.rows };
            visit(fields, facts, &mut many);
            let Many { left, class, group, .. } = many;
            (self.left, self.class, self.group) = (left, class, group);
        }
    }

    /// Whether there may be a rule, before [`Self::end`].
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.left != 0 && self.bits != 0
    }

    /// The rules whose bits are set, of a policy that has no more than 64.
    #[inline(always)]
    pub const fn hold_few(&mut self, bits: u64) {
        (self.left, self.bits, self.word) = (0, bits, 0);
    }

    /// After the last field.
    #[inline(always)]
    pub fn end<L: Lines>(&mut self, lines: &L, geometry: &RulesGeometry) {
        if geometry.words <= 1 {
            self.left = 0;
            self.bits &= u64::from(geometry.words).wrapping_neg();
            return;
        }
        self.bits = 0;
        if self.left != 0 {
            // What fits into one unit is read as soon as its summary would be.
            let all = u64::MAX >> (64 - UNIT);
            self.left = if geometry.words <= UNIT { all } else { summary(lines, geometry, &self.rows) };
        }
        self.advance(lines, geometry);
    }

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

/// The rules that a packet may match of up to 64, a bit each.
#[inline(always)]
pub fn few<L: Lines, F: Facts>(lines: &L, geometry: &RulesGeometry, facts: &F) -> u64 {
    let mut single = Single { lines, geometry, bits: u64::MAX };
    visit(geometry.used, facts, &mut single);
    single.bits
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
        self.bits &= match place(self.lines, self.geometry, field, value) {
            Place::Absent(bits) => bits,
            Place::Entry(first, at) => self.lines.word_at(first, at).unwrap_or(0),
        };
    }
}

/// More rules: classes, combined to rows.
struct Many<'a, L> {
    lines: &'a L,
    geometry: &'a RulesGeometry,
    left: u64,
    class: u32,
    group: u32,
    rows: &'a mut [u32; MAX_GROUPS],
}

impl<L: Lines> Many<'_, L> {
    /// The class at `at` of the table that begins at a line.
    #[inline(always)]
    fn class_at(&self, first: u32, at: u32) -> u32 {
        self.lines.quarter_at(first, at).unwrap_or(0)
    }
}

impl<L: Lines> Visitor for Many<'_, L> {
    #[inline(always)]
    fn is_open(&self) -> bool {
        self.left != 0
    }

    #[inline(always)]
    fn see(&mut self, field: Field, value: u32) {
        let table = &self.geometry.fields[field as usize];
        let class = match place(self.lines, self.geometry, field, value) {
            Place::Absent(class) => (class & 0xffff_ffff) as u32,
            Place::Entry(first, at) => self.class_at(first, at),
        };
        let class = if self.geometry.joins & field.bit() == 0 {
            class
        } else {
            self.class_at(table.pairs, self.class.wrapping_mul(table.classes).wrapping_add(class))
        };
        self.class = class;
        // Without a branch, see `Field::is_searched`.
        self.left &= (u64::from(class) + u64::from(u32::MAX)) >> 32;
        if self.geometry.ends & field.bit() != 0
            && let Some(row) = self.rows.get_mut(self.group as usize)
        {
            *row = table.rows.wrapping_add(class);
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

/// The place of a value's entry.
#[inline(always)]
fn place<L: Lines>(lines: &L, geometry: &RulesGeometry, field: Field, value: u32) -> Place {
    let table = &geometry.fields[field as usize];
    if value == ABSENT {
        return Place::Absent(table.absent);
    }
    if !field.is_paged() {
        return Place::Entry(table.first, value);
    }
    let page = value / PAGE;
    match lines.half_at(table.first, page) {
        Some(page) => Place::Entry(0, page.wrapping_add(value % PAGE)),
        None => Place::Absent(0),
    }
}
