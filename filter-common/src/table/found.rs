//! What tables hold that nobody kept a list of: the way back when a state was lost and the tables still filter.
//!
//! Prefixes of more than 24 bits (IPv6: more than 32) come out as they went in. Wider ones come out as the widest
//! prefixes that cover the same addresses for the same set, of at most 24 bits or of 25 to 32 as they were.

use super::TableKind;
use super::coarse::COARSE_BITS;
use super::contents::{Contents, Entries};
use super::geometry::{Geometry, Packed, Region, TableV4, TableV6};
use super::memory::LineCell;
use super::networks::{self, LEAST_BITS};
use super::search::{coarse as coarse_set, root};
use super::slot::{CHUNK_VALUES, GATHERED, ROOT_CHUNK, SET_BITS, SET_MASK};
use super::writer::Place;
use super::writer::exact::Table;
use super::writer::keys::{Gathered, Key, Lower, Narrow, Single, Upper};
use super::writer::packed::Packed as Addresses;
use super::writer::records::Records;
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};

/// Values of the first 24 bits.
const COARSE_VALUES: u32 = 1 << 24;

/// What the tables of this geometry hold.
#[must_use]
pub fn found(geometry: &Geometry, lines: &[LineCell]) -> Contents {
    let mut contents = Contents::default();
    if lines.len() < geometry.lines as usize {
        return contents;
    }
    let place = Place { lines, multiplier: geometry.multiplier };
    for kind in TableKind::LISTS {
        contents.set_v4(kind, found_v4(&geometry.v4[kind as usize], place));
        contents.set_v6(kind, found_v6(&geometry.v6[kind as usize], place));
    }
    contents
}

fn found_v4(table: &TableV4, place: Place<'_>) -> Entries<PrefixV4> {
    let coarse = coarse(place.lines, table.root, table.chunks);
    let mut entries: Entries<PrefixV4> = coarse
        .into_iter()
        .map(|((address, length), set)| (PrefixV4::containing(AddressV4::from_bits(address), length), set))
        .collect();
    for (Narrow(address, length), set) in keys(place, table.exact) {
        entries.push((PrefixV4::containing(AddressV4::from_bits(address), length), set));
    }
    for (Single(address), set) in keys(place, table.singles) {
        entries.push((PrefixV4::containing(AddressV4::from_bits(address), 32), set));
    }
    if table.packed != Packed::NONE {
        let packed = Addresses::read(table.packed, &Table::new(table.exact), place);
        for (address, set) in packed.entries(place) {
            entries.push((PrefixV4::containing(AddressV4::from_bits(address), 32), set));
        }
    }
    entries
}

fn found_v6(table: &TableV6, place: Place<'_>) -> Entries<PrefixV6> {
    let prefix = |first, last, length| PrefixV6::containing(AddressV6::from_halves(first, last), length);
    let mut entries: Entries<PrefixV6> = coarse(place.lines, table.root, table.chunks)
        .into_iter()
        .map(|((address, length), set)| (prefix(u64::from(address) << 32, 0, length), set))
        .collect();
    let records = Records::read(table, place);
    let networks = records.entries(place).map(|(network, payload)| (network, payload & SET_MASK));
    for ((network, length), set) in joined(networks.filter(|(_, set)| *set != 0).collect()) {
        entries.push((prefix(u64::from(network) << 32, 0, length), set));
    }
    let apart = keys(place, table.upper)
        .into_iter()
        .map(|(Upper(first, length), set)| (prefix(first, 0, length), set));
    let apart = apart.chain(
        keys(place, table.lower)
            .into_iter()
            .map(|(Lower(first, last, length), set)| (prefix(first, last, length), set)),
    );
    let gathered = keys(place, table.gathered).into_iter();
    let gathered =
        gathered.map(|(Gathered(Lower(first, last, length)), set)| (prefix(first, last, length), set));
    // A writer that ended within a change may have left a prefix in both places; its network says which one counts.
    let is_gathered =
        |(prefix, _): &(PrefixV6, u16)| records.find(place, networks::of(*prefix)) >> SET_BITS == GATHERED;
    entries.extend(apart.filter(|entry| !is_gathered(entry)));
    entries.extend(gathered.filter(is_gathered));
    entries
}

/// The keys of a hash table that have a set.
fn keys<K: Key>(place: Place<'_>, region: Region) -> Vec<(K, u16)> {
    let table = Table::new(region);
    let with_set = table.entries(place).map(|(key, payload)| (key, (payload & SET_MASK) as u16));
    with_set.filter(|(_, set)| *set != 0).collect()
}

/// The prefixes of 25 to 32 bits that say the same as networks with these sets.
fn joined(mut networks: Vec<(u32, u32)>) -> Vec<((u32, u8), u16)> {
    networks.sort_unstable();
    let mut prefixes = Vec::new();
    let follows =
        |(a, set): &(u32, u32), (b, other): &(u32, u32)| a.checked_add(1) == Some(*b) && set == other;
    for run in networks.chunk_by(follows) {
        let (first, set) = run[0];
        cover(
            u64::from(first),
            u64::from(first) + run.len() as u64,
            set,
            u32::BITS,
            LEAST_BITS,
            &mut prefixes,
        );
    }
    prefixes
}

/// The prefixes of at most 24 bits that say the same as a root and its chunks.
fn coarse(lines: &[LineCell], first: u32, chunks: u32) -> Vec<((u32, u8), u16)> {
    let mut prefixes = Vec::new();
    let (mut begin, mut current) = (0, 0);
    let mut goes_on = |value: u32, set| {
        if set != current {
            if current != 0 {
                cover(begin.into(), value.into(), current, COARSE_BITS.into(), 0, &mut prefixes);
            }
            (begin, current) = (value, set);
        }
    };
    for index in 0..=u32::from(u16::MAX) {
        let slot = root(&lines, first, index);
        let values = if slot & ROOT_CHUNK == 0 { 1 } else { CHUNK_VALUES };
        for value in (index << 8..).take(values) {
            goes_on(value, coarse_set(&lines, chunks, slot, value));
        }
    }
    goes_on(COARSE_VALUES, 0);
    prefixes
}

/// The widest prefixes, of at least so many bits, that cover the values of `bits` bits from `first` to before `end`.
fn cover(mut first: u64, end: u64, set: u32, bits: u32, least: u8, prefixes: &mut Vec<((u32, u8), u16)>) {
    while first < end {
        let aligned = first.trailing_zeros().min(bits - u32::from(least));
        let free = aligned.min((end - first).ilog2());
        let address = u32::try_from(first << (u32::BITS - bits));
        let (Ok(address), Ok(length), Ok(set)) = (address, u8::try_from(bits - free), u16::try_from(set))
        else {
            return;
        };
        prefixes.push(((address, length), set));
        first += 1 << free;
    }
}
