//! What a program that runs tells of pins that are missing.
//!
//! A program holds its maps, and its read-only data hold its switches and where its tables lie; so while a link keeps
//! it on an interface, nothing is lost with a pin but the way to find it. Decides whose read-only data are believed:
//! those which are this build's but for the globals that the loader sets. Another build may keep them elsewhere.
//! Trusts the kernel. Costs some system calls, and three looks through the object file where data are read.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya::programs::ProgramInfo;
use aya_obj::EbpfSectionKind;
use filter_common::abi::{GEOMETRY_GLOBAL, POLICY_GLOBAL, RULES_GLOBAL, SWITCHES_GLOBAL};
use filter_common::config::{PolicySwitches, Switches};
use filter_common::policy::classifier::RulesGeometry;
use filter_common::table::Geometry;

use super::DataplaneError;
use super::link::read_only_element;
use super::values::open_map;
use crate::object;

/// The kernel's name of the map that read-only data are.
const READ_ONLY: &str = ".rodata";

/// What a program was loaded with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    pub switches: Switches,
    pub geometry: Geometry,
}

/// The program of that number.
pub(super) fn program(id: u32) -> Result<ProgramInfo, DataplaneError> {
    let mut programs = aya::programs::loaded_programs();
    let found = programs.find(|program| program.as_ref().map_or(true, |program| program.id() == id));
    Ok(found.ok_or(aya::programs::ProgramError::NotLoaded)??)
}

/// A map that is pinned at `path` or, where that pin is missing, that the program of that number has under that name.
pub(super) fn open_map_of(
    name: &'static str,
    path: &Path,
    program_id: u32,
) -> Result<MapData, DataplaneError> {
    if path.exists() {
        return open_map(name, path);
    }
    map_of(name, program_id)?.ok_or_else(|| DataplaneError::Unrecoverable { path: path.to_owned() })
}

/// The same for counters.
pub(super) fn open_counters_of<V: aya::Pod>(
    name: &'static str,
    path: &Path,
    program_id: u32,
) -> Result<PerCpuArray<MapData, V>, DataplaneError> {
    let data = open_map_of(name, path, program_id)?;
    PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(DataplaneError::map(name))
}

/// The map that the program of that number has under that name.
pub(super) fn map_of(name: &'static str, program_id: u32) -> Result<Option<MapData>, DataplaneError> {
    for id in program(program_id)?.map_ids()?.unwrap_or_default() {
        let data = MapData::from_id(id).map_err(DataplaneError::map(name))?;
        let info = data.info().map_err(DataplaneError::map(name))?;
        if info.name_as_str() == Some(name) {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What the program of that number was loaded with; none where it is not one of this build's.
pub(super) fn loaded_with(program_id: u32) -> Result<Option<Loaded>, DataplaneError> {
    let Some(data) = map_of(READ_ONLY, program_id)? else { return Ok(None) };
    let size = data.info().map_err(DataplaneError::map(READ_ONLY))?.value_size() as usize;
    let mut found = vec![0; size];
    read_only_element(data.fd().as_fd().as_raw_fd(), &mut found)
        .map_err(|source| DataplaneError::map(READ_ONLY)(MapError::IoError(source)))?;
    Ok(Layout::of_this_build().and_then(|layout| layout.read(&found)))
}

/// Where the globals lie among read-only data.
struct Layout {
    data: Vec<u8>,
    switches: Range<usize>,
    geometry: Range<usize>,
    /// Those of the policy, which may be anything.
    policy: [Range<usize>; 2],
}

impl Layout {
    fn of_this_build() -> Option<Self> {
        let data = read_only_data(SWITCHES_GLOBAL, 0, 0)?;
        let place = |global, size: usize| {
            let [zeros, ones] = [0, 0xff].map(|byte| read_only_data(global, byte, size));
            let (zeros, ones) = (zeros?, ones?);
            let start = zeros.iter().zip(&ones).position(|(zero, one)| zero != one)?;
            Some(start..start + size)
        };
        let switches = place(SWITCHES_GLOBAL, size_of::<Switches>())?;
        let geometry = place(GEOMETRY_GLOBAL, size_of::<Geometry>())?;
        let rules = place(RULES_GLOBAL, size_of::<RulesGeometry>())?;
        let policy = [rules, place(POLICY_GLOBAL, size_of::<PolicySwitches>())?];
        Some(Self { data, switches, geometry, policy })
    }

    /// The globals, where everything else is as in this build.
    fn read(&self, found: &[u8]) -> Option<Loaded> {
        let of_policy = |at: &usize| self.policy.iter().any(|place| place.contains(at));
        let is_global =
            |at: &usize| self.switches.contains(at) || self.geometry.contains(at) || of_policy(at);
        let is_same = found.len() == self.data.len()
            && (0..found.len()).filter(|at| !is_global(at)).all(|at| found[at] == self.data[at]);
        if !is_same {
            return None;
        }
        Some(Loaded {
            switches: value(found.get(self.switches.clone())?)?,
            geometry: value(found.get(self.geometry.clone())?)?,
        })
    }
}

/// The read-only data of this build's object with a global of `size` bytes set to `byte`; with none set, where it has
/// no bytes.
fn read_only_data(global: &str, byte: u8, size: usize) -> Option<Vec<u8>> {
    let mut object = aya_obj::Object::parse(object::DATAPLANE).ok()?;
    let bytes = vec![byte; size];
    if size > 0 {
        object.patch_map_data(HashMap::from([(global, (bytes.as_slice(), true))])).ok()?;
    }
    let map = object.maps.into_values().find(|map| map.section_kind() == EbpfSectionKind::Rodata)?;
    Some(map.data().to_vec())
}

fn value<V: aya::Pod>(bytes: &[u8]) -> Option<V> {
    // SAFETY: there are as many bytes as are read, at any alignment, and of plain data every pattern is valid.
    (bytes.len() == size_of::<V>()).then(|| unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_are_read_from_data_of_this_build_and_of_no_other() {
        let layout = Layout::of_this_build().expect("the object has read-only data with both globals");
        let mut data = layout.data.clone();
        let loaded = layout.read(&data).expect("its own data are this build's");
        assert_eq!((loaded.switches, loaded.geometry), (Switches::DEFAULT, Geometry::NONE));
        data[layout.switches.start] = 0;
        data[layout.geometry.start] ^= 1;
        let loaded = layout.read(&data).expect("globals may differ");
        assert_eq!(loaded.switches, Switches { bad_tcp_flags: 0, ..Switches::DEFAULT });
        assert_ne!(loaded.geometry, Geometry::NONE);
        let other = (0..data.len()).find(|at| {
            let of_policy = layout.policy.iter().any(|place| place.contains(at));
            !layout.switches.contains(at) && !layout.geometry.contains(at) && !of_policy
        });
        if let Some(at) = other {
            data[at] ^= 1;
            assert!(layout.read(&data).is_none(), "another build's data are believed");
        }
        data.push(0);
        assert!(layout.read(&data).is_none());
    }
}
