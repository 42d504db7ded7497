//! Networks with few longer prefixes: how they come to be gathered, and how they cease to be.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::test_runner::{Config, TestRunner};

use super::super::networks;
use super::super::slot::{GATHERED, SET_BITS};
use super::super::writer::Place;
use super::super::writer::records::Records;
use super::*;

/// The guide that the network of an address has; 0 for none.
pub fn guide_of<M: AsRef<[LineCell]>>(tables: &Writer<M>, address: u128) -> u32 {
    let place = Place { lines: tables.lines(), multiplier: tables.geometry().multiplier };
    let records = Records::read(&tables.geometry().v6[KIND as usize], place);
    records.find(place, networks::of(v6(address, 128))) >> SET_BITS
}

const NETWORKS: u128 = 3;

fn network(index: u128) -> u128 {
    (0x2001_0db8 + index) << 96
}

/// Prefixes of a few networks that share many bits.
fn few() -> impl Strategy<Value = PrefixV6> {
    let bits = prop_oneof![Just(0), Just(1), Just(1 << 63), Just(1 << 64), Just(1 << 95), any::<u128>()];
    (0..NETWORKS, bits, prop_oneof![30..=34_u8, 62..=66_u8, 126..=128_u8, 33..=128_u8])
        .prop_map(|(index, bits, length)| v6(network(index) ^ (bits & u128::MAX >> 32), length))
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(PrefixV6, u16),
    Remove(prop::sample::Index),
    Settle,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        7 => (few(), 1..=1023_u16).prop_map(|(prefix, set)| Operation::Insert(prefix, set)),
        3 => any::<prop::sample::Index>().prop_map(Operation::Remove),
        1 => Just(Operation::Settle),
    ]
}

/// How often what the test is about has happened.
#[derive(Default)]
struct Seen {
    found_gathered: Cell<u32>,
    ended_with_the_last: Cell<u32>,
    scattered: Cell<u32>,
}

