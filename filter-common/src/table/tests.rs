//! The tables against the plainest reference there is: a list of prefixes, searched from end to end.

mod beside;
mod gathered;
mod layout;
mod many;
mod mixed;
mod overtaken;
mod reads;
mod records;
mod resting;

use proptest::prelude::*;

use super::memory::{LineCell, zeroed};
use super::writer::{Full, Writer};
use super::{Contents, Draft, FlatTables, Room, TableKind};
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};

const KIND: TableKind = TableKind::Block;

fn v4(address: u32, length: u8) -> PrefixV4 {
    PrefixV4::containing(AddressV4::from_bits(address), length)
}

fn v6(address: u128, length: u8) -> PrefixV6 {
    PrefixV6::containing(AddressV6::from_octets(address.to_be_bytes()), length)
}

fn oracle_v4(entries: &[(PrefixV4, u16)], address: u32) -> u32 {
    let covering = entries.iter().filter(|(prefix, _)| v4(address, prefix.length()) == *prefix);
    covering.max_by_key(|(prefix, _)| prefix.length()).map_or(0, |(_, set)| u32::from(*set))
}

fn oracle_v6(entries: &[(PrefixV6, u16)], address: u128) -> u32 {
    let covering = entries.iter().filter(|(prefix, _)| v6(address, prefix.length()) == *prefix);
    covering.max_by_key(|(prefix, _)| prefix.length()).map_or(0, |(_, set)| u32::from(*set))
}

type Tables = Writer<Box<[LineCell]>>;

fn written(contents: &Contents, room: Room, seed: u64) -> Tables {
    (0..64)
        .find_map(|turn| {
            let draft = Draft::new(contents, room, seed.wrapping_add(turn), u64::MAX).expect("small");
            let memory = zeroed(draft.geometry().lines);
            Writer::write(draft, memory).ok()
        })
        .expect("some seed spreads the keys")
}

fn find_v4(tables: &Tables, address: u32) -> u32 {
    FlatTables::new(tables.lines(), tables.geometry()).set_v4(KIND, AddressV4::from_bits(address))
}

fn find_v6(tables: &Tables, address: u128) -> u32 {
    let address = AddressV6::from_octets(address.to_be_bytes());
    FlatTables::new(tables.lines(), tables.geometry()).set_v6(KIND, address)
}

/// Addresses that share long prefixes, so that nested entries are common.
fn near_v4() -> impl Strategy<Value = u32> {
    (0..=32_u32, any::<u32>())
        .prop_map(|(shared, noise)| 0xc633_6480 ^ noise.checked_shr(shared).unwrap_or(0))
}

fn near_v6() -> impl Strategy<Value = u128> {
    (0..=128_u32, any::<u128>()).prop_map(|(shared, noise)| {
        0x2001_0db8_1234_5678_9abc_def0_1234_5678_u128 ^ noise.checked_shr(shared).unwrap_or(0)
    })
}

fn entries_v4() -> impl Strategy<Value = Vec<(PrefixV4, u16)>> {
    let entry =
        (near_v4(), 0..=32_u8, 1..=1023_u16).prop_map(|(address, length, set)| (v4(address, length), set));
    prop::collection::vec(entry, 0..60)
}

fn entries_v6() -> impl Strategy<Value = Vec<(PrefixV6, u16)>> {
    // Few below 25 bits, since those of 25 and 26 are many networks each.
    let length = prop_oneof![0..=24_u8, 27..=64_u8, 27..=128_u8];
    let entry =
        (near_v6(), length, 1..=1023_u16).prop_map(|(address, length, set)| (v6(address, length), set));
    prop::collection::vec(entry, 0..60)
}

