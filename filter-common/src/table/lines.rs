//! The memory that the tables lie in: an array of cache lines, each of eight words.
//!
//! The XDP program reads it as a map; the controller maps the same memory and writes it word by word. A word is the
//! unit of change: whoever reads sees all of the old word or all of the new one.

use super::geometry::{Region, TableV6};
use super::{compact, exact, search};

/// Words in a line.
pub const WORDS: usize = 8;
/// Bytes in a line: what the CPUs that Levee runs on fetch from memory at once.
pub const LINE_BYTES: usize = 8 * WORDS;

/// Lines of each element of the map, where a generation is divided: 2 MiB. Kernels before 6.0 take no value of more than 4.
pub const ELEMENT_LINES: u32 = 1 << 15;

/// An array of lines, and the exact look-ups in it.
pub trait Lines: Sized {
    /// One line of it.
    type Line: Line;

    /// The line of an index; `None` past the end, which only a damaged table can make a reader ask for.
    fn line(&self, index: u32) -> Option<Self::Line>;

    /// The word of an index, counted from a line on across those behind it.
    #[inline(always)]
    fn word_at(&self, first: u32, index: u32) -> Option<u64> {
        Some(self.line(first.wrapping_add(index / 8))?.word(index % 8))
    }

    /// Thirty-two bits, likewise.
    #[inline(always)]
    fn half_at(&self, first: u32, index: u32) -> Option<u32> {
        Some(self.line(first.wrapping_add(index / 16))?.half(0, index % 16))
    }

    /// Sixteen bits, likewise.
    #[inline(always)]
    fn quarter_at(&self, first: u32, index: u32) -> Option<u32> {
        Some(self.line(first.wrapping_add(index / 32))?.quarter(0, index % 32))
    }

    /// [`search::narrow_lengths`]. This and the others are here so that the XDP program can make them functions of
    /// their own: inlined, they are more paths than the verifier walks.
    #[inline(always)]
    fn narrow_lengths(&self, multiplier: u64, region: Region, address: u32, lengths: u32) -> u32 {
        search::narrow_lengths(self, multiplier, region, address, lengths)
    }

    /// [`search::upper_lengths`].
    #[inline(always)]
    fn upper_lengths(&self, multiplier: u64, region: Region, first: u64, lengths: u64) -> u32 {
        search::upper_lengths(self, multiplier, region, first, lengths)
    }

    /// [`search::lower_lengths`].
    #[inline(always)]
    fn lower_lengths(&self, multiplier: u64, region: Region, address: (u64, u64), lengths: u64) -> u32 {
        search::lower_lengths(self, multiplier, region, address, lengths)
    }

    /// [`search::find_levels`].
    #[inline(always)]
    fn levels(&self, multiplier: u64, table: &TableV6, address: (u64, u64), guide: u32) -> u32 {
        search::find_levels(self, multiplier, table, address, guide)
    }

    /// [`exact::find_narrow`].
    #[inline(always)]
    fn narrow(&self, multiplier: u64, region: Region, key: u32, length: u32) -> u32 {
        exact::find_narrow(self, multiplier, region, key, length)
    }

    /// [`compact::find_network`].
    #[inline(always)]
    fn network(&self, multiplier: u64, region: Region, network: u32) -> u32 {
        compact::find_network(self, multiplier, region, network)
    }

    /// [`exact::find_upper`].
    #[inline(always)]
    fn upper(&self, multiplier: u64, region: Region, key: u64, length: u32) -> u32 {
        exact::find_upper(self, multiplier, region, key, length)
    }

    /// [`exact::find_gathered`].
    #[inline(always)]
    fn gathered(&self, multiplier: u64, region: Region, address: (u64, u64)) -> u32 {
        exact::find_gathered(self, multiplier, region, address)
    }

    /// [`exact::find_lower`].
    #[inline(always)]
    fn lower(&self, multiplier: u64, region: Region, key: (u64, u64), length: u32) -> u32 {
        exact::find_lower(self, multiplier, region, key, length)
    }
}

/// One line.
pub trait Line: Copy {
    /// All ones where the highest bit is set, else zero; in a way that a compiler cannot see through. eBPF has no
    /// conditional move, so what a compiler recognises as a choice it turns into a branch, which random keys make the
    /// CPU mispredict.
    fn sign(number: u64) -> u64;

    /// The word at `index`, of which only the lowest three bits count.
    fn word(self, index: u32) -> u64;

    /// Thirty-two bits: the `index`th from the word `from`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of a word is meant")]
    fn half(self, from: u32, index: u32) -> u32 {
        (self.word(from + index / 2) >> (index % 2 * 32)) as u32
    }

    /// Sixteen bits: the `index`th from the word `from`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a quarter of a word is meant")]
    fn quarter(self, from: u32, index: u32) -> u32 {
        (self.word(from + index / 4) >> (index % 4 * 16)) as u32 & 0xffff
    }
}