fn one_more(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

impl Seen {
    fn change(&self, before: u32, after: u32) {
        if before == GATHERED && after == 0 {
            one_more(&self.ended_with_the_last);
        }
        if before == GATHERED && !matches!(after, 0 | GATHERED) {
            one_more(&self.scattered);
        }
    }

    fn check(&self, tables: &Tables, now: &BTreeMap<PrefixV6, u16>) -> Result<(), TestCaseError> {
        let entries: Vec<_> = now.iter().map(|(prefix, set)| (*prefix, *set)).collect();
        let guides: Vec<u32> = (0..NETWORKS).map(|index| guide_of(tables, network(index))).collect();
        for address in probes_v6(&entries) {
            let found = find_v6(tables, address);
            prop_assert_eq!(found, oracle_v6(&entries, address), "{:#x}", address);
            let index = usize::try_from((address >> 96).wrapping_sub(0x2001_0db8)).unwrap_or(usize::MAX);
            if found != 0 && guides.get(index) == Some(&GATHERED) {
                one_more(&self.found_gathered);
            }
        }
        for (prefix, set) in &entries {
            prop_assert_eq!(tables.covering_v6(KIND, *prefix), Some((*prefix, *set)));
        }
        Ok(())
    }
}

/// Takes the operation, and says which network it was about.
fn take(operation: &Operation, tables: &mut Tables, now: &mut BTreeMap<PrefixV6, u16>) -> Option<PrefixV6> {
    match operation {
        Operation::Insert(prefix, set) => {
            tables.insert_v6(KIND, *prefix, *set).ok()?;
            now.insert(*prefix, *set);
            Some(*prefix)
        }
        Operation::Remove(_) if now.is_empty() => None,
        Operation::Remove(index) => {
            let prefix = *index.get(&now.keys().copied().collect::<Vec<_>>());
            now.remove(&prefix);
            assert_eq!(tables.remove_v6(KIND, prefix), Ok(true));
            assert_eq!(tables.remove_v6(KIND, prefix), Ok(false));
            Some(prefix)
        }
        Operation::Settle => {
            tables.settle();
            assert_eq!(tables.resting(), 0);
            None
        }
    }
}

#[test]
fn networks_are_gathered_while_they_have_few_prefixes_and_answer_alike_whether_or_not() {
    let seen = Seen::default();
    let start = prop::collection::vec((few(), 1..=1023_u16), 0..6);
    let room = prop_oneof![Just(ROOM), Just(Room { percent: 0, prefixes: 1 })];
    let cases = (start, prop::collection::vec(operation(), 0..80), room, any::<u64>());
    let mut runner = TestRunner::new(Config::with_cases(256));
    let run = runner.run(&cases, |(start, operations, room, seed)| {
        let mut now: BTreeMap<_, _> = start.into_iter().collect();
        let of = |now: &BTreeMap<PrefixV6, u16>| {
            contents_v6(&now.iter().map(|(prefix, set)| (*prefix, *set)).collect::<Vec<_>>())
        };
        let mut tables = written(&of(&now), room, seed);
        seen.check(&tables, &now)?;
        for operation in operations {
            let before: Vec<u32> = (0..NETWORKS).map(|index| guide_of(&tables, network(index))).collect();
            let changed = take(&operation, &mut tables, &mut now);
            if let Some(prefix) = changed.filter(|prefix| prefix.length() >= 32) {
                let network = networks::of(prefix);
                let before = before.get((network - 0x2001_0db8) as usize).copied().unwrap_or(0);
                seen.change(before, guide_of(&tables, u128::from(network) << 96));
            }
            seen.check(&tables, &now)?;
        }
        adopts(tables, &of(&now))
    });
    run.expect("answers like the oracle");
    let Seen { found_gathered, ended_with_the_last, scattered } = seen;
    for (count, what) in [
        (found_gathered, "found in gathered networks"),
        (ended_with_the_last, "ended with the last prefix"),
        (scattered, "scattered"),
    ] {
        println!("{what}: {}", count.get());
        assert!(count.get() >= 20, "{what}: {}", count.get());
    }
}

#[test]
fn where_the_lines_are_full_prefixes_are_looked_up_by_their_length() {
    let prefix = |index: u128, length| v6(network(index), length);
    let mut tables = written(&Contents::default(), Room { percent: 0, prefixes: 1 }, 1);
    // With one bucket all hash to it, and sixteen lines hold 48.
    assert_eq!(tables.geometry().v6[KIND as usize].gathered.buckets, 1);
    for index in 0..50 {
        tables.insert_v6(KIND, prefix(index, 64), 4).expect("there is room in one place or the other");
    }
    for index in 0..50 {
        assert_eq!(guide_of(&tables, network(index)) == GATHERED, index < 48, "{index}");
    }
    // One more of a network that is gathered takes the others with it.
    tables.insert_v6(KIND, prefix(7, 48), 5).expect("as above");
    assert_ne!(guide_of(&tables, network(7)), GATHERED);
    let outside = network(7) | 1 << 64;
    assert_eq!((find_v6(&tables, network(7)), find_v6(&tables, outside)), (4, 5));
    assert!((0..50).all(|index| find_v6(&tables, network(index)) == 4));
    tables.settle();
    tables.insert_v6(KIND, prefix(8, 48), 5).expect("a slot is free");
    assert_eq!(guide_of(&tables, network(8)), GATHERED);
}

/// Networks of two prefixes each fill lines more unevenly than single ones, and far more so if they belong in one place.
#[test]
fn a_list_that_crowds_the_gathered_lines_is_written_all_the_same() {
    let geometry = *written(&Contents::default(), ROOM, 1).geometry();
    let home =
        |network: u32, buckets| super::super::exact::gathered_home(geometry.multiplier, buckets, network);
    // As many buckets as the list comes to have.
    let entries = |crowd: &[u32]| -> Vec<_> {
        let network = |network: u32| u128::from(network) << 96;
        crowd.iter().flat_map(|it| [(v6(network(*it), 64), 64), (v6(network(*it), 128), 128)]).collect()
    };
    let draft = |crowd: &[u32]| Draft::new(&contents_v6(&entries(crowd)), ROOM, 1, u64::MAX).expect("small");
    let sized: Vec<u32> = (1..=40).collect();
    let buckets = draft(&sized).geometry().v6[KIND as usize].gathered.buckets;
    let scattered = (1_u32..).map(|n| n.wrapping_mul(2_654_435_761));
    let crowd: Vec<u32> = scattered.filter(|network| home(*network, buckets) == 3).take(40).collect();
    let draft = draft(&crowd);
    assert_eq!(draft.geometry().v6[KIND as usize].gathered.buckets, buckets);
    let memory = zeroed(draft.geometry().lines);
    let tables = Writer::write(draft, memory).expect("there is room in other parts");
    assert_eq!(tables.resting(), 0);
    for network in &crowd {
        let address = u128::from(*network) << 96;
        assert_eq!((find_v6(&tables, address), find_v6(&tables, address | 1)), (128, 64));
    }
    let gathered = crowd.iter().filter(|network| guide_of(&tables, u128::from(**network) << 96) == GATHERED);
    assert_eq!(gathered.count(), 24, "48 slots hold them");
    assert!(Writer::adopt(*tables.geometry(), tables.lines(), &contents_v6(&entries(&crowd))).is_some());
}

#[test]
fn a_scattering_that_finds_no_room_changes_nothing() {
    let prefix = |index: u128, length| v6(network(index), length);
    let mut tables = written(&Contents::default(), Room { percent: 0, prefixes: 1 }, 1);
    let fill = |tables: &mut Tables, length| {
        (0..).find(|index| tables.insert_v6(KIND, prefix(*index, length), 4).is_err()).expect("it is full")
    };
    // 48 gathered, then 80 by their length of at most 64 bits.
    assert_eq!(fill(&mut tables, 64), 48 + 80);
    let (resting, guide) = (tables.resting(), guide_of(&tables, network(7)));
    // The other one would have room.
    assert_eq!(tables.insert_v6(KIND, prefix(7, 128), 5), Err(Full::Bucket));
    assert_eq!((tables.resting(), guide_of(&tables, network(7))), (resting, guide));
    assert!((0..48 + 80).all(|index| find_v6(&tables, network(index)) == 4));
}

/// What a writer leaves behind that ended while searches might still look at the gathered slots.
#[test]
fn what_was_scattered_is_taken_over_before_it_has_settled() {
    let mut all: Vec<_> = (40..48).map(|length| (v6(network(0), length), u16::from(length))).collect();
    let mut tables = written(&contents_v6(&all[..2]), ROOM, 1);
    for (prefix, set) in &all[2..] {
        tables.insert_v6(KIND, *prefix, *set).expect("room");
    }
    assert_ne!(guide_of(&tables, network(0)), GATHERED);
    // From now on its old slot says something else.
    all[0].1 = 99;
    tables.insert_v6(KIND, all[0].0, 99).expect("it is there");
    let (geometry, memory) = (*tables.geometry(), tables.into_memory());
    assert_eq!(super::super::found(&geometry, &memory).v6(KIND), all);
    let mut next = Writer::adopt(geometry, memory, &contents_v6(&all)).expect("its contents");
    assert_eq!(next.resting(), 6, "what was gathered is still to go");
    next.settle();
    assert_eq!(next.resting(), 0);
    assert!(Writer::adopt(geometry, next.into_memory(), &contents_v6(&all)).is_some());
}
