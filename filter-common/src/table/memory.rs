//! Lines in memory that one writer and any number of readers share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lines::{LINE_BYTES, Line, Lines, WORDS};

/// One line of shared memory.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct LineCell([AtomicU64; WORDS]);

const _: () = assert!(size_of::<LineCell>() == LINE_BYTES);

impl LineCell {
    /// Changes a word; `index` is below [`WORDS`]. Whatever was stored before is seen by whoever sees this.
    pub fn store(&self, index: u32, word: u64) {
        self.0[index as usize].store(word, Ordering::Release);
    }

    /// Changes thirty-two bits: the `half`th from the word `from`.
    pub fn store_half(&self, from: u32, half: u32, value: u32) {
        let (index, shift) = (from + half / 2, half % 2 * 32);
        let others = self.word(index) & !(0xffff_ffff << shift);
        self.store(index, others | u64::from(value) << shift);
    }

    /// Changes sixteen bits: the `quarter`th from the word `from`.
    pub fn store_quarter(&self, from: u32, quarter: u32, value: u32) {
        let (index, shift) = (from + quarter / 4, quarter % 4 * 16);
        let others = self.word(index) & !(0xffff << shift);
        self.store(index, others | u64::from(value) << shift);
    }
}

impl Line for &LineCell {
    fn sign(number: u64) -> u64 {
        (number.cast_signed() >> 63).cast_unsigned()
    }

    fn word(self, index: u32) -> u64 {
        self.0[index as usize % WORDS].load(Ordering::Acquire)
    }
}

impl<'a> Lines for &'a [LineCell] {
    type Line = &'a LineCell;

    fn line(&self, index: u32) -> Option<&'a LineCell> {
        self.get(index as usize)
    }
}

/// Zeroed lines of ordinary memory.
#[must_use]
pub fn zeroed(lines: u32) -> Box<[LineCell]> {
    (0..lines).map(|_| LineCell::default()).collect()
}
