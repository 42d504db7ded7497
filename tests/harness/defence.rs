//! A SYN defence as it is once it has been in force for minutes.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::map;
use filter_common::policy::syn::{connected, verified};
use filter_common::table::lines::WORDS;

/// Makes the defences that are pinned below a pin directory as old as that: until then the socket of each SYN is looked for.
///
/// # Errors
/// When there are none, or the kernel refuses.
pub fn make_old(root: &Path) -> Result<()> {
    const LINE: u32 = verified::LINES + connected::UNTIL_LINE;
    let pinned = Map::Array(MapData::from_pin(root.join(map::VERIFIED)).context("no map of sources")?);
    let mut pinned = Array::<_, [u64; WORDS]>::try_from(pinned)?;
    pinned.set(LINE, [0; WORDS], 0)?;
    Ok(())
}