/// The edges of every prefix, and their neighbours.
fn probes_v4(entries: &[(PrefixV4, u16)]) -> Vec<u32> {
    let edges = entries.iter().flat_map(|(prefix, _)| {
        let first = prefix.address().bits();
        let last = first | u32::try_from(u64::from(u32::MAX) >> prefix.length()).expect("32 bits");
        [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
    });
    edges.chain([0, u32::MAX]).collect()
}

fn probes_v6(entries: &[(PrefixV6, u16)]) -> Vec<u128> {
    let edges = entries.iter().flat_map(|(prefix, _)| {
        let (high, low) = prefix.address().halves();
        let first = u128::from(high) << 64 | u128::from(low);
        let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
        [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
    });
    edges.chain([0, u128::MAX]).collect()
}

fn contents_v4(entries: &[(PrefixV4, u16)]) -> Contents {
    let mut contents = Contents::default();
    contents.set_v4(KIND, entries.to_vec());
    contents
}

fn contents_v6(entries: &[(PrefixV6, u16)]) -> Contents {
    let mut contents = Contents::default();
    contents.set_v6(KIND, entries.to_vec());
    contents
}

const ROOM: Room = Room { percent: 6, prefixes: 64 };
/// For many changes in place.
const WIDE_ROOM: Room = Room { percent: 6, prefixes: 1024 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_generation_answers_with_the_longest_ipv4_prefix(
        entries in entries_v4(), addresses in prop::collection::vec(near_v4(), 0..40), seed: u64,
    ) {
        let contents = contents_v4(&entries);
        let tables = written(&contents, ROOM, seed);
        for address in probes_v4(&entries).into_iter().chain(addresses) {
            prop_assert_eq!(find_v4(&tables, address), oracle_v4(contents.v4(KIND), address), "{:#x}", address);
        }
    }

    #[test]
    fn a_generation_answers_with_the_longest_ipv6_prefix(
        entries in entries_v6(), addresses in prop::collection::vec(near_v6(), 0..40), seed: u64,
    ) {
        let contents = contents_v6(&entries);
        let tables = written(&contents, ROOM, seed);
        for address in probes_v6(&entries).into_iter().chain(addresses) {
            prop_assert_eq!(find_v6(&tables, address), oracle_v6(contents.v6(KIND), address), "{:#x}", address);
        }
    }

    #[test]
    fn single_ipv4_changes_answer_like_a_fresh_generation(
        start in entries_v4(), changes in prop::collection::vec((entries_v4(), any::<prop::sample::Index>()), 1..6),
        seed: u64,
    ) {
        let mut now = contents_v4(&start).v4(KIND).to_vec();
        let mut tables = written(&contents_v4(&now), WIDE_ROOM, seed);
        for (added, removed) in changes {
            for (prefix, set) in added {
                tables.insert_v4(KIND, prefix, set).expect("there is room");
                now.retain(|(other, _)| *other != prefix);
                now.push((prefix, set));
            }
            tables.settle();
            if !now.is_empty() {
                let (prefix, _) = now.swap_remove(removed.index(now.len()));
                prop_assert!(tables.remove_v4(KIND, prefix).expect("there is room"));
                prop_assert!(!tables.remove_v4(KIND, prefix).expect("there is room"));
            }
            tables.settle();
            for address in probes_v4(&now) {
                prop_assert_eq!(find_v4(&tables, address), oracle_v4(&now, address), "{:#x}", address);
            }
        }
        let contents = contents_v4(&now);
        for (prefix, set) in contents.v4(KIND) {
            prop_assert_eq!(tables.covering_v4(KIND, *prefix), Some((*prefix, *set)));
        }
        adopts(tables, &contents)?;
    }

    #[test]
    fn single_ipv6_changes_answer_like_a_fresh_generation(
        start in entries_v6(), changes in prop::collection::vec((entries_v6(), any::<prop::sample::Index>()), 1..6),
        seed: u64,
    ) {
        let mut now = contents_v6(&start).v6(KIND).to_vec();
        let mut tables = written(&contents_v6(&now), WIDE_ROOM, seed);
        for (added, removed) in changes {
            for (prefix, set) in added {
                tables.insert_v6(KIND, prefix, set).expect("there is room");
                now.retain(|(other, _)| *other != prefix);
                now.push((prefix, set));
            }
            tables.settle();
            if !now.is_empty() {
                let (prefix, _) = now.swap_remove(removed.index(now.len()));
                prop_assert!(tables.remove_v6(KIND, prefix).expect("there is room"));
                prop_assert!(!tables.remove_v6(KIND, prefix).expect("there is room"));
            }
            tables.settle();
            for address in probes_v6(&now) {
                prop_assert_eq!(find_v6(&tables, address), oracle_v6(&now, address), "{:#x}", address);
            }
        }
        let contents = contents_v6(&now);
        for (prefix, set) in contents.v6(KIND) {
            prop_assert_eq!(tables.covering_v6(KIND, *prefix), Some((*prefix, *set)));
        }
        adopts(tables, &contents)?;
    }
}

/// Whoever comes next takes the tables over as they are, but not with one entry more or less.
fn adopts(tables: Tables, contents: &Contents) -> Result<(), TestCaseError> {
    let geometry = *tables.geometry();
    let mut more = contents.clone();
    more.set_v4(KIND, [contents.v4(KIND), &[(v4(0x0102_0304, 32), 1), (v4(0x0102_0000, 20), 1)]].concat());
    let memory = tables.into_memory();
    let found = super::found(&geometry, &memory);
    for address in probes_v4(contents.v4(KIND)) {
        prop_assert_eq!(oracle_v4(found.v4(KIND), address), oracle_v4(contents.v4(KIND), address));
    }
    for address in probes_v6(contents.v6(KIND)) {
        prop_assert_eq!(oracle_v6(found.v6(KIND), address), oracle_v6(contents.v6(KIND), address));
    }
    prop_assert!(Writer::adopt(geometry, &*memory, contents).is_some());
    prop_assert!(Writer::adopt(geometry, &*memory, &more).is_none());
    if let [_, fewer @ ..] = contents.v4(KIND) {
        let differs = |address| oracle_v4(contents.v4(KIND), address) != oracle_v4(fewer, address);
        if probes_v4(contents.v4(KIND)).into_iter().any(differs) {
            prop_assert!(Writer::adopt(geometry, &*memory, &contents_v4(fewer)).is_none());
        }
    }
    if let [_, fewer @ ..] = contents.v6(KIND) {
        let differs = |address| oracle_v6(contents.v6(KIND), address) != oracle_v6(fewer, address);
        if probes_v6(contents.v6(KIND)).into_iter().any(differs) {
            prop_assert!(Writer::adopt(geometry, &*memory, &contents_v6(fewer)).is_none());
        }
    }
    Ok(())
}

#[test]
fn every_ipv4_length_nested_is_told_apart() {
    let address = 0xc633_6455;
    let entries: Vec<_> = (0..=32).map(|length| (v4(address, length), u16::from(length) + 1)).collect();
    let tables = written(&contents_v4(&entries), ROOM, 1);
    for length in 0..=32 {
        // The first address outside the next longer prefix.
        let outside = if length == 32 { address } else { address ^ (1 << (31 - length)) };
        assert_eq!(find_v4(&tables, outside), length + 1, "/{length}");
    }
}

#[test]
fn every_ipv6_length_nested_is_told_apart() {
    let address = 0x2001_0db8_1234_5678_9abc_def0_1234_5678_u128;
    let entries: Vec<_> = (0..=128).map(|length| (v6(address, length), u16::from(length) + 1)).collect();
    let tables = written(&contents_v6(&entries), ROOM, 1);
    for length in 0..=128 {
        let outside = if length == 128 { address } else { address ^ (1 << (127 - length)) };
        assert_eq!(find_v6(&tables, outside), length + 1, "/{length}");
    }
}

#[test]
fn the_last_prefix_can_go_whatever_its_length() {
    for length in 0..=32 {
        let mut tables = written(&contents_v4(&[(v4(0x0a0b_0c0d, length), 5)]), ROOM, 1);
        assert_eq!(tables.remove_v4(KIND, v4(0x0a0b_0c0d, length)), Ok(true));
        assert_eq!(find_v4(&tables, 0x0a0b_0c0d), 0, "/{length}");
    }
    for length in 0..=128 {
        let address = 0x2001_0db8_1234_5678_9abc_def0_1234_5678;
        let mut tables = written(&contents_v6(&[(v6(address, length), 5)]), ROOM, 1);
        assert_eq!(tables.remove_v6(KIND, v6(address, length)), Ok(true));
        assert_eq!(find_v6(&tables, address), 0, "/{length}");
    }
}

/// Keys that hash to one bucket fill it and those after it; the next one is refused, and all others stay.
fn keys_that_share_a_bucket(crowd: &[PrefixV4], slots: usize) {
    let mut tables = written(&Contents::default(), ROOM, 1);
    let (last, fitting) = crowd.split_last().expect("one more than fit");
    let find = |tables: &Tables, prefix: &PrefixV4| find_v4(tables, prefix.address().bits());
    for prefix in fitting {
        tables.insert_v4(KIND, *prefix, 7).expect("as many as there are slots");
    }
    assert_eq!(tables.insert_v4(KIND, *last, 7), Err(Full::Bucket));
    assert_eq!(find(&tables, last), 0);
    assert!(fitting.iter().all(|prefix| find(&tables, prefix) == 7));
    // Once there is a gap it fits, and what lies behind the gap is still found.
    let gap = slots - 1;
    assert_eq!(tables.remove_v4(KIND, fitting[gap]), Ok(true));
    assert!(fitting[slots..].iter().all(|prefix| find(&tables, prefix) == 7));
    tables.insert_v4(KIND, *last, 9).expect("a slot is free");
    assert_eq!(find(&tables, last), 9);
    assert_eq!(find(&tables, &fitting[gap]), 0);
}

#[test]
fn addresses_that_share_a_bucket_are_refused_aloud_when_it_is_full() {
    let geometry = *written(&Contents::default(), ROOM, 1).geometry();
    let buckets = geometry.v4[KIND as usize].singles.buckets;
    let home = |address| super::compact::home(super::compact::permute(geometry.multiplier, address), buckets);
    let all = (1..).map(|n: u32| n.wrapping_mul(2_654_435_761));
    let crowd: Vec<_> = all.filter(|n| home(*n) == 3).map(|n| v4(n, 32)).take(129).collect();
    keys_that_share_a_bucket(&crowd, 8);
}

#[test]
fn prefixes_that_share_a_bucket_are_refused_aloud_when_it_is_full() {
    let geometry = *written(&Contents::default(), ROOM, 1).geometry();
    let buckets = geometry.v4[KIND as usize].exact.buckets;
    let home = |prefix: &PrefixV4| {
        super::exact::narrow_home(geometry.multiplier, buckets, prefix.address().bits(), 30)
    };
    let all = (1..).map(|n: u32| v4(n.wrapping_mul(2_654_435_761), 30));
    let crowd: Vec<_> = all.filter(|prefix| home(prefix) == 3).take(129).collect();
    keys_that_share_a_bucket(&crowd, 8);
}

#[test]
fn chunks_that_run_out_are_refused_aloud_and_come_back_when_readers_are_gone() {
    let mut tables = written(&Contents::default(), Room { percent: 0, prefixes: 2 }, 1);
    tables.insert_v4(KIND, v4(0x0a00_0100, 24), 1).expect("the first chunk");
    tables.insert_v4(KIND, v4(0x0a00_0300, 24), 2).expect("its successor");
    let refused = tables.insert_v4(KIND, v4(0x0a00_0500, 24), 3);
    assert_eq!((refused, tables.resting()), (Err(Full::Chunks), 1));
    assert_eq!(find_v4(&tables, 0x0a00_0501), 0);
    assert_eq!(find_v4(&tables, 0x0a00_0301), 2);
    tables.settle();
    tables.insert_v4(KIND, v4(0x0a00_0500, 24), 3).expect("the first one's line is free");
    assert_eq!(find_v4(&tables, 0x0a00_0501), 3);
}

#[test]
fn more_combinations_of_lengths_than_guides_are_all_found() {
    let entries: Vec<_> = (0..6000_u128)
        .flat_map(|network| {
            let base = 0x2001_0000 << 96 | network << 96;
            (0..13)
                .filter(move |bit| network >> bit & 1 != 0)
                .map(move |bit| (base, 40 + u8::try_from(bit).expect("below 13")))
        })
        .map(|(base, length)| (v6(base, length), u16::from(length)))
        .collect();
    let tables = written(&contents_v6(&entries), ROOM, 1);
    for (prefix, set) in entries.iter().step_by(7) {
        let (first, _) = prefix.address().halves();
        let longest =
            entries.iter().filter(|(other, _)| other.address() == prefix.address()).map(|(_, set)| set).max();
        assert_eq!(find_v6(&tables, u128::from(first) << 64), u32::from(*longest.expect("itself")), "{set}");
    }
}

#[test]
fn a_change_beside_a_reader_shows_the_old_state_or_the_new() {
    // What is there before and after must be found at every moment; what comes and goes is its set or nothing.
    let stays: Vec<_> = (0..2000_u32)
        .map(|n| (v4(n.wrapping_mul(2_654_435_761), 25 + u8::try_from(n % 8).expect("below 8")), 5))
        .collect();
    let wide = [(v4(0x0a00_0000, 8), 3), (v4(0x0a01_0000, 17), 4)];
    let tables = written(&contents_v4(&[&stays[..], &wide].concat()), Room { percent: 6, prefixes: 8192 }, 1);
    let (geometry, done) = (*tables.geometry(), std::sync::atomic::AtomicBool::new(false));
    let memory = tables.into_memory();
    let lines: &[LineCell] = &memory;
    let mut writer =
        Writer::adopt(geometry, lines, &contents_v4(&[&stays[..], &wide].concat())).expect("its own");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut turns = 0_u32;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || turns == 0 {
                for (prefix, _) in &stays {
                    let found = FlatTables::new(lines, &geometry).set_v4(KIND, prefix.address());
                    assert!(matches!(found, 5 | 6), "{prefix:?} is covered all the time: {found}");
                }
                let inside =
                    FlatTables::new(lines, &geometry).set_v4(KIND, AddressV4::from_bits(0x0a01_0001));
                assert!(matches!(inside, 4 | 6), "{inside}");
                turns += 1;
            }
        });
        for turn in 0..300_u32 {
            // Neighbours of the same buckets and the same chunk come and go.
            for n in 0..40_u32 {
                let prefix = v4((2000 + n).wrapping_mul(2_654_435_761), 32);
                writer.insert_v4(KIND, prefix, 6).expect("room");
                assert_eq!(writer.remove_v4(KIND, prefix), Ok(true));
            }
            let finer = v4(0x0a01_0000 + (turn % 64) * 256, 24);
            writer.insert_v4(KIND, finer, 6).expect("room");
            assert_eq!(writer.remove_v4(KIND, finer), Ok(true));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().expect("the reader saw no third state");
    });
}

