//! One generation of the prefix tables: a map of lines, as many as its contents need, and where each part lies.

use aya::maps::MapData;
use aya_obj::generated::BPF_F_MMAPABLE;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use filter_common::abi::map;
use filter_common::table::Geometry;
use filter_common::table::lines::LINE_BYTES;

use super::DataplaneError;
use super::mapping::Mapping;
use super::pins::{GenerationPins, Pins};
use super::recovery::{self, open_map_of};
use super::values::{map_id, open_map, pin_value, read_value};

/// One element of the map is one line.
#[expect(clippy::cast_possible_truncation, reason = "64")]
const VALUE_BYTES: u32 = LINE_BYTES as u32;

/// A generation in the kernel, filled or not, in use or not.
#[derive(Debug)]
pub(super) struct Generation {
    pub number: u32,
    pub geometry: Geometry,
    lines: MapData,
}

impl Generation {
    /// Takes the memory for it.
    pub(super) fn create(number: u32, geometry: Geometry) -> Result<Self, DataplaneError> {
        let (kind, key) = (BPF_MAP_TYPE_ARRAY as u32, 4);
        let object = aya_obj::Map::new_from_params(kind, key, VALUE_BYTES, geometry.lines, BPF_F_MMAPABLE);
        let lines = MapData::create(object, map::LINES, None).map_err(DataplaneError::map(map::LINES))?;
        Ok(Self { number, geometry, lines })
    }

    /// What an earlier controller pinned; what of it is missing, the program that runs on it tells. None where that does
    /// not.
    pub(super) fn adopt(pins: &Pins, number: u32, program_id: u32) -> Result<Option<Self>, DataplaneError> {
        let pins = pins.generation(number);
        let geometry = if pins.geometry().exists() {
            Some(read_value(map::GEOMETRY, &pins.geometry())?)
        } else {
            recovery::loaded_with(program_id)?.map(|loaded| loaded.geometry)
        };
        let Some(geometry) = geometry else { return Ok(None) };
        Ok(Some(Self { number, geometry, lines: open_map_of(map::LINES, &pins.lines(), program_id)? }))
    }

    /// Maps its lines.
    pub(super) fn map(&self) -> Result<Mapping, DataplaneError> {
        Mapping::of(&self.lines, self.geometry.lines)
    }

    /// Pins what of it is not pinned, and refuses another map in its place: a program on that would filter by another
    /// list than the one that is shown.
    pub(super) fn pin(&self, root: &Pins, pins: &GenerationPins) -> Result<(), DataplaneError> {
        std::fs::create_dir_all(pins.directory())
            .map_err(|error| root.failed("make", pins.directory(), error))?;
        let path = pins.lines();
        if path.exists() {
            if map_id(map::LINES, &open_map(map::LINES, &path)?)? != map_id(map::LINES, &self.lines)? {
                let what = format!("{}, which is another map than this controller's", path.display());
                return Err(DataplaneError::ForeignPins { path: root.root().to_owned(), what });
            }
        } else {
            self.lines.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
        }
        let path = pins.geometry();
        if path.exists() { Ok(()) } else { pin_value(map::GEOMETRY, &path, self.geometry) }
    }
}
