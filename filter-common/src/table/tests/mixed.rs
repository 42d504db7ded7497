//! All tables of a generation at once, of both families, with any room: changes of one disturb no other, and a change
//! that finds no room changes nothing.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Prefix {
    V4(PrefixV4),
    V6(PrefixV6),
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(TableKind, Prefix, u16),
    /// One that may be there.
    Remove(TableKind, Prefix),
    /// One that is there, if any is.
    RemoveSome(TableKind, bool, prop::sample::Index),
    Settle,
}

fn kind() -> impl Strategy<Value = TableKind> {
    prop::sample::select(TableKind::LISTS.to_vec())
}

fn set() -> impl Strategy<Value = u16> {
    1..=1023_u16
}

fn prefix() -> impl Strategy<Value = Prefix> {
    // Those of 25 and 26 bits are many networks each, for which there is mostly no room.
    let length_v6 = prop_oneof![3 => 0..=24_u8, 1 => 25..=26_u8, 8 => 27..=64_u8, 8 => 27..=128_u8];
    prop_oneof![
        (near_v4(), 0..=32_u8).prop_map(|(address, length)| Prefix::V4(v4(address, length))),
        (near_v6(), length_v6).prop_map(|(address, length)| Prefix::V6(v6(address, length))),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (kind(), prefix(), set()).prop_map(|(kind, prefix, set)| Operation::Insert(kind, prefix, set)),
        1 => (kind(), prefix()).prop_map(|(kind, prefix)| Operation::Remove(kind, prefix)),
        3 => (kind(), any::<bool>(), any::<prop::sample::Index>())
            .prop_map(|(kind, is_v6, index)| Operation::RemoveSome(kind, is_v6, index)),
        1 => Just(Operation::Settle),
    ]
}

fn room() -> impl Strategy<Value = Room> {
    (0..50_u32, prop_oneof![0..8_u32, 0..200_u32]).prop_map(|(percent, prefixes)| Room { percent, prefixes })
}

/// What each table holds.
#[derive(Clone, Debug, Default)]
struct Oracle {
    v4: BTreeMap<(TableKind, PrefixV4), u16>,
    v6: BTreeMap<(TableKind, PrefixV6), u16>,
}

impl Oracle {
    fn insert(&mut self, kind: TableKind, prefix: Prefix, set: u16) {
        match prefix {
            Prefix::V4(prefix) => self.v4.insert((kind, prefix), set),
            Prefix::V6(prefix) => self.v6.insert((kind, prefix), set),
        };
    }

    fn remove(&mut self, kind: TableKind, prefix: Prefix) -> bool {
        match prefix {
            Prefix::V4(prefix) => self.v4.remove(&(kind, prefix)).is_some(),
            Prefix::V6(prefix) => self.v6.remove(&(kind, prefix)).is_some(),
        }
    }

    fn some(&self, kind: TableKind, is_v6: bool, index: prop::sample::Index) -> Option<Prefix> {
        let v4 = self.v4.keys().filter(|(other, _)| *other == kind && !is_v6).map(|(_, it)| Prefix::V4(*it));
        let v6 = self.v6.keys().filter(|(other, _)| *other == kind && is_v6).map(|(_, it)| Prefix::V6(*it));
        let all: Vec<Prefix> = v4.chain(v6).collect();
        (!all.is_empty()).then(|| *index.get(&all))
    }

    fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        for kind in TableKind::LISTS {
            let of_v4 = self.v4.iter().filter(|((other, _), _)| *other == kind);
            contents.set_v4(kind, of_v4.map(|((_, prefix), set)| (*prefix, *set)).collect());
            let of_v6 = self.v6.iter().filter(|((other, _), _)| *other == kind);
            contents.set_v6(kind, of_v6.map(|((_, prefix), set)| (*prefix, *set)).collect());
        }
        contents
    }

    /// Every table answers for the edges of all prefixes of all tables, and names each of its own.
    fn check(&self, tables: &Tables) -> Result<(), TestCaseError> {
        let contents = self.contents();
        let flat = FlatTables::new(tables.lines(), tables.geometry());
        let all_v4: Vec<(PrefixV4, u16)> = self.v4.iter().map(|((_, prefix), set)| (*prefix, *set)).collect();
        let all_v6: Vec<(PrefixV6, u16)> = self.v6.iter().map(|((_, prefix), set)| (*prefix, *set)).collect();
        for kind in TableKind::LISTS {
            for address in probes_v4(&all_v4) {
                let found = flat.set_v4(kind, AddressV4::from_bits(address));
                prop_assert_eq!(found, oracle_v4(contents.v4(kind), address), "{:?}: {:#x}", kind, address);
            }
            for address in probes_v6(&all_v6) {
                let found = flat.set_v6(kind, AddressV6::from_octets(address.to_be_bytes()));
                prop_assert_eq!(found, oracle_v6(contents.v6(kind), address), "{:?}: {:#x}", kind, address);
            }
            for (prefix, set) in contents.v4(kind) {
                prop_assert_eq!(tables.covering_v4(kind, *prefix), Some((*prefix, *set)));
            }
            for (prefix, set) in contents.v6(kind) {
                prop_assert_eq!(tables.covering_v6(kind, *prefix), Some((*prefix, *set)));
            }
        }
        Ok(())
    }
}

fn insert(tables: &mut Tables, kind: TableKind, prefix: Prefix, set: u16) -> Result<(), Full> {
    match prefix {
        Prefix::V4(prefix) => tables.insert_v4(kind, prefix, set),
        Prefix::V6(prefix) => tables.insert_v6(kind, prefix, set),
    }
}

fn remove(tables: &mut Tables, kind: TableKind, prefix: Prefix) -> Result<bool, Full> {
    match prefix {
        Prefix::V4(prefix) => tables.remove_v4(kind, prefix),
        Prefix::V6(prefix) => tables.remove_v6(kind, prefix),
    }
}

/// Takes the operation in both; where the tables have no room, in neither.
fn take(operation: &Operation, tables: &mut Tables, oracle: &mut Oracle) -> Result<(), TestCaseError> {
    let resting = tables.resting();
    let removed = match *operation {
        Operation::Settle => {
            tables.settle();
            prop_assert_eq!(tables.resting(), 0);
            return Ok(());
        }
        Operation::Insert(kind, prefix, set) => {
            match insert(tables, kind, prefix, set) {
                Ok(()) => oracle.insert(kind, prefix, set),
                Err(_) => prop_assert_eq!(tables.resting(), resting, "a refusal takes lines"),
            }
            return Ok(());
        }
        Operation::Remove(kind, prefix) => Some((kind, prefix)),
        Operation::RemoveSome(kind, is_v6, index) => {
            oracle.some(kind, is_v6, index).map(|prefix| (kind, prefix))
        }
    };
    let Some((kind, prefix)) = removed else { return Ok(()) };
    match remove(tables, kind, prefix) {
        Ok(was_there) => prop_assert_eq!(was_there, oracle.remove(kind, prefix), "{:?}", prefix),
        Err(_) => prop_assert_eq!(tables.resting(), resting, "a refusal takes lines"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_changes_of_all_tables_are_made_whole_or_refused_without_a_trace(
        start in prop::collection::vec((kind(), prefix(), set()), 0..30),
        operations in prop::collection::vec(operation(), 0..80),
        room in room(), seed: u64,
    ) {
        let mut oracle = Oracle::default();
        for (kind, prefix, set) in start {
            oracle.insert(kind, prefix, set);
        }
        let mut tables = written(&oracle.contents(), room, seed);
        oracle.check(&tables)?;
        for operation in operations {
            take(&operation, &mut tables, &mut oracle)?;
            oracle.check(&tables)?;
        }
        let (geometry, contents) = (*tables.geometry(), oracle.contents());
        let memory = tables.into_memory();
        prop_assert!(Writer::adopt(geometry, &*memory, &contents).is_some());
    }
}
