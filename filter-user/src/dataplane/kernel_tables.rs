//! The live prefix tables, as the engine uses them.
//!
//! One system call a change. A prefix's length is marked in use before the prefix goes in, and unmarked after the
//! last of that length is out, so a search that runs meanwhile sees the old table or the new one.

use std::borrow::Borrow;
use std::io;
use std::net::IpAddr;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use filter_common::abi::map;
use filter_common::keys::{AddressV4, AddressV6, KeyV4, KeyV6};
use filter_common::table::{LengthTable, Lengths, Prefix, PrefixStore, longest_match_within, mark};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::DataplaneError;
use crate::tables::{PrefixTables, SetId, TableError, TableKind};

/// Names of the six table maps and of the map of lengths.
pub(super) const TABLE_MAPS: [&str; 7] = [
    map::BLOCK_V4,
    map::BLOCK_V6,
    map::ALLOW_SRC_V4,
    map::ALLOW_SRC_V6,
    map::ALLOW_DST_V4,
    map::ALLOW_DST_V6,
    map::LENGTHS,
];

/// The live tables.
pub struct KernelTables {
    lengths: Array<MapData, LengthTable>,
    marked: LengthTable,
    block: Table,
    allow_source: Table,
    allow_destination: Table,
}

/// One table: a map a family, and how many prefixes of each length it holds.
struct Table {
    capacity: usize,
    v4: Family<KeyV4>,
    v6: Family<KeyV6>,
}

struct Family<K> {
    map: HashMap<MapData, K, SetId>,
    counts: Vec<usize>,
}

impl KernelTables {
    /// Opens the tables behind these maps and counts what is in them.
    pub(super) fn open(
        mut take: impl FnMut(&'static str) -> Result<MapData, DataplaneError>,
        block_capacity: usize,
        allow_capacity: usize,
    ) -> Result<Self, DataplaneError> {
        let lengths =
            Array::try_from(Map::Array(take(map::LENGTHS)?)).map_err(DataplaneError::map(map::LENGTHS))?;
        let mut table = |v4, v6, capacity| {
            Ok::<_, DataplaneError>(Table {
                capacity,
                v4: Family::open(v4, take(v4)?)?,
                v6: Family::open(v6, take(v6)?)?,
            })
        };
        let mut tables = Self {
            lengths,
            marked: LengthTable::default(),
            block: table(map::BLOCK_V4, map::BLOCK_V6, block_capacity)?,
            allow_source: table(map::ALLOW_SRC_V4, map::ALLOW_SRC_V6, allow_capacity)?,
            allow_destination: table(map::ALLOW_DST_V4, map::ALLOW_DST_V6, allow_capacity)?,
        };
        tables.mark_what_is_there().map_err(DataplaneError::map(map::LENGTHS))?;
        Ok(tables)
    }

    /// Sets the length marks by what the tables hold: a controller that was killed between a mark and its prefix may
    /// have left one too many, which would cost every packet a look-up.
    fn mark_what_is_there(&mut self) -> Result<(), MapError> {
        for kind in TableKind::ALL {
            let (table, lengths) = self.parts(kind);
            for length in 0..=KeyV6::BITS {
                let holds = |counts: &[usize]| counts.get(length as usize).is_some_and(|count| *count > 0);
                mark(&mut lengths.v4, KeyV4::BITS, length, holds(&table.v4.counts));
                mark(&mut lengths.v6, KeyV6::BITS, length, holds(&table.v6.counts));
            }
        }
        if self.lengths.get(&0, 0)? == self.marked { Ok(()) } else { self.lengths.set(0, self.marked, 0) }
    }

    fn table(&self, kind: TableKind) -> &Table {
        match kind {
            TableKind::Block => &self.block,
            TableKind::AllowSource => &self.allow_source,
            TableKind::AllowDestination => &self.allow_destination,
        }
    }

    fn parts(&mut self, kind: TableKind) -> (&mut Table, &mut Lengths) {
        match kind {
            TableKind::Block => (&mut self.block, &mut self.marked.block),
            TableKind::AllowSource => (&mut self.allow_source, &mut self.marked.allow_source),
            TableKind::AllowDestination => (&mut self.allow_destination, &mut self.marked.allow_destination),
        }
    }

    fn mark(&mut self, kind: TableKind, prefix: IpNet, present: bool) -> Result<(), TableError> {
        let before = self.marked;
        let (_, lengths) = self.parts(kind);
        let length = u32::from(prefix.prefix_len());
        match prefix {
            IpNet::V4(_) => mark(&mut lengths.v4, KeyV4::BITS, length, present),
            IpNet::V6(_) => mark(&mut lengths.v6, KeyV6::BITS, length, present),
        }
        if self.marked == before {
            return Ok(());
        }
        self.lengths.set(0, self.marked, 0).map_err(|source| {
            self.marked = before;
            TableError::Kernel { action: if present { "insert" } else { "remove" }, source }
        })
    }
}

impl<K: Pod + Prefix> Family<K> {
    fn open(name: &'static str, data: MapData) -> Result<Self, DataplaneError> {
        let map = HashMap::<_, K, SetId>::try_from(Map::HashMap(data)).map_err(DataplaneError::map(name))?;
        let mut counts = vec![0; K::BITS as usize + 1];
        for key in map.keys() {
            let key = key.map_err(DataplaneError::map(name))?;
            if let Some(count) = counts.get_mut(key.length() as usize) {
                *count += 1;
            }
        }
        Ok(Self { map, counts })
    }

