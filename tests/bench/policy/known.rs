//! Sources that answered a challenge, written where the program looks for them.
//!
//! A flood of forged sources meets marks of those that are known, and has to look further for some: that is part of what a
//! challenge costs.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::map;
use filter_common::policy::limiter::memory::{SlotLine, zeroed};
use filter_common::policy::limiter::{KeyHasher, Slots as _};
use filter_common::policy::observed::{Observed, family};
use filter_common::policy::syn::verified::{LINES, Place};
use filter_common::table::lines::{Line as _, WORDS};
use rand::prelude::*;

/// So many random ones, for good, in the maps below a pin directory. Wherever a source is, another is as likely, so they are
/// hashed with numbers of their own.
pub fn make_known(root: &Path, count: u32) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(13);
    let hasher = KeyHasher::new(13, 0);
    let lines = zeroed(LINES);
    for _ in 0..count {
        let source = [u64::from(rng.random::<u32>()), 0];
        let place = Place::of(&hasher, &Observed { source, family: family::V4, ..Observed::NONE });
        let line = &lines[place.line() as usize];
        let entry = place.entry(line, 0, u64::MAX >> 1);
        set(line, entry.slot, entry.word);
        let (marks, byte) = place.marks();
        let marks = &lines[marks as usize];
        let shift = byte % 8 * 8;
        set(marks, byte / 8, marks.word(byte / 8) & !(0xff << shift) | u64::from(entry.marks) << shift);
    }
    let pinned = Map::Array(MapData::from_pin(root.join(map::VERIFIED)).context("no map of known sources")?);
    let mut pinned = Array::<_, [u64; WORDS]>::try_from(pinned)?;
    for (number, line) in (0..).zip(&lines) {
        let words: Vec<u64> = (0..).take(WORDS).map(|slot| line.word(slot)).collect();
        pinned.set(number, <[u64; WORDS]>::try_from(words.as_slice())?, 0)?;
    }
    Ok(())
}

/// There is one thread.
fn set(line: &SlotLine, slot: u32, word: u64) {
    let swapped = line.compare_exchange(slot, line.word(slot), word);
    debug_assert!(swapped, "somebody else writes");
}
