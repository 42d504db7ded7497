//! The classes of Ethernet addresses: a hash table whose buckets are one line each.
//!
//! A slot is a word: the address (48 bits) and its class (16), which is never 0. No bucket overflows: the table is built
//! with another multiplier, and then larger, until none does. So a look-up reads one line, and an address that no rule
//! names has class 0.

use super::geometry::{EtherTable, WORDS_A_LINE};
use crate::table::lines::{Line, Lines};

/// The bucket of an address (Lemire, "Fast random integer generation in an interval", 2019).
#[inline(always)]
const fn bucket(table: &EtherTable, address: u64) -> u32 {
    (((address.wrapping_mul(table.multiplier) >> 32) * table.buckets as u64) >> 32) as u32
}

/// The class of an address, whose first octet is the highest of its six bytes; 0 where the table does not have it.
#[inline(always)]
pub fn find<L: Lines>(lines: &L, table: &EtherTable, address: u64) -> u32 {
    let Some(line) = lines.line(table.first.wrapping_add(bucket(table, address))) else { return 0 };
    for slot in 0..WORDS_A_LINE {
        let word = line.word(slot);
        if word >> 16 == address && word != 0 {
            return (word & 0xffff) as u32;
        }
    }
    0
}

/// A table of these addresses and their classes, none of which is 0, and the words of its lines.
#[cfg(any(test, feature = "std"))]
pub(super) fn build(addresses: &[(u64, u16)]) -> (EtherTable, Vec<u64>) {
    const SLOTS: usize = WORDS_A_LINE as usize;
    /// Odd, and its upper half as irregular as its lower (from SplitMix64; Steele, Lea and Flood, 2014).
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    /// Multipliers that are tried before the table is made larger.
    const TRIES: u64 = 8;

    let mut table = EtherTable { first: 0, buckets: 1, multiplier: FIRST };
    while (table.buckets as usize) * SLOTS < 2 * addresses.len() {
        table.buckets *= 2;
    }
    loop {
        for attempt in 0..TRIES {
            table.multiplier = FIRST.wrapping_mul(2 * attempt + 1);
            if let Some(words) = filled(&table, addresses) {
                return (table, words);
            }
        }
        table.buckets *= 2;
    }
}

/// The words of the table; `None` where a bucket overflows.
#[cfg(any(test, feature = "std"))]
fn filled(table: &EtherTable, addresses: &[(u64, u16)]) -> Option<Vec<u64>> {
    const SLOTS: usize = WORDS_A_LINE as usize;
    let mut words = vec![0; table.buckets as usize * SLOTS];
    for (address, class) in addresses {
        let begin = bucket(table, *address) as usize * SLOTS;
        let free = words[begin..begin + SLOTS].iter_mut().find(|word| **word == 0)?;
        *free = address << 16 | u64::from(*class);
    }
    Some(words)
}