/// Each network says something else, more than there are codes; then all of them change.
#[test]
fn networks_that_say_more_than_there_are_codes_for_are_told_apart() {
    let network = |index: u32| (0x2001_0000_u128 + u128::from(index)) << 96;
    let set = |index: u32| u16::try_from(index % 1023 + 1).expect("at most 1023");
    let entry = |index: u32, turn: u32| (v6(network(index), 32), set(index + turn));
    let deeper =
        |index: u32| (v6(network(index), 40 + u8::try_from(index % 80).expect("below 80")), set(index));
    let mut now: Vec<_> = (0..3000).map(|index| entry(index, 0)).collect();
    now.extend((0..1500).map(deeper));
    let mut tables = written(&contents_v6(&now), WIDE_ROOM, 1);
    assert!(tables.geometry().v6[KIND as usize].spilled.buckets > 0);
    let check = |tables: &Tables, turn: u32, deep: u32| {
        for index in 0..3000 {
            let outside = network(index) | 1 << 95;
            let expected = u32::from(set(index + turn));
            assert_eq!(find_v6(tables, outside), expected, "{index}");
            let inside = if index < deep { u32::from(set(index)) } else { expected };
            assert_eq!(find_v6(tables, network(index)), inside, "{index}");
        }
    };
    check(&tables, 0, 1500);
    for turn in [1, 500] {
        for index in 0..3000 {
            let (prefix, set) = entry(index, turn);
            tables.insert_v6(KIND, prefix, set).expect("room");
            if index % 32 == 0 {
                tables.settle();
            }
        }
        check(&tables, turn, 1500);
    }
    let (geometry, last): (_, Vec<_>) =
        (*tables.geometry(), (0..3000).map(|index| entry(index, 500)).collect());
    let contents = contents_v6(&[last, (0..1500).map(deeper).collect()].concat());
    let memory = tables.into_memory();
    let found = super::found(&geometry, &memory);
    assert_eq!(found.v6(KIND), contents.v6(KIND));
    assert!(Writer::adopt(geometry, memory, &contents).is_some());
}
