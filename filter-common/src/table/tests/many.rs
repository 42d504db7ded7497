//! So many single addresses that they are packed, beside prefixes of every length.

use super::*;

const COUNT: u32 = 300_000;
const CHANGED: u32 = 150;

fn single(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761)
}

/// Most are of few sets, but there are more sets than codes.
fn set(index: u32) -> u16 {
    if index.is_multiple_of(50) {
        u16::try_from(100 + index / 50 % 40).expect("small")
    } else {
        1 + (index % 3) as u16
    }
}

fn entries() -> Vec<(PrefixV4, u16)> {
    let singles = (0..COUNT).map(|index| (v4(single(index), 32), set(index)));
    let wider = (1..=400_u32).map(|index| {
        let length = 8 + u8::try_from(index % 24).expect("small");
        (v4(single(index).wrapping_add(index % 2), length), 900)
    });
    singles.chain(wider).collect()
}

#[test]
fn many_addresses_are_packed_and_found_beside_wider_prefixes() {
    let contents = contents_v4(&entries());
    let mut tables = written(&contents, ROOM, 5);
    let table = tables.geometry().v4[KIND as usize];
    assert!(table.packed.lines != 0 && table.singles.buckets == 0, "{table:?}");
    for index in 0..COUNT {
        assert_eq!(find_v4(&tables, single(index)), u32::from(set(index)), "{index}");
    }
    let wider: Vec<_> =
        contents.v4(KIND).iter().filter(|(prefix, _)| prefix.length() < 32).copied().collect();
    let covered = |address| oracle_v4(&wider, address);
    for index in COUNT..COUNT + 20_000 {
        assert_eq!(find_v4(&tables, single(index)), covered(single(index)), "{index}");
    }
    // Every third changes its set, goes, or stays; the wider prefix shows where one has gone.
    for index in (0..CHANGED).step_by(3) {
        tables.insert_v4(KIND, v4(single(index), 32), 700).expect("room among the longer prefixes");
        assert_eq!(tables.remove_v4(KIND, v4(single(index + 1), 32)), Ok(true));
        assert_eq!(tables.remove_v4(KIND, v4(single(index + 1), 32)), Ok(false));
        assert_eq!(find_v4(&tables, single(index)), 700);
        assert_eq!(find_v4(&tables, single(index + 1)), covered(single(index + 1)));
        assert_eq!(find_v4(&tables, single(index + 2)), u32::from(set(index + 2)));
    }
    let expected: Vec<_> = contents
        .v4(KIND)
        .iter()
        .filter(|(prefix, _)| prefix.length() < 32)
        .copied()
        .chain((0..COUNT).filter(|index| *index >= CHANGED || index % 3 != 1).map(|index| {
            (v4(single(index), 32), if index < CHANGED && index % 3 == 0 { 700 } else { set(index) })
        }))
        .collect();
    let (geometry, now) = (*tables.geometry(), contents_v4(&expected));
    let memory = tables.into_memory();
    let mut found: Vec<_> = super::super::found(&geometry, &memory).v4(KIND).to_vec();
    found.retain(|(prefix, _)| prefix.length() == 32);
    let mut singles: Vec<_> =
        now.v4(KIND).iter().filter(|(prefix, _)| prefix.length() == 32).copied().collect();
    found.sort_unstable();
    singles.sort_unstable();
    assert!(found == singles, "{} found, {} there", found.len(), singles.len());
    assert!(Writer::adopt(geometry, &*memory, &now).is_some());
    assert!(Writer::adopt(geometry, &*memory, &contents).is_none());
}

#[test]
fn addresses_of_many_sets_have_slots_with_the_set_in_them() {
    let entries: Vec<_> = (0..COUNT)
        .map(|index| (v4(single(index), 32), 1 + u16::try_from(index % 40).expect("small")))
        .collect();
    let tables = written(&contents_v4(&entries), ROOM, 5);
    assert_eq!(tables.geometry().v4[KIND as usize].packed.lines, 0);
    for index in 0..COUNT {
        assert_eq!(find_v4(&tables, single(index)), 1 + index % 40);
    }
}

#[test]
fn a_quarter_more_addresses_find_room_among_packed_ones() {
    let entries: Vec<_> = (0..COUNT).map(|index| (v4(single(index), 32), 1)).collect();
    let mut tables = written(&contents_v4(&entries), Room::USUAL, 5);
    assert_ne!(tables.geometry().v4[KIND as usize].packed.lines, 0);
    for index in COUNT..COUNT + COUNT / 4 {
        tables.insert_v4(KIND, v4(single(index), 32), 1).expect("a quarter more");
    }
    for index in 0..COUNT + COUNT / 4 {
        assert_eq!(find_v4(&tables, single(index)), 1);
    }
}

#[test]
fn what_packed_addresses_take_does_not_hang_on_how_keys_are_spread() {
    let contents = contents_v4(&entries());
    let sizes = (0..4).map(|seed| Draft::new(&contents, Room::USUAL, seed, u64::MAX).expect("small").bytes());
    let sizes: std::collections::BTreeSet<u64> = sizes.collect();
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}
