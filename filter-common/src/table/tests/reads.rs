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

/// Each index its own number, without any order (MurmurHash3's finaliser).
const fn scattered(index: u32) -> u32 {
    let mixed = (index ^ index >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
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

/// Every entry is replaced by another one, many times over.
#[test]
fn tables_that_change_all_day_stay_as_fast_as_new_ones() {
    const COUNT: u32 = 100_000;
    const TURNS: u32 = 24;
    let single = |index: u32| v4(scattered(index), 32);
    let entries: Vec<_> = (0..COUNT).map(|index| (single(index), 1)).collect();
    let mut tables = written(&contents_v4(&entries), Room { percent: 0, prefixes: 0 }, 1);
    let deep = |index: u32| v6(u128::from(scattered(index)) << 96 | u128::from(scattered(!index)), 128);
    let networks: Vec<_> = (0..COUNT).map(|index| (deep(index), 1)).collect();
    let mut deep_tables = written(&contents_v6(&networks), Room { percent: 0, prefixes: 0 }, 1);
    // Beside what was there, so that it is the slots of the addresses themselves that are searched.
    let absent = |index: u32| u128::from(scattered(index)) << 96 | 7;
    let beside = |index: u32| scattered(index) ^ 1;
    let reads = |tables: &Tables, deep_tables: &Tables, first: u32| -> (u32, u32) {
        let singles = (first..first + COUNT).map(|index| cost_v4(tables, beside(index)).1);
        let networks = (0..COUNT).map(|index| cost_v6(deep_tables, absent(index)).1);
        (singles.sum(), networks.sum())
    };
    let fresh = reads(&tables, &deep_tables, 0);
    for index in COUNT..TURNS * COUNT {
        tables.insert_v4(KIND, single(index), 1).expect("as much room as before");
        assert_eq!(tables.remove_v4(KIND, single(index - COUNT)), Ok(true));
    }
    for turn in 1..TURNS {
        for index in 0..COUNT {
            let (high, low) = deep(index).address().halves();
            let (now, next) = (low.wrapping_add(turn.into()) - 1, low.wrapping_add(turn.into()));
            let address = |low: u64| v6(u128::from(high) << 64 | u128::from(low), 128);
            assert_eq!(deep_tables.remove_v6(KIND, address(now)), Ok(true));
            if index % 64 == 0 {
                deep_tables.settle();
            }
            deep_tables.insert_v6(KIND, address(next), 1).expect("as much room as before");
        }
    }
    deep_tables.settle();
    let worn = reads(&tables, &deep_tables, (TURNS - 1) * COUNT);
    println!("reads: {fresh:?} when new, {worn:?} after {TURNS} turns");
    assert!(worn.0 <= fresh.0 + fresh.0 / 5, "{fresh:?}, {worn:?}");
    assert!(worn.1 <= fresh.1 + fresh.1 / 5, "{fresh:?}, {worn:?}");
}
