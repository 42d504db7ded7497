//! What a search costs: the lines that it reads.

use std::cell::Cell;

use super::super::lines::Lines;
use super::*;

/// Lines that count how often they are asked for.
struct Counting<'a> {
    lines: &'a [LineCell],
    reads: &'a Cell<u32>,
}

impl<'a> Lines for Counting<'a> {
    type Line = &'a LineCell;

    fn line(&self, index: u32) -> Option<&'a LineCell> {
        self.reads.set(self.reads.get() + 1);
        self.lines.get(index as usize)
    }
}

/// What a search finds, and the lines that it reads, without the header.
fn cost(tables: &Tables, ask: impl Fn(FlatTables<'_, Counting<'_>>) -> u32) -> (u32, u32) {
    let reads = Cell::new(0);
    let lines = Counting { lines: tables.lines(), reads: &reads };
    let flat = FlatTables::new(lines, tables.geometry());
    reads.set(0);
    (ask(flat), reads.get())
}

fn cost_v4(tables: &Tables, address: u32) -> (u32, u32) {
    cost(tables, |flat| flat.set_v4(KIND, AddressV4::from_bits(address)))
}

fn cost_v6(tables: &Tables, address: u128) -> (u32, u32) {
    cost(tables, |flat| flat.set_v6(KIND, AddressV6::from_octets(address.to_be_bytes())))
}

fn scattered(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761)
}

#[test]
fn a_single_address_is_one_line_behind_the_root_and_so_is_its_absence() {
    const COUNT: u32 = 200_000;
    let entries: Vec<_> = (0..COUNT).map(|index| (v4(scattered(index), 32), 1)).collect();
    let tables = written(&contents_v4(&entries), ROOM, 1);
    let total = |found, indexes: std::ops::Range<u32>| -> u32 {
        let costs = indexes.map(|index| cost_v4(&tables, scattered(index)));
        costs.inspect(|(set, _)| assert_eq!(*set, found)).map(|(_, reads)| reads).sum()
    };
    // A tenth more for buckets that have overflowed.
    assert!(total(1, 0..COUNT) <= 2 * COUNT + COUNT / 10);
    assert!(total(0, COUNT..2 * COUNT) <= 2 * COUNT + COUNT / 10);
}

#[test]
fn a_network_with_every_length_is_searched_level_by_level() {
    let address = 0x2001_0db8_1234_5678_9abc_def0_1234_5678_u128;
    let entries: Vec<_> = (33..=128).map(|length| (v6(address, length), u16::from(length))).collect();
    let tables = written(&contents_v6(&entries), ROOM, 1);
    // In the network, but not where the longest are: the root, the network, its guide three times, one slot that is not
    // there, and the 15 lengths up to 47, of which a few lie in buckets that overflowed.
    let beside = address ^ 1 << (127 - 32);
    let (set, reads) = cost_v6(&tables, beside);
    assert_eq!(set, 0);
    assert!(reads <= 24, "{reads}");
    // Beyond each length as many more look-ups as there are levels and lengths of a level.
    for length in 33..=128 {
        let outside = if length == 128 { address } else { address ^ 1 << (127 - length) };
        let (set, reads) = cost_v6(&tables, outside);
        assert_eq!(set, length);
        assert!(reads <= 48, "/{length}: {reads}");
    }
}
