//! What networks say when there are no codes left for it, and what outlives a writer.

use super::*;

/// Networks that each say something else: a /32, and within it two prefixes of lengths that no other has.
fn of_their_own(count: u32) -> Vec<(PrefixV6, u16)> {
    let lengths = (34..=80_u8).flat_map(|a| (a + 1..=100_u8).map(move |b| [a, b, 101]));
    let networks =
        (0..count).zip(lengths).map(|(index, lengths)| (u128::from(0x2001_0000 + index) << 96, lengths));
    networks
        .flat_map(|(network, lengths)| {
            let within = lengths.map(|length| (v6(network, length), 1));
            [(v6(network, 32), 5)].into_iter().chain(within)
        })
        .collect()
}

#[test]
fn what_a_network_says_without_its_prefix_is_said_or_refused() {
    let mut tables = written(&contents_v6(&of_their_own(1022)), ROOM, 1);
    // All codes are given, and there was nothing to spill.
    assert_eq!(tables.geometry().v6[KIND as usize].spilled.buckets, 0);
    let mut refused = 0;
    for index in 0..1022 {
        let network = u128::from(0x2001_0000_u32 + index) << 96;
        let outside = network | u128::MAX >> 32;
        let (set, covering) = match tables.remove_v6(KIND, v6(network, 32)) {
            Ok(was_there) => {
                assert!(was_there);
                (0, None)
            }
            Err(_) => {
                refused += 1;
                (5, Some((v6(network, 32), 5)))
            }
        };
        assert_eq!(find_v6(&tables, outside), set);
        assert_eq!(tables.covering_v6(KIND, v6(network, 32)), covering);
    }
    assert_ne!(refused, 0, "codes are left");
}

#[test]
fn a_wide_prefix_that_cannot_go_everywhere_goes_nowhere() {
    let mut entries = of_their_own(1010);
    entries.retain(|(prefix, _)| prefix.length() != 32);
    // What the first four of its eight networks say without the /29, others say, too.
    let elsewhere = |(prefix, set): &(PrefixV6, u16)| {
        let (first, last) = prefix.address().halves();
        (v6(u128::from(first + (1 << 60)) << 64 | u128::from(last), prefix.length()), *set)
    };
    let others: Vec<_> = entries[..12].iter().map(elsewhere).collect();
    entries.extend(others);
    entries.push((v6(0x2001_0000 << 96, 29), 7));
    let mut tables = written(&contents_v6(&entries), ROOM, 1);
    for index in 500..600 {
        let network = v6(u128::from(0x2001_0000_u32 + index) << 96, 32);
        match tables.insert_v6(KIND, network, 9) {
            Ok(()) => entries.push((network, 9)),
            Err(_) => break,
        }
    }
    assert!(tables.remove_v6(KIND, v6(0x2001_0000 << 96, 29)).is_err(), "codes are left");
    for index in 0..8_u32 {
        assert_eq!(find_v6(&tables, u128::from(0x2001_0000 + index) << 96 | u128::MAX >> 32), 7, "{index}");
    }
    let (geometry, memory) = (*tables.geometry(), tables.into_memory());
    assert!(Writer::adopt(geometry, memory, &contents_v6(&entries)).is_some());
}

#[test]
fn what_rested_when_its_writer_ended_is_free_again_for_the_next() {
    let deep = |index: u32, turn: u32| {
        v6(u128::from(0x2001_0000 + index % 7) << 96 | u128::from(index) << 40 | u128::from(turn), 128)
    };
    let mut entries: Vec<_> = (0..4000).map(|index| (deep(index, 0), 1)).collect();
    let mut tables = written(&contents_v6(&entries), Room { percent: 0, prefixes: 64 }, 1);
    for turn in 1..40 {
        for index in 0..400 {
            assert_eq!(tables.remove_v6(KIND, deep(index, turn - 1)), Ok(true));
            if tables.insert_v6(KIND, deep(index, turn), 1).is_err() {
                tables.settle();
                tables.insert_v6(KIND, deep(index, turn), 1).expect("as many as before");
            }
        }
        let (geometry, memory) = (*tables.geometry(), tables.into_memory());
        entries = (0..4000).map(|index| (deep(index, if index < 400 { turn } else { 0 }), 1)).collect();
        tables = Writer::adopt(geometry, memory, &contents_v6(&entries)).expect("its own");
    }
}

#[test]
fn wide_prefixes_are_found_again_as_wide_as_they_were() {
    let network = |number: u32, length| v6(u128::from(0x2001_0000 + number) << 96, length);
    // The /25 and the /26 beside it say the same, and so do two /32s that lie in different /31s.
    let mut entries = vec![
        (network(0, 25), 3),
        (network(0x80, 26), 3),
        (network(0x400, 29), 4),
        (network(0x801, 32), 5),
        (network(0x802, 32), 5),
        (v6(0x2001_0400 << 96 | 7, 128), 6),
    ];
    let memory = written(&contents_v6(&entries), ROOM, 1);
    let geometry = *memory.geometry();
    let mut found = super::super::found(&geometry, &memory.into_memory()).v6(KIND).to_vec();
    found.sort_unstable();
    entries.sort_unstable();
    assert_eq!(found, entries);
}
