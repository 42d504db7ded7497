//! Buckets in ordinary memory, for the host.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slots::{Cells, Slots};
use crate::table::lines::{LINE_BYTES, Line, WORDS};

/// One line of buckets.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SlotLine([AtomicU64; WORDS]);

const _: () = assert!(size_of::<SlotLine>() == LINE_BYTES);

impl Line for &SlotLine {
    fn sign(number: u64) -> u64 {
        (number.cast_signed() >> 63).cast_unsigned()
    }

    fn word(self, index: u32) -> u64 {
        self.0[index as usize % WORDS].load(Ordering::Relaxed)
    }
}

impl Slots for &SlotLine {
    fn compare_exchange(self, slot: u32, old: u64, new: u64) -> bool {
        let word = &self.0[slot as usize % WORDS];
        word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<'a> Cells for &'a [SlotLine] {
    type Line = &'a SlotLine;

    fn line(&self, index: u32) -> Option<&'a SlotLine> {
        self.get(index as usize)
    }
}

/// Lines whose buckets all owe nothing.
#[must_use]
pub fn zeroed(lines: u32) -> Box<[SlotLine]> {
    (0..lines).map(|_| SlotLine::default()).collect()
}
