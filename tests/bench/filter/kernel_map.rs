//! Plain XDP programs with one of the kernel's own maps: what Levee must be better than. The maps are as large as the
//! list (the LRU one larger, so that it forgets nothing) and are filled in batches.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, Map, MapData};
use aya::programs::XdpMode;
use filter_common::harness::name;
use harness::batch;
use harness::object::Object;

use super::{Edit, Filter, Installed, Kind, Program, Unavailable};
use crate::lane::{INTERFACE, Lane};
use crate::list::List;
use crate::memory;

/// Any value will do.
const LISTED: u32 = 1;

pub struct KernelMap {
    object: Object,
    names: Names,
}

/// The program and its maps.
#[derive(Clone, Copy)]
struct Names {
    kind: Kind,
    program: &'static str,
    v4: &'static str,
    v6: &'static str,
}

impl Names {
    fn of(kind: Kind) -> Result<Self> {
        let (program, v4, v6) = match kind {
            Kind::Lpm => (name::LPM, name::LPM_V4, name::LPM_V6),
            Kind::Hash => (name::HASH, name::HASH_V4, name::HASH_V6),
            Kind::LruHash => (name::LRU, name::LRU_V4, name::LRU_V6),
            other => bail!("{other} is no program with a map of the kernel's"),
        };
        Ok(Self { kind, program, v4, v6 })
    }

    /// Elements that a map for `entries` is given.
    fn room(&self, entries: usize) -> Result<u32> {
        let entries = match self.kind {
            // Its free elements are shared out among CPUs, some to each, so it forgets before it is full.
            Kind::LruHash => entries + entries / 4 + 4096,
            // As much as Levee keeps. A hash map has the next power of two of buckets.
            _ => entries + entries / 16 + 1024,
        };
        Ok(u32::try_from(entries.max(1))?)
    }
}

impl KernelMap {
    pub fn fill(kind: Kind, lane: &Lane, list: &List) -> Result<Installed> {
        if kind != Kind::Lpm && !list.is_of_addresses() {
            return Err(Unavailable::NoPrefixes.into());
        }
        let names = Names::of(kind)?;
        let sizes = [(names.v4, names.room(list.v4.len())?), (names.v6, names.room(list.v6.len())?)];
        let mut object = Object::with(&sizes, None)?;
        let load = fill(&object, names, list)?;
        let program = object.xdp(names.program)?;
        lane.victim
            .in_ns(|| program.attach(INTERFACE, XdpMode::Driver))
            .with_context(|| format!("cannot attach {kind} to {INTERFACE}"))?;
        Ok(Installed { filter: Box::new(Self { object, names }), load: Some(load) })
    }
}

/// The time counts the system calls, not the making of keys.
fn fill(object: &Object, names: Names, list: &List) -> Result<Duration> {
    let (v4, v6) = (object.map_data(names.v4)?, object.map_data(names.v6)?);
    let length = |prefix_len: u8| u32::from(prefix_len);
    if names.kind == Kind::Lpm {
        let keys_v4: Vec<_> =
            list.v4.iter().map(|net| Key::new(length(net.prefix_len()), net.network().octets())).collect();
        let keys_v6: Vec<_> =
            list.v6.iter().map(|net| Key::new(length(net.prefix_len()), net.network().octets())).collect();
        return Ok(put(v4, &keys_v4)? + put(v6, &keys_v6)?);
    }
    let keys_v4: Vec<_> = list.v4.iter().map(|net| net.network().octets()).collect();
    let keys_v6: Vec<_> = list.v6.iter().map(|net| net.network().octets()).collect();
    Ok(put(v4, &keys_v4)? + put(v6, &keys_v6)?)
}

fn put<K: Pod>(map: &MapData, keys: &[K]) -> Result<Duration> {
    let values = vec![LISTED; keys.len()];
    let begun = Instant::now();
    batch::update(map, keys, &values)?;
    Ok(begun.elapsed())
}

impl Filter for KernelMap {
    fn description(&self) -> String {
        let filled = "filled by BPF_MAP_UPDATE_BATCH";
        format!("a plain XDP program, native; Ethernet, IPv4 and IPv6 headers, one look-up; {filled}")
    }

    fn dropped(&self) -> Result<Option<u64>> {
        Ok(Some(self.object.count(name::DROPPED, 0)?.packets))
    }

    fn program(&self) -> Result<Option<Program>> {
        let program = self.object.loaded(self.names.program)?;
        Ok(Some(Program { fd: program.fd()?.try_clone()?, frags: false }))
    }

    fn memory(&self) -> Result<Option<u64>> {
        let v4 = memory::of_map(&self.object.map_data(self.names.v4)?.info()?)?;
        let v6 = memory::of_map(&self.object.map_data(self.names.v6)?.info()?)?;
        Ok(Some(v4 + v6))
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        // Through its number, as another process would.
        let id = self.object.map_data(self.names.v4)?.info()?.id();
        let map = Map::from_map_data(MapData::from_id(id)?)?;
        Ok(Some(match self.names.kind {
            Kind::Lpm => Box::new(TrieEdit(LpmTrie::try_from(map)?)),
            _ => Box::new(HashEdit(HashMap::try_from(map)?)),
        }))
    }
}

/// One system call a change.
struct TrieEdit(LpmTrie<MapData, [u8; 4], u32>);
struct HashEdit(HashMap<MapData, [u8; 4], u32>);

impl Edit for TrieEdit {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        Ok(self.0.insert(&Key::new(32, octets(address)?), LISTED, 0)?)
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        Ok(self.0.remove(&Key::new(32, octets(address)?))?)
    }
}

impl Edit for HashEdit {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        Ok(self.0.insert(octets(address)?, LISTED, 0)?)
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        Ok(self.0.remove(&octets(address)?)?)
    }
}

fn octets(address: IpAddr) -> Result<[u8; 4]> {
    match address {
        IpAddr::V4(address) => Ok(address.octets()),
        IpAddr::V6(_) => bail!("changes are measured with IPv4 addresses"),
    }
}
