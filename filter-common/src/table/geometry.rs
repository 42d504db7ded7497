//! Where each part of the tables lies. Fixed when a generation is made, and read-only data of its program.
//!
//! All positions are line numbers, so that one array of lines holds everything.

use super::TableKind;
#[cfg(doc)]
use super::lines::ELEMENT_LINES;

/// Tables of a family.
pub const KINDS: usize = TableKind::ALL.len();
/// Lines of a root: 65,536 slots of a word.
pub const ROOT_LINES: u32 = 8192;
/// Buckets that an exact look-up reads at most: the one that a key hashes to and those after it.
pub const REACH: u32 = 16;
/// Buckets that share a line, of compact slots.
pub const BUCKETS_A_LINE: u32 = 2;

/// A hash table's buckets, one a line or [`BUCKETS_A_LINE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// Its first line.
    pub first: u32,
    /// Buckets that keys hash to; [`REACH`] - 1 more lie behind them for what overflows the last.
    pub buckets: u32,
}

impl Region {
    /// No bucket.
    pub const NONE: Self = Self { first: 0, buckets: 0 };

    /// All its buckets.
    #[must_use]
    pub const fn all(self) -> u32 {
        if self.buckets == 0 { 0 } else { self.buckets + REACH - 1 }
    }
}

/// Lines of packed IPv4 addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packed {
    /// The first.
    pub first: u32,
    /// How many there are; none where the addresses lie in slots of their own.
    pub lines: u32,
    /// The line that says which sets the codes stand for.
    pub sets: u32,
}

impl Packed {
    /// No line.
    pub const NONE: Self = Self { first: 0, lines: 0, sets: 0 };
}

/// The parts of one IPv4 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TableV4 {
    /// First line of the root: a slot for each first 16 bits.
    pub root: u32,
    /// First line of the chunks, and how many there is room for: the prefixes of 17 to 24 bits.
    pub chunks: u32,
    /// Lines of the chunks.
    pub chunk_lines: u32,
    /// Prefixes of 25 to 31 bits, and of 32 those that find no place among the packed ones.
    pub exact: Region,
    /// Prefixes of 32 bits.
    pub singles: Region,
    /// The same where they are very many.
    pub packed: Packed,
}

/// The parts of one IPv6 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TableV6 {
    /// First line of the root: a slot for each first 16 bits.
    pub root: u32,
    /// First line of the chunks: the prefixes of 17 to 24 bits.
    pub chunks: u32,
    /// Lines of the chunks.
    pub chunk_lines: u32,
    /// First line of the guides: which lengths lie under a /32.
    pub guides: u32,
    /// Lines of the guides.
    pub guide_lines: u32,
    /// First line of the codes: what they stand for.
    pub codes: u32,
    /// Every /32 that a prefix of 25 to 32 bits covers, or that longer ones lie in, with its code.
    pub networks: Region,
    /// Those of them whose payload has no code.
    pub spilled: Region,
    /// Prefixes of 33 to 64 bits.
    pub upper: Region,
    /// Prefixes of 65 to 128 bits.
    pub lower: Region,
    /// Prefixes of 33 to 128 bits, of networks that have few.
    pub gathered: Region,
}

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Geometry {
    /// What keys are multiplied with: odd, and drawn anew for each generation, so that no list can be made to crowd
    /// one bucket.
    pub multiplier: u64,
    /// Lines in all.
    pub lines: u32,
    /// Lines of rules and limits, from [`super::RULE_LINES`] on.
    pub policy_lines: u32,
    /// Lines of an element of the map: all, or [`ELEMENT_LINES`]. A program has the first element at hand, and asks the map for
    /// the others.
    pub element_lines: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// By [`TableKind`]; all zero where there is no such table.
    pub v4: [TableV4; KINDS],
    /// By [`TableKind`].
    pub v6: [TableV6; KINDS],
}

impl Geometry {
    /// Elements of the map.
    #[must_use]
    pub const fn elements(&self) -> u32 {
        self.lines / self.element_lines
    }

    /// That of no tables at all.
    pub const NONE: Self = Self {
        multiplier: 0,
        lines: 0,
        policy_lines: 0,
        element_lines: 0,
        reserved: 0,
        v4: [TableV4 {
            root: 0,
            chunks: 0,
            chunk_lines: 0,
            exact: Region::NONE,
            singles: Region::NONE,
            packed: Packed::NONE,
        }; KINDS],
        v6: [TableV6 {
            root: 0,
            chunks: 0,
            chunk_lines: 0,
            guides: 0,
            guide_lines: 0,
            codes: 0,
            networks: Region::NONE,
            spilled: Region::NONE,
            upper: Region::NONE,
            lower: Region::NONE,
            gathered: Region::NONE,
        }; KINDS],
    };
}

const _: () = assert!(size_of::<TableV4>() == 40);
const _: () = assert!(size_of::<TableV6>() == 64);
const _: () = assert!(size_of::<Geometry>() == 24 + KINDS * (40 + 64));