    /// Inserts or changes; says whether the key is new.
    fn insert(&mut self, key: K, set: SetId, full: TableError) -> Result<(), TableError> {
        let new = self.get(&key)?.is_none();
        match self.map.insert(key, set, 0) {
            Ok(()) => {}
            Err(error) if is(&error, rustix::io::Errno::TOOBIG) => return Err(full),
            Err(source) => return Err(TableError::Kernel { action: "insert", source }),
        }
        if new && let Some(count) = self.counts.get_mut(key.length() as usize) {
            *count += 1;
        }
        Ok(())
    }

    fn get(&self, key: &K) -> Result<Option<SetId>, TableError> {
        match self.map.get(key, 0) {
            Ok(set) => Ok(Some(set)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(TableError::Kernel { action: "read", source }),
        }
    }

    fn remove(&mut self, key: K) -> Result<bool, TableError> {
        match self.map.remove(&key) {
            Ok(()) => {}
            Err(MapError::KeyNotFound) => return Ok(false),
            Err(error) if is(&error, rustix::io::Errno::NOENT) => return Ok(false),
            Err(source) => return Err(TableError::Kernel { action: "remove", source }),
        }
        if let Some(count) = self.counts.get_mut(key.length() as usize) {
            *count = count.saturating_sub(1);
        }
        Ok(true)
    }

    fn holds(&self, length: u8) -> bool {
        self.counts.get(usize::from(length)).is_some_and(|count| *count > 0)
    }

    fn search(
        &self,
        lengths: &Lengths,
        address: &K::Address,
        longest: u8,
    ) -> Result<Option<(u8, SetId)>, TableError> {
        let store = Reader { family: self, failure: std::cell::Cell::new(None) };
        let found = longest_match_within(&store, lengths, address, |length| length <= u32::from(longest));
        match store.failure.take() {
            Some(error) => Err(error),
            None => Ok(found.map(|found| (u8::try_from(found.length).unwrap_or(u8::MAX), found.set))),
        }
    }
}

/// Answers the search from the live map, and keeps the first failure for its caller.
struct Reader<'a, K> {
    family: &'a Family<K>,
    failure: std::cell::Cell<Option<TableError>>,
}

impl<K: Pod + Prefix> PrefixStore<K> for Reader<'_, K> {
    fn find(&self, key: &K) -> Option<SetId> {
        self.family.get(key).unwrap_or_else(|error| {
            self.failure.set(Some(error));
            None
        })
    }
}

