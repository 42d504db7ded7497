//! What tables hold that nobody kept a list of: the way back when a state was lost and the tables still filter.
//!
//! Prefixes of more than 24 bits (IPv6: more than 32) come out as they went in. Wider ones come out as the widest
//! prefixes that cover the same addresses for the same set.

use super::TableKind;
use super::compact::{Network, Shape, Single, permuted_of, unpermute};
use super::contents::{Contents, Entries};
use super::exact::{LOWER_SLOTS, LOWER_VALUES, NARROW_SLOTS, UPPER_SLOTS, UPPER_VALUES};
use super::geometry::{Geometry, Region, TableV4, TableV6};
use super::lines::Line as _;
use super::memory::LineCell;
use super::search::{coarse as coarse_set, root};
use super::slot::{CHUNK_VALUES, PAYLOAD_MASK, ROOT_CHUNK, SET_MASK, TOMBSTONE};
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
    for kind in TableKind::ALL {
        contents.set_v4(kind, found_v4(&geometry.v4[kind as usize], geometry.multiplier, lines));
        contents.set_v6(kind, found_v6(&geometry.v6[kind as usize], geometry.multiplier, lines));
    }
    contents
}

fn found_v4(table: &TableV4, multiplier: u64, lines: &[LineCell]) -> Entries<PrefixV4> {
    let coarse = coarse(lines, table.root, table.chunks);
    let mut entries: Entries<PrefixV4> = coarse
        .into_iter()
        .map(|((address, length), set)| (PrefixV4::containing(AddressV4::from_bits(address), length), set))
        .collect();
    for word in narrow(lines, table.exact) {
        let address = AddressV4::from_bits(high(word));
        let [.., length, _, _, _] = word.to_be_bytes();
        entries.push((PrefixV4::containing(address, length), set(word)));
    }
    for (address, payload) in compact::<Single>(lines, multiplier, table.singles) {
        entries.push((PrefixV4::containing(AddressV4::from_bits(address), 32), set(payload.into())));
    }
    entries
}

fn found_v6(table: &TableV6, multiplier: u64, lines: &[LineCell]) -> Entries<PrefixV6> {
    let prefix = |first, last, length| PrefixV6::containing(AddressV6::from_halves(first, last), length);
    let mut entries: Entries<PrefixV6> = coarse(lines, table.root, table.chunks)
        .into_iter()
        .map(|((address, length), set)| (prefix(u64::from(address) << 32, 0, length), set))
        .collect();
    for (network, payload) in compact::<Network>(lines, multiplier, table.networks) {
        if payload & SET_MASK != 0 {
            entries.push((prefix(u64::from(network) << 32, 0, 32), set(payload.into())));
        }
    }
    for (line, slot, value) in slots(lines, table.upper, UPPER_SLOTS, UPPER_VALUES) {
        entries.push((prefix(line.word(slot), 0, (value >> 24) as u8), set(value.into())));
    }
    for (line, slot, value) in slots(lines, table.lower, LOWER_SLOTS, LOWER_VALUES) {
        let (first, last) = (line.word(2 * slot), line.word(2 * slot + 1));
        entries.push((prefix(first, last, (value >> 24) as u8), set(value.into())));
    }
    entries
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a set has no more bits")]
const fn set(word: u64) -> u16 {
    (word & PAYLOAD_MASK) as u16 & SET_MASK as u16
}

fn region(lines: &[LineCell], region: Region) -> &[LineCell] {
    &lines[region.first as usize..(region.first + region.lines()) as usize]
}

fn narrow(lines: &[LineCell], of: Region) -> impl Iterator<Item = u64> {
    let words = region(lines, of).iter().flat_map(|line| (0..NARROW_SLOTS).map(move |slot| line.word(slot)));
    words.filter(|word| *word != 0 && *word != u64::from(TOMBSTONE))
}

/// The keys of compact slots in use, with their payloads.
fn compact<S: Shape>(lines: &[LineCell], multiplier: u64, of: Region) -> impl Iterator<Item = (u32, u32)> {
    let all = (0..)
        .zip(region(lines, of))
        .flat_map(|(bucket, line)| (0..S::SLOTS).map(move |slot| (bucket, line, slot)));
    all.filter_map(move |(bucket, line, slot)| {
        let rest = S::rest(line, slot);
        let key = || unpermute(multiplier, permuted_of::<S>(of.buckets, bucket, line.quarter(0, slot), rest));
        let payload = rest & S::PAYLOAD_MASK;
        (payload != 0).then(|| (key(), payload))
    })
}

/// Slots that have a set, with their values.
fn slots(
    lines: &[LineCell],
    of: Region,
    count: u32,
    values: u32,
) -> impl Iterator<Item = (&LineCell, u32, u32)> {
    let all = region(lines, of).iter().flat_map(move |line| (0..count).map(move |slot| (line, slot)));
    all.map(move |(line, slot)| (line, slot, line.half(values, slot)))
        .filter(|(_, _, value)| *value != TOMBSTONE && value & SET_MASK != 0)
}

/// The prefixes of at most 24 bits that say the same as a root and its chunks.
fn coarse(lines: &[LineCell], first: u32, chunks: u32) -> Vec<((u32, u8), u16)> {
    let mut prefixes = Vec::new();
    let (mut begin, mut current) = (0, 0);
    let mut goes_on = |value, set| {
        if set != current {
            if current != 0 {
                cover(begin, value, current, &mut prefixes);
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

/// The widest prefixes that cover the values from `first` to before `end`.
fn cover(mut first: u32, end: u32, set: u32, prefixes: &mut Vec<((u32, u8), u16)>) {
    while first < end {
        let aligned = first.trailing_zeros().min(24);
        let bits = aligned.min((end - first).ilog2());
        let (Ok(length), Ok(set)) = (u8::try_from(24 - bits), u16::try_from(set)) else { return };
        prefixes.push(((first << 8, length), set));
        first += 1 << bits;
    }
}
