//! One generation of the prefix tables: a map of lines, as many as its contents need, and where each part lies; and with it
//! its policy, whose limits keep their buckets from one generation to the next as long as they are the same.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use aya::maps::{MapData, MapError};
use aya_obj::generated::BPF_F_MMAPABLE;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use filter_common::abi::map;
use filter_common::policy::tables::PolicyTables;
use filter_common::table::Geometry;
use filter_common::table::lines::LINE_BYTES;

use super::DataplaneError;
use super::connections;
use super::mapping::Mapping;
use super::pins::{GenerationPins, Pins};
use super::recovery::{self, open_map_of};
use super::values::{map_id, open_map, pin_value, read_value};

/// Bytes of a line.
#[expect(clippy::cast_possible_truncation, reason = "64")]
pub(super) const VALUE_BYTES: u32 = LINE_BYTES as u32;

/// A generation in the kernel, filled or not, in use or not.
#[derive(Debug)]
pub(super) struct Generation {
    pub number: u32,
    pub geometry: Geometry,
    /// What packets meet beyond the lists.
    pub policy: Option<Arc<PolicyTables>>,
    /// Whether its programs note connections.
    pub notes_connections: bool,
    lines: MapData,
    /// Where there are limits.
    buckets: Option<MapData>,
}

impl Generation {
    /// Takes the memory for it. Limits that are those of the generation `before` go on with its buckets.
    pub(super) fn create(
        number: u32,
        geometry: Geometry,
        policy: Option<Arc<PolicyTables>>,
        before: Option<&Self>,
    ) -> Result<Self, DataplaneError> {
        let bytes = geometry.element_lines * VALUE_BYTES;
        let lines = array(map::LINES, bytes, geometry.elements(), BPF_F_MMAPABLE)?;
        let buckets = match &policy {
            Some(policy) if policy.bucket_lines > 0 => {
                let inherited = before.and_then(|before| before.buckets_for(policy));
                Some(match inherited {
                    Some(buckets) => same_map(map::BUCKETS, buckets)?,
                    None => array(map::BUCKETS, VALUE_BYTES, policy.bucket_lines, 0)?,
                })
            }
            _ => None,
        };
        let notes_connections = connections::are_noted(policy.as_deref());
        Ok(Self { number, geometry, policy, notes_connections, lines, buckets })
    }

    /// The buckets, if they are those of the same limits.
    fn buckets_for(&self, policy: &PolicyTables) -> Option<&MapData> {
        let own = self.policy.as_ref()?;
        if own.limit_lines() == policy.limit_lines() { self.buckets.as_ref() } else { None }
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
        let lines = open_map_of(map::LINES, &pins.lines(), program_id)?;
        let path = pins.buckets();
        let buckets = if path.exists() { Some(open_map(map::BUCKETS, &path)?) } else { None };
        let notes_connections = policy_pinned(&pins)?.is_some_and(|[_, notes]| notes != 0);
        Ok(Some(Self { number, geometry, policy: None, notes_connections, lines, buckets }))
    }

    /// Whether its programs were loaded with that policy.
    pub(super) fn runs_policy(
        &self,
        root: &Pins,
        policy: Option<&PolicyTables>,
    ) -> Result<bool, DataplaneError> {
        let pinned = policy_pinned(&root.generation(self.number))?;
        Ok(match policy {
            Some(policy) => pinned.is_some_and(|[digest, _]| digest == policy.digest()),
            None => self.geometry.policy_lines == 0,
        })
    }

    /// Whether limits of that policy have their buckets here.
    pub(super) fn has_buckets(&self, policy: Option<&PolicyTables>) -> bool {
        policy.is_none_or(|policy| policy.bucket_lines == 0) || self.buckets.is_some()
    }

    /// Other handles on its lines and its buckets.
    pub(super) fn same_maps(&self) -> Result<(MapData, Option<MapData>), DataplaneError> {
        let buckets = self.buckets.as_ref().map(|buckets| same_map(map::BUCKETS, buckets)).transpose()?;
        Ok((same_map(map::LINES, &self.lines)?, buckets))
    }

    /// Its lines alone.
    pub(super) fn into_lines(self) -> MapData {
        self.lines
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
        let path = pins.buckets();
        if let Some(buckets) = &self.buckets
            && !path.exists()
        {
            buckets.pin(&path).map_err(|source| DataplaneError::Pin { path, source })?;
        }
        let path = pins.policy();
        if let Some(policy) = &self.policy
            && !path.exists()
        {
            pin_value(map::POLICY, &path, [policy.digest(), self.notes_connections.into()])?;
        }
        let path = pins.geometry();
        if path.exists() { Ok(()) } else { pin_value(map::GEOMETRY, &path, self.geometry) }
    }
}

/// What is pinned of a generation's policy; none where it has none.
fn policy_pinned(pins: &GenerationPins) -> Result<Option<[u64; 2]>, DataplaneError> {
    let path = pins.policy();
    if path.exists() { read_value(map::POLICY, &path).map(Some) } else { Ok(None) }
}

/// Another handle on a map. To open it by its number would take CAP_SYS_ADMIN.
pub(super) fn same_map(name: &'static str, map: &MapData) -> Result<MapData, DataplaneError> {
    let descriptor = map.fd().as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(|source| DataplaneError::map(name)(MapError::IoError(source)))?;
    MapData::from_fd(descriptor).map_err(DataplaneError::map(name))
}

/// An array of so many elements.
fn array(name: &'static str, bytes: u32, elements: u32, flags: u32) -> Result<MapData, DataplaneError> {
    let (kind, key) = (BPF_MAP_TYPE_ARRAY as u32, 4);
    let object = aya_obj::Map::new_from_params(kind, key, bytes, elements, flags);
    MapData::create(object, name, None).map_err(DataplaneError::map(name))
}
