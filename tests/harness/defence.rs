//! What a SYN defence knows once it has been in force for minutes.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::{SynSecrets, map};

/// Makes the defences that are pinned below a pin directory as old as that: until then the socket of each SYN is looked for.
///
/// # Errors
/// When there are none, or the kernel refuses.
pub fn make_old(root: &Path) -> Result<()> {
    let pinned = Map::Array(MapData::from_pin(root.join(map::SYN_SECRETS)).context("no map of secrets")?);
    let mut pinned = Array::<_, SynSecrets>::try_from(pinned)?;
    let secrets = pinned.get(&0, 0)?;
    pinned.set(0, SynSecrets { look_up_until: 0, ..secrets }, 0)?;
    Ok(())
}
