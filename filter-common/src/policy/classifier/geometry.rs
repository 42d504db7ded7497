//! Where the parts of the rules lie. Fixed when a generation is made, and read-only data of its program.
//!
//! The program is to read it where it lies, through a reference whose origin the compiler does not see (a move in
//! inline assembly): read as the constant that it is declared as, it would be that of no rules, and copied to the stack it
//! would take more than that has. The verifier knows the bytes of frozen read-only data and prunes what they rule out.

use super::field::{ASKED, CHANCE, CLAIMED, DEFENDS, ELABORATE, FIELDS, Field, KEYS, PAYLOAD};

/// What a table of classes counts in a line.
pub const CLASSES_A_LINE: u32 = 32;
/// Words of rules, or Ethernet addresses, in a line.
pub const WORDS_A_LINE: u32 = 8;
/// Pages of a paged field that a line of its first table names.
pub const PAGES_A_LINE: u32 = 16;
/// Values of a page.
pub const PAGE: u32 = 256;
/// Groups of fields that there may be.
pub const MAX_GROUPS: usize = 12;
/// Rules of a word.
pub const RULES_A_WORD: u32 = 64;

/// The tables of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FieldTable {
    /// First line of what values stand for; of a paged field, of its pages' places. A place is the number of the page's first
    /// entry, counted from the first of all lines on.
    pub first: u32,
    /// First line of the classes of what this field has in common with those before it.
    pub pairs: u32,
    /// How many classes this field has.
    pub classes: u32,
    /// Where a group of fields ends with this one: its first row.
    pub rows: u32,
    /// What a packet without the field has: a class, or with up to 64 rules a word of rules.
    pub absent: u64,
}

/// The exact table of a field's Ethernet addresses: a bucket a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EtherTable {
    /// Its first line.
    pub first: u32,
    /// Its lines.
    pub buckets: u32,
    /// What keys are multiplied with.
    pub multiplier: u64,
}

/// The intervals of a direction's IPv4 addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IntervalTable {
    /// First line of the intervals.
    pub first: u32,
    /// First line of what says which of them has a block's.
    pub blocks: u32,
    /// How far an address is shifted for the number of its block; 0 where there are no intervals but a prefix table.
    pub shift: u32,
    /// Boundaries that a line has, at most.
    pub boundaries: u32,
}

impl IntervalTable {
    /// None.
    pub const NONE: Self = Self { first: 0, blocks: 0, shift: 0, boundaries: 0 };

    /// Whether there are any.
    #[inline(always)]
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.shift != 0
    }
}

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RulesGeometry {
    /// Which fields rules look at: the bits of [`Field::bit`]; and what else they want of a packet
    /// ([`PAYLOAD`](super::field::PAYLOAD), [`KEYS`](super::field::KEYS), [`ASKED`](super::field::ASKED), [`CLAIMED`]) or of the walk
    /// ([`CHANCE`](super::field::CHANCE), [`ELABORATE`](super::field::ELABORATE)).
    pub used: u32,
    /// Which of them have [`FieldTable::pairs`].
    pub joins: u32,
    /// Which of them end a group and have [`FieldTable::rows`].
    pub ends: u32,
    /// Groups.
    pub groups: u32,
    /// Rules.
    pub rules: u32,
    /// Words that the rules take, a bit each.
    pub words: u32,
    /// First line of the rows, and lines of each.
    pub rows: u32,
    /// Lines of a row.
    pub row_lines: u32,
    /// First line of the summaries, a word for each row.
    pub summaries: u32,
    /// First line of the records, one for each rule.
    pub records: u32,
    /// First line of all.
    pub first: u32,
    /// Lines of all.
    pub lines: u32,
    /// Ethernet sources.
    pub ether_source: EtherTable,
    /// Ethernet destinations.
    pub ether_destination: EtherTable,
    /// IPv4 sources.
    pub source: IntervalTable,
    /// IPv4 destinations.
    pub destination: IntervalTable,
    /// By [`Field`].
    pub fields: [FieldTable; FIELDS],
}

impl RulesGeometry {
    /// Whether the IPv4 addresses that rules look at are all found in intervals.
    #[inline(always)]
    #[must_use]
    pub const fn has_intervals(&self) -> bool {
        (self.used & Field::Source.bit() == 0 || self.source.is_there())
            && (self.used & Field::Destination.bit() == 0 || self.destination.is_there())
    }

    /// Whether rules do no more than count, drop and pass, and look at nothing but header fields: see
    /// [`simple`](super::simple).
    #[inline(always)]
    #[must_use]
    pub const fn is_simple(&self) -> bool {
        self.used & (ELABORATE | PAYLOAD | ASKED | CLAIMED | KEYS | DEFENDS | CHANCE) == 0
    }

    /// That of no rules.
    pub const NONE: Self = {
        let table = FieldTable { first: 0, pairs: 0, classes: 0, rows: 0, absent: 0 };
        let ether = EtherTable { first: 0, buckets: 0, multiplier: 0 };
        Self {
            used: 0,
            joins: 0,
            ends: 0,
            groups: 0,
            rules: 0,
            words: 0,
            rows: 0,
            row_lines: 0,
            summaries: 0,
            records: 0,
            first: 0,
            lines: 0,
            ether_source: ether,
            ether_destination: ether,
            source: IntervalTable::NONE,
            destination: IntervalTable::NONE,
            fields: [table; FIELDS],
        }
    };
}

const _: () = assert!(size_of::<FieldTable>() == 24);
const _: () = assert!(size_of::<EtherTable>() == 16);
const _: () = assert!(size_of::<RulesGeometry>() == 48 + 4 * 16 + FIELDS * 24);
