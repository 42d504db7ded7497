//! A SYN defence as it is once it has been in force for minutes.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::map;
use filter_common::policy::syn::{connected, verified};
use filter_common::table::lines::WORDS;

/// The first nanosecond of the monotonic clock.
pub const LONG_AGO: u64 = 1;

/// Makes the defences that are pinned below a pin directory as old as that: until then the socket of each SYN is looked for.
///
/// # Errors
/// When there are none, or the kernel refuses.
pub fn make_old(root: &Path) -> Result<()> {
    let line = std::array::from_fn(|word| if word == 0 { LONG_AGO } else { 0 });
    sources(root)?.set(LINE, line, 0)?;
    Ok(())
}

/// Forgets whose connections were noted.
///
/// # Errors
/// As [`make_old`].
pub fn forget_connections(root: &Path) -> Result<()> {
    let mut sources = sources(root)?;
    (verified::LINES..LINE).try_for_each(|line| sources.set(line, [0; WORDS], 0))?;
    Ok(())
}

/// Until when that is so, in nanoseconds of the monotonic clock.
///
/// # Errors
/// As [`make_old`].
pub fn is_young_until(root: &Path) -> Result<u64> {
    Ok(sources(root)?.get(&LINE, 0)?[0])
}

const LINE: u32 = verified::LINES + connected::UNTIL_LINE;

fn sources(root: &Path) -> Result<Array<MapData, [u64; WORDS]>> {
    let pinned = Map::Array(MapData::from_pin(root.join(map::VERIFIED)).context("no map of sources")?);
    Ok(Array::try_from(pinned)?)
}
