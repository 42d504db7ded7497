//! Pinned maps of one value, and handles on maps.

use std::path::Path;

use aya::maps::{Array, Map, MapData};
use filter_common::abi::{ABI_VERSION, META_MAGIC, Meta, map};

use super::DataplaneError;
use super::pins::Pins;

pub(super) fn open_map(name: &'static str, path: &Path) -> Result<MapData, DataplaneError> {
    MapData::from_pin(path).map_err(DataplaneError::map(name))
}

pub(super) fn map_id(name: &'static str, data: &MapData) -> Result<u32, DataplaneError> {
    Ok(data.info().map_err(DataplaneError::map(name))?.id())
}

pub(super) fn read_value<V: aya::Pod>(name: &'static str, path: &Path) -> Result<V, DataplaneError> {
    read_element(name, path, 0)
}

pub(super) fn read_element<V: aya::Pod>(
    name: &'static str,
    path: &Path,
    place: u32,
) -> Result<V, DataplaneError> {
    let data = open_map(name, path)?;
    let map = Array::<_, V>::try_from(Map::Array(data)).map_err(DataplaneError::map(name))?;
    map.get(&place, 0).map_err(DataplaneError::map(name))
}

/// Pins a map of one value.
pub(super) fn pin_value<V: aya::Pod>(
    name: &'static str,
    path: &Path,
    value: V,
) -> Result<(), DataplaneError> {
    let mut map = Array::<MapData, V>::create(1, 0).map_err(DataplaneError::map(name))?;
    map.set(0, value, 0).map_err(DataplaneError::map(name))?;
    map.pin(path).map_err(|source| DataplaneError::Pin { path: path.to_owned(), source })
}

/// Changes the value of a pinned map of one.
pub(super) fn write_value<V: aya::Pod>(
    name: &'static str,
    path: &Path,
    value: V,
) -> Result<(), DataplaneError> {
    write_element(name, path, 0, value)
}

pub(super) fn write_element<V: aya::Pod>(
    name: &'static str,
    path: &Path,
    place: u32,
    value: V,
) -> Result<(), DataplaneError> {
    let data = open_map(name, path)?;
    let mut map = Array::<_, V>::try_from(Map::Array(data)).map_err(DataplaneError::map(name))?;
    map.set(place, value, 0).map_err(DataplaneError::map(name))
}

/// What made the pins; none when nothing did.
pub(super) fn read_meta(pins: &Pins) -> Result<Option<Meta>, DataplaneError> {
    let path = pins.meta();
    if !path.exists() {
        return Ok(None);
    }
    let meta: Meta = read_value(map::META, &path)?;
    if meta.magic != META_MAGIC {
        let what = format!("{} without its magic number", map::META);
        return Err(DataplaneError::ForeignPins { path: pins.root().to_owned(), what });
    }
    if meta.abi_version != ABI_VERSION {
        return Err(DataplaneError::AbiMismatch {
            path: pins.root().to_owned(),
            found: meta.abi_version,
            expected: ABI_VERSION,
        });
    }
    Ok(Some(meta))
}