impl PrefixTables for KernelTables {
    fn insert(&mut self, kind: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        self.mark(kind, prefix, true)?;
        let (table, _) = self.parts(kind);
        let full = TableError::Full { family: crate::tables::family(&prefix), capacity: table.capacity };
        let inserted = match prefix {
            IpNet::V4(net) => table.v4.insert(key_v4(net), set, full),
            IpNet::V6(net) => table.v6.insert(key_v6(net), set, full),
        };
        if inserted.is_err() {
            self.unmark_if_unused(kind, prefix)?;
        }
        inserted
    }

    fn remove(&mut self, kind: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        let (table, _) = self.parts(kind);
        let removed = match prefix {
            IpNet::V4(net) => table.v4.remove(key_v4(net)),
            IpNet::V6(net) => table.v6.remove(key_v6(net)),
        }?;
        self.unmark_if_unused(kind, prefix)?;
        Ok(removed)
    }

    fn longest_match(&self, kind: TableKind, prefix: IpNet) -> Result<Option<(IpNet, SetId)>, TableError> {
        let table = self.table(kind);
        let lengths = match kind {
            TableKind::Block => &self.marked.block,
            TableKind::AllowSource => &self.marked.allow_source,
            TableKind::AllowDestination => &self.marked.allow_destination,
        };
        let found = match prefix {
            IpNet::V4(net) => table.v4.search(lengths, &address_v4(net), net.prefix_len()),
            IpNet::V6(net) => table.v6.search(lengths, &address_v6(net), net.prefix_len()),
        }?;
        Ok(found.and_then(|(length, set)| {
            IpNet::new(prefix.network(), length).ok().map(|net| (net.trunc(), set))
        }))
    }

    fn entries(&self, kind: TableKind) -> Result<Vec<(IpNet, SetId)>, TableError> {
        let table = self.table(kind);
        let mut entries = Vec::new();
        collect(&table.v4.map, &mut entries, |key| (IpAddr::from(key.octets()), key.length()))?;
        collect(&table.v6.map, &mut entries, |key| (IpAddr::from(key.octets()), key.length()))?;
        Ok(entries)
    }

    fn capacity(&self, kind: TableKind) -> usize {
        self.table(kind).capacity
    }
}

impl KernelTables {
    fn unmark_if_unused(&mut self, kind: TableKind, prefix: IpNet) -> Result<(), TableError> {
        let (table, _) = self.parts(kind);
        let used = match prefix {
            IpNet::V4(net) => table.v4.holds(net.prefix_len()),
            IpNet::V6(net) => table.v6.holds(net.prefix_len()),
        };
        if used { Ok(()) } else { self.mark(kind, prefix, false) }
    }
}

fn collect<K: Pod>(
    map: &HashMap<MapData, K, SetId>,
    entries: &mut Vec<(IpNet, SetId)>,
    prefix: impl Fn(K) -> (IpAddr, u32),
) -> Result<(), TableError> {
    for entry in map.iter() {
        let (key, set) = entry.map_err(|source| TableError::Kernel { action: "read", source })?;
        let (address, length) = prefix(key);
        if let Ok(length) = u8::try_from(length)
            && let Ok(net) = IpNet::new(address, length)
        {
            entries.push((net, set));
        }
    }
    Ok(())
}

fn is(error: &MapError, errno: rustix::io::Errno) -> bool {
    let MapError::SyscallError(error) = error else { return false };
    let error: &io::Error = error.io_error.borrow();
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn address_v4(net: Ipv4Net) -> AddressV4 {
    AddressV4::from_octets(net.network().octets())
}

fn address_v6(net: Ipv6Net) -> AddressV6 {
    AddressV6::from_octets(net.network().octets())
}

fn key_v4(net: Ipv4Net) -> KeyV4 {
    KeyV4::containing(address_v4(net), u32::from(net.prefix_len()))
}

fn key_v6(net: Ipv6Net) -> KeyV6 {
    KeyV6::containing(address_v6(net), u32::from(net.prefix_len()))
}
